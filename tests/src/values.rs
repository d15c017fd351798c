//! Columns as people have them: every claim runs on the naive loop and the slot fold, which must agree.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, Decimal128Array, Float64Array, Int8Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use backsight_asof::JoinForm;
use backsight_retrieval::{Manifest, RetrievalError};

use crate::world::{ViewSpec, World};

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn seconds(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampSecondArray::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// A column of a dataset as text, by the spine's column `n`.
fn column(rows: &RecordBatch, name: &str) -> Vec<String> {
    let order = rows.column_by_name("n").unwrap();
    let order = arrow::compute::sort_to_indices(order, None, None).unwrap();
    let sorted = arrow::compute::take(rows.column_by_name(name).unwrap(), &order, None).unwrap();
    let options = FormatOptions::new().with_null("null");
    let formatter = ArrayFormatter::try_new(sorted.as_ref(), &options).unwrap();
    (0..sorted.len()).map(|row| formatter.value(row).to_string()).collect()
}

/// Retrieves on both forms and returns rows and manifest of the slot fold.
async fn retrieve(world: &World, features: &[&str]) -> Result<(RecordBatch, Manifest), RetrievalError> {
    let naive = world.embedded(JoinForm::NaiveLoop, 1);
    let oracle = world.run(&naive, &world.request(features, "oracle"), "oracle", false).await?;
    let fold = world.embedded(JoinForm::SlotFold, 3);
    let finished = world.run(&fold, &world.request(features, "out"), "fold", false).await?;
    assert_eq!(finished.manifest.report, oracle.manifest.report);
    let (left, right) =
        (world.rows("oracle", &oracle.manifest).await, world.rows("out", &finished.manifest).await);
    assert_eq!(left.schema(), right.schema());
    for field in left.schema().fields() {
        assert_eq!(column(&left, field.name()), column(&right, field.name()), "{}", field.name());
    }
    Ok((right, finished.manifest))
}

/// Four spine rows: `n` numbers them, `id` is `ids`, the instants are 100, 200, 300, 400 seconds.
fn spine(world: &World, ids: ArrayRef) {
    let numbers: Vec<i64> = (0..).take(ids.len()).collect();
    let instants: Vec<i64> = numbers.iter().map(|n| (n + 1) * 100).collect();
    world.write(
        "spine.parquet",
        vec![("n", ints(&numbers)), ("id", ids), ("event_timestamp", seconds(&instants))],
    );
}

#[tokio::test]
async fn keys_compare_by_value_across_widths_and_layouts() {
    let dictionary =
        cast(&texts(&["1", "2"]), &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)));
    let decimals = Decimal128Array::from(vec![100, 200]).with_precision_and_scale(10, 2).unwrap();
    let cases: Vec<(&str, ArrayRef, ArrayRef)> = vec![
        ("int8 and int64", Arc::new(Int8Array::from(vec![1, 2, 3, 2])), ints(&[1, 2])),
        ("int64 and uint64", ints(&[1, 2, -3, 2]), cast(&ints(&[1, 2]), &DataType::UInt64).unwrap()),
        (
            "utf8 and large utf8",
            texts(&["1", "2", "3", "2"]),
            cast(&texts(&["1", "2"]), &DataType::LargeUtf8).unwrap(),
        ),
        ("utf8 and dictionary", texts(&["1", "2", "3", "2"]), dictionary.unwrap()),
        ("integer and decimal", ints(&[1, 2, 3, 2]), Arc::new(decimals)),
    ];
    for (name, spine_keys, view_keys) in cases {
        let mut world = World::new();
        let spine_type = spine_keys.data_type().clone();
        spine(&world, spine_keys);
        world.write(
            "view.parquet",
            vec![("id", view_keys), ("t", seconds(&[50, 60])), ("x", ints(&[10, 20]))],
        );
        world.add_view(&ViewSpec::default());
        let (rows, _) = retrieve(&world, &["view:x"]).await.unwrap();
        assert_eq!(column(&rows, "x"), ["10", "20", "null", "20"], "{name}");
        assert_eq!(
            *rows.schema().field(1).data_type(),
            spine_type,
            "{name}: the spine's column is unchanged"
        );
    }
}

