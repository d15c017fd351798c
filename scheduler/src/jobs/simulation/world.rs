//! What the simulated world is made of: a store with fencing tokens, outputs, schedulers and what is under way to them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::machine::{Action, Event};
use super::super::model::{Job, JobId, Submission};
use super::super::options::JobOptions;
use super::super::tables::submission;
use super::checks::Checks;
use super::dice::Dice;

pub(super) const SCHEDULERS: usize = 2;
pub(super) const LEASE_MS: i64 = 1500;

/// A job in the store. Who holds the newest token may persist; a lease that has run out may be taken with a newer one.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) job: Job,
    pub(super) token: u64,
    pub(super) leased_until_ms: Option<i64>,
    pub(super) is_cancel_wanted: bool,
}

/// A part of a dataset: which attempt of which shard has written it, under which plan.
pub(super) type Part = (u32, u32, String);

/// The place of one job's dataset.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) staged: BTreeSet<(u32, u32)>,
    pub(super) intent: Option<Vec<Part>>,
    pub(super) manifest: Option<Vec<Part>>,
    pub(super) commits: u32,
    /// Sources change now and then.
    pub(super) sources: u32,
}

/// Something a scheduler does for a job as it was when it was decided.
#[derive(Debug)]
pub(super) struct Todo {
    pub(super) job: Job,
    pub(super) token: u64,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    Perform(Action),
    /// The rest of a commit, after its intent was written.
    Complete {
        attempt: u32,
    },
}

#[derive(Debug, Default)]
pub(super) struct Scheduler {
    /// Counts restarts: what is addressed to an earlier life is lost.
    pub(super) life: u64,
    pub(super) is_up: bool,
    /// It stands still until then, so its leases run out while it does not know.
    pub(super) paused_until_ms: i64,
    /// The jobs it believes to hold.
    pub(super) tokens: BTreeMap<JobId, u64>,
    pub(super) inbox: Vec<(JobId, Event)>,
    pub(super) todo: Vec<Todo>,
    pub(super) wakes: BTreeMap<JobId, i64>,
}

/// Word that is under way to a scheduler.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) due_ms: i64,
    pub(super) scheduler: usize,
    pub(super) life: u64,
    pub(super) id: JobId,
    pub(super) event: Event,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) options: JobOptions,
    pub(super) now_ms: i64,
    /// While set, things go wrong.
    pub(super) has_faults: bool,
    pub(super) jobs: BTreeMap<JobId, Record>,
    pub(super) outputs: BTreeMap<JobId, Output>,
    pub(super) schedulers: Vec<Scheduler>,
    pub(super) letters: Vec<Letter>,
    pub(super) checks: Checks,
}

impl World {
    pub(super) fn new(seed: u64, is_traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let options = JobOptions {
            shard_attempts_max: dice.count(1, 4),
            plan_attempts_max: dice.count(1, 3),
            commit_attempts_max: dice.count(1, 4),
            interruptions_max: if dice.percent(30) { 2 } else { 20 },
            backoff_min_ms: 100,
            backoff_max_ms: 1000,
            shards_at_once: dice.count(1, 3),
            history_max: dice.count(2, 20),
        };
        let ids: Vec<JobId> = (0..dice.count(1, 4)).map(|number| JobId(format!("r-{number}"))).collect();
        let record = |id: &JobId| Record {
            job: Job::new(submission(&id.0), 0),
            token: 0,
            leased_until_ms: None,
            is_cancel_wanted: false,
        };
        let scheduler = || Scheduler { is_up: true, ..Scheduler::default() };
        Self {
            dice,
            options,
            now_ms: 1,
            has_faults: true,
            jobs: ids.iter().map(|id| (id.clone(), record(id))).collect(),
            outputs: ids.into_iter().map(|id| (id, Output::default())).collect(),
            schedulers: (0..SCHEDULERS).map(|_| scheduler()).collect(),
            letters: Vec::new(),
            checks: Checks::new(is_traced),
        }
    }

    pub(super) fn submission_of(id: &JobId) -> Submission {
        submission(&id.0)
    }

    /// A fault that comes with this chance while there are faults.
    pub(super) fn fault(&mut self, chance: usize) -> bool {
        self.has_faults && self.dice.percent(chance)
    }

    pub(super) fn any_id(&mut self) -> JobId {
        let place = self.dice.roll(self.jobs.len());
        self.jobs.keys().nth(place).unwrap().clone()
    }
}
