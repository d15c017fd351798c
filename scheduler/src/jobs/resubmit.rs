//! What it means to submit an id again.

use super::error::JobError;
use super::history;
use super::model::{Job, JobState, Submission};
use super::options::JobOptions;
use super::shard_work::forget_shards;

/// What a repeated submission comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Resubmission {
    /// The job there is, unchanged: it waits, works, ends or has succeeded.
    Same,
    /// The job had failed or was cancelled; this is its record, queued again, to be stored in place of the old one.
    Queued(Box<Job>),
}

/// Decides about a submission whose id belongs to `job` already. Priority and submitter do not tell requests apart.
pub fn resubmit(
    job: &Job,
    submission: Submission,
    options: &JobOptions,
    now_ms: i64,
) -> Result<Resubmission, JobError> {
    let differing: Vec<&'static str> = [
        ("request", job.request != submission.request),
        ("output", job.output != submission.output),
        ("overwrite setting", job.overwrite != submission.overwrite),
        ("project", job.project != submission.project),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect();
    if !differing.is_empty() {
        return Err(JobError::IdTaken { id: job.id.clone(), differing });
    }
    match job.state {
        JobState::Queued
        | JobState::Planning
        | JobState::Running
        | JobState::Committing
        | JobState::Abandoning
        | JobState::Succeeded => Ok(Resubmission::Same),
        JobState::Failed | JobState::Cancelled => {
            Ok(Resubmission::Queued(Box::new(queued_again(job, submission, options, now_ms))))
        }
    }
}

/// Keeps what tells late events from new ones (numbers of attempts), what is staged for a commit, and the history.
fn queued_again(job: &Job, submission: Submission, options: &JobOptions, now_ms: i64) -> Job {
    let mut before = job.clone();
    forget_shards(&mut before);
    let by = submission.submitted_by.clone();
    let mut again = Job {
        plan_attempts: before.plan_attempts,
        commit_attempts: before.commit_attempts,
        abandon_attempts: before.abandon_attempts,
        shard_attempts_before: before.shard_attempts_before,
        is_commit_durable: before.is_commit_durable,
        history: before.history,
        history_left_out: before.history_left_out,
        ..Job::new(submission, now_ms)
    };
    history::note(&mut again, options.history_max, now_ms, &format!("submitted again by {by}, queued"));
    again
}

#[cfg(test)]
mod tests {
    use backsight_proto::ErrorCode;
    use serde_json::json;

    use super::super::model::{Shard, ShardPlan, ShardState};
    use super::super::tables::{failure, queued_job, submission};
    use super::*;

    fn ended(state: JobState) -> Job {
        let shard = |number, attempts| Shard {
            number,
            plan: ShardPlan {
                label: "a".to_owned(),
                rows: 1,
                rows_to_read: 1,
                bytes_to_read: 1,
                spec: json!(1),
            },
            state: ShardState::Pending { not_before_ms: 0 },
            attempts,
            failures: 2,
            last_failure: None,
        };
        Job {
            state,
            plan_attempts: 3,
            plan_failures: 2,
            commit_attempts: 2,
            commit_failures: 2,
            abandon_attempts: 1,
            interruptions: 4,
            is_cancel_requested: true,
            failure: Some(failure("data", false)),
            shards: vec![shard(0, 2), shard(1, 5)],
            registry_version: Some("v1".to_owned()),
            started_at_ms: Some(1),
            finished_at_ms: Some(2),
            ..queued_job("r-1")
        }
    }

    #[test]
    fn a_job_that_has_not_failed_stays_as_it_is() {
        for state in JobState::ALL {
            let job = ended(state);
            let answer = resubmit(&job, submission("r-1"), &JobOptions::default(), 50).unwrap();
            let is_queued_again = matches!(state, JobState::Failed | JobState::Cancelled);
            assert_eq!(answer == Resubmission::Same, !is_queued_again, "{state:?}");
        }
    }

    #[test]
    fn a_failed_job_is_queued_again_with_fresh_budgets_and_its_history() {
        let job = Job { is_commit_durable: true, ..ended(JobState::Failed) };
        let wanted = Submission { priority: 7, submitted_by: "bob".to_owned(), ..submission("r-1") };
        let Resubmission::Queued(again) = resubmit(&job, wanted, &JobOptions::default(), 50).unwrap() else {
            panic!("a failed job is queued again");
        };
        assert_eq!((again.state, again.priority, again.submitted_at_ms), (JobState::Queued, 7, 50));
        assert_eq!((again.plan_failures, again.commit_failures, again.interruptions), (0, 0, 0));
        assert_eq!((again.failure.clone(), again.is_cancel_requested), (None, false));
        assert_eq!((again.started_at_ms, again.finished_at_ms, again.shards.len()), (None, None, 0));
        // Events of the first submission must not be taken for the second's.
        assert_eq!((again.plan_attempts, again.commit_attempts, again.abandon_attempts), (3, 2, 1));
        assert_eq!(again.shard_attempts_before, 5);
        assert!(again.is_commit_durable);
        let history: Vec<&str> = again.history.iter().map(|entry| entry.what.as_str()).collect();
        assert_eq!(history, ["queued", "submitted again by bob, queued"]);
    }

    #[test]
    fn another_request_under_the_same_id_is_a_conflict() {
        let cases: [(&str, Submission); 5] = [
            ("request", Submission { request: json!({"features": ["b"]}), ..submission("r-1") }),
            ("output", Submission { output: None, ..submission("r-1") }),
            ("overwrite setting", Submission { overwrite: true, ..submission("r-1") }),
            ("project", Submission { project: "other".to_owned(), ..submission("r-1") }),
            (
                "request and another output",
                Submission { request: json!(1), output: None, ..submission("r-1") },
            ),
        ];
        for state in JobState::ALL {
            for (differing, wanted) in cases.clone() {
                let error = resubmit(&ended(state), wanted, &JobOptions::default(), 50).unwrap_err();
                assert_eq!(error.code(), ErrorCode::Conflict);
                assert_eq!(error.to_string(), format!("job `r-1` exists already with another {differing}"));
                assert!(error.hint().unwrap().contains("choose another `--request-id`"));
            }
        }
    }
}
