//! What all jobs of one scheduler share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backsight_proto::ErrorCode;
use backsight_retrieval::{Claimant, RetrievalError};
use chrono::{DateTime, Utc};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::metrics::Metrics;
use crate::jobs::{Job, JobError, JobFailure};
use crate::options::SchedulerOptions;
use crate::query::{ClusterEngine, Host};
use crate::store::{JobRow, JobStore, JobStoreError};

/// The clock.
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The clock in milliseconds.
pub(crate) fn now_ms() -> i64 {
    now().timestamp_millis()
}

/// Query jobs of the shards that run now, by job and shard.
type Live = BTreeMap<(String, u32), String>;

/// What all jobs share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) options: Arc<SchedulerOptions>,
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) host: Host,
    pub(crate) reaper: mpsc::UnboundedSender<String>,
    /// Wakes the dispatcher: a job came, ended or is to be cancelled.
    pub(crate) changed: Arc<Notify>,
    pub(crate) metrics: Metrics,
    /// Places of previews and explanations.
    pub(crate) previews: Arc<Semaphore>,
    live: Arc<Mutex<Live>>,
    started: Instant,
}

/// A scheduler that has just started does not know its executors yet: they call every second.
const SETTLE: Duration = Duration::from_millis(2_500);
const EXECUTORS_LOOK: Duration = Duration::from_millis(100);

impl Shared {
    pub(crate) fn new(
        options: Arc<SchedulerOptions>,
        store: Arc<dyn JobStore>,
        host: Host,
        reaper: mpsc::UnboundedSender<String>,
        metrics: Metrics,
    ) -> Self {
        let (changed, live) = (Arc::default(), Arc::default());
        let previews = Arc::new(Semaphore::new(options.previews_max.get()));
        Self { options, store, host, reaper, changed, metrics, previews, live, started: Instant::now() }
    }

    /// An engine for one plan, as wide as the cluster is now.
    pub(crate) async fn engine(&self) -> ClusterEngine {
        let partitions = match self.options.partitions {
            Some(partitions) => partitions.get(),
            None => self.host.vcores().await,
        };
        ClusterEngine::new(self.host.clone(), partitions, self.reaper.clone())
    }

    /// The same once executors are there: a plan made before that would be narrow for ever.
    pub(crate) async fn engine_with_executors(&self) -> ClusterEngine {
        while self.started.elapsed() < SETTLE || !self.host.has_executors().await {
            if self.options.partitions.is_some() {
                break;
            }
            tokio::time::sleep(EXECUTORS_LOOK).await;
        }
        self.engine().await
    }

    /// When a lease that is taken or renewed now runs out.
    pub(crate) fn lease_until_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(i64::try_from(self.options.lease.as_millis()).unwrap_or(i64::MAX))
    }

    /// Who claims outputs.
    pub(crate) fn claimant(&self) -> Claimant {
        Claimant { host: self.options.scheduler_id.clone(), process: std::process::id() }
    }

    /// Notes which query job a shard is, or that it is none any more.
    pub(crate) fn set_live(&self, job: &str, shard: u32, query_job: Option<String>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        match query_job {
            Some(query_job) => live.insert((job.to_owned(), shard), query_job),
            None => live.remove(&(job.to_owned(), shard)),
        };
    }

    /// The query job of a shard.
    pub(crate) fn live(&self, job: &str, shard: u32) -> Option<String> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(&(job.to_owned(), shard)).cloned()
    }
}

/// Completes when the flag turns true; never when nobody can turn it any more.
pub(crate) async fn turned_true(flag: &mut watch::Receiver<bool>) {
    loop {
        if *flag.borrow_and_update() {
            return;
        }
        if flag.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// A job as it is stored.
pub(crate) fn row(job: &Job) -> Result<JobRow, JobError> {
    Ok(JobRow {
        id: job.id.to_string(),
        project: job.project.clone(),
        state: job.state.name().to_owned(),
        is_finished: job.state.is_finished(),
        priority: job.priority,
        submitted_at_ms: job.submitted_at_ms,
        finished_at_ms: job.finished_at_ms,
        record: job.to_json()?,
    })
}

/// A failure as a job keeps it.
pub(crate) fn job_failure(error: &RetrievalError) -> JobFailure {
    JobFailure::from(error)
}

/// A failure of our own.
pub(crate) fn bug(message: impl Into<String>) -> JobFailure {
    let hint = "this is a bug in backsight, please report it";
    JobFailure::new(ErrorCode::Bug, message, Some(hint.to_owned()))
}

/// Whether somebody else has the job now.
pub(crate) fn is_lease_lost(error: &JobStoreError) -> bool {
    matches!(error, JobStoreError::LeaseLost { .. })
}
