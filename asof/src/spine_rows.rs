//! The spine's rows on their way out: batch by batch as they came, or gathered in the order of their slots.

use std::ops::Range;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::spill::get_record_batch_memory_size;

use crate::fetched::{Collected, Fetched, Unit};
use crate::slot_index::{RowSlots, as_u32};

/// Rows of a batch that is gathered in another order than rows came in.
const GATHERED_ROWS: usize = if cfg!(test) { 3 } else { 8192 };

/// A batch as it is kept.
#[derive(Debug)]
pub(crate) enum Kept {
    Whole(RecordBatch),
    /// To be gathered.
    Packed(Unit),
}

/// Rows that are collected.
#[derive(Debug)]
pub(crate) struct SpineCollector {
    schema: SchemaRef,
    rows: usize,
    whole: Vec<RecordBatch>,
    whole_bytes: usize,
    /// Where rows may come out in another order.
    packed: Option<Collected>,
    /// The rows of each batch, by partition.
    came: Vec<Vec<(usize, Range<usize>)>>,
}

impl SpineCollector {
    /// Rows of so many partitions; `clusters` says that they may come out in another order.
    pub(crate) fn new(schema: SchemaRef, partitions: usize, clusters: bool) -> Self {
        let types = || -> Vec<DataType> { schema.fields().iter().map(|f| f.data_type().clone()).collect() };
        let packed = clusters.then(|| Collected::new(types()));
        Self {
            packed,
            schema,
            rows: 0,
            whole: Vec::new(),
            whole_bytes: 0,
            came: vec![Vec::new(); partitions],
        }
    }

    /// What brings a batch into the form in which it is kept; any thread may do it.
    pub(crate) fn keeper(&self) -> impl Fn(RecordBatch) -> Result<Kept> + Send + Sync + use<> {
        let packer = self.packed.as_ref().map(Collected::packer);
        move |batch| match &packer {
            Some(pack) => pack(&batch).map(Kept::Packed),
            None => Ok(Kept::Whole(batch)),
        }
    }

    /// Takes a batch of so many rows of a partition in, at least one.
    pub(crate) fn push(&mut self, partition: usize, rows: usize, kept: Kept) -> Result<()> {
        let batch = self.came.iter().map(Vec::len).sum();
        self.came[partition].push((batch, self.rows..self.rows + rows));
        self.rows += rows;
        match (kept, &mut self.packed) {
            (Kept::Packed(unit), Some(packed)) => packed.push(unit),
            (Kept::Whole(batch), None) => {
                self.whole_bytes += get_record_batch_memory_size(&batch);
                self.whole.push(batch);
            }
            _ => return Err(DataFusionError::Internal("spine rows are kept in two ways".to_owned())),
        }
        Ok(())
    }

    /// Bytes of the rows.
    pub(crate) fn bytes(&self) -> usize {
        self.whole_bytes + self.packed.as_ref().map_or(0, Collected::bytes)
    }

    /// Bytes that [`Self::finish`] takes for a while, at most.
    pub(crate) fn finish_bytes_max(&self) -> usize {
        self.packed.as_ref().map_or(0, Collected::finish_bytes_max)
    }

    /// All rows in the order of `slots`; where it has none, one partition after the other.
    pub(crate) fn finish(self, slots: &RowSlots) -> Result<SpineRows> {
        let came = || self.came.iter().flatten();
        let ranges = if slots.order().is_some() {
            let rows = self.rows;
            (0..rows).step_by(GATHERED_ROWS).map(|first| first..rows.min(first + GATHERED_ROWS)).collect()
        } else {
            came().map(|(_, rows)| rows.clone()).collect()
        };
        let rows = match self.packed {
            Some(packed) => Rows::Packed(packed.finish()?),
            None => Rows::Whole(came().map(|&(batch, _)| self.whole[batch].clone()).collect()),
        };
        Ok(SpineRows { schema: self.schema, rows, ranges })
    }
}

/// All rows of an index.
#[derive(Debug)]
pub(crate) struct SpineRows {
    schema: SchemaRef,
    rows: Rows,
    ranges: Vec<Range<usize>>,
}

#[derive(Debug)]
enum Rows {
    /// Batch by batch as they come out.
    Whole(Vec<RecordBatch>),
    /// By their numbers.
    Packed(Fetched),
}

impl SpineRows {
    /// The places at which the rows of each batch come out.
    pub(crate) fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// The rows of a batch; `slots` are those that the rows were made for.
    pub(crate) fn batch(&self, number: usize, slots: &RowSlots) -> Result<RecordBatch> {
        let rows = match &self.rows {
            Rows::Whole(batches) => return Ok(batches[number].clone()),
            Rows::Packed(rows) => rows,
        };
        let places = self.ranges[number].clone();
        let numbers: UInt32Array = match slots.order() {
            Some(order) => order[places].to_vec().into(),
            None => places.map(as_u32).collect::<Vec<u32>>().into(),
        };
        Ok(RecordBatch::try_new(SchemaRef::clone(&self.schema), rows.gather_all(&numbers)?)?)
    }
}
