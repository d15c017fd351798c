//! The slot fold in one process: the spine is indexed once, every part of a lookup folds its own rows against that index,
//! the parts are merged, and only the winners' columns are read. Nothing is exchanged between partitions.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use crate::exec::timestamp_unit;
use crate::fetched::{Fetched, fetch};
use crate::fold_metrics::FoldMetrics;
use crate::late::LateColumns;
use crate::locate::{Locate, NO_ROW};
use crate::locate_rows::LocateRows;
use crate::outcome::Outcome;
use crate::row_set::RowSet;
use crate::settle::{Deciders, settle};
use crate::slot_index::{RowSlot, SlotIndex, SlotIndexBuilder};
use crate::spec::AsofSpec;

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
    index: Arc<SlotIndex>,
    /// For each partition its first row and its batches.
    spine: Vec<(usize, Vec<RecordBatch>)>,
    lookups: Vec<LookupAnswers>,
    _memory: MemoryReservation,
}

struct LookupAnswers {
    winners: Vec<Winner>,
    fetched: Fetched,
    payload_columns: usize,
}

/// How a slot ended; all that a spine row asks for, so that it waits for memory once.
#[derive(Debug, Clone, Copy)]
struct Winner {
    /// Nanoseconds, saturated.
    age: i64,
    /// Its place among the fetched rows. Winners are at most as many as slots, and these below 2³².
    rank: u32,
    /// The code of the outcome; unless it is a match, the rest has no meaning.
    outcome: u8,
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
    let (first_row, batches) = answers.spine[partition].clone();
    let mut next_row = first_row;
    let numbered = batches.into_iter().map(move |batch| {
        let first = next_row;
        next_row += batch.num_rows();
        (first, batch)
    });
    let emit_time = metrics.emit_time.clone();
    Ok(futures::stream::iter(numbered).map(move |(first, batch)| {
        let _timer = emit_time.timer();
        answers.emit(&schema, first, &batch)
    }))
}

/// Everything up to the spine's rows with their answers.
async fn answer(join: &WholeJoin, metrics: &FoldMetrics) -> Result<Answers> {
    let mut memory = MemoryConsumer::new("point-in-time join, spine").register(join.context.memory_pool());
    let spine = collect_spine(join, metrics, &mut memory).await?;
    let batch_bytes = memory.size();
    let index = index_spine(join, &spine, metrics, &mut memory)?;
    memory.try_resize(batch_bytes + index.memory_bytes())?;
    metrics.slots.set(index.slots());
    let mut lookups = Vec::with_capacity(join.spec.lookups.len());
    for lookup in 0..join.spec.lookups.len() {
        lookups.push(answer_lookup(join, lookup, &index, metrics, &mut memory).await?);
    }
    metrics.memory_bytes.set(memory.size());
    let mut first_row = 0;
    let spine = spine
        .into_iter()
        .map(|batches| {
            let first = first_row;
            first_row += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
            (first, batches)
        })
        .collect();
    Ok(Answers { index, spine, lookups, _memory: memory })
}

/// The batches of every partition of the spine, read in parallel.
async fn collect_spine(
    join: &WholeJoin,
    metrics: &FoldMetrics,
    memory: &mut MemoryReservation,
) -> Result<Vec<Vec<RecordBatch>>> {
    let partitions = join.inputs[0].output_partitioning().partition_count();
    let mut tasks = JoinSet::new();
    for partition in 0..partitions {
        let mut stream = join.inputs[0].execute(partition, Arc::clone(&join.context))?;
        let held = memory.new_empty();
        let rows = metrics.spine_rows.clone();
        tasks.spawn(async move {
            let mut batches = Vec::new();
            while let Some(batch) = stream.try_next().await? {
                if batch.num_rows() > 0 {
                    rows.add(batch.num_rows());
                    held.try_grow(batch.get_array_memory_size())?;
                    batches.push(batch);
                }
            }
            Ok::<_, DataFusionError>((partition, batches, held))
        });
    }
    let mut spine = vec![Vec::new(); partitions];
    while let Some(ended) = tasks.join_next().await {
        let (partition, batches, held) = ended.map_err(join_error)??;
        spine[partition] = batches;
        let bytes = held.free();
        memory.try_grow(bytes)?;
    }
    Ok(spine)
}

fn index_spine(
    join: &WholeJoin,
    spine: &[Vec<RecordBatch>],
    metrics: &FoldMetrics,
    memory: &mut MemoryReservation,
) -> Result<Arc<SlotIndex>> {
    let _timer = metrics.index_time.timer();
    let schema = join.inputs[0].schema();
    let spec = &join.spec;
    let key_types: Vec<DataType> =
        spec.spine_keys.iter().map(|&key| schema.field(key).data_type().clone()).collect();
    let before = memory.size();
    let mut builder = SlotIndexBuilder::new(&key_types, timestamp_unit(&schema, spec.spine_instant)?)?;
    builder.reserve(spine.iter().flatten().map(RecordBatch::num_rows).sum());
    for batch in spine.iter().flatten() {
        let keys: Vec<ArrayRef> =
            spec.spine_keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        builder.push(&keys, batch.column(spec.spine_instant))?;
        memory.try_resize(before + builder.memory_bytes().0)?;
    }
    let (held, more) = builder.memory_bytes();
    memory.try_resize(before + held + more)?;
    Ok(Arc::new(builder.finish(join.context.session_config().target_partitions())))
}

