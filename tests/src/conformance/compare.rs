//! Compares datasets as multisets of rows: column names and order, types, every value, timestamps by instant.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// `Err` says what differs first.
pub(super) fn same_rows(expected: &RecordBatch, got: &RecordBatch) -> Result<(), String> {
    let names = |batch: &RecordBatch| -> Vec<String> {
        batch.schema().fields().iter().map(|field| field.name().clone()).collect()
    };
    if names(expected) != names(got) {
        return Err(format!("columns: expected {:?}, got {:?}", names(expected), names(got)));
    }
    if expected.num_rows() != got.num_rows() {
        return Err(format!("rows: expected {}, got {}", expected.num_rows(), got.num_rows()));
    }
    for (left, right) in expected.schema().fields().iter().zip(got.schema().fields()) {
        if kind(left.data_type()) != kind(right.data_type()) {
            return Err(format!(
                "type of {}: expected {}, got {}",
                left.name(),
                left.data_type(),
                right.data_type()
            ));
        }
    }
    let (mut left, mut right) = (rows(expected), rows(got));
    left.sort();
    right.sort();
    let differing: Vec<_> = left.iter().zip(&right).filter(|(a, b)| a != b).collect();
    match differing.first() {
        None => Ok(()),
        Some((a, b)) => Err(format!("{} rows differ, first: expected {a:?}, got {b:?}", differing.len())),
    }
}

/// A type with everything left out that is layout and not value.
fn kind(t: &DataType) -> String {
    match t {
        DataType::Timestamp(_, _) => "timestamp".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        other => other.to_string(),
    }
}

fn rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let columns: Vec<Vec<String>> = batch.columns().iter().map(|column| values(column.as_ref())).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

fn values(column: &dyn Array) -> Vec<String> {
    if let DataType::Timestamp(unit, _) = column.data_type() {
        let factor: i128 = match unit {
            TimeUnit::Second => 1_000_000_000,
            TimeUnit::Millisecond => 1_000_000,
            TimeUnit::Microsecond => 1_000,
            TimeUnit::Nanosecond => 1,
        };
        let plain = arrow::compute::cast(column, &DataType::Int64).unwrap();
        let plain = plain.as_primitive::<Int64Type>();
        return plain
            .iter()
            .map(|v| v.map_or("null".into(), |v| (i128::from(v) * factor).to_string()))
            .collect();
    }
    let options = FormatOptions::new().with_null("null");
    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
    (0..column.len()).map(|row| formatter.value(row).to_string()).collect()
}
