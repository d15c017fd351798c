//! Lookups whose columns are read late, from memory: a stand-in for files.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use futures::future::{BoxFuture, FutureExt};

use super::cases::Case;
use crate::late::{ColumnPieces, LateColumns};
use crate::spec::LookupSpec;

/// Rows of a unit: few, so that small cases have several.
const UNIT_ROWS: u64 = 3;

#[derive(Debug)]
pub(super) struct MemoryColumns {
    rows: RecordBatch,
    units: Vec<Range<u64>>,
}

impl MemoryColumns {
    /// All columns of lookup number `lookup` of a case; a row's ordinal is its number.
    pub(super) fn of(case: &Case, lookup: usize) -> Self {
        let lookup = &case.lookups[lookup];
        let rows: Vec<usize> = (0..lookup.rows.len()).collect();
        Self::over(lookup.batch(&case.key_types, &rows, 0))
    }

    fn over(rows: RecordBatch) -> Self {
        let end = rows.num_rows() as u64;
        let units = (0..end).step_by(UNIT_ROWS as usize).map(|start| start..end.min(start + UNIT_ROWS));
        Self { rows, units: units.collect() }
    }

    /// Reads what `encode` wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Arc<dyn LateColumns>> {
        let mut reader = StreamReader::try_new(bytes, None)?;
        let rows = reader.next().expect("one batch")?;
        Ok(Arc::new(Self::over(rows)))
    }
}

impl LateColumns for MemoryColumns {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn units(&self) -> &[Range<u64>] {
        &self.units
    }

    fn fetch(
        &self,
        unit: usize,
        runs: Vec<Range<u64>>,
        columns: Vec<usize>,
        _: Arc<TaskContext>,
    ) -> BoxFuture<'static, Result<Vec<ColumnPieces>>> {
        let bounds = self.units[unit].clone();
        assert!(
            runs.iter().all(|run| run.start < run.end && bounds.start <= run.start && run.end <= bounds.end)
        );
        let pieces = columns.iter().map(|&column| {
            let runs = runs.iter().map(|run| UInt64Array::from_iter_values(run.clone()));
            runs.map(|rows| Ok(take(self.rows.column(column), &rows, None)?)).collect()
        });
        let pieces = pieces.collect();
        async move { pieces }.boxed()
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let mut writer = StreamWriter::try_new(Vec::new(), &self.rows.schema())?;
        writer.write(&self.rows)?;
        Ok(writer.into_inner()?)
    }
}

/// A specification as the form that reads late wants it. The input keeps its columns and has the ordinals as last one;
/// the late columns are the same columns, so positions stay. Without a cut the created time is read late.
pub(super) fn late_spec(spec: LookupSpec, columns: usize) -> LookupSpec {
    let (created, late_created) = match (spec.created, spec.created_cut) {
        (Some(created), false) => (None, Some(created)),
        (created, _) => (created, None),
    };
    LookupSpec { ordinal: Some(columns), created, late_created, ..spec }
}

/// `batch` with the ordinals of its rows.
pub(super) fn with_ordinals(batch: &RecordBatch, rows: &[usize]) -> RecordBatch {
    let ordinals: UInt64Array = rows.iter().map(|&row| row as u64).collect();
    let columns = batch.columns().iter().cloned().chain(std::iter::once(Arc::new(ordinals) as ArrayRef));
    RecordBatch::try_new(numbered(&batch.schema()), columns.collect()).unwrap()
}

/// `schema` with a column of ordinals.
pub(super) fn numbered(schema: &Schema) -> SchemaRef {
    let ordinal = Arc::new(Field::new("ordinal", DataType::UInt64, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(std::iter::once(ordinal)).collect::<Vec<_>>()))
}
