//! Which query jobs somebody waits for, which executors work on them, and which executors have gone silent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backsight_proto::control::{StageWork, SyncExecutorRequest, SyncExecutorResponse};
use ballista_scheduler::scheduler_server::JobIdGenerator;
use tokio::sync::watch;

/// An executor whose disk was full gets no tasks for so long, while there are others.
const FULL_PAUSE: Duration = Duration::from_secs(30);

/// Query jobs that have ended and are remembered; executors ask within seconds.
const ENDED_KEPT: usize = 10_000;

/// How a query job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Somebody waits for it; these executors got tasks of it, and may have files of it.
    Active { executors: BTreeSet<String> },
    /// Its rows have been read: what it staged is in an account.
    Read,
    /// Nobody wants what it staged.
    GivenUp,
}

#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    is_draining: bool,
    /// Polls that got no answer, as the executor counts them.
    polls_failed: u64,
}

/// An executor as it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownExecutor {
    pub(crate) id: String,
    pub(crate) silent: Duration,
    pub(crate) is_draining: bool,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: BTreeMap<String, Standing>,
    ended: VecDeque<String>,
    executors: BTreeMap<String, Seen>,
    /// Who waits for each active job learns of the loss of an executor here.
    lost: BTreeMap<String, watch::Sender<Option<String>>>,
    /// Executors whose disk was full, and when.
    full: BTreeMap<String, Instant>,
    /// What executors have done of active jobs, by job, stage and executor.
    work: BTreeMap<String, BTreeMap<(u32, String), StageWork>>,
}

/// The query jobs of this scheduler.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueryJobs(Arc<Mutex<Inner>>);

impl QueryJobs {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new id that somebody waits for from now on.
    fn start(&self) -> String {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut inner = self.inner();
        inner.jobs.insert(id.clone(), Standing::Active { executors: BTreeSet::new() });
        inner.lost.insert(id.clone(), watch::Sender::new(None));
        id
    }

    /// An executor was handed tasks of these jobs.
    pub(crate) fn handed<'a>(&self, executor: &str, jobs: impl IntoIterator<Item = &'a str>) {
        let mut inner = self.inner();
        for job in jobs {
            if let Some(Standing::Active { executors }) = inner.jobs.get_mut(job)
                && !executors.contains(executor)
            {
                executors.insert(executor.to_owned());
            }
        }
    }

    /// Learns whether an executor that got tasks of a job is lost: its id.
    pub(crate) fn watch_loss(&self, job: &str) -> Option<watch::Receiver<Option<String>>> {
        self.inner().lost.get(job).map(watch::Sender::subscribe)
    }

    /// The job's rows have been read.
    pub(crate) fn read(&self, job: &str) {
        self.end(job, Standing::Read);
    }

    /// Nobody waits for the job any more.
    pub(crate) fn give_up(&self, job: &str) {
        self.end(job, Standing::GivenUp);
    }

    fn end(&self, job: &str, standing: Standing) {
        let mut inner = self.inner();
        inner.lost.remove(job);
        inner.work.remove(job);
        let known = inner.jobs.insert(job.to_owned(), standing);
        if matches!(known, None | Some(Standing::Active { .. })) {
            inner.ended.push_back(job.to_owned());
        }
        while inner.ended.len() > ENDED_KEPT {
            if let Some(oldest) = inner.ended.pop_front() {
                inner.jobs.remove(&oldest);
            }
        }
    }

    /// Takes an executor's word and tells it what to stop.
    pub(crate) fn sync(&self, request: &SyncExecutorRequest, now: Instant) -> SyncExecutorResponse {
        let mut inner = self.inner();
        let seen = Seen { at: now, is_draining: request.is_draining, polls_failed: request.polls_failed };
        let before = inner.executors.insert(request.executor_id.clone(), seen);
        if before.is_some_and(|before| before.polls_failed < request.polls_failed) {
            // Words about tasks, or tasks themselves, went missing with a poll: of which jobs nobody knows.
            inner.report_loss_to_all(&request.executor_id);
        }
        for work in &request.work {
            if matches!(inner.jobs.get(&work.query_job), Some(Standing::Active { .. })) {
                let place = (work.stage, request.executor_id.clone());
                inner.work.entry(work.query_job.clone()).or_default().insert(place, work.clone());
            }
        }
        let mut response = SyncExecutorResponse::default();
        for job in &request.query_jobs {
            match inner.jobs.get(job) {
                Some(Standing::Active { .. }) => {}
                Some(Standing::GivenUp) => {
                    response.stop.push(job.clone());
                    response.discard.push(job.clone());
                }
                // An unknown one is of an earlier life of this scheduler: its parts may be in a job's record.
                Some(Standing::Read) | None => response.stop.push(job.clone()),
            }
        }
        response
    }

    /// What all executors together have done of a job, by stage, as they last said.
    pub(crate) fn work(&self, job: &str) -> BTreeMap<u32, StageWork> {
        let mut stages: BTreeMap<u32, StageWork> = BTreeMap::new();
        for ((stage, _), work) in self.inner().work.get(job).into_iter().flatten() {
            let sum = stages.entry(*stage).or_default();
            sum.rows_read += work.rows_read;
            sum.bytes_read += work.bytes_read;
            sum.rows_written += work.rows_written;
            sum.bytes_written += work.bytes_written;
        }
        stages
    }

    /// An executor says that it ends.
    pub(crate) fn stopped(&self, executor: &str) {
        let mut inner = self.inner();
        inner.executors.remove(executor);
        inner.full.remove(executor);
        inner.report_loss(executor);
    }

    /// An executor had no room on its disk.
    pub(crate) fn disk_was_full(&self, executor: &str, now: Instant) {
        self.inner().full.insert(executor.to_owned(), now);
    }

    /// Whether an executor with room on its disk takes tasks, as far as is known.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        self.inner().has_room(now)
    }

    /// Whether an executor gets no tasks now: it will leave, or its disk was full and another one has room.
    pub(crate) fn is_passed_over(&self, executor: &str, now: Instant) -> bool {
        let inner = self.inner();
        let is_draining = inner.executors.get(executor).is_some_and(|seen| seen.is_draining);
        is_draining || (inner.is_full(executor, now) && inner.has_room(now))
    }

    /// Time in which nobody could be heard does not count as silence.
    pub(crate) fn forgive(&self, time: Duration) {
        for seen in self.inner().executors.values_mut() {
            seen.at += time;
        }
    }

    /// Takes executors that were silent for too long for lost; returns them.
    pub(crate) fn expire(&self, now: Instant, timeout: Duration) -> Vec<String> {
        let mut inner = self.inner();
        let is_silent = |seen: &Seen| now.saturating_duration_since(seen.at) > timeout;
        let silent: Vec<String> =
            inner.executors.iter().filter(|(_, seen)| is_silent(seen)).map(|(id, _)| id.clone()).collect();
        for id in &silent {
            inner.executors.remove(id);
            inner.full.remove(id);
            inner.report_loss(id);
        }
        silent
    }

    /// The executors that are not lost.
    pub(crate) fn executors(&self, now: Instant) -> Vec<KnownExecutor> {
        let known = |(id, seen): (&String, &Seen)| KnownExecutor {
            id: id.clone(),
            silent: now.saturating_duration_since(seen.at),
            is_draining: seen.is_draining,
        };
        self.inner().executors.iter().map(known).collect()
    }
}

