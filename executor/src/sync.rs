//! Tells the scheduler every second what this executor works on, and stops what nobody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use backsight_engine::{Closed, RunningJobs};
use backsight_proto::control::control_client::ControlClient;
use backsight_proto::control::{StageWork, SyncExecutorRequest, SyncExecutorResponse};
use backsight_storage::Stores;
use datafusion::execution::runtime_env::RuntimeEnv;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::metrics::Metrics;
use crate::work_dir::WorkDir;

/// A call that takes longer counts as failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// What one executor syncs.
pub(crate) struct Sync {
    pub(crate) executor_id: String,
    pub(crate) client: ControlClient<Channel>,
    pub(crate) jobs: RunningJobs,
    pub(crate) work_dir: Arc<WorkDir>,
    pub(crate) stores: Stores,
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) disk_limit_bytes: Option<u64>,
    pub(crate) heartbeat: Duration,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) metrics: Metrics,
    /// Polls that got no answer.
    pub(crate) polls_failed: Arc<AtomicU64>,
}

impl Sync {
    /// Syncs for ever. What takes time goes beside it: an executor that is busy removing files is not lost.
    pub(crate) async fn run(self) {
        let this = Arc::new(self);
        let mut beside: JoinSet<()> = JoinSet::new();
        let measured = Arc::clone(&this);
        beside.spawn(async move {
            loop {
                let now = Arc::clone(&measured);
                // A panic while measuring is logged by the runtime; the next one is tried all the same.
                let _ = tokio::task::spawn_blocking(move || now.measure()).await;
                tokio::time::sleep(measured.heartbeat).await;
            }
        });
        loop {
            this.once(&mut beside).await;
            while beside.try_join_next().is_some() {}
            tokio::time::sleep(this.heartbeat).await;
        }
    }

    async fn once(&self, beside: &mut JoinSet<()>) {
        let is_draining = self.draining.load(Ordering::Relaxed);
        let request = SyncExecutorRequest {
            executor_id: self.executor_id.clone(),
            query_jobs: self.names(),
            is_draining,
            polls_failed: self.polls_failed.load(Ordering::Relaxed),
            work: self.work(),
        };
        let mut client = self.client.clone();
        let answer = tokio::time::timeout(CALL_TIMEOUT, client.sync_executor(request)).await;
        match answer {
            Ok(Ok(answer)) => {
                self.metrics.set_ready(!is_draining);
                self.stop(&answer.into_inner(), beside);
            }
            failed => {
                self.metrics.set_ready(false);
                self.metrics.syncs_failed.inc();
                let error = match failed {
                    Ok(Err(status)) => status.to_string(),
                    _ => "no answer in time".to_owned(),
                };
                tracing::warn!(error, "the scheduler was not reached");
            }
        }
    }

    /// Query jobs with tasks, staged parts or files here.
    fn names(&self) -> Vec<String> {
        let mut names = self.jobs.names();
        names.extend(self.work_dir.jobs());
        names.sort();
        names.dedup();
        names
    }

    /// What tasks here have done so far.
    fn work(&self) -> Vec<StageWork> {
        let of = |(query_job, stage, work): (String, usize, backsight_engine::Work)| StageWork {
            query_job,
            stage: u32::try_from(stage).unwrap_or(u32::MAX),
            rows_read: work.rows_read,
            bytes_read: work.bytes_read,
            rows_written: work.rows_written,
            bytes_written: work.bytes_written,
        };
        self.jobs.work().into_iter().map(of).collect()
    }

    fn stop(&self, answer: &SyncExecutorResponse, beside: &mut JoinSet<()>) {
        for job in &answer.stop {
            self.jobs.close(job, Closed::Cancelled);
            // While a task still runs its files are in use; the next call finds it ended.
            let Some(staged) = self.jobs.forget(job) else { continue };
            self.metrics.jobs_ended.inc();
            let (work_dir, name) = (Arc::clone(&self.work_dir), job.clone());
            beside.spawn_blocking(move || work_dir.remove_job(&name));
            if !answer.discard.contains(job) {
                continue;
            }
            let (stores, job) = (self.stores.clone(), job.clone());
            beside.spawn(async move {
                for log in staged {
                    if let Err(error) = log.discard(&stores).await {
                        tracing::warn!(job, %error, "parts of a job that was given up could not be removed");
                    }
                }
            });
        }
    }

    fn measure(&self) {
        let bytes = self.work_dir.bytes();
        let shown = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.work_dir_bytes.set(shown(bytes));
        self.metrics.tasks_running.set(shown(self.jobs.tasks() as u64));
        self.metrics.jobs_known.set(shown(self.jobs.names().len() as u64));
        self.metrics.memory_reserved_bytes.set(shown(self.runtime.memory_pool.reserved() as u64));
        if let Some(limit) = self.disk_limit_bytes.filter(|limit| bytes > *limit) {
            let detail = format!(
                "executor `{}` holds {} MiB of shuffle and spill files, its `--disk-limit` is {} MiB",
                self.executor_id,
                bytes >> 20,
                limit >> 20
            );
            tracing::warn!(bytes, limit, "the disk limit is reached: all tasks fail");
            self.jobs.close_all(&Closed::DiskFull(detail));
        }
    }
}
