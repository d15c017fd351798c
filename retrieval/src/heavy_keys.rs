//! Which keys of a spine are heavy, by a sample of its rows, and where their time is cut so that several tasks can work on them
//! ([`KeyCuts`]).
//!
//! A sample is enough: what is cut decides who does the work, not what comes of it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options, concat_batches, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use backsight_asof::KeyCuts;
use backsight_storage::Stores;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;

use crate::error::RetrievalError;
use crate::key_types::plain;
use crate::narrow::fault;
use crate::object_reader::{ObjectReader, decoded};
use crate::parquet_table::{ParquetFile, ParquetTable};

/// Rows of the spine that a task may have of one key before it is cut, unless the spine is so large that this would be many cuts.
pub(crate) const KEY_ROWS: u64 = 1_000_000;
/// Of a spine's rows a piece of a key has this share at least.
const PIECES_MAX: u64 = 128;
/// Keys that are cut at most, the heaviest ones.
const KEYS_MAX: usize = 32;
/// Rows of a sample at most, in so many places.
const SAMPLE_ROWS: u64 = 1 << 17;
const SAMPLE_PLACES: u64 = 64;
/// Row groups read at the same time.
const GROUPS_AT_ONCE: usize = 8;
/// A key that a sample has met less often says nothing.
const MET_MIN: usize = 32;

/// Keys and instants of some rows of a spine.
#[derive(Debug, Clone)]
pub(crate) struct SpineSample {
    /// Rows of the spine.
    pub(crate) spine_rows: u64,
    /// Columns of the spine, in its types.
    pub(crate) rows: RecordBatch,
}

/// What is cut.
#[derive(Debug, Clone)]
pub(crate) struct HeavyKeys {
    pub(crate) cuts: KeyCuts,
    /// Keys that are cut.
    pub(crate) keys: usize,
    /// Spans that they are cut into, all together.
    pub(crate) spans: usize,
}

/// The rows to look at: places that are spread evenly, or all rows where these are few.
fn places(rows: u64) -> Vec<std::ops::Range<u64>> {
    let (places, each) =
        if rows <= SAMPLE_ROWS { (1, rows) } else { (SAMPLE_PLACES, SAMPLE_ROWS / SAMPLE_PLACES) };
    let place = |number: u64| {
        let first = u128::from(rows) * u128::from(number) / u128::from(places);
        let first = u64::try_from(first).unwrap_or(rows);
        first..first + each
    };
    (0..places).map(place).collect()
}

/// Reads some rows of columns of the spine.
///
/// # Errors
/// Faults of the store, a spine that cannot be read.
pub(crate) async fn sample(
    stores: &Stores,
    spine: &ParquetTable,
    columns: &[String],
) -> Result<SpineSample, RetrievalError> {
    // Dictionaries of many files may not fit into one.
    let fields = columns.iter().map(|name| {
        let field = spine.column(name, "a join key")?;
        Ok(Field::new(field.name(), plain(field.data_type()).clone(), true))
    });
    let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<Field>, RetrievalError>>()?));
    let places = places(spine.rows());
    let mut readings = Vec::new();
    let mut first = 0;
    for file in &spine.files {
        for (group, metadata) in file.metadata.row_groups().iter().enumerate() {
            let end = first + u64::try_from(metadata.num_rows()).unwrap_or(0);
            let selection = selection(&places, first..end);
            first = end;
            if !selection.is_empty() {
                let selection = RowSelection::from(selection);
                readings.push(read(stores, spine, file, group, &schema, selection).boxed());
            }
        }
    }
    let batches: Vec<Vec<RecordBatch>> =
        stream::iter(readings).buffered(GROUPS_AT_ONCE).try_collect().await?;
    let rows = concat_batches(&schema, batches.iter().flatten()).map_err(|e| bug(&e))?;
    Ok(SpineSample { spine_rows: spine.rows(), rows })
}

/// Which rows of a row group that holds `rows` lie in `places`; empty when none does.
fn selection(places: &[std::ops::Range<u64>], rows: std::ops::Range<u64>) -> Vec<RowSelector> {
    let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let mut selection = Vec::new();
    let mut at = rows.start;
    for place in places {
        let (first, end) = (place.start.max(rows.start), place.end.min(rows.end));
        if first < end {
            if first > at {
                selection.push(RowSelector::skip(count(first - at)));
            }
            selection.push(RowSelector::select(count(end - first)));
            at = end;
        }
    }
    selection
}

