//! Numbers of key tuples of any types, compared by their row encoding.

use ahash::RandomState;
use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use hashbrown::HashTable;

use crate::key_index::{NO_GROUP, group_number};

/// Distinct tuples, numbered in order of first sight.
pub(crate) struct TupleKeys {
    converter: RowConverter,
    hasher: RandomState,
    /// (hash, group number)
    table: HashTable<(u64, u32)>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl TupleKeys {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8 + self.table.capacity() * 13
    }

    /// Bytes that [`Self::sort`] takes for a while.
    pub(crate) fn sort_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * (2 * size_of::<usize>() + size_of::<u32>())
    }

    /// Numbers them anew in ascending order, which is that of their encodings; returns the new number of each old one.
    pub(crate) fn sort(&mut self) -> Vec<u32> {
        let mut order: Vec<usize> = (0..self.ends.len()).collect();
        order.sort_unstable_by_key(|&number| slice(&self.bytes, &self.ends, number));
        let mut new = vec![NO_GROUP; order.len()];
        let (mut bytes, mut ends) =
            (Vec::with_capacity(self.bytes.len()), Vec::with_capacity(self.ends.len()));
        for (place, &number) in order.iter().enumerate() {
            new[number] = group_number(place);
            bytes.extend_from_slice(slice(&self.bytes, &self.ends, number));
            ends.push(bytes.len());
        }
        (self.bytes, self.ends) = (bytes, ends);
        self.table.iter_mut().for_each(|(_, number)| *number = new[*number as usize]);
        new
    }

    pub(crate) fn new(types: &[DataType]) -> Result<Self> {
        Ok(Self {
            converter: RowConverter::new(types.iter().cloned().map(SortField::new).collect())?,
            hasher: RandomState::with_seeds(1, 2, 3, 4),
            table: HashTable::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
        })
    }

    pub(crate) fn insert(&mut self, keys: &[ArrayRef], groups: &mut Vec<u32>) -> Result<()> {
        let rows = self.converter.convert_columns(keys)?;
        let nulls = any_null(keys);
        groups.extend(rows.iter().enumerate().map(|(row, tuple)| match &nulls {
            Some(nulls) if nulls.is_null(row) => NO_GROUP,
            _ => self.number_of(tuple.as_ref()).unwrap_or_else(|hash| self.add(hash, tuple.as_ref())),
        }));
        Ok(())
    }

    pub(crate) fn find(&self, keys: &[ArrayRef], groups: &mut Vec<u32>) -> Result<()> {
        let rows = self.converter.convert_columns(keys)?;
        let nulls = any_null(keys);
        groups.extend(rows.iter().enumerate().map(|(row, tuple)| match &nulls {
            Some(nulls) if nulls.is_null(row) => NO_GROUP,
            _ => self.number_of(tuple.as_ref()).unwrap_or(NO_GROUP),
        }));
        Ok(())
    }

    /// Gives up what finds the number of a tuple.
    pub(crate) fn forget(&mut self) {
        self.table = HashTable::new();
    }

    /// The tuples of some numbers, a column for each key; what is asked for several times in a row is decoded once.
    pub(crate) fn columns(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let mut tuples = Vec::new();
        let mut places = Vec::with_capacity(numbers.len());
        for same in numbers.chunk_by(|one, other| one == other) {
            places.extend(std::iter::repeat_n(group_number(tuples.len()), same.len()));
            tuples.push(parser.parse(slice(&self.bytes, &self.ends, same[0] as usize)));
        }
        let is_once_each = tuples.len() == numbers.len();
        let columns = self.converter.convert_rows(tuples)?;
        if is_once_each {
            return Ok(columns);
        }
        let places = UInt32Array::from(places);
        columns.iter().map(|column| Ok(take(column, &places, None)?)).collect()
    }

    /// The number of a tuple, or its hash if it is not known.
    fn number_of(&self, tuple: &[u8]) -> std::result::Result<u32, u64> {
        let hash = self.hasher.hash_one(tuple);
        let is_it =
            |&(h, number): &(u64, u32)| h == hash && slice(&self.bytes, &self.ends, number as usize) == tuple;
        self.table.find(hash, is_it).map(|&(_, number)| number).ok_or(hash)
    }

    fn add(&mut self, hash: u64, tuple: &[u8]) -> u32 {
        let number = group_number(self.ends.len());
        self.bytes.extend_from_slice(tuple);
        self.ends.push(self.bytes.len());
        self.table.insert_unique(hash, (hash, number), |&(h, _)| h);
        number
    }
}

/// Where any key of a tuple is null, be it a dictionary's null entry.
pub(crate) fn any_null(keys: &[ArrayRef]) -> Option<NullBuffer> {
    keys.iter().fold(None, |nulls, key| NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref()))
}

fn slice<'a>(bytes: &'a [u8], ends: &[usize], number: usize) -> &'a [u8] {
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &bytes[start..ends[number]]
}