async fn answer_lookup(
    join: &WholeJoin,
    lookup: usize,
    index: &Arc<SlotIndex>,
    metrics: &FoldMetrics,
    memory: &mut MemoryReservation,
) -> Result<LookupAnswers> {
    let spec = &join.spec.lookups[lookup];
    let late = &join.late[lookup];
    let at_once = join.context.session_config().target_partitions();
    let deciders = Deciders::of(spec);
    let mut locate = locate_lookup(join, lookup, index, !deciders.is_empty(), metrics, memory).await?;
    let tied = settle(&mut locate, &deciders, late, &join.context, at_once, memory).await?;
    let outcomes = {
        let _timer = metrics.fold_time.timer();
        memory.try_grow(index.slots())?;
        locate.finish(&tied)
    };
    let found_bytes = locate.bytes() + index.slots();
    let columns: Vec<usize> = spec.payload.iter().map(|payload| payload.column).collect();
    let end = late.units().last().map_or(0, |unit| unit.end);
    memory.try_grow(RowSet::bytes(end))?;
    let mut rows = RowSet::new(end);
    for winner in &locate.candidates {
        if winner.row != NO_ROW {
            rows.insert(winner.row);
        }
    }
    rows.seal();
    let fetched = fetch(late, &rows, &columns, &join.context, at_once).await?;
    memory.try_grow(fetched.bytes())?;
    let winners = locate.candidates.into_iter().zip(outcomes).map(|(winner, outcome)| {
        let rank = if winner.row == NO_ROW { 0 } else { rows.rank(winner.row) };
        Winner { age: winner.time, rank: u32::try_from(rank).unwrap_or(u32::MAX), outcome }
    });
    let winners: Vec<Winner> = winners.collect();
    memory.shrink(RowSet::bytes(end) + found_bytes - winners.capacity() * size_of::<Winner>());
    Ok(LookupAnswers { winners, fetched, payload_columns: columns.len() })
}

/// Folds every partition of a lookup, in parallel, and merges what they found.
async fn locate_lookup(
    join: &WholeJoin,
    lookup: usize,
    index: &Arc<SlotIndex>,
    keeps_rivals: bool,
    metrics: &FoldMetrics,
    memory: &mut MemoryReservation,
) -> Result<Locate> {
    let input = &join.inputs[lookup + 1];
    let spec = &join.spec.lookups[lookup];
    let state = LocateRows::bytes(spec, index.slots());
    let mut tasks = JoinSet::new();
    for partition in 0..input.output_partitioning().partition_count() {
        let held = memory.new_empty();
        held.try_grow(state)?;
        let mut locate = LocateRows::new(spec, &input.schema(), Arc::clone(index), keeps_rivals)?;
        let mut stream = input.execute(partition, Arc::clone(&join.context))?;
        let (rows, time) = (metrics.lookups[lookup].folded.clone(), metrics.fold_time.clone());
        tasks.spawn(async move {
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
    /// The answers beside a batch of the spine whose first row has number `first_row`.
    fn emit(&self, schema: &SchemaRef, first_row: usize, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let slots: Vec<RowSlot> = (first_row..first_row + rows).map(|row| self.index.row_slot(row)).collect();
        let mut columns = batch.columns().to_vec();
        for lookup in &self.lookups {
            lookup.emit(&slots, &mut columns)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

impl LookupAnswers {
    fn emit(&self, slots: &[RowSlot], columns: &mut Vec<ArrayRef>) -> Result<()> {
        let winners = slots.iter().map(|slot| match *slot {
            RowSlot::Slot(slot) => self.winners[slot],
            RowSlot::Unmatchable(outcome) => Winner { age: 0, rank: 0, outcome: outcome.code() },
        });
        let winners: Vec<Winner> = winners.collect();
        let outcomes: Vec<u8> = winners.iter().map(|winner| winner.outcome).collect();
        let ranks: Vec<u32> = winners.iter().map(|winner| winner.rank).collect();
        let ages: Vec<i64> = winners.iter().map(|winner| winner.age).collect();
        let matched: NullBuffer =
            outcomes.iter().map(|&code| Outcome::from_code(code).is_some_and(Outcome::is_match)).collect();
        let ranks = UInt32Array::new(ranks.into(), Some(matched.clone()));
        for payload in 0..self.payload_columns {
            columns.push(self.fetched.gather(payload, &ranks)?);
        }
        columns.push(Arc::new(UInt8Array::from(outcomes)));
        columns.push(Arc::new(Int64Array::new(ages.into(), Some(matched))));
        Ok(())
    }
}

fn join_error(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
