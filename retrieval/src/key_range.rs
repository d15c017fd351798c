//! Which keys a row group can hold, by its footer: integers by value, text by bytes, anything else is not known.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::RowGroupMetaData;

use crate::page_index::PageIndex;
use crate::parquet_table::ParquetFile;
use crate::reach::{Held, Pages};

/// A key as it is ordered in footers. Numbers and text are never compared with each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    /// Whether every key of the other one lies in this one.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.is_comparable(other) && self.least <= other.least && other.greatest <= self.greatest
    }

    fn is_comparable(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.least) == std::mem::discriminant(&other.least)
    }
}

/// Every key of a spine column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeySet {
    /// Ascending, of one kind.
    keys: Vec<KeyValue>,
}

impl KeySet {
    /// The set of keys that are all of one kind.
    pub(crate) fn new(keys: impl IntoIterator<Item = KeyValue>) -> Self {
        let keys: BTreeSet<KeyValue> = keys.into_iter().collect();
        Self { keys: keys.into_iter().collect() }
    }

    pub(crate) fn keys(&self) -> &[KeyValue] {
        &self.keys
    }

    /// Whether one of the keys can lie in a range; a range of another kind cannot tell.
    pub(crate) fn meets(&self, range: &KeyRange) -> bool {
        let kind = |key: &KeyValue| std::mem::discriminant(key);
        if self.keys.first().is_some_and(|key| kind(key) != kind(&range.least)) {
            return true;
        }
        let first = self.keys.partition_point(|key| *key < range.least);
        self.keys.get(first).is_some_and(|key| *key <= range.greatest)
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
    let least_type = least.data_type().clone();
    let (Some(least), Some(greatest)) = (key_values(&least), key_values(&greatest)) else { return unknown() };
    let leaf = converter.parquet_column_index();
    let is_ordered = |group: &RowGroupMetaData| {
        let statistics = leaf.and_then(|leaf| group.column(leaf).statistics());
        statistics.is_some_and(|statistics| !statistics.is_min_max_deprecated() || is_signed(&least_type))
    };
    let pairs = least.into_iter().zip(greatest).zip(groups);
    pairs.map(|(pair, group)| key_range(pair).filter(|_| is_ordered(group))).collect()
}

/// Statistics of old writers order everything as signed numbers.
fn is_signed(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

/// The keys of each page of a column.
pub(crate) fn page_keys(index: &PageIndex) -> Option<Pages<KeyRange>> {
    let pairs = key_values(&index.least)?.into_iter().zip(key_values(&index.greatest)?);
    let held = pairs.zip(&index.is_null).map(|(pair, is_null)| match key_range(pair) {
        _ if *is_null => Held::Nulls,
        Some(range) => Held::Within(range),
        None => Held::Unknown,
    });
    Some(index.rows.iter().cloned().zip(held).collect())
}

fn key_range(pair: (Option<KeyValue>, Option<KeyValue>)) -> Option<KeyRange> {
    match pair {
        (Some(least), Some(greatest)) if least <= greatest => Some(KeyRange { least, greatest }),
        _ => None,
    }
}

/// The range of a column that has one value, `None` where it is null or cannot be compared.
pub(crate) fn constant_key(value: &ArrayRef) -> Option<KeyRange> {
    let value = key_values(value)?.into_iter().next()??;
    Some(KeyRange { least: value.clone(), greatest: value })
}

/// The values of an array as keys; `None` for a type whose keys are not ordered here.
pub(crate) fn key_values(array: &ArrayRef) -> Option<Vec<Option<KeyValue>>> {
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
        assert_eq!(text.clone().union(numbers(1, 2)), None);
        assert!(numbers(1, 3).contains(&numbers(1, 3)) && !numbers(1, 3).contains(&numbers(1, 4)));
        assert!(!text.contains(&numbers(1, 3)));
    }

    #[test]
    fn a_set_of_keys_meets_ranges_that_hold_one_of_them() {
        let set = KeySet::new([5, 1, 5].map(KeyValue::Number));
        assert_eq!(set.keys(), [KeyValue::Number(1), KeyValue::Number(5)]);
        let meets = [(0, 0), (0, 1), (2, 4), (5, 9), (6, 9)]
            .map(|(least, greatest)| set.meets(&numbers(least, greatest)));
        assert_eq!(meets, [false, true, false, true, false]);
        let text = KeyRange { least: KeyValue::Text(b"a".to_vec()), greatest: KeyValue::Text(b"b".to_vec()) };
        assert!(set.meets(&text), "what cannot be compared is never left out");
        assert!(!KeySet::new([]).meets(&text), "without keys nothing matches");
    }
}
