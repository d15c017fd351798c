//! Folds the narrow rows of one lookup into slots: each slot keeps its best candidate's times and ordinal, no columns.
//!
//! The rules are those of [`crate::fold`]; what differs is that a candidate's columns are read afterwards, so rows that
//! tie are noted and settled once, at the end ([`crate::settle`]).

use std::cmp::Ordering;
use std::hint::{black_box, select_unpredictable};
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{SchemaRef, TimeUnit};
use datafusion::common::Result;

use crate::exec::timestamp_unit;
use crate::instants::{Instants, Reach, RoundUp, to_nanos};
use crate::key_index::NO_GROUP;
use crate::locate_rows::NarrowRow;
use crate::search::Sought;
use crate::slot_index::{NO_SLOT, SlotIndex, as_u32};
use crate::spec::LookupSpec;

/// Bytes that the processor reads together.
const CACHE_LINE: usize = 64;
/// No row.
pub(crate) const NO_ROW: u64 = u64::MAX;

/// The best row of a slot so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Its event time.
    pub(crate) time: i64,
    /// Its ordinal, or [`NO_ROW`].
    pub(crate) row: u64,
}

const NONE: Candidate = Candidate { time: i64::MIN, row: NO_ROW };

/// A row whose times equalled those of its slot's candidate when it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rival {
    pub(crate) slot: u32,
    pub(crate) row: u64,
    pub(crate) time: i64,
    pub(crate) created: Option<i64>,
}

/// The state of one lookup's fold, or of one part of it.
pub(crate) struct Locate {
    spec: LookupSpec,
    pub(crate) index: Arc<SlotIndex>,
    time_unit: TimeUnit,
    /// Whether rows of equal times have to be told apart.
    pub(crate) keeps_rivals: bool,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) created: Vec<Option<i64>>,
    /// Under a created cut: the greatest event time whatever its created time; `i64::MIN` also says none.
    pub(crate) seen: Vec<Option<i64>>,
    pub(crate) rivals: Vec<Rival>,
    sought: Vec<Sought>,
    slots: Vec<u32>,
    reach: Reach,
}

impl Locate {
    /// A fold of rows of `schema`; `keeps_rivals` where columns decide between rows of equal times.
    pub(crate) fn new(
        spec: &LookupSpec,
        schema: &SchemaRef,
        index: Arc<SlotIndex>,
        keeps_rivals: bool,
    ) -> Result<Self> {
        let slots = index.slots();
        let cut = spec.created_cut && spec.created.is_some();
        let time_unit = timestamp_unit(schema, spec.time)?;
        Ok(Self {
            reach: Reach::new(spec.ttl_nanos, time_unit, index.unit),
            time_unit,
            keeps_rivals,
            candidates: vec![NONE; slots],
            created: if spec.created.is_some() { vec![None; slots] } else { Vec::new() },
            seen: if cut { vec![None; slots] } else { Vec::new() },
            rivals: Vec::new(),
            sought: Vec::new(),
            slots: Vec::new(),
            spec: spec.clone(),
            index,
        })
    }

    /// Bytes that [`Self::new`] takes for so many slots.
    pub(crate) fn state_bytes(spec: &LookupSpec, slots: usize) -> usize {
        let created = if spec.created.is_some() { 16 } else { 0 };
        let seen = if spec.created.is_some() && spec.created_cut { 16 } else { 0 };
        slots * (16 + created + seen)
    }

    /// Bytes held now.
    pub(crate) fn bytes(&self) -> usize {
        self.candidates.capacity() * size_of::<Candidate>()
            + (self.created.capacity() + self.seen.capacity()) * size_of::<Option<i64>>()
            + self.rival_bytes()
    }

    /// Bytes of the rows that await a decision.
    pub(crate) fn rival_bytes(&self) -> usize {
        self.rivals.capacity() * size_of::<Rival>()
    }

    /// Folds rows of a window of ordinals in whose event times alone decide. The passes over them are short loops without
    /// branches that depend on each other, so that the processor has many memory accesses under way at once.
    pub(crate) fn fold(&mut self, rows: &[NarrowRow], window: u64) {
        let round = RoundUp::new(self.time_unit, self.index.unit);
        self.sought.clear();
        self.sought.extend(rows.iter().map(|row| match round.apply(row.time) {
            Some(visible) => (row.group, visible),
            // Later than every instant of the spine.
            None => (NO_GROUP, 0),
        }));
        let mut slots = std::mem::take(&mut self.slots);
        self.index.first_at_or_after_each(&self.sought, &mut slots);
        for (row, &slot) in rows.iter().zip(&slots) {
            if slot != NO_SLOT && !self.is_expired(slot as usize, row.time) {
                let own = Candidate { time: row.time, row: window + u64::from(row.row) };
                self.offer_by_time(slot as usize, own);
            }
        }
        self.slots = slots;
    }

