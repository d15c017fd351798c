//! Runs of a spine that streams past, each with its rows put near those of the same key. What repeats is then near, too: files
//! of rows that share features get a third of their size, and take half as long to write.
//!
//! ```text
//! as they come   │ b a c b a │ c a b b c │      a run    │ a a a │ b b b b │ c c c │   by instant inside a key
//! ```

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use datafusion::common::Result;

use crate::instants::Instants;
use crate::key_index::NO_GROUP;
use crate::places::Places;
use crate::slot_index::{as_u32, is_worth_clustering};

/// Rows of a run at most. Halved, `bigspine` (benches/) is written into a quarter more bytes; doubled, into a sixth less.
pub(crate) const RUN_ROWS: usize = if cfg!(test) { 10 } else { 1 << 22 };
/// Bytes of a run at most.
pub(crate) const RUN_BYTES: usize = 256 << 20;
/// Bytes that a row takes besides its columns.
const ROW_BYTES: usize = 2 * size_of::<u32>() + size_of::<(i64, u32)>();
/// Rows of a batch that is gathered.
const GATHERED_ROWS: usize = if cfg!(test) { 7 } else { 8192 };

/// Rows that are collected.
#[derive(Default)]
pub(crate) struct Run {
    batches: Vec<RecordBatch>,
    /// The group of each row's key.
    groups: Vec<u32>,
    batch_bytes: usize,
}

impl Run {
    /// Takes rows in, with the groups of their keys.
    pub(crate) fn push(&mut self, batch: RecordBatch, groups: &[u32]) {
        self.batch_bytes += batch.get_array_memory_size();
        self.groups.extend_from_slice(groups);
        self.batches.push(batch);
    }

    /// Whether another batch would be too many.
    pub(crate) fn is_full(&self, rows_max: usize) -> bool {
        self.groups.len() >= rows_max || self.bytes() >= RUN_BYTES
    }

    /// Bytes of the rows, and of what brings them in order.
    pub(crate) fn bytes(&self) -> usize {
        self.batch_bytes + self.groups.len() * ROW_BYTES
    }

    /// The rows by group, of which there are `groups`, then by the instants in a column; as they came if that saves nothing.
    pub(crate) fn ordered(self, groups: usize, instant: usize) -> Result<OrderedRun> {
        let Self { batches, groups: row_groups, .. } = self;
        // Rows without a group come last.
        let group_of = |group: u32| if group == NO_GROUP { groups } else { group as usize };
        let mut starts = vec![0_u32; groups + 2];
        for &group in &row_groups {
            starts[group_of(group) + 1] += 1;
        }
        let keys = starts.iter().filter(|&&rows| rows > 0).count();
        if !is_worth_clustering(row_groups.len(), keys) {
            return Ok(OrderedRun { batches, groups: row_groups, order: None, done: 0, batches_done: 0 });
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        let mut rows = vec![(0_i64, 0_u32); row_groups.len()];
        let mut next = starts.clone();
        let mut row = 0;
        for batch in &batches {
            for &instant in Instants::of(batch.column(instant).as_ref())?.values.iter() {
                let place = &mut next[group_of(row_groups[row])];
                rows[*place as usize] = (instant, as_u32(row));
                *place += 1;
                row += 1;
            }
        }
        for bounds in starts[..=groups].windows(2) {
            rows[bounds[0] as usize..bounds[1] as usize].sort_unstable();
        }
        let places = Places::new(batches.iter().map(RecordBatch::num_rows));
        let order = Some(Order { rows, places });
        Ok(OrderedRun { batches, groups: row_groups, order, done: 0, batches_done: 0 })
    }
}

/// A run on its way out.
pub(crate) struct OrderedRun {
    batches: Vec<RecordBatch>,
    groups: Vec<u32>,
    order: Option<Order>,
    /// Rows that have come out.
    done: usize,
    /// Batches that have, where rows come as they came.
    batches_done: usize,
}

struct Order {
    /// Instant and number of each row.
    rows: Vec<(i64, u32)>,
    /// Where it is.
    places: Places,
}

impl OrderedRun {
    /// The next rows and their groups.
    pub(crate) fn next(&mut self) -> Result<Option<(RecordBatch, Vec<u32>)>> {
        let first = self.done;
        let Some(order) = &self.order else {
            let Some(batch) = self.batches.get(self.batches_done) else { return Ok(None) };
            self.batches_done += 1;
            self.done += batch.num_rows();
            return Ok(Some((batch.clone(), self.groups[first..self.done].to_vec())));
        };
        if first == order.rows.len() {
            return Ok(None);
        }
        self.done = order.rows.len().min(first + GATHERED_ROWS);
        let rows = &order.rows[first..self.done];
        let groups = rows.iter().map(|&(_, row)| self.groups[row as usize]).collect();
        let places: Vec<(usize, usize)> =
            rows.iter().map(|&(_, row)| order.places.of(row as usize)).collect();
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        Ok(Some((interleave_record_batch(&batches, &places)?, groups)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, TimestampSecondArray};
    use arrow::datatypes::{Int64Type, TimestampSecondType};

    use super::*;

    /// What comes out of batches of (group, instant): group, instant and number of each row.
    fn ordered(batches: &[&[(u32, i64)]]) -> Vec<(u32, i64, i64)> {
        let mut run = Run::default();
        let mut row = 0;
        for rows in batches {
            let instants: ArrayRef =
                Arc::new(rows.iter().map(|row| Some(row.1)).collect::<TimestampSecondArray>());
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(row..row + rows.len() as i64));
            row += rows.len() as i64;
            let batch = RecordBatch::try_from_iter([("row", numbers), ("at", instants)]).unwrap();
            run.push(batch, &rows.iter().map(|row| row.0).collect::<Vec<_>>());
        }
        let mut ordered = run.ordered(4, 1).unwrap();
        let mut found = Vec::new();
        while let Some((batch, groups)) = ordered.next().unwrap() {
            let numbers = batch.column(0).as_primitive::<Int64Type>().values();
            let instants = batch.column(1).as_primitive::<TimestampSecondType>().values();
            found.extend(groups.into_iter().zip(instants).zip(numbers).map(|((g, &at), &row)| (g, at, row)));
        }
        found
    }

    #[test]
    fn rows_come_by_group_and_instant_and_those_without_a_group_last() {
        let none = NO_GROUP;
        let found =
            ordered(&[&[(2, 9), (0, 5), (none, 1), (2, 3)], &[(0, 4), (2, 3), (0, 6), (none, 0), (2, 1)]]);
        let expected = [
            (0, 4, 4),
            (0, 5, 1),
            (0, 6, 6),
            (2, 1, 8),
            (2, 3, 3),
            (2, 3, 5),
            (2, 9, 0),
            (none, 1, 2),
            (none, 0, 7),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_that_share_no_key_come_as_they_came() {
        let found = ordered(&[&[(2, 9), (0, 5)], &[(3, 1)]]);
        assert_eq!(found, [(2, 9, 0), (0, 5, 1), (3, 1, 2)]);
        assert_eq!(ordered(&[]), []);
    }

    #[test]
    fn a_run_is_full_by_rows_or_bytes() {
        let mut run = Run::default();
        let at: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1; 10]));
        let batch = RecordBatch::try_from_iter([("at", at)]).unwrap();
        run.push(batch, &[0; 10]);
        assert!(run.is_full(10) && !run.is_full(11));
        assert!(run.bytes() >= 10 * (8 + ROW_BYTES));
        run.batch_bytes = RUN_BYTES;
        assert!(run.is_full(11));
    }
}
