//! What the parts of a fold come to: merged, rivals settled elsewhere, then the running maximum along each key's slots. Slots
//! are worked on by all threads, each with a stretch of whole keys.

use std::cmp::Ordering;
use std::ops::Range;

use rayon::iter::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator,
};

use crate::locate::{Candidate, Locate, NO_ROW, Rival, compare, offer};
use crate::outcome::Outcome;
use crate::settle::Tied;
use crate::slot_index::as_u32;

/// Slots that one thread takes at a time.
const STRETCH_SLOTS: usize = if cfg!(test) { 3 } else { 1 << 16 };
/// Bits of a [`Winner`]'s place; above them is its outcome.
const PLACE_BITS: u32 = 56;

/// How a slot ended; all that a spine row asks for, so that it waits for memory once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Winner {
    /// Nanoseconds, saturated.
    pub(crate) age: i64,
    /// Below the outcome: the ordinal of the row that won, later its place among the fetched ones.
    place: u64,
}

impl Winner {
    /// Ordinals must be below.
    pub(crate) const ROWS_MAX: u64 = 1 << PLACE_BITS;

    /// No row.
    pub(crate) fn none(outcome: Outcome) -> Self {
        Self::of(outcome, 0, 0)
    }

    fn of(outcome: Outcome, age: i64, place: u64) -> Self {
        Self { age, place: (u64::from(outcome.code()) << PLACE_BITS) | place }
    }

    /// The code of the outcome.
    pub(crate) fn outcome(self) -> u8 {
        self.place.to_be_bytes()[0]
    }

    /// The row, or what was put in its place; `None` unless it is a match.
    pub(crate) fn place(self) -> Option<u64> {
        let is_match = Outcome::from_code(self.outcome()).is_some_and(Outcome::is_match);
        is_match.then_some(self.place & (Self::ROWS_MAX - 1))
    }

    /// Puts another number in the place of the row.
    pub(crate) fn set_place(&mut self, place: u64) {
        self.place = (u64::from(self.outcome()) << PLACE_BITS) | place;
    }
}

impl Locate {
    /// Takes in what another part of the fold has found.
    pub(crate) fn merge(&mut self, other: Self) {
        let keeps_rivals = self.keeps_rivals;
        // Without created times their pieces are empty.
        let slots = if self.created.is_empty() { 0 } else { STRETCH_SLOTS };
        let created = pieces(&mut self.created, slots, self.candidates.len().div_ceil(STRETCH_SLOTS));
        let candidates = pieces(&mut self.candidates, STRETCH_SLOTS, created.len());
        let rivals: Vec<Vec<Rival>> = candidates
            .into_par_iter()
            .zip(created)
            .enumerate()
            .map(|(piece, (candidates, created))| {
                let first = piece * STRETCH_SLOTS;
                let mut rivals = Vec::new();
                for (place, held) in candidates.iter_mut().enumerate() {
                    let row = other.candidates[first + place];
                    if row.row != NO_ROW {
                        let its_created = other.created.get(first + place).copied().flatten();
                        let rivals = keeps_rivals.then_some(&mut rivals);
                        offer(first + place, held, created.get_mut(place), row, its_created, rivals);
                    }
                }
                rivals
            })
            .collect();
        self.seen.par_iter_mut().zip(other.seen).for_each(|(mine, theirs)| *mine = (*mine).max(theirs));
        self.rivals.extend(rivals.into_iter().flatten().chain(other.rivals));
    }

    /// Drops rivals that were beaten since; what is left is sorted by slot.
    pub(crate) fn prune_rivals(&mut self) {
        let mut rivals = std::mem::take(&mut self.rivals);
        rivals.retain(|rival| {
            let slot = rival.slot as usize;
            let row = Candidate { time: rival.time, row: rival.row };
            let held_created = self.created.get(slot).copied();
            compare(self.candidates[slot], held_created, row, rival.created) == Ordering::Equal
        });
        rivals.sort_unstable_by_key(|rival| (rival.slot, rival.row));
        self.rivals = rivals;
    }

    /// The running maximum along each key's slots, tested against the ttl: how each slot ends. `tied` are the slots whose
    /// candidate the tie columns chose, ascending.
    pub(crate) fn finish(mut self, tied: &[Tied]) -> Vec<Winner> {
        let mut winners: Vec<Winner> = std::mem::take(&mut self.candidates)
            .into_iter()
            .map(|candidate| Winner { age: candidate.time, place: candidate.row })
            .collect();
        let mut rest = winners.as_mut_slice();
        let mut stretches = Vec::new();
        for groups in self.index.stretches(STRETCH_SLOTS) {
            let slots = self.slots_of(groups.start).start..self.slots_of(groups.end - 1).end;
            let (stretch, after) = rest.split_at_mut(slots.len());
            stretches.push((groups, stretch));
            rest = after;
        }
        stretches.into_par_iter().for_each(|(groups, mut winners)| {
            for group in groups {
                let slots = self.slots_of(group);
                let (own, after) = winners.split_at_mut(slots.len());
                self.finish_group(slots, own, tied);
                winners = after;
            }
        });
        winners
    }

    fn slots_of(&self, group: usize) -> Range<usize> {
        self.index.slot_starts[group] as usize..self.index.slot_starts[group + 1] as usize
    }

    /// The better of two slots' candidates of one key, the later slot given last.
    pub(crate) fn better(&self, held: Option<usize>, slot: usize) -> Option<usize> {
        let own = self.candidates[slot];
        let is_better = own.row != NO_ROW
            && held.is_none_or(|held| self.is_better(slot, own, held, self.candidates[held]));
        if is_better { Some(slot) } else { held }
    }

    /// The slots of one key: what comes in as candidates goes out as winners.
    fn finish_group(&self, slots: Range<usize>, winners: &mut [Winner], tied: &[Tied]) {
        let mut best: Option<(usize, Candidate)> = None;
        let mut seen: Option<i64> = None;
        for (slot, winner) in slots.zip(winners) {
            let own = Candidate { time: winner.age, row: winner.place };
            if own.row != NO_ROW && best.is_none_or(|(held, row)| self.is_better(slot, own, held, row)) {
                best = Some((slot, own));
            }
            seen = seen.max(self.seen.get(slot).copied().flatten());
            *winner = match best {
                Some((held, row)) if !self.is_expired(slot, row.time) => {
                    let was_tied = !tied.is_empty()
                        && tied.binary_search_by_key(&as_u32(held), |tied| tied.slot).is_ok();
                    let outcome = if was_tied { Outcome::MatchedByTie } else { Outcome::Matched };
                    Winner::of(outcome, self.age(slot, row.time), row.row)
                }
                _ if seen.is_some_and(|seen| !self.is_expired(slot, seen)) => Winner::none(Outcome::Hidden),
                _ => Winner::none(Outcome::NoneInReach),
            };
        }
    }

    /// Candidates of different slots never tie: equal times are visible at one slot.
    fn is_better(&self, slot: usize, own: Candidate, held: usize, row: Candidate) -> bool {
        own.time.cmp(&row.time).then_with(|| self.created.get(slot).cmp(&self.created.get(held))).is_gt()
    }
}

/// `count` pieces of so many items each, the last one of what is left.
fn pieces<T>(items: &mut [T], size: usize, count: usize) -> Vec<&mut [T]> {
    let mut rest = items;
    let mut pieces = Vec::with_capacity(count);
    for _ in 0..count {
        let (piece, after) = rest.split_at_mut(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
