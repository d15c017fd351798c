//! The physical operator: collects one spine partition, streams the lookups past it, emits the spine's rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, Partitioning, PlanProperties, ReplaceChildrenOptions,
    SendableRecordBatchStream,
};

use crate::broadcast_join::{self, SharedLookups};
use crate::fold_metrics::{self, FoldAccount, FoldMetrics};
use crate::late::LateColumns;
use crate::late_fold::{self, SharedFold, WholeJoin};
use crate::spec::{AsofSpec, JoinForm};
use crate::{naive, slot_fold, spilled_fold};

/// The point-in-time join of a spine with the lookups that share its keys.
///
/// Inputs: the spine, then one input a lookup. With keys, all inputs must be hash partitioned alike on them;
/// without keys, and in the form that broadcasts, every spine partition reads each lookup whole. The late slot fold takes any
/// partitions. Output: [`AsofSpec::output_schema`], one row
/// for each spine row, in the spine's order inside a partition unless the form spills or the rows may be clustered.
#[derive(Debug)]
pub struct AsofJoinExec {
    spec: Arc<AsofSpec>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    /// A reader for each lookup, where the form reads late.
    late: Vec<Arc<dyn LateColumns>>,
    /// Where the form shares its work between partitions.
    shared: Arc<SharedFold>,
    /// The same for the form that holds the lookups.
    indexed: Arc<SharedLookups>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AsofJoinExec {
    /// A join of `inputs` (spine first); `late` holds a reader for each lookup where the form reads late, else nothing.
    ///
    /// # Errors
    /// When the specification does not fit the inputs' schemas.
    pub fn try_new(
        spec: Arc<AsofSpec>,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        late: Vec<Arc<dyn LateColumns>>,
    ) -> Result<Self> {
        let Some((spine, lookups)) = inputs.split_first() else {
            return Err(DataFusionError::Plan("a point-in-time join needs a spine".into()));
        };
        let schemas: Vec<SchemaRef> = lookups.iter().map(|input| input.schema()).collect();
        let schema = {
            let late: Vec<SchemaRef> = late.iter().map(|late| late.schema()).collect();
            spec.output_schema(spine.schema().as_ref(), &schemas, &late)?
        };
        let partitioning = match spec.form {
            JoinForm::SlotFold | JoinForm::CandidateFold | JoinForm::Broadcast | JoinForm::SpilledFold => {
                spine.output_partitioning().clone()
            }
            JoinForm::LateFold => {
                Partitioning::UnknownPartitioning(spine.output_partitioning().partition_count())
            }
            JoinForm::NaiveLoop => Partitioning::UnknownPartitioning(1),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            spec,
            inputs,
            late,
            shared: Arc::default(),
            indexed: Arc::default(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// What the join was asked for.
    pub fn spec(&self) -> &Arc<AsofSpec> {
        &self.spec
    }

    /// What became of the feature rows of a partition, by the number of the lookup's outcome column. Complete once the
    /// partition's stream has ended; nothing for the naive loop, which does not count.
    pub fn accounts(&self, partition: usize) -> Vec<(usize, FoldAccount)> {
        let accounts = fold_metrics::accounts(&self.metrics.clone_inner(), partition);
        accounts.into_iter().map(|(lookup, account)| (self.spec.first_outcome + lookup, account)).collect()
    }

    /// Whether the rows of a partition come by key and instant. Known from the first row on.
    pub fn is_sorted(&self, partition: usize) -> bool {
        fold_metrics::is_sorted(&self.metrics.clone_inner(), partition)
    }

    /// The columns by which sorted rows come, the most significant first: the keys, then the instant.
    pub fn sort_columns(&self) -> Vec<String> {
        let schema = self.inputs[0].schema();
        let columns = self.spec.spine_keys.iter().chain([&self.spec.spine_instant]);
        columns.map(|&column| schema.field(column).name().clone()).collect()
    }

    fn key_columns(&self, input: usize) -> Vec<Arc<dyn PhysicalExpr>> {
        let keys = match input.checked_sub(1) {
            None => &self.spec.spine_keys,
            Some(lookup) => &self.spec.lookups[lookup].keys,
        };
        let schema = self.inputs[input].schema();
        keys.iter()
            .map(|&key| Arc::new(Column::new(schema.field(key).name(), key)) as Arc<dyn PhysicalExpr>)
            .collect()
    }

    /// Whether each partition of the spine meets all rows of a lookup.
    fn reads_lookups_whole(&self) -> bool {
        self.spec.form == JoinForm::Broadcast || self.spec.spine_keys.is_empty()
    }

    /// Misaligned inputs would give wrong rows without a sign, so this is checked where it is cheap.
    fn check_partitions(&self) -> Result<()> {
        if self.spec.form == JoinForm::LateFold {
            return Ok(());
        }
        let counts: Vec<usize> =
            self.inputs.iter().map(|input| input.output_partitioning().partition_count()).collect();
        let spine_is_free = self.spec.form != JoinForm::NaiveLoop;
        let is_beside = spine_is_free && !self.reads_lookups_whole();
        let wanted = if is_beside { counts[0] } else { 1 };
        let checked = if spine_is_free { &counts[1..] } else { &counts[..] };
        if checked.iter().any(|&count| count != wanted) {
            return Err(DataFusionError::Internal(format!(
                "the inputs of a point-in-time join have {counts:?} partitions"
            )));
        }
        Ok(())
    }
}

impl DisplayAs for AsofJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsofJoinExec: form={}", self.spec.form.name())?;
        for lookup in &self.spec.lookups {
            write!(f, ", {}[keys={}", lookup.name, lookup.keys.len())?;
            if let Some(ttl) = lookup.ttl_nanos {
                write!(f, " ttl={ttl}ns")?;
            }
            if lookup.created_cut {
                write!(f, " created_cut")?;
            }
            write!(f, " columns={}]", lookup.payload.len())?;
        }
        Ok(())
    }
}

impl ExecutionPlan for AsofJoinExec {
    fn name(&self) -> &'static str {
        "AsofJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let inputs = self.inputs.len();
        match self.spec.form {
            JoinForm::LateFold => {
                InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution; inputs])
            }
            JoinForm::NaiveLoop => {
                InputDistributionRequirements::new(vec![Distribution::SinglePartition; inputs])
            }
            _ if self.reads_lookups_whole() => {
                let mut wanted = vec![Distribution::SinglePartition; inputs];
                wanted[0] = Distribution::UnspecifiedDistribution;
                InputDistributionRequirements::new(wanted)
            }
            _ => InputDistributionRequirements::co_partitioned(
                (0..inputs).map(|input| Distribution::KeyPartitioned(self.key_columns(input))).collect(),
            ),
        }
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::try_new(Arc::clone(&self.spec), children, self.late.clone())?))
    }

    crate::operator_without_expressions!();

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.check_partitions()?;
        if self.spec.form == JoinForm::LateFold {
            let join = WholeJoin {
                spec: Arc::clone(&self.spec),
                schema: self.schema(),
                inputs: self.inputs.clone(),
                late: self.late.clone(),
                context,
            };
            let metrics = FoldMetrics::new(&self.metrics, partition, self.spec.lookups.len());
            let stream = late_fold::stream(join, Arc::clone(&self.shared), partition, metrics);
            return Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)));
        }
        let join = PartitionJoin {
            spec: Arc::clone(&self.spec),
            schema: self.schema(),
            inputs: self.inputs.clone(),
            partition,
            reads_lookups_whole: self.reads_lookups_whole(),
            context,
        };
        let stream = match self.spec.form {
            JoinForm::NaiveLoop => naive::stream(join),
            JoinForm::Broadcast => {
                let metrics = FoldMetrics::new(&self.metrics, partition, self.spec.lookups.len());
                broadcast_join::stream(join, Arc::clone(&self.indexed), metrics)
            }
            JoinForm::SpilledFold => spilled_fold::stream(join, &self.metrics),
            _ => slot_fold::stream(join, &self.metrics),
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// One partition of a join, ready to run.
pub(crate) struct PartitionJoin {
    pub(crate) spec: Arc<AsofSpec>,
    pub(crate) schema: SchemaRef,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    partition: usize,
    reads_lookups_whole: bool,
    pub(crate) context: Arc<TaskContext>,
}

impl PartitionJoin {
    pub(crate) fn spine(&self) -> Result<SendableRecordBatchStream> {
        self.inputs[0].execute(self.partition, Arc::clone(&self.context))
    }

    /// The keys of a batch of the spine.
    pub(crate) fn spine_keys(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.spec.spine_keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect()
    }

    /// About how many rows of the spine there are in a partition, if it is known.
    pub(crate) fn spine_rows(&self) -> Option<usize> {
        let known = StatisticsContext::new().compute(self.inputs[0].as_ref(), &StatisticsArgs::new()).ok()?;
        known.num_rows.get_value().map(|rows| rows / self.partitions().max(1))
    }

    /// How many partitions the spine has here.
    pub(crate) fn partitions(&self) -> usize {
        self.inputs[0].output_partitioning().partition_count()
    }

    pub(crate) fn spine_schema(&self) -> SchemaRef {
        self.inputs[0].schema()
    }

    /// A lookup's rows: the partition beside the spine's, or all of them.
    pub(crate) fn lookup(&self, lookup: usize) -> Result<SendableRecordBatchStream> {
        let partition = if self.reads_lookups_whole { 0 } else { self.partition };
        self.inputs[lookup + 1].execute(partition, Arc::clone(&self.context))
    }

    pub(crate) fn lookup_schema(&self, lookup: usize) -> SchemaRef {
        self.inputs[lookup + 1].schema()
    }

    pub(crate) fn partition(&self) -> usize {
        self.partition
    }

    pub(crate) fn spine_unit(&self) -> Result<TimeUnit> {
        timestamp_unit(&self.spine_schema(), self.spec.spine_instant)
    }
}

/// The unit of an instant column.
pub(crate) fn timestamp_unit(schema: &SchemaRef, column: usize) -> Result<TimeUnit> {
    match schema.field(column).data_type() {
        DataType::Timestamp(unit, _) => Ok(*unit),
        other => Err(DataFusionError::Internal(format!("an instant column is {other}"))),
    }
}
