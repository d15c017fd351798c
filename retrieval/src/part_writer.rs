//! Writes each partition of a retrieval as one part and reports it as a row; nothing becomes visible here.
//!
//! It passes no rows on, so it runs inside the join's own tasks, in parallel. Each part's report carries what
//! the commit checks: rows, bytes, the checksum of the spine rows, the tally of outcomes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use backsight_asof::{AsofJoinExec, FoldAccount};
use backsight_storage::{Location, Stores};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use crate::encoding::writer_properties;
use crate::error::RetrievalError;
use crate::part_file::PartFile;
use crate::plan::PlannedView;
use crate::progress::Progress;
use crate::report::Tally;
use crate::sorted_rows::SortedRows;
use crate::staging::{PartSink, Staged, StagingLog};

/// What parts are written with: found in the session's extensions where the operator runs.
#[derive(Debug, Clone)]
pub struct WriteContext {
    /// Where the output is reached.
    pub stores: Stores,
    /// What this process started to write.
    pub log: StagingLog,
    /// What this process has written.
    pub progress: Arc<Progress>,
}

/// What to write: travels with the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSpec {
    /// Folder of the dataset, as store and path.
    pub store_url: String,
    /// Path inside the store.
    pub path: String,
    /// Names the attempt, so that no two attempts meet in one file.
    pub attempt: String,
    /// Columns of the dataset: the first of the input.
    pub dataset_columns: usize,
    /// Outcome columns.
    pub views: Vec<PlannedViewSpec>,
    /// Number of the plan's first partition among the parts of the dataset.
    #[serde(default)]
    pub part_base: usize,
    /// Rows come in the spine's order; checked while they are written.
    #[serde(default)]
    pub is_ordered: bool,
}

/// [`PlannedView`] as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedViewSpec {
    /// Positions of the features.
    pub features: Vec<usize>,
    /// Position of the outcome.
    pub outcome: usize,
}

/// One written part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// File name in the dataset.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Σ mod 2⁶⁴ of [`mix`] of the spine rows' ids.
    pub checksum: u64,
    /// What completes it; `None` when the partition had no rows and no file was written.
    pub staged: Option<Staged>,
    /// Outcomes of its rows; empty once they are counted in the shard's.
    #[serde(default)]
    pub tally: Tally,
    /// Which partition of the plan it is.
    #[serde(default)]
    pub partition: usize,
    /// What the joins of its task did with feature rows for this partition, by the view's outcome number. A join below
    /// an exchange is not seen here. Empty once it was checked.
    #[serde(default)]
    pub folds: BTreeMap<usize, FoldAccount>,
    /// Bytes that the operators of its task have spilled for this partition; below an exchange they are not seen here.
    #[serde(default)]
    pub bytes_spilled: u64,
}

impl PartRecord {
    pub(crate) fn empty(name: String, partition: usize, tally: Tally) -> Self {
        Self {
            name,
            rows: 0,
            bytes: 0,
            checksum: 0,
            staged: None,
            tally,
            partition,
            folds: BTreeMap::new(),
            bytes_spilled: 0,
        }
    }
}

/// The physical operator.
#[derive(Debug)]
pub struct PartWriteExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<PartSpec>,
    /// The plan-wide number of each partition, where a task holds a slice of them.
    partitions: Option<Arc<[usize]>>,
    properties: Arc<PlanProperties>,
}

impl PartWriteExec {
    /// Writes the partitions of `input`, whose columns are a retrieval plan's.
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: Arc<PartSpec>) -> Self {
        let schema = Arc::new(Schema::new(vec![Field::new("part", DataType::Utf8, false)]));
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { input, spec, partitions: None, properties: Arc::new(properties) }
    }

    /// The same for a task that runs a slice of the plan: `partitions` are the plan-wide numbers of its partitions.
    #[must_use]
    pub fn with_partitions(&self, partitions: Vec<usize>) -> Self {
        let plain = Self::new(Arc::clone(&self.input), Arc::clone(&self.spec));
        Self { partitions: Some(partitions.into()), ..plain }
    }

    /// What is written.
    pub fn spec(&self) -> &PartSpec {
        &self.spec
    }
}

