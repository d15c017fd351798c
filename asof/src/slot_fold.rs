//! Runs one partition of the slot fold: collect the spine, fold each lookup in turn, emit.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt8Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, Time};
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use std::sync::Arc;

use crate::account::PartAccount;
use crate::exec::PartitionJoin;
use crate::fold::{FoldedLookup, LookupFold};
use crate::fold_metrics::FoldMetrics;
use crate::outcome::Outcome;
use crate::slot_index::{RowSlot, SlotIndex, SlotIndexBuilder};

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
    let (batches, index) = collect_spine(&join, &mut memory, &metrics).await?;
    metrics.slots.set(index.slots());
    let mut folded = Vec::with_capacity(join.spec.lookups.len());
    for lookup in 0..join.spec.lookups.len() {
        folded.push(fold_lookup(&join, lookup, &index, &mut memory, &metrics).await?);
    }
    metrics.memory_bytes.set(memory.size());
    let emitter = Emitter { join, index, folded, _memory: memory, emit_time: metrics.emit_time.clone() };
    let mut first_row = 0;
    let numbered = batches.into_iter().map(move |batch| {
        let first = first_row;
        first_row += batch.num_rows();
        (first, batch)
    });
    Ok(futures::stream::iter(numbered).map(move |(first, batch)| emitter.emit(first, &batch)))
}

/// Reads the spine's partition and indexes it.
async fn collect_spine(
    join: &PartitionJoin,
    memory: &mut MemoryReservation,
    metrics: &FoldMetrics,
) -> Result<(Vec<RecordBatch>, SlotIndex)> {
    let schema = join.spine_schema();
    let key_types: Vec<DataType> =
        join.spec.spine_keys.iter().map(|&key| schema.field(key).data_type().clone()).collect();
    let mut builder = SlotIndexBuilder::new(&key_types, join.spine_unit()?)?;
    let mut batches = Vec::new();
    let mut batch_bytes = 0;
    let mut stream = join.spine()?;
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        let _timer = metrics.index_time.timer();
        metrics.spine_rows.add(batch.num_rows());
        let keys: Vec<ArrayRef> =
            join.spec.spine_keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        builder.push(&keys, batch.column(join.spec.spine_instant))?;
        batch_bytes += batch.get_array_memory_size();
        memory.try_resize(batch_bytes + builder.memory_bytes().0)?;
        batches.push(batch);
    }
    let _timer = metrics.index_time.timer();
    let (held, more) = builder.memory_bytes();
    memory.try_resize(batch_bytes + held + more)?;
    let index = builder.finish(1);
    memory.try_resize(batch_bytes + index.memory_bytes())?;
    Ok((batches, index))
}

/// Streams one lookup through its fold.
async fn fold_lookup(
    join: &PartitionJoin,
    lookup: usize,
    index: &SlotIndex,
    memory: &mut MemoryReservation,
    metrics: &FoldMetrics,
) -> Result<FoldedLookup> {
    let spec = &join.spec.lookups[lookup];
    let before = memory.size();
    let state = LookupFold::state_bytes(spec, index.slots());
    memory.try_grow(state)?;
    let mut fold = LookupFold::new(spec, &join.lookup_schema(lookup), index)?;
    let mut stream = join.lookup(lookup)?;
    while let Some(batch) = stream.try_next().await? {
        let _timer = metrics.fold_time.timer();
        let counts = &metrics.lookups[lookup];
        match spec.account {
            None => counts.folded.add(batch.num_rows()),
            Some(column) => {
                let mut account = PartAccount::default();
                counts.received.add(count(account.take(batch.column(column))?));
                counts.folded.add(count(account.folded));
                counts.sent.add(count(account.sent));
            }
        }
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
    let _timer = metrics.fold_time.timer();
    let folded = fold.finish();
    memory.try_resize(before + folded.memory_bytes())?;
    Ok(folded)
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// Writes the answers beside the spine's rows.
struct Emitter {
    join: PartitionJoin,
    index: SlotIndex,
    folded: Vec<FoldedLookup>,
    _memory: MemoryReservation,
    emit_time: Time,
}

impl Emitter {
    fn emit(&self, first_row: usize, batch: &RecordBatch) -> Result<RecordBatch> {
        let _timer = self.emit_time.timer();
        let rows = batch.num_rows();
        let slots: Vec<RowSlot> = (first_row..first_row + rows).map(|row| self.index.row_slot(row)).collect();
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
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.join.schema), columns, &options)?)
    }
}
