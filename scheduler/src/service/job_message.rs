//! A stored job as clients see it, with how far it is now.

use backsight_proto::control::{self, Progress, Stage};
use backsight_retrieval::ShardParts;

use super::failures::message as failure_message;
use crate::driver::Shared;
use crate::jobs::{Job, JobState, Shard, ShardState};
use crate::query::stages;
use crate::store::StoredJob;

/// The message of a job.
pub(crate) async fn message(
    shared: &Shared,
    stored: &StoredJob,
    job: &Job,
    queue_position: u32,
) -> control::Job {
    let mut shards = Vec::with_capacity(job.shards.len());
    for shard in &job.shards {
        let running = match (&shard.state, shared.live(&job.id.0, shard.number)) {
            (ShardState::Running { .. }, Some(query_job)) => stages(&shared.host, &query_job).await,
            _ => Vec::new(),
        };
        shards.push(shard_message(shard, running));
    }
    control::Job {
        id: job.id.0.clone(),
        project: job.project.clone(),
        state: state(job.state).into(),
        priority: job.priority,
        submitted_by: job.submitted_by.clone(),
        submitted_at_ms: job.submitted_at_ms,
        started_at_ms: job.started_at_ms.unwrap_or(0),
        finished_at_ms: job.finished_at_ms.unwrap_or(0),
        request_json: job.request.to_string(),
        registry_version: job.registry_version.clone().unwrap_or_default(),
        queue_position,
        is_cancel_requested: job.is_cancel_requested || stored.is_cancel_requested,
        progress: Some(progress(job, &shards)),
        shards,
        failure: job.failure.clone().map(failure_message),
        manifest_json: job.result.as_ref().map(ToString::to_string).unwrap_or_default(),
        history: job
            .history
            .iter()
            .map(|entry| control::Transition { at_ms: entry.at_ms, what: entry.what.clone() })
            .collect(),
        leased_by: stored.lease.as_ref().map(|lease| lease.owner.clone()).unwrap_or_default(),
        output: job.output.clone().unwrap_or_default(),
        is_repeated: job.is_repeated,
    }
}

/// The state of this name, for the store's filter.
pub(crate) fn state_name(state: control::JobState) -> Option<&'static str> {
    JobState::ALL.into_iter().find(|known| self::state(*known) == state).map(JobState::name)
}

fn state(state: JobState) -> control::JobState {
    match state {
        JobState::Queued => control::JobState::Queued,
        JobState::Planning => control::JobState::Planning,
        JobState::Running => control::JobState::Running,
        JobState::Committing => control::JobState::Committing,
        JobState::Abandoning => control::JobState::Abandoning,
        JobState::Succeeded => control::JobState::Succeeded,
        JobState::Failed => control::JobState::Failed,
        JobState::Cancelled => control::JobState::Cancelled,
    }
}

fn shard_message(shard: &Shard, stages: Vec<Stage>) -> control::Shard {
    let state = match shard.state {
        ShardState::Pending { .. } => control::ShardState::Pending,
        ShardState::Running { .. } => control::ShardState::Running,
        ShardState::Done { .. } => control::ShardState::Done,
    };
    control::Shard {
        number: shard.number,
        label: shard.plan.label.clone(),
        state: state.into(),
        attempts: shard.attempts,
        rows: shard.plan.rows,
        bytes_to_read: shard.plan.bytes_to_read,
        last_failure: shard.last_failure.clone().map(failure_message),
        stages,
    }
}

/// What is done is known exactly for whole shards; a running one counts by what its finished tasks read, and by its
/// finished partitions for what it wrote.
fn progress(job: &Job, shards: &[control::Shard]) -> Progress {
    let mut progress = Progress::default();
    for (shard, shown) in job.shards.iter().zip(shards) {
        progress.rows_to_write += shard.plan.rows;
        progress.bytes_to_read += shard.plan.bytes_to_read;
        match &shard.state {
            ShardState::Done { result, .. } => {
                let parts: ShardParts = serde_json::from_value(result.clone()).unwrap_or_default();
                progress.rows_written += parts.rows();
                progress.bytes_written += parts.bytes();
                progress.bytes_read += shard.plan.bytes_to_read;
            }
            ShardState::Running { .. } => {
                progress.rows_read += shown.stages.iter().map(|stage| stage.rows).sum::<u64>();
                let read: u64 = shown.stages.iter().map(|stage| stage.bytes).sum();
                progress.bytes_read += read.min(shard.plan.bytes_to_read);
                if let Some(last) = shown.stages.last().filter(|stage| stage.partitions > 0) {
                    let done = u64::from(last.partitions_done);
                    progress.rows_written += shard.plan.rows * done / u64::from(last.partitions);
                }
            }
            ShardState::Pending { .. } => {}
        }
    }
    progress
}
