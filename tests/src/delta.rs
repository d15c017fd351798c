//! Delta tables as sources: the rows of their log at a version, on every engine, and a plain refusal of what would be read
//! wrongly.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use backsight_asof::JoinForm;
use backsight_registry::model::SourceKind;
use backsight_retrieval::{
    Manifest, RetrievalEngine, RetrievalError, RetrievalRequest, Severity, SourceCheck, check_sources,
};
use backsight_s3_server::S3Server;
use backsight_storage::{StorageOptions, Stores};
use deltalake_core::kernel::transaction::CommitBuilder;
use deltalake_core::kernel::{Action, DataType, PrimitiveType};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::writer::{DeltaWriter, RecordBatchWriter};
use deltalake_core::{DeltaTable, checkpoints};
use serde_json::{Value, json};

use crate::engines;
use crate::world::{ViewSpec, World, write_parquet};

const DAY: i64 = 86_400;
/// 2026-01-01, in days.
const START: i64 = 20_454;

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn instants(seconds: &[i64]) -> ArrayRef {
    let micros: TimestampMicrosecondArray = seconds.iter().map(|at| Some(at * 1_000_000)).collect();
    Arc::new(micros.with_timezone("UTC"))
}

/// A new table of keys, times and values, partitioned by a date and a text.
async fn create(folder: &Path) -> DeltaTable {
    std::fs::create_dir_all(folder).unwrap();
    let columns = [
        ("id", PrimitiveType::Long),
        ("t", PrimitiveType::Timestamp),
        ("x", PrimitiveType::Long),
        ("day", PrimitiveType::Date),
        ("country", PrimitiveType::String),
    ];
    let mut builder = CreateBuilder::new().with_location(folder.to_str().unwrap());
    for (name, data_type) in columns {
        builder = builder.with_column(name, DataType::Primitive(data_type), true, None);
    }
    builder.with_partition_columns(["day", "country"]).await.unwrap()
}

/// Key, day, hour, value and country.
type Row<'a> = (i64, i64, i64, i64, Option<&'a str>);

/// Adds rows: one version more.
async fn append(table: &mut DeltaTable, rows: &[Row<'_>]) {
    let column = |of: &dyn Fn(&Row<'_>) -> i64| -> Vec<i64> { rows.iter().map(of).collect() };
    let days: Date32Array = rows.iter().map(|row| i32::try_from(START + row.1).ok()).collect();
    let countries: StringArray = rows.iter().map(|row| row.4).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", ints(&column(&|row| row.0))),
        ("t", instants(&column(&|row| (START + row.1) * DAY + row.2 * 3_600))),
        ("x", ints(&column(&|row| row.3))),
        ("day", Arc::new(days)),
        ("country", Arc::new(countries)),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    );
    let mut writer = RecordBatchWriter::for_table(table).unwrap();
    writer.write(batch.unwrap()).await.unwrap();
    writer.flush_and_commit(table).await.unwrap();
}

/// Takes the files of a day out of the table: one version more, and the files stay where they are.
async fn remove(table: &mut DeltaTable, day: &str) {
    let state = table.snapshot().unwrap();
    let data = state.log_data();
    let files = data.iter().filter(|file| file.path().contains(&format!("day={day}")));
    let removed: Vec<Action> = files.map(|file| Action::Remove(file.remove_action(true))).collect();
    assert!(!removed.is_empty());
    let operation = DeltaOperation::Delete { predicate: None };
    let commit = CommitBuilder::default().with_actions(removed);
    commit.build(Some(state), table.log_store(), operation).await.unwrap();
    table.update_state().await.unwrap();
}

/// A table of four versions, with a file that no version has, and a view of each of its three countries' rows by key.
async fn world() -> (World, DeltaTable) {
    let mut world = World::new();
    let mut table = create(&world.path("a table")).await;
    let (fr, none) = (Some("FR"), None);
    append(
        &mut table,
        &[(1, 0, 1, 10, fr), (2, 0, 1, 20, fr), (1, 1, 1, 11, none), (3, 1, 1, 30, Some("x/y"))],
    )
    .await;
    append(&mut table, &[(1, 2, 1, 12, fr), (2, 2, 1, 22, fr)]).await;
    remove(&mut table, "2026-01-03").await;
    append(&mut table, &[(2, 3, 1, 23, Some("DE é"))]).await;
    let orphan =
        vec![("id", ints(&[1, 2])), ("t", instants(&[(START + 3) * DAY; 2])), ("x", ints(&[99, 99]))];
    write_parquet(&world.path("a table/day=2026-01-04/country=FR/part-orphan.parquet"), 10, orphan);
    add_view(&mut world, "view", "a table", None);
    world.write(
        "spine.parquet",
        vec![("id", ints(&[1, 2, 3, 4])), ("event_timestamp", instants(&[(START + 4) * DAY; 4]))],
    );
    (world, table)
}

fn add_view(world: &mut World, name: &str, path: &str, ttl_seconds: Option<i64>) {
    let features = ["x", "day", "country"];
    world.add_view(&ViewSpec { name, path, ttl_seconds, features: &features, ..ViewSpec::default() });
    let source = &mut world.catalog.feature_views.last_mut().unwrap().source;
    source.kind = SourceKind::File { path: path.to_owned(), s3_endpoint_override: None, delta: true };
}

async fn retrieve(
    world: &World,
    engine: &dyn RetrievalEngine,
    request: RetrievalRequest,
) -> Result<(String, Manifest), RetrievalError> {
    let output = request.output.clone().unwrap();
    let request = RetrievalRequest { preserve_order: true, ..request };
    let manifest = world.run(engine, &request, &output, false).await?.manifest;
    let rows = world.rows(&output, &manifest).await;
    let columns: Vec<usize> = (2..rows.num_columns()).collect();
    let shown = pretty_format_batches(&[rows.project(&columns).unwrap()]).unwrap().to_string();
    // Between the frame's lines only what the rows hold.
    let lines = shown.lines().skip(3).filter(|line| line.starts_with('|'));
    let lines: Vec<String> = lines
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned())
        .collect();
    Ok((lines.join("\n"), manifest))
}

