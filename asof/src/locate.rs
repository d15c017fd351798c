//! Folds the narrow rows of one lookup into slots: each slot keeps its best candidate's times and ordinal, no columns.
//!
//! The rules are those of [`crate::fold`]; what differs is that a candidate's columns are read afterwards, so rows that
//! tie are noted and settled once, at the end ([`crate::settle`]).

use std::cmp::Ordering;
use std::hint::select_unpredictable;
use std::sync::Arc;

use arrow::datatypes::{SchemaRef, TimeUnit};
use datafusion::common::Result;

use crate::exec::timestamp_unit;
use crate::instants::{Instants, RoundUp, to_nanos};
use crate::key_index::NO_GROUP;
use crate::locate_rows::NarrowRow;
use crate::outcome::Outcome;
use crate::search::Sought;
use crate::settle::Tied;
use crate::slot_index::{NO_SLOT, SlotIndex};
use crate::spec::LookupSpec;

/// No row.
pub(crate) const NO_ROW: u64 = u64::MAX;

/// The best row of a slot so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Its event time; once all is finished, the winner's age in nanoseconds.
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
    time: i64,
    created: Option<i64>,
}

/// The state of one lookup's fold, or of one part of it.
pub(crate) struct Locate {
    spec: LookupSpec,
    index: Arc<SlotIndex>,
    time_unit: TimeUnit,
    /// Whether rows of equal times have to be told apart.
    keeps_rivals: bool,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) created: Vec<Option<i64>>,
    /// Under a created cut: the greatest event time whatever its created time; `i64::MIN` also says none.
    pub(crate) seen: Vec<Option<i64>>,
    pub(crate) rivals: Vec<Rival>,
    sought: Vec<Sought>,
    slots: Vec<u32>,
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
        Ok(Self {
            time_unit: timestamp_unit(schema, spec.time)?,
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

    /// Folds rows in whose event times alone decide. The passes over them are short loops without branches that depend on
    /// each other, so that the processor has many memory accesses under way at once.
    pub(crate) fn fold(&mut self, rows: &[NarrowRow]) {
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
                self.offer_by_time(slot as usize, Candidate { time: row.time, row: row.row });
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
        match self.compare(slot, row, created) {
            Ordering::Less => {}
            Ordering::Greater => {
                self.candidates[slot] = row;
                if let Some(held) = self.created.get_mut(slot) {
                    *held = created;
                }
            }
            Ordering::Equal if self.keeps_rivals => {
                self.rivals.push(Rival { slot: as_u32(slot), row: row.row, time: row.time, created });
            }
            Ordering::Equal => {}
        }
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

    /// How a row compares with the slot's candidate by event time, then created time, null lowest.
    #[inline]
    fn compare(&self, slot: usize, row: Candidate, created: Option<i64>) -> Ordering {
        let held = self.candidates[slot];
        if held.row == NO_ROW {
            return Ordering::Greater;
        }
        match row.time.cmp(&held.time) {
            Ordering::Equal => self.created.get(slot).map_or(Ordering::Equal, |held| created.cmp(held)),
            unequal => unequal,
        }
    }

    /// Every slot from this one on lies later, so a row too old here is too old for all that it could serve.
    #[inline]
    fn is_expired(&self, slot: usize, time: i64) -> bool {
        self.spec.ttl_nanos.is_some_and(|ttl| {
            to_nanos(time, self.time_unit).saturating_add(ttl)
                < to_nanos(self.index.slot_instants[slot], self.index.unit)
        })
    }

    /// Takes in what another part of the fold has found.
    pub(crate) fn merge(&mut self, other: Self) {
        for (slot, &row) in other.candidates.iter().enumerate() {
            if row.row != NO_ROW {
                self.offer(slot, row, other.created.get(slot).copied().flatten());
            }
        }
        for (mine, theirs) in self.seen.iter_mut().zip(&other.seen) {
            *mine = (*mine).max(*theirs);
        }
        self.rivals.extend(other.rivals);
    }

    /// Drops rivals that were beaten since; what is left is sorted by slot.
    pub(crate) fn prune_rivals(&mut self) {
        let mut rivals = std::mem::take(&mut self.rivals);
        rivals.retain(|rival| {
            let row = Candidate { time: rival.time, row: rival.row };
            self.compare(rival.slot as usize, row, rival.created) == Ordering::Equal
        });
        rivals.sort_unstable_by_key(|rival| (rival.slot, rival.row));
        self.rivals = rivals;
    }

    /// The running maximum along each key's slots, tested against the ttl: the candidates become the winners with their
    /// ages, and each slot has an outcome. `tied` are the slots whose candidate the tie columns chose, ascending.
    pub(crate) fn finish(&mut self, tied: &[Tied]) -> Vec<u8> {
        let mut outcomes = vec![Outcome::NoneInReach.code(); self.index.slots()];
        let index = Arc::clone(&self.index);
        for bounds in index.slot_starts.windows(2) {
            let mut best: Option<(usize, Candidate)> = None;
            let mut seen: Option<i64> = None;
            let (start, end) = (bounds[0] as usize, bounds[1] as usize);
            for (slot, answer) in (start..end).zip(&mut outcomes[start..end]) {
                let own = self.candidates[slot];
                if own.row != NO_ROW && best.is_none_or(|(held, row)| self.is_better(slot, own, held, row)) {
                    best = Some((slot, own));
                }
                seen = seen.max(self.seen.get(slot).copied().flatten());
                self.candidates[slot] = NONE;
                match best {
                    Some((held, row)) if !self.is_expired(slot, row.time) => {
                        self.candidates[slot] = Candidate { time: self.age(slot, row.time), row: row.row };
                        let was_tied = !tied.is_empty()
                            && tied.binary_search_by_key(&as_u32(held), |tied| tied.slot).is_ok();
                        let outcome = if was_tied { Outcome::MatchedByTie } else { Outcome::Matched };
                        *answer = outcome.code();
                    }
                    _ if seen.is_some_and(|seen| !self.is_expired(slot, seen)) => {
                        *answer = Outcome::Hidden.code();
                    }
                    _ => {}
                }
            }
        }
        outcomes
    }

    /// Candidates of different slots never tie: equal times are visible at one slot.
    fn is_better(&self, slot: usize, own: Candidate, held: usize, row: Candidate) -> bool {
        own.time.cmp(&row.time).then_with(|| self.created.get(slot).cmp(&self.created.get(held))).is_gt()
    }

    /// The age at a slot of a row of this event time in nanoseconds, saturated.
    fn age(&self, slot: usize, time: i64) -> i64 {
        let nanos =
            to_nanos(self.index.slot_instants[slot], self.index.unit) - to_nanos(time, self.time_unit);
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
}

/// Slots of one index are below 2³² - 8, checked when it is built.
fn as_u32(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(NO_SLOT)
}
