//! How far a retrieval is: counters that operators add to and a terminal reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;

/// Counters of one retrieval in this process.
#[derive(Debug, Default)]
pub struct Progress {
    rows_written: AtomicU64,
    bytes_written: AtomicU64,
    bytes_spilled: AtomicU64,
    bytes_shuffled: AtomicU64,
    is_shuffle_counted: AtomicBool,
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
}

impl Progress {
    pub(crate) fn add_rows_written(&self, rows: u64) {
        self.rows_written.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes_written(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what executors have put on disk of a query: for joins, sorts and exchanges to come back to, and to hand on.
    pub fn add_executors(&self, bytes_spilled: u64, bytes_shuffled: u64) {
        self.bytes_spilled.fetch_add(bytes_spilled, Ordering::Relaxed);
        self.bytes_shuffled.fetch_add(bytes_shuffled, Ordering::Relaxed);
        self.is_shuffle_counted.store(true, Ordering::Relaxed);
    }

    /// Follows the scans of a plan that runs in this process.
    pub fn follow(&self, plan: Arc<dyn ExecutionPlan>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    /// Rows handed to the encoders.
    pub fn rows_written(&self) -> u64 {
        self.rows_written.load(Ordering::Relaxed)
    }

    /// Bytes of finished parts.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Bytes that operators have put on disk because memory is bounded, here or as executors told.
    pub fn bytes_spilled(&self) -> u64 {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.bytes_spilled.load(Ordering::Relaxed) + plan.map_or(0, |plan| spilled(plan.as_ref()))
    }

    /// Bytes that executors have handed to each other; `None` where nobody counts them.
    pub fn bytes_shuffled(&self) -> Option<u64> {
        let is_counted = self.is_shuffle_counted.load(Ordering::Relaxed);
        is_counted.then(|| self.bytes_shuffled.load(Ordering::Relaxed))
    }

    /// Rows that the scans of this process have produced.
    pub fn rows_read(&self) -> u64 {
        self.scanned("output_rows")
    }

    /// Bytes that the scans of this process have fetched.
    pub fn bytes_read(&self) -> u64 {
        self.scanned("bytes_scanned")
    }

    fn scanned(&self, metric: &str) -> u64 {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        plan.map_or(0, |plan| scanned(plan.as_ref(), metric))
    }
}

fn spilled(plan: &dyn ExecutionPlan) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or(0) as u64;
    own + plan.children().into_iter().map(|child| spilled(child.as_ref())).sum::<u64>()
}

fn scanned(plan: &dyn ExecutionPlan, metric: &str) -> u64 {
    if plan.is::<DataSourceExec>() {
        let metrics = plan.metrics().unwrap_or_default();
        let value = if metric == "output_rows" {
            metrics.output_rows()
        } else {
            metrics.sum_by_name(metric).map(|value| value.as_usize())
        };
        return value.unwrap_or(0) as u64;
    }
    plan.children().into_iter().map(|child| scanned(child.as_ref(), metric)).sum()
}