const FEATURES: [&str; 3] = ["view:x", "view:day", "view:country"];
const NEWEST: &str = "11 2026-01-02\n23 2026-01-04 DE é\n30 2026-01-02 x/y\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rows_of_the_newest_version_come_through_every_engine() {
    let (world, _) = world().await;
    for engine in engines::all(&world.stores).await {
        let (name, engine) = (engine.name.as_str(), engine.engine.as_ref());
        let (rows, manifest) = retrieve(&world, engine, world.request(&FEATURES, name)).await.unwrap();
        assert_eq!(rows, NEWEST, "{name}");
        let types: Vec<&str> =
            manifest.schema.iter().skip(2).map(|column| column.data_type.as_str()).collect();
        assert_eq!(types, ["Int64", "Date32", "Utf8"], "{name}");
        let read: Vec<_> = manifest.sources.iter().filter(|source| source.role == "view").collect();
        assert_eq!((read[0].version, read[0].bytes), (Some(4), 0), "{name}");
        assert!(read[0].path.ends_with("/a table"), "{}", read[0].path);
        // Three files of the first version, one of the last; none of the version between, and no orphan.
        assert_eq!(read.len(), 1 + 4, "{read:?}");
        assert!(read[1..].iter().all(|file| file.version.is_none() && !file.path.contains("orphan")));
    }
}

