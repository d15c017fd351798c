//! What must every job store do when many call it at once, over several handles?

use std::sync::Arc;

use tokio::task::JoinSet;

use super::testing::{Site, ended, job, leased};
use super::{Inserted, JobRow, JobStoreError, StoreOptions, open_with};

const TASKS: usize = 32;
const HANDLES: usize = 4;

/// Runs all futures at once and gives back their results.
async fn all<T: Send + 'static>(
    tasks: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    tasks.collect::<JoinSet<T>>().join_all().await
}

pub(super) async fn one_holder_per_term(site: &Site) {
    let handles = site.handles(HANDLES).await;
    handles[0].insert(&job("r-1", 0)).await.unwrap();
    let mut token_before = 0;
    for term in 0..8 {
        let (now_ms, until_ms) = (term * 100, term * 100 + 100);
        let leases = all((0..TASKS).map(|task| {
            let store = Arc::clone(&handles[task % HANDLES]);
            async move { store.lease("r-1", &format!("s-{task}"), now_ms, until_ms).await.unwrap() }
        }))
        .await;
        let held: Vec<_> = leases.into_iter().flatten().collect();
        assert_eq!(held.len(), 1, "term {term}: {held:?}");
        assert!(held[0].token > token_before, "term {term}: {held:?} after {token_before}");
        assert_eq!(handles[0].get("r-1").await.unwrap().unwrap().lease.as_ref(), Some(&held[0]));
        token_before = held[0].token;
        // Every other term ends early.
        if term % 2 == 1 {
            handles[1].release("r-1", token_before).await.unwrap();
        }
    }
}

pub(super) async fn one_insert_is_new(site: &Site) {
    let handles = site.handles(HANDLES).await;
    for round in 0..4 {
        let id = format!("r-{round}");
        let results = all((0..TASKS).map(|task| {
            let store = Arc::clone(&handles[task % HANDLES]);
            let row = JobRow { priority: i32::try_from(task).unwrap(), ..job(&id, 0) };
            async move { (row.priority, store.insert(&row).await.unwrap()) }
        }))
        .await;
        let new: Vec<i32> = results
            .iter()
            .filter(|(_, inserted)| *inserted == Inserted::New)
            .map(|(priority, _)| *priority)
            .collect();
        assert_eq!(new.len(), 1, "round {round}");
        for (_, inserted) in &results {
            if let Inserted::Exists(job) = inserted {
                assert_eq!(job.row.priority, new[0]);
            }
        }
    }
}

