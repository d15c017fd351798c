//! How is a statement sent, within time, and again when that is right?

use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool, SqlSafeStr, SqlStr};

use super::classify::{Again, StoreFailure, again_after, failure_of};
use super::error::JobStoreError;
use super::options::StoreOptions;

/// A value for a placeholder.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    NumberOrNull(Option<i64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// One statement with its values. None of them needs a transaction.
#[derive(Debug)]
pub(super) struct Call {
    sql: SqlStr,
    values: Vec<Value>,
    is_repeat_harmless: bool,
}

impl Call {
    /// A statement of which a second run changes nothing that matters.
    pub(super) fn new(sql: impl SqlSafeStr, values: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into_sql_str(), values: values.into(), is_repeat_harmless: true }
    }

    /// A statement that must not run again if it may have run.
    pub(super) fn once(sql: impl SqlSafeStr, values: impl Into<Vec<Value>>) -> Self {
        Self { is_repeat_harmless: false, ..Self::new(sql, values) }
    }
}

/// Sends calls over a bounded number of connections.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) pool: AnyPool,
    pub(super) name: String,
    pub(super) attempts_max: u32,
    /// How long to wait for a statement's answer; `None` where the answer comes from this process.
    pub(super) answer_timeout: Option<Duration>,
}

/// What went wrong in one attempt.
pub(super) struct Trouble {
    pub(super) failure: StoreFailure,
    pub(super) cause: Option<sqlx::Error>,
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self { failure: failure_of(&error), cause: Some(error) }
    }
}

impl Trouble {
    /// Of a statement that was sent: a network that fails now may have carried it over before.
    fn under_way(error: sqlx::Error) -> Self {
        let trouble = Self::from(error);
        match trouble.failure {
            StoreFailure::Unreachable => Self { failure: StoreFailure::ConnectionLost, ..trouble },
            _ => trouble,
        }
    }

    /// The trouble as the store's callers see it.
    pub(super) fn at(self, store: &str) -> JobStoreError {
        let source: Option<Box<dyn std::error::Error + Send + Sync>> = match self.cause {
            None => None,
            // The driver's own sentence would say that it is an error of a database, then repeat its cause.
            Some(sqlx::Error::Database(database)) => Some(Box::new(database)),
            Some(sqlx::Error::Io(io)) => Some(Box::new(io)),
            Some(sqlx::Error::Tls(cause) | sqlx::Error::Configuration(cause)) => Some(cause),
            Some(other) => Some(Box::new(other)),
        };
        JobStoreError::Database { store: store.to_owned(), failure: self.failure, source }
    }
}

impl Caller {
    /// Runs the statement to its end and returns its rows.
    pub(super) async fn rows(&self, call: &Call) -> Result<Vec<AnyRow>, JobStoreError> {
        let mut attempt = 1;
        loop {
            let trouble = match self.attempt(call).await {
                Ok(rows) => return Ok(rows),
                Err(trouble) => trouble,
            };
            let may_repeat = match again_after(trouble.failure) {
                Again::Surely => true,
                Again::IfHarmless => call.is_repeat_harmless,
                Again::No => false,
            };
            if !may_repeat || attempt >= self.attempts_max {
                return Err(trouble.at(&self.name));
            }
            attempt += 1;
            tracing::debug!(store = %self.name, attempt, failure = ?trouble.failure, "statement is sent again");
            tokio::time::sleep(StoreOptions::pause_before(attempt)).await;
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Vec<AnyRow>, Trouble> {
        let mut connection = self.pool.acquire().await?;
        let Some(timeout) = self.answer_timeout else {
            return fetch(&mut connection, call).await.map_err(Trouble::under_way);
        };
        match tokio::time::timeout(timeout, fetch(&mut connection, call)).await {
            Ok(rows) => rows.map_err(Trouble::under_way),
            Err(_) => {
                // Nobody knows what still comes over this connection; the pool must neither use it nor wait for it.
                drop(connection.detach());
                Err(Trouble { failure: StoreFailure::Overdue, cause: None })
            }
        }
    }
}

/// Always reads to the end: SQLite commits when a statement has ended, and only then reports that it could not.
async fn fetch(connection: &mut AnyConnection, call: &Call) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut query = sqlx::query(call.sql.clone());
    for value in &call.values {
        query = match value {
            Value::Text(text) => query.bind(text.as_str()),
            Value::Number(number) => query.bind(*number),
            Value::NumberOrNull(number) => query.bind(*number),
        };
    }
    query.fetch_all(connection).await
}
