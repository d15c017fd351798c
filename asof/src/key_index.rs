//! Numbers the distinct key tuples of the spine, and finds the number of a lookup row's tuple.

use std::hint::select_unpredictable;
use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use hashbrown::HashMap;

use crate::tuple_keys::TupleKeys;

/// No group: the tuple has a null, or the spine does not know it.
pub(crate) const NO_GROUP: u32 = u32::MAX;

/// Distinct key tuples, numbered in order of first sight.
pub(crate) enum KeyIndex {
    /// No keys: everything is one group.
    Keyless,
    /// One 64-bit integer key.
    Integer(IntegerKeys),
    /// Any other tuple, by its row encoding.
    Tuple(TupleKeys),
}

impl KeyIndex {
    pub(crate) fn new(types: &[DataType]) -> Result<Self> {
        Ok(match types {
            [] => Self::Keyless,
            [DataType::Int64] => Self::Integer(IntegerKeys::default()),
            _ => Self::Tuple(TupleKeys::new(types)?),
        })
    }

    /// To be called before the first insert: so many rows will come.
    pub(crate) fn reserve(&mut self, rows: usize) {
        if let Self::Integer(index) = self {
            index.rows = rows;
        }
    }

    /// The most bytes that keys take because so many rows were announced; twice what they keep, while they grow.
    pub(crate) fn reserve_bytes_max(&self, rows: usize) -> usize {
        match self {
            Self::Integer(_) => rows.saturating_mul(2 * size_of::<u32>()),
            Self::Keyless | Self::Tuple(_) => 0,
        }
    }

    /// Group numbers of the rows, new tuples numbered; [`NO_GROUP`] where a key is null.
    pub(crate) fn insert(&mut self, keys: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        match self {
            Self::Keyless => groups.extend(std::iter::repeat_n(0, rows)),
            Self::Integer(index) => index.insert(keys[0].as_primitive::<Int64Type>(), groups),
            Self::Tuple(index) => index.insert(keys, groups)?,
        }
        Ok(())
    }

    /// To be called once after the last insert.
    pub(crate) fn seal(&mut self) {
        if let Self::Integer(index) = self {
            index.seal();
        }
    }

    /// The most bytes that [`Self::seal`] and [`Self::sort`] may take.
    pub(crate) fn seal_bytes_max(&self) -> usize {
        match self {
            Self::Integer(IntegerKeys { dense: None, numbers, .. }) => {
                dense_span_max(numbers.len()).saturating_mul(4)
            }
            Self::Integer(_) | Self::Keyless => 0,
            Self::Tuple(index) => index.sort_bytes(),
        }
    }

    /// Numbers the sealed keys anew, in ascending order of their values; returns the new number of each old one.
    pub(crate) fn sort(&mut self) -> Vec<u32> {
        match self {
            Self::Keyless => vec![0],
            Self::Integer(index) => index.sort(),
            Self::Tuple(index) => index.sort(),
        }
    }

    /// Group numbers of the rows; [`NO_GROUP`] where a key is null or unknown.
    pub(crate) fn find(&self, keys: &[ArrayRef], rows: usize, groups: &mut Vec<u32>) -> Result<()> {
        match self {
            Self::Keyless => groups.extend(std::iter::repeat_n(0, rows)),
            Self::Integer(index) => index.find(keys[0].as_primitive::<Int64Type>(), groups),
            Self::Tuple(index) => index.find(keys, groups)?,
        }
        Ok(())
    }

    /// How many tuples there are.
    pub(crate) fn groups(&self) -> usize {
        match self {
            Self::Keyless => 1,
            Self::Integer(index) => index.keys,
            Self::Tuple(index) => index.len(),
        }
    }

    /// The values of an integer key by their numbers; of other keys nothing.
    pub(crate) fn integers(&self) -> Vec<i64> {
        match self {
            Self::Integer(index) => index.values(),
            Self::Keyless | Self::Tuple(_) => Vec::new(),
        }
    }

    /// Bytes of [`Self::integers`].
    pub(crate) fn integers_bytes(&self) -> usize {
        if let Self::Integer(index) = self { index.keys * size_of::<i64>() } else { 0 }
    }

