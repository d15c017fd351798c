//! What is known of a spine before anything moves: rows, and the least and greatest instant.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use backsight_asof::nanos_per;
use backsight_storage::Stores;
use futures::TryStreamExt;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};

use crate::bounds::{TimeBounds, spine_bounds};
use crate::error::RetrievalError;
use crate::instant_column::{find_spine_instant, instant_type};
use crate::object_reader::{ObjectReader, decoded};
use crate::parquet_table::{ParquetFile, ParquetTable};

/// A spine as a plan needs to know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpineProfile {
    /// Rows, whatever they hold.
    pub rows: u64,
    /// Least and greatest instant in nanoseconds; `None` when no row has one.
    pub instants: Option<(i128, i128)>,
}

impl SpineProfile {
    pub(crate) fn bounds(self) -> Option<TimeBounds> {
        self.instants.map(|(least, greatest)| TimeBounds { least, greatest })
    }
}

/// Profiles a spine: from its footers where they keep statistics, else by reading the one column.
///
/// # Errors
/// An instant column that cannot be found or read.
pub async fn profile(
    stores: &Stores,
    spine: &ParquetTable,
    timestamp_column: Option<&str>,
) -> Result<SpineProfile, RetrievalError> {
    let column = find_spine_instant(spine, timestamp_column)?;
    let rows = spine.rows();
    if let Some(bounds) = spine_bounds(spine, &column) {
        return Ok(SpineProfile { rows, instants: Some((bounds.least, bounds.greatest)) });
    }
    let field = spine.column(&column, "the spine's instant")?;
    let wanted = instant_type(field, &format!("spine `{}`", spine.shown), None)?;
    let mut instants: Option<(i128, i128)> = None;
    for file in &spine.files {
        if let Some((least, greatest)) = read_bounds(stores, spine, file, &column, &wanted).await? {
            let held = instants.get_or_insert((least, greatest));
            *held = (held.0.min(least), held.1.max(greatest));
        }
    }
    Ok(SpineProfile { rows, instants })
}

async fn read_bounds(
    stores: &Stores,
    spine: &ParquetTable,
    file: &ParquetFile,
    column: &str,
    wanted: &DataType,
) -> Result<Option<(i128, i128)>, RetrievalError> {
    let corrupt = |detail: String| RetrievalError::Corrupt {
        role: spine.role.clone(),
        file: Box::new(file.entry.location.clone()),
        row_group: None,
        detail,
    };
    let no_instant = |e: ArrowError| RetrievalError::Data {
        message: format!("spine `{}`: column `{column}` holds a value that is no instant: {e}", spine.shown),
    };
    if let Some(value) = spine.constant(file, column) {
        return as_instants(value, wanted).map_err(no_instant);
    }
    let Ok(position) = file.schema.index_of(column) else { return Ok(None) };
    let store = stores.open(&file.entry.location)?;
    let reader = ObjectReader::new(store, file.entry.location.path(), file.entry.size);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|e| corrupt(e.to_string()))?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), [position]);
    let mut stream = builder.with_projection(mask).build().map_err(|e| corrupt(e.to_string()))?;
    let mut bounds: Option<(i128, i128)> = None;
    while let Some(batch) = decoded(stream.try_next()).await.map_err(|e| corrupt(e.to_string()))? {
        let instants = as_instants(batch.column(0), wanted).map_err(no_instant)?;
        if let Some((least, greatest)) = instants {
            let held = bounds.get_or_insert((least, greatest));
            *held = (held.0.min(least), held.1.max(greatest));
        }
    }
    Ok(bounds)
}

/// Least and greatest instant of a column in nanoseconds.
fn as_instants(column: &ArrayRef, wanted: &DataType) -> Result<Option<(i128, i128)>, ArrowError> {
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    let instants = arrow::compute::cast_with_options(column, wanted, &options)?;
    let DataType::Timestamp(unit, _) = wanted else { return Ok(None) };
    let factor = i128::from(nanos_per(*unit));
    let plain = cast(&instants, &DataType::Int64)?;
    let plain = plain.as_primitive::<Int64Type>();
    if plain.null_count() == plain.len() {
        return Ok(None);
    }
    Ok(min(plain)
        .zip(max(plain))
        .map(|(least, greatest)| (i128::from(least) * factor, i128::from(greatest) * factor)))
}
