//! The spine's rows on their way out: batch by batch as they came, or gathered in the order of their slots. Rows that are
//! gathered are kept without their keys and instants, which the slots give back.

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::spill::get_record_batch_memory_size;

use crate::fetched::{Collected, Fetched, Unit, bytes_of};
use crate::slot_index::{RowSlot, RowSlots, as_u32};
use crate::slot_values::{SlotValues, SpineSlots};
use crate::spec::AsofSpec;
use crate::tuple_keys::any_null;

/// Rows of a batch that is gathered in another order than rows came in.
const GATHERED_ROWS: usize = if cfg!(test) { 3 } else { 8192 };

/// A batch as it is kept.
#[derive(Debug)]
pub(crate) enum Kept {
    Whole(RecordBatch),
    /// To be gathered.
    Packed {
        others: Unit,
        /// Which rows have no slot, and their keys and instants.
        slotless: Option<(UInt32Array, Vec<ArrayRef>)>,
    },
}

/// Rows that are collected.
#[derive(Debug)]
pub(crate) struct SpineCollector {
    schema: SchemaRef,
    rows: usize,
    whole: Vec<RecordBatch>,
    whole_bytes: usize,
    /// Where rows may come out in another order.
    packed: Option<Packing>,
    /// The rows of each batch, by partition.
    came: Vec<Vec<(usize, Range<usize>)>>,
}

/// Rows that may come out in another order than they came.
#[derive(Debug)]
struct Packing {
    columns: Columns,
    others: Collected,
    slotless: Slotless,
}

/// Which columns of a spine its slots give back, and which they do not.
#[derive(Debug, Clone)]
struct Columns {
    /// Positions of keys, with their places in the tuple, and of the instant, which has none.
    given: Vec<(usize, Option<usize>)>,
    others: Vec<usize>,
}

/// Keys and instants of rows for which there is no slot.
#[derive(Debug, Default)]
struct Slotless {
    /// Numbers of these rows, ascending.
    rows: Vec<u32>,
    /// Of each batch the given columns of its rows; in the end one for all.
    pieces: Vec<Vec<ArrayRef>>,
    bytes: usize,
}

impl Columns {
    fn of(schema: &SchemaRef, spec: &AsofSpec) -> Self {
        let columns = || 0..schema.fields().len();
        let source = |column: usize| {
            let key = spec.spine_keys.iter().position(|&key| key == column);
            (key.is_some() || column == spec.spine_instant).then_some((column, key))
        };
        Self {
            given: columns().filter_map(source).collect(),
            others: columns().filter(|&column| source(column).is_none()).collect(),
        }
    }

    /// The rows of a batch with a null key or instant, and their given columns.
    fn slotless(&self, batch: &RecordBatch) -> Result<Option<(UInt32Array, Vec<ArrayRef>)>> {
        let given: Vec<ArrayRef> =
            self.given.iter().map(|&(column, _)| ArrayRef::clone(batch.column(column))).collect();
        let Some(nulls) = any_null(&given).filter(|nulls| nulls.null_count() > 0) else { return Ok(None) };
        let rows = 0..as_u32(batch.num_rows());
        let places: UInt32Array = rows.zip(&nulls).filter(|&(_, valid)| !valid).map(|(row, _)| row).collect();
        let columns = given.iter().map(|column| Ok(take(column, &places, None)?)).collect::<Result<_>>()?;
        Ok(Some((places, columns)))
    }

    /// The given columns of rows without a null among them, by group and slot.
    fn values(&self, schema: &SchemaRef, values: &SlotValues, rows: &Slotted) -> Result<Vec<ArrayRef>> {
        let keys = values.keys(&rows.groups)?;
        let column = |&(column, key): &(usize, Option<usize>)| match key {
            Some(key) => Ok(ArrayRef::clone(&keys[key])),
            None => values.instants(&rows.slots, schema.field(column).data_type()),
        };
        self.given.iter().map(column).collect()
    }
}

/// Rows that have slots.
struct Slotted {
    slots: Vec<u32>,
    groups: Vec<u32>,
}

impl Slotted {
    fn of(places: Range<usize>, rows: &RowSlots, values: &SlotValues) -> Self {
        let slots = places.clone().filter_map(|place| rows.slot(place)).collect::<Vec<u32>>();
        let groups = match rows.groups() {
            Some(groups) => {
                places.filter(|&place| rows.slot(place).is_some()).map(|place| groups[place]).collect()
            }
            None => values.groups_of(&slots),
        };
        Self { slots, groups }
    }
}

impl SpineCollector {
    /// Rows of so many partitions; `clusters` says that they may come out in another order.
    pub(crate) fn new(schema: SchemaRef, spec: &AsofSpec, partitions: usize, clusters: bool) -> Self {
        let packed = clusters.then(|| {
            let columns = Columns::of(&schema, spec);
            let types = columns.others.iter().map(|&column| schema.field(column).data_type().clone());
            Packing { others: Collected::new(types.collect()), slotless: Slotless::default(), columns }
        });
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
        let packer = self.packed.as_ref().map(|packed| (packed.columns.clone(), packed.others.packer()));
        move |batch| match &packer {
            Some((columns, pack)) => {
                let others = pack(&batch.project(&columns.others)?)?;
                Ok(Kept::Packed { others, slotless: columns.slotless(&batch)? })
            }
            None => Ok(Kept::Whole(batch)),
        }
    }

