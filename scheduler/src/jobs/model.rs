//! What a job is: the durable record of one retrieval, its shards and what happened to it.
//!
//! Records are stored as JSON and load forever: fields are only added, each with a default, see [`super::FORMAT`].

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::FORMAT;

/// A failure as users see it.
pub use backsight_retrieval::WireFailure as JobFailure;

/// Identifies a job; it is the request id of its retrieval.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub String);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody asks for: a retrieval under an id.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The id of the job that is to be.
    pub id: JobId,
    /// The project whose features are asked for.
    pub project: String,
    /// The retrieval request; the machine never looks into it.
    pub request: Value,
    /// Where the dataset goes.
    pub output: Option<String>,
    /// Whether a dataset that stands there already may be replaced.
    pub overwrite: bool,
    /// Higher goes first; 0 is usual.
    pub priority: i32,
    /// Who asks: `user@host`.
    pub submitted_by: String,
}

/// One retrieval from its submission to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The format of this record.
    #[serde(default = "super::record::first_format")]
    pub format: u32,
    /// Identifies the job.
    pub id: JobId,
    /// The project whose features are asked for.
    pub project: String,
    /// The retrieval request; the machine never looks into it.
    pub request: Value,
    /// Where the dataset goes.
    #[serde(default)]
    pub output: Option<String>,
    /// Whether a dataset that stands there already may be replaced.
    #[serde(default)]
    pub overwrite: bool,
    /// Higher goes first; 0 is usual.
    #[serde(default)]
    pub priority: i32,
    /// Who asked: `user@host`.
    #[serde(default)]
    pub submitted_by: String,
    /// When it came into the queue.
    #[serde(default)]
    pub submitted_at_ms: i64,
    /// How far it has come.
    pub state: JobState,
    /// Somebody asked to stop it.
    #[serde(default)]
    pub is_cancel_requested: bool,
    /// The number of the newest planning; numbers only grow, over recoveries and submissions alike.
    #[serde(default)]
    pub plan_attempts: u32,
    /// How many plannings of this submission have failed; `plan_attempts_max` bounds it.
    #[serde(default)]
    pub plan_failures: u32,
    /// The number of the newest commit; numbers only grow.
    #[serde(default)]
    pub commit_attempts: u32,
    /// How many commits of this submission have failed; `commit_attempts_max` bounds it.
    #[serde(default)]
    pub commit_failures: u32,
    /// The number of the newest clean-up; numbers only grow.
    #[serde(default)]
    pub abandon_attempts: u32,
    /// When the next planning or commit begins after a failed one; none while one is under way.
    #[serde(default)]
    pub retry_at_ms: Option<i64>,
    /// The intent of a commit is written, or may be: it can only roll forward, and nothing staged may be removed.
    #[serde(default)]
    pub is_commit_durable: bool,
    /// How often a scheduler was lost since a shard was last done; `interruptions_max` bounds it.
    #[serde(default)]
    pub interruptions: u32,
    /// The version of the registry that the shards were planned with.
    #[serde(default)]
    pub registry_version: Option<String>,
    /// The pieces of the retrieval, once planned.
    #[serde(default)]
    pub shards: Vec<Shard>,
    /// The greatest attempt number of shards that are no more: new ones number their attempts from there.
    #[serde(default)]
    pub shard_attempts_before: u32,
    /// How it failed.
    #[serde(default)]
    pub failure: Option<JobFailure>,
    /// The dataset's manifest when it succeeded.
    #[serde(default)]
    pub result: Option<Value>,
    /// The dataset had been there already: the same request had been committed.
    #[serde(default)]
    pub is_repeated: bool,
    /// When it left the queue.
    #[serde(default)]
    pub started_at_ms: Option<i64>,
    /// When it ended.
    #[serde(default)]
    pub finished_at_ms: Option<i64>,
    /// What happened to it: the first entry and the newest ones.
    #[serde(default)]
    pub history: Vec<Transition>,
    /// How many entries between the first and the second of `history` were left out.
    #[serde(default)]
    pub history_left_out: u64,
}

