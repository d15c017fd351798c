//! Gives every spine row its id before anything moves: the row group's base plus the row's place in it.
//!
//! Each unit of a spine scan is one row group, and the scan hands its base down as a constant column; this
//! operator adds the place. Bases count rows in file and row group order, so an id is the row's ordinal in the
//! spine, whatever partition or process reads it. Of a source, pages may be left out: their ordinals are passed over.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::UInt64Type;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::StreamExt;

/// The column that holds the base below this operator and the id above it.
pub(crate) const ROW_ID: &str = "__backsight_row";

/// Replaces the base in [`ROW_ID`] by the row's id.
#[derive(Debug)]
pub(crate) struct RowIdExec {
    input: Arc<dyn ExecutionPlan>,
    column: usize,
    /// Ordinals of rows that are not read, between those that are: ascending, disjoint.
    gaps: Arc<[Range<u64>]>,
    properties: Arc<PlanProperties>,
}

impl RowIdExec {
    pub(crate) fn try_new(input: Arc<dyn ExecutionPlan>, gaps: Arc<[Range<u64>]>) -> Result<Self> {
        let column = input.schema().index_of(ROW_ID)?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self { input, column, gaps, properties: Arc::new(properties) })
    }

    pub(crate) fn gaps(&self) -> &Arc<[Range<u64>]> {
        &self.gaps
    }
}

impl DisplayAs for RowIdExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowIdExec")
    }
}

impl ExecutionPlan for RowIdExec {
    fn name(&self) -> &'static str {
        "RowIdExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    backsight_asof::operator_without_expressions!(1, |own, [input]| Self::try_new(
        input,
        Arc::clone(&own.gaps)
    ));

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (schema, column) = (self.schema(), self.column);
        let mut numbering = Numbering::new(Arc::clone(&self.gaps));
        let stream = input.map(move |batch| numbering.number(&batch?, column));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Where the numbering stands in the row group that is being read.
struct Numbering {
    gaps: Arc<[Range<u64>]>,
    base: Option<u64>,
    next: u64,
    /// The first gap that does not lie before `next`.
    gap: usize,
}

impl Numbering {
    fn new(gaps: Arc<[Range<u64>]>) -> Self {
        Self { gaps, base: None, next: 0, gap: 0 }
    }

    fn number(&mut self, batch: &RecordBatch, column: usize) -> Result<RecordBatch> {
        let bases = batch.column(column).as_primitive::<UInt64Type>();
        let ids: UInt64Array = bases.values().iter().map(|&base| self.id(base)).collect();
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns[column] = Arc::new(ids);
        Ok(RecordBatch::try_new(batch.schema(), columns)?)
    }

    /// The id of the next row, which is of the row group that starts at `base`.
    fn id(&mut self, base: u64) -> u64 {
        if self.base != Some(base) {
            self.base = Some(base);
            self.next = base;
            self.gap = self.gaps.partition_point(|gap| gap.end <= base);
        }
        while let Some(gap) = self.gaps.get(self.gap)
            && gap.start <= self.next
        {
            self.next = gap.end;
            self.gap += 1;
        }
        let id = self.next;
        self.next += 1;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_pass_over_what_is_not_read() {
        let numbers = |gaps: &[Range<u64>], bases: &[u64]| -> Vec<u64> {
            let mut numbering = Numbering::new(gaps.into());
            bases.iter().map(|&base| numbering.id(base)).collect()
        };
        assert_eq!(numbers(&[], &[5, 5, 0, 0]), [5, 6, 0, 1]);
        // Row groups of ten rows: of the first rows 0, 1, 5 are read, of the second 14, of the third all.
        let gaps = [2..5, 6..10, 10..14, 15..20];
        assert_eq!(numbers(&gaps, &[0, 0, 0, 10, 20, 20]), [0, 1, 5, 14, 20, 21]);
        assert_eq!(numbers(&gaps, &[10, 0, 0, 0]), [14, 0, 1, 5], "in whatever order they are read");
    }
}
