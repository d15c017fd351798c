//! The deeds behind a job's actions: plan it, run a shard, commit, clear away. Each answers with an event.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use backsight_registry::document::RegistryDocument;
use backsight_registry::store::StoreError;
use backsight_retrieval::{
    Attempt, Bases, DatasetCommit, Manifest, OpenRequest, Opened, Output, Prepared, RetrievalEngine,
    RetrievalError, RetrievalRequest, RunContext, ShardParts, ShardRun, ShardSpec, SpineFrom, StageSite,
    StagingLog, WireFailure, check_name_free, commit_dataset, keep_claim, prepare, saved_dataset,
    write_shard,
};
use backsight_storage::Location;
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::shared::{Shared, bug, job_failure, now, now_ms};
use crate::jobs::{Event, Job, JobFailure, ShardPlan, ShardState};

/// What a planned job works with.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) attempt: Arc<Attempt>,
    registry: (Option<String>, Bytes),
    started: chrono::DateTime<chrono::Utc>,
    /// What was planned: parts of anything else are not committed with it.
    shards: Arc<[ShardPlan]>,
}

/// What a shard is, as it is stored: equal ones give equal parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredSpec {
    shard: ShardSpec,
    /// Identifies the files that are read.
    files_hash: String,
    /// The registry's version.
    registry_version: Option<String>,
    /// Where the spine was staged, so that it is kept while the job is unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    staged_spine: Option<String>,
}

/// The spines that a job needs until it has ended.
pub(crate) fn spines_of(job: &Job) -> impl Iterator<Item = &str> {
    let staged = job.shards.iter().filter_map(|shard| shard.plan.spec.pointer("/staged_spine"));
    job.request.pointer("/spine/uri").into_iter().chain(staged).filter_map(Value::as_str)
}

/// What a planning came to.
pub(crate) enum Planning {
    Ready(Box<Ready>, Event),
    Event(Event),
}

/// The request of a job.
pub(crate) fn request_of(job: &Job) -> Result<RetrievalRequest, RetrievalError> {
    serde_json::from_value(job.request.clone())
        .map_err(|e| RetrievalError::Bug { message: format!("a stored request cannot be read: {e}") })
}

/// Where the dataset of a job goes.
fn output_of(shared: &Shared, job: &Job) -> Result<Output, RetrievalError> {
    let text = job.output.as_deref().unwrap_or_default();
    let location = Location::parse(text, &shared.options.repo, None)?;
    Ok(Output::new(shared.options.stores.clone(), location))
}

/// Resolves, claims the output, cuts into shards.
pub(crate) async fn plan(shared: Shared, job: Job, number: u32) -> Planning {
    match try_plan(&shared, &job, number).await {
        Ok(planning) => planning,
        Err(error) => Planning::Event(Event::PlanFailed { attempt: number, failure: job_failure(&error) }),
    }
}

async fn try_plan(shared: &Shared, job: &Job, number: u32) -> Result<Planning, RetrievalError> {
    let request = request_of(job)?;
    let started = now();
    let opened = open(shared, job, &request, number).await?;
    let attempt = match opened {
        Opened::Committed(manifest) => {
            save(shared, job, &manifest).await?;
            let result = manifest_json(&manifest)?;
            return Ok(Planning::Event(Event::AlreadyCommitted { attempt: number, result }));
        }
        Opened::Writing(attempt) => Arc::new(*attempt),
    };
    // With shards planned before, the same state of the registry.
    let version = job.registry_version.as_deref().filter(|_| !job.shards.is_empty());
    let planned = tokio::select! {
        lost = keep_claim(&attempt, now) => Err(lost),
        planned = prepare_request(shared, &request, version, &job.id.0) => planned,
    };
    let (prepared, registry) = match planned {
        Ok(planned) => planned,
        Err(error) => {
            release(&attempt, job).await;
            return Err(error);
        }
    };
    if let Err(error) = check_saved_name(job, &prepared, &registry.1) {
        release(&attempt, job).await;
        return Err(error);
    }
    let files_hash = prepared.files_hash();
    let cutting = prepared.cut(&shared.options.shards);
    tracing::info!(job = %job.id, shards = cutting.shards.len(), reason = cutting.reason, "planned");
    let mut shards = Vec::with_capacity(cutting.shards.len());
    for shard in cutting.shards {
        let spec = StoredSpec {
            shard: shard.spec,
            files_hash: files_hash.clone(),
            registry_version: registry.0.clone(),
            staged_spine: prepared.staged_spine().map(ToString::to_string),
        };
        shards.push(ShardPlan {
            label: shard.label,
            rows: shard.rows,
            rows_to_read: shard.rows_to_read,
            bytes_to_read: shard.bytes_to_read,
            spec: to_json(&spec)?,
        });
    }
    let registry_version = registry.0.clone().unwrap_or_default();
    let kept = shards.clone().into();
    let ready = Ready { prepared: Arc::new(prepared), attempt, registry, started, shards: kept };
    let event = Event::Planned { attempt: number, registry_version, shards };
    Ok(Planning::Ready(Box::new(ready), event))
}

