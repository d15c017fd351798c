//! Decides between rows of equal times once all rows were seen: reads what tells them apart for these rows only.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::row::Rows;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryReservation;

use crate::fetched::{Fetched, fetch};
use crate::late::LateColumns;
use crate::locate::Locate;
use crate::row_set::RowSet;
use crate::spec::LookupSpec;
use crate::ties::comparable_form;

/// What decides between rows of equal event time, as positions in the late columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deciders {
    created: Option<usize>,
    ties: Vec<usize>,
}

impl Deciders {
    pub(crate) fn of(spec: &LookupSpec) -> Self {
        Self { created: spec.late_created, ties: spec.ties.clone() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.created.is_none() && self.ties.is_empty()
    }
}

/// A slot whose candidate the tie columns chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tied {
    pub(crate) slot: u32,
    /// A row that it was chosen over.
    pub(crate) over: u64,
}

/// Lets the rivals contend; returns the slots whose candidate the tie columns chose, ascending.
pub(crate) async fn settle(
    locate: &mut Locate,
    deciders: &Deciders,
    late: &Arc<dyn LateColumns>,
    context: &Arc<TaskContext>,
    at_once: usize,
    memory: &mut MemoryReservation,
) -> Result<Vec<Tied>> {
    locate.prune_rivals();
    if locate.rivals.is_empty() {
        return Ok(Vec::new());
    }
    let before = memory.size();
    let end = late.units().last().map_or(0, |unit| unit.end);
    memory.try_grow(RowSet::bytes(end))?;
    let mut rows = RowSet::new(end);
    for rival in &locate.rivals {
        rows.insert(rival.row);
        rows.insert(locate.candidates[rival.slot as usize].row);
    }
    rows.seal();
    let columns: Vec<usize> = deciders.created.iter().chain(&deciders.ties).copied().collect();
    let ranked = usize::try_from(rows.members()).unwrap_or(usize::MAX);
    let fetched = fetch(late, &rows, &columns, context, at_once, ranked).await?;
    // The columns, and their comparable form.
    memory.try_grow(fetched.bytes().saturating_mul(3))?;
    let ranks: UInt32Array = (0..u32::try_from(ranked).unwrap_or(u32::MAX)).collect();
    let schema = late.schema();
    let comparable = |places: std::ops::Range<usize>| -> Result<Rows> {
        let form = comparable_form(columns[places.clone()].iter().map(|&c| schema.field(c).data_type()))?;
        Ok(form.convert_columns(&fetched.gather(&places.collect::<Vec<_>>(), &ranks)?)?)
    };
    let first_tie = usize::from(deciders.created.is_some());
    let created = if first_tie > 0 { Some(comparable(0..first_tie)?) } else { None };
    let ties = if deciders.ties.is_empty() { None } else { Some(comparable(first_tie..columns.len())?) };
    let tied = choose(locate, &rows, created.as_ref(), ties.as_ref());
    drop::<Fetched>(fetched);
    memory.try_resize(before)?;
    Ok(tied)
}

fn choose(locate: &mut Locate, rows: &RowSet, created: Option<&Rows>, ties: Option<&Rows>) -> Vec<Tied> {
    let place = |row: u64| usize::try_from(rows.rank(row)).unwrap_or(usize::MAX);
    let compare = |column: Option<&Rows>, one: u64, other: u64| {
        column.map_or(Ordering::Equal, |rows| rows.row(place(one)).cmp(&rows.row(place(other))))
    };
    let rivals = std::mem::take(&mut locate.rivals);
    let mut tied = Vec::new();
    for group in rivals.chunk_by(|one, other| one.slot == other.slot) {
        let slot = group[0].slot;
        let candidate = &mut locate.candidates[slot as usize];
        let mut over = None;
        for rival in group {
            match compare(created, rival.row, candidate.row) {
                Ordering::Less => {}
                Ordering::Greater => {
                    candidate.row = rival.row;
                    over = None;
                }
                Ordering::Equal => match compare(ties, rival.row, candidate.row) {
                    Ordering::Equal => {}
                    Ordering::Less => over = Some(rival.row),
                    Ordering::Greater => over = Some(std::mem::replace(&mut candidate.row, rival.row)),
                },
            }
        }
        tied.extend(over.map(|over| Tied { slot, over }));
    }
    tied
}
