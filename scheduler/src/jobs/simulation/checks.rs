//! What has to hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use super::super::machine::{Action, Event};
use super::super::model::{Job, JobId, JobState, Shard, ShardState};
use super::super::options::JobOptions;
use super::world::{Output, Part};

/// How often something happened: a simulation in which nothing does proves nothing.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) crashes: u32,
    pub(super) fenced: u32,
    pub(super) fenced_commits: u32,
    pub(super) outdated_commits: u32,
    pub(super) resubmitted: u32,
    pub(super) recovered: u32,
    pub(super) kept_done: u32,
    pub(super) plans_changed: u32,
    pub(super) succeeded: u32,
    pub(super) found_committed: u32,
    pub(super) failed: u32,
    pub(super) failed_durable: u32,
    pub(super) cancelled: u32,
    pub(super) cancelled_late: u32,
    pub(super) ignored: u32,
}

impl Seen {
    pub(super) fn counts(&self) -> [(&'static str, u32); 15] {
        [
            ("crashes", self.crashes),
            ("fenced", self.fenced),
            ("fenced_commits", self.fenced_commits),
            ("outdated_commits", self.outdated_commits),
            ("resubmitted", self.resubmitted),
            ("recovered", self.recovered),
            ("kept_done", self.kept_done),
            ("plans_changed", self.plans_changed),
            ("succeeded", self.succeeded),
            ("found_committed", self.found_committed),
            ("failed", self.failed),
            ("failed_durable", self.failed_durable),
            ("cancelled", self.cancelled),
            ("cancelled_late", self.cancelled_late),
            ("ignored", self.ignored),
        ]
    }
}

#[derive(Debug)]
pub(super) struct Checks {
    pub(super) seen: Seen,
    pub(super) problem: Option<String>,
    begun: BTreeSet<(JobId, &'static str, u32, u32)>,
    recoveries: BTreeMap<JobId, u32>,
    is_traced: bool,
    pub(super) lines: Vec<String>,
}

impl Checks {
    pub(super) fn new(is_traced: bool) -> Self {
        Self {
            seen: Seen::default(),
            problem: None,
            begun: BTreeSet::new(),
            recoveries: BTreeMap::new(),
            is_traced,
            lines: Vec::new(),
        }
    }

    pub(super) fn trace(&mut self, line: impl FnOnce() -> String) {
        if self.is_traced {
            self.lines.push(line());
        }
    }

    pub(super) fn require(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds && self.problem.is_none() {
            self.problem = Some(otherwise());
        }
    }

    pub(super) fn after_event(
        &mut self,
        before: &Job,
        event: &Event,
        after: &Job,
        actions: &[Action],
        options: &JobOptions,
        output: &Output,
    ) {
        let id = &before.id;
        if before.state.is_finished() {
            self.require(before == after && actions.is_empty(), || format!("{id} had ended and went on"));
        }
        self.seen.ignored += u32::from(before == after);
        if *event == Event::Recovered && before != after {
            self.seen.recovered += 1;
            *self.recoveries.entry(id.clone()).or_insert(0) += 1;
        }
        let is_found = matches!(event, Event::AlreadyCommitted { .. }) && before != after;
        self.seen.found_committed += u32::from(is_found);
        self.bounds(after, options);
        self.done_stays_done(before, event, after);
        self.attempts_are_new(after, actions);
        if before.state != after.state && after.state.is_finished() {
            self.ending(after, output);
        }
    }

    fn bounds(&mut self, job: &Job, options: &JobOptions) {
        let shard_failures = job.shards.iter().map(|shard| shard.failures).max().unwrap_or(0);
        let bounds = [
            ("shard failures", shard_failures, options.shard_attempts_max),
            ("plan failures", job.plan_failures, options.plan_attempts_max),
            ("commit failures", job.commit_failures, options.commit_attempts_max),
            ("shards running", u32::try_from(job.shards_running()).unwrap(), options.shards_at_once),
            ("history", u32::try_from(job.history.len()).unwrap(), options.history_max),
            // One that is too many, and one in the clean-up after it.
            ("interruptions", job.interruptions, options.interruptions_max + 2),
        ];
        for (what, count, limit) in bounds {
            self.require(count <= limit, || format!("{}: {count} {what}, {limit} are allowed", job.id));
        }
        let recoveries = self.recoveries.get(&job.id).copied().unwrap_or(0);
        for shard in &job.shards {
            // Besides those that failed: the one there is, and those that were lost with a scheduler.
            let allowed = job.shard_attempts_before + shard.failures + recoveries + 1;
            self.require(shard.attempts <= allowed, || {
                format!(
                    "{}: attempt {} of shard {}, {allowed} are allowed",
                    job.id, shard.attempts, shard.number
                )
            });
        }
    }

