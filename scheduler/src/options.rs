//! What a scheduler is told: where it listens, what it keeps, how much it takes on.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use backsight_registry::store::RegistryStore;
use backsight_retrieval::ShardLimits;
use backsight_storage::{Location, Stores};

use crate::jobs::{AdmissionLimits, JobOptions};

/// Settings of a scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// Where it listens: control plane, executors, health and metrics on one port; 0 takes a free one.
    pub bind: SocketAddr,
    /// Names this scheduler in leases; a restarted one of the same name goes on at once with its own jobs.
    pub scheduler_id: String,
    /// `sqlite:///path` or `postgres://…`: where jobs are kept.
    pub state_url: String,
    /// Where uploaded spines are kept: a folder or an object store that executors reach, too.
    pub spool: Location,
    /// Greatest uploaded spine in bytes.
    pub spine_upload_bytes_max: u64,
    /// How long an uploaded spine is kept after its last use.
    pub spine_kept: Duration,
    /// Where relative paths of sources start.
    pub repo: PathBuf,
    /// The registry that it owns.
    pub registry: RegistryStore,
    /// How objects are reached.
    pub stores: Stores,
    /// Bytes that planning may hold.
    pub memory_limit_bytes: usize,
    /// Partitions of a plan; as many as the executors have cores when absent.
    pub partitions: Option<NonZeroUsize>,
    /// When and how finely retrievals are cut.
    pub shards: ShardLimits,
    /// Bounds of a job.
    pub jobs: JobOptions,
    /// How many jobs run and wait.
    pub admission: AdmissionLimits,
    /// Previews and explanations at the same time; more of them wait for a while and are then refused.
    pub previews_max: NonZeroUsize,
    /// Finished jobs that are kept.
    pub finished_jobs_kept: u64,
    /// An executor that was not heard of for so long is lost.
    pub executor_timeout: Duration,
    /// How long a job belongs to a scheduler that is not heard of.
    pub lease: Duration,
    /// How long a terminated scheduler waits for commits that are under way.
    pub drain_timeout: Duration,
    /// Executors without which `/readyz` says no.
    pub executors_ready_min: usize,
}
