//! What parts say of the order of their rows: true where they say something, and nothing where order was asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray, TimestampSecondArray};
use arrow::datatypes::{Int64Type, TimestampSecondType};
use backsight_asof::JoinForm;
use backsight_engine::LocalCluster;
use backsight_retrieval::{RetrievalEngine, RetrievalRequest};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::world::{ViewSpec, World, engine_options, read_parquet};

/// Many rows of a few ids, the first of them without an id if so asked.
fn world(has_null: bool) -> World {
    let mut world = World::new();
    let rows = 0..5_000_i64;
    let ids: Int64Array =
        rows.clone().map(|row| (!has_null || row > 0).then_some(40 - row * 7 % 40)).collect();
    let instants: TimestampSecondArray = rows.clone().map(|row| Some(row * 31 % 4_000)).collect();
    let labels = rows.clone().map(|row| Some(format!("row {row}")));
    world.write(
        "spine.parquet",
        vec![
            ("label", Arc::new(labels.collect::<StringArray>()) as ArrayRef),
            ("event_timestamp", Arc::new(instants)),
            ("id", Arc::new(ids)),
        ],
    );
    let features = 0..400_i64;
    world.write(
        "view.parquet",
        vec![
            ("id", Arc::new(Int64Array::from_iter_values(features.clone().map(|row| row % 41))) as ArrayRef),
            ("t", Arc::new(TimestampSecondArray::from_iter_values(features.clone().map(|row| row * 10)))),
            ("x", Arc::new(Float64Array::from_iter_values(features.map(|row| row as f64)))),
        ],
    );
    world.add_view(&ViewSpec::default());
    world
}

/// How many rows a dataset has, and how many of them are in parts that say that they are sorted.
async fn sorted_rows(world: &World, engine: &dyn RetrievalEngine, request: &RetrievalRequest) -> (u64, u64) {
    let output = request.output.as_deref().unwrap();
    let manifest = world.run(engine, request, output, false).await.unwrap().manifest;
    let (mut rows, mut sorted) = (0, 0);
    for part in &manifest.parts {
        let location = world.location(output).join(&part.path);
        let bytes = world.stores.read(&location).await.unwrap().unwrap().bytes;
        let footer = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
        let groups = footer.metadata().row_groups();
        let claims: Vec<Vec<i32>> = groups
            .iter()
            .filter_map(|group| group.sorting_columns())
            .map(|columns| columns.iter().map(|column| column.column_idx).collect())
            .collect();
        rows += part.rows;
        if claims.is_empty() {
            continue;
        }
        // The id, then the instant.
        assert_eq!(claims, vec![vec![2, 1]; groups.len()]);
        let batch = read_parquet(bytes);
        let ids = batch.column(2).as_primitive::<Int64Type>().values();
        let instants = batch.column(1).as_primitive::<TimestampSecondType>().values();
        assert!(ids.iter().zip(instants).is_sorted());
        sorted += part.rows;
    }
    (rows, sorted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_say_that_they_are_sorted_where_they_are() {
    let mut clusters = Vec::new();
    for form in [JoinForm::SlotFold, JoinForm::CandidateFold] {
        let stores = World::new().stores;
        clusters.push(LocalCluster::start(stores, engine_options(3), form.into(), 2, 2).await.unwrap());
    }
    let sorting = [JoinForm::SlotFold, JoinForm::LateFold];
    let (plain, with_null) = (world(false), world(true));
    for (name, world) in [("plain", &plain), ("null", &with_null)] {
        let local: Vec<_> = sorting.iter().map(|&form| world.embedded(form, 2)).collect();
        let local = local.iter().map(|engine| engine as &dyn RetrievalEngine);
        let engines = local.chain(clusters.iter().map(|cluster| cluster as &dyn RetrievalEngine));
        for (number, engine) in engines.enumerate() {
            let request = world.request(&["view:x"], &format!("{name}-{number}"));
            let (rows, sorted) = sorted_rows(world, engine, &request).await;
            assert_eq!(rows, 5_000);
            // A row without an id has no place in the order: its part says nothing.
            assert_eq!(sorted == rows, name == "plain", "{sorted} of {rows} by engine {number}");
            let ordered = RetrievalRequest {
                preserve_order: true,
                output: Some(format!("{name}-{number}-ordered")),
                ..request
            };
            assert_eq!(sorted_rows(world, engine, &ordered).await, (5_000, 0));
        }
        // It puts rows near each other, but a part is of several runs.
        let engine = world.embedded(JoinForm::Broadcast, 2);
        let request = world.request(&["view:x"], &format!("{name}-broadcast"));
        assert_eq!(sorted_rows(world, &engine, &request).await, (5_000, 0));
    }
}
