//! What does the scheduler ask of the place where its jobs are kept?

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::JobStoreError;
use super::model::{Inserted, JobCounts, JobFilter, JobPage, JobRow, Lease, StoredJob};

/// Durable jobs. Several schedulers, also of several processes, may use one store at once.
///
/// Obligations of every implementation, held by the contract suite:
/// - What a call reported as done survives a crash of the process and a power cut.
/// - Of two calls that exclude each other exactly one succeeds, whoever sends them.
/// - A call that fails has done nothing, except where the answer was lost on the way
///   ([`JobStoreError::is_outcome_unknown`]). A call that was repeated because its connection broke may have been
///   done twice; each says below what that means.
/// - Time is an argument. Schedulers' clocks should agree to well within a lease's term; where they do not, work may be
///   taken over early, but the token still keeps two holders from both writing.
#[async_trait]
pub trait JobStore: Send + Sync + Debug {
    /// Adds a job, unless one of its id is there. When repeated, a job that was new may be reported as existing.
    async fn insert(&self, row: &JobRow) -> Result<Inserted, JobStoreError>;

    /// The job of this id.
    async fn get(&self, id: &str) -> Result<Option<StoredJob>, JobStoreError>;

    /// Jobs by filter: newest submitted first, then by id.
    async fn list(&self, filter: &JobFilter) -> Result<JobPage, JobStoreError>;

    /// All jobs that have not ended: oldest submitted first, then by id. Admission bounds their number.
    async fn unfinished(&self) -> Result<Vec<StoredJob>, JobStoreError>;

    /// Writes the row of a job that nobody holds at `now_ms`, if it still has `expected_version`, and returns the new
    /// version: for example a failed job that is queued again. A cancel requested earlier is forgotten, and so is a
    /// lease that had run out: its token will not write again. Fails with [`JobStoreError::Conflict`], or
    /// [`JobStoreError::JobMissing`]. It is not repeated when the outcome is unknown.
    async fn replace_unleased(
        &self,
        row: &JobRow,
        expected_version: i64,
        now_ms: i64,
    ) -> Result<i64, JobStoreError>;

    /// Takes the job until `until_ms` if it is free, its lease has run out, or `owner` holds it already; `None` when
    /// another holds it. Each success gives a larger token, also to the same owner, and refuses the smaller ones from
    /// then on. Read the job after this, not before: whoever held it may have changed it, or ended it.
    async fn lease(
        &self,
        id: &str,
        owner: &str,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<Option<Lease>, JobStoreError>;

    /// Extends the term. `false`: it is no longer ours, because it was taken, released or the row replaced. A lease
    /// that has run out but that nobody took is still ours and can be renewed: nothing was lost meanwhile. A term
    /// never gets shorter, so that a late renewal does no harm.
    async fn renew(&self, id: &str, token: i64, now_ms: i64, until_ms: i64) -> Result<bool, JobStoreError>;

    /// Writes the row as the holder of the lease and returns the new version; a requested cancel stays. Fails with
    /// [`JobStoreError::LeaseLost`] when `token` is not the current one. When repeated, the version may have grown by
    /// two.
    async fn update(&self, row: &JobRow, token: i64) -> Result<i64, JobStoreError>;

    /// Gives the job back. Does nothing when it is not ours any more.
    async fn release(&self, id: &str, token: i64) -> Result<(), JobStoreError>;

    /// Asks for a job to be cancelled; any scheduler may, the holder sees it in the row. `true`: the job has not ended
    /// and bears the mark, be it from now or before. `false`: it has ended.
    async fn request_cancel(&self, id: &str) -> Result<bool, JobStoreError>;

    /// How many jobs there are.
    async fn count(&self) -> Result<JobCounts, JobStoreError>;

    /// Deletes jobs that have ended, except for the `keep_newest` that ended last, and returns how many.
    async fn prune_finished(&self, keep_newest: u64) -> Result<u64, JobStoreError>;

    /// Lets go of files and connections. Calls after it fail; dropping the store without it loses nothing.
    async fn close(&self);
}
