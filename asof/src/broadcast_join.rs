//! The join of a spine that streams past: every lookup is held whole as steps, the spine is neither held nor exchanged.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array};
use arrow::buffer::NullBuffer;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::stream::{BoxStream, Fuse, Stream, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use crate::broadcast_index::{BroadcastIndex, ROW_BYTES_MAX};
use crate::clustered_runs::Run;
use crate::exec::PartitionJoin;
use crate::fold_metrics::FoldMetrics;
use crate::slot_index::is_worth_clustering;

/// Runs of all partitions take one part in so many of the memory at most.
const RUNS_SHARE: usize = 8;

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
    /// The values of that one's keys, if they are of one integer and the spine may be clustered.
    integers: Vec<i64>,
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
    let spine = join.spine()?.fuse();
    let memory =
        MemoryConsumer::new("point-in-time join, runs of the spine").register(join.context.memory_pool());
    let answering = Answering { join, lookups, metrics, spine, state: State::Begun, waiting: None, memory };
    Ok(futures::stream::try_unfold(answering, |mut answering| async move {
        Ok(answering.next().await?.map(|batch| (batch, answering)))
    }))
}

/// What clusters the spine in runs, where that is allowed and pays, and there is memory for runs that are long enough.
fn first_run(join: &PartitionJoin, lookups: &Lookups, memory: &MemoryReservation) -> Result<Option<Run>> {
    let schema = join.spine_schema();
    let keys = lookups.indexes.get(lookups.widest).map_or(0, BroadcastIndex::groups);
    let spine_keys = &join.spec.spine_keys;
    if !may_cluster(join) || keys == 0 {
        return Ok(None);
    }
    let bytes = match join.context.memory_pool().memory_limit() {
        MemoryLimit::Finite(limit) => limit / RUNS_SHARE / join.partitions().max(1),
        MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
    };
    let rows = Run::rows_max(&schema, spine_keys, join.spine_rows().unwrap_or(usize::MAX), bytes);
    if !is_worth_clustering(rows, keys)
        || memory.try_grow(Run::bytes_of_new(&schema, spine_keys, rows)).is_err()
    {
        return Ok(None);
    }
    Run::new(&schema, spine_keys, join.spec.spine_instant, keys, rows).map(Some)
}

/// Whether rows may be put near those of their key, if there is one.
fn may_cluster(join: &PartitionJoin) -> bool {
    let spec = &join.spec;
    let is_keyed = !spec.spine_keys.is_empty() && !spec.spine_keys.contains(&spec.spine_instant);
    is_keyed && spec.may_cluster(&join.spine_schema())
}

/// A spine on its way past the lookups.
struct Answering {
    join: PartitionJoin,
    lookups: Arc<Lookups>,
    metrics: FoldMetrics,
    spine: Fuse<SendableRecordBatchStream>,
    state: State,
    /// The first batch: what made it holds its memory by then.
    waiting: Option<RecordBatch>,
    /// For the run.
    memory: MemoryReservation,
}

/// How rows come out.
enum State {
    /// Nothing has come in yet.
    Begun,
    /// As they come.
    Passing,
    Clustering {
        run: Box<Run>,
        /// No more runs follow: the spine has ended, or there is no memory for them.
        is_last: bool,
    },
}

impl Answering {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Self { join, lookups, metrics, spine, state, waiting, memory } = self;
            match state {
                State::Begun => {
                    *waiting = spine.try_next().await?;
                    *state = match first_run(join, lookups, memory)? {
                        Some(run) => State::Clustering { run: Box::new(run), is_last: false },
                        None => State::Passing,
                    };
                }
                State::Passing => {
                    let Some(batch) = next_of(waiting, spine).await? else { return Ok(None) };
                    let _timer = metrics.emit_time.timer();
                    metrics.spine_rows.add(batch.num_rows());
                    return lookups.answer(join, &batch, None).map(Some);
                }
                State::Clustering { run, is_last } => {
                    let timer = metrics.emit_time.timer();
                    let widest = lookups.indexes[lookups.widest].keys();
                    let keys = |groups: &[u32]| widest.columns(&lookups.integers, groups);
                    if let Some((batch, groups)) = run.next(keys)? {
                        return lookups.answer(join, &batch, Some(&groups)).map(Some);
                    }
                    drop(timer);
                    if *is_last {
                        *state = State::Passing;
                        memory.free();
                        continue;
                    }
                    memory.try_resize(run.bytes())?;
                    while !*is_last && !run.is_full() {
                        let Some(batch) = next_of(waiting, spine).await? else {
                            *is_last = true;
                            break;
                        };
                        let _timer = metrics.emit_time.timer();
                        metrics.spine_rows.add(batch.num_rows());
                        let widest = &lookups.indexes[lookups.widest];
                        let groups = widest.find(&join.spine_keys(&batch), batch.num_rows())?;
                        run.push(&batch, &groups)?;
                        *is_last = memory.try_resize(run.bytes()).is_err();
                    }
                }
            }
        }
    }
}

/// The batch that waits, or the next one.
async fn next_of(
    waiting: &mut Option<RecordBatch>,
    spine: &mut Fuse<SendableRecordBatchStream>,
) -> Result<Option<RecordBatch>> {
    match waiting.take() {
        Some(batch) => Ok(Some(batch)),
        None => spine.try_next().await,
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
    let widest = (0..indexes.len()).max_by_key(|&lookup| indexes[lookup].groups()).unwrap_or(0);
    let mut integers = Vec::new();
    if let Some(index) = indexes.get(widest)
        && may_cluster(join)
    {
        memory.try_grow(index.keys().integers_bytes())?;
        integers = index.keys().integers();
    }
    metrics.memory_bytes.set(memory.size());
    Ok(Lookups { indexes, widest, integers, _memory: memory })
}

impl Lookups {
    /// The answers beside a batch of the spine; `groups` are those of its keys in the widest lookup, if they are known.
    fn answer(
        &self,
        join: &PartitionJoin,
        batch: &RecordBatch,
        groups: Option<&[u32]>,
    ) -> Result<RecordBatch> {
        let keys = join.spine_keys(batch);
        let instants = batch.column(join.spec.spine_instant);
        let mut columns = batch.columns().to_vec();
        for (lookup, index) in self.indexes.iter().enumerate() {
            let known = groups.filter(|_| lookup == self.widest);
            let found = if known.is_none() { index.find(&keys, batch.num_rows())? } else { Vec::new() };
            let answers = index.answers(&keys, known.unwrap_or(&found), instants)?;
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
