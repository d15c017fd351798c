//! Adds spans to a lookup's rows as they stream past, and hands on what is carried into the spans of heavy keys
//! ([`crate::KeyCuts`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;
use tokio::sync::mpsc::Sender;

use crate::account::{ACCOUNT_TYPE, PartAccount};
use crate::exec::timestamp_unit;
use crate::fold::LookupFold;
use crate::instants::{Instants, RoundUp, instant_column};
use crate::key_cuts::{CutIndex, KeyCuts, SPAN_TYPE};
use crate::key_index::NO_GROUP;
use crate::outcome::Outcome;
use crate::spec::{LookupSpec, PayloadColumn};

/// What is asked of a lookup whose rows are exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpansSpec {
    /// The lookup; its columns are positions in the input.
    pub lookup: LookupSpec,
    /// Where heavy keys are cut.
    pub cuts: KeyCuts,
}

impl SpansSpec {
    /// Columns: those of the input, the span, the account. All may be null.
    ///
    /// # Errors
    /// Keys of other types than those of the cuts.
    pub fn output_schema(&self, lookup: &Schema) -> Result<SchemaRef> {
        let cuts = self.cuts.batch()?;
        let types: Vec<&DataType> = cuts.columns().iter().map(|column| column.data_type()).collect();
        let keys: Vec<&DataType> =
            self.lookup.keys.iter().map(|&key| lookup.field(key).data_type()).collect();
        if types.split_last().is_none_or(|(_, types)| types != keys.as_slice()) {
            return Err(DataFusionError::Plan(format!(
                "lookup `{}` has keys {keys:?}, they are cut by {types:?}",
                self.lookup.name
            )));
        }
        let input = lookup.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let own = [Field::new("__span", SPAN_TYPE, true), Field::new("__account", ACCOUNT_TYPE, true)];
        Ok(Arc::new(Schema::new(input.chain(own).collect::<Vec<_>>())))
    }

    /// The lookup that a fold joins; `columns` is how many the input has.
    pub fn merged_lookup(&self, columns: usize) -> LookupSpec {
        let mut lookup = self.lookup.clone();
        lookup.keys.push(columns);
        lookup.account = Some(columns + 1);
        lookup
    }
}

/// One partition, ready to run.
pub(crate) struct Spans {
    pub(crate) spec: Arc<SpansSpec>,
    pub(crate) schema: SchemaRef,
    pub(crate) memory: MemoryReservation,
}

impl Spans {
    /// Streams the rows through, until nobody takes them any more.
    pub(crate) async fn run(
        self,
        mut rows: SendableRecordBatchStream,
        put: Sender<Result<RecordBatch>>,
    ) -> Result<()> {
        let lookup = &self.spec.lookup;
        let schema = rows.schema();
        let cuts = CutIndex::new(&self.spec.cuts)?;
        // What is carried has all columns.
        let payload =
            (0..schema.fields().len()).map(|column| PayloadColumn { column, output: String::new() });
        let carried = LookupSpec { payload: payload.collect(), ..lookup.clone() };
        let state = LookupFold::state_bytes(&carried, cuts.index.slots());
        self.memory.try_resize(state)?;
        let mut fold = LookupFold::new(&carried, &schema, &cuts.index)?;
        let mut placing = Placing::new(lookup, &schema, &cuts)?;
        let mut account = PartAccount::default();
        while let Some(batch) = rows.try_next().await? {
            account.folded += batch.num_rows() as u64;
            fold.push(&batch)?;
            // What was beaten goes before anything fails for want of memory: few rows are the best before a cut.
            let is_held = self.memory.try_resize(state + fold.retained_bytes()).is_ok();
            if !is_held || fold.compaction_bytes().is_some() {
                fold.compact()?;
                self.memory.try_resize(state + fold.retained_bytes())?;
            }
            let placed = placing.spans(&batch)?;
            let seen = match placed.seen.is_empty() {
                true => None,
                false => Some(self.only_seen(&batch, &placed.seen)?),
            };
            for batch in std::iter::once(self.with_spans(batch, placed.spans)?).chain(seen) {
                account.sent += batch.num_rows() as u64;
                if put.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
            }
        }
        let [best, tied] = self.best(fold, &cuts)?;
        for batch in [best, tied, self.latest(&placing)?] {
            account.sent += batch.num_rows() as u64;
            if batch.num_rows() > 0 && put.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        // Whether anybody has waited for the last one is not this end's to know.
        let _ = put.send(account.batch(&self.schema)).await;
        Ok(())
    }

    fn with_spans(&self, batch: RecordBatch, spans: Vec<u32>) -> Result<RecordBatch> {
        let accounts = new_null_array(&ACCOUNT_TYPE, batch.num_rows());
        let own: [ArrayRef; 2] = [Arc::new(UInt32Array::from(spans)), accounts];
        let columns = batch.columns().iter().cloned().chain(own);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?)
    }