#[tokio::test]
async fn a_version_can_be_asked_for_and_is_there_while_its_files_are() {
    let (world, _) = world().await;
    let engine = world.embedded(JoinForm::LateFold, 2);
    let at = async |version: u64, output: &str| {
        let request = world.request(&FEATURES, output);
        let source_versions = [("view_source".to_owned(), version)].into();
        retrieve(&world, &engine, RetrievalRequest { source_versions, ..request }).await
    };
    let expected = [
        (0, "\n\n\n"),
        (1, "11 2026-01-02\n20 2026-01-01 FR\n30 2026-01-02 x/y\n"),
        (2, "12 2026-01-03 FR\n22 2026-01-03 FR\n30 2026-01-02 x/y\n"),
        (3, "11 2026-01-02\n20 2026-01-01 FR\n30 2026-01-02 x/y\n"),
        (4, NEWEST),
    ];
    for (version, rows) in expected {
        let (found, manifest) = at(version, &format!("v{version}")).await.unwrap();
        assert_eq!(found, rows, "version {version}");
        assert!(manifest.sources.iter().any(|source| source.version == Some(version)), "version {version}");
        assert_eq!(manifest.request.source_versions["view_source"], version);
    }
    let error = at(5, "v5").await.unwrap_err();
    assert!(error.to_string().contains("has no version 5"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("its newest is 4"));
    assert_eq!(error.code().exit_status(), 2);

    let source_versions = [("other".to_owned(), 1)].into();
    let request = RetrievalRequest { source_versions, ..world.request(&FEATURES, "other") };
    let error = retrieve(&world, &engine, request).await.unwrap_err();
    assert!(error.to_string().contains("no Delta table is called so"), "{error}");

    std::fs::remove_dir_all(world.path("a table/day=2026-01-03")).unwrap();
    let error = at(2, "vacuumed").await.unwrap_err();
    assert!(error.to_string().contains("a file of version 2 of its Delta table, is not there"), "{error}");
    assert_eq!(error.code().exit_status(), 5);
    assert_eq!(at(4, "still").await.unwrap().0, NEWEST);
}

#[tokio::test]
async fn a_checkpoint_stands_for_the_commits_before_it() {
    let (world, mut table) = world().await;
    checkpoints::create_checkpoint(&table, None).await.unwrap();
    for version in 0..4 {
        let commit = world.path(&format!("a table/_delta_log/{version:020}.json"));
        std::fs::remove_file(commit).unwrap();
    }
    append(&mut table, &[(4, 3, 2, 40, Some("FR"))]).await;
    let engine = world.embedded(JoinForm::LateFold, 2);
    let (rows, manifest) = retrieve(&world, &engine, world.request(&FEATURES, "out")).await.unwrap();
    assert_eq!(rows, format!("{NEWEST}40 2026-01-04 FR"));
    assert!(manifest.sources.iter().any(|source| source.version == Some(5)));
}

#[tokio::test]
async fn statistics_and_promised_days_of_the_log_pass_over_files() {
    let (mut world, _) = world().await;
    add_view(&mut world, "recent", "a table", Some(DAY));
    let engine = world.embedded(JoinForm::LateFold, 2);
    let (rows, manifest) = retrieve(&world, &engine, world.request(&["recent:x"], "recent")).await.unwrap();
    assert_eq!(rows, "\n23\n\n");
    let files =
        |manifest: &Manifest| manifest.sources.iter().filter(|source| source.role == "recent").count() - 1;
    assert_eq!(files(&manifest), 1);
    let notes = manifest.report.notes.join("\n");
    assert!(notes.contains("feature view `recent`: 3 of 4 files are out of the spine's reach"), "{notes}");

    // Without statistics the day decides, if it is promised what it is.
    let log = world.path("a table/_delta_log");
    for version in [1, 2, 4] {
        let path = log.join(format!("{version:020}.json"));
        let lines = std::fs::read_to_string(&path).unwrap();
        let without = lines.lines().map(|line| {
            let mut action: Value = serde_json::from_str(line).unwrap();
            if let Some(add) = action.get_mut("add").and_then(Value::as_object_mut) {
                add.remove("stats");
            }
            action.to_string() + "\n"
        });
        std::fs::write(&path, without.collect::<String>()).unwrap();
    }
    let (rows, manifest) = retrieve(&world, &engine, world.request(&["recent:x"], "no_stats")).await.unwrap();
    assert_eq!((rows.as_str(), files(&manifest)), ("\n23\n\n", 4));
    world.catalog.feature_views[1].source.date_partition_column = Some("day".to_owned());
    let (rows, manifest) = retrieve(&world, &engine, world.request(&["recent:x"], "promised")).await.unwrap();
    // The fourth day only: the second ended before the third began, wherever it was counted.
    assert_eq!((rows.as_str(), files(&manifest)), ("\n23\n\n", 1));
    let request = RetrievalRequest { exact_reasons: true, ..world.request(&["recent:x"], "exact") };
    let (_, manifest) = retrieve(&world, &engine, request).await.unwrap();
    assert_eq!(files(&manifest), 4);
    let because = manifest.report.views[0].none_in_reach_because.unwrap();
    assert_eq!((because.no_such_key, because.only_later, because.expired), (1, 0, 2));
}

/// Puts another commit at the end of a log, of actions as they are.
fn commit(world: &World, table: &str, version: u64, actions: &[Value]) {
    let lines: String = actions.iter().map(|action| action.to_string() + "\n").collect();
    let log = world.path(table).join("_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join(format!("{version:020}.json")), lines).unwrap();
}

fn metadata(columns: &[(&str, &str)], partitions: &[&str], configuration: Value) -> Value {
    let fields: Vec<Value> = columns
        .iter()
        .enumerate()
        .map(|(number, (name, data_type))| {
            // Only column mapping looks at these.
            let mapping =
                json!({"delta.columnMapping.id": number + 1, "delta.columnMapping.physicalName": name});
            json!({"name": name, "type": data_type, "nullable": true, "metadata": mapping})
        })
        .collect();
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    json!({"metaData": {"id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9", "format": {"provider": "parquet", "options": {}},
        "schemaString": schema, "partitionColumns": partitions, "configuration": configuration, "createdTime": 1}})
}

fn added(world: &World, table: &str, path: &str) -> Value {
    let size = std::fs::metadata(world.path(table).join(path)).map_or(1, |file| file.len());
    json!({"add": {"path": path, "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": true}})
}

/// A table of one file, written by hand.
fn by_hand(world: &World, table: &str, protocol: Value, configuration: Value) {
    let columns = vec![("id", ints(&[1])), ("t", instants(&[START * DAY])), ("x", ints(&[5]))];
    write_parquet(&world.path(&format!("{table}/a.parquet")), 10, columns);
    let columns = [("id", "long"), ("t", "timestamp"), ("x", "long"), ("day", "date"), ("country", "string")];
    let actions = [
        json!({"protocol": protocol}),
        metadata(&columns, &[], configuration),
        added(world, table, "a.parquet"),
    ];
    commit(world, table, 0, &actions);
}

#[tokio::test]
async fn tables_that_cannot_be_read_as_they_are_meant_are_refused() {
    let mut world = World::new();
    world.write(
        "spine.parquet",
        vec![("id", ints(&[1])), ("event_timestamp", instants(&[(START + 1) * DAY]))],
    );
    let plain = json!({"minReaderVersion": 1, "minWriterVersion": 2});
    let with = |feature: &str| json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [feature], "writerFeatures": [feature]});
    let deleted = json!({"storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 40, "cardinality": 1});
    by_hand(&world, "plain", plain.clone(), json!({}));
    by_hand(&world, "enabled", with("deletionVectors"), json!({"delta.enableDeletionVectors": "true"}));
    by_hand(&world, "deleted", with("deletionVectors"), json!({}));
    let mut file = added(&world, "deleted", "a.parquet");
    file["add"]["deletionVector"] = deleted;
    commit(&world, "deleted", 1, &[file]);
    by_hand(&world, "unknown", with("fromTheFuture"), json!({}));
    by_hand(&world, "widened", with("typeWidening"), json!({}));
    by_hand(&world, "newer", json!({"minReaderVersion": 9, "minWriterVersion": 9}), json!({}));
    by_hand(
        &world,
        "mapped",
        json!({"minReaderVersion": 2, "minWriterVersion": 5}),
        json!({"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "5"}),
    );
    by_hand(&world, "cloned", plain.clone(), json!({}));
    commit(&world, "cloned", 1, &[added(&world, "cloned", "s3://elsewhere/a.parquet")]);
    by_hand(&world, "damaged", plain.clone(), json!({}));
    std::fs::write(world.path("damaged/_delta_log/00000000000000000001.json"), "{\"add\":").unwrap();
    std::fs::create_dir_all(world.path("nothing")).unwrap();
    let cases = [
        ("plain", None, 0),
        ("enabled", None, 0),
        ("deleted", Some("has deleted rows that are still in its files"), 2),
        ("unknown", Some("fromTheFuture"), 2),
        ("widened", Some("typeWidening"), 2),
        ("newer", Some("9"), 2),
        ("mapped", Some("olumn"), 2),
        ("cloned", Some("outside of its folder"), 2),
        ("damaged", Some("the log of Delta table"), 5),
        ("nothing", Some("no `_delta_log`"), 4),
    ];
    let engine = world.embedded(JoinForm::LateFold, 2);
    for (table, expected, exit) in cases {
        world.catalog.feature_views.clear();
        add_view(&mut world, "view", table, None);
        let found = retrieve(&world, &engine, world.request(&["view:x"], &format!("out/{table}"))).await;
        let check = SourceCheck { repo: world.folder.path(), allow_type_drift: true };
        let report = check_sources(&world.stores, &world.catalog.feature_views, check).await;
        let errors: Vec<String> = report.of(Severity::Error).map(ToString::to_string).collect();
        match expected {
            None => {
                assert_eq!(found.unwrap().0, "5", "{table}");
                assert!(errors.is_empty(), "{table}: {errors:?}");
            }
            Some(part) => {
                let error = found.unwrap_err();
                assert!(error.to_string().contains(part), "{table}: {error}");
                assert_eq!(error.code().exit_status(), exit, "{table}: {error}");
                assert!(errors.len() == 1 && errors[0].contains(part), "{table}: {errors:?}");
            }
        }
    }
}

#[tokio::test]
async fn columns_are_those_of_the_log_in_its_types() {
    let mut world = World::new();
    world.write(
        "spine.parquet",
        vec![("id", ints(&[1, 2, 3])), ("event_timestamp", instants(&[(START + 1) * DAY; 3]))],
    );
    let plain = json!({"minReaderVersion": 1, "minWriterVersion": 2});
    by_hand(&world, "table", plain, json!({}));
    // A file without a column, with one too many, and one in a narrower type.
    let narrow: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![6]));
    let columns =
        vec![("extra", ints(&[1])), ("x", narrow), ("t", instants(&[START * DAY])), ("id", ints(&[2]))];
    write_parquet(&world.path("table/b.parquet"), 10, columns);
    commit(&world, "table", 1, &[added(&world, "table", "b.parquet")]);
    add_view(&mut world, "view", "table", None);
    let engine = world.embedded(JoinForm::SlotFold, 2);
    for form in [JoinForm::SlotFold, JoinForm::LateFold, JoinForm::Broadcast] {
        let engine = world.embedded(form, 2);
        let output = format!("{form:?}");
        let (rows, manifest) = retrieve(&world, &engine, world.request(&FEATURES, &output)).await.unwrap();
        assert_eq!(rows, "5\n6\n", "{form:?}");
        let types: Vec<&str> =
            manifest.schema.iter().skip(2).map(|column| column.data_type.as_str()).collect();
        assert_eq!(types, ["Int64", "Date32", "Utf8"], "{form:?}");
    }
    world.catalog.feature_views[0].features[0].name = "extra".to_owned();
    let error = retrieve(&world, &engine, world.request(&["view:extra"], "extra")).await.unwrap_err();
    assert!(error.to_string().contains("has no column `extra`"), "{error}");
}

#[tokio::test]
async fn plan_sees_the_columns_of_the_log() {
    let (mut world, _) = world().await;
    add_view(&mut world, "view2", "a table", None);
    world.catalog.feature_views[1].features[0].name = "missing".to_owned();
    let check = SourceCheck { repo: world.folder.path(), allow_type_drift: true };
    let report = check_sources(&world.stores, &world.catalog.feature_views, check).await;
    assert_eq!((report.views, report.sources, report.files), (2, 1, 0));
    let errors: Vec<String> = report.of(Severity::Error).map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("feature view `view2`: ") && errors[0].contains("no column `missing`"));
}

#[tokio::test]
async fn a_table_on_an_object_store_is_read_by_its_log_alone() {
    let (local, _) = world().await;
    let folder = tempfile::tempdir().unwrap().keep();
    let server = S3Server::start(&folder);
    server.create_bucket("data");
    copy(&local.path("a table"), &folder.join("data/some where/a table"));
    let options = StorageOptions { environment: server.environment(), ..StorageOptions::default() };
    let mut world = World::with_stores(Stores::new(options));
    add_view(&mut world, "view", "s3://data/some where/a table", None);
    add_view(&mut world, "again", "s3://data/some where/a table", None);
    std::fs::copy(local.path("spine.parquet"), world.path("spine.parquet")).unwrap();
    let engine = world.embedded(JoinForm::LateFold, 2);
    let request = world.request(&["view:x", "view:day", "view:country", "again:x"], "out");
    let request = RetrievalRequest { full_feature_names: true, ..request };
    let (rows, _) = retrieve(&world, &engine, request).await.unwrap();
    assert_eq!(rows, "11 2026-01-02  11\n23 2026-01-04 DE é 23\n30 2026-01-02 x/y 30\n");
    let requests = server.requests();
    let listed = requests.iter().filter(|request| request.query.contains("list-type=2"));
    assert!(
        listed.clone().all(|request| request.query.contains("_delta_log")),
        "{:?}",
        listed.collect::<Vec<_>>()
    );
    assert!(!requests.iter().any(|request| request.path.contains("orphan")));
    let commits =
        requests.iter().filter(|request| request.method == "GET" && request.path.ends_with("00.json"));
    assert_eq!(commits.count(), 2, "once for the columns and once for the files, for both views together");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}
