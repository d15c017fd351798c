//! Jobs as data: the names of their states, their JSON form (a stable contract), how they ended.

use backsight_proto::ErrorCode;
use backsight_proto::control::{Job, JobState, Progress, Shard, ShardState, Stage};
use backsight_retrieval::Manifest;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::cluster::failure;
use crate::errors::Failure;

/// Every state that a job can be in.
pub(crate) const STATES: [JobState; 8] = [
    JobState::Queued,
    JobState::Planning,
    JobState::Running,
    JobState::Committing,
    JobState::Abandoning,
    JobState::Succeeded,
    JobState::Failed,
    JobState::Cancelled,
];

/// The name of a state in JSON and on the command line.
pub(crate) fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Planning => "planning",
        JobState::Running => "running",
        JobState::Committing => "committing",
        JobState::Abandoning => "abandoning",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
        JobState::Unspecified => "unknown",
    }
}

/// The name of a shard's state.
pub(crate) fn shard_state_name(state: ShardState) -> &'static str {
    match state {
        ShardState::Pending => "pending",
        ShardState::Running => "running",
        ShardState::Done => "done",
        ShardState::Unspecified => "unknown",
    }
}

/// Whether nothing will change any more.
pub(crate) fn has_ended(job: &Job) -> bool {
    matches!(job.state(), JobState::Succeeded | JobState::Failed | JobState::Cancelled)
}

/// Shards that are done.
pub(crate) fn shards_done(job: &Job) -> u64 {
    job.shards.iter().filter(|shard| shard.state() == ShardState::Done).count() as u64
}

/// The manifest of a job that succeeded, the failure of one that did not.
pub(crate) fn outcome(job: &Job) -> Result<Manifest, Failure> {
    let details = json!({"job_id": job.id});
    let failed = match job.state() {
        JobState::Succeeded => match serde_json::from_str(&job.manifest_json) {
            Ok(manifest) => return Ok(manifest),
            Err(error) => Failure::bug(format!("the manifest of job `{}` cannot be read: {error}", job.id)),
        },
        JobState::Cancelled => Failure::cancelled(format!(
            "job `{}` was cancelled; nothing was left in `{}`",
            job.id, job.output
        )),
        state => match &job.failure {
            Some(failure) => failure::of_wire(failure.clone()),
            None => {
                let state = state_name(state);
                Failure::new(ErrorCode::Bug, format!("job `{}` is {state} and does not say why", job.id))
            }
        },
    };
    Err(failed.with_details(details))
}

