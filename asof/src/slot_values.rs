//! What is left of a spine's index when all lookups are folded: the slots of its rows, and the keys and instants that these
//! came with. Who keeps the rows need not keep those, too.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use crate::instants::plain_instants;
use crate::key_values::KeyValues;
use crate::slot_index::{RowSlots, SlotIndex, as_u32, group_at};

/// The slots of a spine's rows.
pub(crate) struct SpineSlots {
    pub(crate) rows: RowSlots,
    /// `None` where the rows are kept whole.
    pub(crate) values: Option<SlotValues>,
}

/// Keys and instants by slot.
pub(crate) struct SlotValues {
    keys: KeyValues,
    /// First slot of each key, and one past the last.
    starts: Vec<u32>,
    instants: Vec<i64>,
}

impl SpineSlots {
    /// The slots of an index, which `memory` holds; `with_values` says whether keys and instants are asked for.
    pub(crate) fn of(index: SlotIndex, with_values: bool, memory: &mut MemoryReservation) -> Result<Self> {
        let others = memory.size() - index.memory_bytes();
        if with_values {
            memory.try_grow(KeyValues::bytes_of(&index.keys))?;
        }
        let SlotIndex { keys, slot_starts, slot_instants, rows, .. } = index;
        let values = with_values.then(|| SlotValues {
            keys: KeyValues::of(keys),
            starts: slot_starts,
            instants: slot_instants,
        });
        let slots = Self { rows, values };
        memory.try_resize(others + slots.memory_bytes())?;
        Ok(slots)
    }

    fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.values.as_ref().map_or(0, SlotValues::memory_bytes)
    }
}

impl SlotValues {
    fn memory_bytes(&self) -> usize {
        self.keys.memory_bytes() + self.starts.capacity() * 4 + self.instants.capacity() * 8
    }

    /// The groups of ascending slots.
    pub(crate) fn groups_of(&self, slots: &[u32]) -> Vec<u32> {
        let mut group = slots.first().map_or(0, |&slot| group_at(&self.starts, slot)) as usize;
        let group_of = |&slot: &u32| {
            while self.starts[group + 1] <= slot {
                group += 1;
            }
            as_u32(group)
        };
        slots.iter().map(group_of).collect()
    }

    /// A column for each key, of some groups.
    pub(crate) fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.keys.columns(groups)
    }

    /// The instants of some slots, as a column of a timestamp type.
    pub(crate) fn instants(&self, slots: &[u32], data_type: &DataType) -> Result<ArrayRef> {
        plain_instants(slots.iter().map(|&slot| self.instants[slot as usize]).collect(), data_type)
    }
}
