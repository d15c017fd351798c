//! The slots of one lookup while rows contend for them. All threads of a fold share them: a stretch of slots is locked while rows
//! are offered to it, so that there is one candidate a slot however many threads there are, and nothing to merge.

use std::cmp::Ordering;
use std::hint::select_unpredictable;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::exec::timestamp_unit;
use crate::instants::RoundUp;
use crate::key_index::NO_GROUP;
use crate::locate::{Candidate, Locate, NO_ROW, NONE, Reach, Rival, as_u32, compare};
use crate::locate_rows::{CreatedRow, NarrowRow};
use crate::search::Sought;
use crate::slot_index::{NO_SLOT, SlotIndex};
use crate::spec::LookupSpec;

/// Slots of a stretch as a power of two: candidates and instants of so many are 384 KiB, which a core's own cache holds. In tests of
/// this crate few, so that small cases have stretches.
pub(crate) const STRETCH_LOG2: u32 = if cfg!(test) { 1 } else { 14 };

/// The slots of one lookup, or of a part of it.
pub(crate) struct Contest {
    pub(crate) index: Arc<SlotIndex>,
    reach: Reach,
    round_time: RoundUp,
    /// Where created times decide.
    round_created: Option<RoundUp>,
    created_cut: bool,
    /// Whether rows of equal times have to be told apart.
    keeps_rivals: bool,
    /// Changed only while their stretch is locked; the lock orders all accesses.
    candidates: Vec<AtomicCandidate>,
    stretches: Vec<Mutex<Stretch>>,
}

struct AtomicCandidate {
    time: AtomicI64,
    row: AtomicU64,
}

/// What belongs to a stretch beside its candidates; `created` and `seen` are empty where they are not needed.
struct Stretch {
    created: Vec<Option<i64>>,
    seen: Vec<Option<i64>>,
    rivals: Vec<Rival>,
}

/// What a thread needs to offer rows.
#[derive(Default)]
pub(crate) struct Scratch {
    sought: Vec<Sought>,
    slots: Vec<u32>,
}

impl AtomicCandidate {
    fn none() -> Self {
        Self { time: AtomicI64::new(NONE.time), row: AtomicU64::new(NONE.row) }
    }

    #[inline]
    fn get(&self) -> Candidate {
        Candidate { time: self.time.load(Relaxed), row: self.row.load(Relaxed) }
    }

    #[inline]
    fn set(&self, candidate: Candidate) {
        self.time.store(candidate.time, Relaxed);
        self.row.store(candidate.row, Relaxed);
    }
}

/// The stretch that is locked at the moment: neighbouring rows often fall into the same one.
struct Held<'a> {
    contest: &'a Contest,
    stretch: Option<(usize, MutexGuard<'a, Stretch>)>,
}

