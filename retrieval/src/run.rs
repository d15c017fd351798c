//! Runs a prepared retrieval: claim the output, execute, check the accounts, commit, report.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use backsight_storage::Stores;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::future::BoxFuture;

use crate::commit::{Attempt, Fence, OpenRequest, Opened, Output};
use crate::encoding::writer_properties;
use crate::engine::{RetrievalEngine, RunContext};
use crate::error::RetrievalError;
use crate::explain::scans_of;
use crate::manifest::{
    MANIFEST_FORMAT, Manifest, ManifestColumn, ManifestEngine, ManifestForm, ManifestPart,
};
use crate::output_state::Claimant;
use crate::part_file::PartFile;
use crate::part_writer::{PartRecord, dataset_schema};
use crate::plan::{PlannedView, RetrievalPlan};
use crate::prepare::Prepared;
use crate::report::{JoinReport, Tally};
use crate::saved_dataset::manifest_saved;
use crate::shard_run::{ShardParts, ShardRun, ShardWork, write_shard};
use crate::staging::{PartSink, StagingLog};

/// How often a claim is renewed: several times before others may take it for dead.
const RENEW_EVERY: Duration = Duration::from_secs(20);

/// What a run needs besides the prepared retrieval.
#[derive(Debug)]
pub struct RunOptions<'a> {
    /// Where outputs are reached.
    pub stores: &'a Stores,
    /// The dataset's folder.
    pub output: Output,
    /// Identifies the request.
    pub request_id: String,
    /// Names this attempt; unique.
    pub attempt: String,
    /// Replace a dataset that is there.
    pub overwrite: bool,
    /// Who writes.
    pub claimant: Claimant,
    /// Whether a claimant is known to be gone.
    pub is_gone: fn(&Claimant) -> bool,
    /// The registry's state: version id and bytes.
    pub registry: (Option<String>, Bytes),
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
}

/// How a retrieval ended well.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The dataset.
    pub manifest: Manifest,
    /// It was there already: the same request had been committed.
    pub repeated: bool,
}

/// Runs a retrieval to its commit, or until `cancelled` completes.
///
/// # Errors
/// Whatever happens; nothing is visible in the output then, and what was staged is cleared away.
pub async fn run(
    prepared: &Prepared,
    engine: &dyn RetrievalEngine,
    options: &RunOptions<'_>,
    context: &RunContext,
    cancelled: impl Future<Output = ()> + Send,
) -> Result<Finished, RetrievalError> {
    let started = (options.now)();
    let ask = OpenRequest {
        request_id: &options.request_id,
        request: &prepared.request,
        overwrite: options.overwrite,
        claimant: &options.claimant,
        attempt: &options.attempt,
        now: started,
        is_gone: options.is_gone,
        resumes: false,
    };
    let attempt = match options.output.open(&ask).await? {
        Opened::Committed(manifest) => return Ok(Finished { manifest: *manifest, repeated: true }),
        Opened::Writing(attempt) => attempt,
    };
    let whole = ShardRun {
        prepared,
        shard: None,
        output: attempt.output().location(),
        attempt: attempt.name(),
        stores: options.stores,
    };
    let result = tokio::select! {
        biased;
        () = cancelled => Err(RetrievalError::Cancelled),
        lost = keep_claim(&attempt, options.now) => Err(lost),
        written = write_shard(&whole, engine, context) => written,
    };
    // From here on the work is short and must not be torn: a cancellation now comes too late.
    let result = match result {
        Ok(parts) => {
            let dataset = DatasetCommit {
                prepared,
                engine: engine.name(),
                request_id: &options.request_id,
                registry: &options.registry,
                started,
                now: options.now,
                fence: None,
            };
            commit_dataset(&dataset, options.stores, &attempt, vec![parts], &context.log).await
        }
        Err(error) => Err(error),
    };
    if result.is_err() {
        // The first failure is what the user needs to know; leftovers are invisible.
        let _ = attempt.abandon(&context.log).await;
    }
    result.map(|manifest| Finished { manifest, repeated: false })
}

/// Renews the claim for ever; returns when it is lost.
pub async fn keep_claim(attempt: &Attempt, now: fn() -> DateTime<Utc>) -> RetrievalError {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        // Unreachable for a moment is no loss: the claim lives for several renewals.
        if let Err(error @ RetrievalError::OutputConflict { .. }) = attempt.renew(now()).await {
            return error;
        }
    }
}

/// What a dataset is committed with, besides its parts.
#[derive(Clone, Copy)]
pub struct DatasetCommit<'a> {
    /// The retrieval.
    pub prepared: &'a Prepared,
    /// The engine's name.
    pub engine: &'a str,
    /// Identifies the request.
    pub request_id: &'a str,
    /// The registry's state: version id and bytes.
    pub registry: &'a (Option<String>, Bytes),
    /// When the work began.
    pub started: DateTime<Utc>,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// Whether the dataset may be committed, asked as late as it can be.
    pub fence: Option<Fence<'a>>,
}

