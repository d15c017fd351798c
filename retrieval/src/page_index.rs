//! Reads the page index of single columns of one row group: where their pages are, and what these can hold.
//!
//! Readers of whole files fetch the index of every column of every row group. Here a wide file costs what its columns that
//! matter cost. An index that is absent, cannot be read, or contradicts the footer is no error: nothing is skipped by it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, OffsetIndexBuilder, PageIndexPolicy, ParquetMetaData,
    ParquetMetaDataBuilder, ParquetMetaDataPushDecoder, RowGroupMetaData,
};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::schema::types::{SchemaDescriptor, Type};

/// The pages of a column chunk.
#[derive(Debug, Clone)]
pub(crate) struct PageIndex {
    /// Rows of each page, counted in the row group.
    pub(crate) rows: Vec<Range<u64>>,
    /// Pages without a value.
    pub(crate) is_null: Vec<bool>,
    /// Least value of each page; null where it is not known.
    pub(crate) least: ArrayRef,
    /// Greatest value of each page; null where it is not known.
    pub(crate) greatest: ArrayRef,
}

/// Whether the footer knows of a page index with bounds.
pub(crate) fn has_page_index(column: &ColumnChunkMetaData) -> bool {
    column.column_index_offset().is_some() && column.offset_index_offset().is_some()
}

/// The pages of the column `field`, leaf number `leaf` of a row group; `None` where the file does not say.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn read_page_index<R: AsyncFileReader + ?Sized>(
    reader: &mut R,
    file_bytes: u64,
    group: &RowGroupMetaData,
    leaf: usize,
    field: &Field,
) -> Result<Option<PageIndex>> {
    let column = group.column(leaf);
    let (Some(bounds), Some(offsets)) = (column_range(column, file_bytes), offset_range(column, file_bytes))
    else {
        return Ok(None);
    };
    let bytes = reader.get_byte_ranges(vec![bounds.clone(), offsets.clone()]).await?;
    let [of_bounds, of_offsets] = bytes.as_slice() else { return Ok(None) };
    let index = decode(group, leaf, file_bytes, Part::Offsets, offsets, of_offsets.clone())
        .and_then(|metadata| {
            let offsets = metadata.offset_index().cloned();
            let metadata = decode(group, leaf, file_bytes, Part::Bounds, bounds, of_bounds.clone())?;
            Ok(metadata.into_builder().set_offset_index(offsets).build())
        })
        .and_then(|metadata| page_index(&metadata, group, leaf, field));
    Ok(index.unwrap_or_else(|error| {
        tracing::debug!(column = %column.column_path(), %error, "page index not used");
        None
    }))
}

/// The footer of one row group alone, as its row group 0, with the offset index of the leaves that `is_wanted` names; `None` where
/// the file does not say of one of them where its pages are.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn with_offset_index<R: AsyncFileReader + ?Sized>(
    reader: &mut R,
    file_bytes: u64,
    footer: &ParquetMetaData,
    group: usize,
    is_wanted: impl Fn(usize) -> bool,
) -> Result<Option<ParquetMetaData>> {
    let group = footer.row_group(group);
    let wanted: Vec<usize> = (0..group.num_columns()).filter(|&leaf| is_wanted(leaf)).collect();
    let ranges: Option<Vec<Range<u64>>> =
        wanted.iter().map(|&leaf| offset_range(group.column(leaf), file_bytes)).collect();
    let Some(ranges) = ranges else { return Ok(None) };
    let bytes = reader.get_byte_ranges(ranges.clone()).await?;
    // Of the others nothing is read.
    let mut indexes = vec![OffsetIndexBuilder::new().build(); group.num_columns()];
    for ((leaf, range), bytes) in wanted.into_iter().zip(ranges).zip(bytes) {
        match decode(group, leaf, file_bytes, Part::Offsets, range, bytes) {
            Ok(metadata) => match only(metadata.offset_index()) {
                Some(index) if page_rows(index, group, leaf).is_some() => indexes[leaf] = index.clone(),
                _ => return Ok(None),
            },
            Err(error) => {
                tracing::debug!(column = %group.column(leaf).column_path(), %error, "offset index not used");
                return Ok(None);
            }
        }
    }
    let metadata = ParquetMetaDataBuilder::new(footer.file_metadata().clone())
        .add_row_group(group.clone())
        .set_offset_index(Some(vec![indexes]))
        .build();
    Ok(Some(metadata))
}

/// One of the two halves of a page index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Bounds,
    Offsets,
}

