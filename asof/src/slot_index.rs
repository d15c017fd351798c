//! The spine as slots: for each key the distinct instants in ascending order.
//!
//! ```text
//! key A   ──●───────●──●────────▶ time      slots 0 1 2
//! key B   ─────●───────────●────▶           slots 3 4
//! ```
//! A lookup row visible at `v` belongs to the first slot of its key whose instant is not before `v`; it can
//! serve that slot and every later one of the key, so one running maximum along a key's slots answers all.

use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::ArrayRef;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use rayon::iter::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator,
};

use crate::instants::Instants;
use crate::key_index::{KeyIndex, NO_GROUP};
use crate::outcome::Outcome;
use crate::search::{Sought, partition_points};

/// Rows that one thread takes at a time, at least.
const ROWS_AT_ONCE: usize = 1 << 16;
/// Putting rows near those of the same key saves nothing where keys have fewer.
const KEY_ROWS_MIN: usize = if cfg!(test) { 2 } else { 4 };
/// Rows and slots are numbered with 32 bits in one partition.
const ROWS_MAX: usize = (u32::MAX - 8) as usize;
/// Among the slots of rows: the row serves none.
pub(crate) const NO_SLOT: u32 = u32::MAX;
/// In [`RowSlots`]: the row has no instant.
const NULL_INSTANT: u32 = u32::MAX;
/// In [`RowSlots`]: the row has a null key.
const NULL_KEY: u32 = u32::MAX - 1;

/// Where a spine row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowSlot {
    Slot(usize),
    Unmatchable(Outcome),
}

/// Collects spine rows; [`Self::finish`] makes the index.
pub(crate) struct SlotIndexBuilder {
    keys: KeyIndex,
    unit: TimeUnit,
    groups: Vec<u32>,
    /// Those of each batch: the batch's own, not a copy.
    instants: Vec<ScalarBuffer<i64>>,
    /// Whether they are copies after all.
    copies: bool,
    instant_nulls: Vec<u32>,
    clusters: bool,
}

impl SlotIndexBuilder {
    pub(crate) fn new(key_types: &[DataType], unit: TimeUnit) -> Result<Self> {
        Ok(Self {
            keys: KeyIndex::new(key_types)?,
            unit,
            groups: Vec::new(),
            instants: Vec::new(),
            copies: false,
            instant_nulls: Vec::new(),
            clusters: false,
        })
    }

    /// Whether the rows may be put in another order: by key and instant, those that have no slot last. That is done where many
    /// rows share a key.
    pub(crate) fn clustering(self, clusters: bool) -> Self {
        Self { clusters, ..self }
    }

    /// For batches that nobody keeps: holding a part of one would hold all of it.
    pub(crate) fn copying(self) -> Self {
        Self { copies: true, ..self }
    }

    /// Bytes that room for so many rows takes, and their keys until they are counted.
    pub(crate) fn row_bytes(&self, rows: usize) -> usize {
        rows.saturating_mul(size_of::<u32>()).saturating_add(self.keys.reserve_bytes_max(rows))
    }

