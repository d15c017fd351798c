//! Cuts through the time of heavy keys, so that more than one task can work on a key.
//!
//! ```text
//! heavy key   ──────●───────────●─────────▶ time
//!            span 0    span 1      span 2        every other key: span 0
//! ```
//! The span is one more key of the join. A spine row is in the span of its instant, a lookup row in that of its visible time. A
//! spine row's winner may be earlier than its span; so each task hands on, for each span, the best of its rows that are
//! visible before it: what is carried into the span. Folding is a maximum, so the best of what is carried and of what is in
//! the span is the best of all. Which keys are cut and where changes no answer, only where the work is done.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Case, Expr, Operator, binary_expr, lit};

use crate::instants::{Instants, instant_column};
use crate::key_index::NO_GROUP;
use crate::slot_index::{SlotIndex, SlotIndexBuilder, as_u32};

/// The type of a column of spans.
pub(crate) const SPAN_TYPE: DataType = DataType::UInt32;

/// Where which keys are cut.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyCuts {
    /// An Arrow IPC stream of one batch: the keys, then the instant; sorted, no row twice.
    bytes: Vec<u8>,
}

impl KeyCuts {
    /// Cuts given as rows: the values of the keys in the order of the join's keys, then the first instant of a span.
    ///
    /// # Errors
    /// Types that cannot be compared.
    pub fn new(cuts: &RecordBatch) -> Result<Self> {
        let types = cuts.columns().iter().map(|column| SortField::new(column.data_type().clone()));
        let rows = RowConverter::new(types.collect())?.convert_columns(cuts.columns())?;
        // Before the least instant there is nothing to cut off.
        let (_, instants) = keys_and_instant(cuts)?;
        let instants = Instants::of(instants.as_ref())?;
        let mut order: Vec<usize> =
            (0..cuts.num_rows()).filter(|&row| instants.values[row] > i64::MIN).collect();
        order.sort_unstable_by_key(|&row| rows.row(row));
        order.dedup_by_key(|row| rows.row(*row));
        let order: UInt32Array = order.into_iter().map(|row| u32::try_from(row).ok()).collect();
        let sorted = take_record_batch(cuts, &order)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &sorted.schema())?;
        writer.write(&sorted)?;
        Ok(Self { bytes: writer.into_inner()? })
    }

    /// Cuts as [`Self::as_bytes`] gave them.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The cuts as they were given, sorted.
    ///
    /// # Errors
    /// Bytes that are no cuts.
    pub fn batch(&self) -> Result<RecordBatch> {
        let missing = || DataFusionError::Internal("there are no cuts of keys".to_owned());
        Ok(StreamReader::try_new(self.bytes.as_slice(), None)?.next().ok_or_else(missing)??)
    }

    /// The span of a row of the spine with these keys and this instant.
    ///
    /// # Errors
    /// Bytes that are no cuts.
    pub fn span(&self, keys: &[Expr], instant: &Expr) -> Result<Expr> {
        let cuts = self.batch()?;
        let (key_columns, instants) = keys_and_instant(&cuts)?;
        let is = |expr: &Expr, operator: Operator, column: &ArrayRef, row: usize| {
            let value = lit(ScalarValue::try_from_array(column, row)?);
            Ok::<_, DataFusionError>(binary_expr(expr.clone(), operator, value))
        };
        let mut of_keys = Vec::new();
        for rows in runs_of_keys(key_columns)? {
            let same = keys.iter().zip(key_columns);
            let same = same.map(|(key, column)| is(key, Operator::Eq, column, rows.start));
            let Some(is_key) = conjunction(same.collect::<Result<Vec<_>>>()?) else { continue };
            // The latest cut first: the first condition that holds answers.
            let spans = rows.clone().rev().map(|row| {
                let span = as_u32(row - rows.start + 1);
                Ok((is(instant, Operator::GtEq, instants, row)?, lit(span)))
            });
            of_keys.push((is_key, first_that_holds(spans.collect::<Result<_>>()?)));
        }
        Ok(first_that_holds(of_keys))
    }
}

