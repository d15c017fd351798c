//! Spines of every kind: text, Arrow files, entities as of an instant, the rows of a SELECT.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampSecondArray};
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow::util::pretty::pretty_format_batches;
use backsight_asof::JoinForm;
use backsight_registry::model::ValueType;
use backsight_retrieval::{
    Bases, Manifest, RetrievalEngine, RetrievalError, RetrievalRequest, SpineFrom, SpineRequest, StageSite,
    prepare,
};

use crate::engines;
use crate::world::{ViewSpec, World};

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn seconds(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampSecondArray::from(values.to_vec()))
}

/// A view of string keys: `007` at 100 s and 200 s, `7` at 100 s.
fn by_text() -> World {
    let mut world = World::new();
    let columns =
        vec![("id", texts(&["007", "007", "7"])), ("t", seconds(&[100, 200, 100])), ("x", ints(&[1, 2, 3]))];
    world.write("view.parquet", columns);
    world.add_view(&ViewSpec::default());
    world.catalog.feature_views[0].join_keys[0].value_type = ValueType(2);
    world
}

fn request(world: &World, from: SpineFrom) -> RetrievalRequest {
    RetrievalRequest {
        spine: SpineRequest { from, timestamp_column: None },
        preserve_order: true,
        ..world.request(&["view:x"], "out")
    }
}

async fn retrieve(
    world: &World,
    request: &RetrievalRequest,
) -> Result<(Manifest, RecordBatch), RetrievalError> {
    let engine = world.embedded(JoinForm::LateFold, 2);
    let id = request.spine.from.shown();
    let manifest = world.run(&engine, request, &id, true).await?.manifest;
    let rows = world.rows("out", &manifest).await;
    Ok((manifest, rows))
}

/// The rows as lines of a table.
fn shown(rows: &RecordBatch) -> Vec<String> {
    let text = pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string();
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(1);
    let cells = |line: &str| {
        line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ")
    };
    lines.map(cells).collect()
}

fn files(uri: &str) -> SpineFrom {
    SpineFrom::Files(uri.to_owned())
}

#[tokio::test]
async fn text_files_keep_keys_as_their_entity_declares_them() {
    let world = by_text();
    std::fs::create_dir(world.path("s")).unwrap();
    // A byte order mark, quotes, an empty field, a column that only one file has, another order of columns.
    std::fs::write(
        world.path("s/1.csv"),
        "\u{feff}id,event_timestamp,label\n007,1970-01-01T00:02:30Z,0.5\n\"7\",1970-01-01 00:01:40,\n",
    )
    .unwrap();
    std::fs::write(world.path("s/2.csv"), "event_timestamp,id\n1970-01-01T02:05:00+02:00,007\n,7\n").unwrap();
    let (manifest, rows) = retrieve(&world, &request(&world, files("s"))).await.unwrap();
    assert_eq!(
        shown(&rows),
        ["007 1970-01-01T00:02:30Z 0.5 1", "7 1970-01-01T00:01:40Z 3", "007 1970-01-01T00:05:00Z 2", "7",]
    );
    let types: Vec<&str> = manifest.schema.iter().map(|column| column.data_type.as_str()).collect();
    assert_eq!(types, ["Utf8", "Timestamp(µs, \"UTC\")", "Float64", "Int64"]);
    // The manifest names what was given, not the copy.
    let spine: Vec<&str> = manifest
        .sources
        .iter()
        .filter(|source| source.role == "spine")
        .map(|source| source.path.as_str())
        .collect();
    assert!(
        spine.len() == 2 && spine[0].ends_with("/s/1.csv") && spine[1].ends_with("/s/2.csv"),
        "{spine:?}"
    );
    assert_eq!(manifest.report.views[0].null_instant, 1);
}