impl<'a> Held<'a> {
    #[inline]
    fn of(&mut self, slot: usize) -> &mut Stretch {
        let number = slot >> STRETCH_LOG2;
        if self.stretch.as_ref().is_none_or(|(held, _)| *held != number) {
            // Let go of the one before another is waited for.
            self.stretch = None;
            // What a panic left behind is not looked at: the fold has failed.
            let lock: &'a Mutex<Stretch> = &self.contest.stretches[number];
            self.stretch = Some((number, lock.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        match &mut self.stretch {
            Some((_, stretch)) => stretch,
            None => unreachable!("it was locked above"),
        }
    }
}

impl Contest {
    /// Slots for rows of `schema`; `keeps_rivals` where columns decide between rows of equal times.
    ///
    /// # Errors
    /// Columns that are no instants.
    pub(crate) fn new(
        spec: &LookupSpec,
        schema: &SchemaRef,
        index: Arc<SlotIndex>,
        keeps_rivals: bool,
    ) -> Result<Self> {
        let slots = index.slots();
        let unit = timestamp_unit(schema, spec.time)?;
        let round_created = match spec.created {
            Some(column) => Some(RoundUp::new(timestamp_unit(schema, column)?, index.unit)),
            None => None,
        };
        let created_cut = spec.created_cut && round_created.is_some();
        let stretch = |first: usize| {
            let slots = (slots - first).min(1 << STRETCH_LOG2);
            Mutex::new(Stretch {
                created: vec![None; if round_created.is_some() { slots } else { 0 }],
                seen: vec![None; if created_cut { slots } else { 0 }],
                rivals: Vec::new(),
            })
        };
        Ok(Self {
            reach: Reach { unit, ttl_nanos: spec.ttl_nanos },
            round_time: RoundUp::new(unit, index.unit),
            round_created,
            created_cut,
            keeps_rivals,
            // Memory that is touched for the first time costs much: all threads touch it.
            candidates: (0..slots).into_par_iter().map(|_| AtomicCandidate::none()).collect(),
            stretches: (0..slots).step_by(1 << STRETCH_LOG2).map(stretch).collect(),
            index,
        })
    }

    /// Bytes that [`Self::new`] takes for so many slots.
    pub(crate) fn bytes(spec: &LookupSpec, slots: usize) -> usize {
        let created = if spec.created.is_some() { size_of::<Option<i64>>() } else { 0 };
        let seen = if spec.created.is_some() && spec.created_cut { size_of::<Option<i64>>() } else { 0 };
        slots * (size_of::<Candidate>() + created + seen)
    }

    /// Offers rows whose event times alone decide; returns how many rivals came of it. The passes over them are short loops
    /// without branches that depend on each other, so that the processor has many memory accesses under way at once.
    pub(crate) fn offer(&self, rows: &[NarrowRow], scratch: &mut Scratch) -> usize {
        let Scratch { sought, slots } = scratch;
        sought.clear();
        sought.extend(rows.iter().map(|row| match self.round_time.apply(row.time) {
            Some(visible) => (row.group, visible),
            // Later than every instant of the spine.
            None => (NO_GROUP, 0),
        }));
        self.index.first_at_or_after_each(sought, slots);
        let mut held = Held { contest: self, stretch: None };
        let mut rivals = 0;
        for (row, &slot) in rows.iter().zip(slots.iter()) {
            let place = slot as usize;
            if slot == NO_SLOT || self.reach.is_expired(&self.index, place, row.time) {
                continue;
            }
            let stretch = held.of(place);
            let row = Candidate { time: row.time, row: row.row };
            let (candidate, best) = (&self.candidates[place], self.candidates[place].get());
            let is_first = best.row == NO_ROW;
            if self.keeps_rivals & !is_first & (best.time == row.time) {
                stretch.rivals.push(Rival { slot, row: row.row, time: row.time, created: None });
                rivals += 1;
            }
            // Which row wins cannot be foreseen, and a wrong guess would wait for the memory of its slot: no branch.
            candidate.set(select_unpredictable(is_first | (row.time > best.time), row, best));
        }
        rivals
    }

    /// Offers rows that also have a created time: of equal event times the later created one wins, and under a cut it says from
    /// when a row is visible. Returns how many rivals came of it.
    pub(crate) fn offer_created(&self, rows: &[CreatedRow]) -> usize {
        let Some(round_created) = self.round_created else { return 0 };
        let mut held = Held { contest: self, stretch: None };
        let mut rivals = 0;
        for &CreatedRow { row: NarrowRow { time, row, group }, created } in rows {
            // Later than every instant of the spine.
            let Some(mut visible) = self.round_time.apply(time) else { continue };
            if self.created_cut {
                if let Some(slot) = self.index.first_at_or_after(group, visible) {
                    let seen = &mut held.of(slot).seen[in_stretch(slot)];
                    *seen = (*seen).max(Some(time));
                }
                // Under a cut a row without a created time is not eligible.
                let Some(bound) = created.and_then(|created| round_created.apply(created)) else { continue };
                visible = visible.max(bound);
            }
            if let Some(slot) = self.index.first_at_or_after(group, visible)
                && !self.reach.is_expired(&self.index, slot, time)
            {
                let stretch = held.of(slot);
                let held_created = &mut stretch.created[in_stretch(slot)];
                let candidate = Candidate { time, row };
                match compare(self.candidates[slot].get(), Some(*held_created), candidate, created) {
                    Ordering::Less => {}
                    Ordering::Greater => {
                        self.candidates[slot].set(candidate);
                        *held_created = created;
                    }
                    Ordering::Equal if self.keeps_rivals => {
                        stretch.rivals.push(Rival { slot: as_u32(slot), row, time, created });
                        rivals += 1;
                    }
                    Ordering::Equal => {}
                }
            }
        }
        rivals
    }

    /// What all rows came to, once no thread offers any more.
    ///
    /// # Errors
    /// A thread that still holds the slots.
    pub(crate) fn end(contest: Arc<Self>) -> Result<Locate> {
        let Some(own) = Arc::into_inner(contest) else {
            return Err(DataFusionError::Internal("a fold has ended while rows were offered".to_owned()));
        };
        let candidate = |candidate: AtomicCandidate| Candidate {
            time: candidate.time.into_inner(),
            row: candidate.row.into_inner(),
        };
        let (mut created, mut seen, mut rivals) = (Vec::new(), Vec::new(), Vec::new());
        for stretch in own.stretches {
            let stretch = stretch.into_inner().unwrap_or_else(PoisonError::into_inner);
            created.extend(stretch.created);
            seen.extend(stretch.seen);
            rivals.extend(stretch.rivals);
        }
        Ok(Locate {
            index: own.index,
            reach: own.reach,
            candidates: own.candidates.into_iter().map(candidate).collect(),
            created,
            seen,
            rivals,
        })
    }
}

/// The place of a slot in its stretch.
#[inline]
fn in_stretch(slot: usize) -> usize {
    slot & ((1 << STRETCH_LOG2) - 1)
}
