//! Whether a row group's Bloom filter rules out every key of a spine.
//!
//! A filter hashes the bytes that the file stores, so keys are asked for in the file's own type; of a type that is not
//! known here, and of a filter that cannot be read, nothing is concluded.

use std::sync::Arc;

use arrow::datatypes::DataType;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::basic::Type as Physical;
use parquet::bloom_filter::Sbbf;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use crate::key_range::{KeySet, KeyValue};
use crate::object_reader::ObjectReader;
use crate::page_index::range;

/// A row group is ruled out when none of the keys is there and none is taken to be there by chance. Of filters in use that chance is
/// some hundredths to some ten-thousandths a key: with more keys than this one of them always is.
const KEYS_MAX: usize = 1_000;
/// A filter is worth reading while the row group is so many times as large.
const WORTH: u64 = 4;

/// Whether so many keys can be held against a filter.
pub(crate) fn can_rule_out(keys: &KeySet) -> bool {
    keys.keys().len() <= KEYS_MAX
}

/// Whether a filter of this column can be asked, and costs little beside the row group.
pub(crate) fn is_worth_reading(column: &ColumnChunkMetaData, data_type: &DataType, group_bytes: u64) -> bool {
    let bytes = column.bloom_filter_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
    column.bloom_filter_offset().is_some()
        && is_hashed_as_known(column.column_type(), data_type)
        && bytes.saturating_mul(WORTH) <= group_bytes
}

/// Whether the filter of leaf number `leaf` of row group `group` says that none of `keys` is there.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn lacks_all(
    mut reader: ObjectReader,
    footer: &Arc<ParquetMetaData>,
    group: usize,
    leaf: usize,
    data_type: &DataType,
    keys: &KeySet,
) -> Result<bool> {
    let column = footer.row_group(group).column(leaf);
    let filter = match range(column.bloom_filter_offset(), column.bloom_filter_length(), reader.size()) {
        Some(range) => Sbbf::from_bytes(&reader.get_bytes(range).await?).map(Some),
        // Older writers do not say how long it is; its header does, and may lie beyond the end of a damaged file.
        None if column.bloom_filter_length().is_none() => {
            let metadata = ArrowReaderMetadata::try_new(Arc::clone(footer), ArrowReaderOptions::new())?;
            let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
            builder.get_row_group_column_bloom_filter(group, leaf).await
        }
        None => Ok(None),
    };
    match filter {
        Ok(Some(filter)) if filter.num_blocks() > 0 => {
            Ok(!keys.keys().iter().any(|key| may_hold(&filter, column.column_type(), data_type, key)))
        }
        Ok(_) => Ok(false),
        Err(error) => {
            tracing::debug!(column = %column.column_path(), %error, "Bloom filter not used");
            Ok(false)
        }
    }
}

/// Whether keys of a column are stored as [`may_hold`] takes them to be.
fn is_hashed_as_known(physical: Physical, data_type: &DataType) -> bool {
    match physical {
        Physical::INT32 => matches!(
            data_type,
            DataType::Int8
                | DataType::Int16
                | DataType::Int32
                | DataType::UInt8
                | DataType::UInt16
                | DataType::UInt32
        ),
        Physical::INT64 => matches!(data_type, DataType::Int64 | DataType::UInt64),
        Physical::BYTE_ARRAY => {
            matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        _ => false,
    }
}

/// Whether a filter may hold a key; `true` when in doubt.
fn may_hold(filter: &Sbbf, physical: Physical, data_type: &DataType, key: &KeyValue) -> bool {
    if !is_hashed_as_known(physical, data_type) {
        return true;
    }
    match (physical, key) {
        (Physical::INT32, KeyValue::Number(number)) => {
            // Unsigned numbers are stored as the signed ones of the same bits; a number that the type cannot hold is not there.
            let stored = if matches!(data_type, DataType::UInt32) {
                u32::try_from(*number).ok().map(u32::cast_signed)
            } else {
                i32::try_from(*number).ok()
            };
            stored.is_some_and(|stored| filter.check(&stored))
        }
        (Physical::INT64, KeyValue::Number(number)) => {
            let stored = if matches!(data_type, DataType::UInt64) {
                u64::try_from(*number).ok().map(u64::cast_signed)
            } else {
                i64::try_from(*number).ok()
            };
            stored.is_some_and(|stored| filter.check(&stored))
        }
        (Physical::BYTE_ARRAY, KeyValue::Text(text)) => filter.check(text.as_slice()),
        // Numbers against text: they are compared in a third type, if at all.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_asked_in_the_type_of_the_file() {
        let mut filter = Sbbf::new_with_ndv_fpp(100, 0.0001).unwrap();
        filter.insert(&7_i32);
        filter.insert(&8_i64);
        filter.insert(&-1_i32);
        filter.insert(&-2_i64);
        filter.insert(b"nine".as_slice());
        let number = |number: i128| KeyValue::Number(number);
        let text = |text: &str| KeyValue::Text(text.as_bytes().to_vec());
        let table = [
            (Physical::INT32, DataType::Int32, number(7), true),
            (Physical::INT32, DataType::Int16, number(7), true),
            (Physical::INT32, DataType::Int32, number(8), false),
            (Physical::INT32, DataType::Int32, number(1 << 40), false),
            (Physical::INT32, DataType::UInt32, number(u32::MAX.into()), true),
            (Physical::INT32, DataType::UInt32, number(-1), false),
            (Physical::INT64, DataType::Int64, number(8), true),
            (Physical::INT64, DataType::Int64, number(7), false),
            (Physical::INT64, DataType::UInt64, number(i128::from(u64::MAX) - 1), true),
            (Physical::INT64, DataType::Int64, number(i128::MAX), false),
            (Physical::BYTE_ARRAY, DataType::Utf8View, text("nine"), true),
            (Physical::BYTE_ARRAY, DataType::Utf8, text("ten"), false),
            // Kinds that do not fit, and types that nothing is known of: in doubt a row group is read.
            (Physical::BYTE_ARRAY, DataType::Utf8, number(1), true),
            (Physical::INT64, DataType::Int64, text("ten"), true),
            (Physical::INT64, DataType::Decimal128(10, 2), number(1), true),
            (Physical::FIXED_LEN_BYTE_ARRAY, DataType::Decimal128(30, 2), number(1), true),
            (Physical::INT32, DataType::Date32, number(1), true),
        ];
        for (physical, data_type, key, expected) in table {
            let found = may_hold(&filter, physical, &data_type, &key);
            assert_eq!(found, expected, "{physical} {data_type} {key:?}");
        }
    }
}
