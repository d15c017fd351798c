//! Runs a prepared retrieval: claim the output, execute, check the accounts, commit, report.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use backsight_storage::Stores;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;

use crate::commit::{Attempt, OpenRequest, Opened, Output};
use crate::engine::{RetrievalEngine, RunContext};
use crate::error::RetrievalError;
use crate::manifest::{MANIFEST_FORMAT, Manifest, ManifestColumn, ManifestEngine, ManifestPart};
use crate::output_state::Claimant;
use crate::part_writer::{
    PartRecord, PartSpec, PartWriteExec, PlannedViewSpec, dataset_schema, mix, part_records,
    writer_properties,
};
use crate::prepare::Prepared;
use crate::report::{JoinReport, Tally};
use crate::staging::{PartSink, from_parquet};

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
    };
    let attempt = match options.output.open(&ask).await? {
        Opened::Committed(manifest) => return Ok(Finished { manifest: *manifest, repeated: true }),
        Opened::Writing(attempt) => attempt,
    };
    let result = tokio::select! {
        biased;
        () = cancelled => Err(RetrievalError::Cancelled),
        lost = keep_claim(&attempt, options.now) => Err(lost),
        written = write_parts(prepared, engine, options, context, &attempt) => written,
    };
    // From here on the work is short and must not be torn: a cancellation now comes too late.
    let result = match result {
        Ok(written) => commit(prepared, engine, options, &attempt, written, started).await,
        Err(error) => Err(error),
    };
    if result.is_err() {
        // The first failure is what the user needs to know; leftovers are invisible.
        let _ = attempt.abandon(&context.log).await;
    }
    result.map(|manifest| Finished { manifest, repeated: false })
}

/// Renews the claim for ever; returns when it is lost.
async fn keep_claim(attempt: &Attempt, now: fn() -> DateTime<Utc>) -> RetrievalError {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        // Unreachable for a moment is no loss: the claim lives for several renewals.
        if let Err(error @ RetrievalError::OutputConflict { .. }) = attempt.renew(now()).await {
            return error;
        }
    }
}

/// Parts that are staged and balanced.
struct Written {
    parts: Vec<PartRecord>,
    tally: Tally,
    schema: Arc<Schema>,
}

