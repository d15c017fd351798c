//! Which SQL does each call send? One text for SQLite and PostgreSQL: both know `$1`, `RETURNING` and `ON CONFLICT`.
//!
//! Whatever decides something is a single statement that checks and writes at once. PostgreSQL, at READ COMMITTED, waits
//! for a concurrent change of the row and then checks the condition again on the new row; SQLite has one writer.
//! All numbers and flags are BIGINT: the one integer that both drivers read alike.

/// The columns, in the order in which rows are read.
macro_rules! columns {
    () => {
        "id, project, state, is_finished, priority, submitted_at_ms, finished_at_ms, record, version, \
         is_cancel_requested, lease_owner, lease_token, lease_until_ms"
    };
}

/// `$1` to `$8` are the row, see `row_values`.
macro_rules! set_row {
    () => {
        "UPDATE backsight_jobs SET project = $2, state = $3, is_finished = $4, priority = $5, submitted_at_ms = $6, \
         finished_at_ms = $7, record = $8, version = version + 1"
    };
}

pub(super) const INSERT: &str = "INSERT INTO backsight_jobs (id, project, state, is_finished, priority, \
     submitted_at_ms, finished_at_ms, record, version, is_cancel_requested, lease_token) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, 0, 0) ON CONFLICT (id) DO NOTHING RETURNING version";

pub(super) const GET: &str = concat!("SELECT ", columns!(), " FROM backsight_jobs WHERE id = $1");

/// To be followed by conditions, [`LIST_ORDER`] and a limit.
pub(super) const LIST: &str = concat!("SELECT ", columns!(), " FROM backsight_jobs WHERE 1 = 1");

pub(super) const LIST_ORDER: &str = " ORDER BY submitted_at_ms DESC, id LIMIT ";

pub(super) const UNFINISHED: &str =
    concat!("SELECT ", columns!(), " FROM backsight_jobs WHERE is_finished = 0 ORDER BY submitted_at_ms, id");

pub(super) const REPLACE_UNLEASED: &str = concat!(
    set_row!(),
    ", is_cancel_requested = 0, lease_owner = NULL, lease_until_ms = NULL \
     WHERE id = $1 AND version = $9 AND (lease_owner IS NULL OR lease_until_ms <= $10) RETURNING version"
);

pub(super) const LEASE: &str = "UPDATE backsight_jobs \
     SET lease_owner = $2, lease_token = lease_token + 1, lease_until_ms = $4 \
     WHERE id = $1 AND (lease_owner IS NULL OR lease_owner = $2 OR lease_until_ms <= $3) RETURNING lease_token";

/// The token alone is not enough: a released lease keeps its token so that the next one is larger.
pub(super) const RENEW: &str = "UPDATE backsight_jobs \
     SET lease_until_ms = CASE WHEN lease_until_ms > $3 THEN lease_until_ms ELSE $3 END \
     WHERE id = $1 AND lease_token = $2 AND lease_owner IS NOT NULL RETURNING lease_until_ms";

pub(super) const UPDATE: &str =
    concat!(set_row!(), " WHERE id = $1 AND lease_token = $9 AND lease_owner IS NOT NULL RETURNING version");

pub(super) const RELEASE: &str = "UPDATE backsight_jobs SET lease_owner = NULL, lease_until_ms = NULL \
     WHERE id = $1 AND lease_token = $2 RETURNING version";

/// The version moves once, so that a `replace_unleased` that was decided on before does not wipe out the request.
pub(super) const REQUEST_CANCEL: &str = "UPDATE backsight_jobs \
     SET version = version + 1 - is_cancel_requested, is_cancel_requested = 1 \
     WHERE id = $1 AND is_finished = 0 RETURNING version";

pub(super) const COUNT: &str = "SELECT state, is_finished, COUNT(*) AS jobs FROM backsight_jobs \
     GROUP BY state, is_finished";

/// A batch at a time. The outer condition looks again at a job that was queued anew meanwhile.
pub(super) const PRUNE_FINISHED: &str = "DELETE FROM backsight_jobs WHERE is_finished = 1 AND id IN \
     (SELECT id FROM backsight_jobs WHERE is_finished = 1 \
      ORDER BY COALESCE(finished_at_ms, submitted_at_ms) DESC, id LIMIT $1 OFFSET $2) RETURNING id";
