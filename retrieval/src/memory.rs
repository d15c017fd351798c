//! What a join would hold in memory, estimated from rows and types: whether it has to spill is decided by that.
//!
//! The estimate is made to be a little too high: a join that spills without need loses time, one that runs out of memory is
//! done twice.

use arrow::datatypes::{DataType, Schema};

/// Bytes of a spine row while it is indexed: the number of its key, its instant, its slot, and what sorting takes.
const INDEX_ROW_BYTES: u64 = 64;
/// Bytes of a slot for each view: its candidate's times, flags and place, how it ended.
const SLOT_BYTES: u64 = 48;
/// Bytes of a slot in each part of a view's scan that folds on its own.
const PART_SLOT_BYTES: u64 = 16;
/// Bytes of a row of a view that is held whole, beside its columns: its key, times and step.
const STEP_BYTES: u64 = 64;
/// Bytes that a text is taken to have.
const TEXT_BYTES: u64 = 32;

/// A side of a join.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// Rows that are read.
    pub(crate) rows: u64,
    /// Bytes of a row in memory.
    pub(crate) row_bytes: u64,
}

impl Side {
    /// Bytes of all of its rows.
    pub(crate) fn bytes(self) -> u64 {
        self.rows.saturating_mul(self.row_bytes)
    }
}

/// What folding `views` with a spine holds at most, in `tasks` parts of a scan side by side.
pub(crate) fn folded(spine: Side, views: impl Iterator<Item = Side>, tasks: u64) -> u64 {
    let mut held = spine.bytes().saturating_add(spine.rows.saturating_mul(INDEX_ROW_BYTES));
    let mut widest = 0;
    for view in views {
        let slots = spine.rows.saturating_mul(SLOT_BYTES);
        let winners = Side { rows: view.rows.min(spine.rows), ..view }.bytes();
        held = held.saturating_add(slots).saturating_add(winners);
        widest = widest.max(winners);
    }
    // While a view is folded: the parts' own candidates, and rows that are beaten but not yet dropped.
    held.saturating_add(spine.rows.saturating_mul(PART_SLOT_BYTES).saturating_mul(tasks))
        .saturating_add(widest)
}

/// What holding a view whole takes: its rows, and for a moment a second time.
pub(crate) fn broadcast(view: Side) -> u64 {
    Side { row_bytes: view.row_bytes.saturating_mul(2).saturating_add(STEP_BYTES), ..view }.bytes()
}

/// Bytes of a row of these columns in memory.
pub(crate) fn row_bytes(schema: &Schema) -> u64 {
    schema.fields().iter().map(|field| width(field.data_type())).sum()
}

/// Bytes of a value in memory, its bit of validity apart.
pub(crate) fn width(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Boolean | DataType::Null => 1,
        DataType::Utf8View | DataType::BinaryView => 16 + TEXT_BYTES / 2,
        DataType::FixedSizeBinary(bytes) => u64::from(bytes.unsigned_abs()),
        DataType::Dictionary(key, _) => width(key),
        DataType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum(),
        DataType::FixedSizeList(field, values) => {
            width(field.data_type()).saturating_mul(u64::from(values.unsigned_abs()))
        }
        other => other.primitive_width().map_or(TEXT_BYTES, |bytes| bytes as u64),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_value_has_its_width() {
        let item = |data_type| Arc::new(Field::new("item", data_type, true));
        let table = [
            (DataType::Int64, 8),
            (DataType::Float32, 4),
            (DataType::Boolean, 1),
            (DataType::Utf8, 32),
            (DataType::Decimal128(10, 2), 16),
            (DataType::FixedSizeList(item(DataType::Float32), 768), 3072),
            (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), 4),
            (DataType::Struct(vec![item(DataType::Int8), item(DataType::Date32)].into()), 5),
        ];
        for (data_type, bytes) in table {
            assert_eq!(width(&data_type), bytes, "{data_type}");
        }
    }

    #[test]
    fn winners_are_at_most_as_many_as_either_side_has_rows() {
        let spine = Side { rows: 10, row_bytes: 100 };
        let narrow = 10 * (100 + INDEX_ROW_BYTES + SLOT_BYTES + PART_SLOT_BYTES);
        for (rows, winners) in [(0, 0), (3, 3), (10, 10), (1_000_000, 10)] {
            let view = Side { rows, row_bytes: 7 };
            assert_eq!(folded(spine, std::iter::once(view), 1), narrow + winners * 7 * 2, "{rows}");
        }
        let huge = Side { rows: u64::MAX, row_bytes: u64::MAX };
        assert_eq!(folded(huge, std::iter::once(huge), u64::MAX), u64::MAX);
        assert_eq!(broadcast(huge), u64::MAX);
    }
}
