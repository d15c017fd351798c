//! Which query jobs an executor works on, and the gates by which their tasks are stopped.
//!
//! Executors that fetch their tasks cannot be told to stop one by the query engine; its detached writers would go on
//! anyway. A gate stands in every stream of a task instead: once closed, the streams fail and everything above ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backsight_retrieval::{Progress, StagingLog};
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

/// What tasks have read and written so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Rows that scans produced.
    pub rows_read: u64,
    /// Bytes that scans fetched.
    pub bytes_read: u64,
    /// Rows handed to the encoders of parts.
    pub rows_written: u64,
    /// Bytes of finished parts.
    pub bytes_written: u64,
}

impl Work {
    fn of(progress: &Progress) -> Self {
        Self {
            rows_read: progress.rows_read(),
            bytes_read: progress.bytes_read(),
            rows_written: progress.rows_written(),
            bytes_written: progress.bytes_written(),
        }
    }

    fn add(&mut self, more: Self) {
        self.rows_read += more.rows_read;
        self.bytes_read += more.bytes_read;
        self.rows_written += more.rows_written;
        self.bytes_written += more.bytes_written;
    }
}

/// How a task that has ended leaves its job.
pub(crate) struct Ended {
    /// Its stage.
    pub(crate) stage: usize,
    /// What it counted into.
    pub(crate) progress: Arc<Progress>,
    /// What it leaves when it ended well.
    pub(crate) staged: Option<StagingLog>,
}

#[derive(Debug)]
struct Job {
    gate: watch::Sender<Option<Closed>>,
    /// Tasks that run now: their stages, what they count into.
    tasks: Vec<(usize, Arc<Progress>)>,
    /// What tasks that have ended well have done, by stage. What a failed one did is done again.
    done: BTreeMap<usize, Work>,
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

    /// A task of a stage of `job` begins, counting into `progress`.
    pub(crate) fn begin(&self, job: &str, stage: usize, progress: Arc<Progress>) -> Gate {
        let mut jobs = self.jobs();
        let job = jobs.entry(job.to_owned()).or_insert_with(|| Job {
            gate: watch::Sender::new(None),
            tasks: Vec::new(),
            done: BTreeMap::new(),
            staged: Vec::new(),
        });
        job.tasks.push((stage, progress));
        Gate(job.gate.subscribe())
    }

    /// A task of `job` has ended.
    pub(crate) fn end(&self, job: &str, ended: Ended) {
        if let Some(job) = self.jobs().get_mut(job) {
            if let Some(at) = job.tasks.iter().position(|(_, task)| Arc::ptr_eq(task, &ended.progress)) {
                job.tasks.swap_remove(at);
            }
            if let Some(log) = ended.staged {
                job.done.entry(ended.stage).or_default().add(Work::of(&ended.progress));
                job.staged.extend(Some(log).filter(|log| !log.entries().is_empty()));
            }
        }
    }

    /// What was done so far of each stage of each job that is known here.
    pub fn work(&self) -> Vec<(String, usize, Work)> {
        let jobs = self.jobs();
        let mut all = Vec::new();
        for (name, job) in jobs.iter() {
            let mut stages = job.done.clone();
            for (stage, progress) in &job.tasks {
                stages.entry(*stage).or_default().add(Work::of(progress));
            }
            all.extend(stages.into_iter().map(|(stage, work)| (name.clone(), stage, work)));
        }
        all
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
        self.jobs().values().map(|job| job.tasks.len()).sum()
    }

    /// Forgets a job whose tasks have ended, and returns what they had staged; `None` while one still runs.
    pub fn forget(&self, name: &str) -> Option<Vec<StagingLog>> {
        let mut jobs = self.jobs();
        if jobs.get(name).is_some_and(|job| !job.tasks.is_empty()) {
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
        let mut early = jobs.begin("a", 1, Arc::default());
        jobs.close("a", Closed::Cancelled);
        assert_eq!(early.wait_closed().await, Closed::Cancelled);
        assert_eq!(jobs.begin("a", 1, Arc::default()).closed(), Some(Closed::Cancelled));
        assert_eq!(jobs.begin("b", 1, Arc::default()).closed(), None, "another job goes on");
    }

    #[test]
    fn a_job_is_kept_until_its_tasks_have_ended() {
        let jobs = RunningJobs::default();
        let progress = Arc::default();
        let _gate = jobs.begin("a", 1, Arc::clone(&progress));
        assert!(jobs.forget("a").is_none());
        jobs.end("a", Ended { stage: 1, progress, staged: Some(StagingLog::default()) });
        assert_eq!(jobs.names(), ["a"]);
        assert!(jobs.forget("a").is_some_and(|staged| staged.is_empty()));
        assert!(jobs.names().is_empty() && jobs.tasks() == 0);
    }

    #[test]
    fn work_counts_tasks_that_run_or_ended_well_and_none_that_failed() {
        let jobs = RunningJobs::default();
        let tasks: Vec<Arc<Progress>> = (0..3).map(|_| Arc::default()).collect();
        for (stage, task) in [1, 1, 2].into_iter().zip(&tasks) {
            jobs.begin("a", stage, Arc::clone(task));
        }
        assert_eq!(jobs.tasks(), 3);
        let end = |at: usize, staged| {
            jobs.end("a", Ended { stage: 1, progress: Arc::clone(&tasks[at]), staged });
        };
        end(0, Some(StagingLog::default()));
        end(1, None);
        let stages: Vec<usize> = jobs.work().into_iter().map(|(_, stage, _)| stage).collect();
        assert_eq!((jobs.tasks(), stages), (1, vec![1, 2]));
    }
}
