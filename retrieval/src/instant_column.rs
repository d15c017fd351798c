//! Which columns can be instants, and the expression that makes timestamps of them.

use arrow::datatypes::{DataType, Field, TimeUnit};
use backsight_registry::model::Tags;
use datafusion::logical_expr::{Expr, cast};

use crate::error::RetrievalError;
use crate::key_types::plain;
use crate::parquet_table::ParquetTable;

/// The tag of a source that gives integer timestamps a unit.
const UNIT_TAG: &str = "backsight.timestamp_unit";

/// The timestamp type that a column's instants are read as.
///
/// # Errors
/// [`RetrievalError::WrongType`] for a column that is no instant.
pub(crate) fn instant_type(
    field: &Field,
    role: &str,
    tags: Option<&Tags>,
) -> Result<DataType, RetrievalError> {
    let wrong = |expected: &str, hint: &str| RetrievalError::WrongType {
        role: role.to_owned(),
        column: field.name().clone(),
        given: field.data_type().to_string(),
        expected: expected.to_owned(),
        hint: hint.to_owned(),
    };
    match plain(field.data_type()) {
        DataType::Timestamp(unit, zone) => Ok(DataType::Timestamp(*unit, zone.clone())),
        DataType::Date32 => Ok(DataType::Timestamp(TimeUnit::Second, None)),
        DataType::Date64 => Ok(DataType::Timestamp(TimeUnit::Millisecond, None)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Ok(DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())))
        }
        t if t.is_integer() => match tags.and_then(|tags| tags.get(UNIT_TAG)).map(String::as_str) {
            Some("s") => Ok(DataType::Timestamp(TimeUnit::Second, None)),
            Some("ms") => Ok(DataType::Timestamp(TimeUnit::Millisecond, None)),
            Some("us") => Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
            Some("ns") => Ok(DataType::Timestamp(TimeUnit::Nanosecond, None)),
            Some(other) => Err(wrong(
                &format!("an integer with the unit s, ms, us or ns, not `{other}`"),
                &format!("correct the source's tag `{UNIT_TAG}`"),
            )),
            None if tags.is_some() => Err(wrong(
                "a timestamp, a date, ISO 8601 text, or an integer with a declared unit",
                &format!("give the source the tag `{UNIT_TAG}`: s, ms, us or ns"),
            )),
            None => Err(wrong(
                "a timestamp, a date or ISO 8601 text",
                "write the column as a timestamp, or name another one with `--timestamp-column`",
            )),
        },
        _ => Err(wrong(
            "a timestamp, a date or ISO 8601 text",
            "write the column as a timestamp, or name another one",
        )),
    }
}

/// `column` as instants of type `wanted`.
pub(crate) fn instant_expr(column: Expr, given: &DataType, wanted: &DataType) -> Expr {
    match plain(given) {
        _ if given == wanted => column,
        t if t.is_integer() => cast(cast(column, DataType::Int64), wanted.clone()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            cast(cast(column, DataType::Utf8), wanted.clone())
        }
        _ => cast(column, wanted.clone()),
    }
}

/// The spine's instant: the named column, else `event_timestamp`, else the only timestamp column.
///
/// # Errors
/// A named column that is missing, or none or several candidates.
pub(crate) fn find_spine_instant(
    spine: &ParquetTable,
    named: Option<&str>,
) -> Result<String, RetrievalError> {
    if let Some(name) = named {
        spine.column(name, "the spine's instant")?;
        return Ok(name.to_owned());
    }
    if spine.schema.field_with_name("event_timestamp").is_ok() {
        return Ok("event_timestamp".to_owned());
    }
    let candidates: Vec<&str> = spine
        .schema
        .fields()
        .iter()
        .filter(|field| matches!(field.data_type(), DataType::Timestamp(_, _)))
        .map(|field| field.name().as_str())
        .collect();
    match candidates.as_slice() {
        [only] => Ok((*only).to_owned()),
        several => Err(RetrievalError::NoInstant {
            spine: spine.shown.clone(),
            hint: if several.is_empty() {
                "it needs a column `event_timestamp` or one timestamp column; name another with `--timestamp-column`"
                    .to_owned()
            } else {
                format!(
                    "its timestamp columns are `{}`: name one with `--timestamp-column`",
                    several.join("`, `")
                )
            },
        }),
    }
}