#[tokio::test]
async fn keys_that_cannot_compare_name_both_columns_and_files() {
    for (spine_keys, view_keys, hint) in [
        (ints(&[1, 2, 3, 4]), texts(&["1", "2"]), "write one of the columns with the other's type"),
        (
            Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0])) as ArrayRef,
            ints(&[1, 2]),
            "floating point keys do not compare exactly: write them as integers or strings",
        ),
    ] {
        let mut world = World::new();
        spine(&world, spine_keys);
        world.write(
            "view.parquet",
            vec![("id", view_keys), ("t", seconds(&[50, 60])), ("x", ints(&[10, 20]))],
        );
        world.add_view(&ViewSpec::default());
        let error = retrieve(&world, &["view:x"]).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("join key `id` is")
                && text.contains("spine.parquet")
                && text.contains("view.parquet"),
            "{text}"
        );
        assert_eq!(error.hint().as_deref(), Some(hint));
        assert_eq!(error.code().exit_status(), 3);
    }
}

#[tokio::test]
async fn instants_are_text_dates_and_integers_with_a_unit() {
    let day = 86_400;
    type TagPairs = &'static [(&'static str, &'static str)];
    let integer_tags: TagPairs = &[("backsight.timestamp_unit", "ms")];
    let cases: Vec<(&str, ArrayRef, TagPairs)> = vec![
        ("text", texts(&["1970-01-02", "1970-01-03T00:00:00Z", "1970-01-03 01:00:00+01:00"]), &[]),
        ("date", Arc::new(Date32Array::from(vec![1, 2, 2])), &[]),
        ("integer", ints(&[day * 1000, 2 * day * 1000, 2 * day * 1000]), integer_tags),
        (
            "nanoseconds",
            Arc::new(TimestampNanosecondArray::from(vec![
                day * 1_000_000_000,
                2 * day * 1_000_000_000,
                2 * day * 1_000_000_000,
            ])),
            &[],
        ),
    ];
    for (name, times, tags) in cases {
        let mut world = World::new();
        let instants =
            TimestampMicrosecondArray::from(vec![day * 1_000_000 - 1, day * 1_000_000, 2 * day * 1_000_000])
                .with_timezone("Europe/Berlin");
        world.write(
            "spine.parquet",
            vec![("n", ints(&[0, 1, 2])), ("id", ints(&[7, 7, 7])), ("event_timestamp", Arc::new(instants))],
        );
        world.write("view.parquet", vec![("id", ints(&[7, 7, 8])), ("t", times), ("x", ints(&[1, 2, 3]))]);
        world.add_view(&ViewSpec { tags, ..ViewSpec::default() });
        let (rows, _) = retrieve(&world, &["view:x"]).await.unwrap();
        assert_eq!(column(&rows, "x"), ["null", "1", "2"], "{name}");
    }
}

#[tokio::test]
async fn a_text_instant_of_the_spine_is_returned_as_it_was() {
    let mut world = World::new();
    let instants = texts(&["2024-01-01T12:00:00+02:00", "2024-01-01 09:59:59"]);
    world.write(
        "spine.parquet",
        vec![("n", ints(&[0, 1])), ("id", ints(&[1, 1])), ("event_timestamp", instants)],
    );
    world.write(
        "view.parquet",
        vec![("id", ints(&[1])), ("t", texts(&["2024-01-01T10:00:00Z"])), ("x", ints(&[5]))],
    );
    world.add_view(&ViewSpec::default());
    let (rows, _) = retrieve(&world, &["view:x"]).await.unwrap();
    assert_eq!(column(&rows, "event_timestamp"), ["2024-01-01T12:00:00+02:00", "2024-01-01 09:59:59"]);
    assert_eq!(column(&rows, "x"), ["5", "null"]);
}

#[tokio::test]
async fn an_integer_instant_needs_a_unit() {
    let mut world = World::new();
    spine(&world, ints(&[1, 1]));
    world.write("view.parquet", vec![("id", ints(&[1])), ("t", ints(&[50])), ("x", ints(&[5]))]);
    world.add_view(&ViewSpec::default());
    let error = retrieve(&world, &["view:x"]).await.unwrap_err();
    assert_eq!(
        error.hint().as_deref(),
        Some("give the source the tag `backsight.timestamp_unit`: s, ms, us or ns")
    );
}

