//! What must every job store do, one call after the other? See `contract_races` for calls at once.

use backsight_proto::ErrorCode;

use super::testing::{Site, ended, job, leased};
use super::{Inserted, JobFilter, JobRow, JobStoreError, StoreOptions, open_with};

/// Makes one test per claim of the contract on a site; a site that is not there is skipped.
macro_rules! contract {
    ($site:expr) => {
        crate::store::contract::contract! { @claims $site, contract:
            a_job_is_read_as_it_was_written a_second_insert_changes_nothing lists_are_newest_first
            filters_combine unfinished_is_oldest_first a_lease_keeps_others_away_until_its_term_ends
            tokens_grow_with_every_acquisition a_lease_that_ran_out_may_be_renewed_unless_taken
            a_term_never_gets_shorter updates_need_the_current_token a_released_token_is_spent
            a_failed_job_is_queued_again replacing_refuses_leased_and_changed_jobs
            a_cancel_is_kept_until_the_job_is_queued_again a_cancel_between_look_and_replace_is_not_lost
            unknown_jobs_are_named counts_are_by_state pruning_keeps_what_ended_last
            a_thousand_jobs_are_listed_and_pruned bad_rows_are_refused
        }
        crate::store::contract::contract! { @claims $site, contract_races:
            one_holder_per_term one_insert_is_new old_tokens_lose_every_race cancels_survive_racing_updates
            cancel_and_end_agree one_replacement_wins pruning_and_queueing_again_agree schedulers_start_together
        }
    };
    (@claims $site:expr, $module:ident: $($claim:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $claim() {
            let site: Option<crate::store::testing::Site> = $site;
            if let Some(site) = site {
                crate::store::$module::$claim(&site).await;
                site.remove().await;
            }
        }
    )*};
}
pub(super) use contract;

fn ids(jobs: &[super::StoredJob]) -> Vec<&str> {
    jobs.iter().map(|job| job.row.id.as_str()).collect()
}

pub(super) async fn a_job_is_read_as_it_was_written(site: &Site) {
    let store = site.handle().await;
    let row = JobRow {
        project: "größe".to_owned(),
        priority: -7,
        finished_at_ms: Some(i64::MAX),
        record: "{\"spine\":\"s3://bucket/ünïcode 'quoted' \\u0000 $1 ?\"}".to_owned(),
        ..job("r-1", i64::MIN)
    };
    assert_eq!(store.insert(&row).await.unwrap(), Inserted::New);
    let stored = site.handle().await.get("r-1").await.unwrap().unwrap();
    assert_eq!(stored.row, row);
    assert_eq!((stored.version, stored.is_cancel_requested, stored.lease), (1, false, None));
    assert_eq!(store.get("r-2").await.unwrap(), None);
}

pub(super) async fn a_second_insert_changes_nothing(site: &Site) {
    let store = site.handle().await;
    let first = job("r-1", 10);
    store.insert(&first).await.unwrap();
    leased(&*store, "r-1", "a", 0, 100).await;
    let again = store.insert(&ended(&job("r-1", 20), "failed", 30)).await.unwrap();
    let stored = store.get("r-1").await.unwrap().unwrap();
    assert_eq!(stored.row, first);
    assert_eq!(again, Inserted::Exists(Box::new(stored)));
}

pub(super) async fn lists_are_newest_first(site: &Site) {
    let store = site.handle().await;
    // The order of ids is that of their bytes: capitals first, `-` before digits.
    for (id, submitted_at_ms) in [("b", 5), ("a", 5), ("B", 5), ("a-1", 5), ("a1", 5), ("old", 1), ("new", 9)]
    {
        store.insert(&job(id, submitted_at_ms)).await.unwrap();
    }
    let all = store.list(&JobFilter::default()).await.unwrap();
    assert_eq!(ids(&all.jobs), ["new", "B", "a", "a-1", "a1", "b", "old"]);
    assert!(!all.has_more);
    for (limit, count, has_more) in [(0, 0, true), (1, 1, true), (6, 6, true), (7, 7, false), (8, 7, false)] {
        let page = store.list(&JobFilter { limit, ..JobFilter::default() }).await.unwrap();
        assert_eq!((page.jobs.len(), page.has_more), (count, has_more), "limit {limit}");
    }
}

