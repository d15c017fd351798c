//! How the columns of a dataset are encoded.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

/// Rows of a row group: readers prune by it, the writer buffers one of them for each partition.
const ROW_GROUP_ROWS: usize = 262_144;
/// Values that tell whether a column repeats itself; of fewer it is taken to.
const SAMPLE_ROWS_MIN: usize = 1024;

/// How parts are encoded whose rows are like those of `sample`, their first batch.
///
/// A dictionary of values that seldom repeat is built, found too large and thrown away, which took a sixth of a
/// retrieval's time for floating point features and a tenth for keys.
pub(crate) fn writer_properties(sample: &RecordBatch) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("backsight ", env!("CARGO_PKG_VERSION")).to_owned());
    for (field, column) in sample.schema().fields().iter().zip(sample.columns()) {
        if !repeats(column) {
            let column = ColumnPath::new(vec![field.name().clone()]);
            properties = properties.set_column_dictionary_enabled(column, false);
        }
    }
    properties.build()
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
        let distinct: HashSet<&[u8]> = rows.iter().map(|row| row.data()).collect();
        distinct.len() <= values / 2
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn columns_whose_values_repeat_get_a_dictionary() {
        let rows = 0..4096_i64;
        let of = |modulo: i64| -> ArrayRef {
            Arc::new(rows.clone().map(|row| Some(row % modulo)).collect::<Int64Array>())
        };
        let words: StringArray = rows.clone().map(|row| Some(format!("word {}", row % 1000))).collect();
        let sparse: Int64Array = rows.clone().map(|row| (row % 5 == 0).then_some(row)).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", of(4000)),
            ("label", of(2)),
            ("words", Arc::new(words)),
            ("few", Arc::new(sparse)),
            ("float", Arc::new(rows.clone().map(|_| Some(1.0)).collect::<Float64Array>())),
        ];
        let sample = RecordBatch::try_from_iter(columns).unwrap();
        let properties = writer_properties(&sample);
        let has = |name: &str| properties.dictionary_enabled(&ColumnPath::new(vec![name.to_owned()]));
        assert_eq!(
            ["key", "label", "words", "few", "float"].map(has),
            [false, true, true, true, false],
            "few: too few values to tell"
        );
        let properties = writer_properties(&sample.slice(0, 10));
        assert!(properties.dictionary_enabled(&ColumnPath::new(vec!["key".to_owned()])));
    }

    #[test]
    fn parts_say_where_their_pages_are_and_what_they_hold() {
        let instants = (0..50_000).map(Some).collect::<arrow::array::TimestampMicrosecondArray>();
        let features = Float64Array::from_iter_values((0..50_000).map(f64::from));
        let columns: [(&str, ArrayRef); 2] = [("at", Arc::new(instants)), ("x", Arc::new(features))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut file = Vec::new();
        let properties = Some(writer_properties(&batch));
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