    /// Makes room for so many rows: memory that grows by doubling is filled twice.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.groups.reserve_exact(rows);
        self.keys.reserve(rows);
    }

    /// Takes a batch in; returns which of its rows are the first of their keys.
    pub(crate) fn push(&mut self, keys: &[ArrayRef], instants: &ArrayRef) -> Result<Vec<u32>> {
        let rows = instants.len();
        let mut next_group = as_u32(self.keys.groups());
        let first = self.groups.len();
        if first + rows > ROWS_MAX {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "more than {ROWS_MAX} spine rows in one partition: use more partitions"
            )));
        }
        self.keys.insert(keys, rows, &mut self.groups)?;
        let instants = Instants::of(instants.as_ref())?;
        self.instant_nulls
            .extend((0..rows).filter(|&row| instants.is_null(row)).map(|row| as_u32(first + row)));
        self.instants.push(if self.copies { instants.values.to_vec().into() } else { instants.values });
        // Groups are numbered in order of first sight.
        let is_first = |&(&group, _): &(&u32, u32)| {
            let is_first = group == next_group;
            next_group += u32::from(is_first);
            is_first
        };
        Ok(self.groups[first..].iter().zip(0..).filter(is_first).map(|(_, row)| row).collect())
    }

    /// Bytes held now, the instants of batches that others keep apart, and bytes that [`Self::finish`] will need on top for a while.
    pub(crate) fn memory_bytes(&self) -> (usize, usize) {
        // Where rows are clustered, nobody else keeps the batches.
        let is_own = self.copies || self.clusters;
        let instants = if is_own { self.groups.len() * size_of::<i64>() } else { 0 };
        let numbers = (self.groups.capacity() + self.instant_nulls.capacity()) * size_of::<u32>();
        let held = self.keys.memory_bytes() + numbers + instants;
        let groups = self.keys.groups() * 3 * 4 + self.keys.seal_bytes_max();
        (held, self.groups.len() * (16 + 8 + 4) + groups)
    }

    /// Sorts the rows of each key by their instants, on up to `threads` threads.
    pub(crate) fn finish(mut self, threads: usize) -> SlotIndex {
        self.keys.seal();
        // From here on a row without a key or an instant says so in place of its group.
        for group in &mut self.groups {
            *group = if *group == NO_GROUP { NULL_KEY } else { *group };
        }
        for &row in &self.instant_nulls {
            self.groups[row as usize] = NULL_INSTANT;
        }
        let clusters = self.clusters && is_worth_clustering(self.groups.len(), self.keys.groups());
        // Where rows come out by slot, that tells their groups.
        let kept_groups = (self.clusters && !clusters).then(|| self.groups.clone());
        if clusters {
            let new = self.keys.sort();
            self.groups.par_iter_mut().with_min_len(ROWS_AT_ONCE).for_each(|group| {
                *group = new.get(*group as usize).copied().unwrap_or(*group);
            });
        }
        // Where the rows of each key begin, once they lie together.
        let mut starts = vec![0_u32; self.keys.groups() + 1];
        for &group in &self.groups {
            if group < NULL_KEY {
                starts[group as usize + 1] += 1;
            }
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        // Each thread has keys of its own. When all have sorted theirs, the slots of rows take the place of their groups.
        let row_groups: Vec<AtomicU32> = self.groups.into_iter().map(AtomicU32::new).collect();
        let mut slot_instants = vec![0_i64; starts.last().copied().unwrap_or(0) as usize];
        let mut rest = slot_instants.as_mut_slice();
        let parts: Vec<(Range<usize>, &mut [i64])> = parts(&starts, threads)
            .into_iter()
            .map(|groups| {
                let rows = starts[groups.end] - starts[groups.start];
                let (own, after) = std::mem::take(&mut rest).split_at_mut(rows as usize);
                rest = after;
                (groups, own)
            })
            .collect();
        let parts: Vec<KeyedRows> = parts
            .into_par_iter()
            .map(|(groups, own)| KeyedRows::sorted(&self.instants, groups, &starts, &row_groups, own))
            .collect();
        let mut slot_starts = Vec::with_capacity(starts.len());
        let mut numbered = Vec::with_capacity(parts.len());
        let (mut slots, mut rows) = (0, 0);
        for part in &parts {
            numbered.push((part, as_u32(slots)));
            slot_starts.extend(part.starts.iter().map(|&start| as_u32(slots) + start));
            // Equal instants of a key are one slot: what follows moves up.
            slot_instants.copy_within(rows..rows + part.slots, slots);
            (slots, rows) = (slots + part.slots, rows + part.rows.len());
        }
        slot_instants.truncate(slots);
        slot_instants.shrink_to_fit();
        slot_starts.push(as_u32(slots));
        let mut rows = RowSlots { slots: Vec::new(), order: None, came_groups: kept_groups };
        if clusters {
            let groups: Vec<u32> = row_groups.into_iter().map(AtomicU32::into_inner).collect();
            rows = RowSlots::clustered(&numbered, groups);
        } else {
            numbered.into_par_iter().for_each(|(part, first)| part.number(first, &row_groups));
            rows.slots = row_groups.into_iter().map(AtomicU32::into_inner).collect();
        }
        SlotIndex { keys: self.keys, unit: self.unit, slot_starts, slot_instants, rows }
    }
}

/// Whether so many rows of so many keys are to be put near those of the same key, if they may.
pub(crate) fn is_worth_clustering(rows: usize, keys: usize) -> bool {
    rows / KEY_ROWS_MIN >= keys
}

