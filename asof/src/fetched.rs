//! Rows that were read late: fetched unit by unit, in parallel, and gathered by their ranks. Columns of fixed width lie together
//! ([`crate::packed_rows`]), others in one array each, or in the pieces that they came in.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_empty_array, new_null_array,
};
use arrow::compute::{concat, interleave, nullif, take};
use arrow::datatypes::DataType;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::late::{ColumnPieces, LateColumns};
use crate::packed_rows::{Layout, Packed, Place};
use crate::places::Places;
use crate::row_set::RowSet;

/// A column above this stays in pieces whatever its type: 32-bit offsets end at twice as much.
const JOINED_BYTES_MAX: usize = 1 << 30;

/// Columns of the members of a [`RowSet`], in the order of their ranks.
#[derive(Debug)]
pub(crate) struct Fetched {
    columns: Vec<Column>,
    layout: Arc<Layout>,
    /// What of each unit lies in lines.
    packed: Vec<Packed>,
    places: Places,
    bytes: usize,
}

/// One column.
#[derive(Debug)]
enum Column {
    /// Among others.
    Packed(Place),
    /// In one piece.
    Joined(ArrayRef),
    /// In the units' pieces: joining them would copy them.
    Apart(Vec<ArrayRef>),
}

/// The columns of one unit.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    rows: usize,
    packed: Packed,
    /// `None` for those that are packed.
    columns: Vec<Option<ArrayRef>>,
}

/// Reads `columns` of the rows in `rows`, `at_once` units at a time. About `gathered` rows will be gathered from them.
pub(crate) async fn fetch(
    late: &Arc<dyn LateColumns>,
    rows: &RowSet,
    columns: &[usize],
    context: &Arc<TaskContext>,
    at_once: usize,
    gathered: usize,
) -> Result<Fetched> {
    let schema = late.schema();
    let types: Vec<DataType> =
        columns.iter().map(|&column| schema.field(column).data_type().clone()).collect();
    let layout = Arc::new(Layout::new(&types));
    let mut units: Vec<Unit> = Vec::new();
    if !columns.is_empty() {
        let mut tasks = JoinSet::new();
        // Which rows of a unit are wanted is found out while others are being read.
        let mut waiting = late.units().iter().enumerate().filter_map(|(unit, range)| {
            let runs = rows.runs(range.clone());
            (!runs.is_empty()).then_some((unit, runs))
        });
        loop {
            while tasks.len() < at_once.max(1)
                && let Some((unit, runs)) = waiting.next()
            {
                let place = units.len();
                units.push(Unit::default());
                let reading = late.fetch(unit, runs, columns.to_vec(), Arc::clone(context));
                let layout = Arc::clone(&layout);
                // While they are in the processor's cache.
                tasks.spawn(
                    async move { Ok::<_, DataFusionError>((place, Unit::new(&layout, reading.await?)?)) },
                );
            }
            let Some(ended) = tasks.join_next().await else { break };
            let (place, unit) = ended.map_err(|e| DataFusionError::External(Box::new(e)))??;
            units[place] = unit;
        }
    }
    let found: usize = units.iter().map(|unit| unit.rows).sum();
    if !columns.is_empty() && found as u64 != rows.members() {
        return Err(DataFusionError::Internal(format!(
            "{} rows were to be read late, {found} came",
            rows.members()
        )));
    }
    Fetched::of_units(&types, layout, units, gathered)
}

/// Rows that are collected batch by batch, to be gathered by their numbers.
#[derive(Debug)]
pub(crate) struct Collected {
    types: Vec<DataType>,
    layout: Arc<Layout>,
    units: Vec<Unit>,
    bytes: usize,
    apart_bytes: usize,
}

impl Collected {
    /// Rows of such columns.
    pub(crate) fn new(types: Vec<DataType>) -> Self {
        Self { layout: Arc::new(Layout::new(&types)), types, units: Vec::new(), bytes: 0, apart_bytes: 0 }
    }

    /// What brings a batch into the form in which it is kept; any thread may do it.
    pub(crate) fn packer(&self) -> impl Fn(&RecordBatch) -> Result<Unit> + Send + Sync + use<> {
        let layout = Arc::clone(&self.layout);
        move |batch| Unit::new(&layout, batch.columns().iter().map(|c| vec![ArrayRef::clone(c)]).collect())
    }

    /// Takes the next rows in.
    pub(crate) fn push(&mut self, unit: Unit) {
        self.bytes += unit.bytes();
        self.apart_bytes += unit.apart_bytes();
        self.units.push(unit);
    }

    /// Bytes of all rows.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that [`Self::finish`] takes for a while, at most: it joins columns that lie in pieces.
    pub(crate) fn finish_bytes_max(&self) -> usize {
        self.apart_bytes
    }

    /// The rows, each of which will be gathered once.
    pub(crate) fn finish(self) -> Result<Fetched> {
        let rows = self.units.iter().map(|unit| unit.rows).sum();
        Fetched::of_units(&self.types, self.layout, self.units, rows)
    }
}

