//! What a slot fold counts: rows, slots, memory, and where its time went.

use std::collections::BTreeMap;

use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricsSet, Time,
};

/// The metrics that count a lookup's rows, the one that says how rows are put out, and the label that says which lookup.
const FOLDED_ROWS: &str = "folded_rows";
const SENT_ROWS: &str = "candidates_sent";
const RECEIVED_ROWS: &str = "candidates_received";
const SORTED: &str = "sorted";
const LOOKUP_LABEL: &str = "lookup";

/// What became of a lookup's rows on their way into a join.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FoldAccount {
    /// Rows folded, by the join itself or by the partial folds below it.
    pub folded: u64,
    /// Candidates that partial folds say they sent.
    pub sent: u64,
    /// Candidates that came.
    pub received: u64,
}

/// Counts of one lookup.
pub(crate) struct LookupMetrics {
    pub(crate) folded: Count,
    pub(crate) sent: Count,
    pub(crate) received: Count,
}

/// What `explain analyze` shows of a slot fold.
pub(crate) struct FoldMetrics {
    pub(crate) spine_rows: Count,
    pub(crate) lookups: Vec<LookupMetrics>,
    pub(crate) slots: Gauge,
    /// Whether rows are put out by key and instant.
    pub(crate) sorted: Gauge,
    pub(crate) memory_bytes: Gauge,
    pub(crate) index_time: Time,
    pub(crate) fold_time: Time,
    pub(crate) emit_time: Time,
}

impl FoldMetrics {
    pub(crate) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize, lookups: usize) -> Self {
        let of_lookup = |lookup: usize| {
            let count = |name: &'static str| {
                let builder = MetricBuilder::new(metrics).with_new_label(LOOKUP_LABEL, lookup.to_string());
                builder.counter(name, partition)
            };
            LookupMetrics {
                folded: count(FOLDED_ROWS),
                sent: count(SENT_ROWS),
                received: count(RECEIVED_ROWS),
            }
        };
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        let gauge = |name: &'static str| MetricBuilder::new(metrics).gauge(name, partition);
        let time = |name: &'static str| MetricBuilder::new(metrics).subset_time(name, partition);
        Self {
            spine_rows: counter("spine_rows"),
            lookups: (0..lookups).map(of_lookup).collect(),
            slots: gauge("slots"),
            sorted: gauge(SORTED),
            memory_bytes: gauge("memory_bytes"),
            index_time: time("index_time"),
            fold_time: time("fold_time"),
            emit_time: time("emit_time"),
        }
    }
}

/// Whether the rows of a partition are put out by key and instant, as far as is known.
pub(crate) fn is_sorted(metrics: &MetricsSet, partition: usize) -> bool {
    let mut metrics = metrics.iter().filter(|metric| metric.partition() == Some(partition));
    metrics.any(|metric| metric.value().name() == SORTED && metric.value().as_usize() > 0)
}

/// The accounts of a partition so far, by lookup.
pub(crate) fn accounts(metrics: &MetricsSet, partition: usize) -> BTreeMap<usize, FoldAccount> {
    let mut accounts: BTreeMap<usize, FoldAccount> = BTreeMap::new();
    for metric in metrics.iter().filter(|metric| metric.partition() == Some(partition)) {
        let label = metric.labels().iter().find(|label| label.name() == LOOKUP_LABEL);
        let Some(lookup) = label.and_then(|label| label.value().parse().ok()) else { continue };
        let account = accounts.entry(lookup).or_default();
        let count = metric.value().as_usize() as u64;
        match metric.value().name() {
            FOLDED_ROWS => account.folded += count,
            SENT_ROWS => account.sent += count,
            RECEIVED_ROWS => account.received += count,
            _ => {}
        }
    }
    accounts
}