    fn done_stays_done(&mut self, before: &Job, event: &Event, after: &Job) {
        let is_done = |shard: &&Shard| matches!(shard.state, ShardState::Done { .. });
        let has_new_plan = match event {
            Event::Planned { shards, .. } => !before.shards.iter().map(|shard| &shard.plan).eq(shards),
            _ => false,
        };
        if let Event::Planned { shards, .. } = event
            && before != after
        {
            let is_taken = after.shards.iter().map(|shard| &shard.plan).eq(shards);
            self.require(is_taken, || format!("{}: what is done is not what is planned", before.id));
        }
        let has_lost = before.shards.iter().filter(is_done).any(|shard| !after.shards.contains(shard));
        self.require(!has_lost || has_new_plan, || format!("{}: a shard that was done is not", before.id));
        self.seen.plans_changed += u32::from(has_lost);
        let is_kept = before.state == JobState::Planning && after.state != JobState::Planning;
        self.seen.kept_done += u32::from(is_kept && !has_lost && before.shards_done() > 0);
    }

    fn attempts_are_new(&mut self, job: &Job, actions: &[Action]) {
        for action in actions {
            let begun = match action {
                Action::Plan { attempt } => ("plan", 0, *attempt),
                Action::RunShard { shard, attempt } => {
                    let is_running = |known: &Shard| {
                        known.number == *shard && known.state == ShardState::Running { attempt: *attempt }
                    };
                    self.require(job.shards.iter().any(is_running), || {
                        format!("{}: shard {shard} starts, but its record does not say so", job.id)
                    });
                    ("shard", *shard, *attempt)
                }
                Action::Commit { attempt } => {
                    let is_complete =
                        job.state == JobState::Committing && job.shards_done() == job.shards.len();
                    self.require(is_complete, || format!("{} commits before all is done", job.id));
                    ("commit", 0, *attempt)
                }
                Action::Abandon { attempt } => ("abandon", 0, *attempt),
                Action::StopShard { .. } | Action::WakeAt { .. } | Action::Finish => continue,
            };
            let (what, number, attempt) = begun;
            let is_new = self.begun.insert((job.id.clone(), what, number, attempt));
            self.require(is_new, || format!("{}: {what} {number}, attempt {attempt} began twice", job.id));
        }
    }

    fn ending(&mut self, job: &Job, output: &Output) {
        let id = &job.id;
        let has_commit = output.manifest.is_some();
        if job.state == JobState::Succeeded {
            self.require(has_commit, || format!("{id} succeeded without a dataset"));
            self.seen.succeeded += 1;
            self.seen.cancelled_late += u32::from(job.is_cancel_requested);
        } else {
            let is_hidden = output.intent.is_some() && !job.is_commit_durable;
            self.require(!is_hidden, || format!("{id} {:?}, but its commit is durable", job.state));
            self.require(job.state == JobState::Cancelled || job.failure.is_some(), || format!("{id}: why?"));
            self.seen.failed += u32::from(job.state == JobState::Failed);
            self.seen.failed_durable += u32::from(job.state == JobState::Failed && job.is_commit_durable);
            self.seen.cancelled += u32::from(job.state == JobState::Cancelled);
        }
    }

    /// A dataset is exactly one result of each shard of the job's plan, and all of it is there.
    pub(super) fn at_intent(&mut self, job: &Job, parts: &[Part], output: &Output) {
        let expected = job.shards.iter().map(|shard| match &shard.state {
            ShardState::Done { attempt, .. } => Some((shard.number, *attempt, shard.plan.label.clone())),
            ShardState::Pending { .. } | ShardState::Running { .. } => None,
        });
        let is_exact = expected.eq(parts.iter().cloned().map(Some));
        self.require(is_exact, || format!("{} commits {parts:?} for {:?}", job.id, job.shards));
        self.all_is_staged(parts, output);
    }

    pub(super) fn at_manifest(&mut self, output: &Output) {
        self.require(output.commits == 0, || "a second dataset".to_owned());
        let parts = output.intent.as_deref().unwrap_or_default();
        self.require(output.intent.is_some(), || "a dataset without an intent".to_owned());
        self.all_is_staged(parts, output);
    }

    fn all_is_staged(&mut self, parts: &[Part], output: &Output) {
        for (shard, attempt, _) in parts {
            let is_there = output.staged.contains(&(*shard, *attempt));
            self.require(is_there, || format!("shard {shard}, attempt {attempt} was cleared away"));
        }
    }
}