/// A footer that knows one column of one row group, and one half of its page index.
fn decode(
    group: &RowGroupMetaData,
    leaf: usize,
    file_bytes: u64,
    part: Part,
    range: Range<u64>,
    bytes: Bytes,
) -> Result<ParquetMetaData> {
    let column = group.column(leaf);
    let fields = vec![column.column_descr().self_type_ptr()];
    let root = Type::group_type_builder("schema").with_fields(fields).build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    let only = RowGroupMetaData::builder(Arc::clone(&schema))
        .set_num_rows(group.num_rows())
        .add_column_metadata(column.clone())
        .build()?;
    let file = FileMetaData::new(1, group.num_rows(), None, None, schema, None);
    let policy = |of: Part| if of == part { PageIndexPolicy::Required } else { PageIndexPolicy::Skip };
    let footer = ParquetMetaData::new(file, vec![only]);
    let mut decoder = ParquetMetaDataPushDecoder::try_new_with_metadata(file_bytes, footer)?
        .with_column_index_policy(policy(Part::Bounds))
        .with_offset_index_policy(policy(Part::Offsets));
    decoder.push_range(range, bytes)?;
    match decoder.try_decode()? {
        DecodeResult::Data(metadata) => Ok(metadata),
        _ => Err(ParquetError::General("the page index ends early".to_owned())),
    }
}

/// `metadata` knows the one column with both halves of its index.
fn page_index(
    metadata: &ParquetMetaData,
    group: &RowGroupMetaData,
    leaf: usize,
    field: &Field,
) -> Result<Option<PageIndex>> {
    let (Some(all_bounds), Some(all_offsets)) = (metadata.column_index(), metadata.offset_index()) else {
        return Ok(None);
    };
    let (Some(bounds), Some(offsets)) = (only(Some(all_bounds)), only(Some(all_offsets))) else {
        return Ok(None);
    };
    let Some(rows) = page_rows(offsets, group, leaf) else { return Ok(None) };
    let schema = Schema::new(vec![field.clone()]);
    let parquet_schema = metadata.file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(field.name(), &schema, parquet_schema)?;
    let least = converter.data_page_mins(all_bounds, all_offsets, &[0])?;
    let greatest = converter.data_page_maxes(all_bounds, all_offsets, &[0])?;
    let is_whole = |pages: usize| pages == rows.len();
    if !(is_whole(least.len()) && is_whole(greatest.len())) || bounds.num_pages() != rows.len() as u64 {
        return Ok(None);
    }
    let is_null = (0..rows.len()).map(|page| bounds.is_null_page(page)).collect();
    Ok(Some(PageIndex { rows, is_null, least, greatest }))
}

/// The rows of each page, unless they contradict the footer: decoders take an offset index at its word.
fn page_rows(index: &OffsetIndexMetaData, group: &RowGroupMetaData, leaf: usize) -> Option<Vec<Range<u64>>> {
    let column = group.column(leaf);
    let unsigned = |number: i64| u64::try_from(number).ok();
    let chunk = unsigned(column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset()))?;
    let chunk_end = chunk.checked_add(unsigned(column.compressed_size())?)?;
    let all_rows = unsigned(group.num_rows())?;
    let pages = index.page_locations();
    let mut free_from = chunk;
    let mut rows: Vec<Range<u64>> = Vec::with_capacity(pages.len());
    for (number, page) in pages.iter().enumerate() {
        let (start, first) = (unsigned(page.offset)?, unsigned(page.first_row_index)?);
        let end = start.checked_add(u64::try_from(page.compressed_page_size).ok()?)?;
        let is_next = match rows.last_mut() {
            None => first == 0,
            Some(before) => {
                before.end = first;
                before.start < first
            }
        };
        if !is_next || start < free_from || end <= start || end > chunk_end || first >= all_rows {
            tracing::debug!(column = %column.column_path(), page = number, "impossible page");
            return None;
        }
        free_from = end;
        rows.push(first..all_rows);
    }
    (!rows.is_empty()).then_some(rows)
}

fn column_range(column: &ColumnChunkMetaData, file_bytes: u64) -> Option<Range<u64>> {
    range(column.column_index_offset(), column.column_index_length(), file_bytes)
}

fn offset_range(column: &ColumnChunkMetaData, file_bytes: u64) -> Option<Range<u64>> {
    range(column.offset_index_offset(), column.offset_index_length(), file_bytes)
}

/// A range of bytes that lies in the file.
pub(crate) fn range(offset: Option<i64>, length: Option<i32>, file_bytes: u64) -> Option<Range<u64>> {
    let start = u64::try_from(offset?).ok()?;
    let end = start.checked_add(u64::try_from(length?).ok()?)?;
    (start < end && end <= file_bytes).then_some(start..end)
}

fn only<T>(index: Option<&Vec<Vec<T>>>) -> Option<&T> {
    index?.first()?.first()
}