    /// Takes a batch of so many rows of a partition in, at least one.
    pub(crate) fn push(&mut self, partition: usize, rows: usize, kept: Kept) -> Result<()> {
        let batch = self.came.iter().map(Vec::len).sum();
        self.came[partition].push((batch, self.rows..self.rows + rows));
        match (kept, &mut self.packed) {
            (Kept::Packed { others, slotless }, Some(packed)) => {
                packed.others.push(others);
                if let Some((places, columns)) = slotless {
                    let first = as_u32(self.rows);
                    packed.slotless.rows.extend(places.values().iter().map(|place| first + place));
                    packed.slotless.bytes += bytes_of(&columns);
                    packed.slotless.pieces.push(columns);
                }
            }
            (Kept::Whole(batch), None) => {
                self.whole_bytes += get_record_batch_memory_size(&batch);
                self.whole.push(batch);
            }
            _ => return Err(DataFusionError::Internal("spine rows are kept in two ways".to_owned())),
        }
        self.rows += rows;
        Ok(())
    }

    /// Bytes of the rows.
    pub(crate) fn bytes(&self) -> usize {
        self.whole_bytes
            + self.packed.as_ref().map_or(0, |packed| packed.others.bytes() + packed.slotless.bytes())
    }

    /// Bytes that [`Self::finish`] takes for a while, at most.
    pub(crate) fn finish_bytes_max(&self) -> usize {
        self.packed.as_ref().map_or(0, |packed| packed.others.finish_bytes_max() + packed.slotless.bytes)
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
            Some(Packing { columns, others, slotless }) => {
                Rows::Packed { columns, others: others.finish()?, slotless: slotless.joined()? }
            }
            None => Rows::Whole(came().map(|&(batch, _)| self.whole[batch].clone()).collect()),
        };
        Ok(SpineRows { schema: self.schema, rows, ranges })
    }
}

impl Slotless {
    fn bytes(&self) -> usize {
        self.bytes + self.rows.capacity() * size_of::<u32>()
    }

    fn joined(mut self) -> Result<Self> {
        let columns = self.pieces.first().map_or(0, Vec::len);
        let joined = (0..columns).map(|column| {
            let pieces: Vec<_> = self.pieces.iter().map(|piece| piece[column].as_ref()).collect();
            concat(&pieces)
        });
        self.pieces = vec![joined.collect::<std::result::Result<_, _>>()?];
        Ok(self)
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
    Packed { columns: Columns, others: Fetched, slotless: Slotless },
}

impl SpineRows {
    /// The places at which the rows of each batch come out.
    pub(crate) fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Whether keys and instants are asked of the slots.
    pub(crate) fn wants_values(&self) -> bool {
        matches!(self.rows, Rows::Packed { .. })
    }

    /// The rows of a batch; `slots` are those that the rows were made for.
    pub(crate) fn batch(&self, number: usize, slots: &SpineSlots) -> Result<RecordBatch> {
        let (columns, others, slotless, values) = match (&self.rows, &slots.values) {
            (Rows::Whole(batches), _) => return Ok(batches[number].clone()),
            (Rows::Packed { columns, others, slotless }, Some(values)) => (columns, others, slotless, values),
            _ => return Err(DataFusionError::Internal("slots without keys and instants".to_owned())),
        };
        let places = self.ranges[number].clone();
        let slotted = Slotted::of(places.clone(), &slots.rows, values);
        let mut given = columns.values(&self.schema, values, &slotted)?;
        let numbers: Vec<u32> = match slots.rows.order() {
            Some(order) => order[places.clone()].to_vec(),
            None => places.clone().map(as_u32).collect(),
        };
        if slotted.slots.len() < places.len() {
            let mut next = 0;
            let source = |(place, number): (usize, &u32)| match slots.rows.of(place) {
                RowSlot::Slot(_) => {
                    next += 1;
                    (0, next - 1)
                }
                RowSlot::Unmatchable(_) => (1, slotless.rows.partition_point(|row| row < number)),
            };
            let sources: Vec<(usize, usize)> = places.zip(&numbers).map(source).collect();
            for (column, slotless) in given.iter_mut().zip(&slotless.pieces[0]) {
                *column = interleave(&[column.as_ref(), slotless.as_ref()], &sources)?;
            }
        }
        let others_of_rows = others.gather_all(&numbers.into())?;
        let mut all: Vec<(usize, ArrayRef)> = columns.given.iter().map(|given| given.0).zip(given).collect();
        all.extend(columns.others.iter().copied().zip(others_of_rows));
        in_schema_order(&self.schema, all)
    }
}

/// A batch of columns and their positions.
pub(crate) fn in_schema_order(
    schema: &SchemaRef,
    mut columns: Vec<(usize, ArrayRef)>,
) -> Result<RecordBatch> {
    columns.sort_unstable_by_key(|(position, _)| *position);
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}
