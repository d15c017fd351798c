//! Rows and checksum of a dataset: the same for the same rows, in whatever order and files they are.

use std::num::NonZeroUsize;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, downcast_primitive_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, ToByteSlice};
use arrow::error::ArrowError;
use backsight_storage::{Location, Stores};
use futures::TryStreamExt;
use tokio::task::JoinSet;

use super::units::{Unit, units};
use crate::commands::bench::data::mix;
use crate::errors::Failure;

/// What a dataset holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) rows: u64,
    /// The sum over all rows of a row's hash.
    pub(crate) sum: u128,
}

impl Checksum {
    /// As text.
    pub(crate) fn hex(&self) -> String {
        format!("{:032x}", self.sum)
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Reads all parts of a dataset.
///
/// # Errors
/// A fault of the storage, or a file that is not Parquet.
pub(crate) async fn checksum(
    stores: &Stores,
    dataset: &Location,
    cores: NonZeroUsize,
) -> Result<Checksum, Failure> {
    let mut open = units(stores, dataset).await?.into_iter();
    let mut readers = JoinSet::new();
    let mut total = Checksum::default();
    loop {
        while readers.len() < cores.get()
            && let Some(unit) = open.next()
        {
            readers.spawn(async move { of_unit(&unit).await });
        }
        let Some(done) = readers.join_next().await else { return Ok(total) };
        let done = done.map_err(|error| Failure::bug(format!("a reader has ended: {error}")))??;
        total.add(&done);
    }
}

async fn of_unit(unit: &Unit) -> Result<Checksum, Failure> {
    let mut rows = unit.read(None)?;
    let mut total = Checksum::default();
    while let Some(batch) = rows.try_next().await.map_err(|error| unit.failed(&error))? {
        total.add(&of_batch(&batch).map_err(|error| unit.failed(&error))?);
    }
    Ok(total)
}

/// The rows of one batch.
fn of_batch(batch: &RecordBatch) -> Result<Checksum, ArrowError> {
    let mut hashes = vec![0_u64; batch.num_rows()];
    for column in batch.columns() {
        fold_column(column, &mut hashes)?;
    }
    let sum = hashes.iter().fold(0_u128, |sum, &hash| sum.wrapping_add(u128::from(hash)));
    Ok(Checksum { rows: batch.num_rows() as u64, sum })
}

/// What stands for a null.
const NULL: u64 = 0x6e75_6c6c;

fn fold_column(column: &ArrayRef, hashes: &mut [u64]) -> Result<(), ArrowError> {
    let array = column.as_ref();
    downcast_primitive_array!(
        array => {
            fold(hashes, array, |row| bytes_hash(array.value(row).to_byte_slice()));
        }
        DataType::Boolean => {
            let values = array.as_boolean();
            fold(hashes, array, |row| u64::from(values.value(row)) + 1);
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            fold(hashes, array, |row| bytes_hash(values.value(row).as_bytes()));
        }
        _ => {
            // Views, large texts, dictionaries: their text counts, as that of any other text.
            let text = cast(column, &DataType::Utf8)?;
            let values = text.as_string::<i32>();
            fold(hashes, text.as_ref(), |row| bytes_hash(values.value(row).as_bytes()));
        }
    );
    Ok(())
}

fn fold(hashes: &mut [u64], array: &dyn Array, value: impl Fn(usize) -> u64) {
    for (row, hash) in hashes.iter_mut().enumerate() {
        let cell = if array.is_null(row) { NULL } else { value(row) };
        *hash = mix(hash.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ mix(cell));
    }
}

fn bytes_hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash.rotate_left(23) ^ u64::from_le_bytes(word));
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray, StringViewArray};
    use arrow::compute::take_record_batch;

    use super::*;

    fn rows(texts: ArrayRef) -> RecordBatch {
        let columns: [(&str, ArrayRef); 4] = [
            ("number", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("share", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]))),
            ("is_new", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("text", texts),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    #[test]
    fn the_order_of_rows_and_the_form_of_texts_do_not_count_but_all_else_does() {
        let batch = rows(Arc::new(StringArray::from(vec!["a", "", "a longer text"])));
        let sum = of_batch(&batch).unwrap();
        assert_eq!(sum.rows, 3);
        let turned = take_record_batch(&batch, &arrow::array::UInt32Array::from(vec![2, 0, 1])).unwrap();
        assert_eq!(of_batch(&turned).unwrap(), sum);
        let views = rows(Arc::new(StringViewArray::from(vec!["a", "", "a longer text"])));
        assert_eq!(of_batch(&views).unwrap(), sum);
        let other = rows(Arc::new(StringArray::from(vec![Some("a"), None, Some("a longer text")])));
        assert_ne!(of_batch(&other).unwrap(), sum);
        let exchanged = batch.project(&[0, 1, 3, 2]).unwrap();
        assert_ne!(of_batch(&exchanged).unwrap(), sum, "the order of columns counts");
        let twice = take_record_batch(&batch, &arrow::array::UInt32Array::from(vec![0, 0, 1])).unwrap();
        assert_ne!(of_batch(&twice).unwrap(), sum);
    }
}
