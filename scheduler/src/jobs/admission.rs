//! Which queued jobs may start, and who is next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::error::JobError;
use super::model::JobId;

/// How many jobs may run and wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Jobs that run side by side; 4 by default.
    pub jobs_running_max: usize,
    /// Jobs of one project that run side by side; as many as there are by default.
    pub jobs_running_per_project_max: Option<usize>,
    /// Jobs that may wait; 10 000 by default.
    pub jobs_queued_max: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { jobs_running_max: 4, jobs_running_per_project_max: None, jobs_queued_max: 10_000 }
    }
}

/// What matters of a queued job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub id: JobId,
    /// Its project.
    pub project: String,
    /// Higher goes first.
    pub priority: i32,
    /// Since when it waits.
    pub submitted_at_ms: i64,
}

/// The jobs that may start now, in their order. `running` names the project of each job that has left the queue and not
/// ended. Higher priority first; then the project with the fewest jobs running, those admitted now included; then the
/// oldest; then the id.
pub fn admit(queued: &[Waiting], running: &[String], limits: &AdmissionLimits) -> Vec<JobId> {
    let free = limits.jobs_running_max.saturating_sub(running.len());
    Order::new(queued, running).take(limits.jobs_running_per_project_max, free)
}

/// The place of every queued job, from 1: the order in which [`admit`] would take them if jobs kept their places in
/// their projects. Those that their project's limit holds back come after all others.
pub fn queue_positions(
    queued: &[Waiting],
    running: &[String],
    limits: &AdmissionLimits,
) -> BTreeMap<JobId, u32> {
    let mut order = Order::new(queued, running);
    let mut ids = order.take(limits.jobs_running_per_project_max, usize::MAX);
    ids.extend(order.take(None, usize::MAX));
    ids.into_iter().zip(1..).collect()
}

/// Refuses one more job if as many wait as may. A repeated submission of a queued id needs no place.
pub fn check_queue(queued: usize, limits: &AdmissionLimits) -> Result<(), JobError> {
    if queued < limits.jobs_queued_max {
        Ok(())
    } else {
        Err(JobError::QueueFull { queued, limit: limits.jobs_queued_max })
    }
}

/// Jobs of one priority by project, each project's in order of age.
type Level<'a> = BTreeMap<&'a str, VecDeque<(i64, &'a JobId)>>;

/// The queue while jobs are taken out of it.
struct Order<'a> {
    running: BTreeMap<&'a str, usize>,
    levels: BTreeMap<Reverse<i32>, Level<'a>>,
}

impl<'a> Order<'a> {
    fn new(queued: &'a [Waiting], running: &'a [String]) -> Self {
        let mut counts = BTreeMap::new();
        for project in running {
            *counts.entry(project.as_str()).or_insert(0) += 1;
        }
        let mut sorted: Vec<&Waiting> = queued.iter().collect();
        sorted.sort_by_key(|job| (job.submitted_at_ms, &job.id));
        let mut levels: BTreeMap<Reverse<i32>, Level<'a>> = BTreeMap::new();
        for job in sorted {
            let level = levels.entry(Reverse(job.priority)).or_default();
            level.entry(job.project.as_str()).or_default().push_back((job.submitted_at_ms, &job.id));
        }
        Self { running: counts, levels }
    }

    /// Takes jobs in order; those of a project that has `project_max` running stay.
    fn take(&mut self, project_max: Option<usize>, count_max: usize) -> Vec<JobId> {
        let mut taken = Vec::new();
        for level in self.levels.values_mut() {
            // Only the project whose job is taken changes its rank, so each step costs a logarithm.
            let mut heads: BTreeSet<(usize, i64, &JobId, &str)> = level
                .iter()
                .filter_map(|(project, jobs)| head(&self.running, project, jobs, project_max))
                .collect();
            while taken.len() < count_max
                && let Some((_, _, id, project)) = heads.pop_first()
            {
                taken.push(id.clone());
                *self.running.entry(project).or_insert(0) += 1;
                if let Some(jobs) = level.get_mut(project) {
                    jobs.pop_front();
                    heads.extend(head(&self.running, project, jobs, project_max));
                }
            }
        }
        taken
    }
}

/// A project's oldest job with what ranks it, unless the project may not run more.
fn head<'a>(
    running: &BTreeMap<&'a str, usize>,
    project: &'a str,
    jobs: &VecDeque<(i64, &'a JobId)>,
    project_max: Option<usize>,
) -> Option<(usize, i64, &'a JobId, &'a str)> {
    let count = running.get(project).copied().unwrap_or(0);
    let (submitted_at_ms, id) = jobs.front().copied()?;
    project_max.is_none_or(|limit| count < limit).then_some((count, submitted_at_ms, id, project))
}
