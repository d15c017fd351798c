//! Does PostgreSQL keep the contract, and what happens when it is away, refuses us or breaks off?
//!
//! `tests/ci/postgres.sh` starts a server for these; without one they say that they were skipped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backsight_proto::ErrorCode;
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::net::TcpListener;

use super::testing::{Site, job, leased, postgres_url, raw};
use super::{JobStoreError, StoreFailure, StoreOptions, open, open_with};

mod server {
    super::super::contract::contract!(crate::store::testing::Site::postgres().await);
}

fn failure(error: &JobStoreError) -> StoreFailure {
    match error {
        JobStoreError::Database { failure, .. } => *failure,
        other => panic!("{other:?}"),
    }
}

/// All that a user or a log may see of a failure.
fn shown(error: &JobStoreError) -> String {
    let mut text = format!("{error} {error:?} {:?}", error.hint());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error} {error:?}");
        cause = error.source();
    }
    text
}

fn with_password(url: &str, password: &str) -> String {
    let options: sqlx::any::AnyConnectOptions = url.parse().unwrap();
    let mut url = options.database_url;
    url.set_password(Some(password)).unwrap();
    url.to_string()
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let Some(url) = postgres_url() else { return };
    let error = open(&with_password(&url, "s3cret-but-wrong")).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::BadCredentials, ErrorCode::AccessDenied));
    assert!(!shown(&error).contains("s3cret"), "{}", shown(&error));
    assert!(error.hint().unwrap().contains("PGPASSWORD"));
}

#[tokio::test]
async fn the_right_password_is_not_shown_either() {
    let Some(site) = Site::postgres().await else { return };
    let options: sqlx::any::AnyConnectOptions = site.url.parse().unwrap();
    let store = site.handle().await;
    let shown = format!("{store:?}");
    // Without one in the URL it came from PGPASSWORD, and there is nothing to look for.
    if let Some(password) = options.database_url.password() {
        assert!(!shown.contains(password), "{shown}");
    }
    store.close().await;
    site.remove().await;
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let Some(url) = postgres_url() else { return };
    let options: sqlx::any::AnyConnectOptions = url.parse().unwrap();
    let mut url = options.database_url;
    url.set_path("/no_such_database");
    let error = open(url.as_str()).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::DatabaseMissing, ErrorCode::NotFound));
    assert!(error.to_string().contains("/no_such_database` does not exist"), "{error}");
}

/// Needs no server: nobody listens there.
#[tokio::test]
async fn an_absent_server_is_unreachable_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let began = Instant::now();
    let error = open(&format!("postgres://ada:s3cret@127.0.0.1:{port}/jobs")).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::Unreachable, ErrorCode::Unreachable));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!shown(&error).contains("s3cret"), "{}", shown(&error));
}

/// Needs no server: somebody listens there and never says a word.
#[tokio::test]
async fn a_silent_server_is_waited_for_only_so_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://ada:s3cret@{}/jobs", listener.local_addr().unwrap());
    let options = StoreOptions { acquire_timeout: Duration::from_millis(300), ..StoreOptions::default() };
    let began = Instant::now();
    let error = open_with(&url, &options).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::Overdue, ErrorCode::Unreachable));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let Some(site) = Site::postgres().await else { return };
    site.handle().await.close().await;
    let mut connection = raw(&site.url).await;
    sqlx::query("UPDATE backsight_schema SET version = 7").execute(&mut connection).await.unwrap();
    let error = open(&site.url).await.unwrap_err();
    assert!(matches!(error, JobStoreError::SchemaNewer { found: 7, known: 1, .. }), "{error:?}");
    site.remove().await;
}

#[tokio::test]
async fn a_user_who_may_only_use_the_tables_can_use_them() {
    let Some(site) = Site::postgres().await else { return };
    let role = format!("{}_user", site.schema());
    site.handle().await.close().await;
    let mut connection = raw(&site.url).await;
    for statement in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'p'"),
        format!("GRANT USAGE ON SCHEMA {} TO {role}", site.schema()),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {} TO {role}", site.schema()),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    let options: sqlx::any::AnyConnectOptions = site.url.parse().unwrap();
    let mut url = options.database_url;
    url.set_username(&role).unwrap();
    url.set_password(Some("p")).unwrap();
    let store = open(url.as_str()).await.unwrap();
    store.insert(&job("r-1", 0)).await.unwrap();
    leased(&*store, "r-1", "a", 0, 100).await;
    assert_eq!(store.count().await.unwrap().unfinished, 1);
    sqlx::query(AssertSqlSafe(format!("REVOKE INSERT ON backsight_jobs FROM {role}")))
        .execute(&mut connection)
        .await
        .unwrap();
    let error = store.insert(&job("r-2", 0)).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::AccessDenied, ErrorCode::AccessDenied));
    store.close().await;
    sqlx::query(AssertSqlSafe(format!("DROP OWNED BY {role}"))).execute(&mut connection).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("DROP ROLE {role}"))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    site.remove().await;
}

