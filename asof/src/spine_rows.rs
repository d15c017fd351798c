//! The spine's rows on their way out: batch by batch as they came, or gathered in the order of their slots. Rows that are
//! gathered are kept without their keys and instants, which the slots give back.

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::spill::get_record_batch_memory_size;

use crate::fetched::{Collected, Fetched, Unit};
use crate::slot_index::{RowSlots, as_u32};
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
        slotless: Option<(UInt32Array, Unit)>,
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
    /// Keys and instants of rows for which there is no slot.
    slotless: Collected,
    /// The numbers of these rows, ascending.
    slotless_rows: Vec<u32>,
}

/// Which columns of a spine its slots give back, and which they do not.
#[derive(Debug, Clone)]
struct Columns {
    /// Positions of keys, with their places in the tuple, and of the instant, which has none.
    given: Vec<(usize, Option<usize>)>,
    others: Vec<usize>,
}

impl Columns {
    fn of(schema: &SchemaRef, spec: &AsofSpec) -> Self {
        let (keys, mut others) = keys_and_others(schema, &spec.spine_keys);
        let mut given: Vec<_> = keys.into_iter().map(|(column, key)| (column, Some(key))).collect();
        given.extend(
            others.extract_if(.., |column| *column == spec.spine_instant).map(|column| (column, None)),
        );
        Self { given, others }
    }

    /// The rows of a batch with a null key or instant, and their given columns.
    fn slotless(&self, batch: &RecordBatch) -> Result<Option<(UInt32Array, RecordBatch)>> {
        let given: Vec<usize> = self.given.iter().map(|given| given.0).collect();
        let given = batch.project(&given)?;
        let nulls = any_null(given.columns()).filter(|nulls| nulls.null_count() > 0);
        let Some(nulls) = nulls else { return Ok(None) };
        let rows = 0..as_u32(batch.num_rows());
        let places: UInt32Array = rows.zip(&nulls).filter(|&(_, valid)| !valid).map(|(row, _)| row).collect();
        let rows = take_record_batch(&given, &places)?;
        Ok(Some((places, rows)))
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
        let groups = match rows.came_groups() {
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
            let type_of = |column: usize| schema.field(column).data_type().clone();
            Packing {
                others: Collected::new(columns.others.iter().map(|&column| type_of(column)).collect()),
                slotless: Collected::new(columns.given.iter().map(|given| type_of(given.0)).collect()),
                slotless_rows: Vec::new(),
                columns,
            }
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
        let packer = self
            .packed
            .as_ref()
            .map(|packed| (packed.columns.clone(), packed.others.packer(), packed.slotless.packer()));
        move |batch| match &packer {
            Some((columns, pack, pack_slotless)) => {
                let others = pack(&batch.project(&columns.others)?)?;
                let slotless = match columns.slotless(&batch)? {
                    Some((places, rows)) => Some((places, pack_slotless(&rows)?)),
                    None => None,
                };
                Ok(Kept::Packed { others, slotless })
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
                if let Some((places, rows)) = slotless {
                    let first = as_u32(self.rows);
                    packed.slotless_rows.extend(places.values().iter().map(|place| first + place));
                    packed.slotless.push(rows);
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
        self.whole_bytes + self.packed.as_ref().map_or(0, Packing::bytes)
    }

    /// Bytes that [`Self::finish`] takes for a while, at most.
    pub(crate) fn finish_bytes_max(&self) -> usize {
        let of = |packed: &Packing| packed.others.finish_bytes_max() + packed.slotless.finish_bytes_max();
        self.packed.as_ref().map_or(0, of)
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
            Some(Packing { columns, others, slotless, slotless_rows }) => {
                Rows::Packed(Box::new(PackedRows {
                    columns,
                    others: others.finish()?,
                    slotless: slotless.finish()?,
                    slotless_rows,
                }))
            }
            None => Rows::Whole(came().map(|&(batch, _)| self.whole[batch].clone()).collect()),
        };
        Ok(SpineRows { schema: self.schema, rows, ranges })
    }
}

impl Packing {
    fn bytes(&self) -> usize {
        self.others.bytes() + self.slotless.bytes() + self.slotless_rows.capacity() * size_of::<u32>()
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
    Packed(Box<PackedRows>),
}

#[derive(Debug)]
struct PackedRows {
    columns: Columns,
    others: Fetched,
    slotless: Fetched,
    slotless_rows: Vec<u32>,
}

impl SpineRows {
    /// The places at which the rows of each batch come out.
    pub(crate) fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Whether keys and instants are asked of the slots.
    pub(crate) fn wants_values(&self) -> bool {
        matches!(self.rows, Rows::Packed(_))
    }

    /// The rows of a batch; `slots` are those that the rows were made for.
    pub(crate) fn batch(&self, number: usize, slots: &SpineSlots) -> Result<RecordBatch> {
        match (&self.rows, &slots.values) {
            (Rows::Whole(batches), _) => Ok(batches[number].clone()),
            (Rows::Packed(packed), Some(values)) => {
                packed.batch(&self.schema, self.ranges[number].clone(), &slots.rows, values)
            }
            (Rows::Packed(_), None) => {
                Err(DataFusionError::Internal("slots without keys and instants".to_owned()))
            }
        }
    }
}

impl PackedRows {
    /// The rows that are put out at some places.
    fn batch(
        &self,
        schema: &SchemaRef,
        places: Range<usize>,
        slots: &RowSlots,
        values: &SlotValues,
    ) -> Result<RecordBatch> {
        let slotted = Slotted::of(places.clone(), slots, values);
        let mut given = self.columns.values(schema, values, &slotted)?;
        let numbers: Vec<u32> = match slots.order() {
            Some(order) => order[places.clone()].to_vec(),
            None => places.clone().map(as_u32).collect(),
        };
        if slotted.slots.len() < places.len() {
            // Some from the slots, some from those that have none, in turn.
            let mut ranks: Vec<u32> = Vec::new();
            let mut slotted = 0;
            let source = |(place, number): (usize, &u32)| {
                if slots.slot(place).is_some() {
                    slotted += 1;
                    return (0, slotted - 1);
                }
                ranks.push(as_u32(self.slotless_rows.partition_point(|row| row < number)));
                (1, ranks.len() - 1)
            };
            let sources: Vec<(usize, usize)> = places.zip(&numbers).map(source).collect();
            let slotless = self.slotless.gather_all(&ranks.into())?;
            for (column, slotless) in given.iter_mut().zip(&slotless) {
                *column = interleave(&[column.as_ref(), slotless.as_ref()], &sources)?;
            }
        }
        let others = self.others.gather_all(&numbers.into())?;
        let given = self.columns.given.iter().map(|given| given.0).zip(given);
        in_schema_order(schema, given.chain(self.columns.others.iter().copied().zip(others)).collect())
    }
}

/// Positions of the columns that are keys, with their places in the tuple, and of the others.
pub(crate) fn keys_and_others(schema: &SchemaRef, keys: &[usize]) -> (Vec<(usize, usize)>, Vec<usize>) {
    let of_tuple = |column: usize| keys.iter().position(|&key| key == column);
    let columns = || 0..schema.fields().len();
    let key_columns = columns().filter_map(|column| Some((column, of_tuple(column)?))).collect();
    (key_columns, columns().filter(|&column| of_tuple(column).is_none()).collect())
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