/// An instant in milliseconds as RFC 3339; `None` for one that has not come.
pub(crate) fn instant(at_ms: i64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(at_ms).filter(|_| at_ms != 0)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// A job in its JSON form.
pub(crate) fn job_json(job: &Job) -> Value {
    let transition = |transition: &backsight_proto::control::Transition| json!({"at": instant(transition.at_ms), "what": transition.what});
    json!({
        "id": job.id,
        "project": job.project,
        "state": state_name(job.state()),
        "priority": job.priority,
        "submitted_by": job.submitted_by,
        "submitted_at": instant(job.submitted_at_ms),
        "started_at": instant(job.started_at_ms),
        "finished_at": instant(job.finished_at_ms),
        "queue_position": (job.queue_position > 0).then_some(job.queue_position),
        "is_cancel_requested": job.is_cancel_requested,
        "request": document(&job.request_json),
        "registry_version": text(&job.registry_version),
        "output": text(&job.output),
        "repeated": job.is_repeated,
        "leased_by": text(&job.leased_by),
        "progress": progress_json(&job.progress.unwrap_or_default()),
        "shards": job.shards.iter().map(shard_json).collect::<Vec<_>>(),
        "failure": job.failure.as_ref().map(failure::as_json),
        "manifest": document(&job.manifest_json),
        "history": job.history.iter().map(transition).collect::<Vec<_>>(),
    })
}

fn progress_json(progress: &Progress) -> Value {
    json!({
        "rows_read": progress.rows_read,
        "rows_to_read": progress.rows_to_read,
        "bytes_read": progress.bytes_read,
        "bytes_to_read": progress.bytes_to_read,
        "rows_written": progress.rows_written,
        "rows_to_write": progress.rows_to_write,
        "bytes_written": progress.bytes_written,
    })
}

fn shard_json(shard: &Shard) -> Value {
    let stage = |stage: &Stage| {
        json!({
            "number": stage.number,
            "partitions_done": stage.partitions_done,
            "partitions": stage.partitions,
            "rows": stage.rows,
            "bytes": stage.bytes,
        })
    };
    json!({
        "number": shard.number,
        "label": shard.label,
        "state": shard_state_name(shard.state()),
        "attempts": shard.attempts,
        "rows": shard.rows,
        "bytes_to_read": shard.bytes_to_read,
        "last_failure": shard.last_failure.as_ref().map(failure::as_json),
        "stages": shard.stages.iter().map(stage).collect::<Vec<_>>(),
    })
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// JSON of the scheduler inside of ours.
fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use backsight_proto::control::{Failure as WireFailure, Transition};

    use super::*;

    fn job(state: JobState) -> Job {
        Job {
            id: "j1".to_owned(),
            project: "taxi".to_owned(),
            state: state as i32,
            submitted_by: "me@here".to_owned(),
            submitted_at_ms: 1_772_668_800_123,
            request_json: r#"{"project": "taxi"}"#.to_owned(),
            output: "/out".to_owned(),
            queue_position: 2,
            shards: vec![Shard { label: "all".to_owned(), state: 2, attempts: 1, ..Shard::default() }],
            history: vec![Transition { at_ms: 1_772_668_800_123, what: "queued".to_owned() }],
            ..Job::default()
        }
    }

    #[test]
    fn the_json_form_is_pinned() {
        let expected = json!({
            "id": "j1", "project": "taxi", "state": "queued", "priority": 0, "submitted_by": "me@here",
            "submitted_at": "2026-03-05T00:00:00.123Z", "started_at": null, "finished_at": null,
            "queue_position": 2, "is_cancel_requested": false, "request": {"project": "taxi"},
            "registry_version": null, "output": "/out", "repeated": false, "leased_by": null,
            "progress": {"rows_read": 0, "rows_to_read": 0, "bytes_read": 0, "bytes_to_read": 0, "rows_written": 0,
                         "rows_to_write": 0, "bytes_written": 0},
            "shards": [{"number": 0, "label": "all", "state": "running", "attempts": 1, "rows": 0, "bytes_to_read": 0,
                        "last_failure": null, "stages": []}],
            "failure": null, "manifest": null,
            "history": [{"at": "2026-03-05T00:00:00.123Z", "what": "queued"}],
        });
        assert_eq!(job_json(&job(JobState::Queued)), expected);
    }

    #[test]
    fn a_job_that_did_not_succeed_ends_with_its_failure() {
        let failure =
            WireFailure { code: "data".to_owned(), message: "corrupt".to_owned(), ..Default::default() };
        let failed = Job { failure: Some(failure), ..job(JobState::Failed) };
        let ended = |job: &Job| outcome(job).unwrap_err();
        assert_eq!((ended(&failed).status(), ended(&failed).message()), (5, "corrupt"));
        assert_eq!(ended(&failed).json()["error"]["details"]["job_id"], "j1");
        assert_eq!(ended(&job(JobState::Failed)).status(), 1);
        assert_eq!(ended(&job(JobState::Succeeded)).status(), 1, "a manifest that is none");
        let cancelled = ended(&job(JobState::Cancelled));
        assert_eq!(cancelled.status(), 7);
        assert_eq!(cancelled.message(), "job `j1` was cancelled; nothing was left in `/out`");
    }

    #[test]
    fn every_state_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = STATES.into_iter().map(state_name).collect();
        assert_eq!(names.len(), STATES.len());
        assert!(!names.contains("unknown"));
    }
}