/// An administrator, or a server that is stopped, ends connections under our hands. A call is tried a bounded number
/// of times: so the oldest connection goes, never one that a caller has just made, and only once calls got through since
/// the last one went, however slow the machine is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn broken_connections_cost_a_repeat_and_no_job() {
    let Some(site) = Site::postgres().await else { return };
    let store = site.handle().await;
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for task in 0..3 {
        let (store, row, token) = (Arc::clone(&store), row.clone(), lease.token);
        let answered = Arc::clone(&answered);
        callers.spawn(async move {
            for number in 0..150 {
                match task {
                    0 => drop(store.get("r-1").await.unwrap().unwrap()),
                    1 => drop(store.update(&row, token).await.unwrap()),
                    _ => drop(store.insert(&job(&format!("r-1-{number}"), 0)).await.unwrap()),
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut killer = raw(&postgres_url().unwrap()).await;
    let (mut killed, mut answered_before) = (0, 0);
    while !callers.is_empty() {
        let answered_now = answered.load(Ordering::Relaxed);
        if answered_now >= answered_before + 5 {
            let rows = sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1
                 ORDER BY backend_start LIMIT 1",
            )
            .bind(site.schema())
            .fetch_all(&mut killer)
            .await
            .unwrap();
            killed += rows.len();
            answered_before = answered_now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        while let Some(done) = callers.try_join_next() {
            done.unwrap();
        }
    }
    assert!(killed > 3, "{killed} connections were ended");
    assert_eq!(store.count().await.unwrap().unfinished, 151);
    // Each of 150 updates was carried out at least once.
    assert!(store.get("r-1").await.unwrap().unwrap().version > 150);
    store.close().await;
    site.remove().await;
}

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_ends_in_time() {
    let Some(site) = Site::postgres().await else { return };
    let options = StoreOptions { statement_timeout: Duration::from_millis(200), ..StoreOptions::default() };
    let store = open_with(&site.url, &options).await.unwrap();
    store.insert(&job("r-1", 0)).await.unwrap();
    let mut other = raw(&site.url).await;
    let mut locking = other.begin().await.unwrap();
    sqlx::query("SELECT id FROM backsight_jobs FOR UPDATE").fetch_all(&mut *locking).await.unwrap();
    let error = store.request_cancel("r-1").await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::Overdue, ErrorCode::Unreachable));
    locking.rollback().await.unwrap();
    assert!(store.request_cancel("r-1").await.unwrap());
    store.close().await;
    site.remove().await;
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_known_at_once() {
    let Some(site) = Site::postgres().await else { return };
    site.handle().await.close().await;
    let error = open(&format!("{}&options[default_transaction_read_only]=on", site.url)).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::ReadOnlyServer, ErrorCode::Unreachable));
    site.remove().await;
}

/// A server whose default is a stricter isolation reports conflicts that READ COMMITTED does not have; they are tried
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stricter_isolation_only_costs_repeats() {
    let Some(site) = Site::postgres().await else { return };
    let url = format!("{}&options[default_transaction_isolation]=serializable", site.url);
    let options = StoreOptions { attempts_max: 12, ..StoreOptions::default() };
    let store = open_with(&url, &options).await.unwrap();
    let mut connection = raw(&url).await;
    let isolation: String =
        sqlx::query("SHOW transaction_isolation").fetch_one(&mut connection).await.unwrap().get(0);
    assert_eq!(isolation, "serializable");
    let row = job("r-1", 0);
    store.insert(&row).await.unwrap();
    let lease = leased(&*store, "r-1", "a", 0, 100).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, row, token) = (Arc::clone(&store), row.clone(), lease.token);
        callers.spawn(async move {
            for _ in 0..5 {
                store.update(&row, token).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    assert_eq!(store.get("r-1").await.unwrap().unwrap().version, 41);
    store.close().await;
    site.remove().await;
}
