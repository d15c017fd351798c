//! The join of a spine that streams past: every lookup is held whole as steps, the spine is neither held nor exchanged.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array};
use arrow::buffer::NullBuffer;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use crate::broadcast_index::{BroadcastIndex, ROW_BYTES_MAX};
use crate::clustered_runs::{OrderedRun, RUN_ROWS, Run};
use crate::exec::PartitionJoin;
use crate::fold_metrics::FoldMetrics;
use crate::key_index::NO_GROUP;
use crate::slot_index::is_worth_clustering;

/// The lookups as the partitions of one task share them: indexed by the first that is asked for its rows.
#[derive(Default)]
pub(crate) struct SharedLookups {
    lookups: OnceCell<std::result::Result<Arc<Lookups>, Arc<DataFusionError>>>,
}

impl fmt::Debug for SharedLookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLookups").field("is_begun", &self.lookups.initialized()).finish()
    }
}

struct Lookups {
    indexes: Vec<BroadcastIndex>,
    /// The one with the most keys, by whose groups rows are clustered.
    widest: usize,
    _memory: MemoryReservation,
}

/// The rows of one partition.
pub(crate) fn stream(
    join: PartitionJoin,
    shared: Arc<SharedLookups>,
    metrics: FoldMetrics,
) -> BoxStream<'static, Result<RecordBatch>> {
    futures::stream::once(run(join, shared, metrics)).try_flatten().boxed()
}

async fn run(
    join: PartitionJoin,
    shared: Arc<SharedLookups>,
    metrics: FoldMetrics,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
    let lookups = shared
        .lookups
        .get_or_init(|| async { index(&join, &metrics).await.map(Arc::new).map_err(Arc::new) })
        .await;
    let lookups = match lookups {
        Ok(lookups) => Arc::clone(lookups),
        Err(error) => return Err(DataFusionError::Shared(Arc::clone(error))),
    };
    // Every partition says what its answers rest on, whoever made the index.
    for (index, counts) in lookups.indexes.iter().zip(&metrics.lookups) {
        counts.folded.add(index.rows());
    }
    let rows_max = run_rows_max(&join, &lookups)?;
    let memory =
        MemoryConsumer::new("point-in-time join, runs of the spine").register(join.context.memory_pool());
    let spine = join.spine()?;
    let answering = Answering { join, lookups, metrics, spine, is_ended: false, rows_max, memory, run: None };
    Ok(futures::stream::try_unfold(answering, |mut answering| async move {
        Ok(answering.next().await?.map(|batch| (batch, answering)))
    }))
}

/// Rows of a run of the spine; 1 where rows come as they are.
fn run_rows_max(join: &PartitionJoin, lookups: &Lookups) -> Result<usize> {
    let keys = lookups.indexes.get(lookups.widest).map_or(usize::MAX, BroadcastIndex::groups);
    let rows = join.spine_rows()?.map_or(RUN_ROWS, |rows| rows.min(RUN_ROWS));
    let clusters = join.spec.clusters && !join.spec.spine_keys.is_empty() && is_worth_clustering(rows, keys);
    Ok(if clusters { RUN_ROWS } else { 1 })
}

/// A spine on its way past the lookups.
struct Answering {
    join: PartitionJoin,
    lookups: Arc<Lookups>,
    metrics: FoldMetrics,
    spine: SendableRecordBatchStream,
    is_ended: bool,
    rows_max: usize,
    /// For the run.
    memory: MemoryReservation,
    run: Option<OrderedRun>,
}

impl Answering {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(run) = &mut self.run {
                let _timer = self.metrics.emit_time.timer();
                if let Some((batch, groups)) = run.next()? {
                    return self.lookups.answer(&self.join, &batch, &groups).map(Some);
                }
                self.run = None;
                self.memory.free();
            }
            if self.is_ended {
                return Ok(None);
            }
            self.run = Some(self.collect().await?);
        }
    }

    /// The next run. Where there is no memory for a long one it is short.
    async fn collect(&mut self) -> Result<OrderedRun> {
        let mut run = Run::default();
        let mut has_room = true;
        while has_room && !run.is_full(self.rows_max) {
            let Some(batch) = self.spine.try_next().await? else {
                self.is_ended = true;
                break;
            };
            let _timer = self.metrics.emit_time.timer();
            self.metrics.spine_rows.add(batch.num_rows());
            let groups = match self.lookups.indexes.get(self.lookups.widest) {
                Some(index) => index.find(&self.join.spine_keys(&batch), batch.num_rows())?,
                None => vec![NO_GROUP; batch.num_rows()],
            };
            run.push(batch, &groups);
            has_room = self.memory.try_resize(run.bytes()).is_ok();
        }
        let _timer = self.metrics.emit_time.timer();
        let groups = self.lookups.indexes.get(self.lookups.widest).map_or(0, BroadcastIndex::groups);
        run.ordered(groups, self.join.spec.spine_instant)
    }
}

/// Reads and indexes every lookup.
async fn index(join: &PartitionJoin, metrics: &FoldMetrics) -> Result<Lookups> {
    let memory = MemoryConsumer::new("point-in-time join, features").register(join.context.memory_pool());
    let mut indexes: Vec<BroadcastIndex> = Vec::with_capacity(join.spec.lookups.len());
    for (lookup, spec) in join.spec.lookups.iter().enumerate() {
        let before = memory.size();
        let (mut batches, mut bytes) = (Vec::new(), 0);
        let mut rows = join.lookup(lookup)?;
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() > 0 {
                // The columns are there twice while they are joined.
                bytes += 2 * batch.get_array_memory_size() + batch.num_rows() * ROW_BYTES_MAX;
                memory.try_resize(before + bytes)?;
                batches.push(batch);
            }
        }
        let _timer = metrics.index_time.timer();
        let index = BroadcastIndex::new(spec, &join.lookup_schema(lookup), &batches, join.spine_unit()?)?;
        drop(batches);
        memory.try_resize(before + index.memory_bytes())?;
        indexes.push(index);
    }
    metrics.memory_bytes.set(memory.size());
    let widest = (0..indexes.len()).max_by_key(|&lookup| indexes[lookup].groups()).unwrap_or(0);
    Ok(Lookups { indexes, widest, _memory: memory })
}

impl Lookups {
    /// The answers beside a batch of the spine; `groups` are those of its keys in the widest lookup.
    fn answer(&self, join: &PartitionJoin, batch: &RecordBatch, groups: &[u32]) -> Result<RecordBatch> {
        let keys = join.spine_keys(batch);
        let instants = batch.column(join.spec.spine_instant);
        let mut columns = batch.columns().to_vec();
        for (lookup, index) in self.indexes.iter().enumerate() {
            let own = if lookup == self.widest { None } else { Some(index.find(&keys, batch.num_rows())?) };
            let answers = index.answers(&keys, own.as_deref().unwrap_or(groups), instants)?;
            let matched: NullBuffer = answers.iter().map(|answer| answer.outcome.is_match()).collect();
            let ranks: Vec<u32> = answers.iter().map(|answer| answer.row).collect();
            let ranks = UInt32Array::new(ranks.into(), Some(matched.clone()));
            columns.extend(index.gather(&ranks)?);
            let outcomes: Vec<u8> = answers.iter().map(|answer| answer.outcome.code()).collect();
            columns.push(Arc::new(UInt8Array::from(outcomes)));
            let ages: Vec<i64> = answers.iter().map(|answer| answer.age).collect();
            columns.push(Arc::new(Int64Array::new(ages.into(), Some(matched))));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&join.schema), columns, &options)?)
    }
}