pub(super) async fn filters_combine(site: &Site) {
    let store = site.handle().await;
    for (id, project, state) in [
        ("1", "rides", "queued"),
        ("2", "rides", "running"),
        ("3", "ads", "queued"),
        ("4", "rides", "failed"),
    ] {
        let row = JobRow { project: project.to_owned(), state: state.to_owned(), ..job(id, 0) };
        store.insert(&row).await.unwrap();
    }
    let table: [(Option<&str>, &[&str], &[&str]); 6] = [
        (None, &[], &["1", "2", "3", "4"]),
        (Some("rides"), &[], &["1", "2", "4"]),
        (None, &["queued"], &["1", "3"]),
        (Some("rides"), &["failed", "queued", "no_such"], &["1", "4"]),
        (Some("' OR 1=1 --"), &[], &[]),
        (None, &["queued') OR (1=1"], &[]),
    ];
    for (project, states, expected) in table {
        let filter = JobFilter {
            project: project.map(str::to_owned),
            states: states.iter().map(|state| (*state).to_owned()).collect(),
            limit: 10,
        };
        assert_eq!(ids(&store.list(&filter).await.unwrap().jobs), expected, "{filter:?}");
    }
}

pub(super) async fn unfinished_is_oldest_first(site: &Site) {
    let store = site.handle().await;
    for (id, submitted_at_ms) in [("b", 5), ("a", 5), ("late", 9), ("early", 1)] {
        store.insert(&job(id, submitted_at_ms)).await.unwrap();
    }
    store.insert(&ended(&job("done", 0), "succeeded", 2)).await.unwrap();
    assert_eq!(ids(&store.unfinished().await.unwrap()), ["early", "a", "b", "late"]);
}

pub(super) async fn a_lease_keeps_others_away_until_its_term_ends(site: &Site) {
    let handles = site.handles(2).await;
    handles[0].insert(&job("r-1", 0)).await.unwrap();
    let lease = leased(&*handles[0], "r-1", "a", 0, 100).await;
    assert_eq!((lease.owner.as_str(), lease.token, lease.until_ms), ("a", 1, 100));
    assert_eq!(handles[1].get("r-1").await.unwrap().unwrap().lease, Some(lease));
    assert_eq!(handles[1].lease("r-1", "b", 99, 200).await.unwrap(), None);
    // 100 is the first millisecond that is no longer a's.
    assert_eq!(leased(&*handles[1], "r-1", "b", 100, 200).await.token, 2);
    assert_eq!(handles[0].lease("r-1", "a", 150, 300).await.unwrap(), None);
    // A lease is not a change of the row.
    assert_eq!(handles[0].get("r-1").await.unwrap().unwrap().version, 1);
    let empty = handles[0].lease("r-1", "a", 500, 500).await.unwrap_err();
    assert_eq!(empty.code(), ErrorCode::Bug);
}

pub(super) async fn tokens_grow_with_every_acquisition(site: &Site) {
    let store = site.handle().await;
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    let first = leased(&*store, "r-1", "a", 0, 100).await;
    // The same scheduler, started anew under its old name: its former self must not write any more.
    let second = leased(&*store, "r-1", "a", 10, 110).await;
    store.release("r-1", second.token).await.unwrap();
    let third = leased(&*store, "r-1", "b", 20, 120).await;
    assert!(first.token < second.token && second.token < third.token, "{first:?} {second:?} {third:?}");
    for spent in [first.token, second.token] {
        assert!(matches!(store.update(&row, spent).await, Err(JobStoreError::LeaseLost { .. })));
    }
}

pub(super) async fn a_lease_that_ran_out_may_be_renewed_unless_taken(site: &Site) {
    let store = site.handle().await;
    store.insert(&job("r-1", 0)).await.unwrap();
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    assert!(store.renew("r-1", lease.token, 500, 600).await.unwrap());
    assert_eq!(store.lease("r-1", "b", 599, 700).await.unwrap(), None);
    let taken = leased(&*store, "r-1", "b", 600, 700).await;
    assert!(!store.renew("r-1", lease.token, 600, 800).await.unwrap());
    assert_eq!(store.get("r-1").await.unwrap().unwrap().lease, Some(taken));
    assert!(!store.renew("no-such", 1, 0, 1).await.unwrap());
}

pub(super) async fn a_term_never_gets_shorter(site: &Site) {
    let store = site.handle().await;
    store.insert(&job("r-1", 0)).await.unwrap();
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    assert!(store.renew("r-1", lease.token, 20, 120).await.unwrap());
    // Sent earlier, arrived later.
    assert!(store.renew("r-1", lease.token, 10, 110).await.unwrap());
    assert_eq!(store.get("r-1").await.unwrap().unwrap().lease.unwrap().until_ms, 120);
}

