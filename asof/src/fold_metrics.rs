//! What a slot fold counts: rows, slots, memory, and where its time went.

use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricsSet, Time,
};

/// The metric that counts the rows of a lookup that were folded, and the label that says which lookup.
const FOLDED_ROWS: &str = "folded_rows";
const LOOKUP_LABEL: &str = "lookup";

/// What `explain analyze` shows of a slot fold.
pub(crate) struct FoldMetrics {
    pub(crate) spine_rows: Count,
    /// For each lookup.
    pub(crate) folded_rows: Vec<Count>,
    pub(crate) slots: Gauge,
    pub(crate) memory_bytes: Gauge,
    pub(crate) index_time: Time,
    pub(crate) fold_time: Time,
    pub(crate) emit_time: Time,
}

impl FoldMetrics {
    pub(crate) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize, lookups: usize) -> Self {
        let folded = |lookup: usize| {
            let builder = MetricBuilder::new(metrics).with_new_label(LOOKUP_LABEL, lookup.to_string());
            builder.counter(FOLDED_ROWS, partition)
        };
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        let gauge = |name: &'static str| MetricBuilder::new(metrics).gauge(name, partition);
        let time = |name: &'static str| MetricBuilder::new(metrics).subset_time(name, partition);
        Self {
            spine_rows: counter("spine_rows"),
            folded_rows: (0..lookups).map(folded).collect(),
            slots: gauge("slots"),
            memory_bytes: gauge("memory_bytes"),
            index_time: time("index_time"),
            fold_time: time("fold_time"),
            emit_time: time("emit_time"),
        }
    }
}

/// Rows folded in a partition so far, by lookup.
pub(crate) fn folded_rows(metrics: &MetricsSet, partition: usize) -> Vec<(usize, u64)> {
    let of_partition = metrics.iter().filter(|metric| metric.partition() == Some(partition));
    of_partition
        .filter(|metric| metric.value().name() == FOLDED_ROWS)
        .filter_map(|metric| {
            let label = metric.labels().iter().find(|label| label.name() == LOOKUP_LABEL)?;
            Some((label.value().parse().ok()?, metric.value().as_usize() as u64))
        })
        .collect()
}
