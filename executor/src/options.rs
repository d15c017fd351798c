//! What an executor is told: where its scheduler is, what it may use, how long it waits.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use backsight_storage::Stores;

/// Settings of an executor.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// `http://host:port` of the scheduler.
    pub scheduler: String,
    /// Where shuffle files are served; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The host under which others reach this one; the bound address when absent.
    pub advertise_host: Option<String>,
    /// Where health and metrics are served; port 0 takes a free one.
    pub health_bind: SocketAddr,
    /// For shuffle and spill files. One executor uses it alone; what an earlier one left is removed.
    pub work_dir: PathBuf,
    /// Partitions worked on at the same time.
    pub vcores: NonZeroUsize,
    /// Bytes that all tasks may hold together.
    pub memory_limit_bytes: usize,
    /// Bytes that the work folder may hold; above it tasks fail with a clear error. No limit when absent.
    pub disk_limit_bytes: Option<u64>,
    /// How often the scheduler is told that this executor lives, and asked what to stop.
    pub heartbeat: Duration,
    /// How long a terminated executor waits for those who need its shuffle files.
    pub drain_timeout: Duration,
    /// How objects are reached.
    pub stores: Stores,
}

/// Where an executor can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Shuffle files.
    pub flight: SocketAddr,
    /// `/healthz`, `/readyz`, `/metrics`.
    pub health: SocketAddr,
}
