//! Which query jobs an executor works on, and the gates by which their tasks are stopped.
//!
//! Executors that fetch their tasks cannot be told to stop one by the query engine; its detached writers would go on
//! anyway. A gate stands in every stream of a task instead: once closed, the streams fail and everything above ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backsight_retrieval::StagingLog;
use tokio::sync::watch;

/// Why a gate was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// Nobody waits for the job any more.
    Cancelled,
    /// The executor has no room left on its disk.
    DiskFull(String),
}

/// Stops the tasks of one job.
#[derive(Debug, Clone)]
pub struct Gate(watch::Receiver<Option<Closed>>);

impl Gate {
    /// Whether it is closed.
    pub fn closed(&self) -> Option<Closed> {
        self.0.borrow().clone()
    }

    /// Completes once it is closed.
    pub async fn wait_closed(&mut self) -> Closed {
        loop {
            if let Some(closed) = self.closed() {
                return closed;
            }
            if self.0.changed().await.is_err() {
                // The job was forgotten: its tasks have ended.
                return std::future::pending().await;
            }
        }
    }
}

#[derive(Debug)]
struct Job {
    gate: watch::Sender<Option<Closed>>,
    /// Tasks that run now.
    tasks: usize,
    /// What tasks that have ended well staged: others decide whether it is committed.
    staged: Vec<StagingLog>,
}

/// The jobs of one executor.
#[derive(Debug, Clone, Default)]
pub struct RunningJobs(Arc<Mutex<BTreeMap<String, Job>>>);

impl RunningJobs {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task of `job` begins.
    pub(crate) fn begin(&self, job: &str) -> Gate {
        let mut jobs = self.jobs();
        let job = jobs.entry(job.to_owned()).or_insert_with(|| Job {
            gate: watch::Sender::new(None),
            tasks: 0,
            staged: Vec::new(),
        });
        job.tasks += 1;
        Gate(job.gate.subscribe())
    }

    /// A task of `job` has ended; `staged` is what it leaves when it ended well.
    pub(crate) fn end(&self, job: &str, staged: Option<StagingLog>) {
        if let Some(job) = self.jobs().get_mut(job) {
            job.tasks = job.tasks.saturating_sub(1);
            job.staged.extend(staged.filter(|log| !log.entries().is_empty()));
        }
    }

    /// Closes the gate of a job.
    pub fn close(&self, job: &str, why: Closed) {
        if let Some(job) = self.jobs().get(job) {
            job.gate.send_replace(Some(why));
        }
    }

    /// Closes every gate.
    pub fn close_all(&self, why: &Closed) {
        for job in self.jobs().values() {
            job.gate.send_replace(Some(why.clone()));
        }
    }

    /// Jobs with tasks, or with staged parts that somebody may still commit.
    pub fn names(&self) -> Vec<String> {
        self.jobs().keys().cloned().collect()
    }

    /// Tasks that run now, over all jobs.
    pub fn tasks(&self) -> usize {
        self.jobs().values().map(|job| job.tasks).sum()
    }

    /// Forgets a job whose tasks have ended, and returns what they had staged; `None` while one still runs.
    pub fn forget(&self, name: &str) -> Option<Vec<StagingLog>> {
        let mut jobs = self.jobs();
        if jobs.get(name).is_some_and(|job| job.tasks > 0) {
            return None;
        }
        Some(jobs.remove(name).map(|job| job.staged).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_reaches_tasks_that_run_and_those_that_come() {
        let jobs = RunningJobs::default();
        let mut early = jobs.begin("a");
        jobs.close("a", Closed::Cancelled);
        assert_eq!(early.wait_closed().await, Closed::Cancelled);
        assert_eq!(jobs.begin("a").closed(), Some(Closed::Cancelled));
        assert_eq!(jobs.begin("b").closed(), None, "another job goes on");
    }

    #[test]
    fn a_job_is_kept_until_its_tasks_have_ended() {
        let jobs = RunningJobs::default();
        let _gate = jobs.begin("a");
        assert!(jobs.forget("a").is_none());
        jobs.end("a", Some(StagingLog::default()));
        assert_eq!(jobs.names(), ["a"]);
        assert!(jobs.forget("a").is_some_and(|staged| staged.is_empty()));
        assert!(jobs.names().is_empty() && jobs.tasks() == 0);
    }
}
