//! Keeps the rows that are candidates, and little else: taken from each batch, compacted when mostly stale.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use datafusion::common::Result;

/// Where a candidate's columns are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locator {
    pub(crate) chunk: u32,
    pub(crate) row: u32,
}

impl Locator {
    /// No candidate. Chunk 0 holds one row of nulls, so gathering it gives nulls.
    pub(crate) const NONE: Self = Self { chunk: 0, row: 0 };
    /// In the batch that is being folded, not yet taken.
    pub(crate) const CURRENT: u32 = u32::MAX;

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// Below so many rows no compaction is worth it.
const COMPACT_ROWS_MIN: usize = 65_536;
/// More chunks than this make gathering slow, whatever they hold.
const CHUNKS_MAX: usize = 1_024;

/// Columns of candidates in chunks; chunk 0 is the row of nulls.
pub(crate) struct Retained {
    chunks: Vec<Vec<ArrayRef>>,
    rows: usize,
    bytes: usize,
}

impl Retained {
    pub(crate) fn new(types: &[DataType]) -> Self {
        Self { chunks: vec![types.iter().map(|t| new_null_array(t, 1)).collect()], rows: 0, bytes: 0 }
    }

    pub(crate) fn chunk(&self, chunk: u32) -> &[ArrayRef] {
        &self.chunks[chunk as usize]
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `rows` of a batch's columns as a new chunk and returns its number.
    pub(crate) fn take(&mut self, columns: &[ArrayRef], rows: Vec<u32>) -> Result<u32> {
        let count = rows.len();
        let indices = UInt32Array::from(rows);
        let chunk = columns
            .iter()
            .map(|column| take(column, &indices, None).map(unshared))
            .collect::<Result<Vec<_>, _>>()?;
        self.rows += count;
        self.bytes += bytes_of(&chunk);
        self.chunks.push(chunk);
        Ok(u32::try_from(self.chunks.len() - 1).unwrap_or(Locator::CURRENT - 1))
    }

    /// Whether compacting to `live` rows would pay.
    pub(crate) fn is_mostly_stale(&self, live: usize) -> bool {
        self.chunks.len() > CHUNKS_MAX || (self.rows > COMPACT_ROWS_MIN && self.rows > live.saturating_mul(2))
    }

    /// Copies the candidates into one chunk and points their locators at it.
    pub(crate) fn compact<'a>(&mut self, locators: impl Iterator<Item = &'a mut Locator>) -> Result<()> {
        let mut sources = Vec::new();
        for locator in locators {
            if !locator.is_none() {
                sources.push((locator.chunk as usize, locator.row as usize));
                *locator = Locator { chunk: 1, row: u32::try_from(sources.len() - 1).unwrap_or(u32::MAX) };
            }
        }
        let columns = self.gather_all(&sources)?;
        self.chunks.truncate(1);
        self.rows = sources.len();
        self.bytes = bytes_of(&columns);
        self.chunks.push(columns);
        Ok(())
    }

    /// One column of the rows at `sources`, in that order.
    pub(crate) fn gather(&self, column: usize, sources: &[(usize, usize)]) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk[column].as_ref()).collect();
        Ok(interleave(&arrays, sources)?)
    }

    fn gather_all(&self, sources: &[(usize, usize)]) -> Result<Vec<ArrayRef>> {
        (0..self.chunks[0].len()).map(|column| self.gather(column, sources).map(unshared)).collect()
    }
}

/// Views are copied to buffers of their own: a few rows must not keep their whole batch in memory.
fn unshared(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column,
    }
}

fn bytes_of(columns: &[ArrayRef]) -> usize {
    columns.iter().map(|column| column.get_array_memory_size()).sum()
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;

    use super::*;

    #[test]
    fn a_kept_view_does_not_keep_its_batch() {
        let texts = |batch: usize| {
            let texts = (0..1_000).map(|row| Some(format!("a text too long to be inline {batch} {row}")));
            vec![Arc::new(texts.collect::<StringViewArray>()) as ArrayRef]
        };
        let mut retained = Retained::new(&[DataType::Utf8View]);
        let mut locators = Vec::new();
        for batch in 0..10 {
            let chunk = retained.take(&texts(batch), vec![7, 8]).unwrap();
            locators.push(Locator { chunk, row: 1 });
        }
        assert!(retained.memory_bytes() < 10_000, "{} bytes", retained.memory_bytes());
        retained.compact(locators.iter_mut()).unwrap();
        assert!(retained.memory_bytes() < 3_000, "{} bytes", retained.memory_bytes());
        let held = retained.chunk(locators[9].chunk)[0].as_string_view().value(locators[9].row as usize);
        assert_eq!(held, "a text too long to be inline 9 8");
    }
}
