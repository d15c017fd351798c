//! Folds the unsorted rows of one lookup into slots: each slot keeps only its best candidate.
//!
//! Folding is a maximum, so the order of rows, their number of repetitions and the split into batches change
//! nothing. The visible time of a row is its event time, or under a created cut the later of event and
//! created time; see `docs/adr` on the slot fold.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{SchemaRef, TimeUnit};
use datafusion::common::Result;

use crate::exec::timestamp_unit;
use crate::instants::{Instants, Reach, RoundUp, to_nanos};
use crate::key_index::NO_GROUP;
use crate::outcome::Outcome;
use crate::retained::{Locator, Retained};
use crate::slot_index::SlotIndex;
use crate::spec::LookupSpec;
use crate::ties::{Contender, TieBreaker};

const TIED: u8 = 1;
const CREATED: u8 = 2;
/// `seen` holds a time.
const SEEN: u8 = 4;
/// Bytes of one slot in a [`FoldedLookup`]: winner, outcome, age.
const RESULT_BYTES: usize = 8 + 1 + 8;

/// The best candidate of each slot so far.
pub(crate) struct LookupFold<'a> {
    spec: &'a LookupSpec,
    index: &'a SlotIndex,
    reach: Reach,
    time_unit: TimeUnit,
    created_unit: Option<TimeUnit>,
    /// Columns of the input that candidates keep: the payload and the ties.
    kept: Vec<usize>,
    ties: Option<TieBreaker>,
    retained: Retained,
    locators: Vec<Locator>,
    times: Vec<i64>,
    created: Vec<i64>,
    flags: Vec<u8>,
    /// Under a created cut: the greatest event time whatever its created time, where the flag says so.
    seen: Vec<i64>,
    live: usize,
    groups: Vec<u32>,
    updated: Vec<u32>,
    contenders: Vec<Contender>,
}

/// What a fold ends in: for each slot how it ended, the winner's age and where its columns are.
pub(crate) struct FoldedLookup {
    retained: Retained,
    payload_positions: Vec<usize>,
    winners: Vec<Locator>,
    outcomes: Vec<u8>,
    ages: Vec<i64>,
}

impl<'a> LookupFold<'a> {
    pub(crate) fn new(spec: &'a LookupSpec, schema: &SchemaRef, index: &'a SlotIndex) -> Result<Self> {
        let mut kept: Vec<usize> =
            spec.ties.iter().copied().chain(spec.payload.iter().map(|p| p.column)).collect();
        kept.sort_unstable();
        kept.dedup();
        let types: Vec<_> = kept.iter().map(|&column| schema.field(column).data_type().clone()).collect();
        let slots = index.slots();
        let created_unit = match spec.created {
            Some(column) => Some(timestamp_unit(schema, column)?),
            None => None,
        };
        let time_unit = timestamp_unit(schema, spec.time)?;
        Ok(Self {
            spec,
            index,
            reach: Reach::new(spec.ttl_nanos, time_unit, index.unit),
            time_unit,
            created_unit,
            ties: TieBreaker::new(spec, schema, positions(&kept, spec.ties.iter().copied()))?,
            kept,
            retained: Retained::new(&types),
            locators: vec![Locator::NONE; slots],
            times: vec![0; slots],
            created: if spec.created.is_some() { vec![0; slots] } else { Vec::new() },
            flags: vec![0; slots],
            seen: if spec.created_cut && spec.created.is_some() { vec![i64::MIN; slots] } else { Vec::new() },
            live: 0,
            groups: Vec::new(),
            updated: Vec::new(),
            contenders: Vec::new(),
        })
    }

    /// Bytes that [`Self::new`] and then [`Self::finish`] take for so many slots.
    pub(crate) fn state_bytes(spec: &LookupSpec, slots: usize) -> usize {
        let created = if spec.created.is_some() { 8 } else { 0 };
        let seen = if spec.created.is_some() && spec.created_cut { 8 } else { 0 };
        slots * (8 + 8 + 1 + created + seen + RESULT_BYTES)
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.retained.memory_bytes()
    }