pub(super) async fn updates_need_the_current_token(site: &Site) {
    let store = site.handle().await;
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    assert!(matches!(store.update(&row, 0).await, Err(JobStoreError::LeaseLost { .. })));
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    let running =
        JobRow { state: "running".to_owned(), priority: 3, record: "{\"shards\":[1]}".to_owned(), ..row };
    assert_eq!(store.update(&running, lease.token).await.unwrap(), 2);
    assert_eq!(store.update(&running, lease.token).await.unwrap(), 3);
    let stored = store.get("r-1").await.unwrap().unwrap();
    assert_eq!((stored.row, stored.lease), (running.clone(), Some(lease.clone())));
    let error = store.update(&ended(&running, "failed", 9), lease.token + 1).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Conflict);
    assert_eq!(store.get("r-1").await.unwrap().unwrap().row, running);
    // Over time, but not taken: nobody else has written, so this may.
    assert_eq!(store.update(&ended(&running, "succeeded", 900), lease.token).await.unwrap(), 4);
}

pub(super) async fn a_released_token_is_spent(site: &Site) {
    let store = site.handle().await;
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    store.release("r-1", lease.token + 1).await.unwrap();
    assert_eq!(store.get("r-1").await.unwrap().unwrap().lease, Some(lease.clone()));
    store.release("r-1", lease.token).await.unwrap();
    store.release("r-1", lease.token).await.unwrap();
    store.release("no-such", 1).await.unwrap();
    assert_eq!(store.get("r-1").await.unwrap().unwrap().lease, None);
    assert!(store.update(&row, lease.token).await.is_err());
    assert!(!store.renew("r-1", lease.token, 10, 110).await.unwrap());
}

pub(super) async fn a_failed_job_is_queued_again(site: &Site) {
    let store = site.handle().await;
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    let version = store.update(&ended(&row, "failed", 50), lease.token).await.unwrap();
    // The holder died before it could release; its term is over.
    assert_eq!(store.replace_unleased(&row, version, 100).await.unwrap(), version + 1);
    let stored = store.get("r-1").await.unwrap().unwrap();
    assert_eq!((stored.row.clone(), stored.lease), (row.clone(), None));
    assert!(matches!(store.update(&row, lease.token).await, Err(JobStoreError::LeaseLost { .. })));
    assert!(!store.renew("r-1", lease.token, 101, 200).await.unwrap());
    assert!(leased(&*store, "r-1", "a", 101, 200).await.token > lease.token);
}

pub(super) async fn replacing_refuses_leased_and_changed_jobs(site: &Site) {
    let store = site.handle().await;
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    let held = store.replace_unleased(&ended(&row, "x", 1), 1, 99).await.unwrap_err();
    assert!(matches!(&held, JobStoreError::Conflict { held_by: Some(owner), .. } if owner == "a"), "{held}");
    store.update(&row, lease.token).await.unwrap();
    store.release("r-1", lease.token).await.unwrap();
    let moved = store.replace_unleased(&ended(&row, "x", 1), 1, 99).await.unwrap_err();
    assert!(
        matches!(moved, JobStoreError::Conflict { expected_version: 1, found_version: 2, held_by: None, .. }),
        "{moved}"
    );
    assert_eq!(moved.code(), ErrorCode::Conflict);
    assert_eq!(store.get("r-1").await.unwrap().unwrap().row, row);
}

pub(super) async fn a_cancel_is_kept_until_the_job_is_queued_again(site: &Site) {
    let store = site.handle().await;
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    assert!(site.handle().await.request_cancel("r-1").await.unwrap());
    assert!(store.request_cancel("r-1").await.unwrap());
    // The version moves once, at the first request.
    let stored = store.get("r-1").await.unwrap().unwrap();
    assert_eq!((stored.version, stored.is_cancel_requested), (2, true));
    let version = store.update(&ended(&row, "cancelled", 5), lease.token).await.unwrap();
    store.release("r-1", lease.token).await.unwrap();
    assert!(store.get("r-1").await.unwrap().unwrap().is_cancel_requested);
    assert!(!store.request_cancel("r-1").await.unwrap());
    store.replace_unleased(&row, version, 200).await.unwrap();
    assert!(!store.get("r-1").await.unwrap().unwrap().is_cancel_requested);
}

pub(super) async fn a_cancel_between_look_and_replace_is_not_lost(site: &Site) {
    let store = site.handle().await;
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    let seen = store.get("r-1").await.unwrap().unwrap();
    store.request_cancel("r-1").await.unwrap();
    assert!(store.replace_unleased(&row, seen.version, 10).await.is_err());
    assert!(store.get("r-1").await.unwrap().unwrap().is_cancel_requested);
}

