//! Whether a declared value type and an Arrow type speak of the same family of values. Pure.

use arrow::datatypes::DataType;
use backsight_registry::model::ValueType;

/// Families of values; a width is no family.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Family {
    Bytes,
    Text,
    Integer,
    Float,
    Boolean,
    Instant,
    List(Option<Box<Self>>),
    Map,
    Struct,
    Decimal,
}

/// The name of a value type as definitions write it.
pub(crate) fn name(t: ValueType) -> String {
    let name = match t.0 {
        1 => "Bytes",
        2 => "String",
        3 => "Int32",
        4 => "Int64",
        5 => "Float64",
        6 => "Float32",
        7 => "Bool",
        8 => "UnixTimestamp",
        11 => "Array(Bytes)",
        12 => "Array(String)",
        13 => "Array(Int32)",
        14 => "Array(Int64)",
        15 => "Array(Float64)",
        16 => "Array(Float32)",
        17 => "Array(Bool)",
        18 => "Array(UnixTimestamp)",
        20 => "Map",
        32 => "Json",
        34 => "Struct",
        36 => "Uuid",
        44 => "Decimal",
        other => return format!("value type {other}"),
    };
    name.to_owned()
}

/// How a column's type goes with the declared one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is what is declared.
    Same,
    /// It has values of that kind in another width.
    OtherWidth,
    /// It has values of another kind.
    OtherFamily,
}

/// Compares a declared type with a column's.
pub(crate) fn fit(declared: ValueType, stored: &DataType) -> Fit {
    if !is_same_family(declared, stored) {
        Fit::OtherFamily
    } else if is_same_width(declared, stored) {
        Fit::Same
    } else {
        Fit::OtherWidth
    }
}

/// Whether the numbers or instants of a type are stored as it says, inside of lists too.
fn is_same_width(declared: ValueType, stored: &DataType) -> bool {
    match stored {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return is_same_width(declared, item.data_type());
        }
        DataType::Dictionary(_, value) => return is_same_width(declared, value),
        DataType::Null => return true,
        _ => {}
    }
    match declared.0 {
        3 | 13 | 24 => *stored == DataType::Int32,
        4 | 14 | 25 => *stored == DataType::Int64,
        5 | 15 | 26 => *stored == DataType::Float64,
        6 | 16 | 27 => *stored == DataType::Float32,
        8 | 18 | 29 => matches!(stored, DataType::Timestamp(_, _)),
        _ => true,
    }
}

/// The type that text is read as where this type is declared; `None` where the values have to tell.
pub(crate) fn type_of_text(t: ValueType) -> Option<DataType> {
    Some(match t.0 {
        // STRING and UUID.
        2 | 36 => DataType::Utf8,
        3 => DataType::Int32,
        4 => DataType::Int64,
        5 => DataType::Float64,
        6 => DataType::Float32,
        7 => DataType::Boolean,
        _ => return None,
    })
}

/// Whether a column of Arrow type `stored` can stand for a declared type; unknown declarations can be anything.
pub(crate) fn is_same_family(declared: ValueType, stored: &DataType) -> bool {
    match (declared_family(declared), stored_family(stored)) {
        (Some(declared), Some(stored)) => {
            declared == stored || matches!((&declared, &stored), (Family::List(None), Family::List(_)))
        }
        (None, _) => true,
        // A family that declarations cannot name, such as a duration, fits none of them.
        (Some(_), None) => matches!(stored, DataType::Null),
    }
}

fn declared_family(t: ValueType) -> Option<Family> {
    let list = |item| Family::List(Some(Box::new(item)));
    Some(match t.0 {
        1 => Family::Bytes,
        2 | 32 | 36 | 37 => Family::Text,
        3 | 4 => Family::Integer,
        5 | 6 => Family::Float,
        7 => Family::Boolean,
        8 => Family::Instant,
        11 | 22 => list(Family::Bytes),
        12 | 23 | 33 | 38 | 39 | 40 | 41 => list(Family::Text),
        13 | 14 | 24 | 25 => list(Family::Integer),
        15 | 16 | 26 | 27 => list(Family::Float),
        17 | 28 => list(Family::Boolean),
        18 | 29 => list(Family::Instant),
        20 => Family::Map,
        21 | 35 | 42 | 43 | 45 | 46 => Family::List(None),
        34 => Family::Struct,
        _ => return None,
    })
}

fn stored_family(t: &DataType) -> Option<Family> {
    Some(match t {
        t if t.is_integer() => Family::Integer,
        t if t.is_floating() => Family::Float,
        DataType::Boolean => Family::Boolean,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Family::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Family::Bytes
        }
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => Family::Instant,
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Family::Decimal,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Family::List(stored_family(item.data_type()).map(Box::new))
        }
        DataType::Map(_, _) => Family::Map,
        DataType::Struct(_) => Family::Struct,
        DataType::Dictionary(_, value) => return stored_family(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_is_no_drift_and_a_family_is() {
        let table = [
            (4, DataType::Int16, true),
            (6, DataType::Float64, true),
            (2, DataType::Int64, false),
            (8, DataType::Date32, true),
            (3, DataType::Float32, false),
            (14, DataType::new_list(DataType::Int32, true), true),
            (14, DataType::new_list(DataType::Utf8, true), false),
            (999, DataType::Int64, true),
        ];
        for (declared, stored, same) in table {
            assert_eq!(is_same_family(ValueType(declared), &stored), same, "{declared} {stored}");
        }
    }

    #[test]
    fn a_fit_tells_widths_from_families() {
        let list = |item| DataType::new_list(item, true);
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let table = [
            (4, DataType::Int64, Fit::Same),
            (4, DataType::Int32, Fit::OtherWidth),
            (3, DataType::UInt32, Fit::OtherWidth),
            (6, DataType::Float64, Fit::OtherWidth),
            (6, DataType::Int32, Fit::OtherFamily),
            (2, text, Fit::Same),
            (8, DataType::Timestamp(arrow::datatypes::TimeUnit::Second, None), Fit::Same),
            (8, DataType::Date32, Fit::OtherWidth),
            (16, list(DataType::Float32), Fit::Same),
            (16, list(DataType::Float64), Fit::OtherWidth),
            (16, list(DataType::Utf8), Fit::OtherFamily),
            (4, DataType::Null, Fit::Same),
        ];
        for (declared, stored, expected) in table {
            assert_eq!(fit(ValueType(declared), &stored), expected, "{declared} {stored}");
        }
    }
}