/// Ranges of groups with about as many rows each.
fn parts(starts: &[u32], parts: usize) -> Vec<Range<usize>> {
    let (groups, rows) = (starts.len() - 1, starts.last().copied().unwrap_or(0) as usize);
    let parts = parts.max(1);
    let mut ranges = Vec::with_capacity(parts);
    let mut begin = 0;
    for part in 1..=parts {
        let wanted = rows / parts * part;
        let end = if part == parts {
            groups
        } else {
            starts.partition_point(|&start| (start as usize) < wanted).clamp(begin, groups)
        };
        ranges.push(begin..end);
        begin = end;
    }
    ranges
}

/// The rows of some keys, each key's together and by instant.
struct KeyedRows {
    /// First row of each key, and one past the last.
    bounds: Vec<u32>,
    /// Instant and row.
    rows: Vec<(i64, u32)>,
    /// First slot of each key.
    starts: Vec<u32>,
    /// How many slots there are.
    slots: usize,
}

impl KeyedRows {
    /// Sorts the rows of `groups`; the instants of their slots come first in `slot_instants`, which has a place for each row.
    fn sorted(
        instants: &[ScalarBuffer<i64>],
        groups: Range<usize>,
        starts: &[u32],
        row_groups: &[AtomicU32],
        slot_instants: &mut [i64],
    ) -> Self {
        let first = starts[groups.start];
        let bounds: Vec<u32> = starts[groups.start..=groups.end].iter().map(|&start| start - first).collect();
        let mut rows = vec![(0_i64, 0_u32); slot_instants.len()];
        let mut next = bounds.clone();
        let instants = instants.iter().flat_map(|batch| batch.iter());
        for ((row, group), &instant) in (0_u32..).zip(row_groups).zip(instants) {
            let group = group.load(Relaxed) as usize;
            // What stands for no group is far above every group.
            if groups.contains(&group) {
                let place = &mut next[group - groups.start];
                rows[*place as usize] = (instant, row);
                *place += 1;
            }
        }
        let mut starts = Vec::with_capacity(groups.len());
        let mut slots = 0;
        for bounds in bounds.windows(2) {
            starts.push(as_u32(slots));
            let rows = &mut rows[bounds[0] as usize..bounds[1] as usize];
            rows.sort_unstable();
            for same in rows.chunk_by(|one, other| one.0 == other.0) {
                slot_instants[slots] = same[0].0;
                slots += 1;
            }
        }
        Self { bounds, rows, starts, slots }
    }

    /// Writes the slot of each row; the first slot of these keys has number `first`.
    fn number(&self, first: u32, row_slots: &[AtomicU32]) {
        self.each(first, |_, row, slot| row_slots[row as usize].store(slot, Relaxed));
    }

    /// Tells of each row in order its place among these, its number, and its slot.
    fn each(&self, first: u32, mut tell: impl FnMut(usize, u32, u32)) {
        let mut place = 0;
        for (bounds, &start) in self.bounds.windows(2).zip(&self.starts) {
            let rows = &self.rows[bounds[0] as usize..bounds[1] as usize];
            for (same, slot) in rows.chunk_by(|one, other| one.0 == other.0).zip(first + start..) {
                for &(_, row) in same {
                    tell(place, row, slot);
                    place += 1;
                }
            }
        }
    }
}

/// The slots of one spine partition.
pub(crate) struct SlotIndex {
    pub(crate) keys: KeyIndex,
    pub(crate) unit: TimeUnit,
    /// First slot of each group, and one past the last.
    pub(crate) slot_starts: Vec<u32>,
    /// Instant of each slot, in the spine's unit, ascending inside a group.
    pub(crate) slot_instants: Vec<i64>,
    pub(crate) rows: RowSlots,
}

/// The slots of a spine's rows, in the order in which these are put out.
pub(crate) struct RowSlots {
    slots: Vec<u32>,
    /// The numbers of the rows, if that is not the order in which they came: by key and instant, those without a slot last.
    order: Option<Vec<u32>>,
    /// The groups of the rows in the order in which they came, where that is the order and slots do not tell; of rows without a slot,
    /// what stands for none.
    came_groups: Option<Vec<u32>>,
}

