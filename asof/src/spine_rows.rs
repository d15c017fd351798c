//! The spine's rows on their way out: batch by batch as they came, or gathered in the order of their slots.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use datafusion::common::Result;

use crate::places::Places;
use crate::slot_index::RowSlots;

/// Rows of a batch that is gathered.
const GATHERED_ROWS: usize = if cfg!(test) { 3 } else { 8192 };

/// A batch of the spine, and the number of its first row in the index.
#[derive(Debug, Clone)]
pub(crate) struct Numbered {
    pub(crate) first_row: usize,
    pub(crate) batch: RecordBatch,
}

/// All rows of an index.
#[derive(Debug)]
pub(crate) struct SpineRows {
    batches: Vec<Numbered>,
    /// The places at which each batch's rows come out.
    ranges: Vec<Range<usize>>,
    /// Where rows are by their numbers, if they are gathered.
    gathered: Option<Places>,
}

impl SpineRows {
    /// The rows of `slots`; they come out in the order of `batches`, unless `slots` has another one.
    pub(crate) fn new(mut batches: Vec<Numbered>, slots: &RowSlots) -> Self {
        if slots.order().is_none() {
            let range = |one: &Numbered| one.first_row..one.first_row + one.batch.num_rows();
            return Self { ranges: batches.iter().map(range).collect(), batches, gathered: None };
        }
        batches.sort_unstable_by_key(|one| one.first_row);
        let places = Places::new(batches.iter().map(|one| one.batch.num_rows()));
        let rows = places.rows();
        let ranges = (0..rows).step_by(GATHERED_ROWS).map(|first| first..rows.min(first + GATHERED_ROWS));
        Self { ranges: ranges.collect(), batches, gathered: Some(places) }
    }

    /// The places at which the rows of each batch come out.
    pub(crate) fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// The rows of a batch; `slots` are those that the rows were made for.
    pub(crate) fn batch(&self, number: usize, slots: &RowSlots) -> Result<RecordBatch> {
        let (Some(places), Some(order)) = (&self.gathered, slots.order()) else {
            return Ok(self.batches[number].batch.clone());
        };
        let batches: Vec<&RecordBatch> = self.batches.iter().map(|one| &one.batch).collect();
        let rows: Vec<(usize, usize)> =
            order[self.ranges[number].clone()].iter().map(|&row| places.of(row as usize)).collect();
        Ok(interleave_record_batch(&batches, &rows)?)
    }
}
