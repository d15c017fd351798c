//! Layouts of sources: folders that are columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampSecondArray};
use arrow::util::pretty::pretty_format_batches;
use backsight_asof::JoinForm;
use backsight_engine::LocalCluster;
use backsight_registry::model::ValueType;
use backsight_retrieval::{Bases, RetrievalEngine, RetrievalRequest, prepare};

use crate::world::{ViewSpec, World, engine_options};

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
    let cluster = async |form: JoinForm| {
        LocalCluster::start(world.stores.clone(), engine_options(3), form.into(), 2, 2).await.unwrap()
    };
    let (folding, scanning) = (cluster(JoinForm::SlotFold).await, cluster(JoinForm::CandidateFold).await);
    let [naive, fold, late, broadcast] =
        [JoinForm::NaiveLoop, JoinForm::SlotFold, JoinForm::LateFold, JoinForm::Broadcast]
            .map(|form| world.embedded(form, 2));
    let engines: [(&str, &dyn RetrievalEngine); 6] = [
        ("naive", &naive),
        ("fold", &fold),
        ("late", &late),
        ("broadcast", &broadcast),
        ("ballista", &folding),
        ("ballista-candidates", &scanning),
    ];
    for (name, engine) in engines {
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