#[tokio::test]
async fn json_lines_and_arrow_files_are_spines() {
    let world = by_text();
    // A number where the key is declared as a string, a nested column, a column that comes late.
    std::fs::write(
        world.path("s.jsonl"),
        "{\"id\": \"007\", \"event_timestamp\": \"1970-01-01T00:02:30Z\", \"tags\": [\"a\", \"b\"]}\n\
         {\"id\": 7, \"event_timestamp\": \"1970-01-01T00:01:40Z\", \"weight\": 2}\n",
    )
    .unwrap();
    let (_, rows) = retrieve(&world, &request(&world, files("s.jsonl"))).await.unwrap();
    assert_eq!(shown(&rows), ["007 1970-01-01T00:02:30Z [a, b] 1", "7 1970-01-01T00:01:40Z 2 3"]);

    let columns = vec![("id", texts(&["007", "7"])), ("event_timestamp", seconds(&[150, 99]))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let create = |name: &str| File::create(world.path(name)).unwrap();
    let mut file = FileWriter::try_new(create("s.feather"), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    file.finish().unwrap();
    let mut stream = StreamWriter::try_new(create("s.arrows"), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    stream.finish().unwrap();
    let packed = IpcWriteOptions::default()
        .try_with_compression(Some(arrow::ipc::CompressionType::LZ4_FRAME))
        .unwrap();
    let mut file = FileWriter::try_new_with_options(create("s.arrow"), &batch.schema(), packed).unwrap();
    file.write(&batch).unwrap();
    file.finish().unwrap();
    for name in ["s.feather", "s.arrows", "s.arrow"] {
        let (manifest, rows) = retrieve(&world, &request(&world, files(name))).await.unwrap();
        assert_eq!(shown(&rows), ["007 1970-01-01T00:02:30 1", "7 1970-01-01T00:01:39"], "{name}");
        assert_eq!(manifest.schema[1].data_type, "Timestamp(s)", "{name}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let world = by_text();
    let table: [(&str, &str, &str); 9] = [
        ("a.csv", "id,event_timestamp\n007,2026-01-01,1\n", "Expected 2 records, found 3 records at line 2"),
        ("b.csv", "", "it has no columns"),
        ("c.csv", "id,id\n1,2\n", "two columns are called `id`"),
        ("d.jsonl", "{\"id\": 1}\n{\"id\": \n", "cannot be read as JSON lines"),
        ("e.jsonl", "[1, 2]\n", "cannot be read as JSON lines"),
        ("f.csv.gz", "x", "`.gz` files are not unpacked"),
        ("g.arrow", "id,event_timestamp\n", "cannot be read as Arrow IPC"),
        ("h.csv", "id\n007\n", "no column that can be its instant"),
        ("i.csv", "event_timestamp\n2026-01-01\n", "has no column `id`"),
    ];
    for (name, text, said) in table {
        std::fs::write(world.path(name), text).unwrap();
        let error = retrieve(&world, &request(&world, files(name))).await.unwrap_err();
        assert!(error.to_string().contains(said), "{name}: {error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert_eq!(error.code().exit_status(), 3, "{name}: {error}");
        assert!(error.hint().is_some(), "{name}");
    }
    // A value that the declared type cannot have.
    let mut world = by_text();
    world.catalog.feature_views[0].join_keys[0].value_type = ValueType(4);
    std::fs::write(world.path("s.csv"), "id,event_timestamp\n1,2026-01-01\nx,2026-01-01\n").unwrap();
    let error = retrieve(&world, &request(&world, files("s.csv"))).await.unwrap_err();
    assert!(error.to_string().contains("'x' as type 'Int64' for column 0 of data row 2"), "{error}");
    assert_eq!(error.code().exit_status(), 3);
    assert_eq!(world.listing("out").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_text_file_that_changes_meanwhile_is_noticed() {
    let world = by_text();
    let write =
        |rows: &str| std::fs::write(world.path("s.csv"), format!("id,event_timestamp\n{rows}")).unwrap();
    write("7,1970-01-02\n");
    let engine = world.embedded(JoinForm::LateFold, 2);
    let (folder, stage) = (world.folder.path(), world.location("stage"));
    let stage = Some(StageSite { folder: &stage, tag: "x", engine: &engine, bytes_max: None });
    let bases = Bases { stage, ..Bases::new(folder, folder) };
    let request = request(&world, files("s.csv"));
    let again = || prepare(&world.stores, &world.catalog, &request, bases, engine.form());
    let first = again().await.unwrap();
    first.check_unchanged(&world.stores).await.unwrap();
    assert_eq!(again().await.unwrap().spine_hash(), first.spine_hash());
    write("7,1970-01-02\n7,1970-01-03\n");
    let error = first.check_unchanged(&world.stores).await.unwrap_err();
    assert!(error.to_string().contains("s.csv` changed while it was read"), "{error}");
    let second = again().await.unwrap();
    assert_eq!((first.spine.rows(), second.spine.rows()), (1, 2), "what was staged before is not used again");
    assert_ne!(second.spine_hash(), first.spine_hash());
}

#[tokio::test]
async fn a_spine_that_is_too_large_to_be_staged_leaves_nothing() {
    let world = by_text();
    let rows: String = (0..50_000_u64).map(|row| format!("{row},{}\n", 1_000_003 * row % 86_399)).collect();
    std::fs::write(world.path("s.csv"), format!("id,label\n{rows}")).unwrap();
    let engine = world.embedded(JoinForm::LateFold, 2);
    let (folder, stage) = (world.folder.path(), world.location("stage"));
    for from in [files("s.csv"), SpineFrom::Sql("SELECT a.id FROM 's.csv' a".to_owned())] {
        let site = StageSite { folder: &stage, tag: "x", engine: &engine, bytes_max: Some(10_000) };
        let bases = Bases { stage: Some(site), ..Bases::new(folder, folder) };
        let request = request(&world, from);
        let prepared = prepare(&world.stores, &world.catalog, &request, bases, engine.form()).await;
        let error = prepared.unwrap_err();
        assert_eq!(error.to_string(), "the spine that has to be written is larger than 10000 bytes");
        assert_eq!(error.code().exit_status(), 10);
        assert_eq!(world.listing("stage").await, Vec::<String>::new());
    }
}

/// Two views of the same key: rows at 10, 20 and 30 s, and one created late.
fn fleet() -> World {
    let mut world = World::new();
    world.write(
        "view.parquet",
        vec![
            ("id", Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3), None])) as ArrayRef),
            ("t", seconds(&[10, 20, 30, 10])),
            ("c", seconds(&[10, 40, 30, 10])),
            ("x", ints(&[1, 2, 3, 4])),
        ],
    );
    world.add_view(&ViewSpec { created: Some("c"), ..ViewSpec::default() });
    world.write(
        "other.parquet",
        vec![("id", ints(&[1, 4, 5])), ("t", seconds(&[5, 11, 25])), ("y", ints(&[1, 4, 5]))],
    );
    world.add_view(&ViewSpec {
        name: "other",
        path: "other.parquet",
        features: &["y"],
        ttl_seconds: Some(10),
        ..ViewSpec::default()
    });
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_as_of_an_instant_are_those_with_an_eligible_row() {
    let world = fleet();
    for engine in engines::some(&world.stores).await {
        let (name, engine) = (engine.name.as_str(), engine.engine.as_ref());
        for (cut, features, expected) in [
            // Of `other`: 1 has expired at 21 s, 4 is in reach, 5 comes later.
            (false, &["view:x", "other:y"][..], &["1 1", "2 2", "4 4"][..]),
            (true, &["view:x", "other:y"], &["1 1", "4 4"]),
            (false, &["other:y"], &["4 4"]),
        ] {
            let output = format!("{name}-{cut}-{}", features.len());
            let mut request = world.request(features, &output);
            request.spine =
                SpineRequest { from: SpineFrom::AsOf("1970-01-01T00:00:21Z".into()), timestamp_column: None };
            request.filter_by_created_timestamp = cut;
            let manifest = world.run(engine, &request, &output, false).await.unwrap().manifest;
            let rows = world.rows(&output, &manifest).await;
            assert_eq!(manifest.schema[1].data_type, "Timestamp(µs, \"UTC\")");
            let mut lines = shown(&rows);
            lines.sort();
            let lines: Vec<String> =
                lines.iter().map(|line| line.replace(" 1970-01-01T00:00:21Z", "")).collect();
            assert_eq!(lines, expected, "{output}");
        }
    }
}

#[tokio::test]
async fn views_of_other_keys_have_no_entities_in_common() {
    let mut world = fleet();
    world.write("wide.parquet", vec![("place", ints(&[1])), ("t", seconds(&[5])), ("z", ints(&[1]))]);
    let spec = ViewSpec {
        name: "wide",
        path: "wide.parquet",
        keys: &["place"],
        features: &["z"],
        ..ViewSpec::default()
    };
    world.add_view(&spec);
    world.add_view(&ViewSpec {
        name: "all",
        path: "wide.parquet",
        keys: &[],
        features: &["z"],
        ..ViewSpec::default()
    });
    for (features, said) in [
        (&["view:x", "wide:z"][..], "`view` has `id`, `wide` has `place`"),
        (&["all:z"], "feature view `all` has none"),
    ] {
        let mut request = world.request(features, "out");
        request.spine.from = SpineFrom::AsOf("1970-01-01T00:00:21Z".into());
        request.full_feature_names = true;
        let engine = world.embedded(JoinForm::LateFold, 2);
        let error = world.run(&engine, &request, "id", false).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.code().exit_status(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_select_reads_views_and_files() {
    let world = fleet();
    std::fs::write(
        world.path("labels.csv"),
        "id,at,label\n1,1970-01-01T00:00:15Z,good\n2,1970-01-01T00:00:19Z,bad\n3,1970-01-01T00:00:31Z,\n",
    )
    .unwrap();
    let table = [
        (
            "SELECT id, at AS event_timestamp, label FROM 'labels.csv' WHERE label IS NOT NULL ORDER BY id",
            &["1 1970-01-01T00:00:15Z good 1", "2 1970-01-01T00:00:19Z bad"][..],
        ),
        (
            "WITH late AS (SELECT v.id, max(v.t) AS event_timestamp FROM VIEW v JOIN 'labels.csv' l ON v.id = l.id GROUP BY v.id) \
          SELECT * FROM late",
            &["1 1970-01-01T00:00:10 1", "2 1970-01-01T00:00:20 2", "3 1970-01-01T00:00:30 3"],
        ),
        (
            "SELECT other.id, other.t AS event_timestamp FROM other WHERE other.id = other.id AND other.t = other.t AND \
             other.y = other.y AND other.id = other.id UNION ALL SELECT id, c FROM view WHERE id > 2",
            &[
                "1 1970-01-01T00:00:05",
                "3 1970-01-01T00:00:30 3",
                "4 1970-01-01T00:00:11",
                "5 1970-01-01T00:00:25",
            ],
        ),
    ];
    for engine in engines::some(&world.stores).await {
        let (name, engine) = (engine.name.as_str(), engine.engine.as_ref());
        for (number, (sql, expected)) in table.iter().enumerate() {
            let output = format!("{name}-{number}");
            let mut request = world.request(&["view:x"], &output);
            request.spine.from = SpineFrom::Sql((*sql).to_owned());
            let manifest = world.run(engine, &request, &output, false).await.unwrap().manifest;
            let mut lines = shown(&world.rows(&output, &manifest).await);
            lines.sort();
            assert_eq!(&lines, expected, "{output}: {sql}");
        }
    }
}

#[tokio::test]
async fn a_select_is_one_select_of_known_tables() {
    let world = fleet();
    let table = [
        ("SELEC 1", "--spine-sql`: Expected: an SQL statement"),
        ("SELECT 1; SELECT 2", "only supports a single SQL statement"),
        ("CREATE TABLE t AS SELECT 1", "it is no SELECT but `CREATE`"),
        ("COPY (SELECT 1) TO 'x.csv'", "it is no SELECT but `COPY`"),
        ("SET a = 1", "it is no SELECT but `SET`"),
        ("SELECT id, t AS event_timestamp INTO other FROM view", "DDL not supported: CreateMemoryTable"),
        ("INSERT INTO view VALUES (1)", "it is no SELECT but `INSERT`"),
        ("EXPLAIN SELECT 1", "it is no SELECT but `EXPLAIN`"),
        (&format!("SELECT l.id{} FROM view l", " .id".repeat(60)), "has more than 10 parts"),
        ("SELECT * FROM veiw", "there is no table `veiw`"),
        ("SELECT * FROM information_schema.tables", "there is no table `information_schema.tables`"),
        ("SELECT nothing FROM view", "nothing"),
        ("SELECT id, now() AS event_timestamp FROM view", "`now()` does not give the same each time"),
        ("SELECT id FROM view WHERE random() < (SELECT 1)", "`random()` does not give the same each time"),
        ("SELECT a.id, b.id FROM view a, view b", "two of its columns are called `id`"),
    ];
    for (sql, said) in table {
        let error = retrieve(&world, &request(&world, SpineFrom::Sql(sql.to_owned()))).await.unwrap_err();
        assert!(error.to_string().to_lowercase().contains(&said.to_lowercase()), "{sql}: {error}");
        assert_eq!(error.code().exit_status(), 3, "{sql}: {error}");
    }
    let missing = request(&world, SpineFrom::Sql("SELECT * FROM 'no/such.parquet'".into()));
    assert_eq!(retrieve(&world, &missing).await.unwrap_err().code().exit_status(), 4);
}
