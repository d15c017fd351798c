//! The values of numbered keys, once no row's number is looked up any more.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::key_index::KeyIndex;

/// Key tuples by their numbers.
pub(crate) struct KeyValues {
    /// Nothing is looked up in it.
    keys: KeyIndex,
    integers: Vec<i64>,
}

impl KeyValues {
    /// The tuples of an index.
    pub(crate) fn of(mut keys: KeyIndex) -> Self {
        let integers = keys.integers();
        keys.forget();
        Self { keys, integers }
    }

    /// Bytes that [`Self::of`] takes beside the index.
    pub(crate) fn bytes_of(keys: &KeyIndex) -> usize {
        keys.integers_bytes()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes() + self.integers.capacity() * size_of::<i64>()
    }

    /// A column for each key, of the tuples of some numbers.
    ///
    /// # Errors
    /// A tuple that cannot be decoded.
    pub(crate) fn columns(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        self.keys.columns(&self.integers, numbers)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
        StringArray, StringViewArray, TimestampMillisecondArray,
    };
    use arrow::datatypes::DataType;

    use super::*;

    /// Each of four values twice, then the first one again.
    fn column<T>(values: [T; 4], make: impl Fn(Vec<T>) -> ArrayRef) -> ArrayRef
    where
        T: Clone,
    {
        let twice = values.iter().flat_map(|value| [value.clone(), value.clone()]);
        make(twice.chain([values[0].clone()]).collect())
    }

    #[test]
    fn keys_come_back_as_they_were() {
        let integers = |values: [i64; 4]| column(values, |v| Arc::new(Int64Array::from(v)));
        let texts = ["", "a", "text that a view cannot keep inline", "ß"];
        let decimal = |v: Vec<i128>| Decimal128Array::from(v).with_precision_and_scale(20, 3).unwrap();
        let tuples: Vec<Vec<ArrayRef>> = vec![
            vec![],
            vec![integers([3, 1, 9, 2])],
            vec![integers([i64::MIN, -1, 0, i64::MAX])],
            vec![integers([1, 1, 2, 2]), integers([7, 8, 7, 8])],
            vec![column([i32::MAX, -5, 0, i32::MIN], |v| Arc::new(Int32Array::from(v)))],
            vec![column(texts, |v| Arc::new(StringArray::from(v)))],
            vec![column(texts, |v| Arc::new(StringViewArray::from(v)))],
            vec![column([true, false, true, false], |v| Arc::new(BooleanArray::from(v)))],
            vec![column([-0.0, 0.0, f64::NAN, -f64::NAN], |v| Arc::new(Float64Array::from(v)))],
            vec![column([-1, 0, 5, 10_i128.pow(19)], |v| Arc::new(decimal(v)))],
            vec![
                column([-1, 0, 5, i64::MAX], |v| {
                    Arc::new(TimestampMillisecondArray::from(v).with_timezone("+01:00"))
                }),
                column([*b"ab", *b"\0\0", *b"\xff\xff", *b"zz"], |v| {
                    Arc::new(FixedSizeBinaryArray::try_from_iter(v.into_iter()).unwrap())
                }),
            ],
        ];
        for keys in tuples {
            let types: Vec<DataType> = keys.iter().map(|key| key.data_type().clone()).collect();
            for is_sorted in [false, true] {
                let mut index = KeyIndex::new(&types).unwrap();
                let mut numbers = Vec::new();
                index.insert(&keys, 9, &mut numbers).unwrap();
                index.seal();
                if is_sorted {
                    let new = index.sort();
                    numbers.iter_mut().for_each(|number| *number = new[*number as usize]);
                }
                let values = KeyValues::of(index);
                let columns = values.columns(&numbers).unwrap();
                assert_eq!(columns.len(), keys.len());
                for (found, key) in columns.iter().zip(&keys) {
                    // By bits: a number that is none equals itself, and zero is not zero below zero.
                    assert_eq!(found.to_data(), key.to_data());
                }
                assert_eq!(values.columns(&[]).unwrap().len(), keys.len());
            }
        }
    }
}
