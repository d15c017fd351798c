//! What happens to a job at an event, in every state: one pure function.
//!
//! An event that is late, repeated or of an older attempt changes nothing and asks for nothing. That holds because numbers
//! of attempts are never used twice, not even over recoveries, new plans and repeated submissions.

use serde_json::Value;

use super::history;
use super::model::{Job, JobFailure, JobState, ShardPlan};
use super::options::JobOptions;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It may leave the queue.
    Admitted,
    /// A scheduler has taken the job over, after a restart or because the former lease has run out. All that was
    /// under way is lost. The first event under a new lease.
    Recovered,
    /// The request is cut into shards.
    Planned {
        /// Which planning.
        attempt: u32,
        /// The version of the registry that it was planned with.
        registry_version: String,
        /// The shards in order.
        shards: Vec<ShardPlan>,
    },
    /// The output holds the dataset of this very request already.
    AlreadyCommitted {
        /// Which planning found it.
        attempt: u32,
        /// Its manifest.
        result: Value,
    },
    /// The request could not be planned.
    PlanFailed {
        /// Which planning.
        attempt: u32,
        /// Why.
        failure: JobFailure,
    },
    /// The rows of a shard are staged.
    ShardSucceeded {
        /// Its number.
        shard: u32,
        /// Which attempt.
        attempt: u32,
        /// What the commit needs to know.
        result: Value,
    },
    /// An attempt of a shard has failed, or nothing is known of it any more.
    ShardFailed {
        /// Its number.
        shard: u32,
        /// Which attempt.
        attempt: u32,
        /// Why.
        failure: JobFailure,
    },
    /// Time has passed.
    Tick,
    /// Somebody asks to stop the job.
    CancelRequested,
    /// The dataset is there.
    Committed {
        /// Its manifest.
        result: Value,
    },
    /// A commit has failed.
    CommitFailed {
        /// Which one.
        attempt: u32,
        /// Why.
        failure: JobFailure,
        /// The intent is written, *or may be*: say no only when it is known that this attempt has not written it and
        /// will not.
        is_durable: bool,
    },
    /// The clean-up has ended, or was given up.
    Abandoned {
        /// Which one.
        attempt: u32,
    },
}

/// Something to do, after the job has been persisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Cut the request into shards, but first look whether the output holds its dataset already or a commit of this
    /// request that has to be finished. With shards planned before, plan with the job's registry version.
    Plan {
        /// The number to answer with.
        attempt: u32,
    },
    /// Retrieve a shard.
    RunShard {
        /// Its number.
        shard: u32,
        /// The number to answer with.
        attempt: u32,
    },
    /// Stop an attempt; no answer is needed.
    StopShard {
        /// Its number.
        shard: u32,
        /// Which attempt.
        attempt: u32,
    },
    /// Make the dataset out of all shards' results. If the intent of an earlier attempt is written, finish that one;
    /// else write it only while [`Job::may_write_intent`] says so.
    Commit {
        /// The number to answer with.
        attempt: u32,
    },
    /// Stop a planning or commit that is under way, and clear away what attempts known to the job have staged.
    Abandon {
        /// The number to answer with.
        attempt: u32,
    },
    /// Send [`Event::Tick`] at this time; a newer wake-up replaces an older one.
    WakeAt {
        /// When.
        at_ms: i64,
    },
    /// The job has ended: stop what may still go on, tell who waits, give the lease back.
    Finish,
}

/// Takes an event in and says what to do. `now_ms` is wall time; if it is set back, waits grow by one back-off at most.
pub fn on_event(job: &mut Job, options: &JobOptions, now_ms: i64, event: Event) -> Vec<Action> {
    let mut step = Step { job, options, now_ms, actions: Vec::new() };
    match step.job.state {
        JobState::Queued => step.on_queued(event),
        JobState::Planning => step.on_planning(event),
        JobState::Running => step.on_running(event),
        JobState::Committing => step.on_committing(event),
        JobState::Abandoning => step.on_abandoning(event),
        // Whatever comes now is late.
        JobState::Succeeded | JobState::Failed | JobState::Cancelled => {}
    }
    step.actions
}

/// One event being taken in.
pub(super) struct Step<'a> {
    pub(super) job: &'a mut Job,
    pub(super) options: &'a JobOptions,
    pub(super) now_ms: i64,
    pub(super) actions: Vec<Action>,
}

