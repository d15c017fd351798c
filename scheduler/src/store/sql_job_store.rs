//! How are jobs kept in one table of SQLite or PostgreSQL?

use std::fmt::Write;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::call::{Call, Caller, Trouble, Value};
use super::error::JobStoreError;
use super::job_store::JobStore;
use super::model::{Inserted, JobCounts, JobFilter, JobPage, JobRow, Lease, StoredJob};
use super::options::StoreOptions;
use super::sql;

/// How many jobs one statement deletes: so few that it never runs into its timeout.
const PRUNE_BATCH: i64 = 500;

/// How often an insert looks again for a job that was there and is gone: deleted in between.
const INSERT_ROUNDS_MAX: u32 = 3;

/// Jobs in a table.
#[derive(Debug)]
pub(super) struct SqlJobStore {
    caller: Caller,
    record_bytes_max: usize,
    list_jobs_max: u32,
}

impl SqlJobStore {
    pub(super) fn new(caller: Caller, options: &StoreOptions) -> Self {
        let StoreOptions { record_bytes_max, list_jobs_max, .. } = *options;
        Self { caller, record_bytes_max, list_jobs_max }
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &sqlx::AnyPool {
        &self.caller.pool
    }

    /// Refuses what one of the databases would, so that both take the same.
    fn check(&self, row: &JobRow) -> Result<(), JobStoreError> {
        let id = || row.id.escape_debug().to_string();
        if row.record.len() > self.record_bytes_max {
            let (bytes, bytes_max) = (row.record.len(), self.record_bytes_max);
            return Err(JobStoreError::RecordTooLarge { id: id(), bytes, bytes_max });
        }
        let texts =
            [("id", &row.id), ("project", &row.project), ("state", &row.state), ("record", &row.record)];
        for (field, text) in texts {
            if text.is_empty() || text.contains('\0') {
                return Err(JobStoreError::BadText { id: id(), field });
            }
        }
        Ok(())
    }

    /// The first row's first column, which all our `RETURNING` clauses make a number.
    async fn number(&self, call: &Call) -> Result<Option<i64>, JobStoreError> {
        let rows = self.caller.rows(call).await?;
        rows.first().map(|row| self.read(row.try_get(0))).transpose()
    }

    fn read<T>(&self, value: Result<T, sqlx::Error>) -> Result<T, JobStoreError> {
        value.map_err(|error| Trouble::from(error).at(&self.caller.name))
    }

    fn job(&self, row: &AnyRow) -> Result<StoredJob, JobStoreError> {
        self.read(stored_job(row))
    }

    fn jobs(&self, rows: &[AnyRow]) -> Result<Vec<StoredJob>, JobStoreError> {
        rows.iter().map(|row| self.job(row)).collect()
    }
}

fn stored_job(row: &AnyRow) -> Result<StoredJob, sqlx::Error> {
    let owner: Option<String> = row.try_get("lease_owner")?;
    let until_ms: Option<i64> = row.try_get("lease_until_ms")?;
    let token = row.try_get("lease_token")?;
    Ok(StoredJob {
        row: JobRow {
            id: row.try_get("id")?,
            project: row.try_get("project")?,
            state: row.try_get("state")?,
            is_finished: row.try_get::<i64, _>("is_finished")? != 0,
            priority: row.try_get("priority")?,
            submitted_at_ms: row.try_get("submitted_at_ms")?,
            finished_at_ms: row.try_get("finished_at_ms")?,
            record: row.try_get("record")?,
        },
        version: row.try_get("version")?,
        is_cancel_requested: row.try_get::<i64, _>("is_cancel_requested")? != 0,
        lease: owner.zip(until_ms).map(|(owner, until_ms)| Lease { owner, token, until_ms }),
    })
}

/// `$1` to `$8` of the statements that write a row.
fn row_values(row: &JobRow) -> Vec<Value> {
    vec![
        row.id.as_str().into(),
        row.project.as_str().into(),
        row.state.as_str().into(),
        i64::from(row.is_finished).into(),
        i64::from(row.priority).into(),
        row.submitted_at_ms.into(),
        Value::NumberOrNull(row.finished_at_ms),
        row.record.as_str().into(),
    ]
}

/// The statement and values of a list that reads one job more than wanted, to see whether there are more.
fn list_call(filter: &JobFilter, limit: u32) -> Call {
    let mut text = sql::LIST.to_owned();
    let mut values = Vec::new();
    if let Some(project) = &filter.project {
        values.push(project.as_str().into());
        text.push_str(" AND project = $1");
    }
    if !filter.states.is_empty() {
        text.push_str(" AND state IN (");
        for (position, state) in filter.states.iter().enumerate() {
            values.push(state.as_str().into());
            let separator = if position == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            write!(text, "{separator}${}", values.len()).ok();
        }
        text.push(')');
    }
    values.push((i64::from(limit) + 1).into());
    write!(text, "{}${}", sql::LIST_ORDER, values.len()).ok();
    // Only numbers of placeholders were added to constants.
    Call::new(sqlx::AssertSqlSafe(text), values)
}

fn check_term(id: &str, now_ms: i64, until_ms: i64) -> Result<(), JobStoreError> {
    if until_ms > now_ms {
        return Ok(());
    }
    Err(JobStoreError::EmptyTerm { id: id.to_owned(), now_ms, until_ms })
}

fn missing(id: &str) -> JobStoreError {
    JobStoreError::JobMissing { id: id.to_owned() }
}

#[async_trait]
impl JobStore for SqlJobStore {
    async fn insert(&self, row: &JobRow) -> Result<Inserted, JobStoreError> {
        self.check(row)?;
        let call = Call::new(sql::INSERT, row_values(row));
        for _ in 0..INSERT_ROUNDS_MAX {
            if self.number(&call).await?.is_some() {
                return Ok(Inserted::New);
            }
            if let Some(job) = self.get(&row.id).await? {
                return Ok(Inserted::Exists(Box::new(job)));
            }
        }
        let failure = super::classify::StoreFailure::Busy;
        Err(Trouble { failure, cause: None }.at(&self.caller.name))
    }

