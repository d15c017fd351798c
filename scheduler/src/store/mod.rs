//! Where are jobs kept so that a restart, a crash or a second scheduler loses none?
//!
//! ```no_run
//! # async fn example() -> Result<(), backsight_scheduler::store::JobStoreError> {
//! let store = backsight_scheduler::store::open("sqlite:///var/lib/backsight/jobs.db").await?;
//! let page = store.list(&Default::default()).await?;
//! # let _ = page; Ok(())
//! # }
//! ```
//!
//! The room knows rows and leases, not what a job's states mean: that is the job machine's. See
//! `docs/adr/0031-jobs-in-one-table.md` for why it is one table and how leases fence.

mod address;
mod call;
mod classify;
mod error;
mod job_store;
mod model;
mod open;
mod options;
mod schema;
mod sql;
mod sql_job_store;

pub use classify::StoreFailure;
pub use error::JobStoreError;
pub use job_store::JobStore;
pub use model::{Inserted, JobCounts, JobFilter, JobPage, JobRow, Lease, StoredJob};
pub use open::{open, open_with};
pub use options::StoreOptions;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_races;
#[cfg(test)]
mod postgres_tests;
#[cfg(test)]
mod sqlite_tests;
#[cfg(test)]
mod testing;
