//! Every type of column that Parquet holds, as a feature and as a column of the spine: unchanged in type and value, whatever
//! joins and wherever it runs.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    DurationMicrosecondArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Float64Array,
    Int32Array, Int32Builder, Int64Array, ListArray, MapBuilder, MapFieldNames, RecordBatch, StringArray,
    StringBuilder, StructArray, Time32MillisecondArray, Time64NanosecondArray, TimestampSecondArray,
    UInt8Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, sort_to_indices, take};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit, i256};
use backsight_retrieval::{RetrievalRequest, SpineFrom, SpineRequest};

use crate::engines;
use crate::world::{ViewSpec, World};

/// Rows of each column: the first three are of keys 1 to 3, the last is an older row of key 1.
const ROWS: usize = 4;

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn seconds(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampSecondArray::from(values.to_vec()))
}

fn texts() -> ArrayRef {
    Arc::new(StringArray::from(vec![
        Some("a text that is longer than a view holds inside"),
        None,
        Some(""),
        Some("x"),
    ]))
}

/// A list with a null in it, a null, an empty one, and one more, of items of any type.
fn list_of(items: &ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("element", items.data_type().clone(), true));
    let nulls = NullBuffer::from(vec![true, false, true, true]);
    let offsets = OffsetBuffer::from_lengths([2, 0, 0, 2]);
    Arc::new(ListArray::new(field, offsets, Arc::clone(items), Some(nulls)))
}

fn struct_of(columns: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let fields: Fields =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Arc::new(StructArray::new(fields, columns, Some(NullBuffer::from(vec![true, false, true, true]))))
}

fn map() -> ArrayRef {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("one");
    map.values().append_value(1);
    map.keys().append_value("none");
    map.values().append_null();
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    map.keys().append_value("old");
    map.values().append_value(0);
    map.append(true).unwrap();
    Arc::new(map.finish())
}

/// A name and a column of each type.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let small: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(-3), Some(0)]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(i64::MIN), Some(0)]));
    let as_type = |array: &ArrayRef, data_type: &DataType| cast(array, data_type).unwrap();
    let dictionary = |key: DataType, value: DataType| DataType::Dictionary(Box::new(key), Box::new(value));
    let bytes: ArrayRef =
        Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\0\xff"), None, Some(b""), Some(b"x")]));
    let decimal = Decimal128Array::from(vec![Some(12_345), None, Some(-1), Some(0)]);
    let exact = Decimal256Array::from(vec![Some(i256::MAX), None, Some(i256::MIN), Some(i256::ZERO)]);
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        [Some(b"abc"), None, Some(b"\0\0\0"), Some(b"xyz")].into_iter(),
        3,
    );
    let pairs = FixedSizeListArray::new(
        Arc::new(Field::new("element", DataType::Int32, true)),
        1,
        Arc::clone(&small),
        Some(NullBuffer::from(vec![true, false, true, true])),
    );
    let inner = struct_of(vec![("deep", list_of(&texts())), ("flag", Arc::clone(&small))]);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("Asia/Kathmandu".into()));
    let nanos = as_type(&wide, &DataType::Timestamp(TimeUnit::Nanosecond, None));
    vec![
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]))),
        ("uint8", Arc::new(UInt8Array::from(vec![Some(255), None, Some(0), Some(1)]))),
        ("uint64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0), Some(1)]))),
        ("int8", as_type(&small, &DataType::Int8)),
        ("int16", as_type(&small, &DataType::Int16)),
        ("int32", Arc::clone(&small)),
        ("int64", Arc::clone(&wide)),
        ("float16", as_type(&small, &DataType::Float16)),
        ("float32", Arc::new(Float32Array::from(vec![Some(f32::MIN_POSITIVE), None, Some(-0.0), Some(1.5)]))),
        (
            "float64",
            Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(f64::NEG_INFINITY), Some(1.5)])),
        ),
        ("decimal128", Arc::new(decimal.with_precision_and_scale(38, 10).unwrap())),
        ("decimal256", Arc::new(exact.with_precision_and_scale(76, 3).unwrap())),
        ("utf8", texts()),
        ("large_utf8", as_type(&texts(), &DataType::LargeUtf8)),
        ("utf8_view", as_type(&texts(), &DataType::Utf8View)),
        ("binary", Arc::clone(&bytes)),
        ("large_binary", as_type(&bytes, &DataType::LargeBinary)),
        ("binary_view", as_type(&bytes, &DataType::BinaryView)),
        ("fixed_binary", Arc::new(fixed.unwrap())),
        ("dictionary", as_type(&texts(), &dictionary(DataType::Int32, DataType::Utf8))),
        ("small_dictionary", as_type(&texts(), &dictionary(DataType::UInt8, DataType::LargeUtf8))),
        ("date32", Arc::new(Date32Array::from(vec![Some(20_000), None, Some(-1), Some(0)]))),
        ("time32", Arc::new(Time32MillisecondArray::from(vec![Some(86_399_999), None, Some(0), Some(1)]))),
        (
            "time64",
            Arc::new(Time64NanosecondArray::from(vec![Some(86_399_999_999_999), None, Some(0), Some(1)])),
        ),
        ("timestamp_ns", Arc::clone(&nanos)),
        ("timestamp_zone", as_type(&as_type(&small, &DataType::Int64), &zoned)),
        ("duration", Arc::new(DurationMicrosecondArray::from(vec![Some(1), None, Some(-1), Some(0)]))),
        ("list", list_of(&small)),
        ("list_of_text", list_of(&texts())),
        (
            "large_list",
            as_type(
                &list_of(&small),
                &DataType::LargeList(Arc::new(Field::new("element", DataType::Int32, true))),
            ),
        ),
        ("fixed_list", Arc::new(pairs)),
        ("list_of_structs", list_of(&inner)),
        ("struct", inner),
        ("map", map()),
    ]
}