impl Step<'_> {
    fn on_queued(&mut self, event: Event) {
        match event {
            Event::Admitted => {
                self.job.state = JobState::Planning;
                self.job.started_at_ms = Some(self.now_ms);
                self.begin_plan();
            }
            // Nothing is staged that would have to be cleared away.
            Event::CancelRequested => {
                self.job.is_cancel_requested = true;
                self.finish(JobState::Cancelled, "cancelled while it was queued");
            }
            // It goes on waiting.
            Event::Recovered | Event::Tick => {}
            // Late, of a submission before.
            Event::Planned { .. }
            | Event::AlreadyCommitted { .. }
            | Event::PlanFailed { .. }
            | Event::ShardSucceeded { .. }
            | Event::ShardFailed { .. }
            | Event::Committed { .. }
            | Event::CommitFailed { .. }
            | Event::Abandoned { .. } => {}
        }
    }

    fn on_planning(&mut self, event: Event) {
        match event {
            Event::Planned { attempt, registry_version, shards } => {
                if self.is_planning(attempt) {
                    self.take_plan(registry_version, shards);
                }
            }
            Event::AlreadyCommitted { attempt, result } => {
                if self.is_planning(attempt) {
                    // Unless it is the job's own commit, which this planning has finished.
                    self.job.is_repeated = !self.job.is_commit_durable;
                    self.succeed(result, "succeeded: the output holds the dataset of this request already");
                }
            }
            Event::PlanFailed { attempt, failure } => {
                if self.is_planning(attempt) {
                    self.plan_failed(failure);
                }
            }
            Event::Tick => self.retry_if_due(Self::begin_plan),
            Event::Recovered => {
                if self.is_interruption_allowed() {
                    self.begin_plan();
                }
            }
            Event::CancelRequested => self.cancel(),
            Event::Admitted
            | Event::ShardSucceeded { .. }
            | Event::ShardFailed { .. }
            | Event::Committed { .. }
            | Event::CommitFailed { .. }
            | Event::Abandoned { .. } => {}
        }
    }

    fn on_running(&mut self, event: Event) {
        match event {
            Event::ShardSucceeded { shard, attempt, result } => self.shard_succeeded(shard, attempt, result),
            Event::ShardFailed { shard, attempt, failure } => self.shard_failed(shard, attempt, failure),
            Event::Tick => self.start_shards(),
            // Planned anew, as what was prepared is lost and sources may have changed since.
            Event::Recovered => {
                self.put_back_shards();
                if self.is_interruption_allowed() {
                    self.job.state = JobState::Planning;
                    self.begin_plan();
                }
            }
            Event::CancelRequested => self.cancel(),
            Event::Admitted
            | Event::Planned { .. }
            | Event::AlreadyCommitted { .. }
            | Event::PlanFailed { .. }
            | Event::Committed { .. }
            | Event::CommitFailed { .. }
            | Event::Abandoned { .. } => {}
        }
    }

    fn on_committing(&mut self, event: Event) {
        match event {
            // Whichever attempt did it: the dataset is there.
            Event::Committed { result } => self.succeed(result, "succeeded"),
            Event::CommitFailed { attempt, failure, is_durable } => {
                if self.job.commit_attempts == attempt && self.job.retry_at_ms.is_none() {
                    self.commit_failed(failure, is_durable);
                }
            }
            Event::Tick => self.retry_if_due(Self::begin_commit),
            Event::Recovered => self.recover_commit(),
            Event::CancelRequested => self.cancel_commit(),
            Event::Admitted
            | Event::Planned { .. }
            | Event::AlreadyCommitted { .. }
            | Event::PlanFailed { .. }
            | Event::ShardSucceeded { .. }
            | Event::ShardFailed { .. }
            | Event::Abandoned { .. } => {}
        }
    }

    fn on_abandoning(&mut self, event: Event) {
        match event {
            Event::Abandoned { attempt } => {
                if self.job.abandon_attempts == attempt {
                    self.finish_abandoned();
                }
            }
            Event::Recovered => self.recover_abandon(),
            // It ends already, and what it ends with stays.
            Event::CancelRequested => {
                if !self.job.is_cancel_requested {
                    self.job.is_cancel_requested = true;
                    self.note("cancel requested: the job is ending already");
                }
            }
            Event::Tick
            | Event::Admitted
            | Event::Planned { .. }
            | Event::AlreadyCommitted { .. }
            | Event::PlanFailed { .. }
            | Event::ShardSucceeded { .. }
            | Event::ShardFailed { .. }
            | Event::Committed { .. }
            | Event::CommitFailed { .. } => {}
        }
    }

    pub(super) fn note(&mut self, what: &str) {
        history::note(self.job, self.options.history_max, self.now_ms, what);
    }
}
