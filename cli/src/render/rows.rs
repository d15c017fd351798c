//! Rows of a record batch as a table or as JSON.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use crate::errors::Failure;
use crate::render::table::{Align, Table};

/// Rows as an aligned table; numbers stand right.
pub(crate) fn rows_table(rows: &RecordBatch) -> Result<Table, Failure> {
    let schema = rows.schema();
    let columns: Vec<(&str, Align)> = schema
        .fields()
        .iter()
        .map(|field| {
            (field.name().as_str(), if field.data_type().is_numeric() { Align::Right } else { Align::Left })
        })
        .collect();
    let mut table = Table::new(&columns);
    let options = FormatOptions::new().with_null("null");
    let formatters = formatters(rows, &options)?;
    for row in 0..rows.num_rows() {
        table.row(formatters.iter().map(|formatter| formatter.value(row).to_string()));
    }
    Ok(table)
}

/// Rows as JSON objects in column order; what JSON has no form for is text.
pub(crate) fn rows_json(rows: &RecordBatch) -> Result<Value, Failure> {
    let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, arrow::json::writer::JsonArray>(Vec::new());
    let written = writer.write(rows).and_then(|()| writer.finish());
    let parsed = written.ok().and_then(|()| serde_json::from_slice(&writer.into_inner()).ok());
    match parsed {
        Some(value) => Ok(value),
        None => rows_as_text(rows),
    }
}

fn rows_as_text(rows: &RecordBatch) -> Result<Value, Failure> {
    let options = FormatOptions::new();
    let formatters = formatters(rows, &options)?;
    let schema = rows.schema();
    let object = |row: usize| {
        let cell = |(position, formatter): (usize, &ArrayFormatter<'_>)| {
            let is_null = rows.column(position).is_null(row);
            let value = if is_null { Value::Null } else { formatter.value(row).to_string().into() };
            (schema.field(position).name().clone(), value)
        };
        Value::Object(formatters.iter().enumerate().map(cell).collect::<Map<_, _>>())
    };
    Ok(Value::Array((0..rows.num_rows()).map(object).collect()))
}

fn formatters<'a>(
    rows: &'a RecordBatch,
    options: &'a FormatOptions<'a>,
) -> Result<Vec<ArrayFormatter<'a>>, Failure> {
    let refused = |error: ArrowError| Failure::bug(format!("rows cannot be shown: {error}"));
    let columns = rows.columns().iter();
    columns.map(|column| ArrayFormatter::try_new(column.as_ref(), options).map_err(refused)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float32Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    fn rows() -> RecordBatch {
        let columns: [(&str, ArrayRef); 3] = [
            ("driver_id", Arc::new(Int64Array::from(vec![1001, 7]))),
            (
                "event_timestamp",
                Arc::new(TimestampMicrosecondArray::from(vec![0, 3_600_000_000]).with_timezone("UTC")),
            ),
            ("conv_rate", Arc::new(Float32Array::from(vec![Some(0.25), None]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    #[test]
    fn a_table_shows_instants_and_nulls() {
        let expected = "driver_id  event_timestamp       conv_rate\n     1001  1970-01-01T00:00:00Z       0.25\n        7  1970-01-01T01:00:00Z       null\n";
        assert_eq!(rows_table(&rows()).unwrap().text(), expected);
    }

    #[test]
    fn json_has_every_column_of_every_row() {
        let expected = serde_json::json!([
            {"driver_id": 1001, "event_timestamp": "1970-01-01T00:00:00Z", "conv_rate": 0.25},
            {"driver_id": 7, "event_timestamp": "1970-01-01T01:00:00Z", "conv_rate": null},
        ]);
        assert_eq!(rows_json(&rows()).unwrap(), expected);
        let text = rows_as_text(&rows()).unwrap();
        assert_eq!(
            text[1],
            serde_json::json!({"driver_id": "7", "event_timestamp": "1970-01-01T01:00:00Z", "conv_rate": null})
        );
    }
}