/// A column in the order of the spine's rows.
fn in_order(rows: &RecordBatch, name: &str) -> ArrayRef {
    let order = sort_to_indices(rows.column_by_name("n").unwrap(), None, None).unwrap();
    take(rows.column_by_name(name).unwrap(), &order, None).unwrap()
}

/// Whether two columns hold the same; not-a-number equals itself.
fn is_same(found: &ArrayRef, expected: &ArrayRef) -> bool {
    match (found.as_primitive_opt::<arrow::datatypes::Float64Type>(), expected.data_type()) {
        (Some(found), DataType::Float64) => {
            let expected = expected.as_primitive::<arrow::datatypes::Float64Type>();
            found
                .iter()
                .map(|value| value.map(f64::to_bits))
                .eq(expected.iter().map(|value| value.map(f64::to_bits)))
        }
        _ => found.to_data() == expected.to_data(),
    }
}

fn write_ipc(world: &World, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let file = std::fs::File::create(world.path(name)).unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_comes_through_unchanged_in_every_form_and_engine() {
    let mut world = World::new();
    let types = columns();
    for (name, column) in &types {
        assert_eq!((column.len(), column.null_count()), (ROWS, 1), "{name}");
    }
    let spine: Vec<(String, ArrayRef)> = types
        .iter()
        .map(|(name, column)| (format!("own_{name}"), column.slice(0, 3)))
        .chain([
            ("n".to_owned(), ints(&[0, 1, 2])),
            ("id".to_owned(), ints(&[1, 2, 3])),
            ("event_timestamp".to_owned(), seconds(&[100; 3])),
        ])
        .collect();
    let spine = || spine.iter().map(|(name, column)| (name.as_str(), Arc::clone(column))).collect::<Vec<_>>();
    world.write_groups("spine.parquet", 2, spine());
    write_ipc(&world, "spine.arrow", spine());
    let mut view = vec![("id", ints(&[1, 2, 3, 1])), ("t", seconds(&[50, 50, 50, 40]))];
    view.extend(types.iter().map(|(name, column)| (*name, Arc::clone(column))));
    world.write_groups("view.parquet", 2, view);
    let names: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
    world.add_view(&ViewSpec { features: &names, ..ViewSpec::default() });

    let references: Vec<String> = names.iter().map(|name| format!("view:{name}")).collect();
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for engine in engines::all(&world.stores).await {
        let (engine_name, engine) = (engine.name.as_str(), engine.engine.as_ref());
        for file in ["spine.parquet", "spine.arrow"] {
            let output = format!("{engine_name}-{file}");
            let spine = SpineRequest { from: SpineFrom::Files(file.to_owned()), timestamp_column: None };
            let request = RetrievalRequest { spine, ..world.request(&references, &output) };
            let manifest = world.run(engine, &request, &output, false).await.unwrap().manifest;
            let rows = world.rows(&output, &manifest).await;
            for (name, column) in &types {
                let expected = column.slice(0, 3);
                for name in [(*name).to_owned(), format!("own_{name}")] {
                    let found = in_order(&rows, &name);
                    if found.data_type() != expected.data_type() {
                        wrong.push(format!(
                            "{output}, {name}: {} became {}",
                            expected.data_type(),
                            found.data_type()
                        ));
                    } else if !is_same(&found, &expected) {
                        wrong.push(format!("{output}, {name}: {expected:?} became {found:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
