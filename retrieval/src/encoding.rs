//! How the columns of a dataset are encoded.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

/// Rows of a row group: readers prune by it, the writer buffers one of them for each partition.
const ROW_GROUP_ROWS: usize = 262_144;
/// Values that tell whether a column repeats itself; of fewer it is taken to.
const SAMPLE_ROWS_MIN: usize = 1024;

/// Values of a column of which each lies beside its like, at least.
const CLUSTERED_VALUES_MIN: usize = 32;
/// Rows that tell what compressing a column saves.
const COMPRESSED_ROWS_MAX: usize = 2048;

/// How parts are encoded whose rows are like those of `sample`, their first batch, and come in the order of `sorted_by`.
///
/// A dictionary of values that seldom repeat is built, found too large and thrown away, which took a sixth of a
/// retrieval's time for floating point features and a tenth for keys. One of numbers that lie beside their like is small, but
/// looking each of them up took a twentieth. Compressing 32-bit floats saves a tenth of their
/// bytes and doubles what it costs to write them, and readers pay again; it is left out where it saves less than a sixth.
pub(crate) fn writer_properties(
    sample: &RecordBatch,
    sorted_by: Option<Vec<SortingColumn>>,
) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_sorting_columns(sorted_by)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("backsight ", env!("CARGO_PKG_VERSION")).to_owned());
    for (field, column) in sample.schema().fields().iter().zip(sample.columns()) {
        if !repeats(column) {
            properties = properties.set_column_dictionary_enabled(path(field.name()), false);
        }
    }
    // A sample that cannot be encoded is no reason to fail here: the part says what is wrong with it.
    for name in stubborn(sample, properties.clone().build()).unwrap_or_default() {
        properties = properties.set_column_compression(path(&name), Compression::UNCOMPRESSED);
    }
    properties.build()
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::new(vec![column.to_owned()])
}

/// Names of the columns, nested ones apart, that are hardly smaller when compressed.
fn stubborn(sample: &RecordBatch, properties: WriterProperties) -> Result<Vec<String>, ParquetError> {
    if sample.num_rows() < SAMPLE_ROWS_MIN {
        return Ok(Vec::new());
    }
    let sample = sample.slice(0, sample.num_rows().min(COMPRESSED_ROWS_MAX));
    let mut writer = ArrowWriter::try_new(std::io::sink(), sample.schema(), Some(properties))?;
    writer.write(&sample)?;
    let written = writer.close()?;
    let columns = written.row_groups().iter().flat_map(|group| group.columns());
    let stubborn = columns.filter(|column| {
        let is_flat = column.column_path().parts().len() == 1;
        is_flat && column.compressed_size().saturating_mul(6) > column.uncompressed_size().saturating_mul(5)
    });
    Ok(stubborn.map(|column| column.column_path().string()).collect())
}

