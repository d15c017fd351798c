//! The query engine inside the scheduler: hosted, guarded, watched.

mod cluster_engine;
mod gateway;
mod host;
mod progress;
mod query_jobs;

pub(crate) use cluster_engine::{ClusterEngine, reap};
pub(crate) use gateway::Gateway;
pub(crate) use host::Host;
pub(crate) use progress::stages;
