//! The slot fold in one process: the spine is indexed once, every part of a lookup folds its own rows against that index,
//! the parts are merged, and only the winners' columns are read. Nothing is exchanged between partitions.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::runtime::JoinSet;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use rayon::iter::{
    IndexedParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator,
};
use tokio::sync::OnceCell;

use crate::exec::timestamp_unit;
use crate::fetched::{Fetched, fetch};
use crate::fold_metrics::FoldMetrics;
use crate::late::LateColumns;
use crate::locate::Locate;
use crate::locate_end::Winner;
use crate::locate_rows::LocateRows;
use crate::outcome::Outcome;
use crate::row_set::RowSet;
use crate::settle::{Deciders, settle};
use crate::slot_index::{RowSlot, RowSlots, SlotIndex, SlotIndexBuilder};
use crate::slot_values::SpineSlots;
use crate::spec::AsofSpec;
use crate::spine_rows::{Kept, SpineCollector, SpineRows};

/// Slots that one thread takes at a time, at least.
const SLOTS_AT_ONCE: usize = 1 << 14;

/// What all partitions of one join share: worked out by the first that is asked for its rows.
#[derive(Default)]
pub(crate) struct SharedFold {
    answers: OnceCell<std::result::Result<Arc<Answers>, Arc<DataFusionError>>>,
}

impl fmt::Debug for SharedFold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFold").field("is_begun", &self.answers.initialized()).finish()
    }
}

/// A whole join, ready to run.
#[derive(Clone)]
pub(crate) struct WholeJoin {
    pub(crate) spec: Arc<AsofSpec>,
    pub(crate) schema: SchemaRef,
    pub(crate) inputs: Vec<Arc<dyn ExecutionPlan>>,
    pub(crate) late: Vec<Arc<dyn LateColumns>>,
    pub(crate) context: Arc<TaskContext>,
}

/// The spine and, for each of its rows, how each lookup ended.
struct Answers {
    slots: SpineSlots,
    spine: SpineRows,
    /// The batches of each partition.
    dealt: Vec<Range<usize>>,
    lookups: Vec<LookupAnswers>,
    _memory: MemoryReservation,
}

struct LookupAnswers {
    winners: Vec<Winner>,
    fetched: Fetched,
}

/// The rows of one partition.
pub(crate) fn stream(
    join: WholeJoin,
    shared: Arc<SharedFold>,
    partition: usize,
    metrics: FoldMetrics,
) -> BoxStream<'static, Result<RecordBatch>> {
    futures::stream::once(run(join, shared, partition, metrics)).try_flatten().boxed()
}

async fn run(
    join: WholeJoin,
    shared: Arc<SharedFold>,
    partition: usize,
    metrics: FoldMetrics,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
    let schema = Arc::clone(&join.schema);
    let answers = shared
        .answers
        .get_or_init(|| async { answer(&join, &metrics).await.map(Arc::new).map_err(Arc::new) })
        .await;
    let answers = match answers {
        Ok(answers) => Arc::clone(answers),
        Err(error) => return Err(DataFusionError::Shared(Arc::clone(error))),
    };
    metrics.sorted.set(usize::from(answers.slots.rows.is_sorted()));
    let emit_time = metrics.emit_time.clone();
    Ok(futures::stream::iter(answers.dealt[partition].clone()).map(move |number| {
        let _timer = emit_time.timer();
        answers.emit(&schema, number)
    }))
}

/// Everything up to the spine's rows with their answers.
async fn answer(join: &WholeJoin, metrics: &FoldMetrics) -> Result<Answers> {
    let (spine, index, mut memory) = index_spine(join, metrics).await?;
    metrics.slots.set(index.slots());
    let mut found = Vec::with_capacity(join.spec.lookups.len());
    for lookup in 0..join.spec.lookups.len() {
        found.push(winners(join, lookup, &index, metrics, &mut memory).await?);
    }
    // From here on no key is looked up, and what is read late needs room.
    let Some(index) = Arc::into_inner(index) else {
        return Err(DataFusionError::Internal("the spine's index is still in use".to_owned()));
    };
    let slots = SpineSlots::of(index, spine.wants_values(), &mut memory)?;
    let mut lookups = Vec::with_capacity(found.len());
    for (lookup, winners) in found.into_iter().enumerate() {
        lookups.push(columns_of(join, lookup, winners, slots.rows.len(), &mut memory).await?);
    }
    metrics.memory_bytes.set(memory.size());
    let dealt = evenly(spine.ranges(), join.inputs[0].output_partitioning().partition_count());
    Ok(Answers { slots, spine, dealt, lookups, _memory: memory })
}

