//! Which jobs this scheduler works on: admits those that wait, takes over those whose scheduler is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use super::shared::{Shared, now_ms, turned_true};
use super::worker::Worker;
use crate::jobs::{Event, Job, JobState, Waiting, admit};
use crate::store::{JobStoreError, StoredJob};

/// How often the queue is looked at when nothing is heard: other schedulers share it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often finished jobs beyond the bound are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(30);

/// Works on jobs until `leaves` turns true, then leaves them where they stand: their leases run out.
pub(crate) async fn dispatch(shared: Shared, mut leaves: watch::Receiver<bool>) {
    let stop = leaves.clone();
    let mut workers: JoinSet<String> = JoinSet::new();
    let mut mine: BTreeMap<String, Id> = BTreeMap::new();
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    loop {
        if let Err(error) = look(&shared, &mut workers, &mut mine, &stop).await {
            tracing::warn!(%error, "the queue could not be looked at");
        }
        tokio::select! {
            () = turned_true(&mut leaves) => break,
            () = shared.changed.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(done) = workers.join_next(), if !workers.is_empty() => ended(&mut mine, done),
            _ = prune.tick() => {
                if let Err(error) = shared.store.prune_finished(shared.options.finished_jobs_kept).await {
                    tracing::warn!(%error, "finished jobs could not be pruned");
                }
            }
        }
        while let Some(done) = workers.try_join_next() {
            ended(&mut mine, done);
        }
    }
    while workers.join_next().await.is_some() {}
}

fn ended(mine: &mut BTreeMap<String, Id>, done: Result<String, tokio::task::JoinError>) {
    match done {
        Ok(id) => {
            mine.remove(&id);
        }
        // It is taken over again, as if its scheduler had been restarted.
        Err(error) => {
            tracing::error!(%error, "a job's driver has panicked");
            mine.retain(|_, id| *id != error.id());
        }
    }
}

async fn look(
    shared: &Shared,
    workers: &mut JoinSet<String>,
    mine: &mut BTreeMap<String, Id>,
    stop: &watch::Receiver<bool>,
) -> Result<(), JobStoreError> {
    let unfinished = shared.store.unfinished().await?;
    let mut jobs = Vec::with_capacity(unfinished.len());
    for stored in unfinished {
        match Job::from_json(&stored.row.record) {
            Ok(job) => jobs.push((stored, job)),
            Err(error) => tracing::error!(job = stored.row.id, %error, "a stored job is left alone"),
        }
    }
    let waiting: Vec<Waiting> = jobs
        .iter()
        .filter(|(_, job)| job.state == JobState::Queued)
        .map(|(_, job)| Waiting {
            id: job.id.clone(),
            project: job.project.clone(),
            priority: job.priority,
            submitted_at_ms: job.submitted_at_ms,
        })
        .collect();
    let running: Vec<String> = jobs
        .iter()
        .filter(|(_, job)| job.state != JobState::Queued)
        .map(|(_, job)| job.project.clone())
        .collect();
    shared.metrics.set_jobs(waiting.len(), running.len());
    let admitted = admit(&waiting, &running, &shared.options.admission);
    for (stored, job) in jobs {
        let is_queued = job.state == JobState::Queued;
        let first = match (is_queued, stored.is_cancel_requested) {
            (true, true) => Event::CancelRequested,
            (true, false) if admitted.contains(&job.id) => Event::Admitted,
            (true, false) => continue,
            (false, _) => Event::Recovered,
        };
        if mine.contains_key(&job.id.0) || is_held(&stored, shared) {
            continue;
        }
        start(shared, workers, mine, stop, &job.id.0, first).await?;
    }
    Ok(())
}

/// Whether another scheduler works on it.
fn is_held(stored: &StoredJob, shared: &Shared) -> bool {
    stored
        .lease
        .as_ref()
        .is_some_and(|lease| lease.owner != shared.options.scheduler_id && lease.until_ms > now_ms())
}

async fn start(
    shared: &Shared,
    workers: &mut JoinSet<String>,
    mine: &mut BTreeMap<String, Id>,
    stop: &watch::Receiver<bool>,
    id: &str,
    first: Event,
) -> Result<(), JobStoreError> {
    let now = now_ms();
    let until = shared.lease_until_ms(now);
    let Some(lease) = shared.store.lease(id, &shared.options.scheduler_id, now, until).await? else {
        return Ok(());
    };
    // What it is counts from here on: it may have changed before the lease.
    let Some(stored) = shared.store.get(id).await? else { return Ok(()) };
    let Ok(job) = Job::from_json(&stored.row.record) else { return Ok(()) };
    let is_as_seen = (job.state == JobState::Queued) == !matches!(first, Event::Recovered);
    if stored.row.is_finished || !is_as_seen {
        shared.store.release(id, lease.token).await?;
        return Ok(());
    }
    let worker = Worker::new(shared.clone(), job, lease);
    let (id, stop) = (id.to_owned(), stop.clone());
    let name = id.clone();
    let running = workers.spawn(async move {
        worker.run(first, stop).await;
        id
    });
    mine.insert(name, running.id());
    Ok(())
}