    /// Folds rows in that also have a created time: of equal event times the later created one wins, and under a cut
    /// it says from when a row is visible.
    pub(crate) fn fold_created(
        &mut self,
        groups: &[u32],
        times: &Instants,
        created: &Instants,
        ordinals: &[u64],
    ) {
        let round_time = RoundUp::new(self.time_unit, self.index.unit);
        let round_created = RoundUp::new(created.unit, self.index.unit);
        let index = Arc::clone(&self.index);
        for (row, &group) in groups.iter().enumerate() {
            if group == NO_GROUP || times.is_null(row) {
                continue;
            }
            let (time, own_created) =
                (times.values[row], (!created.is_null(row)).then(|| created.values[row]));
            // Later than every instant of the spine.
            let Some(mut visible) = round_time.apply(time) else { continue };
            if self.spec.created_cut {
                if let Some(slot) = index.first_at_or_after(group, visible) {
                    self.seen[slot] = self.seen[slot].max(Some(time));
                }
                // Under a cut a row without a created time is not eligible.
                let Some(bound) = own_created.and_then(|created| round_created.apply(created)) else {
                    continue;
                };
                visible = visible.max(bound);
            }
            if let Some(slot) = index.first_at_or_after(group, visible)
                && !self.is_expired(slot, time)
            {
                self.offer(slot, Candidate { time, row: ordinals[row] }, own_created);
            }
        }
    }

    #[inline]
    fn offer(&mut self, slot: usize, row: Candidate, created: Option<i64>) {
        let rivals = self.keeps_rivals.then_some(&mut self.rivals);
        let held_created = self.created.get_mut(slot);
        offer(slot, &mut self.candidates[slot], held_created, row, created, rivals);
    }

    /// [`Self::offer`] where event times alone decide. Which row wins cannot be foreseen, and a wrong guess would wait for
    /// the memory of its slot: both are written without a branch.
    #[inline]
    fn offer_by_time(&mut self, slot: usize, row: Candidate) {
        let held = self.candidates[slot];
        let is_first = held.row == NO_ROW;
        if self.keeps_rivals & !is_first & (held.time == row.time) {
            self.rivals.push(Rival { slot: as_u32(slot), row: row.row, time: row.time, created: None });
        }
        self.candidates[slot] = select_unpredictable(is_first | (row.time > held.time), row, held);
    }

    /// Every slot from this one on lies later, so a row too old here is too old for all that it could serve.
    #[inline]
    pub(crate) fn is_expired(&self, slot: usize, time: i64) -> bool {
        self.reach.is_behind(time, self.index.slot_instants[slot])
    }

    /// Reads what rows of some slots will ask for, one place after the other: the processor foresees that, and not the rows.
    pub(crate) fn warm(&self, slots: Range<usize>) {
        let slots = slots.start..slots.end.min(self.candidates.len());
        let instants = self.index.slot_instants[slots.clone()].iter().step_by(CACHE_LINE / size_of::<i64>());
        let sum = instants.fold(0_i64, |sum, &instant| sum.wrapping_add(instant));
        let candidates = self.candidates[slots].iter().step_by(CACHE_LINE / size_of::<Candidate>());
        black_box(candidates.fold(sum, |sum, candidate| sum.wrapping_add(candidate.time)));
    }

    /// The age at a slot of a row of this event time in nanoseconds, saturated.
    pub(crate) fn age(&self, slot: usize, time: i64) -> i64 {
        let nanos =
            to_nanos(self.index.slot_instants[slot], self.index.unit) - to_nanos(time, self.time_unit);
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
}

/// Lets a row contend for a slot with its candidate and that one's created time, which is `None` where created times do not
/// decide; a row that the times do not tell apart joins the `rivals`, if they are kept.
#[inline]
pub(crate) fn offer(
    slot: usize,
    held: &mut Candidate,
    held_created: Option<&mut Option<i64>>,
    row: Candidate,
    created: Option<i64>,
    rivals: Option<&mut Vec<Rival>>,
) {
    match compare(*held, held_created.as_deref().copied(), row, created) {
        Ordering::Less => {}
        Ordering::Greater => {
            *held = row;
            if let Some(held) = held_created {
                *held = created;
            }
        }
        Ordering::Equal => {
            if let Some(rivals) = rivals {
                rivals.push(Rival { slot: as_u32(slot), row: row.row, time: row.time, created });
            }
        }
    }
}

/// How a row compares with a slot's candidate by event time, then created time, null lowest.
#[inline]
pub(crate) fn compare(
    held: Candidate,
    held_created: Option<Option<i64>>,
    row: Candidate,
    created: Option<i64>,
) -> Ordering {
    if held.row == NO_ROW {
        return Ordering::Greater;
    }
    match row.time.cmp(&held.time) {
        Ordering::Equal => held_created.map_or(Ordering::Equal, |held| created.cmp(&held)),
        unequal => unequal,
    }
}