impl RowSlots {
    /// Rows by slot. `groups` says which of them have none, and gives its room.
    fn clustered(parts: &[(&KeyedRows, u32)], mut groups: Vec<u32>) -> Self {
        let slotless: Vec<(u32, u32)> = (0_u32..)
            .zip(&groups)
            .filter(|&(_, &group)| group >= NULL_KEY)
            .map(|(row, &reason)| (row, reason))
            .collect();
        let mut order = vec![0; groups.len()];
        let (mut slots_left, mut order_left) = (groups.as_mut_slice(), order.as_mut_slice());
        let mut pieces = Vec::with_capacity(parts.len());
        for &(part, first) in parts {
            let (slots, slots_after) = slots_left.split_at_mut(part.rows.len());
            let (order, order_after) = order_left.split_at_mut(part.rows.len());
            (slots_left, order_left) = (slots_after, order_after);
            pieces.push((part, first, slots, order));
        }
        pieces.into_par_iter().for_each(|(part, first, slots, order)| {
            part.each(first, |place, row, slot| (slots[place], order[place]) = (slot, row));
        });
        for ((slot, place), (row, reason)) in slots_left.iter_mut().zip(order_left).zip(slotless) {
            (*slot, *place) = (reason, row);
        }
        Self { slots: groups, order: Some(order), came_groups: None }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of the row that is put out at a place.
    pub(crate) fn of(&self, place: usize) -> RowSlot {
        match self.slot(place) {
            Some(slot) => RowSlot::Slot(slot as usize),
            None if self.slots[place] == NULL_KEY => RowSlot::Unmatchable(Outcome::NullKey),
            None => RowSlot::Unmatchable(Outcome::NullInstant),
        }
    }

    /// The slot of the row that is put out at a place, if it has one.
    pub(crate) fn slot(&self, place: usize) -> Option<u32> {
        Some(self.slots[place]).filter(|&slot| slot < NULL_KEY)
    }

    /// The groups of the rows at each place, if slots do not tell them.
    pub(crate) fn came_groups(&self) -> Option<&[u32]> {
        self.came_groups.as_deref()
    }

    /// The rows at each place, if they are not put out as they came.
    pub(crate) fn order(&self) -> Option<&[u32]> {
        self.order.as_deref()
    }

    /// Whether the rows are put out by key and instant, with none that has no place in such an order.
    pub(crate) fn is_sorted(&self) -> bool {
        self.order.is_some() && self.slots.last().is_none_or(|&slot| slot < NULL_KEY)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let others = self.order.iter().chain(&self.came_groups).map(Vec::capacity).sum::<usize>();
        (self.slots.capacity() + others) * size_of::<u32>()
    }
}

impl SlotIndex {
    pub(crate) fn slots(&self) -> usize {
        self.slot_instants.len()
    }

    /// The first slot of a group at or after an instant (in the spine's unit).
    #[inline]
    pub(crate) fn first_at_or_after(&self, group: u32, instant: i64) -> Option<usize> {
        let (start, end) =
            (self.slot_starts[group as usize] as usize, self.slot_starts[group as usize + 1] as usize);
        let slot = start + self.slot_instants[start..end].partition_point(|&at| at < instant);
        (slot < end).then_some(slot)
    }

    /// [`Self::first_at_or_after`] of each row, [`NO_SLOT`] where there is none; clears `slots`.
    pub(crate) fn first_at_or_after_each(&self, sought: &[Sought], slots: &mut Vec<u32>) {
        slots.clear();
        partition_points(&self.slot_starts, &self.slot_instants, sought, |&at, instant| at < instant, slots);
        for (slot, &(group, _)) in slots.iter_mut().zip(sought) {
            if group == NO_GROUP || *slot >= self.slot_starts[group as usize + 1] {
                *slot = NO_SLOT;
            }
        }
    }

    /// All groups, in ranges of about so many slots, but at least one group.
    pub(crate) fn stretches(&self, slots: usize) -> Vec<Range<usize>> {
        let groups = self.slot_starts.len() - 1;
        let mut stretches = Vec::new();
        let mut begin = 0;
        while begin < groups {
            let wanted = self.slot_starts[begin] as usize + slots;
            let end = self.slot_starts.partition_point(|&start| (start as usize) <= wanted);
            let end = (end - 1).clamp(begin + 1, groups);
            stretches.push(begin..end);
            begin = end;
        }
        stretches
    }

    /// The group that a slot is of.
    pub(crate) fn group_of(&self, slot: usize) -> u32 {
        group_at(&self.slot_starts, as_u32(slot))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes()
            + self.slot_starts.capacity() * 4
            + self.slot_instants.capacity() * 8
            + self.rows.memory_bytes()
    }
}

/// The group that a slot is of, by the first slots of groups.
pub(crate) fn group_at(starts: &[u32], slot: u32) -> u32 {
    // Groups without slots start where the next one does.
    as_u32(starts.partition_point(|&start| start <= slot) - 1)
}

/// Rows, and so slots and spans, stay below [`ROWS_MAX`], checked when rows are pushed.
pub(crate) fn as_u32(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, TimestampSecondArray};

