//! The services of a cluster, and a cluster of local processes.

mod cluster_up;
mod executor;
mod logging;
mod scheduler;

pub(crate) use cluster_up::{ClusterCommand, run as cluster};
pub(crate) use executor::{ExecutorArgs, run as executor};
pub(crate) use logging::LogFormat;
pub(crate) use scheduler::{SchedulerArgs, run as scheduler};