    /// A column for each key, of the tuples of some numbers; `integers` are those of the index.
    ///
    /// # Errors
    /// A tuple that cannot be decoded.
    pub(crate) fn columns(&self, integers: &[i64], numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Keyless => Ok(Vec::new()),
            Self::Integer(_) => {
                let values = numbers.iter().map(|&number| integers[number as usize]);
                Ok(vec![Arc::new(Int64Array::from_iter_values(values))])
            }
            Self::Tuple(index) => index.columns(numbers),
        }
    }

    /// Gives up what finds the number of a tuple.
    pub(crate) fn forget(&mut self) {
        match self {
            Self::Keyless => {}
            Self::Integer(index) => (index.dense, index.numbers) = (None, HashMap::default()),
            Self::Tuple(index) => index.forget(),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Keyless => 0,
            Self::Integer(index) => {
                index.numbers.capacity() * 17 + index.dense.as_ref().map_or(0, |d| d.numbers.capacity() * 4)
            }
            Self::Tuple(index) => index.memory_bytes(),
        }
    }
}

/// One 64-bit integer key: a plain array where the keys lie close together, else a hash map.
#[derive(Default)]
pub(crate) struct IntegerKeys {
    dense: Option<DenseKeys>,
    /// Used where there is no array; when it is sealed it may become one.
    numbers: HashMap<i64, u32, RandomState>,
    /// Rows that were announced: an array of as many places is small beside them.
    rows: usize,
    keys: usize,
}

struct DenseKeys {
    least: i64,
    numbers: Vec<u32>,
}

impl DenseKeys {
    /// A place for each key of a range, if these are at most `places`.
    fn new(least: i64, greatest: i64, places: usize) -> Option<Self> {
        let span = usize::try_from(i128::from(greatest) - i128::from(least) + 1).ok()?;
        (span <= places).then(|| Self { least, numbers: vec![NO_GROUP; span] })
    }

    /// Makes room for keys of a range, with some to spare on the side that grows; whether at most `places` do.
    fn grow(&mut self, least: i64, greatest: i64, places: usize) -> bool {
        let held = self.numbers.len();
        let below = offset(least.min(self.least), self.least);
        let above = offset(self.least, greatest.max(self.least)).saturating_add(1).saturating_sub(held);
        let needed = below.saturating_add(held).saturating_add(above);
        if needed > places {
            return false;
        }
        let spare = (places - needed).min(held);
        if above > 0 {
            self.numbers.resize(held + above + spare, NO_GROUP);
        }
        if below > 0 {
            // Below the least number of all there is no key to spare room for.
            let spare = if above > 0 { 0 } else { spare.min(offset(i64::MIN, least)) };
            let mut numbers = vec![NO_GROUP; below + spare + self.numbers.len()];
            numbers[below + spare..].copy_from_slice(&self.numbers);
            self.least = least.saturating_sub_unsigned(spare as u64);
            self.numbers = numbers;
        }
        true
    }

    fn of(&self, key: i64) -> u32 {
        if key < self.least {
            return NO_GROUP;
        }
        self.numbers.get(offset(self.least, key)).copied().unwrap_or(NO_GROUP)
    }
}

impl IntegerKeys {
    fn insert(&mut self, keys: &Int64Array, groups: &mut Vec<u32>) {
        let is_first = self.keys == 0;
        if let (Some(least), Some(greatest)) = (min(keys), max(keys)) {
            if is_first && self.dense.is_none() {
                self.dense = DenseKeys::new(least, greatest, self.rows);
            } else if self.dense.as_mut().is_some_and(|dense| !dense.grow(least, greatest, self.rows)) {
                self.spread();
            }
        }
        let found = &mut self.keys;
        let number = |key: i64| match &mut self.dense {
            Some(dense) => {
                // Which keys are new cannot be foreseen: no branch.
                let number = &mut dense.numbers[offset(dense.least, key)];
                let is_new = *number == NO_GROUP;
                *number = select_unpredictable(is_new, group_number(*found), *number);
                *found += usize::from(is_new);
                *number
            }
            None => *self.numbers.entry(key).or_insert_with(|| {
                *found += 1;
                group_number(*found - 1)
            }),
        };
        if keys.null_count() == 0 {
            groups.extend(keys.values().iter().copied().map(number));
        } else {
            let mut number = number;
            groups.extend(keys.iter().map(|key| key.map_or(NO_GROUP, &mut number)));
        }
    }

    /// From the array to the map: keys lie too far apart.
    fn spread(&mut self) {
        let Some(DenseKeys { least, numbers }) = self.dense.take() else { return };
        let known = numbers.into_iter().enumerate().filter(|&(_, number)| number != NO_GROUP);
        self.numbers
            .extend(known.map(|(place, number)| (least.saturating_add_unsigned(place as u64), number)));
    }