    use super::*;

    #[test]
    fn equal_key_and_instant_share_a_slot_and_nulls_have_none() {
        let mut builder = SlotIndexBuilder::new(&[DataType::Int64], TimeUnit::Second).unwrap();
        let keys: ArrayRef =
            Arc::new(Int64Array::from(vec![Some(7), Some(7), None, Some(5), Some(7), Some(7), None]));
        let instants: ArrayRef = Arc::new(TimestampSecondArray::from(vec![
            Some(30),
            Some(10),
            Some(1),
            Some(20),
            Some(30),
            None,
            None,
        ]));
        assert_eq!(builder.push(&[keys], &instants).unwrap(), [0, 3]);
        let index = builder.finish(2);
        assert_eq!([0, 1, 2].map(|slot| index.group_of(slot)), [0, 0, 1]);
        assert_eq!(index.slot_instants, [10, 30, 20]);
        assert_eq!(index.slot_starts, [0, 2, 3]);
        let slots: Vec<RowSlot> = (0..7).map(|row| index.rows.of(row)).collect();
        let unmatchable = RowSlot::Unmatchable;
        assert_eq!(
            slots,
            [
                RowSlot::Slot(1),
                RowSlot::Slot(0),
                unmatchable(Outcome::NullKey),
                RowSlot::Slot(2),
                RowSlot::Slot(1),
                unmatchable(Outcome::NullInstant),
                unmatchable(Outcome::NullInstant),
            ]
        );
        assert_eq!(index.first_at_or_after(0, 11), Some(1));
        assert_eq!(index.first_at_or_after(0, 10), Some(0));
        assert_eq!(index.first_at_or_after(0, 31), None);
    }

    #[test]
    fn rows_are_put_near_those_of_their_key_where_keys_have_several() {
        // Keys and instants; what comes out, as row and slot, `k` or `i` where the one or the other is null.
        type Rows<'a> = &'a [(Option<i64>, Option<i64>)];
        let table: [(Rows<'_>, &str); 4] = [
            (
                &[(Some(7), Some(3)), (Some(5), Some(9)), (Some(7), Some(1)), (Some(5), Some(9))],
                "1:0 3:0 2:1 0:2",
            ),
            (&[(None, Some(3)), (Some(5), None), (Some(5), Some(2)), (Some(5), Some(1))], "3:0 2:1 0:k 1:i"),
            (
                &[(Some(7), Some(3)), (Some(5), Some(9)), (Some(6), Some(1)), (Some(5), Some(8))],
                "0:0 1:2 2:3 3:1",
            ),
            (&[], ""),
        ];
        for (rows, expected) in table {
            for (clusters, threads) in [(false, 1), (true, 1), (true, 3)] {
                let mut builder =
                    SlotIndexBuilder::new(&[DataType::Int64], TimeUnit::Second).unwrap().clustering(clusters);
                let keys: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
                let instants: ArrayRef =
                    Arc::new(rows.iter().map(|row| row.1).collect::<TimestampSecondArray>());
                builder.push(&[ArrayRef::clone(&keys)], &instants).unwrap();
                let index = builder.finish(threads);
                assert!(clusters || index.rows.order().is_none());
                let place = |place: usize| {
                    let row = index.rows.order().map_or(place, |order| order[place] as usize);
                    match index.rows.of(place) {
                        RowSlot::Slot(slot) => {
                            assert_eq!(Some(index.slot_instants[slot]), rows[row].1);
                            let mut groups = Vec::new();
                            index.keys.find(&[keys.slice(row, 1)], 1, &mut groups).unwrap();
                            assert_eq!(groups, [index.group_of(slot)]);
                            format!("{row}:{slot}")
                        }
                        RowSlot::Unmatchable(Outcome::NullKey) => format!("{row}:k"),
                        RowSlot::Unmatchable(_) => format!("{row}:i"),
                    }
                };
                let found: Vec<String> = (0..rows.len()).map(place).collect();
                if clusters {
                    assert_eq!(found.join(" "), expected);
                }
                let has_slots = !expected.contains(['k', 'i']);
                assert_eq!(index.rows.is_sorted(), index.rows.order().is_some() && has_slots);
            }
        }
    }
}