impl Unit {
    fn bytes(&self) -> usize {
        self.packed.bytes() + self.apart_bytes()
    }

    fn apart_bytes(&self) -> usize {
        bytes_of(&self.columns.iter().flatten().cloned().collect::<Vec<_>>())
    }

    fn new(layout: &Layout, columns: Vec<ColumnPieces>) -> Result<Self> {
        let rows_of = |pieces: &ColumnPieces| pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let rows = columns.first().map_or(0, rows_of);
        if columns.iter().any(|pieces| rows_of(pieces) != rows) {
            return Err(DataFusionError::Internal("columns that were read late differ in length".to_owned()));
        }
        let packed = layout.pack(&columns, rows);
        let columns = columns.into_iter().enumerate().map(|(column, pieces)| match layout.place(column) {
            Some(_) => Ok(None),
            None => joined(pieces).map(Some),
        });
        Ok(Self { rows, packed, columns: columns.collect::<Result<_>>()? })
    }
}

impl Fetched {
    /// Columns of `types`, given as each unit's pieces, of which about `gathered` rows will be gathered.
    pub(crate) fn new(
        types: &[DataType],
        units: impl IntoParallelIterator<Item = Vec<ColumnPieces>>,
        gathered: usize,
    ) -> Result<Self> {
        let layout = Arc::new(Layout::new(types));
        let units =
            units.into_par_iter().map(|columns| Unit::new(&layout, columns)).collect::<Result<_>>()?;
        Self::of_units(types, layout, units, gathered)
    }

    fn of_units(
        types: &[DataType],
        layout: Arc<Layout>,
        mut units: Vec<Unit>,
        gathered: usize,
    ) -> Result<Self> {
        units.retain(|unit| unit.rows > 0);
        let places = Places::new(units.iter().map(|unit| unit.rows));
        // A row that is gathered time and again is worth a copy.
        let is_seldom_gathered = gathered / 2 < places.rows();
        // From the last column to the first, so that each unit gives up its pieces one by one.
        let mut columns: Vec<(usize, ColumnPieces)> = (0..types.len())
            .rev()
            .map(|column| (column, units.iter_mut().filter_map(|unit| unit.columns.pop()?).collect()))
            .collect();
        columns.reverse();
        let columns: Vec<Column> = columns
            .into_par_iter()
            .map(|(column, pieces)| match layout.place(column) {
                Some(place) => Ok(Column::Packed(place)),
                None => Column::new(&types[column], pieces, is_seldom_gathered),
            })
            .collect::<Result<_>>()?;
        let packed: Vec<Packed> = units.into_iter().map(|unit| unit.packed).collect();
        let bytes = columns.iter().map(Column::bytes).chain(packed.iter().map(Packed::bytes)).sum();
        Ok(Self { columns, layout, packed, places, bytes })
    }

    /// Bytes of all columns.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows of all columns by their ranks, null where no rank is.
    pub(crate) fn gather_all(&self, ranks: &UInt32Array) -> Result<Vec<ArrayRef>> {
        self.gather(&(0..self.columns.len()).collect::<Vec<_>>(), ranks)
    }

    /// Rows of some columns by their ranks, null where no rank is.
    pub(crate) fn gather(&self, columns: &[usize], ranks: &UInt32Array) -> Result<Vec<ArrayRef>> {
        if self.places.rows() == 0 {
            return columns
                .iter()
                .map(|&column| self.columns[column].nulls(&self.layout, ranks.len()))
                .collect();
        }
        let is_joined = |column: &usize| matches!(self.columns[*column], Column::Joined(_));
        // The first row's where there is no rank.
        let place = |rank: Option<u32>| rank.map_or((0, 0), |rank| self.places.of(rank as usize));
        let places: Vec<(usize, usize)> =
            if columns.iter().all(is_joined) { Vec::new() } else { ranks.iter().map(place).collect() };
        let nulls = ranks.nulls().filter(|nulls| nulls.null_count() > 0);
        let (mut line, mut lines) = (None, Vec::new());
        let gather = |&column: &usize| match &self.columns[column] {
            Column::Packed(place) => {
                if line.replace(place.line) != Some(place.line) {
                    self.layout.gather(place.line, &self.packed, &places, &mut lines);
                }
                self.layout.column(*place, &self.packed, &lines, nulls)
            }
            Column::Joined(array) => Ok(take(array, ranks, None)?),
            Column::Apart(pieces) => {
                let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
                let gathered = interleave(&pieces, &places)?;
                Ok(match nulls {
                    Some(nulls) => nullif(&gathered, &BooleanArray::new(!nulls.inner(), None))?,
                    None => gathered,
                })
            }
        };
        columns.iter().map(gather).collect()
    }
}

