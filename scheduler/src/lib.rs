//! The service that decides: hosts the query engine's scheduler, owns registry writes, jobs and their durable state.

mod driver;
mod error;
pub mod jobs;
mod options;
mod query;
pub mod registry_history;
pub mod registry_service;
mod serve;
mod service;
pub mod store;

pub use error::SchedulerError;
pub use options::SchedulerOptions;
pub use serve::serve;