#[tokio::test]
async fn source_files_may_differ_in_order_width_and_presence() {
    let mut world = World::new();
    spine(&world, ints(&[1, 2, 3, 4]));
    world.write(
        "view/a.parquet",
        vec![
            ("id", ints(&[1, 2])),
            ("t", seconds(&[50, 50])),
            ("x", Arc::new(Int32Array::from(vec![10, 20]))),
            ("y", texts(&["a", "b"])),
        ],
    );
    world.write(
        "view/b.parquet",
        vec![("x", ints(&[1 << 40])), ("t", seconds(&[70])), ("id", Arc::new(Int32Array::from(vec![3])))],
    );
    world.add_view(&ViewSpec { path: "view", features: &["x", "y"], ..ViewSpec::default() });
    let (rows, manifest) = retrieve(&world, &["view:y", "view:x"]).await.unwrap();
    assert_eq!(column(&rows, "x"), ["10", "20", "1099511627776", "null"]);
    assert_eq!(column(&rows, "y"), ["a", "b", "null", "null"]);
    let notes = manifest.report.notes.join("\n");
    assert!(notes.contains("1 of 2 source files have no column `y`, it is null there"), "{notes}");
    assert_eq!(manifest.report.views[0].features[0].null_in_winner, 1);
}

#[tokio::test]
async fn source_files_that_contradict_each_other_are_both_named() {
    let mut world = World::new();
    spine(&world, ints(&[1]));
    world.write("view/a.parquet", vec![("id", ints(&[1])), ("t", seconds(&[50])), ("x", ints(&[1]))]);
    world.write("view/b.parquet", vec![("id", ints(&[1])), ("t", seconds(&[50])), ("x", texts(&["1"]))]);
    world.add_view(&ViewSpec { path: "view", ..ViewSpec::default() });
    let text = retrieve(&world, &["view:x"]).await.unwrap_err().to_string();
    assert!(
        text.starts_with("column `x` is Int64 in `")
            && text.contains("a.parquet` but Utf8 in `")
            && text.ends_with("b.parquet`"),
        "{text}"
    );
}

#[tokio::test]
async fn several_key_sets_and_entity_less_views_meet_in_one_row() {
    let mut world = World::new();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", ints(&[0, 1, 2])),
        ("a", ints(&[1, 1, 2])),
        ("b", texts(&["u", "v", "v"])),
        ("event_timestamp", seconds(&[100, 100, 100])),
    ];
    world.write("spine.parquet", columns);
    world.write("by_a.parquet", vec![("a", ints(&[1, 2])), ("t", seconds(&[1, 1])), ("x", ints(&[11, 12]))]);
    world.write("by_b.parquet", vec![("b", texts(&["v"])), ("t", seconds(&[1])), ("y", ints(&[21]))]);
    world.write(
        "by_both.parquet",
        vec![
            ("b", texts(&["u", "v"])),
            ("a", ints(&[1, 2])),
            ("t", seconds(&[1, 1])),
            ("z", ints(&[31, 32])),
        ],
    );
    world.write("by_time.parquet", vec![("t", seconds(&[1, 99, 101])), ("w", ints(&[41, 42, 43]))]);
    world.add_view(&ViewSpec {
        name: "by_a",
        path: "by_a.parquet",
        keys: &["a"],
        features: &["x"],
        ..ViewSpec::default()
    });
    world.add_view(&ViewSpec {
        name: "by_b",
        path: "by_b.parquet",
        keys: &["b"],
        features: &["y"],
        ..ViewSpec::default()
    });
    world.add_view(&ViewSpec {
        name: "by_both",
        path: "by_both.parquet",
        keys: &["b", "a"],
        features: &["z"],
        ..ViewSpec::default()
    });
    world.add_view(&ViewSpec {
        name: "by_time",
        path: "by_time.parquet",
        keys: &[],
        features: &["w"],
        ..ViewSpec::default()
    });
    let (rows, _) = retrieve(&world, &["by_both:z", "by_a:x", "by_time:w", "by_b:y"]).await.unwrap();
    let names: Vec<String> = rows.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["n", "a", "b", "event_timestamp", "z", "x", "w", "y"]);
    assert_eq!(column(&rows, "z"), ["31", "null", "32"]);
    assert_eq!(column(&rows, "x"), ["11", "11", "12"]);
    assert_eq!(column(&rows, "w"), ["42", "42", "42"]);
    assert_eq!(column(&rows, "y"), ["null", "21", "21"]);
}

