//! Takes the narrow rows of one lookup, or of a part of it, to their slots. Where the slots' state is larger than a
//! processor's cache, rows are held back until many of them meet the same few slots, so that these are in the cache then
//! (radix partitioning: Manegold, Boncz and Kersten, Optimizing Main-Memory Join on Modern Hardware, 2002).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use datafusion::common::{DataFusionError, Result};

use crate::contest::{Contest, STRETCH_LOG2, Scratch};
use crate::instants::Instants;
use crate::key_index::NO_GROUP;
use crate::locate::Rival;
use crate::spec::LookupSpec;

/// Buckets at most; of more slots, each bucket has more.
const BUCKETS_MAX: usize = 512;
/// Rows that a bucket holds back at most.
const BUCKET_ROWS: usize = if cfg!(test) { 3 } else { 1024 };

/// A row that may serve slots of its group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NarrowRow {
    pub(crate) time: i64,
    /// Its ordinal.
    pub(crate) row: u64,
    pub(crate) group: u32,
}

/// A row with its created time, where that decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CreatedRow {
    pub(crate) row: NarrowRow,
    pub(crate) created: Option<i64>,
}

/// One thread's rows on their way to slots that all threads share.
pub(crate) struct LocateRows {
    contest: Arc<Contest>,
    keys: Vec<usize>,
    time: usize,
    created: Option<usize>,
    ordinal: usize,
    narrow: Buckets<NarrowRow>,
    with_created: Buckets<CreatedRow>,
    groups: Vec<u32>,
    scratch: Scratch,
    rivals: usize,
}

impl LocateRows {
    /// Rows for the slots of `contest`.
    ///
    /// # Errors
    /// A specification that names no ordinals.
    pub(crate) fn new(spec: &LookupSpec, contest: Arc<Contest>) -> Result<Self> {
        let Some(ordinal) = spec.ordinal else {
            return Err(DataFusionError::Internal(format!("lookup `{}` has no ordinals", spec.name)));
        };
        let slots = contest.index.slots();
        Ok(Self {
            narrow: Buckets::new(if spec.created.is_none() { slots } else { 0 }),
            with_created: Buckets::new(if spec.created.is_some() { slots } else { 0 }),
            keys: spec.keys.clone(),
            time: spec.time,
            created: spec.created,
            ordinal,
            groups: Vec::new(),
            scratch: Scratch::default(),
            rivals: 0,
            contest,
        })
    }

    /// Bytes that the rows of a thread take for so many slots.
    pub(crate) fn bytes(spec: &LookupSpec, slots: usize) -> usize {
        let row = if spec.created.is_some() { size_of::<CreatedRow>() } else { size_of::<NarrowRow>() };
        layout(slots).1 * BUCKET_ROWS * row
    }

    /// Bytes of the rows of this thread that await a decision; a vector may have twice its room.
    pub(crate) fn rival_bytes(&self) -> usize {
        2 * self.rivals * size_of::<Rival>()
    }

    /// Takes a batch in.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        self.groups.clear();
        let index = Arc::clone(&self.contest.index);
        index.keys.find(&keys, batch.num_rows(), &mut self.groups)?;
        let times = Instants::of(batch.column(self.time).as_ref())?;
        let ordinals = batch.column(self.ordinal).as_primitive::<UInt64Type>().values();
        let rows = self.groups.iter().zip(times.values.iter()).zip(ordinals).enumerate();
        let rows = rows.filter(|&(row, ((&group, _), _))| group != NO_GROUP && !times.is_null(row));
        let rows = rows.map(|(place, ((&group, &time), &row))| (place, NarrowRow { time, row, group }));
        let first = |group: u32| index.slot_starts[group as usize];
        let (contest, scratch) = (&self.contest, &mut self.scratch);
        if let Some(created) = self.created {
            let created = Instants::of(batch.column(created).as_ref())?;
            for (place, row) in rows {
                let created = (!created.is_null(place)).then(|| created.values[place]);
                let row = CreatedRow { row, created };
                self.rivals +=
                    self.with_created.push(first(row.row.group), row, |rows| contest.offer_created(rows));
            }
        } else {
            for (_, row) in rows {
                self.rivals += self.narrow.push(first(row.group), row, |rows| contest.offer(rows, scratch));
            }
        }
        Ok(())
    }

    /// Takes the rows that were held back to their slots, and gives these back.
    pub(crate) fn end(mut self) -> Arc<Contest> {
        for rows in &self.narrow.rows {
            self.contest.offer(rows, &mut self.scratch);
        }
        for rows in &self.with_created.rows {
            self.contest.offer_created(rows);
        }
        self.contest
    }
}

/// Rows held back, by the first slot of their group.
struct Buckets<T> {
    shift: u32,
    rows: Vec<Vec<T>>,
}

impl<T> Buckets<T> {
    fn new(slots: usize) -> Self {
        let (shift, buckets) = layout(slots);
        Self { shift, rows: (0..buckets).map(|_| Vec::with_capacity(BUCKET_ROWS)).collect() }
    }

    /// Holds a row back; `offer` takes those of its bucket when there are enough, and what it returns is returned.
    #[inline]
    fn push(&mut self, first_slot: u32, row: T, offer: impl FnOnce(&[T]) -> usize) -> usize {
        let bucket = &mut self.rows[(first_slot >> self.shift) as usize];
        bucket.push(row);
        if bucket.len() < BUCKET_ROWS {
            return 0;
        }
        let rivals = offer(bucket);
        bucket.clear();
        rivals
    }
}

/// Slots of a bucket as a power of two, and how many buckets; a group may start past the last slot, if it has none.
fn layout(slots: usize) -> (u32, usize) {
    let mut shift = STRETCH_LOG2;
    while (slots >> shift) + 1 > BUCKETS_MAX {
        shift += 1;
    }
    (shift, (slots >> shift) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_bucket_and_buckets_are_bounded() {
        for slots in [0, 1, 32_767, 32_768, 49_152, 5_000_000, 16_777_216, u32::MAX as usize] {
            let (shift, buckets) = layout(slots);
            assert!(buckets <= BUCKETS_MAX, "{slots}");
            assert!(slots >> shift < buckets, "{slots}");
            assert!(shift == STRETCH_LOG2 || slots >> (shift - 1) >= BUCKETS_MAX, "{slots}");
        }
    }
}
