//! Runs one part of a partial fold: index the spine once a task, fold the part's rows, read late what the candidates need,
//! hand them on with the part's account.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use crate::account::PartAccount;
use crate::candidates::CandidatesSpec;
use crate::exec::timestamp_unit;
use crate::fold_metrics::FoldMetrics;
use crate::instants::instant_column;
use crate::key_cuts::{Carry, SlotSpans};
use crate::late::LateColumns;
use crate::locate::{Locate, NO_ROW};
use crate::locate_rows::LocateRows;
use crate::settle::{Deciders, Tied, settle};
use crate::slot_index::{SlotIndex, SlotIndexBuilder, as_u32};

/// Units read ahead of the one that is handed on: enough to hide a store's latency.
const UNITS_AT_ONCE: usize = 2;

/// One part, ready to run.
pub(crate) struct PartFold {
    pub(crate) spec: Arc<CandidatesSpec>,
    pub(crate) schema: SchemaRef,
    pub(crate) lookup: Arc<dyn ExecutionPlan>,
    pub(crate) spine: Arc<dyn ExecutionPlan>,
    pub(crate) late: Arc<dyn LateColumns>,
    pub(crate) shared: Arc<SharedSpine>,
    pub(crate) partition: usize,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) metrics: FoldMetrics,
}

/// The spine as the parts of one task share it: worked out by the first that needs it.
#[derive(Default)]
pub(crate) struct SharedSpine {
    spine: OnceCell<std::result::Result<Arc<WholeSpine>, Arc<DataFusionError>>>,
}

impl fmt::Debug for SharedSpine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSpine").field("is_begun", &self.spine.initialized()).finish()
    }
}

struct WholeSpine {
    index: Arc<SlotIndex>,
    /// For each key column its values, by group.
    keys: Vec<ArrayRef>,
    spans: SlotSpans,
    _memory: MemoryReservation,
}

/// A row that is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pick {
    row: u64,
    /// The slot that it is a candidate of.
    slot: u32,
    /// A slot of the span that it is handed on for: the same one, or the first of a span that it is carried into.
    to: u32,
}

/// The part's candidates, then its account.
pub(crate) fn stream(fold: PartFold) -> BoxStream<'static, Result<RecordBatch>> {
    futures::stream::once(run(fold)).try_flatten().boxed()
}

async fn run(fold: PartFold) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
    let name = format!("candidates, partition {}", fold.partition);
    let mut memory = MemoryConsumer::new(name).register(fold.context.memory_pool());
    let spine =
        fold.shared.spine.get_or_init(|| async { fold.spine().await.map(Arc::new).map_err(Arc::new) });
    let spine = match spine.await {
        Ok(spine) => Arc::clone(spine),
        Err(error) => return Err(DataFusionError::Shared(Arc::clone(error))),
    };
    let deciders = Deciders::of(&fold.spec.lookup);
    let (mut locate, folded) = fold.locate(&spine.index, !deciders.is_empty(), &mut memory).await?;
    let tied = settle(&mut locate, &deciders, &fold.late, &fold.context, UNITS_AT_ONCE, &mut memory).await?;
    let mut picks = picks(&locate, &tied, &mut memory)?;
    let mut seen = later_than_candidates(&locate);
    carry(&locate, &tied, &spine, &mut picks, &mut seen, &mut memory)?;
    let sent = (picks.len() + seen.len()) as u64;
    fold.metrics.memory_bytes.set(memory.size());
    let emitter = Arc::new(Emitter { fold, spine, locate, picks, memory });
    let last = Arc::clone(&emitter);
    let tail = futures::stream::once(async move {
        let mut batches = last.seen_batches(&seen)?;
        batches.push(PartAccount { folded, sent }.batch(&last.fold.schema)?);
        Ok::<_, DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok)))
    });
    Ok(emitter.candidates().chain(tail.try_flatten()))
}

/// Best rows and those that they were chosen over, by row.
fn picks(locate: &Locate, tied: &[Tied], memory: &mut MemoryReservation) -> Result<Vec<Pick>> {
    let best = locate.candidates.iter().zip(0_u32..).filter(|(best, _)| best.row != NO_ROW);
    let count = best.clone().count() + tied.len();
    memory.try_grow(count * size_of::<Pick>())?;
    let mut picks = Vec::with_capacity(count);
    picks.extend(best.map(|(best, slot)| Pick { row: best.row, slot, to: slot }));
    picks.extend(tied.iter().map(|tied| Pick { row: tied.over, slot: tied.slot, to: tied.slot }));
    picks.sort_unstable();
    Ok(picks)
}