/// Whether a dictionary of a column's values is likely to be small beside them.
fn repeats(column: &ArrayRef) -> bool {
    let data_type = column.data_type();
    if data_type.is_floating() || matches!(data_type, DataType::Timestamp(_, _)) {
        return false;
    }
    let values = column.len() - column.logical_null_count();
    // The leaves of a nested column are not told apart here.
    if values < SAMPLE_ROWS_MIN || data_type.is_nested() {
        return true;
    }
    let comparable = RowConverter::new(vec![SortField::new(data_type.clone())])
        .and_then(|converter| converter.convert_columns(&[ArrayRef::clone(column)]));
    comparable.map_or(true, |rows| {
        let mut values_seen: HashSet<&[u8]> = HashSet::new();
        let mut runs = 0;
        let mut last = None;
        for row in &rows {
            if last.replace(row) != Some(row) {
                runs += 1;
                values_seen.insert(row.data());
            }
        }
        let distinct = values_seen.len();
        // Where each number lies beside its like, compression finds that without looking up every one. Of few numbers a sample
        // does not tell.
        let lie_together = distinct >= CLUSTERED_VALUES_MIN && runs <= 2 * distinct && runs <= values / 2;
        let is_clustered = data_type.is_primitive() && lie_together;
        distinct <= values / 2 && !is_clustered
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float32Array, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn columns_whose_values_repeat_get_a_dictionary() {
        let rows = 0..4096_i64;
        let of = |modulo: i64| -> ArrayRef {
            Arc::new(rows.clone().map(|row| Some(row % modulo)).collect::<Int64Array>())
        };
        let words: StringArray = rows.clone().map(|row| Some(format!("word {}", row % 1000))).collect();
        let sparse: Int64Array = rows.clone().map(|row| (row % 5 == 0).then_some(row)).collect();
        let together = |row: i64| row / 20 * 7;
        let keys: Int64Array = rows.clone().map(|row| Some(together(row))).collect();
        let texts: StringArray = rows.clone().map(|row| Some(together(row).to_string())).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", of(4000)),
            ("label", of(2)),
            ("words", Arc::new(words)),
            ("few", Arc::new(sparse)),
            ("float", Arc::new(rows.clone().map(|_| Some(1.0)).collect::<Float64Array>())),
            ("clustered key", Arc::new(keys)),
            ("constant", Arc::new(rows.clone().map(|_| Some(7)).collect::<Int64Array>())),
            ("pairs apart", Arc::new(rows.clone().map(|row| Some(row % 2048)).collect::<Int64Array>())),
            ("clustered text", Arc::new(texts)),
        ];
        let sample = RecordBatch::try_from_iter(columns).unwrap();
        let properties = writer_properties(&sample, None);
        let has = |name: &str| properties.dictionary_enabled(&path(name));
        assert_eq!(
            ["key", "label", "words", "few", "float", "clustered key", "clustered text"].map(has),
            [false, true, true, true, false, false, true],
            "few: too few values to tell"
        );
        assert_eq!(["constant", "pairs apart"].map(has), [true, true]);
        let properties = writer_properties(&sample.slice(0, 10), None);
        assert!(properties.dictionary_enabled(&path("key")));
    }

    #[test]
    fn columns_are_compressed_where_it_saves_something() {
        // Numbers of an arithmetic generator, which no compressor sees through.
        let noise = || {
            (0..4096_u32).scan(1_u32, |state, _| {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Some(*state)
            })
        };
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("noise", Arc::new(noise().map(f32::from_bits).map(Some).collect::<Float32Array>())),
            ("steps", Arc::new((0..4096_i64).map(Some).collect::<Int64Array>())),
            (
                "coarse",
                Arc::new(noise().map(|noise| Some(f64::from(noise % 1000))).collect::<Float64Array>()),
            ),
        ];
        let sample = RecordBatch::try_from_iter(columns).unwrap();
        let compression =
            |sample: &RecordBatch, name: &str| writer_properties(sample, None).compression(&path(name));
        let zstd = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
        let found = ["noise", "steps", "coarse"].map(|name| compression(&sample, name));
        assert_eq!(found, [Compression::UNCOMPRESSED, zstd, zstd]);
        assert_eq!(compression(&sample.slice(0, 10), "noise"), zstd, "too few values to tell");
    }

    #[test]
    fn parts_say_where_their_pages_are_and_what_they_hold() {
        let instants = (0..50_000).map(Some).collect::<arrow::array::TimestampMicrosecondArray>();
        let features = Float64Array::from_iter_values((0..50_000).map(f64::from));
        let columns: [(&str, ArrayRef); 2] = [("at", Arc::new(instants)), ("x", Arc::new(features))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut file = Vec::new();
        let properties = Some(writer_properties(&batch, None));
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut file, batch.schema(), properties).unwrap();
        writer.write(&batch).unwrap();
        let footer = writer.close().unwrap();
        for column in footer.row_group(0).columns() {
            assert!(crate::page_index::has_page_index(column));
            assert!(column.statistics().is_some_and(|statistics| statistics.null_count_opt() == Some(0)));
        }
        let pages = footer.offset_index().unwrap()[0].iter().map(|index| index.page_locations().len());
        assert_eq!(pages.collect::<Vec<_>>(), [3, 3], "20,000 rows a page");
    }
}
