//! Takes the narrow rows of one lookup, or of a part of it, to their slots. Where the slots' state is larger than a
//! processor's cache, rows are held back until many of them meet the same few slots, so that these are in the cache then
//! (radix partitioning: Manegold, Boncz and Kersten, Optimizing Main-Memory Join on Modern Hardware, 2002).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::common::{DataFusionError, Result};

use crate::instants::Instants;
use crate::key_index::NO_GROUP;
use crate::locate::Locate;
use crate::slot_index::SlotIndex;
use crate::spec::LookupSpec;

/// Slots of a bucket: candidates and instants of so many are 384 KiB, which a core's own cache holds. In tests of this
/// crate few, so that small cases have buckets.
const BUCKET_SLOTS_LOG2: u32 = if cfg!(test) { 1 } else { 14 };
/// Buckets at most; of more slots, each bucket has more.
const BUCKETS_MAX: usize = 512;
/// Rows that a bucket holds back at most.
const BUCKET_ROWS: usize = if cfg!(test) { 3 } else { 6144 };
/// Ordinals of rows that wait differ in so many bits at most.
const WINDOW_BITS: u32 = if cfg!(test) { 3 } else { u32::BITS };

/// A row that may serve slots of its group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NarrowRow {
    pub(crate) time: i64,
    pub(crate) group: u32,
    /// Its ordinal, from the first one of a window on.
    pub(crate) row: u32,
}

/// A fold that takes rows; [`Self::end`] gives what it has found.
pub(crate) struct LocateRows {
    locate: Locate,
    index: Arc<SlotIndex>,
    keys: Vec<usize>,
    time: usize,
    created: Option<usize>,
    ordinal: usize,
    buckets: Buckets,
    /// The first ordinal of the window in which all waiting rows are.
    window: u64,
    groups: Vec<u32>,
}

impl LocateRows {
    /// A fold of rows of `schema`; `keeps_rivals` where columns decide between rows of equal times.
    ///
    /// # Errors
    /// A specification that names no ordinals, or columns that are no instants.
    pub(crate) fn new(
        spec: &LookupSpec,
        schema: &SchemaRef,
        index: Arc<SlotIndex>,
        keeps_rivals: bool,
    ) -> Result<Self> {
        let Some(ordinal) = spec.ordinal else {
            return Err(DataFusionError::Internal(format!("lookup `{}` has no ordinals", spec.name)));
        };
        Ok(Self {
            locate: Locate::new(spec, schema, Arc::clone(&index), keeps_rivals)?,
            buckets: Buckets::new(if spec.created.is_some() { 0 } else { index.slots() }),
            keys: spec.keys.clone(),
            time: spec.time,
            created: spec.created,
            ordinal,
            window: 0,
            groups: Vec::new(),
            index,
        })
    }

    /// Bytes that a fold takes for so many slots.
    pub(crate) fn bytes(spec: &LookupSpec, slots: usize) -> usize {
        let buckets = if spec.created.is_some() { 0 } else { Buckets::bytes(slots) };
        Locate::state_bytes(spec, slots) + buckets
    }

    /// Bytes of the rows that await a decision.
    pub(crate) fn rival_bytes(&self) -> usize {
        self.locate.rival_bytes()
    }

    /// Takes a batch in.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        self.groups.clear();
        self.index.keys.find(&keys, batch.num_rows(), &mut self.groups)?;
        let times = Instants::of(batch.column(self.time).as_ref())?;
        let ordinals = batch.column(self.ordinal).as_primitive::<UInt64Type>().values();
        if let Some(created) = self.created {
            let created = Instants::of(batch.column(created).as_ref())?;
            self.locate.fold_created(&self.groups, &times, &created, ordinals);
            return Ok(());
        }
        let groups = std::mem::take(&mut self.groups);
        let (index, shift) = (Arc::clone(&self.index), self.buckets.shift);
        for (place, ((&group, &time), &row)) in
            groups.iter().zip(times.values.iter()).zip(ordinals).enumerate()
        {
            if group == NO_GROUP || times.is_null(place) {
                continue;
            }
            if (row ^ self.window) >> WINDOW_BITS != 0 {
                self.fold_all();
                self.window = (row >> WINDOW_BITS) << WINDOW_BITS;
            }
            // It fits, as the window is no larger.
            let row = u32::try_from(row - self.window).unwrap_or(u32::MAX);
            let row = NarrowRow { time, group, row };
            let number = (index.slot_starts[group as usize] >> shift) as usize;
            let bucket = &mut self.buckets.rows[number];
            bucket.push(row);
            if bucket.len() == BUCKET_ROWS {
                self.fold(number);
            }
        }
        self.groups = groups;
        if self.buckets.rows.len() == 1 {
            self.fold(0);
        }
        Ok(())
    }

    /// What all rows came to.
    pub(crate) fn end(mut self) -> Locate {
        self.fold_all();
        self.locate
    }

    fn fold_all(&mut self) {
        (0..self.buckets.rows.len()).for_each(|number| self.fold(number));
    }

    fn fold(&mut self, number: usize) {
        let bucket = &mut self.buckets.rows[number];
        if bucket.len() == BUCKET_ROWS {
            self.locate.warm(number << self.buckets.shift..(number + 1) << self.buckets.shift);
        }
        self.locate.fold(bucket, self.window);
        bucket.clear();
    }
}

/// Rows held back, by the first slot of their group; where all slots are near anyway, those of a batch in one bucket.
struct Buckets {
    shift: u32,
    rows: Vec<Vec<NarrowRow>>,
}

impl Buckets {
    fn new(slots: usize) -> Self {
        let (shift, buckets) = Self::layout(slots);
        Self { shift, rows: (0..buckets).map(|_| Vec::with_capacity(BUCKET_ROWS)).collect() }
    }

    /// Slots of a bucket as a power of two, and how many buckets; a group may start past the last slot, if it has none.
    fn layout(slots: usize) -> (u32, usize) {
        let mut shift = BUCKET_SLOTS_LOG2;
        while (slots >> shift) + 1 > BUCKETS_MAX {
            shift += 1;
        }
        let buckets = (slots >> shift) + 1;
        if buckets > 2 { (shift, buckets) } else { (u32::BITS - 1, 1) }
    }

    fn bytes(slots: usize) -> usize {
        Self::layout(slots).1 * BUCKET_ROWS * size_of::<NarrowRow>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_bucket_and_buckets_are_bounded() {
        for slots in [0, 1, 32_767, 32_768, 49_152, 5_000_000, 16_777_216, u32::MAX as usize] {
            let (shift, buckets) = Buckets::layout(slots);
            assert!(buckets <= BUCKETS_MAX, "{slots}");
            assert!(slots >> shift < buckets.max(2), "{slots}");
            let is_one = buckets == 1;
            assert!(is_one || shift == BUCKET_SLOTS_LOG2 || slots >> (shift - 1) >= BUCKETS_MAX, "{slots}");
        }
        assert_eq!(
            [1, 3, 4, 7].map(|slots| Buckets::layout(slots).1),
            [1, 1, 3, 4],
            "few slots are near anyway"
        );
    }
}