async fn read(
    stores: &Stores,
    spine: &ParquetTable,
    file: &ParquetFile,
    group: usize,
    schema: &SchemaRef,
    selection: RowSelection,
) -> Result<Vec<RecordBatch>, RetrievalError> {
    let fault = |error: ParquetError| fault(spine, file, Some(group), error);
    let store = stores.open(&file.entry.location)?;
    let reader = ObjectReader::new(store, file.entry.location.path(), file.entry.size);
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(&file.metadata), ArrowReaderOptions::new());
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata.map_err(fault)?);
    let stored = schema.fields().iter().filter_map(|field| file.schema.index_of(field.name()).ok());
    let mask = ProjectionMask::roots(builder.parquet_schema(), stored);
    let builder = builder.with_row_groups(vec![group]).with_row_selection(selection);
    let mut stream = builder.with_projection(mask).build().map_err(fault)?;
    let mut batches = Vec::new();
    while let Some(batch) = decoded(stream.try_next()).await.map_err(fault)? {
        let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => match spine.constant(file, field.name()) {
                Some(value) => take(value, &UInt32Array::from(vec![0; batch.num_rows()]), None)
                    .and_then(|column| cast(&column, field.data_type())),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            },
        };
        let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>();
        let batch = columns.and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns));
        batches.push(batch.map_err(|e| bug(&e))?);
    }
    Ok(batches)
}

impl SpineSample {
    /// The cuts of the keys in `keys`, which are compared in these types, by the instants in `instant`; a piece has about
    /// `key_rows` rows. Nothing when no key is heavy.
    ///
    /// # Errors
    /// Keys that cannot be compared.
    pub(crate) fn heavy_keys(
        &self,
        keys: &[(&str, &DataType)],
        instant: (&str, &DataType),
        key_rows: u64,
    ) -> Result<Option<HeavyKeys>, RetrievalError> {
        let rows = self.in_types(keys.iter().copied().chain([instant])).map_err(|e| bug(&e))?;
        let (Some((instants, key_columns)), sampled) = (rows.columns().split_last(), rows.num_rows() as u64)
        else {
            return Ok(None);
        };
        let is_complete = sampled >= self.spine_rows;
        let piece_rows = key_rows.max(self.spine_rows / PIECES_MAX).max(1);
        let estimate = |met: usize| {
            let rows = u128::from(self.spine_rows) * met as u128 / u128::from(sampled.max(1));
            u64::try_from(rows).unwrap_or(u64::MAX)
        };
        let by_key = rows_by_key(key_columns, instants).map_err(|e| bug(&e))?;
        let mut heavy: Vec<Vec<u32>> = by_key
            .into_iter()
            .filter(|met| (is_complete || met.len() >= MET_MIN) && estimate(met.len()) / piece_rows >= 2)
            .collect();
        // Of equally heavy ones those that come first, so that a plan does not depend on a hash.
        heavy.sort_unstable_by_key(|met| (std::cmp::Reverse(met.len()), met[0]));
        heavy.truncate(KEYS_MAX);
        let at = cast(instants, &DataType::Int64).map_err(|e| bug(&e))?;
        let at = at.as_primitive::<Int64Type>();
        let mut firsts = Vec::new();
        for met in &mut heavy {
            met.sort_unstable_by_key(|&row| at.value(row as usize));
            let pieces = usize::try_from(estimate(met.len()) / piece_rows).unwrap_or(usize::MAX);
            let pieces = pieces.min(met.len());
            firsts.extend((1..pieces).map(|piece| met[met.len() * piece / pieces]));
        }
        if firsts.is_empty() {
            return Ok(None);
        }
        let cuts = take_record_batch(&rows, &UInt32Array::from(firsts)).map_err(|e| bug(&e))?;
        let cuts = KeyCuts::new(&cuts).map_err(RetrievalError::from_engine)?;
        let spans = heavy.len() + cuts.batch().map_err(RetrievalError::from_engine)?.num_rows();
        Ok(Some(HeavyKeys { cuts, keys: heavy.len(), spans }))
    }

    /// Columns as types; null where a value has no place in its type.
    fn in_types<'a>(
        &self,
        columns: impl Iterator<Item = (&'a str, &'a DataType)>,
    ) -> Result<RecordBatch, ArrowError> {
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let mut typed = Vec::new();
        for (number, (name, data_type)) in columns.enumerate() {
            let column = self.rows.column(self.rows.schema_ref().index_of(name)?);
            // A column may be the key of two entities.
            typed.push((number.to_string(), cast_with_options(column, data_type, &options)?, true));
        }
        RecordBatch::try_from_iter_with_nullable(typed)
    }
}