/// Reads all partitions of the spine, in parallel, and indexes their rows as they come.
async fn index_spine(
    join: &WholeJoin,
    metrics: &FoldMetrics,
) -> Result<(SpineRows, Arc<SlotIndex>, MemoryReservation)> {
    let memory = MemoryConsumer::new("point-in-time join, spine").register(join.context.memory_pool());
    let input = &join.inputs[0];
    let (schema, spec) = (input.schema(), &join.spec);
    let key_types: Vec<DataType> =
        spec.spine_keys.iter().map(|&key| schema.field(key).data_type().clone()).collect();
    let unit = timestamp_unit(&schema, spec.spine_instant)?;
    let clusters = spec.may_cluster(&schema);
    let mut builder = SlotIndexBuilder::new(&key_types, unit)?.clustering(clusters);
    let known = StatisticsContext::new().compute(input.as_ref(), &StatisticsArgs::new())?;
    if let Precision::Exact(rows) = known.num_rows {
        // Before there is that much of it: what cannot be held is an error, not the end of the process.
        memory.try_resize(builder.row_bytes(rows))?;
        builder.reserve(rows);
    }
    let partitions = input.output_partitioning().partition_count();
    let spine = SpineCollector::new(schema, spec, partitions, clusters);
    let keep = Arc::new(spine.keeper());
    let indexing = Arc::new(Mutex::new(Indexing { builder, spine, memory }));
    let mut tasks = JoinSet::new();
    for partition in 0..partitions {
        let mut stream = input.execute(partition, Arc::clone(&join.context))?;
        let (spec, keep, indexing) = (Arc::clone(spec), Arc::clone(&keep), Arc::clone(&indexing));
        let (time, spine_rows) = (metrics.index_time.clone(), metrics.spine_rows.clone());
        tasks.spawn(async move {
            while let Some(batch) = stream.try_next().await? {
                spine_rows.add(batch.num_rows());
                let read = Read::new(&spec, batch, keep.as_ref())?;
                // Who has read a batch indexes it, while it lies in its cache; the others read meanwhile. A lock of the runtime's
                // would put who waits for it behind what its own thread does next.
                let mut indexing = indexing.lock().unwrap_or_else(PoisonError::into_inner);
                let _timer = time.timer();
                indexing.push(partition, read)?;
            }
            Ok::<_, DataFusionError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(join_error)??;
    }
    let Some(indexing) = Arc::into_inner(indexing) else {
        return Err(DataFusionError::Internal("the spine is still being read".to_owned()));
    };
    let indexing = indexing.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Indexing { builder, spine, memory } = indexing;
    let _timer = metrics.index_time.timer();
    let (held, more) = builder.memory_bytes();
    memory.try_resize(spine.bytes() + held + more)?;
    let index = builder.finish(join.context.session_config().target_partitions());
    let bytes = spine.bytes() + index.memory_bytes();
    memory.try_resize(bytes + spine.finish_bytes_max())?;
    let spine = spine.finish(&index.rows)?;
    memory.try_resize(bytes)?;
    Ok((spine, Arc::new(index), memory))
}

/// The spine while it is read.
struct Indexing {
    builder: SlotIndexBuilder,
    spine: SpineCollector,
    memory: MemoryReservation,
}

impl Indexing {
    fn push(&mut self, partition: usize, read: Read) -> Result<()> {
        if read.rows == 0 {
            return Ok(());
        }
        self.builder.push(&read.keys, &read.instants)?;
        self.spine.push(partition, read.rows, read.kept)?;
        self.memory.try_resize(self.spine.bytes() + self.builder.memory_bytes().0)
    }
}

/// A batch of the spine that was read: what is indexed, and what is kept.
struct Read {
    rows: usize,
    keys: Vec<ArrayRef>,
    instants: ArrayRef,
    kept: Kept,
}

impl Read {
    fn new(spec: &AsofSpec, batch: RecordBatch, keep: impl Fn(RecordBatch) -> Result<Kept>) -> Result<Self> {
        let keys = spec.spine_keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        let instants = ArrayRef::clone(batch.column(spec.spine_instant));
        Ok(Self { rows: batch.num_rows(), keys, instants, kept: keep(batch)? })
    }
}

/// Batches of so many rows in their order, dealt so that every partition has about as many of all rows: threads then end together.
fn evenly(batches: &[Range<usize>], partitions: usize) -> Vec<Range<usize>> {
    let rows: usize = batches.iter().map(Range::len).sum();
    let mut dealt = Vec::with_capacity(partitions);
    let (mut next, mut rows_before) = (0, 0);
    for partition in 0..partitions {
        let first = next;
        // By the middle row.
        while let Some(batch) = batches.get(next)
            && (rows_before + batch.len() / 2) * partitions / rows.max(1) <= partition
        {
            rows_before += batch.len();
            next += 1;
        }
        dealt.push(first..next);
    }
    dealt
}

/// How each slot ended, in one lookup.
async fn winners(
    join: &WholeJoin,
    lookup: usize,
    index: &Arc<SlotIndex>,
    metrics: &FoldMetrics,
    memory: &mut MemoryReservation,
) -> Result<Vec<Winner>> {
    let late = &join.late[lookup];
    let at_once = join.context.session_config().target_partitions();
    let deciders = Deciders::of(&join.spec.lookups[lookup]);
    let mut locate =
        locate_lookup(join, lookup, index, !deciders.is_empty(), at_once, metrics, memory).await?;
    let tied = settle(&mut locate, &deciders, late, &join.context, at_once, memory).await?;
    let folded_bytes = locate.bytes();
    let _timer = metrics.fold_time.timer();
    let winners = locate.finish(&tied);
    memory.shrink(folded_bytes - winners.capacity() * size_of::<Winner>());
    Ok(winners)
}

/// Reads the columns of a lookup's winners, for a spine of so many rows.
async fn columns_of(
    join: &WholeJoin,
    lookup: usize,
    mut winners: Vec<Winner>,
    spine_rows: usize,
    memory: &mut MemoryReservation,
) -> Result<LookupAnswers> {
    let (spec, late) = (&join.spec.lookups[lookup], &join.late[lookup]);
    let columns: Vec<usize> = spec.payload.iter().map(|payload| payload.column).collect();
    let end = late.units().last().map_or(0, |unit| unit.end);
    if end > Winner::ROWS_MAX {
        return Err(DataFusionError::ResourcesExhausted(format!("lookup `{}` has {end} rows", spec.name)));
    }
    memory.try_grow(RowSet::bytes(end))?;
    let mut rows = RowSet::new(end);
    let found = winners.par_iter().with_min_len(SLOTS_AT_ONCE).filter_map(|winner| winner.place());
    found.for_each(|row| rows.insert(row));
    rows.seal();
    let units = join.context.session_config().target_partitions() * late.units_at_once();
    let fetched = fetch(late, &rows, &columns, &join.context, units, spine_rows).await?;
    memory.try_grow(fetched.bytes())?;
    winners.par_iter_mut().with_min_len(SLOTS_AT_ONCE).for_each(|winner| {
        if let Some(row) = winner.place() {
            winner.set_place(rows.rank(row));
        }
    });
    memory.shrink(RowSet::bytes(end));
    Ok(LookupAnswers { winners, fetched })
}

/// Folds every partition of a lookup, in parallel, and merges what they found.
async fn locate_lookup(
    join: &WholeJoin,
    lookup: usize,
    index: &Arc<SlotIndex>,
    keeps_rivals: bool,
    at_once: usize,
    metrics: &FoldMetrics,
    memory: &mut MemoryReservation,
) -> Result<Locate> {
    let input = &join.inputs[lookup + 1];
    let spec = &join.spec.lookups[lookup];
    let state = LocateRows::bytes(spec, index.slots());
    let mut tasks = JoinSet::new();
    let partitions: Vec<usize> = (0..input.output_partitioning().partition_count()).collect();
    // Each state has a place for every slot, so there are no more of them than threads; a fold of several streams takes what
    // comes first.
    for partitions in partitions.chunks(partitions.len().div_ceil(at_once.max(1)).max(1)) {
        let held = memory.new_empty();
        held.try_grow(state)?;
        let (spec, schema, index) = (spec.clone(), input.schema(), Arc::clone(index));
        let streams = partitions.iter().map(|&partition| input.execute(partition, Arc::clone(&join.context)));
        let mut stream = futures::stream::select_all(streams.collect::<Result<Vec<_>>>()?);
        let (rows, time) = (metrics.lookups[lookup].folded.clone(), metrics.fold_time.clone());
        tasks.spawn(async move {
            // Each thread touches its own: memory that is touched for the first time costs much.
            let mut locate = {
                let _timer = time.timer();
                LocateRows::new(&spec, &schema, index, keeps_rivals)?
            };
            while let Some(batch) = stream.try_next().await? {
                let _timer = time.timer();
                rows.add(batch.num_rows());
                locate.push(&batch)?;
                held.try_resize(state + locate.rival_bytes())?;
            }
            let locate = locate.end();
            held.try_resize(locate.bytes())?;
            Ok::<_, DataFusionError>((locate, held))
        });
    }
    let mut merged: Option<(Locate, MemoryReservation)> = None;
    while let Some(ended) = tasks.join_next().await {
        let (locate, held) = ended.map_err(join_error)??;
        match &mut merged {
            None => merged = Some((locate, held)),
            Some((all, held_by_all)) => {
                all.merge(locate);
                held_by_all.try_resize(all.bytes())?;
                drop(held);
            }
        }
    }
    match merged {
        Some((locate, held)) => {
            held.free();
            memory.try_grow(locate.bytes())?;
            Ok(locate)
        }
        None => Locate::new(spec, &input.schema(), Arc::clone(index), keeps_rivals),
    }
}

impl Answers {
    /// The answers beside a batch of the spine.
    fn emit(&self, schema: &SchemaRef, number: usize) -> Result<RecordBatch> {
        let batch = self.spine.batch(number, &self.slots)?;
        let rows = batch.num_rows();
        let mut columns = batch.columns().to_vec();
        for lookup in &self.lookups {
            lookup.emit(&self.slots.rows, self.spine.ranges()[number].clone(), &mut columns)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

impl LookupAnswers {
    fn emit(&self, slots: &RowSlots, places: Range<usize>, columns: &mut Vec<ArrayRef>) -> Result<()> {
        let winners = places.map(|place| match slots.of(place) {
            RowSlot::Slot(slot) => self.winners[slot],
            RowSlot::Unmatchable(outcome) => Winner::none(outcome),
        });
        let winners: Vec<Winner> = winners.collect();
        let outcomes: Vec<u8> = winners.iter().map(|winner| winner.outcome()).collect();
        // Winners are at most as many as slots, and these below 2³².
        let rank = |winner: &Winner| winner.place().map_or(0, |rank| u32::try_from(rank).unwrap_or(u32::MAX));
        let ranks: Vec<u32> = winners.iter().map(rank).collect();
        let ages: Vec<i64> = winners.iter().map(|winner| winner.age).collect();
        let matched: NullBuffer =
            outcomes.iter().map(|&code| Outcome::from_code(code).is_some_and(Outcome::is_match)).collect();
        let ranks = UInt32Array::new(ranks.into(), Some(matched.clone()));
        columns.extend(self.fetched.gather_all(&ranks)?);
        columns.push(Arc::new(UInt8Array::from(outcomes)));
        columns.push(Arc::new(Int64Array::new(ages.into(), Some(matched))));
        Ok(())
    }
}

fn join_error(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_dealt_evenly_and_in_order() {
        let table: [(&[usize], usize, &str); 5] = [
            (&[2, 2, 2, 2, 2], 3, "2 2|2|2 2"),
            (&[10, 1, 1], 2, "10|1 1"),
            (&[1, 1, 10], 2, "1 1|10"),
            (&[], 2, "|"),
            (&[8, 8, 8, 3], 1, "8 8 8 3"),
        ];
        for (given, partitions, expected) in table {
            let batches: Vec<Range<usize>> = given.iter().map(|&rows| 0..rows).collect();
            let sizes = |dealt: Range<usize>| {
                let sizes: Vec<String> = given[dealt].iter().map(usize::to_string).collect();
                sizes.join(" ")
            };
            let even: Vec<String> = evenly(&batches, partitions).into_iter().map(sizes).collect();
            assert_eq!(even.join("|"), expected, "{given:?}");
        }
    }
}
