//! The one type that holds every value of two types without loss, for tables whose files differ. Pure.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

/// The narrowest type that both widen to without loss, or `None`.
pub(crate) fn widen(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Binary, BinaryView, Dictionary, Float16, Float32, Float64, Int8, Int16, Int32, Int64, LargeBinary,
        LargeList, LargeUtf8, List, Null, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (Dictionary(_, value), other) | (other, Dictionary(_, value)) => widen(value, other),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => Some(LargeUtf8),
        (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => Some(LargeBinary),
        (Timestamp(left, left_zone), Timestamp(right, right_zone)) => {
            // The instant is what counts, and the finer unit holds both. Naive is UTC: a cast of naive values to another
            // zone would take them for what the clocks there show.
            let zone = if left_zone == right_zone { left_zone.clone() } else { Some("UTC".into()) };
            Some(Timestamp(finer(*left, *right), zone))
        }
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) => {
            let scale = (*s).max(*t);
            let whole = (i16::from(*p) - i16::from(*s)).max(i16::from(*q) - i16::from(*t));
            let precision = u8::try_from(whole + i16::from(scale)).ok()?;
            (precision <= 38).then_some(DataType::Decimal128(precision, scale))
        }
        (List(left), List(right)) => Some(List(widen_item(left, right)?)),
        (LargeList(left) | List(left), LargeList(right) | List(right)) => {
            Some(LargeList(widen_item(left, right)?))
        }
        (Float16 | Float32 | Float64, Float16 | Float32 | Float64) => {
            Some(if matches!((a, b), (Float64, _) | (_, Float64)) { Float64 } else { Float32 })
        }
        (Float64, Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32)
        | (Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32, Float64) => Some(Float64),
        _ => {
            let (left_bits, left_signed) = integer(a)?;
            let (right_bits, right_signed) = integer(b)?;
            let bits = match (left_signed, right_signed) {
                (true, true) | (false, false) => left_bits.max(right_bits),
                // An unsigned value needs one more bit in a signed type.
                (true, false) => left_bits.max(right_bits * 2),
                (false, true) => right_bits.max(left_bits * 2),
            };
            match (bits, left_signed || right_signed) {
                (16, true) => Some(Int16),
                (32, true) => Some(Int32),
                (64, true) => Some(Int64),
                (16, false) => Some(UInt16),
                (32, false) => Some(UInt32),
                (64, false) => Some(UInt64),
                _ => None,
            }
        }
    }
}

fn widen_item(left: &Arc<Field>, right: &Arc<Field>) -> Option<Arc<Field>> {
    let item = widen(left.data_type(), right.data_type())?;
    Some(Arc::new(Field::new(left.name(), item, left.is_nullable() || right.is_nullable())))
}

/// Width in bits and signedness of an integer type.
fn integer(t: &DataType) -> Option<(u32, bool)> {
    Some(match t {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let rank = |unit: TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::widen;
    use arrow::datatypes::DataType::{
        Boolean, Float32, Float64, Int8, Int32, Int64, LargeUtf8, Null, UInt8, UInt32, UInt64, Utf8,
    };
    use arrow::datatypes::{DataType, TimeUnit};

    #[test]
    fn widening_never_loses_a_value() {
        let timestamp = |unit| DataType::Timestamp(unit, None);
        let zoned = |zone: &str| DataType::Timestamp(TimeUnit::Second, Some(zone.into()));
        let table = [
            (Int32, Int64, Some(Int64)),
            (UInt8, Int8, Some(DataType::Int16)),
            (UInt32, Int32, Some(Int64)),
            (UInt64, Int64, None),
            (Float32, Float64, Some(Float64)),
            (Int32, Float64, Some(Float64)),
            (Int64, Float64, None),
            (Int32, Float32, None),
            (Utf8, LargeUtf8, Some(LargeUtf8)),
            (Utf8, Int64, None),
            (Null, Boolean, Some(Boolean)),
            (
                timestamp(TimeUnit::Second),
                timestamp(TimeUnit::Nanosecond),
                Some(timestamp(TimeUnit::Nanosecond)),
            ),
            (zoned("America/Lima"), zoned("America/Lima"), Some(zoned("America/Lima"))),
            (zoned("America/Lima"), zoned("Asia/Tokyo"), Some(zoned("UTC"))),
            (zoned("America/Lima"), timestamp(TimeUnit::Second), Some(zoned("UTC"))),
        ];
        for (a, b, wide) in table {
            assert_eq!(widen(&a, &b), wide, "{a} with {b}");
            assert_eq!(widen(&b, &a), wide, "{b} with {a}");
        }
    }
}
