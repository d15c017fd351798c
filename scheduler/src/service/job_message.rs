//! A stored job as clients see it, with how far it is now.

use std::collections::BTreeMap;

use backsight_proto::control::{self, Progress, Stage, StageWork};
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
    let mut running = Vec::with_capacity(job.shards.len());
    for shard in &job.shards {
        let (stages, work) = match (&shard.state, shared.live(&job.id.0, shard.number)) {
            (ShardState::Running { .. }, Some(query_job)) => stages(&shared.host, &query_job).await,
            _ => Default::default(),
        };
        shards.push(shard_message(shard, stages));
        running.push(work);
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
        progress: Some(progress(job, &running)),
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

/// What is done is known exactly for whole shards; of a running one counts what its executors last said.
fn progress(job: &Job, running: &[BTreeMap<u32, StageWork>]) -> Progress {
    let mut progress = Progress::default();
    for (shard, work) in job.shards.iter().zip(running) {
        let plan = &shard.plan;
        progress.rows_to_read += plan.rows_to_read;
        progress.rows_to_write += plan.rows;
        progress.bytes_to_read += plan.bytes_to_read;
        match &shard.state {
            ShardState::Done { result, .. } => {
                let parts: ShardParts = serde_json::from_value(result.clone()).unwrap_or_default();
                progress.rows_written += parts.rows();
                progress.bytes_written += parts.bytes();
                progress.rows_read += plan.rows_to_read;
                progress.bytes_read += plan.bytes_to_read;
            }
            ShardState::Running { .. } => {
                let sum = |of: fn(&StageWork) -> u64| work.values().map(of).sum::<u64>();
                progress.rows_read += sum(|work| work.rows_read).min(plan.rows_to_read);
                progress.bytes_read += sum(|work| work.bytes_read).min(plan.bytes_to_read);
                progress.rows_written += sum(|work| work.rows_written).min(plan.rows);
                progress.bytes_written += sum(|work| work.bytes_written);
            }
            ShardState::Pending { .. } => {}
        }
    }
    progress
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jobs::{JobId, ShardPlan, Submission};

    #[test]
    fn progress_is_what_executors_say_of_running_shards_and_all_of_those_done() {
        let submission = Submission {
            id: JobId("j".into()),
            project: "p".into(),
            request: json!({}),
            output: None,
            overwrite: false,
            priority: 0,
            submitted_by: String::new(),
        };
        let mut job = Job::new(submission, 0);
        let plan =
            ShardPlan { label: "a".into(), rows: 10, rows_to_read: 100, bytes_to_read: 1000, spec: json!(1) };
        let shard = |number: u32, state: ShardState| Shard {
            number,
            plan: plan.clone(),
            state,
            attempts: 1,
            failures: 0,
            last_failure: None,
        };
        job.shards = vec![
            shard(0, ShardState::Done { attempt: 1, result: json!({"records": [], "tally": {}}) }),
            shard(1, ShardState::Running { attempt: 1 }),
            shard(2, ShardState::Pending { not_before_ms: 0 }),
        ];
        let stage = |rows_read, rows_written| StageWork {
            rows_read,
            bytes_read: 30,
            rows_written,
            ..StageWork::default()
        };
        let running =
            [BTreeMap::new(), BTreeMap::from([(1, stage(40, 0)), (2, stage(70, 4))]), BTreeMap::new()];
        let shown = progress(&job, &running);
        assert_eq!((shown.rows_read, shown.rows_to_read), (200, 300), "never more than there is");
        assert_eq!((shown.bytes_read, shown.bytes_to_read), (1060, 3000));
        assert_eq!((shown.rows_written, shown.rows_to_write), (4, 30));
    }
}