impl DisplayAs for PartWriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartWriteExec: columns={}", self.spec.dataset_columns)
    }
}

impl ExecutionPlan for PartWriteExec {
    fn name(&self) -> &'static str {
        "PartWriteExec"
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

    backsight_asof::operator_without_expressions!(1, |own, [input]| {
        Ok(Self { partitions: own.partitions.clone(), ..Self::new(input, Arc::clone(&own.spec)) })
    });

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(write) = context.session_config().get_extension::<WriteContext>() else {
            return Err(DataFusionError::Internal("this process was not set up to write datasets".into()));
        };
        let input = self.input.execute(partition, context)?;
        let number = match &self.partitions {
            None => partition,
            Some(numbers) => *numbers.get(partition).ok_or_else(|| {
                DataFusionError::Internal(format!("partition {partition} of a task has no plan-wide number"))
            })?,
        };
        let joins = Arc::clone(&self.input);
        let (spec, schema) = (Arc::clone(&self.spec), self.schema());
        let output = Arc::clone(&schema);
        let stream = futures::stream::once(async move {
            let mut record = write_part(input, joins.as_ref(), partition, &spec, &write, number).await?;
            record.folds = fold_accounts(joins.as_ref(), partition);
            record.bytes_spilled = bytes_spilled(joins.as_ref(), partition);
            let json = serde_json::to_string(&record)
                .map_err(|e| RetrievalError::Bug { message: format!("a part cannot be reported: {e}") })?;
            let column: ArrayRef = Arc::new(StringArray::from(vec![json]));
            Ok(RecordBatch::try_new(output, vec![column])?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// What the joins below have done for a partition that has run to its end.
fn fold_accounts(plan: &dyn ExecutionPlan, partition: usize) -> BTreeMap<usize, FoldAccount> {
    let mut accounts = BTreeMap::new();
    if is_exchange(plan) {
        return accounts;
    }
    if let Some(join) = plan.downcast_ref::<AsofJoinExec>() {
        accounts.extend(join.accounts(partition));
    }
    for child in plan.children() {
        accounts.extend(fold_accounts(child.as_ref(), partition));
    }
    accounts
}

/// Below an exchange partitions have other numbers, and may not have ended.
fn is_exchange(plan: &dyn ExecutionPlan) -> bool {
    plan.name().contains("Repartition") || plan.name().contains("Coalesce")
}

/// What the operators below have spilled for a partition that has run to its end.
fn bytes_spilled(plan: &dyn ExecutionPlan, partition: usize) -> u64 {
    if is_exchange(plan) {
        return 0;
    }
    let metrics = plan.metrics().unwrap_or_default();
    let spilled = metrics.iter().filter(|metric| metric.partition() == Some(partition));
    let spilled = spilled.filter_map(|metric| match metric.value() {
        MetricValue::SpilledBytes(bytes) => Some(bytes.value() as u64),
        _ => None,
    });
    let below = plan.children().into_iter().map(|child| bytes_spilled(child.as_ref(), partition));
    spilled.chain(below).sum()
}

/// Reads the reports of finished parts.
///
/// # Errors
/// A report that is none of ours.
pub fn part_records(batches: &[RecordBatch]) -> std::result::Result<Vec<PartRecord>, RetrievalError> {
    let mut records = Vec::new();
    for batch in batches {
        let column = batch.column(0).as_string::<i32>();
        for json in column.iter().flatten() {
            records.push(serde_json::from_str(json).map_err(|e| RetrievalError::Bug {
                message: format!("a part's report cannot be read: {e}"),
            })?);
        }
    }
    Ok(records)
}

/// Mixes a spine row's id, so that a sum over rows tells lost and doubled rows (the finaliser of `SplitMix64`).
pub fn mix(id: u64) -> u64 {
    let mut z = id.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The dataset's schema: the first columns of the plan's.
pub(crate) fn dataset_schema(plan: &Schema, columns: usize) -> SchemaRef {
    Arc::new(Schema::new(plan.fields().iter().take(columns).cloned().collect::<Vec<_>>()))
}

/// Rows that were promised in the spine's order are in it.
fn check_order(last: &mut Option<u64>, ids: &[u64]) -> std::result::Result<(), RetrievalError> {
    let is_ascending = ids.windows(2).all(|pair| pair[0] < pair[1]);
    let follows = last.is_none_or(|last| ids.first().is_none_or(|&first| last < first));
    if !(is_ascending && follows) {
        return Err(RetrievalError::Unbalanced {
            detail: "rows do not come in the spine's order".to_owned(),
        });
    }
    *last = ids.last().copied().or(*last);
    Ok(())
}

/// Writes what comes in `input`, a partition of `plan`, as a part; `number` is that of the partition in the whole plan.
async fn write_part(
    mut input: SendableRecordBatchStream,
    plan: &dyn ExecutionPlan,
    partition: usize,
    spec: &PartSpec,
    write: &WriteContext,
    number: usize,
) -> Result<PartRecord> {
    let schema = dataset_schema(input.schema().as_ref(), spec.dataset_columns);
    let output = output_location(spec)?;
    let views: Vec<PlannedView> = spec
        .views
        .iter()
        .map(|view| PlannedView {
            features: view.features.clone(),
            outcome: view.outcome,
            ..PlannedView::default()
        })
        .collect();
    let part = spec.part_base + number;
    let name = format!("part-{part:05}-{}.parquet", uuid::Uuid::new_v4().simple());
    let mut record = PartRecord::empty(name, number, Tally::new(&views));
    let mut file: Option<(PartFile, SortedRows)> = None;
    let mut last_id = None;
    // What comes from below stays what it is: only who runs the task can tell a lost shuffle file.
    while let Some(batch) = input.try_next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        let ids = batch.column(spec.dataset_columns).as_primitive::<UInt64Type>();
        if spec.is_ordered {
            check_order(&mut last_id, ids.values())?;
        }
        record.rows += batch.num_rows() as u64;
        record.checksum = ids.values().iter().fold(record.checksum, |sum, &id| sum.wrapping_add(mix(id)));
        record.tally.add(&views, &batch);
        let columns = batch.columns()[..spec.dataset_columns].to_vec();
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns)
            .map_err(|e| RetrievalError::Bug { message: e.to_string() })?;
        let (file, sorted) = match &mut file {
            Some(begun) => begun,
            none => {
                let sink =
                    PartSink::create(&write.stores, &write.log, &output, &spec.attempt, &record.name).await?;
                let sorted = SortedRows::of(plan, partition, &schema);
                let properties = writer_properties(&rows, sorted.claim());
                none.insert((PartFile::new(sink, Arc::clone(&schema), properties)?, sorted))
            }
        };
        sorted.check(&rows)?;
        file.write(&rows).await?;
        write.progress.add_rows_written(batch.num_rows() as u64);
    }
    if let Some((file, _)) = file {
        let (staged, bytes) = file.finish().await?;
        record.bytes = bytes;
        record.staged = Some(staged);
        write.progress.add_bytes_written(bytes);
    }
    Ok(record)
}

/// The folder a specification names.
pub(crate) fn output_location(spec: &PartSpec) -> std::result::Result<Location, RetrievalError> {
    let bug = |message: String| RetrievalError::Bug { message };
    let url = url::Url::parse(&spec.store_url).map_err(|e| bug(format!("`{}`: {e}", spec.store_url)))?;
    let path = object_store::path::Path::parse(&spec.path).map_err(|e| bug(e.to_string()))?;
    Ok(Location::from_store(&url, &path)?)
}