    /// A plain array answers in one memory access; it is used while it stays a few times the keys' number.
    fn seal(&mut self) {
        if self.dense.is_some() {
            return;
        }
        let (Some(&least), Some(&greatest)) = (self.numbers.keys().min(), self.numbers.keys().max()) else {
            return;
        };
        let Some(mut dense) = DenseKeys::new(least, greatest, dense_span_max(self.numbers.len())) else {
            return;
        };
        for (key, number) in self.numbers.drain() {
            dense.numbers[offset(least, key)] = number;
        }
        self.numbers.shrink_to_fit();
        self.dense = Some(dense);
    }

    fn sort(&mut self) -> Vec<u32> {
        let mut new = vec![NO_GROUP; self.keys];
        let mut next = 0;
        let mut renumber = |number: &mut u32| {
            new[*number as usize] = next;
            *number = next;
            next += 1;
        };
        match &mut self.dense {
            Some(dense) => dense.numbers.iter_mut().filter(|number| **number != NO_GROUP).for_each(renumber),
            None => {
                let mut numbers: Vec<(&i64, &mut u32)> = self.numbers.iter_mut().collect();
                numbers.sort_unstable_by_key(|(key, _)| **key);
                numbers.into_iter().for_each(|(_, number)| renumber(number));
            }
        }
        new
    }

    /// The keys by their numbers.
    fn values(&self) -> Vec<i64> {
        let mut values = vec![0; self.keys];
        match &self.dense {
            Some(DenseKeys { least, numbers }) => {
                for (place, &number) in numbers.iter().enumerate() {
                    if let Some(value) = values.get_mut(number as usize) {
                        *value = least.saturating_add_unsigned(place as u64);
                    }
                }
            }
            None => self.numbers.iter().for_each(|(&key, &number)| values[number as usize] = key),
        }
        values
    }

    fn find(&self, keys: &Int64Array, groups: &mut Vec<u32>) {
        let number = |key: i64| match &self.dense {
            Some(dense) => dense.of(key),
            None => self.numbers.get(&key).copied().unwrap_or(NO_GROUP),
        };
        if keys.null_count() == 0 {
            groups.extend(keys.values().iter().map(|&key| number(key)));
        } else {
            groups.extend(keys.iter().map(|key| key.map_or(NO_GROUP, number)));
        }
    }
}

/// How far apart so many keys may lie and still be held in a plain array.
fn dense_span_max(keys: usize) -> usize {
    keys.saturating_mul(4).saturating_add(1024)
}

/// Distance of a key from the least one; beyond the address space it is beyond every array too.
fn offset(least: i64, key: i64) -> usize {
    usize::try_from(i128::from(key) - i128::from(least)).unwrap_or(usize::MAX)
}

