//! The operator that adds spans to a lookup's rows, and what is carried into them.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};

use crate::spans::{Spans, SpansSpec};

/// Batches that wait for whoever takes them.
const BATCHES_WAITING_MAX: usize = 2;

/// Adds spans to the rows of each partition; see [`SpansSpec`] for what comes out.
#[derive(Debug)]
pub(crate) struct SpansExec {
    spec: Arc<SpansSpec>,
    lookup: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl SpansExec {
    /// The rows of `lookup` with their spans.
    ///
    /// # Errors
    /// When the specification does not fit the input.
    pub(crate) fn try_new(spec: Arc<SpansSpec>, lookup: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(spec.output_schema(lookup.schema().as_ref())?),
            Partitioning::UnknownPartitioning(lookup.output_partitioning().partition_count()),
            EmissionType::Both,
            Boundedness::Bounded,
        );
        Ok(Self { spec, lookup, properties: Arc::new(properties) })
    }

    pub(crate) fn spec(&self) -> &SpansSpec {
        &self.spec
    }
}

impl DisplayAs for SpansExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpansExec: {}", self.spec.lookup.name)
    }
}

impl ExecutionPlan for SpansExec {
    fn name(&self) -> &'static str {
        "SpansExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.lookup]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    crate::operator_without_expressions!(1, |own, [lookup]| { Self::try_new(Arc::clone(&own.spec), lookup) });

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let memory =
            MemoryConsumer::new(format!("spans, partition {partition}")).register(context.memory_pool());
        let rows = self.lookup.execute(partition, context)?;
        let spans = Spans { spec: Arc::clone(&self.spec), schema: self.schema(), memory };
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), BATCHES_WAITING_MAX);
        let sender = builder.tx();
        builder.spawn(spans.run(rows, sender));
        Ok(builder.build())
    }
}
