//! Which tables does a store have, and how does an older one get there?

use sqlx::{AnyConnection, Connection, Row};

use super::address::Backend;

/// The schema's version that this release reads and writes: the number of [`MIGRATIONS`].
pub(super) const SCHEMA_VERSION: i64 = 1;

/// "backsigh" in ASCII: whoever changes our tables in a PostgreSQL database holds the lock of this number.
const ADVISORY_LOCK: i64 = 0x6261_636b_7369_6768;

/// Never change one that was released: append another. They must suit both databases, except that `{id}` stands for
/// the type of an id, which PostgreSQL is told to order by its bytes, as SQLite does.
const MIGRATIONS: [&[&str]; 1] = [&[
    "CREATE TABLE backsight_jobs (
        id {id} NOT NULL PRIMARY KEY,
        project TEXT NOT NULL,
        state TEXT NOT NULL,
        is_finished BIGINT NOT NULL CHECK (is_finished IN (0, 1)),
        priority BIGINT NOT NULL,
        submitted_at_ms BIGINT NOT NULL,
        finished_at_ms BIGINT,
        record TEXT NOT NULL,
        version BIGINT NOT NULL,
        is_cancel_requested BIGINT NOT NULL CHECK (is_cancel_requested IN (0, 1)),
        lease_owner TEXT,
        lease_token BIGINT NOT NULL,
        lease_until_ms BIGINT,
        CHECK ((lease_owner IS NULL) = (lease_until_ms IS NULL))
    )",
    "CREATE INDEX backsight_jobs_submitted ON backsight_jobs (submitted_at_ms DESC, id)",
    "CREATE INDEX backsight_jobs_unfinished ON backsight_jobs (submitted_at_ms, id) WHERE is_finished = 0",
]];

/// What a store was found to be; it is up to date unless newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// It had this version, and has [`SCHEMA_VERSION`] now.
    Known(i64),
    /// A later release wrote it; nothing was touched.
    Newer(i64),
}

/// Brings the schema up to date, in one transaction that schedulers that start together take one after the other.
pub(super) async fn migrate(
    connection: &mut AnyConnection,
    backend: &Backend,
) -> Result<Schema, sqlx::Error> {
    let is_postgres = *backend == Backend::Postgres;
    let mut transaction = if is_postgres {
        connection.begin().await?
    } else {
        // A transaction that begins by reading cannot always go on to write.
        connection.begin_with("BEGIN IMMEDIATE").await?
    };
    if is_postgres {
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(ADVISORY_LOCK)
            .fetch_all(&mut *transaction)
            .await?;
    }
    let found = version(&mut transaction, is_postgres).await?;
    if found > SCHEMA_VERSION {
        transaction.rollback().await?;
        return Ok(Schema::Newer(found));
    }
    if found < SCHEMA_VERSION {
        for statement in statements_after(found, is_postgres) {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *transaction).await?;
        }
        for statement in [
            "CREATE TABLE IF NOT EXISTS backsight_schema
                (only_row BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1), version BIGINT NOT NULL)",
            "DELETE FROM backsight_schema",
        ] {
            sqlx::query(statement).execute(&mut *transaction).await?;
        }
        sqlx::query("INSERT INTO backsight_schema (only_row, version) VALUES (1, $1)")
            .bind(SCHEMA_VERSION)
            .execute(&mut *transaction)
            .await?;
    }
    // Writes in any case: SQLite opens a file that it may only read without a word, and a PostgreSQL server may be a
    // standby. Both should be known now and not at the first job.
    sqlx::query("UPDATE backsight_schema SET version = version").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Schema::Known(found))
}

/// The statements that lead from version `found` to ours.
fn statements_after(found: i64, is_postgres: bool) -> Vec<String> {
    let id_type = if is_postgres { "TEXT COLLATE \"C\"" } else { "TEXT" };
    let missing = MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0));
    missing.flat_map(|statements| statements.iter()).map(|text| text.replace("{id}", id_type)).collect()
}

/// The version that the store has; 0 for a new one. Asks whether the table is there instead of creating it, so that a
/// user who may not create tables can use a store that is up to date.
async fn version(connection: &mut AnyConnection, is_postgres: bool) -> Result<i64, sqlx::Error> {
    let exists = if is_postgres {
        "SELECT COUNT(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('backsight_schema')"
    } else {
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'backsight_schema'"
    };
    let tables: i64 = sqlx::query(exists).fetch_one(&mut *connection).await?.try_get(0)?;
    if tables == 0 {
        return Ok(0);
    }
    let rows = sqlx::query("SELECT version FROM backsight_schema").fetch_all(connection).await?;
    rows.first().map_or(Ok(0), |row| row.try_get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_counts_the_migrations() {
        assert_eq!(usize::try_from(SCHEMA_VERSION).unwrap(), MIGRATIONS.len());
    }
}