#[tokio::test]
async fn row_groups_out_of_reach_are_not_read_and_change_nothing() {
    let mut world = World::new();
    spine(&world, ints(&[1, 2, 1, 2]));
    let times: Vec<i64> = (0..1000).collect();
    let ids: Vec<i64> = times.iter().map(|t| t % 3).collect();
    world.write_groups(
        "view.parquet",
        50,
        vec![("id", ints(&ids)), ("t", seconds(&times)), ("x", ints(&times))],
    );
    world.add_view(&ViewSpec { ttl_seconds: Some(30), ..ViewSpec::default() });
    let (rows, _) = retrieve(&world, &["view:x"]).await.unwrap();
    assert_eq!(column(&rows, "x"), ["100", "200", "298", "398"]);
    let folder = world.folder.path();
    let bases = backsight_retrieval::Bases::new(folder, folder);
    let request = world.request(&["view:x"], "unused");
    let prepared = backsight_retrieval::prepare(
        &world.stores,
        &world.catalog,
        &request,
        bases,
        JoinForm::SlotFold.into(),
    )
    .await
    .unwrap();
    let (_, stats) = &prepared.plan.scans[1];
    // From 70 (100 − 30) to 400: groups 50..100 up to 400..450.
    assert_eq!((stats.row_groups, stats.row_groups_all), (8, 20));
}

#[tokio::test]
async fn field_mapping_applies_to_keys_times_and_features() {
    let mut world = World::new();
    spine(&world, ints(&[1, 2]));
    world.write(
        "view.parquet",
        vec![("driver", ints(&[1])), ("at", seconds(&[5])), ("made", seconds(&[5])), ("raw", ints(&[9]))],
    );
    world.add_view(&ViewSpec {
        created: Some("c"),
        mapping: &[("driver", "id"), ("at", "t"), ("made", "c"), ("raw", "x")],
        ..ViewSpec::default()
    });
    let (rows, _) = retrieve(&world, &["view:x"]).await.unwrap();
    assert_eq!(column(&rows, "x"), ["9", "null"]);
}

#[tokio::test]
async fn a_spine_without_rows_gives_a_dataset_with_all_columns() {
    let mut world = World::new();
    spine(&world, ints(&[]));
    world.write("view.parquet", vec![("id", ints(&[1])), ("t", seconds(&[5])), ("x", ints(&[9]))]);
    world.add_view(&ViewSpec::default());
    let (rows, manifest) = retrieve(&world, &["view:x"]).await.unwrap();
    assert_eq!((rows.num_rows(), rows.num_columns()), (0, 4));
    assert_eq!(manifest.report.notes, ["the spine has 0 rows: so has the dataset"]);
}

#[tokio::test]
async fn dictionary_and_nested_features_come_through_unchanged() {
    let mut world = World::new();
    spine(&world, ints(&[1, 2]));
    let dictionary: arrow::array::DictionaryArray<Int32Type> = vec!["red", "blue"].into_iter().collect();
    let list = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
    ]);
    world.write(
        "view.parquet",
        vec![
            ("id", ints(&[1, 2])),
            ("t", seconds(&[5, 5])),
            ("x", Arc::new(dictionary)),
            ("y", Arc::new(list)),
        ],
    );
    world.add_view(&ViewSpec { features: &["x", "y"], ..ViewSpec::default() });
    let (rows, _) = retrieve(&world, &["view:x", "view:y"]).await.unwrap();
    assert_eq!(column(&rows, "x"), ["red", "blue"]);
    assert_eq!(column(&rows, "y"), ["[1, null]", "null"]);
    assert!(matches!(rows.schema().field(3).data_type(), DataType::Dictionary(_, _)));
}

#[tokio::test]
async fn a_corrupt_page_names_file_and_row_group() {
    let mut world = World::new();
    spine(&world, ints(&[1, 2]));
    // Each row group holds small keys and times, so that none is left out.
    let values: Vec<i64> = (0..2000).map(|i| i % 1000 * 7_919 % 10_007).collect();
    world.write_groups(
        "view.parquet",
        1000,
        vec![("id", ints(&values)), ("t", seconds(&values)), ("x", ints(&values))],
    );
    let path = world.path("view.parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() * 7 / 10;
    for byte in &mut bytes[middle..middle + 600] {
        *byte = 0xFF;
    }
    std::fs::write(&path, bytes).unwrap();
    world.add_view(&ViewSpec::default());
    let request = world.request(&["view:x"], "out");
    let error = world.run(&world.embedded(JoinForm::SlotFold, 2), &request, "id", false).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("view.parquet` cannot be read as Parquet (row group 1)"), "{text}");
    assert_eq!(error.code().exit_status(), 5);
    assert_eq!(world.listing("out").await, Vec::<String>::new());
}
