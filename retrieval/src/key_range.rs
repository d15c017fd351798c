//! Which keys a row group can hold, by its footer: integers by value, text by bytes, anything else is not known.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;

use crate::parquet_table::ParquetFile;

/// A key as it is ordered in footers. Numbers and text are never compared with each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyValue {
    Number(i128),
    Text(Vec<u8>),
}

/// Least and greatest key, both inclusive. Footers may shorten text, but never inwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) least: KeyValue,
    pub(crate) greatest: KeyValue,
}

impl KeyRange {
    /// Whether a key can lie in both; ranges of different kinds cannot tell.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        !self.is_comparable(other) || (self.least <= other.greatest && other.least <= self.greatest)
    }

    /// The least range that holds both, or nothing when they are of different kinds.
    pub(crate) fn union(self, other: Self) -> Option<Self> {
        self.is_comparable(&other)
            .then(|| Self { least: self.least.min(other.least), greatest: self.greatest.max(other.greatest) })
    }

    fn is_comparable(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.least) == std::mem::discriminant(&other.least)
    }
}

/// The keys of each row group of a column, `None` where they are not known.
pub(crate) fn row_group_keys(file: &ParquetFile, column: &str) -> Vec<Option<KeyRange>> {
    let groups = file.metadata.row_groups();
    let unknown = || vec![None; groups.len()];
    let parquet_schema = file.metadata.file_metadata().schema_descr();
    let Ok(converter) = StatisticsConverter::try_new(column, &file.schema, parquet_schema) else {
        return unknown();
    };
    let (Ok(least), Ok(greatest)) = (converter.row_group_mins(groups), converter.row_group_maxes(groups))
    else {
        return unknown();
    };
    let (Some(least), Some(greatest)) = (values(&least), values(&greatest)) else { return unknown() };
    let pairs = least.into_iter().zip(greatest);
    pairs
        .map(|pair| match pair {
            (Some(least), Some(greatest)) if least <= greatest => Some(KeyRange { least, greatest }),
            _ => None,
        })
        .collect()
}

/// The range of a column that has one value, `None` where it is null or cannot be compared.
pub(crate) fn constant_key(value: &ArrayRef) -> Option<KeyRange> {
    let value = values(value)?.into_iter().next()??;
    Some(KeyRange { least: value.clone(), greatest: value })
}

fn values(array: &ArrayRef) -> Option<Vec<Option<KeyValue>>> {
    let number = |value: i128| KeyValue::Number(value);
    match array.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let wide = arrow::compute::cast(array, &DataType::Int64).ok()?;
            let wide = wide.as_primitive::<Int64Type>();
            Some(wide.iter().map(|value| value.map(|value| number(value.into()))).collect())
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            let wide = arrow::compute::cast(array, &DataType::UInt64).ok()?;
            let wide = wide.as_primitive::<UInt64Type>();
            Some(wide.iter().map(|value| value.map(|value| number(value.into()))).collect())
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = arrow::compute::cast(array, &DataType::Utf8).ok()?;
            let text = text.as_string::<i32>();
            let bytes = |text: &str| KeyValue::Text(text.as_bytes().to_vec());
            Some((0..text.len()).map(|row| text.is_valid(row).then(|| bytes(text.value(row)))).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(least: i128, greatest: i128) -> KeyRange {
        KeyRange { least: KeyValue::Number(least), greatest: KeyValue::Number(greatest) }
    }

    #[test]
    fn ranges_meet_where_a_key_can_be_in_both() {
        assert!(numbers(1, 3).meets(&numbers(3, 5)));
        assert!(!numbers(1, 3).meets(&numbers(4, 5)));
        let text = KeyRange { least: KeyValue::Text(b"a".to_vec()), greatest: KeyValue::Text(b"b".to_vec()) };
        assert!(text.meets(&numbers(1, 3)), "what cannot be compared is never left out");
        assert_eq!(numbers(1, 3).union(numbers(9, 12)), Some(numbers(1, 12)));
        assert_eq!(text.union(numbers(1, 2)), None);
    }
}