/// Adds what is carried into the spans of heavy keys: the best row before each, the one that it was chosen over, and under a
/// created cut the latest event seen.
fn carry(
    locate: &Locate,
    tied: &[Tied],
    spine: &WholeSpine,
    picks: &mut Vec<Pick>,
    seen: &mut Vec<(u32, i64)>,
    memory: &mut MemoryReservation,
) -> Result<()> {
    let carries = spine.spans.carries(&locate.index);
    memory.try_grow(carries.len() * (2 * size_of::<Pick>() + size_of::<(u32, i64)>()))?;
    picks.reserve_exact(2 * carries.len());
    seen.reserve_exact(carries.len());
    let (mut best, mut latest) = (None, None);
    let mut next = 0;
    for Carry { before, into } in carries {
        if next <= before.start {
            // Another key.
            (best, latest, next) = (None, None, before.start);
        }
        for slot in next..before.end {
            best = locate.better(best, slot);
            latest = latest.max(locate.seen.get(slot).copied().flatten());
        }
        next = before.end;
        let reaches = |time: i64| !locate.is_expired(into, time);
        let carried = best.filter(|&slot| reaches(locate.candidates[slot].time));
        let to = as_u32(into);
        if let Some(slot) = carried {
            let slot_number = as_u32(slot);
            picks.push(Pick { row: locate.candidates[slot].row, slot: slot_number, to });
            if let Ok(place) = tied.binary_search_by_key(&slot_number, |tied| tied.slot) {
                picks.push(Pick { row: tied[place].over, slot: slot_number, to });
            }
        }
        let held = carried.map(|slot| locate.candidates[slot].time);
        seen.extend(latest.filter(|&seen| reaches(seen) && held < Some(seen)).map(|seen| (to, seen)));
    }
    picks.sort_unstable();
    Ok(())
}

/// Under a created cut: slots with a later event time than their candidate's. Elsewhere nothing can be hidden that the
/// candidate does not answer.
fn later_than_candidates(locate: &Locate) -> Vec<(u32, i64)> {
    let seen = locate.seen.iter().zip(&locate.candidates).zip(0_u32..);
    seen.filter_map(|((seen, best), slot)| {
        let seen = (*seen)?;
        (best.row == NO_ROW || best.time < seen).then_some((slot, seen))
    })
    .collect()
}

impl PartFold {
    /// Reads the spine and indexes it.
    async fn spine(&self) -> Result<WholeSpine> {
        let memory = MemoryConsumer::new("candidates, spine").register(self.context.memory_pool());
        let schema = self.spine.schema();
        let places = &self.spec.spine_keys;
        let types: Vec<DataType> = places.iter().map(|&key| schema.field(key).data_type().clone()).collect();
        let unit = timestamp_unit(&schema, self.spec.spine_instant)?;
        let mut builder = SlotIndexBuilder::new(&types, unit)?.copying();
        let mut pieces: Vec<Vec<ArrayRef>> = types.iter().map(|_| Vec::new()).collect();
        let mut piece_bytes = 0;
        let mut stream = self.spine.execute(0, Arc::clone(&self.context))?;
        while let Some(batch) = stream.try_next().await? {
            let _timer = self.metrics.index_time.timer();
            self.metrics.spine_rows.add(batch.num_rows());
            let keys: Vec<ArrayRef> = places.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
            let first_seen = builder.push(&keys, batch.column(self.spec.spine_instant))?;
            if !first_seen.is_empty() {
                let rows = UInt32Array::from(first_seen);
                for (pieces, keys) in pieces.iter_mut().zip(&keys) {
                    let piece = take(keys, &rows, None)?;
                    piece_bytes += piece.get_array_memory_size();
                    pieces.push(piece);
                }
            }
            memory.try_resize(piece_bytes + builder.memory_bytes().0)?;
        }
        let _timer = self.metrics.index_time.timer();
        let (held, more) = builder.memory_bytes();
        // The values of the keys are there twice for a while.
        memory.try_resize(2 * piece_bytes + held + more)?;
        let index = Arc::new(builder.finish(1));
        let spans = self.spec.cuts.as_ref().map(|cuts| SlotSpans::new(cuts, &index));
        let mut keys = Vec::with_capacity(pieces.len());
        for (pieces, data_type) in pieces.iter().zip(&types) {
            let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
            keys.push(if pieces.is_empty() { new_null_array(data_type, 0) } else { concat(&pieces)? });
        }
        let key_bytes: usize = keys.iter().map(|keys| keys.get_array_memory_size()).sum();
        memory.try_resize(key_bytes + index.memory_bytes())?;
        self.metrics.slots.set(index.slots());
        Ok(WholeSpine { index, keys, spans: spans.transpose()?.unwrap_or_default(), _memory: memory })
    }

