//! Does SQLite keep the contract, and what happens to a file that is locked, damaged, full or not ours?

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backsight_proto::ErrorCode;
use sqlx::{Connection, Row};

use super::open::open_sql;
use super::testing::{Site, job, raw};
use super::{JobFilter, JobRow, JobStore, JobStoreError, StoreFailure, StoreOptions, open, open_with};

mod file {
    super::super::contract::contract!(Some(crate::store::testing::Site::file().await));
}

mod memory {
    super::super::contract::contract!(Some(crate::store::testing::Site::memory().await));
}

fn quick() -> StoreOptions {
    StoreOptions {
        busy_timeout: Duration::from_millis(50),
        acquire_timeout: Duration::from_secs(5),
        ..StoreOptions::default()
    }
}

fn failure(error: &JobStoreError) -> StoreFailure {
    match error {
        JobStoreError::Database { failure, .. } => *failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_file_is_as_durable_as_it_should_be() {
    let site = Site::file().await;
    let store = open_sql(&site.url, &quick()).await.unwrap();
    // 2 is FULL.
    for (pragma, expected) in [("PRAGMA synchronous", "2"), ("PRAGMA busy_timeout", "50")] {
        let value: i64 = sqlx::query(pragma).fetch_one(store.pool()).await.unwrap().get(0);
        assert_eq!(value.to_string(), expected, "{pragma}");
    }
    let mode: String = sqlx::query("PRAGMA journal_mode").fetch_one(store.pool()).await.unwrap().get(0);
    assert_eq!(mode, "wal");
}

/// Run by the next test in a process of its own, which dies in the middle of its work.
#[tokio::test]
#[ignore = "the other half of a_killed_process_loses_no_job"]
async fn child_that_dies() {
    use std::io::Write;
    let Some(url) = std::env::var_os("BACKSIGHT_TEST_CHILD_STORE") else { return };
    let store = open(url.to_str().unwrap()).await.unwrap();
    for number in 0.. {
        store.insert(&job(&format!("r-{number}"), number)).await.unwrap();
        writeln!(std::io::stderr(), "kept {number}").unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_loses_no_job() {
    let site = Site::file().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::sqlite_tests::child_that_dies", "--ignored"])
        .env("BACKSIGHT_TEST_CHILD_STORE", &site.url)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let mut kept = 0;
    for line in lines.map_while(Result::ok) {
        kept = line.strip_prefix("kept ").map_or(kept, |number| number.parse().unwrap());
        if kept == 20 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(kept >= 20, "only {kept}");
    let jobs = open(&site.url).await.unwrap().list(&JobFilter { limit: 1_000, ..JobFilter::default() }).await;
    // One more may have been kept without the child having had time to say so.
    let count = jobs.unwrap().jobs.len();
    assert!(count == kept + 1 || count == kept + 2, "said {kept}, found {count}");
}

#[tokio::test]
async fn a_store_dropped_without_close_keeps_all() {
    let site = Site::file().await;
    let store = site.handle().await;
    store.insert(&job("r-1", 0)).await.unwrap();
    store.request_cancel("r-1").await.unwrap();
    let before = store.get("r-1").await.unwrap();
    drop(store);
    assert_eq!(site.handle().await.get("r-1").await.unwrap(), before);
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/no/such/jobs.db", folder.path().display());
    let error = open(&url).await.unwrap_err();
    assert!(matches!(error, JobStoreError::FolderMissing { .. }), "{error:?}");
    assert!(error.to_string().contains("no/such` for the job store"), "{error}");
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.hint().unwrap().contains("create the folder"));
    assert!(!folder.path().join("no").exists());
}

#[tokio::test]
async fn folders_and_files_in_the_wrong_place_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for (url, what) in
        [(format!("sqlite://{path}"), "is a folder"), (format!("sqlite://{path}/file/jobs.db"), "is a file")]
    {
        let error = open(&url).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Invalid, "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn another_kind_of_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let text = "entities: not a database\n".repeat(400);
    std::fs::write(&file, &text).unwrap();
    let error = open_with(&format!("sqlite://{}", file.display()), &quick()).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::NotADatabase, ErrorCode::Invalid));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_file_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let url = format!("sqlite://{}", file.display());
    let store = open(&url).await.unwrap();
    for number in 0..50 {
        let row = JobRow { record: "x".repeat(1_000), ..job(&format!("r-{number}"), number) };
        store.insert(&row).await.unwrap();
    }
    store.close().await;
    // All pages but the first one, which says what kind of file it is and where its tables begin.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(&file, bytes).unwrap();
    let error = match open_with(&url, &quick()).await {
        Ok(store) => store.unfinished().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!((failure(&error), error.code()), (StoreFailure::Damaged, ErrorCode::Invalid));
    assert!(error.hint().unwrap().contains("restore"));
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_untouched() {
    let site = Site::file().await;
    site.handle().await.close().await;
    let mut connection = raw(&site.url).await;
    sqlx::query("UPDATE backsight_schema SET version = 7").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = open(&site.url).await.unwrap_err();
    assert!(matches!(error, JobStoreError::SchemaNewer { found: 7, known: 1, .. }), "{error:?}");
    assert_eq!(error.code(), ErrorCode::Invalid);
}

#[tokio::test]
async fn tables_that_are_not_ours_are_refused() {
    let site = Site::file().await;
    let mut connection = raw(&format!("{}?mode=rwc", site.url)).await;
    sqlx::query("CREATE TABLE backsight_jobs (id TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = open(&site.url).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::WrongTables, ErrorCode::Invalid));
}

#[tokio::test]
async fn a_locked_file_is_busy_after_a_bounded_wait() {
    let site = Site::file().await;
    let store = open_with(&site.url, &quick()).await.unwrap();
    store.insert(&job("r-1", 0)).await.unwrap();
    let mut other = raw(&site.url).await;
    let writing = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let began = Instant::now();
    for error in [
        store.insert(&job("r-2", 0)).await.unwrap_err(),
        store.lease("r-1", "a", 0, 1).await.unwrap_err(),
        open_with(&site.url, &quick()).await.unwrap_err(),
    ] {
        assert_eq!((failure(&error), error.code()), (StoreFailure::Busy, ErrorCode::Unreachable));
        assert!(error.is_retryable() && !error.is_outcome_unknown());
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Readers are not kept waiting.
    assert!(store.get("r-1").await.unwrap().is_some());
    writing.rollback().await.unwrap();
    store.insert(&job("r-2", 0)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_a_limit_and_loses_nothing() {
    let site = Site::file().await;
    let store = open_sql(&site.url, &quick()).await.unwrap();
    store.insert(&job("r-1", 0)).await.unwrap();
    sqlx::query("PRAGMA max_page_count = 8").fetch_all(store.pool()).await.unwrap();
    let large = JobRow { record: "x".repeat(100_000), ..job("r-2", 0) };
    let error = store.insert(&large).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::Full, ErrorCode::Limit));
    assert_eq!(store.unfinished().await.unwrap().len(), 1);
    sqlx::query("PRAGMA max_page_count = 1000").fetch_all(store.pool()).await.unwrap();
    store.insert(&large).await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_be_written_says_so() {
    let site = Site::file().await;
    let store = open_sql(&site.url, &quick()).await.unwrap();
    sqlx::query("PRAGMA query_only = 1").fetch_all(store.pool()).await.unwrap();
    let error = store.insert(&job("r-1", 0)).await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::ReadOnlyFile, ErrorCode::AccessDenied));
}

/// As root, whom no mode keeps from writing, only the last part means something.
#[tokio::test]
async fn missing_rights_on_file_or_folder_are_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let url = format!("sqlite://{}", file.display());
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(folder.path(), 0o500);
    let is_root = std::fs::write(folder.path().join("probe"), "").is_ok();
    let created = open_with(&url, &quick()).await;
    set(folder.path(), 0o700);
    if !is_root {
        assert_eq!(failure(&created.unwrap_err()), StoreFailure::AccessDenied);
    }
    open(&url).await.unwrap().close().await;
    set(&file, 0o400);
    let opened = open_with(&url, &quick()).await;
    // SQLite makes its other files in the image of the first.
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        set(&entry.unwrap().path(), 0o600);
    }
    if !is_root {
        let error = opened.unwrap_err();
        assert_eq!((failure(&error), error.code()), (StoreFailure::ReadOnlyFile, ErrorCode::AccessDenied));
        assert!(error.hint().unwrap().contains("-wal"));
    }
    open(&url).await.unwrap().insert(&job("r-1", 0)).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let store = Site::memory().await.handle().await;
    store.close().await;
    let error = store.get("r-1").await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::Closed, ErrorCode::Unreachable));
}

#[tokio::test]
async fn rows_written_by_other_means_do_not_go_unnoticed() {
    let site = Site::memory().await;
    let store = open_sql(&site.url, &quick()).await.unwrap();
    store.insert(&job("r-1", 0)).await.unwrap();
    sqlx::query("UPDATE backsight_jobs SET priority = 'high'").execute(store.pool()).await.unwrap();
    let error = store.get("r-1").await.unwrap_err();
    assert_eq!((failure(&error), error.code()), (StoreFailure::Damaged, ErrorCode::Invalid));
}
