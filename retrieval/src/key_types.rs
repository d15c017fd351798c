//! The type in which the two sides of a join key are compared: by value, exactly, or not at all. Pure.

use arrow::datatypes::DataType;

/// The type that compares all of `types` by value, or `None` when they cannot be compared exactly.
pub(crate) fn common_key_type<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Option<DataType> {
    let mut types = types.into_iter().map(plain);
    let first = compared_as(types.next()?)?;
    types.try_fold(first, |common, t| join(&common, &compared_as(t)?))
}

/// Whether a type is a binary fraction, whose equality is not what a key means.
pub(crate) fn is_float(t: &DataType) -> bool {
    matches!(plain(t), DataType::Float16 | DataType::Float32 | DataType::Float64)
}

/// What a dictionary's entries are, or the type itself.
pub(crate) fn plain(t: &DataType) -> &DataType {
    match t {
        DataType::Dictionary(_, value) => plain(value),
        other => other,
    }
}

/// The canonical type of one side.
fn compared_as(t: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal32, Decimal64, Decimal128, FixedSizeBinary, Int8,
        Int16, Int32, Int64, LargeBinary, LargeUtf8, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    Some(match t {
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 => Int64,
        UInt64 => Decimal128(20, 0),
        Utf8 | LargeUtf8 | Utf8View => Utf8,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Boolean => Boolean,
        Date32 | Date64 => Date32,
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) if *s >= 0 => Decimal128(*p, *s),
        _ => return None,
    })
}

fn join(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Decimal128, Int64};
    Some(match (a, b) {
        (a, b) if a == b => a.clone(),
        (Int64, Decimal128(_, s)) | (Decimal128(_, s), Int64) => Decimal128(38, *s),
        (Decimal128(_, s), Decimal128(_, t)) => Decimal128(38, *s.max(t)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::common_key_type;
    use arrow::datatypes::DataType::{
        self, Decimal128, Float64, Int8, Int32, Int64, LargeUtf8, UInt64, Utf8, Utf8View,
    };

    #[test]
    fn keys_compare_by_value_where_that_is_exact() {
        let dictionary = DataType::Dictionary(Box::new(Int32), Box::new(Utf8));
        let table: [(&[DataType], Option<DataType>); 8] = [
            (&[Int8, Int64], Some(Int64)),
            (&[Int64, UInt64], Some(Decimal128(38, 0))),
            (&[Utf8, LargeUtf8, Utf8View, dictionary], Some(Utf8)),
            (&[Int32, Decimal128(10, 2)], Some(Decimal128(38, 2))),
            (&[Decimal128(10, 2), Decimal128(12, 4)], Some(Decimal128(38, 4))),
            (&[Utf8, Int64], None),
            (&[Float64, Int64], None),
            (&[UInt64, UInt64], Some(Decimal128(20, 0))),
        ];
        for (types, common) in table {
            assert_eq!(common_key_type(types), common, "{types:?}");
        }
    }
}
