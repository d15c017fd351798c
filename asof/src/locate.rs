//! Folds the narrow rows of one lookup into slots: each slot keeps its best candidate's times and ordinal, no columns.
//!
//! The rules are those of [`crate::fold`]; what differs is that a candidate's columns are read afterwards, so rows that
//! tie are noted and settled once, at the end ([`crate::settle`]).

use std::cmp::Ordering;
use std::hint::select_unpredictable;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimeUnit, UInt64Type};
use datafusion::common::{DataFusionError, Result};

use crate::exec::timestamp_unit;
use crate::instants::{Instants, RoundUp, to_nanos};
use crate::key_index::NO_GROUP;
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
    pub(crate) time: i64,
    /// Its ordinal, or [`NO_ROW`]; in the end its place among the fetched rows.
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
    created_unit: Option<TimeUnit>,
    ordinal: usize,
    /// Whether rows of equal times have to be told apart.
    keeps_rivals: bool,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) created: Vec<Option<i64>>,
    /// Under a created cut: the greatest event time whatever its created time; `i64::MIN` also says none.
    pub(crate) seen: Vec<Option<i64>>,
    pub(crate) rivals: Vec<Rival>,
    groups: Vec<u32>,
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
        let Some(ordinal) = spec.ordinal else {
            return Err(DataFusionError::Internal(format!("lookup `{}` has no ordinals", spec.name)));
        };
        let slots = index.slots();
        let created_unit = spec.created.map(|column| timestamp_unit(schema, column)).transpose()?;
        let cut = spec.created_cut && spec.created.is_some();
        Ok(Self {
            time_unit: timestamp_unit(schema, spec.time)?,
            created_unit,
            ordinal,
            keeps_rivals,
            candidates: vec![NONE; slots],
            created: if created_unit.is_some() { vec![None; slots] } else { Vec::new() },
            seen: if cut { vec![None; slots] } else { Vec::new() },
            rivals: Vec::new(),
            groups: Vec::new(),
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

    /// Bytes of the rows that await a decision.
    pub(crate) fn rival_bytes(&self) -> usize {
        self.rivals.capacity() * size_of::<Rival>()
    }

    /// Folds one batch in. The passes over it are short loops without branches that depend on each other, so that the
    /// processor has many memory accesses under way at once.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let keys: Vec<ArrayRef> = self.spec.keys.iter().map(|&k| ArrayRef::clone(batch.column(k))).collect();
        let mut groups = std::mem::take(&mut self.groups);
        groups.clear();
        self.index.keys.find(&keys, rows, &mut groups)?;
        let times = Instants::of(batch.column(self.spec.time).as_ref())?;
        let created = match self.spec.created {
            Some(column) => Some(Instants::of(batch.column(column).as_ref())?),
            None => None,
        };
        let ordinals = batch.column(self.ordinal).as_primitive::<UInt64Type>();
        self.find_slots(&groups, &times, created.as_ref());
        let slots = std::mem::take(&mut self.slots);
        for (row, &slot) in slots.iter().enumerate() {
            if slot == NO_SLOT {
                continue;
            }
            let slot = slot as usize;
            let time = times.values[row];
            let own_created = created.as_ref().and_then(|c| (!c.is_null(row)).then(|| c.values[row]));
            if self.is_expired(slot, time) {
                continue;
            }
            let candidate = Candidate { time, row: ordinals.value(row) };
            if self.created.is_empty() {
                self.offer_by_time(slot, candidate);
            } else {
                self.offer(slot, candidate, own_created);
            }
        }
        self.groups = groups;
        self.slots = slots;
        Ok(())
    }

    /// The slot that each row of a batch may serve first; under a created cut also what was seen.
    fn find_slots(&mut self, groups: &[u32], times: &Instants, created: Option<&Instants>) {
        self.slots.clear();
        let round_time = RoundUp::new(self.time_unit, self.index.unit);
        let index = Arc::clone(&self.index);
        let slot_of = |group: u32, visible: i64| index.first_at_or_after(group, visible);
        let (cut, round_created) = match (created, self.created_unit) {
            (Some(created), Some(unit)) if self.spec.created_cut => (created, RoundUp::new(unit, index.unit)),
            _ => {
                let sought = groups.iter().enumerate().map(|(row, &group)| {
                    // Null, or later than every instant of the spine.
                    let visible = if times.is_null(row) { None } else { round_time.apply(times.values[row]) };
                    visible.map_or((NO_GROUP, 0), |visible| (group, visible))
                });
                self.sought.clear();
                self.sought.extend(sought);
                index.first_at_or_after_each(&self.sought, &mut self.slots);
                return;
            }
        };
        for (row, &group) in groups.iter().enumerate() {
            let mut found = NO_SLOT;
            if group != NO_GROUP
                && !times.is_null(row)
                && let Some(visible) = round_time.apply(times.values[row])
            {
                if let Some(slot) = slot_of(group, visible) {
                    self.seen[slot] = self.seen[slot].max(Some(times.values[row]));
                }
                // Under a cut a row without a created time is not eligible.
                if !cut.is_null(row)
                    && let Some(bound) = round_created.apply(cut.values[row])
                {
                    found = slot_of(group, visible.max(bound)).map_or(NO_SLOT, as_u32);
                }
            }
            self.slots.push(found);
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

    /// The running maximum along each key's slots, tested against the ttl: the candidates become the winners, and each
    /// slot has an outcome. `tied` are the slots whose candidate the tie columns chose, ascending.
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
                        self.candidates[slot] = row;
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

    /// The age of a slot's winner in nanoseconds, saturated.
    pub(crate) fn age(&self, slot: usize) -> i64 {
        let nanos = to_nanos(self.index.slot_instants[slot], self.index.unit)
            - to_nanos(self.candidates[slot].time, self.time_unit);
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
}

/// Slots of one index are below 2³² - 8, checked when it is built.
fn as_u32(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(NO_SLOT)
}
