//! The operator of the partial fold: its inputs are a lookup's narrow rows and the spine's keys and instants, whole.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties, SendableRecordBatchStream,
};

use crate::candidates::CandidatesSpec;
use crate::fold_metrics::FoldMetrics;
use crate::late::LateColumns;
use crate::partial_fold::{self, PartFold, SharedSpine};

/// Folds each partition of its first input against the whole second one; see [`CandidatesSpec`] for what comes out.
///
/// The second input is asked for in one partition, which the query engine makes a broadcast of: a task that runs a slice
/// of the first input's partitions still reads the spine whole.
#[derive(Debug)]
pub(crate) struct CandidatesExec {
    spec: Arc<CandidatesSpec>,
    lookup: Arc<dyn ExecutionPlan>,
    spine: Arc<dyn ExecutionPlan>,
    late: Arc<dyn LateColumns>,
    /// What the partitions of a task share.
    shared: Arc<SharedSpine>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl CandidatesExec {
    /// A partial fold of `lookup` against `spine`; `late` reads the columns of the lookup's rows.
    ///
    /// # Errors
    /// When the specification does not fit the inputs.
    pub(crate) fn try_new(
        spec: Arc<CandidatesSpec>,
        lookup: Arc<dyn ExecutionPlan>,
        spine: Arc<dyn ExecutionPlan>,
        late: Arc<dyn LateColumns>,
    ) -> Result<Self> {
        let schema =
            spec.output_schema(lookup.schema().as_ref(), spine.schema().as_ref(), late.schema().as_ref())?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(lookup.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            spec,
            lookup,
            spine,
            late,
            shared: Arc::default(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    pub(crate) fn spec(&self) -> &CandidatesSpec {
        &self.spec
    }

    pub(crate) fn late(&self) -> &Arc<dyn LateColumns> {
        &self.late
    }
}

impl DisplayAs for CandidatesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CandidatesExec: {}", self.spec)
    }
}

impl ExecutionPlan for CandidatesExec {
    fn name(&self) -> &'static str {
        "CandidatesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.lookup, &self.spine]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let wanted = vec![Distribution::UnspecifiedDistribution, Distribution::SinglePartition];
        InputDistributionRequirements::new(wanted)
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; 2]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false; 2]
    }

    crate::operator_without_expressions!(2, |own, [lookup, spine]| {
        Self::try_new(Arc::clone(&own.spec), lookup, spine, Arc::clone(&own.late))
    });

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let partitions = self.spine.output_partitioning().partition_count();
        if partitions != 1 {
            // A part of the spine would lose candidates without a sign.
            return Err(DataFusionError::Internal(format!(
                "the spine of a partial fold has {partitions} partitions"
            )));
        }
        let fold = PartFold {
            spec: Arc::clone(&self.spec),
            schema: self.schema(),
            lookup: Arc::clone(&self.lookup),
            spine: Arc::clone(&self.spine),
            late: Arc::clone(&self.late),
            shared: Arc::clone(&self.shared),
            partition,
            context,
            metrics: FoldMetrics::new(&self.metrics, partition, 1),
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), partial_fold::stream(fold))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
