//! What does a stored job consist of?

use std::collections::BTreeMap;

/// What the scheduler wants kept of a job. The columns are what lists and queues ask for; the rest is `record`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Names the job; it is also the id of the request.
    pub id: String,
    /// The project whose registry the job reads.
    pub project: String,
    /// The name of the job machine's state, as it calls it.
    pub state: String,
    /// Whether the job has ended and nothing will happen to it by itself.
    pub is_finished: bool,
    /// Higher goes first.
    pub priority: i32,
    /// When it was submitted, in milliseconds since 1970.
    pub submitted_at_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub finished_at_ms: Option<i64>,
    /// Everything else, as JSON that only the job machine reads.
    pub record: String,
}

/// A job as it is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJob {
    /// What was kept.
    pub row: JobRow,
    /// Grows whenever the row is written and when a cancel is first requested; a lease does not change it.
    pub version: i64,
    /// Whether somebody asked for the job to be cancelled.
    pub is_cancel_requested: bool,
    /// Who works on it. The term may have run out: compare `until_ms` with the clock.
    pub lease: Option<Lease>,
}

/// The right to work on a job, for a term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The scheduler that holds it.
    pub owner: String,
    /// Grows with every acquisition of this job, so that of two that think they hold it one is refused.
    pub token: i64,
    /// The first millisecond that no longer belongs to the term.
    pub until_ms: i64,
}

/// What became of an insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// The job was not there.
    New,
    /// A job of this id is there already, and was left as it is.
    Exists(Box<StoredJob>),
}

/// Which jobs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFilter {
    /// Only jobs of this project.
    pub project: Option<String>,
    /// Only jobs in one of these states; of any state when empty.
    pub states: Vec<String>,
    /// At most so many; [`crate::store::StoreOptions::list_jobs_max`] is the limit of the limit.
    pub limit: u32,
}

impl Default for JobFilter {
    /// The newest hundred jobs of any kind.
    fn default() -> Self {
        Self { project: None, states: Vec::new(), limit: 100 }
    }
}

/// The answer to a [`JobFilter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPage {
    /// Newest submitted first; those of one millisecond by id.
    pub jobs: Vec<StoredJob>,
    /// Whether the limit left jobs out.
    pub has_more: bool,
}

/// How many jobs there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Jobs that have not ended.
    pub unfinished: u64,
    /// Jobs that have ended.
    pub finished: u64,
    /// Jobs by the name of their state; states without jobs are absent.
    pub by_state: BTreeMap<String, u64>,
}

impl JobCounts {
    /// How many jobs are in this state.
    pub fn in_state(&self, state: &str) -> u64 {
        self.by_state.get(state).copied().unwrap_or(0)
    }
}
