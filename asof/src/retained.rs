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

/// Below so many rows no compaction is worth it, unless they are wide.
const COMPACT_ROWS_MIN: usize = 65_536;
/// So many bytes are worth one.
const COMPACT_BYTES_MIN: usize = 8 << 20;
/// More chunks than this make gathering slow, whatever they hold.
const CHUNKS_MAX: usize = 1_024;
/// A compacted chunk is meant to stay below this: 32-bit offsets end at four times as much.
const CHUNK_BYTES_MAX: usize = 512 << 20;

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

    #[cfg(test)]
    fn chunk(&self, chunk: u32) -> &[ArrayRef] {
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

    /// About how many bytes a compaction to `live` rows would copy; `None` when it would not pay.
    pub(crate) fn compaction_bytes(&self, live: usize) -> Option<usize> {
        let is_much = self.rows > COMPACT_ROWS_MIN || self.bytes > COMPACT_BYTES_MIN;
        let is_mostly_stale = is_much && self.rows > live.saturating_mul(2);
        (is_mostly_stale || self.chunks.len() > CHUNKS_MAX).then(|| self.bytes_per_row() * live)
    }

    /// Copies the candidates into few chunks and points their locators there.
    pub(crate) fn compact<'a>(&mut self, locators: impl Iterator<Item = &'a mut Locator>) -> Result<()> {
        self.compact_to(CHUNK_BYTES_MAX, locators)
    }

    fn compact_to<'a>(
        &mut self,
        chunk_bytes_max: usize,
        locators: impl Iterator<Item = &'a mut Locator>,
    ) -> Result<()> {
        let chunk_rows = (chunk_bytes_max / self.bytes_per_row()).max(1);
        let mut sources = Vec::new();
        for locator in locators.filter(|locator| !locator.is_none()) {
            let place = sources.len();
            sources.push((locator.chunk as usize, locator.row as usize));
            *locator = Locator { chunk: as_u32(1 + place / chunk_rows), row: as_u32(place % chunk_rows) };
        }
        let chunks =
            sources.chunks(chunk_rows).map(|rows| self.gather_all(rows)).collect::<Result<Vec<_>>>()?;
        self.chunks.truncate(1);
        self.rows = sources.len();
        self.bytes = chunks.iter().map(|chunk| bytes_of(chunk)).sum();
        self.chunks.extend(chunks);
        Ok(())
    }

    fn bytes_per_row(&self) -> usize {
        (self.bytes / self.rows.max(1)).max(1)
    }

    /// One column of the rows at `sources`, in that order.
    pub(crate) fn gather(&self, column: usize, sources: &[(usize, usize)]) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk[column].as_ref()).collect();
        Ok(interleave(&arrays, sources)?)
    }

    /// One column of the rows that `held` names, of which some may be in the current batch, in `current`.
    pub(crate) fn gather_beside(
        &self,
        column: usize,
        current: &ArrayRef,
        held: &[Locator],
    ) -> Result<ArrayRef> {
        let mut arrays: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk[column].as_ref()).collect();
        let last = arrays.len();
        arrays.push(current.as_ref());
        let source = |held: &Locator| {
            (if held.chunk == Locator::CURRENT { last } else { held.chunk as usize }, held.row as usize)
        };
        Ok(interleave(&arrays, &held.iter().map(source).collect::<Vec<_>>())?)
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

/// Chunks and rows of one partition are numbered with 32 bits.
fn as_u32(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
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

    #[test]
    fn a_compaction_that_is_too_large_for_one_chunk_takes_several() {
        let mut retained = Retained::new(&[DataType::Utf8View]);
        let texts: StringViewArray = (0..100).map(|row| Some(format!("text number {row:>3}"))).collect();
        let chunk = retained.take(&[Arc::new(texts)], (0..100).collect()).unwrap();
        let mut locators: Vec<Locator> = (0..100).step_by(3).map(|row| Locator { chunk, row }).collect();
        locators.push(Locator::NONE);
        let bytes = retained.memory_bytes();
        retained.compact_to(bytes / 10, locators.iter_mut()).unwrap();
        assert!(retained.chunks.len() > 3, "{} chunks", retained.chunks.len());
        assert_eq!(locators.pop(), Some(Locator::NONE));
        for (number, locator) in locators.iter().enumerate() {
            let held = retained.chunk(locator.chunk)[0].as_string_view().value(locator.row as usize);
            assert_eq!(held, format!("text number {:>3}", number * 3));
        }
    }
}
