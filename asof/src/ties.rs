//! Decides between rows of equal event and created time: by the tie columns, for many slots at a time.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

use crate::retained::{Locator, Retained};
use crate::spec::LookupSpec;

/// Null lowest in every column, as the contract says.
const NULLS_LOWEST: SortOptions = SortOptions { descending: false, nulls_first: true };

/// The comparable form of columns by which rows are told apart: a greater row wins.
pub(crate) fn comparable_form<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<RowConverter> {
    let field = |kind: &DataType| SortField::new_with_options(kind.clone(), NULLS_LOWEST);
    Ok(RowConverter::new(types.into_iter().map(field).collect())?)
}

/// A row of the batch that is being folded, with the times of its slot's candidate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contender {
    pub(crate) slot: u32,
    pub(crate) row: u32,
    pub(crate) time: i64,
    pub(crate) created: Option<i64>,
}

/// What the tie columns say of one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) slot: u32,
    /// The row of the batch that takes the candidate's place, if one does.
    pub(crate) winner: Option<u32>,
    /// Whether different rows met.
    pub(crate) tied: bool,
}

/// Compares rows by the tie columns of a lookup.
pub(crate) struct TieBreaker {
    converter: RowConverter,
    /// Where the tie columns are among the columns that candidates keep.
    positions: Vec<usize>,
}

impl TieBreaker {
    /// `None` for a lookup without tie columns.
    pub(crate) fn new(spec: &LookupSpec, schema: &SchemaRef, positions: Vec<usize>) -> Result<Option<Self>> {
        if spec.ties.is_empty() {
            return Ok(None);
        }
        let converter = comparable_form(spec.ties.iter().map(|&column| schema.field(column).data_type()))?;
        Ok(Some(Self { converter, positions }))
    }

    /// Settles the slots of `contenders`, which are sorted by slot; `columns` are the batch's kept columns.
    pub(crate) fn settle(
        &self,
        contenders: &[Contender],
        locators: &[Locator],
        retained: &Retained,
        columns: &[ArrayRef],
    ) -> Result<Vec<Settled>> {
        let rows: UInt32Array = contenders.iter().map(|contender| contender.row).collect();
        let held: Vec<Locator> =
            contenders.iter().map(|contender| locators[contender.slot as usize]).collect();
        let challengers = self.rows(|position| Ok(take(&columns[position], &rows, None)?))?;
        let holders = self.rows(|position| retained.gather_beside(position, &columns[position], &held))?;

        let mut settled = Vec::new();
        let mut first = 0;
        for group in contenders.chunk_by(|one, other| one.slot == other.slot) {
            let mut best = holders.row(first);
            let mut outcome = Settled { slot: group[0].slot, winner: None, tied: false };
            for (place, contender) in group.iter().enumerate() {
                let row = challengers.row(first + place);
                let order = row.cmp(&best);
                outcome.tied |= order != Ordering::Equal;
                if order == Ordering::Greater {
                    best = row;
                    outcome.winner = Some(contender.row);
                }
            }
            settled.push(outcome);
            first += group.len();
        }
        Ok(settled)
    }

    fn rows(&self, column: impl Fn(usize) -> Result<ArrayRef>) -> Result<Rows> {
        let columns = self.positions.iter().map(|&position| column(position)).collect::<Result<Vec<_>>>()?;
        Ok(self.converter.convert_columns(&columns)?)
    }
}
