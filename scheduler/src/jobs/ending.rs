//! How a job ends: with its dataset, or without one after a clean-up.

use serde_json::Value;

use super::machine::{Action, Step};
use super::model::{JobFailure, JobState, ShardState};

impl Step<'_> {
    pub(super) fn succeed(&mut self, result: Value, what: &str) {
        self.job.result = Some(result);
        self.finish(JobState::Succeeded, what);
    }

    pub(super) fn fail(&mut self, failure: JobFailure) {
        let what = format!("failed: {}", failure.message);
        self.give_up(Some(failure), &what);
    }

    pub(super) fn cancel(&mut self) {
        self.job.is_cancel_requested = true;
        self.give_up(None, "cancel requested");
    }

    /// Ends the job without a dataset. What is staged for a commit that can only roll forward stays where it is.
    pub(super) fn give_up(&mut self, failure: Option<JobFailure>, what: &str) {
        self.stop_running_shards();
        self.job.retry_at_ms = None;
        self.job.failure = failure;
        self.note(what);
        if self.job.is_commit_durable {
            self.finish_abandoned();
        } else {
            self.job.state = JobState::Abandoning;
            self.begin_abandon();
        }
    }

    fn begin_abandon(&mut self) {
        self.job.abandon_attempts = self.job.abandon_attempts.saturating_add(1);
        self.actions.push(Action::Abandon { attempt: self.job.abandon_attempts });
    }

    /// A clean-up that takes its scheduler down each time is not worth more attempts.
    pub(super) fn recover_abandon(&mut self) {
        match self.count_interruption() {
            None => self.begin_abandon(),
            Some(_) => {
                self.note("the clean-up was given up, staged files may remain");
                self.finish_abandoned();
            }
        }
    }

    pub(super) fn finish_abandoned(&mut self) {
        if self.job.failure.is_some() {
            self.finish(JobState::Failed, "failed");
        } else {
            self.finish(JobState::Cancelled, "cancelled");
        }
    }

    pub(super) fn finish(&mut self, state: JobState, what: &str) {
        self.job.state = state;
        self.job.retry_at_ms = None;
        self.job.finished_at_ms = Some(self.now_ms);
        self.note(what);
        self.actions.push(Action::Finish);
    }

    fn stop_running_shards(&mut self) {
        for shard in &mut self.job.shards {
            if let ShardState::Running { attempt } = shard.state {
                shard.state = ShardState::Pending { not_before_ms: self.now_ms };
                self.actions.push(Action::StopShard { shard: shard.number, attempt });
            }
        }
    }

    /// Counts a lost scheduler; without any progress for too long, the job fails and the answer is no.
    pub(super) fn is_interruption_allowed(&mut self) -> bool {
        match self.count_interruption() {
            None => true,
            Some(failure) => {
                self.fail(failure);
                false
            }
        }
    }

    /// Counts a lost scheduler; the failure is there when it was one too many.
    pub(super) fn count_interruption(&mut self) -> Option<JobFailure> {
        self.job.interruptions = self.job.interruptions.saturating_add(1);
        self.note("a scheduler took the job over");
        let limit = self.options.interruptions_max.max(1);
        (self.job.interruptions > limit).then(|| JobFailure {
            code: "unreachable".to_owned(),
            message: format!(
                "its scheduler was lost more than {limit} times without any progress in between"
            ),
            causes: Vec::new(),
            hint: Some("look into why schedulers end, then submit the same request again".to_owned()),
            is_retryable: true,
            is_local: false,
        })
    }
}