impl Job {
    /// A job at the end of the queue.
    pub fn new(submission: Submission, now_ms: i64) -> Self {
        let Submission { id, project, request, output, overwrite, priority, submitted_by } = submission;
        let queued = Transition { at_ms: now_ms, what: "queued".to_owned() };
        Self {
            format: FORMAT,
            id,
            project,
            request,
            output,
            overwrite,
            priority,
            submitted_by,
            submitted_at_ms: now_ms,
            state: JobState::Queued,
            is_cancel_requested: false,
            plan_attempts: 0,
            plan_failures: 0,
            commit_attempts: 0,
            commit_failures: 0,
            abandon_attempts: 0,
            retry_at_ms: None,
            is_commit_durable: false,
            interruptions: 0,
            registry_version: None,
            shards: Vec::new(),
            shard_attempts_before: 0,
            failure: None,
            result: None,
            is_repeated: false,
            started_at_ms: None,
            finished_at_ms: None,
            history: vec![queued],
            history_left_out: 0,
        }
    }

    /// Shards that an executor works on.
    pub fn shards_running(&self) -> usize {
        self.shards.iter().filter(|shard| matches!(shard.state, ShardState::Running { .. })).count()
    }

    /// Whether this commit may write its intent. The store asks in the transaction that writes it, of the record as it is
    /// stored then: a fencing token keeps other schedulers away, this keeps older attempts of the same one away, which
    /// else could make a commit durable after it was given up.
    pub fn may_write_intent(&self, attempt: u32) -> bool {
        self.state == JobState::Committing && self.commit_attempts == attempt && self.retry_at_ms.is_none()
    }

    /// Shards whose rows are staged.
    pub fn shards_done(&self) -> usize {
        self.shards.iter().filter(|shard| matches!(shard.state, ShardState::Done { .. })).count()
    }
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits to be admitted.
    Queued,
    /// The request is being cut into shards, for the first time or after a recovery.
    Planning,
    /// Shards are being retrieved.
    Running,
    /// All shards are staged and become a dataset.
    Committing,
    /// It ends without a dataset; what was staged is being cleared away.
    Abandoning,
    /// The dataset is there.
    Succeeded,
    /// It ended with a failure.
    Failed,
    /// It was stopped because somebody asked.
    Cancelled,
}

impl JobState {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Planning,
        Self::Running,
        Self::Committing,
        Self::Abandoning,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing happens to such a job any more, unless it is submitted again.
    pub fn is_finished(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
            Self::Queued | Self::Planning | Self::Running | Self::Committing | Self::Abandoning => false,
        }
    }

    /// The word that users read and records hold.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Committing => "committing",
            Self::Abandoning => "abandoning",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One piece of a retrieval, done as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Its place among the shards, from 0.
    pub number: u32,
    /// What it covers.
    pub plan: ShardPlan,
    /// How far it has come.
    pub state: ShardState,
    /// The number of its newest attempt; numbers only grow.
    #[serde(default)]
    pub attempts: u32,
    /// How many attempts have failed; one that ended because its scheduler was lost is not counted.
    #[serde(default)]
    pub failures: u32,
    /// How the newest failed attempt ended.
    #[serde(default)]
    pub last_failure: Option<JobFailure>,
}

/// What a shard covers. Two plans are the same if all of this is: `spec` has to tell sources apart by their contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardPlan {
    /// For people.
    pub label: String,
    /// Spine rows, each of which becomes one row of the dataset.
    #[serde(default)]
    pub rows: u64,
    /// An estimate of what is read: rows of spine and sources.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub rows_to_read: u64,
    /// The same in bytes.
    #[serde(default)]
    pub bytes_to_read: u64,
    /// What to run; the machine only compares it.
    #[serde(default)]
    pub spec: Value,
}

/// Records of earlier versions have no such estimate, and are written as they were.
fn is_unknown(estimate: &u64) -> bool {
    *estimate == 0
}

/// How far a shard has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// Waits for a place, and after a failure for its time.
    Pending {
        /// Does not start before.
        #[serde(default)]
        not_before_ms: i64,
    },
    /// Executors work on it.
    Running {
        /// Whose result counts.
        attempt: u32,
    },
    /// Its rows are staged.
    Done {
        /// Which attempt did it.
        attempt: u32,
        /// What the commit needs to know; the machine never looks into it.
        result: Value,
    },
}

/// One entry of a job's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When it happened.
    pub at_ms: i64,
    /// What happened, for people.
    pub what: String,
}
