//! Rows that were read late: fetched unit by unit, in parallel, then joined to one array for each column.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::DataType;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;

use crate::late::{ColumnPieces, LateColumns};
use crate::row_set::RowSet;
use crate::threads;

/// A column above this stays in the pieces that it came in: 32-bit offsets end at twice as much.
const JOINED_BYTES_MAX: usize = 1 << 30;

/// Columns of the members of a [`RowSet`], in the order of their ranks.
#[derive(Debug)]
pub(crate) struct Fetched {
    columns: Vec<Pieces>,
    bytes: usize,
}

/// One column.
#[derive(Debug)]
enum Pieces {
    Joined(ArrayRef),
    /// First a row of nulls; then the pieces, whose first ranks are in `starts`.
    Apart {
        arrays: Vec<ArrayRef>,
        starts: Vec<usize>,
    },
}

/// Reads `columns` of the rows in `rows`, `at_once` units at a time.
pub(crate) async fn fetch(
    late: &Arc<dyn LateColumns>,
    rows: &RowSet,
    columns: &[usize],
    context: &Arc<TaskContext>,
    at_once: usize,
) -> Result<Fetched> {
    let schema = late.schema();
    let types: Vec<DataType> =
        columns.iter().map(|&column| schema.field(column).data_type().clone()).collect();
    let mut waiting: Vec<(usize, usize, Vec<Range<u64>>)> = Vec::new();
    for (unit, range) in late.units().iter().enumerate() {
        let runs = rows.runs(range.clone());
        if !runs.is_empty() {
            waiting.push((waiting.len(), unit, runs));
        }
    }
    let mut units: Vec<Vec<ColumnPieces>> = vec![Vec::new(); waiting.len()];
    if !columns.is_empty() {
        let mut tasks = JoinSet::new();
        let mut waiting = waiting.into_iter();
        loop {
            while tasks.len() < at_once.max(1)
                && let Some((place, unit, runs)) = waiting.next()
            {
                let reading = late.fetch(unit, runs, columns.to_vec(), Arc::clone(context));
                tasks.spawn(async move { reading.await.map(|columns| (place, columns)) });
            }
            let Some(ended) = tasks.join_next().await else { break };
            let (place, columns) = ended.map_err(|e| DataFusionError::External(Box::new(e)))??;
            units[place] = columns;
        }
    }
    let fetched = Fetched::new(&types, units, at_once)?;
    let expected = usize::try_from(rows.members()).unwrap_or(usize::MAX);
    if fetched.columns.iter().any(|column| column.rows() != expected) {
        return Err(DataFusionError::Internal(format!("{expected} rows were to be read late, others came")));
    }
    Ok(fetched)
}

impl Fetched {
    /// Columns of `types`, given as each unit's pieces; joined on up to `threads` threads.
    pub(crate) fn new(types: &[DataType], mut units: Vec<Vec<ColumnPieces>>, threads: usize) -> Result<Self> {
        // From the last column to the first, so that each unit gives up its pieces one by one.
        let mut columns: Vec<(&DataType, ColumnPieces)> = types
            .iter()
            .rev()
            .map(|data_type| (data_type, units.iter_mut().filter_map(Vec::pop).flatten().collect()))
            .collect();
        columns.reverse();
        let columns = threads::map(threads, columns, |(data_type, arrays)| Pieces::new(data_type, arrays));
        let columns: Vec<Pieces> = columns.into_iter().collect::<Result<_>>()?;
        let bytes = columns.iter().map(Pieces::bytes).sum();
        Ok(Self { columns, bytes })
    }

    /// Bytes of all columns.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A column's rows of the given ranks, null where there is none.
    pub(crate) fn gather(&self, column: usize, ranks: &UInt32Array) -> Result<ArrayRef> {
        match &self.columns[column] {
            Pieces::Joined(array) => Ok(take(array, ranks, None)?),
            Pieces::Apart { arrays, starts } => {
                let places: Vec<(usize, usize)> = ranks
                    .iter()
                    .map(|rank| {
                        let Some(rank) = rank else { return (0, 0) };
                        let piece = starts.partition_point(|&start| start <= rank as usize) - 1;
                        (piece + 1, rank as usize - starts[piece])
                    })
                    .collect();
                let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                Ok(interleave(&arrays, &places)?)
            }
        }
    }
}

impl Pieces {
    fn new(data_type: &DataType, arrays: Vec<ArrayRef>) -> Result<Self> {
        let bytes: usize = arrays.iter().map(|array| array.get_buffer_memory_size()).sum();
        match arrays.as_slice() {
            [] => return Ok(Self::Joined(arrow::array::new_empty_array(data_type))),
            [only] => return Ok(Self::Joined(ArrayRef::clone(only))),
            _ => {}
        }
        if data_type.is_primitive() || bytes < JOINED_BYTES_MAX {
            let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            return Ok(Self::Joined(concat(&arrays)?));
        }
        let mut starts = Vec::with_capacity(arrays.len());
        let mut rows = 0;
        for array in &arrays {
            starts.push(rows);
            rows += array.len();
        }
        let nulls = new_null_array(data_type, 1);
        Ok(Self::Apart { arrays: std::iter::once(nulls).chain(arrays).collect(), starts })
    }

    fn rows(&self) -> usize {
        match self {
            Self::Joined(array) => array.len(),
            Self::Apart { arrays, .. } => arrays[1..].iter().map(|array| array.len()).sum(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Joined(array) => array.get_buffer_memory_size(),
            Self::Apart { arrays, .. } => arrays.iter().map(|array| array.get_buffer_memory_size()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, StringArray};

    use super::*;

    #[test]
    fn a_column_in_pieces_gathers_as_a_joined_one() {
        let pieces: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["a", "b"])),
            Arc::new(StringArray::from(vec![Some("c"), None, Some("d")])),
        ];
        let joined = Pieces::new(&DataType::Utf8, pieces.clone()).unwrap();
        assert!(matches!(joined, Pieces::Joined(_)));
        let nulls = new_null_array(&DataType::Utf8, 1);
        let arrays = std::iter::once(nulls).chain(pieces).collect();
        let apart = Pieces::Apart { arrays, starts: vec![0, 2] };
        assert_eq!((joined.rows(), apart.rows()), (5, 5));
        let ranks = UInt32Array::from(vec![Some(4), None, Some(0), Some(3), Some(2), Some(1)]);
        for column in [joined, apart] {
            let fetched = Fetched { columns: vec![column], bytes: 0 };
            let rows: Vec<Option<String>> = fetched
                .gather(0, &ranks)
                .unwrap()
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(str::to_owned))
                .collect();
            let expected = [Some("d"), None, Some("a"), None, Some("c"), Some("b")];
            assert_eq!(rows, expected.map(|text| text.map(str::to_owned)));
        }
    }
}
