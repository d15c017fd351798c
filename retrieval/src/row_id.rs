//! Gives every spine row its id before anything moves: the row group's base plus the row's place in it.
//!
//! Each unit of a spine scan is one row group, and the scan hands its base down as a constant column; this
//! operator adds the place. Bases count rows in file and row group order, so an id is the row's ordinal in the
//! spine, whatever partition or process reads it.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::UInt64Type;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::StreamExt;

/// The column that holds the base below this operator and the id above it.
pub(crate) const ROW_ID: &str = "__backsight_row";

/// Replaces the base in [`ROW_ID`] by the row's id.
#[derive(Debug)]
pub(crate) struct RowIdExec {
    input: Arc<dyn ExecutionPlan>,
    column: usize,
    properties: Arc<PlanProperties>,
}

impl RowIdExec {
    pub(crate) fn try_new(input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let column = input.schema().index_of(ROW_ID)?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self { input, column, properties: Arc::new(properties) })
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

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::try_new(input)?)),
            Err(_) => Err(DataFusionError::Internal("RowIdExec has one input".into())),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (schema, column) = (self.schema(), self.column);
        let mut numbering = Numbering::default();
        let stream = input.map(move |batch| numbering.number(&batch?, column));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Where the numbering stands in the row group that is being read.
#[derive(Default)]
struct Numbering {
    base: Option<u64>,
    next: u64,
}

impl Numbering {
    fn number(&mut self, batch: &RecordBatch, column: usize) -> Result<RecordBatch> {
        let bases = batch.column(column).as_primitive::<UInt64Type>();
        let ids: UInt64Array = bases
            .values()
            .iter()
            .map(|&base| {
                if self.base != Some(base) {
                    self.base = Some(base);
                    self.next = base;
                }
                let id = self.next;
                self.next += 1;
                id
            })
            .collect();
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns[column] = Arc::new(ids);
        Ok(RecordBatch::try_new(batch.schema(), columns)?)
    }
}