    async fn get(&self, id: &str) -> Result<Option<StoredJob>, JobStoreError> {
        let rows = self.caller.rows(&Call::new(sql::GET, [id.into()])).await?;
        rows.first().map(|row| self.job(row)).transpose()
    }

    async fn list(&self, filter: &JobFilter) -> Result<JobPage, JobStoreError> {
        let limit = filter.limit.min(self.list_jobs_max);
        let mut jobs = self.jobs(&self.caller.rows(&list_call(filter, limit)).await?)?;
        let has_more = jobs.len() > limit as usize;
        jobs.truncate(limit as usize);
        Ok(JobPage { jobs, has_more })
    }

    async fn unfinished(&self) -> Result<Vec<StoredJob>, JobStoreError> {
        self.jobs(&self.caller.rows(&Call::new(sql::UNFINISHED, [])).await?)
    }

    async fn replace_unleased(
        &self,
        row: &JobRow,
        expected_version: i64,
        now_ms: i64,
    ) -> Result<i64, JobStoreError> {
        self.check(row)?;
        let mut values = row_values(row);
        values.extend([expected_version.into(), now_ms.into()]);
        if let Some(version) = self.number(&Call::once(sql::REPLACE_UNLEASED, values)).await? {
            return Ok(version);
        }
        let found = self.get(&row.id).await?.ok_or_else(|| missing(&row.id))?;
        Err(JobStoreError::Conflict {
            id: row.id.clone(),
            expected_version,
            found_version: found.version,
            held_by: found.lease.filter(|lease| lease.until_ms > now_ms).map(|lease| lease.owner),
        })
    }

    async fn lease(
        &self,
        id: &str,
        owner: &str,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Option<Lease>, JobStoreError> {
        check_term(id, now_ms, until_ms)?;
        let call = Call::new(sql::LEASE, [id.into(), owner.into(), now_ms.into(), until_ms.into()]);
        if let Some(token) = self.number(&call).await? {
            return Ok(Some(Lease { owner: owner.to_owned(), token, until_ms }));
        }
        self.get(id).await?.map(|_| None).ok_or_else(|| missing(id))
    }

    async fn renew(&self, id: &str, token: i64, now_ms: i64, until_ms: i64) -> Result<bool, JobStoreError> {
        check_term(id, now_ms, until_ms)?;
        let call = Call::new(sql::RENEW, [id.into(), token.into(), until_ms.into()]);
        Ok(self.number(&call).await?.is_some())
    }

    async fn update(&self, row: &JobRow, token: i64) -> Result<i64, JobStoreError> {
        self.check(row)?;
        let mut values = row_values(row);
        values.push(token.into());
        let version = self.number(&Call::new(sql::UPDATE, values)).await?;
        version.ok_or_else(|| JobStoreError::LeaseLost { id: row.id.clone(), token })
    }

    async fn release(&self, id: &str, token: i64) -> Result<(), JobStoreError> {
        self.number(&Call::new(sql::RELEASE, [id.into(), token.into()])).await?;
        Ok(())
    }

    async fn request_cancel(&self, id: &str) -> Result<bool, JobStoreError> {
        if self.number(&Call::new(sql::REQUEST_CANCEL, [id.into()])).await?.is_some() {
            return Ok(true);
        }
        self.get(id).await?.map(|_| false).ok_or_else(|| missing(id))
    }

    async fn count(&self) -> Result<JobCounts, JobStoreError> {
        let mut counts = JobCounts::default();
        for row in self.caller.rows(&Call::new(sql::COUNT, [])).await? {
            let state: String = self.read(row.try_get("state"))?;
            let is_finished: i64 = self.read(row.try_get("is_finished"))?;
            let jobs: i64 = self.read(row.try_get("jobs"))?;
            let jobs = jobs.unsigned_abs();
            *counts.by_state.entry(state).or_default() += jobs;
            *(if is_finished == 0 { &mut counts.unfinished } else { &mut counts.finished }) += jobs;
        }
        Ok(counts)
    }

    async fn prune_finished(&self, keep_newest: u64) -> Result<u64, JobStoreError> {
        let keep_newest = i64::try_from(keep_newest).unwrap_or(i64::MAX);
        let call = Call::new(sql::PRUNE_FINISHED, [PRUNE_BATCH.into(), keep_newest.into()]);
        let mut deleted = 0;
        loop {
            let batch = self.caller.rows(&call).await?.len();
            deleted += batch as u64;
            if batch < PRUNE_BATCH.unsigned_abs() as usize {
                return Ok(deleted);
            }
        }
    }

    async fn close(&self) {
        self.caller.pool.close().await;
    }
}
