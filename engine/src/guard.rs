//! Passes rows on while a gate is open: stands above every leaf of a task and below its part writer.

use std::fmt;
use std::sync::Arc;

use backsight_retrieval::RetrievalError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::StreamExt;

use crate::gate::{Closed, Gate};

/// The operator.
#[derive(Debug)]
pub(crate) struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    gate: Gate,
}

impl GuardExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, gate: Gate) -> Self {
        Self { input, gate }
    }
}

/// What a task fails with when its gate is closed.
pub(crate) fn closed_error(closed: Closed) -> RetrievalError {
    match closed {
        Closed::Cancelled => RetrievalError::Cancelled,
        Closed::DiskFull(detail) => RetrievalError::Disk { detail },
    }
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardExec")
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &'static str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
            Ok([input]) => Ok(Arc::new(Self::new(input, self.gate.clone()))),
            Err(_) => Err(DataFusionError::Internal("GuardExec has one input".into())),
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
        let schema = input.schema();
        let guarded = futures::stream::unfold(Some((input, self.gate.clone())), |state| async move {
            let (mut input, mut gate) = state?;
            let next = tokio::select! {
                biased;
                closed = gate.wait_closed() => Some(Err(closed_error(closed).into())),
                next = input.next() => next,
            };
            let goes_on = matches!(next, Some(Ok(_)));
            next.map(|next| (next, goes_on.then_some((input, gate))))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, guarded)))
    }
}
