//! Runs one shard of a retrieval on an engine: its parts are staged, its accounts are checked, nothing is visible.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use backsight_storage::{Location, Stores};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::census::census;
use crate::engine::{RetrievalEngine, RunContext};
use crate::error::RetrievalError;
use crate::part_writer::{PartRecord, PartSpec, PartWriteExec, PlannedViewSpec, mix, part_records};
use crate::plan::{RetrievalPlan, plan};
use crate::prepare::Prepared;
use crate::report::Tally;
use crate::shards::ShardSpec;
use crate::staging::Staged;
use backsight_asof::JoinForm;

/// What a shard needs to run.
#[derive(Clone, Copy)]
pub struct ShardRun<'a> {
    /// The retrieval.
    pub prepared: &'a Prepared,
    /// Which part of it; all of it when absent.
    pub shard: Option<&'a ShardSpec>,
    /// The dataset's folder.
    pub output: &'a Location,
    /// Names the attempt on the output: its staged files lie together.
    pub attempt: &'a str,
    /// Where the output is reached.
    pub stores: &'a Stores,
}

/// What a shard has staged: the account that the commit is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardParts {
    /// One for each partition that has rows.
    pub records: Vec<PartRecord>,
    /// Outcomes of all rows.
    pub tally: Tally,
    /// What went through disks.
    #[serde(default)]
    pub work: ShardWork,
}

/// What a shard put on disk on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardWork {
    /// Bytes that operators spilled because memory is bounded.
    pub bytes_spilled: u64,
    /// Bytes that executors handed to each other; `None` where nobody counts them.
    pub bytes_shuffled: Option<u64>,
}

impl ShardWork {
    /// Adds what another shard did.
    pub fn add(&mut self, more: Self) {
        self.bytes_spilled += more.bytes_spilled;
        self.bytes_shuffled = match (self.bytes_shuffled, more.bytes_shuffled) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
    }
}

impl ShardParts {
    /// Spine rows in these parts.
    pub fn rows(&self) -> u64 {
        self.records.iter().map(|record| record.rows).sum()
    }

    /// Bytes of these parts.
    pub fn bytes(&self) -> u64 {
        self.records.iter().map(|record| record.bytes).sum()
    }

    /// What was staged, so that it can be cleared away.
    pub fn started<'a>(&'a self, output: &'a Location) -> impl Iterator<Item = (Location, Staged)> + 'a {
        let staged = |record: &PartRecord| Some((output.join(&record.name), record.staged.clone()?));
        self.records.iter().filter_map(staged)
    }

    /// Each part that has rows: its name and what completes it.
    pub(crate) fn staged(&self) -> impl Iterator<Item = (String, Staged)> {
        let staged = |record: &PartRecord| Some((record.name.clone(), record.staged.clone()?));
        self.records.iter().filter_map(staged)
    }
}

/// The plan of a shard, or of the whole.
///
/// # Errors
/// See [`plan`].
pub fn plan_shard(prepared: &Prepared, shard: Option<&ShardSpec>) -> Result<RetrievalPlan, RetrievalError> {
    plan(&prepared.input, shard)
}

/// Writes the parts of a shard. If memory does not suffice for the form that was chosen, it is done again in the one that
/// spills, and so are the shards of this retrieval after it.
///
/// # Errors
/// Whatever happens while planning and running, and accounts that do not balance. What was staged stays in the
/// context's log for the caller to clear away.
pub fn write_shard<'a>(
    run: &'a ShardRun<'a>,
    engine: &'a dyn RetrievalEngine,
    context: &'a RunContext,
) -> BoxFuture<'a, Result<ShardParts, RetrievalError>> {
    Box::pin(try_write_shard(run, engine, context))
}

async fn try_write_shard(
    run: &ShardRun<'_>,
    engine: &dyn RetrievalEngine,
    context: &RunContext,
) -> Result<ShardParts, RetrievalError> {
    let did_spill = run.prepared.is_spilling();
    // A log of its own, so that it can be cleared away and closed alone.
    let first = RunContext { log: context.log.child(), ..context.clone() };
    match Box::pin(attempt_shard(run, engine, &first)).await {
        Err(error) if !did_spill && run.prepared.spills_after(&error, engine) => {
            first.log.discard(run.stores).await?;
        }
        ended => return ended,
    }
    Box::pin(attempt_shard(run, engine, context)).await
}