pub(crate) fn group_number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(NO_GROUP)
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    fn groups(index: &mut KeyIndex, insert: &[ArrayRef], find: &[ArrayRef]) -> (Vec<u32>, Vec<u32>) {
        let (mut inserted, mut found) = (vec![], vec![]);
        index.insert(insert, insert[0].len(), &mut inserted).unwrap();
        index.seal();
        index.find(find, find[0].len(), &mut found).unwrap();
        (inserted, found)
    }

    #[test]
    fn sorted_keys_are_numbered_by_their_values() {
        let text = |keys: &[i64]| -> Vec<ArrayRef> {
            let first: StringArray = keys.iter().map(|key| Some(format!("{}", key % 3))).collect();
            let second: StringArray = keys.iter().map(|key| Some(format!("{key:04}"))).collect();
            vec![Arc::new(first), Arc::new(second)]
        };
        let integers = |keys: &[i64]| -> Vec<ArrayRef> { vec![Arc::new(Int64Array::from(keys.to_vec()))] };
        let near = [7, 3, 9, 3, 8, 7];
        let far = [7, 3, 4000, 3, 8, 7];
        type Case = (&'static str, Vec<ArrayRef>, Vec<ArrayRef>, [u32; 6]);
        let cases: [Case; 3] = [
            ("near", integers(&near), integers(&[3, 7, 8, 9, 5]), [1, 0, 3, 0, 2, 1]),
            ("far", integers(&far), integers(&[3, 7, 8, 4000, 5]), [1, 0, 3, 0, 2, 1]),
            // By remainder first: 3 | 4000 7 | 8
            ("tuples", text(&far), text(&[3, 7, 4000, 8, 5]), [1, 0, 2, 0, 3, 1]),
        ];
        for (name, keys, sought, expected) in cases {
            let types: Vec<DataType> = keys.iter().map(|key| key.data_type().clone()).collect();
            let mut index = KeyIndex::new(&types).unwrap();
            let (mut old, mut found) = (Vec::new(), Vec::new());
            index.insert(&keys, 6, &mut old).unwrap();
            index.seal();
            let new = index.sort();
            let renumbered: Vec<u32> = old.iter().map(|&old| new[old as usize]).collect();
            assert_eq!(renumbered, expected, "{name}");
            index.find(&sought, 5, &mut found).unwrap();
            assert_eq!(found, [0, 1, 2, 3, NO_GROUP], "{name}");
        }
        assert_eq!(KeyIndex::new(&[]).unwrap().sort(), [0]);
    }

    #[test]
    fn integers_near_and_far_apart() {
        for far in [3, i64::MAX] {
            let mut index = KeyIndex::new(&[DataType::Int64]).unwrap();
            let keys: ArrayRef = Arc::new(Int64Array::from(vec![Some(-2), Some(far), None, Some(-2)]));
            let sought: ArrayRef =
                Arc::new(Int64Array::from(vec![None, Some(far), Some(i64::MIN), Some(-2), Some(0)]));
            let (inserted, found) = groups(&mut index, &[keys], &[sought]);
            assert_eq!(inserted, [0, 1, NO_GROUP, 0]);
            assert_eq!(found, [NO_GROUP, 1, NO_GROUP, 0, NO_GROUP]);
        }
    }

    #[test]
    fn keys_that_come_near_and_then_far_keep_their_numbers() {
        let near: [&[i64]; 5] = [&[10, 12], &[11, 15, 12], &[3, 16], &[i64::MIN, 16], &[11, 3, 4]];
        let greatest: [&[i64]; 3] = [&[i64::MAX - 1, i64::MAX], &[i64::MAX - 3], &[5, 3, i64::MAX]];
        let least: [&[i64]; 3] = [&[i64::MIN + 1], &[i64::MIN, i64::MIN + 2], &[5, 3, i64::MIN]];
        let cases = [near.as_slice(), &greatest, &least];
        // As many places as rows, few enough to give way at once, or none.
        for (rows, batches) in
            [1_000, 14, 4, 2, 0].into_iter().flat_map(|rows| cases.map(|case| (rows, case)))
        {
            let mut index = KeyIndex::new(&[DataType::Int64]).unwrap();
            index.reserve(rows);
            let mut numbers: Vec<i64> = Vec::new();
            for &keys in batches {
                let array: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
                let mut found = Vec::new();
                index.insert(&[array], keys.len(), &mut found).unwrap();
                for (key, &found) in keys.iter().zip(&found) {
                    let number = numbers.iter().position(|known| known == key).unwrap_or(numbers.len());
                    if number == numbers.len() {
                        numbers.push(*key);
                    }
                    assert_eq!(found as usize, number, "key {key}, {rows} rows");
                }
            }
            assert_eq!(index.groups(), numbers.len());
            index.seal();
            let sought = [5, 16, i64::MIN, i64::MAX, i64::MIN + 1];
            let expected = sought.map(|key| numbers.iter().position(|known| *known == key));
            let sought: ArrayRef = Arc::new(Int64Array::from(sought.to_vec()));
            let mut found = Vec::new();
            index.find(&[sought], 5, &mut found).unwrap();
            let found: Vec<_> = found.iter().map(|&f| (f != NO_GROUP).then_some(f as usize)).collect();
            assert_eq!(found, expected, "{rows} rows");
        }
    }

    #[test]
    fn tuples_do_not_run_together() {
        let mut index = KeyIndex::new(&[DataType::Utf8, DataType::Utf8]).unwrap();
        let columns = |a: Vec<Option<&str>>, b: Vec<Option<&str>>| -> Vec<ArrayRef> {
            vec![Arc::new(StringArray::from(a)), Arc::new(StringArray::from(b))]
        };
        let (inserted, found) = groups(
            &mut index,
            &columns(vec![Some("a"), Some("ab"), Some("")], vec![Some("bc"), Some("c"), None]),
            &columns(vec![Some("ab"), Some("abc")], vec![Some("c"), Some("")]),
        );
        assert_eq!(inserted, [0, 1, NO_GROUP]);
        assert_eq!(found, [1, NO_GROUP]);
    }
}