/// A dataset that is to be remembered does not take the name of another one.
fn check_saved_name(job: &Job, prepared: &Prepared, registry: &Bytes) -> Result<(), RetrievalError> {
    let (Some(name), Some(output)) = (&prepared.request.save_as, &job.output) else { return Ok(()) };
    let document = RegistryDocument::parse(registry).map_err(|e| RetrievalError::Bug {
        message: format!("a registry that was read cannot be read: {e}"),
    })?;
    let held = document.saved_dataset_uri(&prepared.request.project, name);
    let output = Location::parse(output, Path::new("/"), None)?;
    check_name_free(name, held.as_deref(), &output, job.overwrite)
}

/// Remembers a committed dataset in the registry, if it was asked for; done again it changes nothing.
async fn save(shared: &Shared, job: &Job, manifest: &Manifest) -> Result<(), RetrievalError> {
    let output = output_of(shared, job)?;
    let Some(saved) = saved_dataset(manifest, output.location()) else { return Ok(()) };
    let mut next_id = uuid::Uuid::new_v4;
    let written = shared.options.registry.save_dataset(&manifest.project, &saved, now, &mut next_id).await;
    written.map(|_| ()).map_err(|error| {
        let failure = crate::service::wire_failure(crate::registry_service::failure_of(&error));
        RetrievalError::Remote(Box::new(failure))
    })
}

/// Opens the output for a job: as its own when it has worked on it before.
async fn open(
    shared: &Shared,
    job: &Job,
    request: &RetrievalRequest,
    number: u32,
) -> Result<Opened, RetrievalError> {
    let name = format!("{}-{number}", uuid::Uuid::new_v4().simple());
    let ask = OpenRequest {
        request_id: &job.id.0,
        request,
        overwrite: job.overwrite,
        claimant: &shared.claimant(),
        attempt: &name,
        now: now(),
        is_gone: |_| false,
        // Whoever holds the lease of the job may take over what an earlier holder claimed for it.
        resumes: true,
    };
    output_of(shared, job)?.open(&ask).await
}

/// Reads registry, spine and sources, and plans; with a version, by that state of the registry where it is kept. A spine
/// that has to be staged is known by `id`.
pub(crate) async fn prepare_request(
    shared: &Shared,
    request: &RetrievalRequest,
    version: Option<&str>,
    id: &str,
) -> Result<(Prepared, (Option<String>, Bytes)), RetrievalError> {
    let options = &shared.options;
    let (document, bytes) = registry_state(shared, version).await.map_err(|error| {
        let failure = crate::service::wire_failure(crate::registry_service::failure_of(&error));
        RetrievalError::Remote(Box::new(failure))
    })?;
    let catalog = document.catalog(&request.project).map_err(|error| {
        let failure = WireFailure::new(error.code(), error.to_string(), error.hint());
        RetrievalError::Remote(Box::new(failure))
    })?;
    // Ids are the client's and may hold anything.
    let tag: String = Sha256::digest(id).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let engine = match request.spine.from {
        SpineFrom::Files(_) => shared.engine().await,
        // It is computed before anything else.
        SpineFrom::Sql(_) | SpineFrom::AsOf(_) => shared.engine_with_executors().await,
    };
    let bytes_max = Some(options.spine_upload_bytes_max);
    let stage = Some(StageSite { folder: &options.spool, tag: &tag, engine: &engine, bytes_max });
    let bases = Bases { working: &options.repo, repo: &options.repo, stage };
    let form = engine.form();
    let prepared = prepare(&options.stores, &catalog, request, bases, form).await?;
    Ok((prepared, (document.version_id(), bytes)))
}