/// The rows of each key; rows without a key or an instant are left out.
fn rows_by_key(keys: &[ArrayRef], instants: &ArrayRef) -> Result<Vec<Vec<u32>>, ArrowError> {
    let types = keys.iter().map(|key| SortField::new(key.data_type().clone()));
    let tuples = RowConverter::new(types.collect())?.convert_columns(keys)?;
    let mut by_key: HashMap<&[u8], Vec<u32>> = HashMap::new();
    for (row, number) in (0..instants.len()).zip(0_u32..) {
        if keys.iter().chain([instants]).all(|column| column.is_valid(row)) {
            by_key.entry(tuples.row(row).data()).or_default().push(number);
        }
    }
    Ok(by_key.into_values().collect())
}

fn bug(error: &ArrowError) -> RetrievalError {
    RetrievalError::Bug { message: format!("the spine's heavy keys: {error}") }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray, TimestampSecondArray};
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn sample(keys: &[&str], spine_rows: u64) -> SpineSample {
        let numbers = keys.iter().map(|key| key.parse::<i32>().ok());
        let at = (0..keys.len()).map(|row| Some(100 - row as i64));
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(numbers.collect::<Int32Array>()) as ArrayRef, true),
            ("b", Arc::new(StringArray::from_iter_values(keys)) as ArrayRef, true),
            ("at", Arc::new(TimestampSecondArray::from_iter(at)) as ArrayRef, true),
        ]);
        SpineSample { spine_rows, rows: rows.unwrap() }
    }

    /// `key@instant` of each cut.
    fn cuts(sample: &SpineSample, key_rows: u64) -> String {
        let at = DataType::Timestamp(TimeUnit::Millisecond, None);
        let keys = [("a", &DataType::Int64), ("b", &DataType::Utf8)];
        let Some(heavy) = sample.heavy_keys(&keys, ("at", &at), key_rows).unwrap() else {
            return "none".to_owned();
        };
        let cuts = heavy.cuts.batch().unwrap();
        assert_eq!(heavy.spans, heavy.keys + cuts.num_rows());
        let at = cast(cuts.column(2), &DataType::Int64).unwrap();
        let (keys, at) = (cuts.column(1).as_string::<i32>(), at.as_primitive::<Int64Type>());
        let row = |row: usize| format!("{}@{}", keys.value(row), at.value(row) / 1_000);
        (0..cuts.num_rows()).map(row).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keys_with_many_rows_are_cut_by_their_instants() {
        let complete = sample(&["7", "7", "8", "7", "x", "7", "8", "7", "7"], 9);
        // Key 7 has instants 93, 92, 95, 97, 99, 100; `x` is null in the other column.
        assert_eq!(cuts(&complete, 3), "7@97");
        assert_eq!(cuts(&complete, 2), "7@95 7@99");
        assert_eq!(cuts(&complete, 1), "7@93 7@95 7@97 7@99 7@100 8@98");
        assert_eq!(cuts(&complete, 4), "none");
        assert_eq!(cuts(&sample(&[], 0), 1), "none");
    }

    #[test]
    fn of_a_sample_a_key_must_be_met_often_and_stands_for_more() {
        let keys: Vec<&str> = std::iter::repeat_n("7", 40).chain(std::iter::repeat_n("8", 31)).collect();
        let sampled = sample(&keys, 71_000);
        assert_eq!(cuts(&sampled, 20_000), "7@81");
        // A hundred and twenty-eighth of the spine is a piece whatever is asked.
        assert_eq!(cuts(&sampled, 1).split(' ').count(), 39);
    }

    #[test]
    fn a_large_spine_is_looked_at_in_places() {
        assert_eq!((places(131_072).len(), &places(131_072)[0]), (1, &(0..131_072)));
        let places = places(1_000_000);
        assert_eq!((places.len(), &places[1], places.last().unwrap().end), (64, &(15_625..17_673), 986_423));
        let selection = selection(&places, 10_000..16_000);
        assert_eq!(selection, [RowSelector::skip(5_625), RowSelector::select(375)]);
        assert!(super::selection(&places, 3_000..4_000).is_empty());
    }
}
