//! Drives one leased job: feeds it events, persists it, then performs what it asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use backsight_retrieval::keep_claim;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::retrieval_work::{Planning, Ready, abandon, commit, plan, run_shard};
use super::shared::{Shared, bug, is_lease_lost, job_failure, now, now_ms, row, turned_true};
use crate::jobs::{Action, Event, Job, JobFailure, JobState, ShardState, on_event};
use crate::store::{JobStoreError, Lease};

/// A store that does not answer is asked again so long after.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How often the store is asked whether somebody wants the job cancelled.
const CANCEL_LOOK: Duration = Duration::from_millis(500);

/// What a deed came to.
enum Deed {
    Event(Event),
    Planned(Box<Ready>, Event),
    /// Somebody else has the claim on the output now.
    ClaimLost(JobFailure),
}

/// Drives a job until it has ended, the lease is lost, or the scheduler ends.
pub(crate) struct Worker {
    shared: Shared,
    job: Job,
    lease: Lease,
    ready: Option<Ready>,
    deeds: JoinSet<Deed>,
    shards: BTreeMap<u32, AbortHandle>,
    claim: Option<AbortHandle>,
    wake_at_ms: Option<i64>,
    is_over: bool,
}

impl Worker {
    pub(crate) fn new(shared: Shared, job: Job, lease: Lease) -> Self {
        Self {
            shared,
            job,
            lease,
            ready: None,
            deeds: JoinSet::new(),
            shards: BTreeMap::new(),
            claim: None,
            wake_at_ms: None,
            is_over: false,
        }
    }

    /// Works until the job has ended; `first` is what happened to it. When `leaves` turns true it stops
    /// where it stands, but finishes a commit that is under way.
    pub(crate) async fn run(mut self, first: Event, mut leaves: watch::Receiver<bool>) {
        if self.take(first).await.is_err() {
            return;
        }
        let renew_every = self.shared.options.lease / 3;
        let mut renewal = tokio::time::interval(renew_every);
        let mut look = tokio::time::interval(CANCEL_LOOK);
        while !self.is_over {
            let wake = self.wake();
            let event = tokio::select! {
                () = turned_true(&mut leaves), if self.job.state != JobState::Committing => break,
                deed = self.deeds.join_next(), if !self.deeds.is_empty() => self.deed(deed),
                () = wake => {
                    self.wake_at_ms = None;
                    Some(Event::Tick)
                }
                _ = renewal.tick() => {
                    if !self.renew().await {
                        tracing::warn!(job = %self.job.id, "the lease is lost: another scheduler has the job");
                        return;
                    }
                    None
                }
                _ = look.tick(), if !self.job.is_cancel_requested => self.look_for_cancel().await,
            };
            if let Some(event) = event
                && self.take(event).await.is_err()
            {
                return;
            }
        }
        self.deeds.shutdown().await;
        if self.is_over
            && let Err(error) = self.shared.store.release(&self.job.id.0, self.lease.token).await
        {
            tracing::warn!(job = %self.job.id, %error, "the lease could not be given back; it runs out");
        }
        self.shared.changed.notify_one();
    }

    /// Takes an event in: decides, persists, then acts. An error is a lost lease.
    async fn take(&mut self, event: Event) -> Result<(), ()> {
        let before = self.job.clone();
        let actions = on_event(&mut self.job, &self.shared.options.jobs, now_ms(), event);
        if self.job != before {
            self.persist().await?;
            if before.state != self.job.state {
                tracing::info!(job = %self.job.id, from = before.state.name(), to = self.job.state.name(), "job");
                self.shared.metrics.entered(self.job.state);
            }
        }
        for action in actions {
            self.perform(action);
        }
        Ok(())
    }