/// The registry now, or a version that is kept beside it.
async fn registry_state(
    shared: &Shared,
    version: Option<&str>,
) -> Result<(RegistryDocument, Bytes), StoreError> {
    let registry = &shared.options.registry;
    let now = registry.read().await?;
    let wanted = version.filter(|version| now.document.version_id().as_deref() != Some(version));
    let Some(wanted) = wanted else { return Ok((now.document, now.bytes)) };
    let history = registry.history().await?;
    let Some(entry) = history.iter().find(|entry| entry.version_id == wanted) else {
        return Ok((now.document, now.bytes));
    };
    let document = registry.read_kept(entry).await?;
    let bytes = document.to_bytes().into();
    Ok((document, bytes))
}

/// Gives a claim back that nothing will be written under.
async fn release(attempt: &Attempt, job: &Job) {
    if job.shards_done() > 0 {
        return;
    }
    if let Err(error) = attempt.abandon(&StagingLog::default()).await {
        tracing::warn!(job = %job.id, %error, "the claim on the output could not be removed");
    }
}

/// Runs one attempt of a shard.
pub(crate) async fn run_shard(
    shared: Shared,
    ready: Ready,
    job: String,
    shard: u32,
    attempt: u32,
    plan: ShardPlan,
) -> Event {
    let result = try_run_shard(&shared, &ready, &job, shard, &plan).await;
    shared.set_live(&job, shard, None);
    match result {
        Ok(result) => Event::ShardSucceeded { shard, attempt, result },
        Err(error) => {
            let error = ready.prepared.explain_failure(&shared.options.stores, error).await;
            tracing::warn!(job, shard, attempt, %error, "a shard has failed");
            let mut failure = job_failure(&error);
            // What one executor had no room for another one may have.
            failure.is_retryable |=
                WireFailure::from(&error).is_local && shared.host.jobs.has_room(Instant::now());
            Event::ShardFailed { shard, attempt, failure }
        }
    }
}

async fn try_run_shard(
    shared: &Shared,
    ready: &Ready,
    job: &str,
    shard: u32,
    plan: &ShardPlan,
) -> Result<Value, RetrievalError> {
    let spec: StoredSpec = serde_json::from_value(plan.spec.clone())
        .map_err(|e| RetrievalError::Bug { message: format!("a stored shard cannot be read: {e}") })?;
    let (started, mut query_jobs) = mpsc::unbounded_channel();
    let engine = shared.engine_with_executors().await.telling(started);
    let run = ShardRun {
        prepared: &ready.prepared,
        shard: Some(&spec.shard),
        output: ready.attempt.output().location(),
        attempt: ready.attempt.name(),
        stores: &shared.options.stores,
    };
    let context = RunContext::default();
    let mut written = write_shard(&run, &engine, &context);
    loop {
        tokio::select! {
            parts = &mut written => {
                if parts.is_err() && let Err(error) = context.log.discard(&shared.options.stores).await {
                    tracing::warn!(job, shard, %error, "parts of a failed shard could not be removed");
                }
                return to_json(&parts?);
            }
            Some(query_job) = query_jobs.recv() => shared.set_live(job, shard, Some(query_job)),
        }
    }
}

/// Whether the job is still ours, asked of the store; the lease is longer then.
async fn still_ours(shared: &Shared, job: &str, token: i64) -> Result<(), RetrievalError> {
    let now = now_ms();
    let unreachable = |detail: String| RetrievalError::Lost { message: detail };
    match shared.store.renew(job, token, now, shared.lease_until_ms(now)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(unreachable("another scheduler has the job; nothing was committed".to_owned())),
        Err(error) => {
            Err(unreachable(format!("the store of jobs could not be asked before the commit: {error}")))
        }
    }
}