async fn attempt_shard(
    run: &ShardRun<'_>,
    engine: &dyn RetrievalEngine,
    context: &RunContext,
) -> Result<ShardParts, RetrievalError> {
    let planned = plan_shard(run.prepared, run.shard)?;
    let joined = engine.plan(&planned.logical).await?;
    let partitions = joined.output_partitioning().partition_count();
    if run.prepared.request.preserve_order && partitions > 1 {
        let message = format!("rows in the spine's order come in {partitions} partitions");
        return Err(RetrievalError::Bug { message });
    }
    let spec = PartSpec {
        store_url: run.output.store_url().to_string(),
        path: run.output.path().to_string(),
        attempt: run.attempt.to_owned(),
        dataset_columns: planned.dataset_columns,
        views: planned
            .views
            .iter()
            .map(|view| PlannedViewSpec { features: view.features.clone(), outcome: view.outcome })
            .collect(),
        part_base: run.shard.map_or(0, |shard| shard.number as usize) * partitions,
        is_ordered: run.prepared.request.preserve_order,
    };
    let writer: Arc<dyn ExecutionPlan> = Arc::new(PartWriteExec::new(joined, Arc::new(spec)));
    let stream = engine.execute(writer, context).await?;
    let reports: Vec<RecordBatch> = stream.try_collect().await.map_err(RetrievalError::from_engine)?;
    let mut parts = ShardParts {
        records: part_records(&reports)?,
        tally: Tally::new(&planned.views),
        work: ShardWork { bytes_spilled: 0, bytes_shuffled: context.progress.bytes_shuffled() },
    };
    parts.records.sort_by_key(|record| record.partition);
    for record in &parts.records {
        parts.tally.merge(&record.tally);
        parts.work.bytes_spilled += record.bytes_spilled;
    }
    // Whoever sees all operators sees more than the tasks that wrote.
    parts.work.bytes_spilled = parts.work.bytes_spilled.max(context.progress.bytes_spilled());
    let mut checked = check_accounts(run, &planned, &parts, partitions);
    if checked.is_ok() && run.prepared.request.exact_reasons {
        checked = census(&run.prepared.input, run.shard, engine, &mut parts.tally).await;
    }
    if let Err(error) = checked {
        // For the caller to clear away: nobody else knows of these any more. The log is the caller's, and open.
        for (part, staged) in parts.started(run.output) {
            let _is_open = context.log.record(&part, &staged);
        }
        return Err(error);
    }
    // What is kept of a shard stays small: there may be thousands of them.
    parts.records.retain(|record| record.staged.is_some());
    for record in &mut parts.records {
        record.tally = Tally::default();
        record.folds.clear();
    }
    Ok(parts)
}

/// A success flag is not trusted: each partition reported once, every spine row written once, every row with one
/// outcome for each view, every scanned feature row folded.
fn check_accounts(
    run: &ShardRun<'_>,
    plan: &RetrievalPlan,
    parts: &ShardParts,
    partitions: usize,
) -> Result<(), RetrievalError> {
    let unbalanced = |detail: String| Err(RetrievalError::Unbalanced { detail });
    let reported: Vec<usize> = parts.records.iter().map(|record| record.partition).collect();
    if reported != (0..partitions).collect::<Vec<usize>>() {
        return unbalanced(partitions_text(&reported, partitions));
    }
    let (expected_rows, expected) = spine_account(run);
    let rows = parts.rows();
    if rows != expected_rows {
        return unbalanced(format!("the spine has {expected_rows} rows, the parts have {rows}"));
    }
    let checksum = parts.records.iter().fold(0_u64, |sum, record| sum.wrapping_add(record.checksum));
    if checksum != expected {
        return unbalanced(format!("the spine's checksum is {expected:016x}, the parts' is {checksum:016x}"));
    }
    for (view, counts) in plan.views.iter().zip(&parts.tally.views) {
        let outcomes: u64 = counts.outcomes.iter().sum();
        if outcomes != expected_rows {
            return unbalanced(format!("view `{}` answered {outcomes} of {expected_rows} rows", view.label));
        }
    }
    check_folded(plan, parts, partitions)
}

/// Every row that a scan produces reaches the join that is in the writing tasks.
fn check_folded(plan: &RetrievalPlan, parts: &ShardParts, partitions: usize) -> Result<(), RetrievalError> {
    for view in plan.views.iter().filter(|view| view.is_last) {
        let form = view.chosen.form.as_str();
        if form == JoinForm::NaiveLoop.name() {
            continue;
        }
        let accounts = parts.records.iter().filter_map(|record| record.folds.get(&view.lookup));
        let (mut folded, mut sent, mut received) = (0_u64, 0_u64, 0_u64);
        for account in accounts {
            folded += account.folded;
            sent += account.sent;
            received += account.received;
        }
        let is_shared = form == JoinForm::LateFold.name();
        let is_whole = form == JoinForm::Broadcast.name() || !view.is_keyed;
        let copies = if is_whole && !is_shared { partitions as u64 } else { 1 };
        let expected = view.rows_scanned * copies;
        if folded != expected {
            let detail = format!("view `{}` folded {folded} of {expected} feature rows", view.label);
            return Err(RetrievalError::Unbalanced { detail });
        }
        if received != sent {
            let detail = format!("view `{}` received {received} of {sent} candidates", view.label);
            return Err(RetrievalError::Unbalanced { detail });
        }
    }
    Ok(())
}

fn partitions_text(reported: &[usize], partitions: usize) -> String {
    let known: BTreeSet<usize> = reported.iter().copied().collect();
    let missing = (0..partitions).filter(|partition| !known.contains(partition)).count();
    let doubled = reported.len() - known.len();
    format!("of {partitions} partitions {missing} were not reported and {doubled} more than once")
}

/// Rows and checksum of the spine row groups of a shard.
fn spine_account(run: &ShardRun<'_>) -> (u64, u64) {
    let (mut base, mut rows, mut checksum) = (0_u64, 0_u64, 0_u64);
    for (number, file) in run.prepared.spine.files.iter().enumerate() {
        for (group, metadata) in file.metadata.row_groups().iter().enumerate() {
            let count = u64::try_from(metadata.num_rows()).unwrap_or(0);
            if run.shard.is_none_or(|shard| shard.holds(number, group)) {
                rows += count;
                checksum = (base..base + count).fold(checksum, |sum, id| sum.wrapping_add(mix(id)));
            }
            base += count;
        }
    }
    (rows, checksum)
}