pub(super) async fn unknown_jobs_are_named(site: &Site) {
    let store = site.handle().await;
    let errors = [
        store.lease("r-9", "a", 0, 1).await.unwrap_err(),
        store.request_cancel("r-9").await.unwrap_err(),
        store.replace_unleased(&job("r-9", 0), 1, 0).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(
            (error.to_string().as_str(), error.code()),
            ("there is no job `r-9`", ErrorCode::NotFound)
        );
    }
}

pub(super) async fn counts_are_by_state(site: &Site) {
    let store = site.handle().await;
    assert_eq!(store.count().await.unwrap(), super::JobCounts::default());
    for number in 0..3 {
        store.insert(&job(&format!("q-{number}"), 0)).await.unwrap();
    }
    store.insert(&JobRow { state: "running".to_owned(), ..job("r", 0) }).await.unwrap();
    store.insert(&ended(&job("s", 0), "succeeded", 1)).await.unwrap();
    store.insert(&ended(&job("f", 0), "failed", 1)).await.unwrap();
    let counts = store.count().await.unwrap();
    assert_eq!((counts.unfinished, counts.finished), (4, 2));
    assert_eq!((counts.in_state("queued"), counts.in_state("running"), counts.in_state("none")), (3, 1, 0));
}

pub(super) async fn pruning_keeps_what_ended_last(site: &Site) {
    let store = site.handle().await;
    store.insert(&job("waiting", 0)).await.unwrap();
    // What counts is when a job ended, not when it began.
    for (id, submitted_at_ms, finished_at_ms) in [("a", 1, 900), ("b", 2, 100), ("c", 3, 500), ("d", 4, 700)]
    {
        store.insert(&ended(&job(id, submitted_at_ms), "succeeded", finished_at_ms)).await.unwrap();
    }
    assert_eq!(store.prune_finished(4).await.unwrap(), 0);
    assert_eq!(store.prune_finished(u64::MAX).await.unwrap(), 0);
    assert_eq!(store.prune_finished(2).await.unwrap(), 2);
    assert_eq!(ids(&store.list(&JobFilter::default()).await.unwrap().jobs), ["d", "a", "waiting"]);
    assert_eq!(store.prune_finished(0).await.unwrap(), 2);
    assert_eq!(ids(&store.list(&JobFilter::default()).await.unwrap().jobs), ["waiting"]);
}

pub(super) async fn a_thousand_jobs_are_listed_and_pruned(site: &Site) {
    let store = site.handle().await;
    for number in 0..1_000 {
        let row = job(&format!("r-{number:04}"), number);
        let row = if number % 10 == 0 { row } else { ended(&row, "succeeded", number + 5) };
        assert_eq!(store.insert(&row).await.unwrap(), Inserted::New);
    }
    let page = store.list(&JobFilter { limit: 999, ..JobFilter::default() }).await.unwrap();
    assert_eq!((page.jobs.len(), page.has_more), (999, true));
    assert!(page.jobs.is_sorted_by(|a, b| a.row.submitted_at_ms > b.row.submitted_at_ms));
    assert_eq!(store.unfinished().await.unwrap().len(), 100);
    // More than one batch.
    assert_eq!(store.prune_finished(50).await.unwrap(), 850);
    let counts = store.count().await.unwrap();
    assert_eq!((counts.unfinished, counts.finished), (100, 50));
    let rest = store.list(&JobFilter { limit: 1_000, ..JobFilter::default() }).await.unwrap();
    let oldest_ended = rest.jobs.iter().rfind(|job| job.row.is_finished).unwrap();
    assert_eq!(oldest_ended.row.id, "r-0945");
}

pub(super) async fn bad_rows_are_refused(site: &Site) {
    let store = site.handle().await;
    let bad = [
        JobRow { id: "a\0b".to_owned(), ..job("x", 0) },
        JobRow { id: String::new(), ..job("x", 0) },
        JobRow { project: "p\0".to_owned(), ..job("x", 0) },
        JobRow { record: "{}\0".to_owned(), ..job("x", 0) },
    ];
    for row in bad {
        assert_eq!(store.insert(&row).await.unwrap_err().code(), ErrorCode::Invalid, "{row:?}");
    }
    let small = open_with(&site.url, &StoreOptions { record_bytes_max: 10, ..StoreOptions::default() })
        .await
        .unwrap();
    let error = small.insert(&job("r-1", 0)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Limit);
    assert_eq!(error.to_string(), "the record of job `r-1` is 14 bytes; at most 10 are kept");
    small.close().await;
    let large = JobRow { record: "x".repeat(3 << 20), ..job("large", 0) };
    store.insert(&large).await.unwrap();
    assert_eq!(store.get("large").await.unwrap().unwrap().row, large);
    assert_eq!(store.count().await.unwrap().unfinished, 1);
}
