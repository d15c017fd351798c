//! How does a URL become a store that is ready, or a clear refusal?

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, Connection, Row};

use super::address::{Address, Backend};
use super::call::{Caller, Trouble};
use super::classify::{Again, StoreFailure, again_after};
use super::error::JobStoreError;
use super::job_store::JobStore;
use super::options::StoreOptions;
use super::schema::{SCHEMA_VERSION, Schema, migrate};
use super::sql_job_store::SqlJobStore;

/// How much longer we wait for PostgreSQL's answer than it may work on it: then the network is at fault.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Opens the store with the default bounds, see [`open_with`].
pub async fn open(url: &str) -> Result<Arc<dyn JobStore>, JobStoreError> {
    open_with(url, &StoreOptions::default()).await
}

/// Opens the store and brings its schema up to date. URLs are `sqlite:///path`, `sqlite://relative/path`,
/// `sqlite::memory:` (gone when closed), `postgres://…` and `postgresql://…`. An SQLite file is created when missing,
/// its folder is not. PostgreSQL takes what a URL does not say from `PGHOST`, `PGUSER`, `PGPASSWORD` and so on.
pub async fn open_with(url: &str, options: &StoreOptions) -> Result<Arc<dyn JobStore>, JobStoreError> {
    Ok(Arc::new(open_sql(url, options).await?))
}

/// [`open_with`] for those who need the pool as well.
pub(super) async fn open_sql(url: &str, options: &StoreOptions) -> Result<SqlJobStore, JobStoreError> {
    // Global, and done once however often it is called.
    sqlx::any::install_default_drivers();
    let address = Address::parse(url, options)?;
    if let Backend::SqliteFile(file) = &address.backend {
        check_path(&address, file).await?;
    }
    let (pool, schema) = ready(&address, options).await?;
    match schema {
        Schema::Newer(found) => {
            pool.close().await;
            return Err(JobStoreError::SchemaNewer { store: address.name, found, known: SCHEMA_VERSION });
        }
        Schema::Known(SCHEMA_VERSION) => {}
        Schema::Known(found) => {
            tracing::info!(store = %address.name, from = found, to = SCHEMA_VERSION, "schema brought up to date");
        }
    }
    let answer_timeout =
        (address.backend == Backend::Postgres).then(|| options.statement_timeout + ANSWER_GRACE);
    let caller = Caller { pool, name: address.name, attempts_max: options.attempts_max, answer_timeout };
    Ok(SqlJobStore::new(caller, options))
}

/// A pool over tables that are up to date. Tries again what lost against others, or whose connection broke.
async fn ready(address: &Address, options: &StoreOptions) -> Result<(AnyPool, Schema), JobStoreError> {
    let mut attempt = 1;
    loop {
        let trouble = match ready_at_once(address, options).await {
            Ok(ready) => return Ok(ready),
            Err(trouble) => trouble,
        };
        if again_after(trouble.failure) == Again::No || attempt >= options.attempts_max {
            return Err(trouble.at(&address.name));
        }
        attempt += 1;
        tokio::time::sleep(StoreOptions::pause_before(attempt)).await;
    }
}

async fn ready_at_once(address: &Address, options: &StoreOptions) -> Result<(AnyPool, Schema), Trouble> {
    // A pool tries some failures until its time is up and then has forgotten them. One connection of our own tells.
    if address.backend != Backend::SqliteMemory {
        probe(address, options).await?;
    }
    let pool = pool(address, options);
    let mut connection = pool.acquire().await?;
    let schema = migrate(&mut connection, &address.backend).await?;
    drop(connection);
    Ok((pool, schema))
}

/// What SQLite would call "unable to open database file".
async fn check_path(address: &Address, file: &Path) -> Result<(), JobStoreError> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let store = address.name.clone();
    match tokio::fs::metadata(folder).await {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(JobStoreError::WrongKind { store, path: folder.to_owned(), what: "file" });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(JobStoreError::FolderMissing { folder: folder.to_owned(), store });
        }
        Err(error) => return Err(Trouble::from(sqlx::Error::Io(error)).at(&store)),
    }
    match tokio::fs::metadata(file).await {
        Ok(found) if found.is_dir() => {
            Err(JobStoreError::WrongKind { store, path: file.to_owned(), what: "folder" })
        }
        _ => Ok(()),
    }
}

/// Connects once, and makes SQLite keep a write-ahead log: that is a property of the file.
async fn probe(address: &Address, options: &StoreOptions) -> Result<(), Trouble> {
    let connecting = AnyConnection::connect_with(&address.connect);
    let Ok(connected) = tokio::time::timeout(options.acquire_timeout, connecting).await else {
        return Err(Trouble { failure: StoreFailure::Overdue, cause: None });
    };
    let mut connection = connected?;
    if address.backend != Backend::Postgres {
        set_waiting(&mut connection, options.busy_timeout).await?;
        let row = sqlx::query("PRAGMA journal_mode = WAL").fetch_one(&mut connection).await?;
        let mode: String = row.try_get(0)?;
        if mode != "wal" {
            // Without shared memory (some network file systems) SQLite stays with its older journal, which is as safe.
            tracing::warn!(store = %address.name, mode, "SQLite keeps no write-ahead log here, writes are slower");
        }
    }
    connection.close().await?;
    Ok(())
}

async fn set_waiting(connection: &mut AnyConnection, busy_timeout: Duration) -> Result<(), sqlx::Error> {
    let timeout_ms = busy_timeout.as_millis();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {timeout_ms}")))
        .execute(connection)
        .await?;
    Ok(())
}

fn pool(address: &Address, options: &StoreOptions) -> AnyPool {
    let pool = AnyPoolOptions::new().acquire_timeout(options.acquire_timeout);
    let pool = if address.backend == Backend::Postgres {
        pool.max_connections(options.connections_max.max(1))
    } else {
        let busy_timeout = options.busy_timeout;
        // One writer, no waiting for ourselves, and a database in memory that lives as long as the pool.
        pool.max_connections(1).idle_timeout(None).max_lifetime(None).after_connect(move |connection, _| {
            Box::pin(async move {
                set_waiting(connection, busy_timeout).await?;
                // Each commit reaches the disk before it is reported.
                sqlx::raw_sql("PRAGMA synchronous = FULL").execute(connection).await?;
                Ok(())
            })
        })
    };
    pool.connect_lazy_with(address.connect.clone())
}