impl Inner {
    fn is_full(&self, executor: &str, now: Instant) -> bool {
        self.full.get(executor).is_some_and(|at| now.saturating_duration_since(*at) < FULL_PAUSE)
    }

    fn has_room(&self, now: Instant) -> bool {
        self.executors.iter().any(|(id, seen)| !seen.is_draining && !self.is_full(id, now))
    }

    /// Tells every active job.
    fn report_loss_to_all(&self, executor: &str) {
        for watcher in self.lost.values() {
            watcher.send_replace(Some(executor.to_owned()));
        }
    }

    /// Tells the jobs of which an executor got tasks.
    fn report_loss(&self, executor: &str) {
        for (job, standing) in &self.jobs {
            if let Standing::Active { executors } = standing
                && executors.contains(executor)
                && let Some(watcher) = self.lost.get(job)
            {
                watcher.send_replace(Some(executor.to_owned()));
            }
        }
    }
}

#[async_trait]
impl JobIdGenerator for QueryJobs {
    /// The job is known before an executor can get a task of it.
    async fn next_id(&self) -> String {
        self.start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(executor: &str, query_jobs: &[&str], is_draining: bool) -> SyncExecutorRequest {
        let query_jobs = query_jobs.iter().map(|job| (*job).to_owned()).collect();
        SyncExecutorRequest {
            executor_id: executor.to_owned(),
            query_jobs,
            is_draining,
            ..Default::default()
        }
    }

    #[test]
    fn an_executor_stops_what_nobody_waits_for_and_removes_only_what_was_given_up() {
        let jobs = QueryJobs::default();
        let (active, read, given_up) = (jobs.start(), jobs.start(), jobs.start());
        jobs.read(&read);
        jobs.give_up(&given_up);
        let named = [active.as_str(), &read, &given_up, "of an earlier life"];
        let answer = jobs.sync(&word("e", &named, false), Instant::now());
        assert_eq!(answer.stop, [read.as_str(), &given_up, "of an earlier life"]);
        assert_eq!(answer.discard, [given_up]);
    }

    #[test]
    fn work_of_active_jobs_adds_up_over_executors_and_goes_with_the_job() {
        let jobs = QueryJobs::default();
        let job = jobs.start();
        let said = |executor: &str, stage: u32, rows_read: u64| {
            let work = StageWork { query_job: job.clone(), stage, rows_read, ..StageWork::default() };
            let unknown = StageWork { query_job: "unknown".into(), ..work.clone() };
            let request = SyncExecutorRequest { work: vec![work, unknown], ..word(executor, &[], false) };
            jobs.sync(&request, Instant::now());
        };
        said("e", 1, 5);
        said("e", 1, 7);
        said("f", 1, 10);
        said("f", 2, 1);
        let rows: Vec<(u32, u64)> =
            jobs.work(&job).into_iter().map(|(stage, w)| (stage, w.rows_read)).collect();
        assert_eq!(rows, [(1, 17), (2, 1)]);
        jobs.give_up(&job);
        said("f", 2, 1);
        assert!(jobs.work(&job).is_empty() && jobs.inner().work.is_empty());
    }

    #[test]
    fn the_loss_of_an_executor_reaches_the_jobs_of_which_it_got_tasks() {
        let jobs = QueryJobs::default();
        let (hit, other) = (jobs.start(), jobs.start());
        let heard = Instant::now();
        jobs.sync(&word("e", &[], false), heard);
        jobs.handed("e", [hit.as_str(), "unknown"]);
        let (of_hit, of_other) = (jobs.watch_loss(&hit).unwrap(), jobs.watch_loss(&other).unwrap());
        assert!(jobs.expire(heard + Duration::from_secs(5), Duration::from_secs(6)).is_empty());
        assert_eq!(jobs.expire(heard + Duration::from_secs(7), Duration::from_secs(6)), ["e"]);
        assert_eq!(of_hit.borrow().as_deref(), Some("e"));
        assert_eq!(*of_other.borrow(), None);
        assert!(jobs.executors(heard).is_empty());
    }

    #[test]
    fn an_executor_without_room_is_passed_over_while_another_has_room() {
        let jobs = QueryJobs::default();
        let now = Instant::now();
        jobs.sync(&word("e", &[], false), now);
        jobs.disk_was_full("e", now);
        assert!(!jobs.has_room(now) && !jobs.is_passed_over("e", now), "there is nobody else");
        jobs.sync(&word("f", &[], false), now);
        assert!(jobs.has_room(now) && jobs.is_passed_over("e", now) && !jobs.is_passed_over("f", now));
        jobs.disk_was_full("f", now);
        assert!(!jobs.has_room(now) && !jobs.is_passed_over("e", now), "all are tried rather than none");
        let later = now + FULL_PAUSE;
        assert!(jobs.has_room(later) && !jobs.is_passed_over("e", later));
        jobs.sync(&word("f", &[], true), later);
        assert!(jobs.is_passed_over("f", later), "it drains");
    }

    #[test]
    fn a_drained_executor_is_no_loss_to_jobs_that_it_had_no_part_in() {
        let jobs = QueryJobs::default();
        jobs.sync(&word("e", &[], true), Instant::now());
        let (had, had_not) = (jobs.start(), jobs.start());
        jobs.handed("e", [had.as_str()]);
        let (of_had, of_had_not) = (jobs.watch_loss(&had).unwrap(), jobs.watch_loss(&had_not).unwrap());
        jobs.stopped("e");
        assert_eq!((of_had.borrow().as_deref(), of_had_not.borrow().as_deref()), (Some("e"), None));
    }

    #[test]
    fn a_poll_without_an_answer_is_a_loss_to_every_active_job() {
        let jobs = QueryJobs::default();
        let job = jobs.start();
        let loss = jobs.watch_loss(&job).unwrap();
        let with_failed = |polls_failed| SyncExecutorRequest { polls_failed, ..word("e", &[], false) };
        jobs.sync(&with_failed(3), Instant::now());
        assert_eq!(*loss.borrow(), None, "polls of an earlier life of the scheduler");
        jobs.sync(&with_failed(3), Instant::now());
        assert_eq!(*loss.borrow(), None);
        jobs.sync(&with_failed(4), Instant::now());
        assert_eq!(loss.borrow().as_deref(), Some("e"));
    }

    #[test]
    fn time_in_which_the_scheduler_stood_still_is_forgiven() {
        let jobs = QueryJobs::default();
        let heard = Instant::now();
        jobs.sync(&word("e", &[], false), heard);
        jobs.forgive(Duration::from_secs(60));
        assert!(jobs.expire(heard + Duration::from_secs(61), Duration::from_secs(6)).is_empty());
    }

    #[test]
    fn ended_jobs_are_remembered_up_to_a_bound() {
        let jobs = QueryJobs::default();
        for _ in 0..ENDED_KEPT + 5 {
            let id = jobs.start();
            jobs.read(&id);
            jobs.give_up(&id);
        }
        assert_eq!(jobs.inner().jobs.len(), ENDED_KEPT);
        assert!(jobs.inner().lost.is_empty());
    }
}
