//! Files that let pages and row groups be left out: what is skipped, and that every engine gives the rows that are due.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampSecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use backsight_asof::JoinForm;
use backsight_engine::LocalCluster;
use backsight_retrieval::{RetrievalEngine, Skipped};
use parquet::data_type::{Int64Type as PlainInt64, Int96, Int96Type};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::world::{ViewSpec, World, engine_options};

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn seconds(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampSecondArray::from_iter_values(values))
}

/// Pages of 100 rows, in row groups of `group_rows`.
fn small_pages(group_rows: usize) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(100)
        .set_write_batch_size(100)
}

/// A spine of ids and instants in a world whose view has `x` by `id`.
fn world(ids: ArrayRef, instants: &[i64], ttl_seconds: Option<i64>) -> World {
    let mut world = World::new();
    let columns = vec![("id", ids), ("event_timestamp", seconds(instants.iter().copied()))];
    world.write("spine.parquet", columns);
    world.add_view(&ViewSpec { ttl_seconds, ..ViewSpec::default() });
    world
}

fn floats(values: impl IntoIterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

/// Ballista in every form, for all the worlds of a test.
struct Clusters(Vec<(String, LocalCluster)>);

impl Clusters {
    async fn start() -> Self {
        let mut clusters = Vec::new();
        for form in [JoinForm::SlotFold, JoinForm::CandidateFold, JoinForm::Broadcast] {
            let cluster = LocalCluster::start(World::new().stores, engine_options(3), form.into(), 2, 2);
            clusters.push((format!("ballista-{}", clusters.len()), cluster.await.unwrap()));
        }
        Self(clusters)
    }

    /// Retrieves `x` on every engine, in the order of the spine; what was skipped is the same for all.
    async fn check(&self, world: &World, expected: &[Option<f64>]) -> Skipped {
        let mut request = world.request(&["view:x"], "out");
        request.preserve_order = true;
        let local = [JoinForm::NaiveLoop, JoinForm::SlotFold, JoinForm::LateFold, JoinForm::Broadcast];
        let local: Vec<_> = local.into_iter().map(|form| world.embedded(form, 3)).collect();
        let mut engines: Vec<(String, &dyn RetrievalEngine)> = Vec::new();
        for (number, engine) in local.iter().enumerate() {
            engines.push((format!("local-{number}"), engine));
        }
        for (name, cluster) in &self.0 {
            engines.push((name.clone(), cluster));
        }
        let mut skipped = None;
        for (name, engine) in engines {
            request.output = Some(name.clone());
            let manifest = world.run(engine, &request, &name, false).await.unwrap().manifest;
            let rows = world.rows(&name, &manifest).await;
            let x = rows.column_by_name("x").unwrap().as_primitive::<Float64Type>();
            let found: Vec<Option<f64>> = x.iter().collect();
            // NaN is not equal to itself.
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{name}");
            let of_view = manifest.scans[1].stats.skipped;
            assert_eq!(*skipped.get_or_insert(of_view), of_view, "{name}");
        }
        skipped.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_out_of_time_are_left_out() {
    let clusters = Clusters::start().await;
    let world = world(ints([1, 2, 3, 9]), &[5_000, 5_030, 5_060, 5_060], Some(50));
    let times = || 0..10_000_i64;
    // One row has no time, and the answer to the second row is no number.
    let t: TimestampSecondArray = times().map(|t| (t != 5_001).then_some(t)).collect();
    let x = times().map(|t| if t == 5_028 { f64::NAN } else { t as f64 });
    let columns =
        vec![("id", ints(times().map(|t| t % 7))), ("t", Arc::new(t) as ArrayRef), ("x", floats(x))];
    world.write_as("view.parquet", small_pages(100_000).build(), columns);
    let last = |id: i64, at: i64| (0..=at).rev().find(|t| t % 7 == id).map(|t| t as f64);
    assert_eq!(last(2, 5_030), Some(5_028.0));
    let skipped = clusters.check(&world, &[last(1, 5_000), Some(f64::NAN), last(3, 5_060), None]).await;
    // From 4,950 (5,000 − 50) to 5,060: pages 4,900..5,000 and 5,000..5,100 of a hundred.
    let expected = Skipped { pages_by_time: 98, rows_in_pages: 9_800, ..Skipped::default() };
    assert_eq!(skipped, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_without_the_spines_keys_are_left_out() {
    let clusters = Clusters::start().await;
    // A hundred rows an id, so one page each; the last thousand rows have no id.
    let rows = || 0..10_000_i64;
    let ids = |null_from: i64| rows().map(move |row| (row < null_from).then_some(row / 100));
    let text = |id: i64| format!("customer {id:05}");
    let cases: Vec<(ArrayRef, ArrayRef, usize)> = vec![
        (ints([3, 77, 99, 3]), Arc::new(ids(9_000).collect::<Int64Array>()), 98),
        // Longer than what page index and footer hold of it: of the range, not of each, bounds are known.
        (
            Arc::new(StringArray::from(vec![text(3), text(77), text(99), text(3)])),
            Arc::new(ids(9_000).map(|id| id.map(text)).collect::<StringArray>()),
            // `customer 000` is what is left of the first hundred: pages of null are all that can be skipped.
            10,
        ),
    ];
    for (spine, ids, pages) in cases {
        let world = world(spine, &[50, 50, 50, 1_000], None);
        let columns = vec![
            ("id", ids),
            ("t", seconds(rows().map(|row| row % 100))),
            ("x", floats(rows().map(|row| row as f64))),
        ];
        let properties = small_pages(100_000)
            .set_statistics_truncate_length(Some(12))
            .set_column_index_truncate_length(Some(12));
        world.write_as("view.parquet", properties.build(), columns);
        let skipped = clusters.check(&world, &[Some(350.0), Some(7_750.0), None, Some(399.0)]).await;
        let expected =
            Skipped { pages_by_keys: pages, rows_in_pages: pages as u64 * 100, ..Skipped::default() };
        assert_eq!(skipped, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_groups_whose_filter_holds_no_key_are_left_out() {
    let clusters = Clusters::start().await;
    // Even ids, then odd ones: the ranges overlap, the pages, too.
    let shuffled = |row: i64| (row * 7_919) % 1_000;
    let ids = || (0..2_000_i64).map(|row| 2 * shuffled(row % 1_000) + row / 1_000);
    let dates = |ids: Vec<i64>| -> ArrayRef {
        Arc::new(Date32Array::from_iter_values(ids.into_iter().map(|id| i32::try_from(id).unwrap())))
    };
    let decimals = |ids: Vec<i64>| -> ArrayRef {
        let ids = Decimal128Array::from_iter_values(ids.into_iter().map(i128::from));
        Arc::new(ids.with_precision_and_scale(10, 0).unwrap())
    };
    let texts = |ids: Vec<i64>| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(ids.into_iter().map(|id| format!("id {id:06}"))))
    };
    let to = |data_type: DataType| move |ids: Vec<i64>| cast(&ints(ids), &data_type).unwrap();
    type Keys = Box<dyn Fn(Vec<i64>) -> ArrayRef>;
    let cases: Vec<(Keys, Keys, usize)> = vec![
        (Box::new(to(DataType::Int64)), Box::new(to(DataType::Int64)), 1),
        (Box::new(to(DataType::Int64)), Box::new(to(DataType::Int32)), 1),
        (Box::new(to(DataType::Int16)), Box::new(to(DataType::UInt32)), 1),
        (Box::new(to(DataType::Int64)), Box::new(to(DataType::UInt64)), 1),
        (Box::new(texts), Box::new(texts), 1),
        // Not known how they are stored: everything is read.
        (Box::new(decimals), Box::new(to(DataType::Int64)), 0),
        (Box::new(to(DataType::Int64)), Box::new(decimals), 0),
        (Box::new(dates), Box::new(dates), 0),
    ];
    for (number, (of_spine, of_view, groups)) in cases.into_iter().enumerate() {
        let world = world(of_spine(vec![1, 501, 1_999, 501]), &[50, 50, 50, 0], Some(100));
        let columns = vec![
            ("id", of_view(ids().collect())),
            ("t", seconds((0..2_000).map(|_| 10))),
            ("x", floats(ids().map(|id| id as f64))),
        ];
        let properties = small_pages(1_000)
            .set_bloom_filter_enabled(true)
            .set_bloom_filter_max_ndv(1_000)
            .set_bloom_filter_fpp(0.001);
        world.write_as("view.parquet", properties.build(), columns);
        let skipped = clusters.check(&world, &[Some(1.0), Some(501.0), Some(1_999.0), None]).await;
        assert_eq!(skipped.row_groups_by_bloom_filter, groups, "case {number}");
        assert_eq!(Skipped { row_groups_by_bloom_filter: 0, ..skipped }, Skipped::default(), "case {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_twelve_bytes_are_all_read() {
    let clusters = Clusters::start().await;
    let world = world(ints([1, 2]), &[5_000, 5_000], Some(50));
    let schema = "message m { required int64 id; required int96 t; required double x; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = std::fs::File::create(world.path("view.parquet")).unwrap();
    let properties = Arc::new(small_pages(100_000).build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let times: Vec<i64> = (0..10_000).collect();
    let mut ids = group.next_column().unwrap().unwrap();
    let of_rows: Vec<i64> = times.iter().map(|t| t % 7).collect();
    ids.typed::<PlainInt64>().write_batch(&of_rows, None, None).unwrap();
    ids.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let stamps: Vec<Int96> = times
        .iter()
        .map(|&t| {
            let nanos = t.unsigned_abs() * 1_000_000_000;
            let mut stamp = Int96::new();
            // Day 2,440,588 of the Julian calendar is the first of 1970.
            stamp.set_data(
                u32::try_from(nanos & 0xFFFF_FFFF).unwrap(),
                u32::try_from(nanos >> 32).unwrap(),
                2_440_588,
            );
            stamp
        })
        .collect();
    column.typed::<Int96Type>().write_batch(&stamps, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let xs: Vec<f64> = times.iter().map(|&t| t as f64).collect();
    column.typed::<parquet::data_type::DoubleType>().write_batch(&xs, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let last = |id: i64| (0..=5_000).rev().find(|t| t % 7 == id).map(|t| t as f64);
    assert_eq!(clusters.check(&world, &[last(1), last(2)]).await, Skipped::default());
}