/// The value of the first condition that holds, else span 0.
fn first_that_holds(values: Vec<(Expr, Expr)>) -> Expr {
    let none = lit(0_u32);
    if values.is_empty() {
        return none;
    }
    let values = values.into_iter().map(|(condition, value)| (Box::new(condition), Box::new(value)));
    Expr::Case(Case::new(None, values.collect(), Some(Box::new(none))))
}

/// A cut batch's key columns, and its instants.
fn keys_and_instant(cuts: &RecordBatch) -> Result<(&[ArrayRef], &ArrayRef)> {
    match cuts.columns().split_last() {
        Some((instants, keys)) if !keys.is_empty() => Ok((keys, instants)),
        _ => Err(DataFusionError::Internal("cuts of keys need a key and an instant".to_owned())),
    }
}

/// The rows of each key; equal keys lie together.
fn runs_of_keys(keys: &[ArrayRef]) -> Result<Vec<Range<usize>>> {
    Ok(arrow::compute::partition(keys)?.ranges())
}

/// The cuts, ready to be held against rows: each is a slot that ends just before it.
pub(crate) struct CutIndex {
    pub(crate) index: SlotIndex,
    /// The keys of each group.
    keys: Vec<ArrayRef>,
}

impl CutIndex {
    pub(crate) fn new(cuts: &KeyCuts) -> Result<Self> {
        let cuts = cuts.batch()?;
        let (keys, instants) = keys_and_instant(&cuts)?;
        let types: Vec<DataType> = keys.iter().map(|key| key.data_type().clone()).collect();
        let cut_at = Instants::of(instants.as_ref())?;
        // No cut is at the least instant there is.
        let before: Vec<Option<i64>> = cut_at.values.iter().map(|at| Some(at - 1)).collect();
        let mut builder = SlotIndexBuilder::new(&types, cut_at.unit)?;
        let first = UInt32Array::from(builder.push(keys, &instant_column(before, instants.data_type())?)?);
        let keys = keys.iter().map(|key| Ok(arrow::compute::take(key, &first, None)?));
        Ok(Self { keys: keys.collect::<Result<_>>()?, index: builder.finish(1) })
    }

    /// The span of a row of a group that is visible from `visible` on, in the cuts' unit; `None` is later than every instant.
    pub(crate) fn span(&self, group: u32, visible: Option<i64>) -> u32 {
        let Some(visible) = visible.filter(|_| group != NO_GROUP) else { return 0 };
        let slots = self.slots(group);
        let slot = self.index.first_at_or_after(group, visible).unwrap_or(slots.end);
        as_u32(slot - slots.start)
    }

    /// The cuts of a group.
    fn slots(&self, group: u32) -> Range<usize> {
        let starts = &self.index.slot_starts;
        starts[group as usize] as usize..starts[group as usize + 1] as usize
    }

    /// The span that begins where a slot ends.
    pub(crate) fn span_after(&self, slot: usize) -> u32 {
        as_u32(slot - self.slots(self.index.group_of(slot)).start + 1)
    }

    /// The keys of slots.
    pub(crate) fn keys_of(&self, slots: &[usize]) -> Result<Vec<ArrayRef>> {
        let groups: UInt32Array = slots.iter().map(|&slot| self.index.group_of(slot)).collect();
        self.keys.iter().map(|keys| Ok(arrow::compute::take(keys, &groups, None)?)).collect()
    }
}

/// Where the spans of heavy keys begin among the slots of a spine.
#[derive(Debug, Default)]
pub(crate) struct SlotSpans {
    /// First slot and number of each span that has slots, and after the last one of a key where the key ends, with 0.
    firsts: Vec<(u32, u32)>,
}

/// A span of a heavy key that has slots, and what lies before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carry {
    /// The slots of the key before the span.
    pub(crate) before: Range<usize>,
    /// The first slot of the span.
    pub(crate) into: usize,
}

