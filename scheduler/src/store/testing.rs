//! Where do the store's tests find databases, and how do they make jobs?

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use super::{JobRow, JobStore, Lease, StoreOptions, open_with};

/// The variable with the URL of a PostgreSQL database that tests may make schemas in.
pub(super) const POSTGRES: &str = "BACKSIGHT_TEST_POSTGRES";

/// A database for one test. Each handle has connections of its own, as another scheduler would.
pub(super) struct Site {
    pub(super) url: String,
    options: StoreOptions,
    /// Of a database in memory there is one handle, which all share.
    shared: Option<Arc<dyn JobStore>>,
    schema: Option<String>,
    _folder: Option<tempfile::TempDir>,
}

impl Site {
    pub(super) async fn memory() -> Self {
        let url = "sqlite::memory:".to_owned();
        let shared = Some(open_with(&url, &options()).await.unwrap());
        Self { url, options: options(), shared, schema: None, _folder: None }
    }

    pub(super) async fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/jobs.db", folder.path().display());
        // Tests run beside others on slow disks.
        let options = StoreOptions { busy_timeout: Duration::from_secs(20), ..options() };
        Self { url, options, shared: None, schema: None, _folder: Some(folder) }
    }

    /// A schema of its own in the database that [`POSTGRES`] names; without it the test is skipped, and says so.
    pub(super) async fn postgres() -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let base = postgres_url()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("backsight_test_{}_{number}", std::process::id());
        let mut connection = raw(&base).await;
        for statement in
            [format!("DROP SCHEMA IF EXISTS {schema} CASCADE"), format!("CREATE SCHEMA {schema}")]
        {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        }
        let version: String =
            sqlx::query("SHOW server_version").fetch_one(&mut connection).await.unwrap().get(0);
        connection.close().await.unwrap();
        static SAID: Once = Once::new();
        SAID.call_once(|| say(&format!("store tests run on PostgreSQL {version}")));
        let separator = if base.contains('?') { '&' } else { '?' };
        let url = format!("{base}{separator}options[search_path]={schema}&application_name={schema}");
        Some(Self { url, options: options(), shared: None, schema: Some(schema), _folder: None })
    }

    pub(super) async fn handle(&self) -> Arc<dyn JobStore> {
        match &self.shared {
            Some(shared) => Arc::clone(shared),
            None => open_with(&self.url, &self.options).await.unwrap(),
        }
    }

    pub(super) async fn handles(&self, count: usize) -> Vec<Arc<dyn JobStore>> {
        let mut handles = Vec::new();
        for _ in 0..count {
            handles.push(self.handle().await);
        }
        handles
    }

    /// The PostgreSQL schema, which is also the name that its connections bear.
    pub(super) fn schema(&self) -> &str {
        self.schema.as_deref().unwrap()
    }

    pub(super) async fn remove(self) {
        if let Some(schema) = &self.schema {
            let mut connection = raw(&self.url).await;
            // Handles that were dropped just now may still be in their last transaction.
            sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE")))
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        }
    }
}

fn options() -> StoreOptions {
    // Few connections, so that many tests at once stay below a server's default limit.
    StoreOptions { connections_max: 3, acquire_timeout: Duration::from_secs(30), ..StoreOptions::default() }
}

/// The URL for PostgreSQL tests; when there is none, says what is skipped and how to run it.
pub(super) fn postgres_url() -> Option<String> {
    static SAID: Once = Once::new();
    let url = std::env::var_os(POSTGRES).map(|url| url.into_string().unwrap());
    if url.is_none() {
        SAID.call_once(|| {
            say(&format!(
                "SKIPPED: the store tests on PostgreSQL; run tests/ci/postgres.sh, or set {POSTGRES} to the URL of an \
                 empty database that asks for a password"
            ));
        });
    }
    url
}

/// To the real standard error: what a passing test prints is kept from view.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

/// A connection past the store.
pub(super) async fn raw(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.unwrap()
}

/// A job that waits since `submitted_at_ms`.
pub(super) fn job(id: &str, submitted_at_ms: i64) -> JobRow {
    JobRow {
        id: id.to_owned(),
        project: "rides".to_owned(),
        state: "queued".to_owned(),
        is_finished: false,
        priority: 0,
        submitted_at_ms,
        finished_at_ms: None,
        record: "{\"attempts\":0}".to_owned(),
    }
}

/// The same job, ended.
pub(super) fn ended(row: &JobRow, state: &str, finished_at_ms: i64) -> JobRow {
    JobRow { state: state.to_owned(), is_finished: true, finished_at_ms: Some(finished_at_ms), ..row.clone() }
}

/// Takes a lease that nobody else has.
pub(super) async fn leased(store: &dyn JobStore, id: &str, owner: &str, now_ms: i64, until_ms: i64) -> Lease {
    store.lease(id, owner, now_ms, until_ms).await.unwrap().unwrap()
}