    /// Rows that are seen in an earlier span than they are visible in: without a created time they are never eligible.
    fn only_seen(&self, batch: &RecordBatch, seen: &[(u32, u32)]) -> Result<RecordBatch> {
        let rows = UInt32Array::from_iter_values(seen.iter().map(|&(row, _)| row));
        let mut batch = take_record_batch(batch, &rows)?;
        if let Some(created) = self.spec.lookup.created {
            let (schema, mut columns, rows) = batch.into_parts();
            columns[created] = new_null_array(columns[created].data_type(), rows);
            let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
            batch = RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?;
        }
        self.with_spans(batch, seen.iter().map(|&(_, span)| span).collect())
    }

    /// The best rows before each cut, with all their columns. Of one that the tie columns chose also a row that it ties with: one
    /// without these columns loses to every row that was ever chosen, as null is lowest.
    fn best(&self, fold: LookupFold<'_>, cuts: &CutIndex) -> Result<[RecordBatch; 2]> {
        let folded = fold.finish();
        let outcomes = (0..cuts.index.slots()).map(|slot| Outcome::from_code(folded.outcome(slot)));
        let tied = outcomes.clone().map(|outcome| outcome == Some(Outcome::MatchedByTie));
        let slots_where = |holds: Vec<bool>| (0..holds.len()).filter(|&slot| holds[slot]).collect();
        let best: Vec<usize> = slots_where(outcomes.map(|o| o.is_some_and(Outcome::is_match)).collect());
        let tied: Vec<usize> = slots_where(tied.collect());
        let rows = |slots: &[usize], nulls: &[usize]| {
            let sources: Vec<(usize, usize)> = slots.iter().map(|&slot| folded.source(slot)).collect();
            let column = |column: usize| match nulls.contains(&column) {
                true => Ok(new_null_array(self.schema.field(column).data_type(), slots.len())),
                false if slots.is_empty() => Ok(new_null_array(self.schema.field(column).data_type(), 0)),
                false => folded.gather(column, &sources),
            };
            let mut columns: Vec<ArrayRef> =
                (0..folded.payload_columns()).map(column).collect::<Result<_>>()?;
            let spans: UInt32Array = slots.iter().map(|&slot| cuts.span_after(slot)).collect();
            columns.push(Arc::new(spans));
            columns.push(new_null_array(&ACCOUNT_TYPE, slots.len()));
            Ok::<_, DataFusionError>(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
        };
        Ok([rows(&best, &[])?, rows(&tied, &self.spec.lookup.ties)?])
    }

    /// Under a created cut the latest event before each cut, whenever it was created.
    fn latest(&self, placing: &Placing<'_>) -> Result<RecordBatch> {
        let latest = placing.latest();
        let slots: Vec<usize> = latest.iter().map(|&(slot, _)| slot).collect();
        let lookup = &self.spec.lookup;
        let mut columns: Vec<ArrayRef> =
            self.schema.fields().iter().map(|field| new_null_array(field.data_type(), slots.len())).collect();
        for (&column, keys) in lookup.keys.iter().zip(placing.cuts.keys_of(&slots)?) {
            columns[column] = keys;
        }
        let times = latest.iter().map(|&(_, time)| Some(time)).collect();
        columns[lookup.time] = instant_column(times, columns[lookup.time].data_type())?;
        let spans: UInt32Array = slots.iter().map(|&slot| placing.cuts.span_after(slot)).collect();
        let place = columns.len() - 2;
        columns[place] = Arc::new(spans);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Finds the spans of rows.
struct Placing<'a> {
    lookup: &'a LookupSpec,
    cuts: &'a CutIndex,
    round_time: RoundUp,
    /// Under a created cut.
    round_created: Option<RoundUp>,
    /// Under a created cut: for each cut the latest event in the span before it.
    seen: Vec<Option<i64>>,
    groups: Vec<u32>,
}

/// Where the rows of a batch belong.
struct Placed {
    spans: Vec<u32>,
    /// Rows that are seen in an earlier span, and that span.
    seen: Vec<(u32, u32)>,
}

impl<'a> Placing<'a> {
    fn new(lookup: &'a LookupSpec, schema: &SchemaRef, cuts: &'a CutIndex) -> Result<Self> {
        let unit = cuts.index.unit;
        let created = lookup.created.filter(|_| lookup.created_cut);
        let round_created = match created {
            Some(column) => Some(RoundUp::new(timestamp_unit(schema, column)?, unit)),
            None => None,
        };
        Ok(Self {
            lookup,
            cuts,
            round_time: RoundUp::new(timestamp_unit(schema, lookup.time)?, unit),
            seen: vec![None; if round_created.is_some() { cuts.index.slots() } else { 0 }],
            round_created,
            groups: Vec::new(),
        })
    }

    fn spans(&mut self, batch: &RecordBatch) -> Result<Placed> {
        let rows = batch.num_rows();
        let keys: Vec<ArrayRef> =
            self.lookup.keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        self.groups.clear();
        self.cuts.index.keys.find(&keys, rows, &mut self.groups)?;
        let times = Instants::of(batch.column(self.lookup.time).as_ref())?;
        let created = match (self.round_created, self.lookup.created) {
            (Some(round), Some(column)) => Some((round, Instants::of(batch.column(column).as_ref())?)),
            _ => None,
        };
        let mut placed = Placed { spans: vec![0; rows], seen: Vec::new() };
        for (row, &group) in self.groups.iter().enumerate() {
            if group == NO_GROUP || times.is_null(row) {
                continue;
            }
            let time = self.round_time.apply(times.values[row]);
            let own = self.cuts.span(group, time);
            placed.spans[row] = own;
            let Some((round, created)) = &created else { continue };
            if let Some(slot) = time.and_then(|time| self.cuts.index.first_at_or_after(group, time)) {
                self.seen[slot] = self.seen[slot].max(Some(times.values[row]));
            }
            // Without a created time a row is only seen.
            if created.is_null(row) {
                continue;
            }
            let visible = time.zip(round.apply(created.values[row])).map(|(time, created)| time.max(created));
            let span = self.cuts.span(group, visible);
            if visible.is_some() && span != own {
                placed.spans[row] = span;
                placed.seen.push((u32::try_from(row).unwrap_or(u32::MAX), own));
            }
        }
        Ok(placed)
    }

    /// For each cut with events before it, the latest of them.
    fn latest(&self) -> Vec<(usize, i64)> {
        let mut latest = Vec::new();
        if self.seen.is_empty() {
            return latest;
        }
        for bounds in self.cuts.index.slot_starts.windows(2) {
            let mut best = None;
            for slot in bounds[0] as usize..bounds[1] as usize {
                best = best.max(self.seen[slot]);
                latest.extend(best.map(|time| (slot, time)));
            }
        }
        latest
    }
}
