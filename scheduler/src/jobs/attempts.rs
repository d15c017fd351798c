//! How planning and committing begin, fail and begin again.

use super::machine::{Action, Step};
use super::model::{JobFailure, JobState};

const DURABLE_HINT: &str = "the dataset is staged and its commit is written down: submitting the same request again, \
     or opening the output again, finishes it";

impl Step<'_> {
    /// Whether this is the planning that is waited for.
    pub(super) fn is_planning(&self, attempt: u32) -> bool {
        self.job.plan_attempts == attempt && self.job.retry_at_ms.is_none()
    }

    pub(super) fn begin_plan(&mut self) {
        self.job.retry_at_ms = None;
        self.job.plan_attempts = self.job.plan_attempts.saturating_add(1);
        let attempt = self.job.plan_attempts;
        self.note(&format!("planning, attempt {attempt}"));
        self.actions.push(Action::Plan { attempt });
    }

    pub(super) fn plan_failed(&mut self, failure: JobFailure) {
        self.job.plan_failures = self.job.plan_failures.saturating_add(1);
        let failures = self.job.plan_failures;
        if failure.is_retryable && failures < self.options.plan_attempts_max {
            self.retry_later("planning", failures, &failure);
        } else {
            self.fail(failure);
        }
    }

    pub(super) fn begin_commit(&mut self) {
        self.job.state = JobState::Committing;
        self.job.retry_at_ms = None;
        self.job.commit_attempts = self.job.commit_attempts.saturating_add(1);
        let attempt = self.job.commit_attempts;
        self.note(&format!("committing, attempt {attempt}"));
        self.actions.push(Action::Commit { attempt });
    }

    pub(super) fn commit_failed(&mut self, failure: JobFailure, is_durable: bool) {
        self.job.commit_failures = self.job.commit_failures.saturating_add(1);
        // What is written stays written, even if a later attempt fails before it sees that.
        self.job.is_commit_durable |= is_durable;
        let failures = self.job.commit_failures;
        let may_repeat = failures < self.options.commit_attempts_max;
        if self.job.is_commit_durable {
            // It can only roll forward, so any failure is worth another attempt.
            if may_repeat {
                self.retry_later("the commit", failures, &failure);
            } else {
                self.fail_durable(failure);
            }
        } else if self.job.is_cancel_requested {
            self.give_up(None, "cancelled: the commit had failed before it was durable");
        } else if failure.is_retryable && may_repeat {
            self.retry_later("the commit", failures, &failure);
        } else {
            self.fail(failure);
        }
    }

    /// The intent may have been written before the scheduler was lost, so only another commit can tell.
    pub(super) fn recover_commit(&mut self) {
        match self.count_interruption() {
            None => self.begin_commit(),
            Some(failure) => {
                self.job.is_commit_durable = true;
                self.fail_durable(failure);
            }
        }
    }

    /// Too late while a commit is under way, as it may be durable already; in between two attempts it is not.
    pub(super) fn cancel_commit(&mut self) {
        if self.job.retry_at_ms.is_some() && !self.job.is_commit_durable {
            self.cancel();
        } else if !self.job.is_cancel_requested {
            self.job.is_cancel_requested = true;
            self.note("cancel requested too late: the commit is under way");
        }
    }

    fn fail_durable(&mut self, failure: JobFailure) {
        let hint = match &failure.hint {
            Some(hint) => format!("{hint}; {DURABLE_HINT}"),
            None => DURABLE_HINT.to_owned(),
        };
        self.fail(JobFailure { hint: Some(hint), is_retryable: true, ..failure });
    }

    fn retry_later(&mut self, what: &str, failures: u32, failure: &JobFailure) {
        let wait_ms = self.options.backoff_ms(failures);
        let at_ms = self.now_ms.saturating_add(wait_ms);
        self.job.retry_at_ms = Some(at_ms);
        self.note(&format!("{what} failed, again in {wait_ms} ms: {}", failure.message));
        self.actions.push(Action::WakeAt { at_ms });
    }

    /// Begins the attempt that was put off, if its time has come.
    pub(super) fn retry_if_due(&mut self, begin: fn(&mut Self)) {
        let Some(at_ms) = self.job.retry_at_ms else {
            return;
        };
        if at_ms <= self.now_ms {
            begin(self);
        } else {
            let at_ms = at_ms.min(self.latest_wake_ms());
            self.job.retry_at_ms = Some(at_ms);
            self.actions.push(Action::WakeAt { at_ms });
        }
    }

    /// No wait reaches further than this, even when the clock was set back meanwhile.
    pub(super) fn latest_wake_ms(&self) -> i64 {
        self.now_ms.saturating_add(i64::from(self.options.backoff_max_ms))
    }
}