impl Column {
    fn new(data_type: &DataType, pieces: ColumnPieces, is_seldom_gathered: bool) -> Result<Self> {
        let bytes: usize = pieces.iter().map(|array| array.get_buffer_memory_size()).sum();
        // Dictionaries are brought together once; gathering from pieces would do it for each batch.
        let is_plain = data_type.is_primitive()
            || matches!(
                data_type,
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary
            );
        let stays =
            (is_plain && is_seldom_gathered) || (!data_type.is_primitive() && bytes >= JOINED_BYTES_MAX);
        match pieces.len() {
            0 => Ok(Self::Joined(new_empty_array(data_type))),
            2.. if stays => Ok(Self::Apart(pieces)),
            _ => Ok(Self::Joined(joined(pieces)?)),
        }
    }

    /// So many rows, all null, of a column without rows.
    fn nulls(&self, layout: &Layout, rows: usize) -> Result<ArrayRef> {
        let data_type = match self {
            Self::Packed(place) => layout.data_type(*place),
            Self::Joined(array) => array.data_type(),
            Self::Apart(pieces) => pieces[0].data_type(),
        };
        Ok(new_null_array(data_type, rows))
    }

    /// Bytes, of what is packed none.
    fn bytes(&self) -> usize {
        match self {
            Self::Packed(_) => 0,
            Self::Joined(array) => array.get_buffer_memory_size(),
            Self::Apart(pieces) => pieces.iter().map(|array| array.get_buffer_memory_size()).sum(),
        }
    }
}

/// Bytes of columns of one batch; what several of them share is counted once.
pub(crate) fn bytes_of(columns: &[ArrayRef]) -> usize {
    let named =
        columns.iter().enumerate().map(|(place, column)| (place.to_string(), ArrayRef::clone(column)));
    RecordBatch::try_from_iter(named).map_or(0, |batch| get_record_batch_memory_size(&batch))
}

/// The pieces of a column as one array; there is at least one.
fn joined(mut pieces: ColumnPieces) -> Result<ArrayRef> {
    if pieces.len() == 1 {
        return Ok(pieces.remove(0));
    }
    let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
    Ok(concat(&pieces)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, BooleanArray, Int32Array, Int64Array, StringArray};
    use arrow::compute::take;

    use super::*;

    /// Two columns that lie together, one that is joined, two that may stay in pieces.
    fn columns(values: &[Option<i64>]) -> Vec<ArrayRef> {
        let text = |value: &Option<i64>| value.map(|value| format!("text {value}"));
        vec![
            Arc::new(Int64Array::from(values.to_vec())),
            Arc::new(BooleanArray::from_iter(values.iter().map(|value| value.map(|value| value % 2 == 0)))),
            Arc::new(Int32Array::from_iter(values.iter().map(|value| value.map(|value| value as i32)))),
            Arc::new(StringArray::from_iter(values.iter().map(text))),
        ]
    }

    #[test]
    fn every_kind_of_column_gathers_the_rows_of_its_ranks() {
        let values = [Some(5), None, Some(7), Some(8), Some(9), None];
        let types: Vec<DataType> = columns(&values).iter().map(|column| column.data_type().clone()).collect();
        // Four units, one of them empty; the last in two pieces.
        let units = || -> Vec<Vec<ColumnPieces>> {
            let units: [&[&[Option<i64>]]; 4] =
                [&[&values[..3]], &[&[]], &[&values[3..4]], &[&values[4..5], &values[5..]]];
            let of_unit = |pieces: &[&[Option<i64>]]| {
                let pieces: Vec<Vec<ArrayRef>> = pieces.iter().map(|values| columns(values)).collect();
                (0..types.len())
                    .map(|column| pieces.iter().map(|piece| ArrayRef::clone(&piece[column])).collect())
                    .collect()
            };
            units.into_iter().map(of_unit).collect()
        };
        let ranks = UInt32Array::from(vec![Some(5), None, Some(0), Some(3), Some(4), Some(2), Some(1)]);
        for (gathered, is_apart) in [(6, true), (11, true), (12, false), (usize::MAX, false)] {
            let fetched = Fetched::new(&types, units(), gathered).unwrap();
            let kinds = fetched.columns.iter().map(|column| match column {
                Column::Packed(_) => "packed",
                Column::Joined(_) => "joined",
                Column::Apart(_) => "apart",
            });
            let text = if is_apart { "apart" } else { "joined" };
            assert_eq!(kinds.collect::<Vec<_>>(), ["packed", "joined", "packed", text]);
            let found = fetched.gather(&[0, 1, 2, 3, 0], &ranks).unwrap();
            let all = columns(&values);
            for (found, column) in found.iter().zip([0, 1, 2, 3, 0]) {
                let expected = take(&all[column], &ranks, None).unwrap();
                assert_eq!(found.to_data(), expected.to_data(), "column {column}, gathered {gathered}");
            }
            let none = fetched.gather(&[2, 3], &UInt32Array::from(vec![None, None])).unwrap();
            assert_eq!(none.iter().map(|column| column.null_count()).collect::<Vec<_>>(), [2, 2]);
        }
        let nothing = Fetched::new(&types, Vec::new(), 5).unwrap();
        let none = nothing.gather(&[3, 0, 1], &UInt32Array::from(vec![None, None])).unwrap();
        assert_eq!(none.iter().map(|column| column.null_count()).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(none[0].as_string::<i32>().len(), 2);
    }
}