    /// Folds one batch in.
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
        let columns: Vec<ArrayRef> = self.kept.iter().map(|&c| ArrayRef::clone(batch.column(c))).collect();
        let round_time = RoundUp::new(self.time_unit, self.index.unit);
        let round_created = self.created_unit.map(|unit| RoundUp::new(unit, self.index.unit));
        let cut = if self.spec.created_cut { created.as_ref() } else { None };
        self.updated.clear();
        for (row, &group) in groups.iter().enumerate() {
            if group == NO_GROUP || times.is_null(row) {
                continue;
            }
            let time = times.values[row];
            let Some(mut visible) = round_time.apply(time) else { continue };
            let own_created = created.as_ref().and_then(|c| (!c.is_null(row)).then(|| c.values[row]));
            if cut.is_some() {
                if let Some(slot) = self.index.first_at_or_after(group, visible) {
                    self.seen[slot] = self.seen[slot].max(time);
                    self.flags[slot] |= SEEN;
                }
                // Under a cut a row without a created time is not eligible.
                let bound = own_created.and_then(|c| round_created.and_then(|round| round.apply(c)));
                let Some(created_visible) = bound else { continue };
                visible = visible.max(created_visible);
            }
            let Some(slot) = self.index.first_at_or_after(group, visible) else { continue };
            if self.is_expired(slot, time) {
                continue;
            }
            match self.compare(slot, time, own_created) {
                Ordering::Less => {}
                Ordering::Greater => self.set(slot, row, time, own_created),
                Ordering::Equal => self.contenders.push(Contender {
                    slot: row_u32(slot),
                    row: row_u32(row),
                    time,
                    created: own_created,
                }),
            }
        }
        self.groups = groups;
        self.settle_ties(&columns)?;
        self.keep_updated(&columns)
    }

    /// Every slot from this one on lies later, so a row too old here is too old for all that it could serve.
    #[inline]
    fn is_expired(&self, slot: usize, time: i64) -> bool {
        self.reach.is_behind(time, self.index.slot_instants[slot])
    }

    /// How a row compares with the slot's candidate by event time, then created time, null lowest.
    #[inline]
    fn compare(&self, slot: usize, time: i64, created: Option<i64>) -> Ordering {
        if self.locators[slot].is_none() {
            return Ordering::Greater;
        }
        time.cmp(&self.times[slot]).then_with(|| {
            if self.created.is_empty() {
                return Ordering::Equal;
            }
            let held = (self.flags[slot] & CREATED != 0).then_some(self.created[slot]);
            created.cmp(&held)
        })
    }

    #[inline]
    fn set(&mut self, slot: usize, row: usize, time: i64, created: Option<i64>) {
        self.live += usize::from(self.locators[slot].is_none());
        self.locators[slot] = Locator { chunk: Locator::CURRENT, row: row_u32(row) };
        self.times[slot] = time;
        self.flags[slot] &= SEEN;
        if let (Some(created), false) = (created, self.created.is_empty()) {
            self.created[slot] = created;
            self.flags[slot] |= CREATED;
        }
        self.updated.push(row_u32(slot));
    }

    /// Lets the rows that tie with their slots' candidates contend: at once, because columns are then converted once.
    fn settle_ties(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let mut contenders = std::mem::take(&mut self.contenders);
        // A later row of the batch may have beaten the candidate that a row tied with.
        contenders.retain(|c| self.compare(c.slot as usize, c.time, c.created) == Ordering::Equal);
        if let Some(ties) = &self.ties
            && !contenders.is_empty()
        {
            contenders.sort_unstable_by_key(|contender| contender.slot);
            for settled in ties.settle(&contenders, &self.locators, &self.retained, columns)? {
                let slot = settled.slot as usize;
                if settled.tied {
                    self.flags[slot] |= TIED;
                }
                if let Some(row) = settled.winner {
                    self.locators[slot] = Locator { chunk: Locator::CURRENT, row };
                    self.updated.push(settled.slot);
                }
            }
        }
        contenders.clear();
        self.contenders = contenders;
        Ok(())
    }

    /// Takes the rows of this batch that are candidates now.
    fn keep_updated(&mut self, columns: &[ArrayRef]) -> Result<()> {
        if self.updated.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(self.updated.len());
        let mut slots = Vec::with_capacity(self.updated.len());
        for &slot in &self.updated {
            let locator = &mut self.locators[slot as usize];
            // A slot that was updated twice is met twice; its second meeting finds it settled.
            if locator.chunk == Locator::CURRENT {
                rows.push(locator.row);
                slots.push(slot);
                *locator = Locator { chunk: Locator::CURRENT - 1, row: row_u32(rows.len() - 1) };
            }
        }
        let chunk = self.retained.take(columns, rows)?;
        for slot in slots {
            self.locators[slot as usize].chunk = chunk;
        }
        Ok(())
    }

    /// Bytes that [`Self::compact`] takes for a while; `None` when there is little to drop.
    pub(crate) fn compaction_bytes(&self) -> Option<usize> {
        self.retained.compaction_bytes(self.live)
    }

    /// Drops what was beaten.
    pub(crate) fn compact(&mut self) -> Result<()> {
        self.retained.compact(self.locators.iter_mut())
    }

    /// The running maximum along each key's slots, tested against the ttl.
    pub(crate) fn finish(mut self) -> FoldedLookup {
        let slots = self.index.slots();
        let mut outcomes = vec![Outcome::NoneInReach.code(); slots];
        let mut ages = vec![0_i64; slots];
        let mut winners = vec![Locator::NONE; slots];
        for bounds in self.index.slot_starts.windows(2) {
            let mut best: Option<usize> = None;
            let mut seen: Option<i64> = None;
            for slot in bounds[0] as usize..bounds[1] as usize {
                if !self.locators[slot].is_none() && best.is_none_or(|held| self.is_better(slot, held)) {
                    best = Some(slot);
                }
                if self.flags[slot] & SEEN != 0 {
                    seen = seen.max(self.seen.get(slot).copied());
                }
                match best {
                    Some(held) if !self.is_expired(slot, self.times[held]) => {
                        winners[slot] = self.locators[held];
                        let outcome = if self.flags[held] & TIED == 0 {
                            Outcome::Matched
                        } else {
                            Outcome::MatchedByTie
                        };
                        outcomes[slot] = outcome.code();
                        ages[slot] = self.age(slot, self.times[held]);
                    }
                    _ if seen.is_some_and(|seen| !self.is_expired(slot, seen)) => {
                        outcomes[slot] = Outcome::Hidden.code();
                    }
                    _ => {}
                }
            }
        }
        let payload = self.spec.payload.iter().map(|p| p.column);
        FoldedLookup {
            payload_positions: positions(&self.kept, payload),
            retained: std::mem::replace(&mut self.retained, Retained::new(&[])),
            winners,
            outcomes,
            ages,
        }
    }

    /// Candidates of different slots never tie: equal times are visible at one slot.
    fn is_better(&self, slot: usize, held: usize) -> bool {
        let created = self.created.get(slot).and_then(|&c| (self.flags[slot] & CREATED != 0).then_some(c));
        self.compare(held, self.times[slot], created) == Ordering::Greater
    }

    fn age(&self, slot: usize, time: i64) -> i64 {
        let nanos =
            to_nanos(self.index.slot_instants[slot], self.index.unit) - to_nanos(time, self.time_unit);
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
}

impl FoldedLookup {
    pub(crate) fn outcome(&self, slot: usize) -> u8 {
        self.outcomes[slot]
    }

    pub(crate) fn age(&self, slot: usize) -> i64 {
        self.ages[slot]
    }

    /// Where the winner's columns are, to be handed to [`Self::gather`].
    pub(crate) fn source(&self, slot: usize) -> (usize, usize) {
        let Locator { chunk, row } = self.winners[slot];
        (chunk as usize, row as usize)
    }

    pub(crate) fn payload_columns(&self) -> usize {
        self.payload_positions.len()
    }

    pub(crate) fn gather(&self, payload: usize, sources: &[(usize, usize)]) -> Result<ArrayRef> {
        self.retained.gather(self.payload_positions[payload], sources)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.retained.memory_bytes() + self.winners.len() * RESULT_BYTES
    }
}

fn positions(kept: &[usize], sought: impl Iterator<Item = usize>) -> Vec<usize> {
    sought.filter_map(|column| kept.binary_search(&column).ok()).collect()
}

/// Rows of a batch and slots of a partition are far below 2³².
fn row_u32(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}