/// Commits the results of all shards; `token` is the lease's.
pub(crate) async fn commit(shared: Shared, ready: Ready, job: Job, number: u32, token: i64) -> Event {
    let failed =
        |failure: JobFailure, is_durable| Event::CommitFailed { attempt: number, failure, is_durable };
    let is_same = job.shards.iter().map(|shard| &shard.plan).eq(ready.shards.iter());
    if !is_same {
        return failed(bug("the shards that are done are not those that are committed"), false);
    }
    let parts = match parts_of(&job) {
        Ok(parts) => parts,
        Err(error) => return failed(job_failure(&error), false),
    };
    let fence =
        || -> BoxFuture<'_, Result<(), RetrievalError>> { Box::pin(still_ours(&shared, &job.id.0, token)) };
    let dataset = DatasetCommit {
        prepared: &ready.prepared,
        engine: "ballista",
        request_id: &job.id.0,
        registry: &ready.registry,
        started: job.started_at_ms.and_then(chrono::DateTime::from_timestamp_millis).unwrap_or(ready.started),
        now,
        fence: Some(&fence),
    };
    let log = StagingLog::default();
    let stores = &shared.options.stores;
    match commit_dataset(&dataset, stores, &ready.attempt, parts, &log).await {
        Ok(manifest) => {
            let saved = save(&shared, &job, &manifest).await;
            match saved.and_then(|()| manifest_json(&manifest)) {
                Ok(result) => Event::Committed { result },
                Err(error) => failed(job_failure(&error), true),
            }
        }
        Err(error) => {
            tracing::warn!(job = %job.id, %error, "a commit has failed");
            failed(job_failure(&error), ready.attempt.may_be_durable())
        }
    }
}

/// Clears away what a job has staged, and its claim.
pub(crate) async fn abandon(shared: Shared, ready: Option<Ready>, job: Job, number: u32) -> Event {
    if let Err(error) = try_abandon(&shared, ready, &job).await {
        tracing::warn!(job = %job.id, %error, "what a job had staged could not all be removed");
    }
    Event::Abandoned { attempt: number }
}

async fn try_abandon(shared: &Shared, ready: Option<Ready>, job: &Job) -> Result<(), RetrievalError> {
    if job.output.is_none() || job.plan_attempts == 0 {
        return Ok(());
    }
    // Parts in the job's record are this job's, whoever has the claim.
    let output = output_of(shared, job)?;
    let parts = parts_of(job).unwrap_or_default();
    let log: StagingLog = parts.iter().flat_map(|parts| parts.started(output.location())).collect();
    let discarded = log.discard(&shared.options.stores).await;
    let attempt = match ready {
        Some(ready) => ready.attempt,
        None => match open(shared, job, &request_of(job)?, job.plan_attempts).await {
            Ok(Opened::Writing(attempt)) => Arc::new(*attempt),
            // Committed, or somebody else's output: nothing more there is ours.
            Ok(Opened::Committed(_)) | Err(RetrievalError::OutputConflict { .. }) => return discarded,
            Err(error) => return Err(error),
        },
    };
    attempt.abandon(&StagingLog::default()).await?;
    discarded
}

/// The results of all shards that are done.
fn parts_of(job: &Job) -> Result<Vec<ShardParts>, RetrievalError> {
    let done = job.shards.iter().filter_map(|shard| match &shard.state {
        ShardState::Done { result, .. } => Some(result),
        ShardState::Pending { .. } | ShardState::Running { .. } => None,
    });
    done.map(|result| {
        serde_json::from_value(result.clone())
            .map_err(|e| RetrievalError::Bug { message: format!("a stored result cannot be read: {e}") })
    })
    .collect()
}

fn manifest_json(manifest: &Manifest) -> Result<Value, RetrievalError> {
    to_json(manifest)
}

fn to_json<T: Serialize>(value: &T) -> Result<Value, RetrievalError> {
    serde_json::to_value(value)
        .map_err(|e| RetrievalError::Bug { message: format!("a value cannot be written as JSON: {e}") })
}