/// One holder after the other takes the job while all former ones go on writing: each row found was written by the
/// holder of its time.
pub(super) async fn old_tokens_lose_every_race(site: &Site) {
    let handles = site.handles(HANDLES).await;
    handles[0].insert(&job("r-1", 0)).await.unwrap();
    let mut writers = JoinSet::new();
    let mut last_token = 0;
    for term in 0..10_i64 {
        let handle = usize::try_from(term).unwrap() % HANDLES;
        let owner = format!("s-{term}");
        let lease = leased(&*handles[handle], "r-1", &owner, term * 10, term * 10 + 10).await;
        last_token = lease.token;
        let store = Arc::clone(&handles[handle]);
        writers.spawn(async move {
            let row = JobRow { record: format!("{{\"by\":{}}}", lease.token), ..job("r-1", 0) };
            let mut written = 0;
            loop {
                match store.update(&row, lease.token).await {
                    Ok(_) => written += 1,
                    Err(JobStoreError::LeaseLost { .. }) => return written,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        // The holder before this one may have had its last word just before the lease moved, but not after.
        let mine = JobRow { record: format!("{{\"by\":{last_token}}}"), ..job("r-1", 0) };
        handles[handle].update(&mine, last_token).await.unwrap();
        for _ in 0..5 {
            let stored = handles[(handle + 1) % HANDLES].get("r-1").await.unwrap().unwrap();
            assert_eq!(stored.row.record, mine.record, "an old holder wrote");
        }
    }
    handles[0].release("r-1", last_token).await.unwrap();
    let written: Vec<i32> = writers.join_all().await;
    assert_eq!(written.len(), 10);
    assert!(handles[0].get("r-1").await.unwrap().unwrap().row.record.contains(&last_token.to_string()));
}

pub(super) async fn cancels_survive_racing_updates(site: &Site) {
    let handles = site.handles(HANDLES).await;
    for round in 0..10 {
        let id = format!("r-{round}");
        let row = job(&id, 0);
        handles[0].insert(&row).await.unwrap();
        let lease = leased(&*handles[0], &id, "a", 0, 100).await;
        let results = all((0..9).map(|task| {
            let store = Arc::clone(&handles[task % HANDLES]);
            let (row, id) = (row.clone(), id.clone());
            async move {
                match task {
                    4 => assert!(store.request_cancel(&id).await.unwrap()),
                    6 => assert!(store.renew(&id, lease.token, 1, 200).await.unwrap()),
                    _ => drop(store.update(&row, lease.token).await.unwrap()),
                }
            }
        }))
        .await;
        assert_eq!(results.len(), 9);
        let stored = handles[1].get(&id).await.unwrap().unwrap();
        // Inserted once, updated seven times, cancelled once: no write was lost.
        assert_eq!((stored.is_cancel_requested, stored.version), (true, 9));
        assert_eq!(stored.lease.unwrap().until_ms, 200);
    }
}

/// Whoever asks for a cancel while the job ends is told whether it came in time.
pub(super) async fn cancel_and_end_agree(site: &Site) {
    let handles = site.handles(2).await;
    for round in 0..15 {
        let id = format!("r-{round}");
        let row = job(&id, 0);
        handles[0].insert(&row).await.unwrap();
        let lease = leased(&*handles[0], &id, "a", 0, 100).await;
        let done = ended(&row, "succeeded", 5);
        let (ended, cancelled) =
            tokio::join!(handles[0].update(&done, lease.token), handles[1].request_cancel(&id));
        ended.unwrap();
        let stored = handles[0].get(&id).await.unwrap().unwrap();
        assert_eq!(stored.row, done);
        assert_eq!(stored.is_cancel_requested, cancelled.unwrap());
    }
}

pub(super) async fn one_replacement_wins(site: &Site) {
    let handles = site.handles(HANDLES).await;
    let failed = ended(&job("r-1", 0), "failed", 5);
    handles[0].insert(&failed).await.unwrap();
    for round in 0..4_i64 {
        let version = round + 1;
        let results = all((0..TASKS).map(|task| {
            let store = Arc::clone(&handles[task % HANDLES]);
            let row = failed.clone();
            async move { store.replace_unleased(&row, version, 0).await }
        }))
        .await;
        let won: Vec<i64> = results.iter().filter_map(|result| result.as_ref().ok().copied()).collect();
        assert_eq!(won, [version + 1], "round {round}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(error, JobStoreError::Conflict { .. }), "{error}");
        }
    }
}

/// A job that is queued again while old ones are deleted is either there and queued, or was deleted first.
pub(super) async fn pruning_and_queueing_again_agree(site: &Site) {
    let handles = site.handles(2).await;
    for round in 0..15 {
        let id = format!("r-{round}");
        let failed = ended(&job(&id, 0), "failed", 5);
        handles[0].insert(&failed).await.unwrap();
        let queued = job(&id, 0);
        let (again, pruned) =
            tokio::join!(handles[0].replace_unleased(&queued, 1, 0), handles[1].prune_finished(0));
        let stored = handles[0].get(&id).await.unwrap();
        match again {
            Ok(_) => {
                assert_eq!((stored.unwrap().row, pruned.unwrap()), (queued, 0));
            }
            Err(error) => {
                assert!(matches!(error, JobStoreError::JobMissing { .. }), "{error}");
                assert_eq!((stored, pruned.unwrap()), (None, 1));
            }
        }
    }
}

pub(super) async fn schedulers_start_together(site: &Site) {
    let stores = all((0..8).map(|task| {
        let url = site.url.clone();
        async move {
            let options = StoreOptions { connections_max: 2, ..StoreOptions::default() };
            let store = open_with(&url, &options).await.unwrap();
            // Also while others are still starting.
            store.insert(&job(&format!("r-{task}"), 0)).await.unwrap();
            store
        }
    }))
    .await;
    // Each database in memory is its own.
    let expected = if site.url.contains(":memory:") { 1 } else { 8 };
    for store in stores {
        assert_eq!(store.count().await.unwrap().unfinished, expected);
        store.close().await;
    }
}
