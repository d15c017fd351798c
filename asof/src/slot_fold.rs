//! Runs one partition of the slot fold: collect the spine, fold each lookup in turn, emit.

use arrow::array::{Int64Array, RecordBatch, RecordBatchOptions, UInt8Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, Time};
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use std::sync::Arc;

use crate::account::PartAccount;
use crate::exec::PartitionJoin;
use crate::fold::{FoldedLookup, LookupFold};
use crate::fold_metrics::{FoldMetrics, LookupMetrics};
use crate::outcome::Outcome;
use crate::slot_index::{RowSlot, SlotIndex, SlotIndexBuilder};
use crate::slot_values::SpineSlots;
use crate::spec::LookupSpec;
use crate::spine_rows::{SpineCollector, SpineRows};

/// The output of one partition.
pub(crate) fn stream(
    join: PartitionJoin,
    metrics: &ExecutionPlanMetricsSet,
) -> BoxStream<'static, Result<RecordBatch>> {
    let metrics = FoldMetrics::new(metrics, join.partition(), join.spec.lookups.len());
    futures::stream::once(run(join, metrics)).try_flatten().boxed()
}

async fn run(
    join: PartitionJoin,
    metrics: FoldMetrics,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
    let mut memory = MemoryConsumer::new(format!("point-in-time join, partition {}", join.partition()))
        .register(join.context.memory_pool());
    let mut spine = SpineFold::new(&join)?;
    let mut stream = join.spine()?;
    while let Some(batch) = stream.try_next().await? {
        metrics.spine_rows.add(batch.num_rows());
        let _timer = metrics.index_time.timer();
        spine.push(&join, batch, &mut memory)?;
    }
    let (spine, index) = {
        let _timer = metrics.index_time.timer();
        spine.finish(&mut memory)?
    };
    metrics.sorted.set(usize::from(index.rows.is_sorted()));
    metrics.slots.set(index.slots());
    let mut folded = Vec::with_capacity(join.spec.lookups.len());
    for (lookup, spec) in join.spec.lookups.iter().enumerate() {
        let counts = &metrics.lookups[lookup];
        let rows = join.lookup(lookup)?.map(|batch| {
            let batch = batch?;
            count_rows(spec, &batch, counts)?;
            Ok(batch)
        });
        let schema = join.lookup_schema(lookup);
        folded.push(fold_lookup(spec, &schema, rows, &index, &mut memory, &metrics.fold_time).await?);
    }
    metrics.memory_bytes.set(memory.size());
    let emitter = Emitter {
        schema: Arc::clone(&join.schema),
        slots: SpineSlots::of(index, spine.wants_values(), &mut memory)?,
        spine,
        folded,
        _memory: memory,
        emit_time: metrics.emit_time.clone(),
    };
    Ok(futures::stream::iter(0..emitter.batches()).map(move |number| emitter.emit(number)))
}

/// Rows of a spine, on their way to an index.
pub(crate) struct SpineFold {
    builder: SlotIndexBuilder,
    rows: SpineCollector,
}

impl SpineFold {
    pub(crate) fn new(join: &PartitionJoin) -> Result<Self> {
        let schema = join.spine_schema();
        let clusters = join.spec.may_cluster(&schema);
        let key_types: Vec<DataType> =
            join.spec.spine_keys.iter().map(|&key| schema.field(key).data_type().clone()).collect();
        let builder = SlotIndexBuilder::new(&key_types, join.spine_unit()?)?.clustering(clusters);
        let builder = if clusters { builder.copying() } else { builder };
        Ok(Self { builder, rows: SpineCollector::new(schema, &join.spec, 1, clusters) })
    }

    /// Takes rows in; `memory` holds nothing else.
    pub(crate) fn push(
        &mut self,
        join: &PartitionJoin,
        batch: RecordBatch,
        memory: &mut MemoryReservation,
    ) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        self.builder.push(&join.spine_keys(&batch), batch.column(join.spec.spine_instant))?;
        let kept = self.rows.keeper()(batch)?;
        self.rows.push(0, rows, kept)?;
        memory.try_resize(self.rows.bytes() + self.builder.memory_bytes().0)
    }

    /// The rows and their index.
    pub(crate) fn finish(self, memory: &mut MemoryReservation) -> Result<(SpineRows, SlotIndex)> {
        let bytes = self.rows.bytes();
        let (held, more) = self.builder.memory_bytes();
        memory.try_resize(bytes + held + more)?;
        let index = self.builder.finish(1);
        memory.try_resize(bytes + index.memory_bytes() + self.rows.finish_bytes_max())?;
        let rows = self.rows.finish(&index.rows)?;
        memory.try_resize(bytes + index.memory_bytes())?;
        Ok((rows, index))
    }
}