impl SlotSpans {
    /// The spans of `cuts` in `index`.
    pub(crate) fn new(cuts: &KeyCuts, index: &SlotIndex) -> Result<Self> {
        let cuts = cuts.batch()?;
        let (keys, instants) = keys_and_instant(&cuts)?;
        let instants = Instants::of(instants.as_ref())?;
        let mut groups = Vec::new();
        index.keys.find(keys, cuts.num_rows(), &mut groups)?;
        let mut firsts = Vec::new();
        for rows in runs_of_keys(keys)? {
            // A part of the spine may lack the key.
            let group = groups[rows.start];
            if group == NO_GROUP {
                continue;
            }
            let mut of_key: Vec<(u32, u32)> = Vec::new();
            for (row, span) in rows.zip(1..) {
                let Some(first) = index.first_at_or_after(group, instants.values[row]) else { break };
                let first = as_u32(first);
                // A span without slots begins where the next one does.
                of_key.pop_if(|last| last.0 == first);
                of_key.push((first, span));
            }
            of_key.push((index.slot_starts[group as usize + 1], 0));
            firsts.push(of_key);
        }
        firsts.sort_unstable();
        Ok(Self { firsts: firsts.concat() })
    }

    /// The span of a slot.
    pub(crate) fn of(&self, slot: usize) -> u32 {
        let after = self.firsts.partition_point(|&(first, _)| first as usize <= slot);
        after.checked_sub(1).map_or(0, |last| self.firsts[last].1)
    }

    /// What is to be carried, and into which spans.
    pub(crate) fn carries(&self, index: &SlotIndex) -> Vec<Carry> {
        let spans = self.firsts.iter().filter(|&&(_, span)| span > 0);
        let carry = |&(into, _): &(u32, u32)| {
            let into = into as usize;
            let first = index.slot_starts[index.group_of(into) as usize] as usize;
            Carry { before: first..into, into }
        };
        spans.map(carry).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, TimestampSecondArray};
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn cuts(rows: &[(i64, i64)]) -> KeyCuts {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let instants: ArrayRef =
            Arc::new(TimestampSecondArray::from_iter_values(rows.iter().map(|row| row.1)));
        KeyCuts::new(&RecordBatch::try_from_iter([("k", keys), ("at", instants)]).unwrap()).unwrap()
    }

    #[test]
    fn cuts_are_sorted_and_none_is_there_twice() {
        let given = cuts(&[(7, 20), (5, 30), (7, 10), (7, 20), (5, i64::MIN)]);
        assert_eq!(given, cuts(&[(5, 30), (7, 10), (7, 20)]));
        let index = CutIndex::new(&given).unwrap();
        let mut groups = Vec::new();
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![7, 5, 6]));
        index.index.keys.find(&[keys], 3, &mut groups).unwrap();
        let spans = [i64::MIN, 9, 10, 19, 20, i64::MAX].map(|at| index.span(groups[0], Some(at)));
        assert_eq!(spans, [0, 0, 1, 1, 2, 2]);
        assert_eq!([29, 30].map(|at| index.span(groups[1], Some(at))), [0, 1]);
        assert_eq!([index.span(groups[2], Some(99)), index.span(groups[0], None)], [0, 0]);
    }

    #[test]
    fn spans_of_slots_skip_keys_and_spans_that_the_spine_lacks() {
        let mut builder = SlotIndexBuilder::new(&[DataType::Int64], TimeUnit::Second).unwrap();
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![5, 7, 7, 7, 7, 9]));
        let at: ArrayRef = Arc::new(TimestampSecondArray::from(vec![99, 1, 12, 31, 32, 99]));
        builder.push(&[keys], &at).unwrap();
        let index = builder.finish(1);
        // Of key 7 the slots 1 to 4; its span 2 is empty, its span 4 is later than all slots; key 8 is nowhere.
        let spans = SlotSpans::new(&cuts(&[(7, 10), (7, 20), (7, 30), (7, 40), (8, 1)]), &index).unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5].map(|slot| spans.of(slot)), [0, 0, 1, 3, 3, 0]);
        let carries = [Carry { before: 1..2, into: 2 }, Carry { before: 1..3, into: 3 }];
        assert_eq!(spans.carries(&index), carries);
    }
}