impl std::fmt::Debug for DatasetCommit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatasetCommit").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// Commits the parts of all shards, which have balanced one by one, as one dataset.
///
/// # Errors
/// Sources that changed, a lost claim, another commit, storage faults. Once [`Attempt::is_durable`] the dataset will
/// be there: repeat the commit, or open the output again.
pub fn commit_dataset<'a>(
    dataset: &'a DatasetCommit<'a>,
    stores: &'a Stores,
    attempt: &'a Attempt,
    shards: Vec<ShardParts>,
    log: &'a StagingLog,
) -> BoxFuture<'a, Result<Manifest, RetrievalError>> {
    Box::pin(try_commit_dataset(dataset, stores, attempt, shards, log))
}

async fn try_commit_dataset(
    dataset: &DatasetCommit<'_>,
    stores: &Stores,
    attempt: &Attempt,
    shards: Vec<ShardParts>,
    log: &StagingLog,
) -> Result<Manifest, RetrievalError> {
    let prepared = dataset.prepared;
    let plan = &prepared.as_run()?;
    let rows: u64 = shards.iter().map(ShardParts::rows).sum();
    if rows != prepared.spine.rows() {
        let detail = format!("the spine has {} rows, all shards have {rows}", prepared.spine.rows());
        return Err(RetrievalError::Unbalanced { detail });
    }
    let mut tally = Tally::new(&plan.views);
    let mut work = ShardWork::default();
    for shard in &shards {
        tally.merge(&shard.tally);
        work.add(shard.work);
    }
    let schema = dataset_schema(plan.logical.schema().as_arrow(), plan.dataset_columns);
    let mut parts: Vec<PartRecord> = shards.into_iter().flat_map(|shard| shard.records).collect();
    parts.retain(|record| record.staged.is_some());
    if parts.is_empty() {
        parts.push(write_empty(stores, log, attempt, &schema).await?);
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    prepared.check_unchanged(stores).await?;
    let finished = (dataset.now)();
    let parts = ShardParts { records: parts, tally, work };
    let manifest = manifest(dataset, plan, &schema, &parts, finished);
    let staged = parts.staged().collect();
    attempt.commit(manifest.clone(), staged, dataset.registry.1.clone(), finished, dataset.fence).await?;
    Ok(manifest)
}

/// A dataset without rows still has its columns.
async fn write_empty(
    stores: &Stores,
    log: &StagingLog,
    attempt: &Attempt,
    schema: &Arc<Schema>,
) -> Result<PartRecord, RetrievalError> {
    let name = format!("part-00000-{}.parquet", attempt.name());
    let output = attempt.output().location();
    let sink = PartSink::create(stores, log, output, attempt.name(), &name).await?;
    let properties = writer_properties(&RecordBatch::new_empty(Arc::clone(schema)), None);
    let (staged, bytes) = PartFile::new(sink, Arc::clone(schema), properties)?.finish().await?;
    Ok(PartRecord { bytes, staged: Some(staged), ..PartRecord::empty(name, 0, Tally::default()) })
}

fn manifest(
    dataset: &DatasetCommit<'_>,
    plan: &RetrievalPlan,
    schema: &Schema,
    parts: &ShardParts,
    finished: DateTime<Utc>,
) -> Manifest {
    let prepared = dataset.prepared;
    let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let rows = prepared.spine.rows();
    let elapsed = finished.signed_duration_since(dataset.started).num_milliseconds();
    Manifest {
        format: MANIFEST_FORMAT,
        request_id: dataset.request_id.to_owned(),
        request: prepared.request.clone(),
        project: prepared.request.project.clone(),
        registry_version: dataset.registry.0.clone(),
        schema: schema
            .fields()
            .iter()
            .enumerate()
            .map(|(position, field)| ManifestColumn {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                origin: origin(prepared, position),
            })
            .collect(),
        parts: parts
            .records
            .iter()
            .map(|part| ManifestPart {
                path: part.name.clone(),
                rows: part.rows,
                bytes: part.bytes,
                checksum: format!("{:016x}", part.checksum),
            })
            .collect(),
        rows,
        sources: prepared.sources(),
        spine_hash: prepared.spine_hash(),
        engine: ManifestEngine {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: dataset.engine.to_owned(),
            form: plan.forms(),
            chosen: plan.views.iter().map(manifest_form).collect(),
        },
        scans: scans_of(plan),
        report: JoinReport::new(
            rows,
            &parts.tally,
            prepared.request.exact_reasons,
            &plan.views,
            &columns,
            plan.notes.clone(),
        ),
        work: parts.work,
        saved_as: manifest_saved(prepared),
        started: dataset.started.to_rfc3339_opts(SecondsFormat::Millis, true),
        finished: finished.to_rfc3339_opts(SecondsFormat::Millis, true),
        elapsed_seconds: format!("{}.{:03}", elapsed / 1000, elapsed % 1000),
    }
}

fn manifest_form(view: &PlannedView) -> ManifestForm {
    ManifestForm { label: view.label.clone(), chosen: view.chosen.clone() }
}

/// Where a dataset column comes from.
fn origin(prepared: &Prepared, position: usize) -> String {
    for (view, planned) in prepared.views.iter().zip(&prepared.plan.views) {
        if let Some(number) = planned.features.iter().position(|&feature| feature == position)
            && let Some(feature) = view.resolved.features.get(number)
        {
            return format!("{}:{}", view.resolved.label, feature.feature);
        }
    }
    "spine".to_owned()
}
