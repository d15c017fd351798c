//! How far back and forward in time rows can matter: bounds of the spine, and of each row group.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use backsight_asof::nanos_per;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;

use crate::page_index::PageIndex;
use crate::parquet_table::{ParquetFile, ParquetTable};
use crate::reach::{Held, Pages};

/// Least and greatest instant in nanoseconds, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeBounds {
    pub(crate) least: i128,
    pub(crate) greatest: i128,
}

/// The spine's instants by its footers, or `None` when a row group keeps no statistics of them.
pub(crate) fn spine_bounds(spine: &ParquetTable, column: &str) -> Option<TimeBounds> {
    let mut bounds: Option<TimeBounds> = None;
    for file in spine.files.iter().filter(|file| file.rows() > 0) {
        for group in row_group_bounds(file, column) {
            let group = group?;
            bounds = Some(match bounds {
                None => group,
                Some(held) => TimeBounds {
                    least: held.least.min(group.least),
                    greatest: held.greatest.max(group.greatest),
                },
            });
        }
    }
    bounds
}

/// The time bounds of each row group of a timestamp column, `None` where they are not known.
pub(crate) fn row_group_bounds(file: &ParquetFile, column: &str) -> Vec<Option<TimeBounds>> {
    let groups = file.metadata.row_groups();
    let unknown = vec![None; groups.len()];
    let Ok(field) = file.schema.field_with_name(column) else { return unknown };
    let DataType::Timestamp(unit, _) = field.data_type() else { return unknown };
    let parquet_schema = file.metadata.file_metadata().schema_descr();
    let Ok(converter) = StatisticsConverter::try_new(column, &file.schema, parquet_schema) else {
        return unknown;
    };
    let (Ok(least), Ok(greatest)) = (converter.row_group_mins(groups), converter.row_group_maxes(groups))
    else {
        return unknown;
    };
    let (Some(least), Some(greatest)) = (nanos(&least, *unit), nanos(&greatest, *unit)) else {
        return unknown;
    };
    least
        .into_iter()
        .zip(greatest)
        .map(|bounds| match bounds {
            (Some(least), Some(greatest)) if least <= greatest => Some(TimeBounds { least, greatest }),
            _ => None,
        })
        .collect()
}

/// The times of each page of a timestamp column.
pub(crate) fn page_times(index: &PageIndex) -> Option<Pages<TimeBounds>> {
    let DataType::Timestamp(unit, _) = index.least.data_type() else { return None };
    let pairs = nanos(&index.least, *unit)?.into_iter().zip(nanos(&index.greatest, *unit)?);
    let held = pairs.zip(&index.is_null).map(|(pair, is_null)| match pair {
        _ if *is_null => Held::Nulls,
        (Some(least), Some(greatest)) if least <= greatest => Held::Within(TimeBounds { least, greatest }),
        _ => Held::Unknown,
    });
    Some(index.rows.iter().cloned().zip(held).collect())
}

/// The values of a timestamp array in nanoseconds.
fn nanos(array: &ArrayRef, unit: TimeUnit) -> Option<Vec<Option<i128>>> {
    let plain = arrow::compute::cast(array, &DataType::Int64).ok()?;
    let values = plain.as_primitive::<Int64Type>();
    Some(
        values
            .iter()
            .map(|value| value.map(|value| i128::from(value) * i128::from(nanos_per(unit))))
            .collect(),
    )
}
