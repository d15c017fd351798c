//! Layouts of sources: folders that are columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampSecondArray};
use arrow::util::pretty::pretty_format_batches;
use backsight_asof::JoinForm;
use backsight_registry::model::ValueType;
use backsight_retrieval::{Bases, RetrievalRequest, SpineFrom, SpineRequest, prepare, stage_local_spine};

use crate::engines;
use crate::world::{ViewSpec, World, read_parquet};

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn seconds(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampSecondArray::from(values.to_vec()))
}

/// Rows by country, a string key, and day, a feature; both are folders. Of the equal times of (1, FR) the later day decides.
fn by_folders() -> World {
    let mut world = World::new();
    for (folder, ids, times, xs) in [
        ("country=FR/day=2026-01-01", [1, 2], [10, 20], [1, 2]),
        ("country=FR/day=2026-01-02", [1, 2], [10, 30], [1, 4]),
        ("country=044/day=2026-01-01", [1, 2], [10, 20], [5, 6]),
    ] {
        let columns = vec![("id", ints(&ids)), ("t", seconds(&times)), ("x", ints(&xs))];
        world.write(&format!("view/{folder}/part-0.parquet"), columns);
    }
    world.add_view(&ViewSpec {
        path: "view",
        keys: &["id", "country"],
        features: &["x", "day"],
        ..ViewSpec::default()
    });
    world.catalog.feature_views[0].join_keys[1].value_type = ValueType(2);
    let countries: ArrayRef = Arc::new(StringArray::from(vec!["FR", "FR", "044", "DE"]));
    world.write(
        "spine.parquet",
        vec![
            ("id", ints(&[1, 2, 2, 1])),
            ("country", countries),
            ("event_timestamp", seconds(&[15, 40, 40, 40])),
        ],
    );
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_keys_and_features_on_every_engine() {
    let world = by_folders();
    for engine in engines::all(&world.stores).await {
        let (name, engine) = (engine.name.as_str(), engine.engine.as_ref());
        let request =
            RetrievalRequest { preserve_order: true, ..world.request(&["view:x", "view:day"], name) };
        let manifest = world.run(engine, &request, name, false).await.unwrap().manifest;
        let text = pretty_format_batches(&[world.rows(name, &manifest).await]).unwrap().to_string();
        let expected = "\
+----+---------+---------------------+---+------------+
| id | country | event_timestamp     | x | day        |
+----+---------+---------------------+---+------------+
| 1  | FR      | 1970-01-01T00:00:15 | 1 | 2026-01-02 |
| 2  | FR      | 1970-01-01T00:00:40 | 4 | 2026-01-02 |
| 2  | 044     | 1970-01-01T00:00:40 | 6 | 2026-01-01 |
| 1  | DE      | 1970-01-01T00:00:40 |   |            |
+----+---------+---------------------+---+------------+";
        assert_eq!(text, expected, "{name}");
        let types: Vec<&str> = manifest.schema.iter().map(|column| column.data_type.as_str()).collect();
        assert_eq!(types, ["Int64", "Utf8", "Timestamp(s)", "Int64", "Date32"], "{name}");
        assert_eq!(manifest.report.views[0].ties, 1, "{name}");
    }
}

#[tokio::test]
async fn folders_of_keys_that_the_spine_lacks_are_not_read() {
    let world = by_folders();
    let countries: ArrayRef = Arc::new(StringArray::from(vec!["FR", "FR"]));
    let columns =
        vec![("id", ints(&[1, 2])), ("country", countries), ("event_timestamp", seconds(&[15, 40]))];
    world.write("spine.parquet", columns);
    let request = world.request(&["view:x"], "unused");
    let folder = world.folder.path();
    let bases = Bases::new(folder, folder);
    let prepared =
        prepare(&world.stores, &world.catalog, &request, bases, JoinForm::LateFold.into()).await.unwrap();
    let (_, stats) = &prepared.plan.scans[1];
    assert_eq!((stats.files, stats.files_all), (2, 3));
}

#[tokio::test]
async fn a_folder_that_is_not_what_the_view_declares_is_named() {
    let mut world = by_folders();
    world.catalog.feature_views[0].join_keys[1].value_type = ValueType(4);
    let request = world.request(&["view:x"], "out");
    let engine = world.embedded(JoinForm::LateFold, 2);
    let error = world.run(&engine, &request, "id", false).await.unwrap_err();
    assert!(error.to_string().contains("its folder says `country=FR`, which is no Int64"), "{error}");
    assert_eq!(error.code().exit_status(), 5);
}

/// A spine in folders of country and day, in one of the forms that spines have.
fn spine_in_folders(world: &World, form: &str) {
    for (folder, ids, times) in [
        ("country=FR/day=2026-01-01", [1, 2], [15, 40]),
        ("country=044/day=__HIVE_DEFAULT_PARTITION__", [2, 3], [40, 40]),
    ] {
        let path = format!("labels-{form}/{folder}/part.{form}");
        match form {
            "parquet" => world.write(&path, vec![("id", ints(&ids)), ("event_timestamp", seconds(&times))]),
            _ => {
                let line = |(id, at)| format!("{id},1970-01-01T00:00:{at}Z\n");
                let lines: String = ids.iter().zip(&times).map(line).collect();
                std::fs::create_dir_all(world.path(&path).parent().unwrap()).unwrap();
                std::fs::write(world.path(&path), format!("id,event_timestamp\n{lines}")).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_of_a_spine_are_its_columns_in_every_form() {
    let world = by_folders();
    let glob = "labels-parquet/*/*/*";
    for form in ["parquet", "csv"] {
        spine_in_folders(&world, form);
    }
    let files = |uri: &str| SpineRequest::files(uri);
    let select = "SELECT * FROM 'labels-csv/*/*/*.csv' ORDER BY country DESC, id";
    let sql = SpineRequest { from: SpineFrom::Sql(select.to_owned()), timestamp_column: None };
    let spines = [
        ("parquet", files("labels-parquet")),
        ("glob", files(glob)),
        ("csv", files("labels-csv")),
        ("sql", sql),
    ];
    for engine in engines::some(&world.stores).await {
        let (name, engine) = (engine.name.as_str(), engine.engine.as_ref());
        for (form, spine) in &spines {
            let output = format!("{name}-{form}");
            let request = RetrievalRequest {
                spine: spine.clone(),
                preserve_order: true,
                ..world.request(&["view:x"], &output)
            };
            let manifest = world.run(engine, &request, &output, false).await.unwrap().manifest;
            let rows = world.rows(&output, &manifest).await;
            let columns: Vec<(String, String)> = manifest
                .schema
                .iter()
                .map(|column| (column.name.clone(), column.data_type.clone()))
                .collect();
            let columns: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
            assert_eq!(columns[2..], ["country Utf8", "day Date32", "x Int64"], "{output}");
            let rows = rows.project(&[0, 2, 3, 4]).unwrap();
            let mut lines: Vec<String> = pretty_format_batches(&[rows])
                .unwrap()
                .to_string()
                .lines()
                .skip(3)
                .filter(|line| line.starts_with('|'))
                .map(str::to_owned)
                .collect();
            lines.sort();
            let expected = [
                "| 1  | FR      | 2026-01-01 | 1 |",
                "| 2  | 044     |            | 6 |",
                "| 2  | FR      | 2026-01-01 | 4 |",
                "| 3  | 044     |            |   |",
            ];
            assert_eq!(lines, expected, "{output}");
        }
    }
}

#[tokio::test]
async fn folders_of_a_spine_go_with_it_to_somebody_who_cannot_see_them() {
    let world = by_folders();
    let folder = world.location("sent");
    for form in ["parquet", "csv"] {
        spine_in_folders(&world, form);
        let spine = SpineRequest::files(format!("labels-{form}"));
        let request = RetrievalRequest { spine, ..world.request(&["view:x"], "out") };
        let working = world.folder.path();
        let staged =
            stage_local_spine(&world.stores, &world.catalog, &request, working, &folder).await.unwrap();
        let staged = world.stores.read(&staged.unwrap()).await.unwrap().unwrap();
        let rows = read_parquet(staged.bytes);
        let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["id", "event_timestamp", "country", "day"], "{form}");
        assert_eq!(rows.num_rows(), 4, "{form}");
    }
    let spine = SpineRequest::files("labels-parquet/country=FR/day=2026-01-01/part.parquet");
    let request = RetrievalRequest { spine, ..world.request(&["view:x"], "out") };
    let working = world.folder.path();
    let staged = stage_local_spine(&world.stores, &world.catalog, &request, working, &folder).await.unwrap();
    assert_eq!(staged, None, "what is named as a file has no folders");
}
