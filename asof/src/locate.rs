//! What a lookup's narrow rows come to: each slot's best candidate, its times and ordinal, no columns.
//!
//! The rules are those of [`crate::fold`]; what differs is that a candidate's columns are read afterwards, so rows that
//! tie are noted and settled once, at the end ([`crate::settle`]). Rows contend in a [`crate::contest::Contest`].

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::datatypes::TimeUnit;

use crate::instants::to_nanos;
use crate::slot_index::{NO_SLOT, SlotIndex};

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

/// Where no row has come yet.
pub(crate) const NONE: Candidate = Candidate { time: i64::MIN, row: NO_ROW };

/// A row whose times equalled those of its slot's candidate when it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rival {
    pub(crate) slot: u32,
    pub(crate) row: u64,
    pub(crate) time: i64,
    pub(crate) created: Option<i64>,
}

/// What the rows of one lookup, or of a part of it, came to.
pub(crate) struct Locate {
    pub(crate) index: Arc<SlotIndex>,
    pub(crate) reach: Reach,
    pub(crate) candidates: Vec<Candidate>,
    /// Where created times decide, those of the candidates.
    pub(crate) created: Vec<Option<i64>>,
    /// Under a created cut: the greatest event time whatever its created time.
    pub(crate) seen: Vec<Option<i64>>,
    pub(crate) rivals: Vec<Rival>,
}

/// How far a row's event time reaches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// The unit of event times.
    pub(crate) unit: TimeUnit,
    pub(crate) ttl_nanos: Option<i128>,
}

impl Reach {
    /// Every slot from this one on lies later, so a row too old here is too old for all that it could serve.
    #[inline]
    pub(crate) fn is_expired(self, index: &SlotIndex, slot: usize, time: i64) -> bool {
        self.ttl_nanos.is_some_and(|ttl| {
            to_nanos(time, self.unit).saturating_add(ttl) < to_nanos(index.slot_instants[slot], index.unit)
        })
    }
}

impl Locate {
    /// Bytes held now.
    pub(crate) fn bytes(&self) -> usize {
        self.candidates.capacity() * size_of::<Candidate>()
            + (self.created.capacity() + self.seen.capacity()) * size_of::<Option<i64>>()
            + self.rival_bytes()
    }

    /// Bytes of the rows that await a decision.
    fn rival_bytes(&self) -> usize {
        self.rivals.capacity() * size_of::<Rival>()
    }

    /// Whether a row of this event time is too old for a slot.
    #[inline]
    pub(crate) fn is_expired(&self, slot: usize, time: i64) -> bool {
        self.reach.is_expired(&self.index, slot, time)
    }

    /// The age at a slot of a row of this event time in nanoseconds, saturated.
    pub(crate) fn age(&self, slot: usize, time: i64) -> i64 {
        let nanos =
            to_nanos(self.index.slot_instants[slot], self.index.unit) - to_nanos(time, self.reach.unit);
        i64::try_from(nanos).unwrap_or(i64::MAX)
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

/// Slots of one index are below 2³² - 8, checked when it is built.
pub(crate) fn as_u32(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(NO_SLOT)
}