/// Counts the rows of a batch of a lookup, when they come.
pub(crate) fn count_rows(spec: &LookupSpec, batch: &RecordBatch, counts: &LookupMetrics) -> Result<()> {
    match spec.account {
        None => counts.folded.add(batch.num_rows()),
        Some(column) => {
            let mut account = PartAccount::default();
            counts.received.add(count(account.take(batch.column(column))?));
            counts.folded.add(count(account.folded));
            counts.sent.add(count(account.sent));
        }
    }
    Ok(())
}

/// Streams one lookup through its fold.
pub(crate) async fn fold_lookup(
    spec: &LookupSpec,
    schema: &SchemaRef,
    mut rows: impl Stream<Item = Result<RecordBatch>> + Send + Unpin,
    index: &SlotIndex,
    memory: &mut MemoryReservation,
    time: &Time,
) -> Result<FoldedLookup> {
    let before = memory.size();
    let state = LookupFold::state_bytes(spec, index.slots());
    memory.try_grow(state)?;
    let mut fold = LookupFold::new(spec, schema, index)?;
    while let Some(batch) = rows.try_next().await? {
        let _timer = time.timer();
        fold.push(&batch)?;
        memory.try_resize(before + state + fold.retained_bytes())?;
        // Without room for the copy nothing is wrong yet; it is tried again with the next batch.
        if let Some(copy) = fold.compaction_bytes()
            && memory.try_grow(copy).is_ok()
        {
            fold.compact()?;
            memory.try_resize(before + state + fold.retained_bytes())?;
        }
    }
    let _timer = time.timer();
    let folded = fold.finish();
    memory.try_resize(before + folded.memory_bytes())?;
    Ok(folded)
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// Writes the answers beside the spine's rows.
pub(crate) struct Emitter {
    pub(crate) schema: SchemaRef,
    pub(crate) spine: SpineRows,
    pub(crate) slots: SpineSlots,
    pub(crate) folded: Vec<FoldedLookup>,
    pub(crate) _memory: MemoryReservation,
    pub(crate) emit_time: Time,
}

impl Emitter {
    /// How many batches there are.
    pub(crate) fn batches(&self) -> usize {
        self.spine.ranges().len()
    }

    /// The answers beside a batch of the spine.
    pub(crate) fn emit(&self, number: usize) -> Result<RecordBatch> {
        let _timer = self.emit_time.timer();
        let batch = self.spine.batch(number, &self.slots)?;
        let rows = batch.num_rows();
        let slots: Vec<RowSlot> =
            self.spine.ranges()[number].clone().map(|place| self.slots.rows.of(place)).collect();
        let mut columns = batch.columns().to_vec();
        for folded in &self.folded {
            let mut sources = Vec::with_capacity(rows);
            let mut outcomes = Vec::with_capacity(rows);
            let mut ages = Vec::with_capacity(rows);
            for slot in &slots {
                match *slot {
                    RowSlot::Slot(slot) => {
                        sources.push(folded.source(slot));
                        outcomes.push(folded.outcome(slot));
                        ages.push(folded.age(slot));
                    }
                    RowSlot::Unmatchable(outcome) => {
                        sources.push((0, 0));
                        outcomes.push(outcome.code());
                        ages.push(0);
                    }
                }
            }
            for payload in 0..folded.payload_columns() {
                columns.push(folded.gather(payload, &sources)?);
            }
            let matched: NullBuffer = outcomes
                .iter()
                .map(|&code| Outcome::from_code(code).is_some_and(Outcome::is_match))
                .collect();
            columns.push(Arc::new(UInt8Array::from(outcomes)));
            columns.push(Arc::new(Int64Array::new(ages.into(), Some(matched))));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
