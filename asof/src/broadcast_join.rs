//! The join of a spine that streams past: every lookup is held whole as steps, the spine is neither held nor exchanged.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array};
use arrow::buffer::NullBuffer;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use crate::broadcast_index::{BroadcastIndex, ROW_BYTES_MAX};
use crate::exec::PartitionJoin;
use crate::fold_metrics::FoldMetrics;

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
    let spine = join.spine()?;
    Ok(spine.map(move |batch| {
        let batch = batch?;
        let _timer = metrics.emit_time.timer();
        metrics.spine_rows.add(batch.num_rows());
        lookups.answer(&join, &batch)
    }))
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
    Ok(Lookups { indexes, _memory: memory })
}

impl Lookups {
    fn answer(&self, join: &PartitionJoin, batch: &RecordBatch) -> Result<RecordBatch> {
        let keys: Vec<ArrayRef> =
            join.spec.spine_keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        let instants = batch.column(join.spec.spine_instant);
        let mut columns = batch.columns().to_vec();
        for index in &self.indexes {
            let answers = index.answers(&keys, instants)?;
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