    /// Stores the job. A store that fails is asked again until the lease would be over anyway.
    async fn persist(&self) -> Result<(), ()> {
        let row = match row(&self.job) {
            Ok(row) => row,
            Err(error) => {
                tracing::error!(job = %self.job.id, %error, "a job cannot be written down");
                return Err(());
            }
        };
        loop {
            match self.shared.store.update(&row, self.lease.token).await {
                Ok(_) => return Ok(()),
                Err(error) if is_lease_lost(&error) => {
                    tracing::warn!(job = %self.job.id, "the lease is lost: another scheduler has the job");
                    return Err(());
                }
                Err(error) if !error.is_retryable() => {
                    tracing::error!(job = %self.job.id, %error, "the store refuses the job");
                    self.give_up(&error).await;
                    return Err(());
                }
                Err(error) => {
                    tracing::warn!(job = %self.job.id, %error, "the store does not take the job, it is tried again");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Ends a job whose record cannot be kept: it fails with what the store says, without its shards.
    async fn give_up(&self, error: &JobStoreError) {
        let mut failed = self.job.clone();
        failed.state = JobState::Failed;
        failed.finished_at_ms = Some(now_ms());
        failed.shards.clear();
        failed.result = None;
        let message = format!("the job's record cannot be kept: {error}");
        failed.failure = Some(JobFailure::new(error.code(), message, error.hint()));
        if let Ok(row) = row(&failed)
            && let Err(error) = self.shared.store.update(&row, self.lease.token).await
        {
            tracing::error!(job = %self.job.id, %error, "nor can its failure");
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Plan { attempt } => {
                let work = plan(self.shared.clone(), self.job.clone(), attempt);
                self.deeds.spawn(async move {
                    match work.await {
                        Planning::Ready(ready, event) => Deed::Planned(ready, event),
                        Planning::Event(event) => Deed::Event(event),
                    }
                });
            }
            Action::RunShard { shard, attempt } => self.start_shard(shard, attempt),
            Action::StopShard { shard, .. } => {
                if let Some(running) = self.shards.remove(&shard) {
                    running.abort();
                }
                self.shared.set_live(&self.job.id.0, shard, None);
            }
            // A commit whose intent may be written is finished by opening the output, never begun anew.
            Action::Commit { attempt } => match self.ready.clone().filter(|_| !self.job.is_commit_durable) {
                Some(ready) => {
                    let work =
                        commit(self.shared.clone(), ready, self.job.clone(), attempt, self.lease.token);
                    self.deeds.spawn(async move { Deed::Event(work.await) });
                }
                None => self.recommit(attempt),
            },
            Action::Abandon { attempt } => {
                // What is under way must not stage anything after it was cleared away.
                self.deeds.abort_all();
                self.claim = None;
                let work = abandon(self.shared.clone(), self.ready.take(), self.job.clone(), attempt);
                self.deeds.spawn(async move { Deed::Event(work.await) });
            }
            Action::WakeAt { at_ms } => self.wake_at_ms = Some(at_ms),
            Action::Finish => self.is_over = true,
        }
    }

    fn start_shard(&mut self, shard: u32, attempt: u32) {
        let planned = self.job.shards.iter().find(|known| known.number == shard).map(|s| s.plan.clone());
        let (Some(ready), Some(planned)) = (self.ready.clone(), planned) else {
            let failure = bug("a shard is to run before the job is planned");
            self.deeds.spawn(async move { Deed::Event(Event::ShardFailed { shard, attempt, failure }) });
            return;
        };
        let work = run_shard(self.shared.clone(), ready, self.job.id.0.clone(), shard, attempt, planned);
        let running = self.deeds.spawn(async move { Deed::Event(work.await) });
        self.shards.insert(shard, running);
    }

    /// A commit that a former scheduler had begun: opening the output finishes it, or makes the job ready for it.
    fn recommit(&mut self, attempt: u32) {
        let (shared, job, token) = (self.shared.clone(), self.job.clone(), self.lease.token);
        self.deeds.spawn(async move {
            match plan(shared.clone(), job.clone(), job.plan_attempts).await {
                Planning::Ready(ready, Event::Planned { shards, .. }) => {
                    let same = job.shards.iter().map(|shard| &shard.plan).eq(shards.iter());
                    if !same {
                        let mut failure = bug("the sources have changed since the shards were done");
                        failure.code = backsight_proto::ErrorCode::Data.name().to_owned();
                        failure.hint =
                            Some("run it again once the writers of the sources have finished".into());
                        // What was planned now must never meet the parts of what was planned then.
                        return Deed::Event(Event::CommitFailed { attempt, failure, is_durable: false });
                    }
                    let event = commit(shared, ready.as_ref().clone(), job, attempt, token).await;
                    Deed::Planned(ready, event)
                }
                Planning::Event(Event::AlreadyCommitted { result, .. }) => {
                    Deed::Event(Event::Committed { result })
                }
                Planning::Event(Event::PlanFailed { failure, .. }) => {
                    // Whether the intent is written is not known.
                    Deed::Event(Event::CommitFailed { attempt, failure, is_durable: true })
                }
                Planning::Ready(..) | Planning::Event(_) => {
                    let failure = bug("a planning answered with something else");
                    Deed::Event(Event::CommitFailed { attempt, failure, is_durable: true })
                }
            }
        });
    }

    fn deed(&mut self, deed: Option<Result<Deed, tokio::task::JoinError>>) -> Option<Event> {
        match deed {
            Some(Ok(Deed::Event(event))) => Some(event),
            Some(Ok(Deed::Planned(ready, event))) => {
                let attempt = std::sync::Arc::clone(&ready.attempt);
                self.claim =
                    Some(self.deeds.spawn(async move {
                        Deed::ClaimLost(job_failure(&keep_claim(&attempt, now).await))
                    }));
                self.ready = Some(*ready);
                Some(event)
            }
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(job = %self.job.id, %error, "a deed of a job has panicked");
                self.after_panic()
            }
            Some(Ok(Deed::ClaimLost(failure))) => self.after_lost_claim(failure),
            Some(Err(_)) | None => None,
        }
    }

    /// Without the claim nothing can be committed: the work that goes on is in vain.
    fn after_lost_claim(&self, failure: JobFailure) -> Option<Event> {
        let running = self.job.shards.iter().find_map(|shard| match shard.state {
            ShardState::Running { attempt } => Some((shard.number, attempt)),
            ShardState::Pending { .. } | ShardState::Done { .. } => None,
        });
        running.map(|(shard, attempt)| Event::ShardFailed { shard, attempt, failure })
    }

    /// Nobody answers for a deed that panicked: everything that may have been it counts as failed.
    fn after_panic(&self) -> Option<Event> {
        let failure = bug("a part of the scheduler has panicked");
        let running = self.job.shards.iter().find_map(|shard| match shard.state {
            ShardState::Running { attempt } => Some((shard.number, attempt)),
            ShardState::Pending { .. } | ShardState::Done { .. } => None,
        });
        match (self.job.state, running) {
            (JobState::Planning, _) => Some(Event::PlanFailed { attempt: self.job.plan_attempts, failure }),
            (JobState::Committing, _) => {
                let attempt = self.job.commit_attempts;
                Some(Event::CommitFailed { attempt, failure, is_durable: true })
            }
            (JobState::Abandoning, _) => Some(Event::Abandoned { attempt: self.job.abandon_attempts }),
            (_, Some((shard, attempt))) => Some(Event::ShardFailed { shard, attempt, failure }),
            (_, None) => None,
        }
    }

    /// Renews the lease; says whether the job is ours.
    async fn renew(&mut self) -> bool {
        let until = self.shared.lease_until_ms(now_ms());
        let answer = self.shared.store.renew(&self.job.id.0, self.lease.token, now_ms(), until).await;
        if let Err(error) = &answer {
            tracing::warn!(job = %self.job.id, %error, "the lease could not be renewed");
        }
        let (is_ours, until) = after_renewal(answer.ok(), until, self.lease.until_ms, now_ms());
        self.lease.until_ms = until;
        is_ours
    }

    async fn look_for_cancel(&self) -> Option<Event> {
        match self.shared.store.get(&self.job.id.0).await {
            Ok(Some(stored)) if stored.is_cancel_requested => Some(Event::CancelRequested),
            Ok(_) => None,
            Err(error) => {
                let error: JobStoreError = error;
                tracing::warn!(job = %self.job.id, %error, "the store could not be asked");
                None
            }
        }
    }

    /// Completes when the job wants to be woken.
    fn wake(&self) -> impl Future<Output = ()> + Send + 'static {
        let wait = self.wake_at_ms.map(|at| at.saturating_sub(now_ms()).max(0));
        async move {
            match wait {
                Some(wait) => tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await,
                None => std::future::pending().await,
            }
        }
    }
}

/// Whether the job is ours after a renewal, and until when. A store that did not answer (`None`) has not said that it is:
/// that holds until the term that it last granted ends, and no longer.
fn after_renewal(answer: Option<bool>, asked_ms: i64, granted_ms: i64, now_ms: i64) -> (bool, i64) {
    match answer {
        Some(true) => (true, asked_ms.max(granted_ms)),
        Some(false) => (false, granted_ms),
        None => (now_ms < granted_ms, granted_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::after_renewal;

    #[test]
    fn a_store_that_does_not_answer_does_not_extend_a_lease() {
        assert_eq!(after_renewal(Some(true), 200, 100, 50), (true, 200));
        assert_eq!(after_renewal(Some(false), 200, 100, 50), (false, 100));
        assert_eq!(after_renewal(None, 200, 100, 99), (true, 100), "it is tried again");
        assert_eq!(after_renewal(None, 200, 100, 100), (false, 100));
    }
}