    /// Folds the part's rows; returns how many they were, too.
    async fn locate(
        &self,
        index: &Arc<SlotIndex>,
        keeps_rivals: bool,
        memory: &mut MemoryReservation,
    ) -> Result<(Locate, u64)> {
        let spec = &self.spec.lookup;
        let state = LocateRows::bytes(spec, index.slots());
        memory.try_grow(state)?;
        let mut locate = LocateRows::new(spec, &self.lookup.schema(), Arc::clone(index), keeps_rivals)?;
        let mut stream = self.lookup.execute(self.partition, Arc::clone(&self.context))?;
        let mut folded = 0;
        while let Some(batch) = stream.try_next().await? {
            let _timer = self.metrics.fold_time.timer();
            folded += batch.num_rows() as u64;
            self.metrics.lookups[0].folded.add(batch.num_rows());
            locate.push(&batch)?;
            memory.try_resize(state + locate.rival_bytes())?;
        }
        let locate = locate.end();
        memory.try_resize(locate.bytes())?;
        Ok((locate, folded))
    }
}

/// Writes what a part has found.
struct Emitter {
    fold: PartFold,
    spine: Arc<WholeSpine>,
    locate: Locate,
    picks: Vec<Pick>,
    memory: MemoryReservation,
}

impl Emitter {
    /// The candidates with their columns, unit by unit.
    fn candidates(self: Arc<Self>) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
        let spec = &self.fold.spec;
        let late: Vec<usize> = spec.lookup.late_created.into_iter().chain(spec.late_columns()).collect();
        let rows = self.fold.context.session_config().batch_size().max(1);
        let reading: Vec<_> = self
            .units()
            .into_iter()
            .map(|(unit, picks)| {
                let runs = runs(&self.picks[picks.clone()]);
                let (emitter, late, context) =
                    (Arc::clone(&self), late.clone(), Arc::clone(&self.fold.context));
                async move {
                    let late = if late.is_empty() {
                        Vec::new()
                    } else {
                        let columns = emitter.fold.late.fetch(unit, runs, late, context).await?;
                        columns.iter().map(|pieces| whole(pieces)).collect::<Result<_>>()?
                    };
                    Ok::<_, DataFusionError>((picks, late))
                }
            })
            .collect();
        futures::stream::iter(reading)
            .buffered(UNITS_AT_ONCE)
            .and_then(move |(picks, late)| {
                let emitter = Arc::clone(&self);
                async move {
                    let bytes: usize = late.iter().map(|column| column.get_array_memory_size()).sum();
                    let held = emitter.memory.new_empty();
                    held.try_grow(bytes)?;
                    if is_picked_again(&emitter.picks[picks.clone()]) {
                        // Its columns are copied.
                        held.try_grow(bytes)?;
                    }
                    let batch = emitter.batch(&emitter.picks[picks], late)?;
                    let pieces = (0..batch.num_rows()).step_by(rows).map(move |first| {
                        let _held = &held;
                        Ok(batch.slice(first, rows.min(batch.num_rows() - first)))
                    });
                    Ok(futures::stream::iter(pieces))
                }
            })
            .try_flatten()
    }

    /// The units that hold candidates, with the range of these.
    fn units(&self) -> Vec<(usize, Range<usize>)> {
        let mut units = Vec::new();
        let mut first = 0;
        for (unit, rows) in self.fold.late.units().iter().enumerate() {
            first += self.picks[first..].partition_point(|pick| pick.row < rows.start);
            let end = first + self.picks[first..].partition_point(|pick| pick.row < rows.end);
            if end > first {
                units.push((unit, first..end));
            }
            first = end;
        }
        units
    }

    fn batch(&self, picks: &[Pick], mut late: Vec<ArrayRef>) -> Result<RecordBatch> {
        let _timer = self.fold.metrics.emit_time.timer();
        let places = places(picks);
        let wanted = places.values().last().map_or(0, |&place| place as usize + 1);
        if let Some(column) = late.iter().find(|column| column.len() != wanted) {
            let found = column.len();
            return Err(DataFusionError::Internal(format!(
                "{wanted} rows were to be read late, {found} came"
            )));
        }
        if wanted < picks.len() {
            late = late.iter().map(|column| Ok(take(column, &places, None)?)).collect::<Result<_>>()?;
        }
        let slots: Vec<usize> = picks.iter().map(|pick| pick.slot as usize).collect();
        let times = slots.iter().map(|&slot| Some(self.locate.candidates[slot].time));
        let to: Vec<usize> = picks.iter().map(|pick| pick.to as usize).collect();
        let mut columns = self.keys(&to)?;
        columns.push(instant_column(times.collect(), self.column_type(columns.len()))?);
        if self.fold.spec.lookup.late_created.is_some() {
            columns.push(late.remove(0));
        } else if self.fold.spec.lookup.created.is_some() {
            // A row that ties with a candidate has its created time, too.
            let created = slots.iter().map(|&slot| self.locate.created[slot]);
            columns.push(instant_column(created.collect(), self.column_type(columns.len()))?);
        }
        columns.extend(late);
        self.finish(columns, picks.len())
    }

    /// Rows without columns that say how late an event was seen; without a created time they are never eligible.
    fn seen_batches(&self, seen: &[(u32, i64)]) -> Result<Vec<RecordBatch>> {
        let rows = self.fold.context.session_config().batch_size().max(1);
        seen.chunks(rows)
            .map(|seen| {
                let slots: Vec<usize> = seen.iter().map(|&(slot, _)| slot as usize).collect();
                let mut columns = self.keys(&slots)?;
                let times = seen.iter().map(|&(_, time)| Some(time)).collect();
                columns.push(instant_column(times, self.column_type(columns.len()))?);
                self.finish(columns, seen.len())
            })
            .collect()
    }

    /// The keys of slots, the span among them where keys are cut.
    fn keys(&self, slots: &[usize]) -> Result<Vec<ArrayRef>> {
        let groups: UInt32Array = slots.iter().map(|&slot| self.spine.index.group_of(slot)).collect();
        let keys = self.spine.keys.iter().map(|keys| Ok(take(keys, &groups, None)?));
        let mut keys = keys.collect::<Result<Vec<_>>>()?;
        if self.fold.spec.cuts.is_some() {
            let spans: UInt32Array = slots.iter().map(|&slot| self.spine.spans.of(slot)).collect();
            keys.push(Arc::new(spans));
        }
        Ok(keys)
    }

    fn column_type(&self, column: usize) -> &DataType {
        self.fold.schema.field(column).data_type()
    }

    /// A batch whose missing last columns are null.
    fn finish(&self, mut columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let missing = &self.fold.schema.fields()[columns.len()..];
        columns.extend(missing.iter().map(|field| new_null_array(field.data_type(), rows)));
        Ok(RecordBatch::try_new(Arc::clone(&self.fold.schema), columns)?)
    }
}

/// The column that came in `pieces`, of which there is at least one.
fn whole(pieces: &[ArrayRef]) -> Result<ArrayRef> {
    match pieces {
        [only] => Ok(ArrayRef::clone(only)),
        pieces => Ok(concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?),
    }
}

/// Whether a row is picked several times; picks are sorted by row.
fn is_picked_again(picks: &[Pick]) -> bool {
    picks.array_windows().any(|[one, next]| one.row == next.row)
}

/// For each pick the place of its row among the rows, of which each is read once.
fn places(picks: &[Pick]) -> UInt32Array {
    let (mut place, mut last) = (0_u32, None);
    let place_of = |pick: &Pick| {
        place += u32::from(last.is_some_and(|row| row != pick.row));
        last = Some(pick.row);
        place
    };
    picks.iter().map(place_of).collect()
}

/// Runs of consecutive rows; a row may be picked several times.
fn runs(picks: &[Pick]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for pick in picks {
        match runs.last_mut() {
            Some(last) if last.end > pick.row => {}
            Some(last) if last.end == pick.row => last.end += 1,
            _ => runs.push(pick.row..pick.row + 1),
        }
    }
    runs
}
