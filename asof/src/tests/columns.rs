//! Columns of any type from small numbers, so that random data ties, matches and shrinks.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int8Array, Int32Array, Int64Array, Int64Builder,
    ListBuilder, MapBuilder, StringArray, StringBuilder, StringViewArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// Stands for one value: `None` is null, a number below [`CELLS`] is one of a type's values.
pub(super) type Cell = Option<u8>;

/// How many distinct values a cell may stand for.
pub(super) const CELLS: u8 = 5;

const TEXTS: [&str; CELLS as usize] = ["", "a", "ab", "b", "text that a view cannot keep inline"];
const WIDE: [i64; CELLS as usize] = [i64::MIN, -1, 0, 7, i64::MAX];
const NARROW: [i32; CELLS as usize] = [i32::MIN, -1, 0, 7, 8];
const FLOATS: [f64; CELLS as usize] = [f64::NAN, -0.0, 0.0, 1.5, f64::NEG_INFINITY];
const LISTS: [&[Option<i64>]; CELLS as usize] = [&[], &[None], &[Some(1)], &[Some(1), Some(2)], &[Some(2)]];
/// Entries of a dictionary that no row uses: concatenated, a few of them overflow 8-bit keys.
const UNUSED_ENTRIES: usize = 60;

pub(super) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))
}

pub(super) fn list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
}

pub(super) fn structure() -> DataType {
    DataType::Struct(struct_fields())
}

fn struct_fields() -> Fields {
    Fields::from(vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8, true)])
}

/// The type that [`MapBuilder`] makes.
pub(super) fn map() -> DataType {
    let entry = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Int64, true),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// A column of `kind`; `salt` varies what must not matter, such as the order of a dictionary's entries.
pub(super) fn column(kind: &DataType, cells: &[Cell], salt: u64) -> ArrayRef {
    match kind {
        DataType::Int64 => Arc::new(cells.iter().map(|c| c.map(|c| pick(&WIDE, c))).collect::<Int64Array>()),
        DataType::Int32 => {
            Arc::new(cells.iter().map(|c| c.map(|c| pick(&NARROW, c))).collect::<Int32Array>())
        }
        DataType::Float64 => {
            Arc::new(cells.iter().map(|c| c.map(|c| pick(&FLOATS, c))).collect::<Float64Array>())
        }
        DataType::Boolean => Arc::new(cells.iter().map(|c| c.map(|c| c % 2 == 1)).collect::<BooleanArray>()),
        DataType::Utf8 => Arc::new(texts(cells)),
        DataType::Utf8View => {
            Arc::new(cells.iter().map(|c| c.map(|c| pick(&TEXTS, c))).collect::<StringViewArray>())
        }
        DataType::Dictionary(..) => Arc::new(dictionary_column(cells, salt)),
        DataType::List(_) => {
            let mut builder = ListBuilder::new(Int64Builder::new());
            for cell in cells {
                builder.append_option(cell.map(|c| pick(&LISTS, c).iter().copied()));
            }
            Arc::new(builder.finish())
        }
        DataType::Struct(fields) => Arc::new(struct_column(fields, cells)),
        DataType::Map(..) => {
            let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
            for cell in cells {
                for (position, value) in cell.map_or(&[][..], |c| pick(&LISTS, c)).iter().enumerate() {
                    builder.keys().append_value(pick(&TEXTS, position as u8));
                    builder.values().append_option(*value);
                }
                builder.append(cell.is_some()).unwrap();
            }
            Arc::new(builder.finish())
        }
        other => panic!("the tests make no columns of {other}"),
    }
}

/// A timestamp column.
pub(super) fn instants(unit: TimeUnit, zone: Option<&str>, values: &[Option<i64>]) -> ArrayRef {
    let values = values.to_vec();
    match unit {
        TimeUnit::Second => Arc::new(TimestampSecondArray::from(values).with_timezone_opt(zone)),
        TimeUnit::Millisecond => Arc::new(TimestampMillisecondArray::from(values).with_timezone_opt(zone)),
        TimeUnit::Microsecond => Arc::new(TimestampMicrosecondArray::from(values).with_timezone_opt(zone)),
        TimeUnit::Nanosecond => Arc::new(TimestampNanosecondArray::from(values).with_timezone_opt(zone)),
    }
}

fn pick<T: Copy>(values: &[T], cell: u8) -> T {
    values[usize::from(cell % CELLS)]
}

fn texts(cells: &[Cell]) -> StringArray {
    cells.iter().map(|c| c.map(|c| pick(&TEXTS, c))).collect()
}

/// Every other null is a null entry of the dictionary instead of a null key.
fn dictionary_column(cells: &[Cell], salt: u64) -> DictionaryArray<arrow::datatypes::Int8Type> {
    let turn = (salt % u64::from(CELLS)) as usize;
    let mut entries: Vec<Option<String>> = TEXTS.iter().map(|text| Some((*text).to_owned())).collect();
    entries.rotate_left(turn);
    entries.push(None);
    entries.extend((0..UNUSED_ENTRIES).map(|entry| Some(format!("unused {salt} {entry}"))));
    let keys: Int8Array = cells
        .iter()
        .enumerate()
        .map(|(row, cell)| match cell {
            Some(cell) => {
                Some(((usize::from(cell % CELLS) + usize::from(CELLS) - turn) % usize::from(CELLS)) as i8)
            }
            None if row % 2 == 0 => Some(CELLS as i8),
            None => None,
        })
        .collect();
    DictionaryArray::new(keys, Arc::new(StringArray::from(entries)))
}

/// Cell 0 is a struct whose fields are null, which is not a null struct.
fn struct_column(fields: &Fields, cells: &[Cell]) -> StructArray {
    let numbers: Int64Array = cells.iter().map(|c| c.filter(|c| c % CELLS > 0).map(i64::from)).collect();
    let parts: Vec<Cell> = cells.iter().map(|c| c.filter(|c| c % CELLS > 0).map(|c| c % 2)).collect();
    let valid: NullBuffer = cells.iter().map(Option::is_some).collect();
    StructArray::new(fields.clone(), vec![Arc::new(numbers), Arc::new(texts(&parts))], Some(valid))
}