async fn write_parts(
    prepared: &Prepared,
    engine: &dyn RetrievalEngine,
    options: &RunOptions<'_>,
    context: &RunContext,
    attempt: &Attempt,
) -> Result<Written, RetrievalError> {
    let plan = &prepared.plan;
    let joined = engine.plan(&plan.logical).await?;
    let schema = dataset_schema(joined.schema().as_ref(), plan.dataset_columns);
    let location = attempt.output().location();
    let spec = PartSpec {
        store_url: location.store_url().to_string(),
        path: location.path().to_string(),
        attempt: attempt.name().to_owned(),
        dataset_columns: plan.dataset_columns,
        views: plan
            .views
            .iter()
            .map(|view| PlannedViewSpec { features: view.features.clone(), outcome: view.outcome })
            .collect(),
    };
    let writer: Arc<dyn ExecutionPlan> = Arc::new(PartWriteExec::new(joined, Arc::new(spec)));
    let stream = engine.execute(writer, context).await?;
    let reports: Vec<RecordBatch> = stream.try_collect().await.map_err(RetrievalError::from_engine)?;
    let records = part_records(&reports)?;
    let tally = check_accounts(prepared, &records)?;
    let mut parts: Vec<PartRecord> = records.into_iter().filter(|record| record.staged.is_some()).collect();
    if parts.is_empty() {
        parts.push(write_empty(options, context, attempt, &schema).await?);
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    prepared.check_unchanged(options.stores).await?;
    Ok(Written { parts, tally, schema })
}

/// Every spine row exactly once, by number and by checksum; every row with exactly one outcome a view.
fn check_accounts(prepared: &Prepared, records: &[PartRecord]) -> Result<Tally, RetrievalError> {
    let unbalanced = |detail: String| Err(RetrievalError::Unbalanced { detail });
    let expected_rows = prepared.spine.rows();
    let rows: u64 = records.iter().map(|record| record.rows).sum();
    if rows != expected_rows {
        return unbalanced(format!("the spine has {expected_rows} rows, the parts have {rows}"));
    }
    let expected = (0..expected_rows).fold(0_u64, |sum, id| sum.wrapping_add(mix(id)));
    let checksum = records.iter().fold(0_u64, |sum, record| sum.wrapping_add(record.checksum));
    if checksum != expected {
        return unbalanced(format!("the spine's checksum is {expected:016x}, the parts' is {checksum:016x}"));
    }
    let mut tally = Tally::new(&prepared.plan.views);
    for record in records {
        tally.merge(&record.tally);
    }
    for (view, counts) in prepared.plan.views.iter().zip(&tally.views) {
        let outcomes: u64 = counts.outcomes.iter().sum();
        if outcomes != expected_rows {
            return unbalanced(format!("view `{}` answered {outcomes} of {expected_rows} rows", view.label));
        }
    }
    Ok(tally)
}

/// A dataset without rows still has its columns.
async fn write_empty(
    options: &RunOptions<'_>,
    context: &RunContext,
    attempt: &Attempt,
    schema: &Arc<Schema>,
) -> Result<PartRecord, RetrievalError> {
    let name = format!("part-00000-{}.parquet", attempt.name());
    let sink =
        PartSink::create(options.stores, &context.log, attempt.output().location(), attempt.name(), &name)
            .await?;
    let properties = ArrowWriterOptions::new().with_properties(writer_properties());
    let mut writer =
        AsyncArrowWriter::try_new_with_options(sink, Arc::clone(schema), properties).map_err(from_parquet)?;
    writer.finish().await.map_err(from_parquet)?;
    let (staged, bytes) = writer.into_inner().finish().await?;
    Ok(PartRecord { name, rows: 0, bytes, checksum: 0, staged: Some(staged), tally: Tally::default() })
}

async fn commit(
    prepared: &Prepared,
    engine: &dyn RetrievalEngine,
    options: &RunOptions<'_>,
    attempt: &Attempt,
    written: Written,
    started: DateTime<Utc>,
) -> Result<Manifest, RetrievalError> {
    let finished = (options.now)();
    let staged = written
        .parts
        .iter()
        .filter_map(|part| part.staged.clone().map(|staged| (part.name.clone(), staged)))
        .collect();
    let manifest = manifest(prepared, engine, options, &written, started, finished);
    attempt.commit(manifest.clone(), staged, options.registry.1.clone(), finished).await?;
    Ok(manifest)
}

fn manifest(
    prepared: &Prepared,
    engine: &dyn RetrievalEngine,
    options: &RunOptions<'_>,
    written: &Written,
    started: DateTime<Utc>,
    finished: DateTime<Utc>,
) -> Manifest {
    let plan = &prepared.plan;
    let columns: Vec<String> = written.schema.fields().iter().map(|field| field.name().clone()).collect();
    let rows = prepared.spine.rows();
    let elapsed = finished.signed_duration_since(started).num_milliseconds();
    Manifest {
        format: MANIFEST_FORMAT,
        request_id: options.request_id.clone(),
        request: prepared.request.clone(),
        project: prepared.request.project.clone(),
        registry_version: options.registry.0.clone(),
        schema: written
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(position, field)| ManifestColumn {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
                origin: origin(prepared, position),
            })
            .collect(),
        parts: written
            .parts
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
            engine: engine.name().to_owned(),
            form: engine.form().name().to_owned(),
        },
        report: JoinReport::new(rows, &written.tally, &plan.views, &columns, plan.notes.clone()),
        started: started.to_rfc3339_opts(SecondsFormat::Millis, true),
        finished: finished.to_rfc3339_opts(SecondsFormat::Millis, true),
        elapsed_seconds: format!("{}.{:03}", elapsed / 1000, elapsed % 1000),
    }
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
