//! What the log of a Delta table says, and whether we can read the table as it is meant. Pure.
//!
//! A table is a folder of Parquet files and a log (`_delta_log`) that says which of them are rows of it. Only a feature
//! that is known to leave rows as they are in the files may be in use: everything else is refused, never read wrongly.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;

use crate::bounds::TimeBounds;
use crate::hive::typed;

/// Newest protocol of readers that is known: from there on features are named one by one.
const READER_VERSION_MAX: u64 = 3;
/// Features of readers that change nothing about rows in files, or that are looked at file by file.
const FEATURES_KNOWN: [&str; 7] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "inCommitTimestamp",
    "domainMetadata",
];

/// Why a table is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// A sentence after the table's name.
    pub(crate) reason: String,
    pub(crate) hint: String,
}

fn refused(reason: String, hint: &str) -> Refused {
    Refused { reason, hint: hint.to_owned() }
}

/// Judges `protocol` and `metaData` actions as they stand in the log.
///
/// # Errors
/// What is in use and not known here.
pub(crate) fn judge(protocol: &Value, metadata: &Value) -> Result<(), Refused> {
    let version = protocol["minReaderVersion"].as_u64().unwrap_or(u64::MAX);
    if version > READER_VERSION_MAX {
        return Err(refused(
            format!("needs version {version} of Delta's reader protocol"),
            "versions up to 3 are read",
        ));
    }
    let features = protocol["readerFeatures"].as_array().map(Vec::as_slice).unwrap_or_default();
    let features = features.iter().map(|feature| feature.as_str().unwrap_or_default());
    if let Some(feature) = features.into_iter().find(|feature| !FEATURES_KNOWN.contains(feature)) {
        return Err(refused(
            format!("uses Delta's table feature `{feature}`"),
            "copy it into a table without that feature",
        ));
    }
    let mode = metadata["configuration"]["delta.columnMapping.mode"].as_str().unwrap_or("none");
    if mode != "none" {
        return Err(refused(
            format!("maps its columns to other names in its files (`delta.columnMapping.mode` is `{mode}`)"),
            "copy it into a table without column mapping",
        ));
    }
    let provider = metadata["format"]["provider"].as_str().unwrap_or("parquet");
    if provider != "parquet" {
        return Err(refused(
            format!("keeps its rows as `{provider}`"),
            "copy it into a table of Parquet files",
        ));
    }
    Ok(())
}

/// The names of the partition columns, in order.
pub(crate) fn partition_columns(metadata: &Value) -> Vec<String> {
    let names = metadata["partitionColumns"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// The path of a file below the table.
///
/// # Errors
/// A path that leads out of the table, as those of shallow clones.
pub(crate) fn relative_path(path: &str) -> Result<&str, Refused> {
    let is_outside = path.starts_with('/') || path.contains("://") || path.starts_with("file:");
    if is_outside || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refused(
            format!("has a file outside of its folder: `{path}`"),
            "copy a shallow clone into a table of its own",
        ));
    }
    Ok(path)
}

/// One value of a partition column for each field, from the texts of the log. No text and an empty one are null.
///
/// # Errors
/// A text that is no value of the column's type.
pub(crate) fn partition_values(
    fields: &[Field],
    texts: &HashMap<String, Option<String>>,
) -> Result<Vec<ArrayRef>, String> {
    let value = |field: &Field| {
        let text = texts.get(field.name()).and_then(Option::as_deref).filter(|text| !text.is_empty());
        typed(text, field.data_type()).ok_or_else(|| {
            format!(
                "its log says `{}={}`, which is no {}",
                field.name(),
                text.unwrap_or_default(),
                field.data_type()
            )
        })
    };
    fields.iter().map(value).collect()
}

/// Whether values of a partition column can be read from text.
pub(crate) fn is_readable_partition(data_type: &DataType) -> bool {
    !data_type.is_nested()
        && !matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// The bounds of a timestamp column by a file's statistics; `None` where they do not say.
///
/// They are cut to milliseconds: the least to below, but the greatest as well by some writers.
pub(crate) fn time_bounds(statistics: &str, column: &str) -> Option<TimeBounds> {
    let statistics: Value = serde_json::from_str(statistics).ok()?;
    let least = nanos(statistics["minValues"][column].as_str()?)?;
    let greatest = nanos(statistics["maxValues"][column].as_str()?)?;
    let bounds = TimeBounds { least, greatest: greatest + 999_999 };
    (bounds.least <= bounds.greatest).then_some(bounds)
}

/// An instant as the log writes it, with a zone or in UTC.
fn nanos(text: &str) -> Option<i128> {
    let instant = DateTime::parse_from_rfc3339(text).map(|instant| instant.to_utc()).or_else(|_| {
        let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"));
        naive.map(|naive| naive.and_utc())
    });
    let instant = instant.ok()?;
    Some(i128::from(instant.timestamp()) * 1_000_000_000 + i128::from(instant.timestamp_subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;
    use arrow::util::display::array_value_to_string;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changes_the_meaning_of_files_is_refused_by_name() {
        let plain = json!({"minReaderVersion": 1, "minWriterVersion": 2});
        let with = |features: Value| json!({"minReaderVersion": 3, "readerFeatures": features});
        let mapped = |mode: &str| json!({"configuration": {"delta.columnMapping.mode": mode}});
        let parquet = json!({"format": {"provider": "parquet"}, "configuration": {}});
        let table = [
            (plain.clone(), parquet.clone(), None),
            (plain.clone(), mapped("none"), None),
            (with(json!(["timestampNtz", "deletionVectors", "v2Checkpoint"])), parquet.clone(), None),
            (with(json!(["columnMapping"])), mapped("none"), None),
            (with(json!(["columnMapping"])), mapped("name"), Some("`name`")),
            (json!({"minReaderVersion": 2}), mapped("id"), Some("`id`")),
            (with(json!(["typeWidening"])), parquet.clone(), Some("`typeWidening`")),
            (with(json!(["variantType"])), parquet.clone(), Some("`variantType`")),
            (with(json!(["somethingNew"])), parquet.clone(), Some("`somethingNew`")),
            (with(json!([7])), parquet.clone(), Some("``")),
            (json!({"minReaderVersion": 4}), parquet.clone(), Some("version 4")),
            (json!({}), parquet, Some("version")),
            (plain, json!({"format": {"provider": "orc"}}), Some("`orc`")),
        ];
        for (protocol, metadata, expected) in table {
            let judged = judge(&protocol, &metadata);
            match expected {
                None => assert_eq!(judged, Ok(()), "{protocol} {metadata}"),
                Some(part) => {
                    let refused = judged.unwrap_err();
                    assert!(refused.reason.contains(part), "{protocol} {metadata}: {refused:?}");
                }
            }
        }
    }

    #[test]
    fn files_lie_below_the_table() {
        for path in ["a.parquet", "day=2026-01-01/a b.parquet", "x/..y/z.parquet", "t=10:00/a.parquet"] {
            assert_eq!(relative_path(path), Ok(path));
        }
        for path in [
            "/a.parquet",
            "s3://b/a.parquet",
            "file:/x/a.parquet",
            "../a.parquet",
            "x/./a.parquet",
            "x//a",
            "",
        ] {
            assert!(relative_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn partition_values_have_the_types_of_the_table() {
        let utc = || Some("UTC".into());
        let table = [
            (DataType::Utf8, "007", "007"),
            (DataType::Int32, "-7", "-7"),
            (DataType::Int64, "9223372036854775807", "9223372036854775807"),
            (DataType::Float64, "1.5", "1.5"),
            (DataType::Boolean, "true", "true"),
            (DataType::Date32, "2026-01-31", "2026-01-31"),
            (DataType::Decimal128(10, 2), "12.34", "12.34"),
            (
                DataType::Timestamp(TimeUnit::Microsecond, utc()),
                "2026-01-31 10:00:00.123456",
                "2026-01-31T10:00:00.123456Z",
            ),
            (
                DataType::Timestamp(TimeUnit::Microsecond, utc()),
                "2026-01-31T10:00:00.5Z",
                "2026-01-31T10:00:00.500Z",
            ),
            (DataType::Timestamp(TimeUnit::Microsecond, None), "2026-01-31 10:00:00", "2026-01-31T10:00:00"),
            (DataType::Utf8, "", ""),
        ];
        for (data_type, text, shown) in table {
            let fields = [Field::new("p", data_type.clone(), true)];
            let texts = HashMap::from([("p".to_owned(), Some(text.to_owned()))]);
            let values = partition_values(&fields, &texts).unwrap();
            assert_eq!(values[0].data_type(), &data_type);
            assert_eq!(array_value_to_string(&values[0], 0).unwrap(), shown, "{data_type} {text}");
            let nothing = partition_values(&fields, &HashMap::from([("p".to_owned(), None)])).unwrap();
            assert_eq!(nothing[0].null_count(), 1);
            assert_eq!(partition_values(&fields, &HashMap::new()).unwrap()[0].null_count(), 1);
        }
        let fields = [Field::new("p", DataType::Int32, true)];
        let texts = HashMap::from([("p".to_owned(), Some("x".to_owned()))]);
        assert_eq!(partition_values(&fields, &texts).unwrap_err(), "its log says `p=x`, which is no Int32");
        assert!(!is_readable_partition(&DataType::Binary));
    }

    #[test]
    fn statistics_bound_a_time_a_millisecond_to_above() {
        let bounds = |least: &str, greatest: &str| {
            let statistics =
                json!({"numRecords": 2, "minValues": {"t": least}, "maxValues": {"t": greatest}});
            time_bounds(&statistics.to_string(), "t").map(|bounds| (bounds.least, bounds.greatest))
        };
        let table = [
            ("1970-01-01T00:00:01.000Z", "1970-01-01T00:00:02.001Z", Some((1_000_000_000, 2_001_999_999))),
            ("1970-01-01T00:00:01", "1970-01-01 00:00:02.5", Some((1_000_000_000, 2_500_999_999))),
            ("1970-01-01T01:00:01+01:00", "1970-01-01T00:00:01Z", Some((1_000_000_000, 1_000_999_999))),
            ("1970-01-02T00:00:00Z", "1970-01-01T00:00:00Z", None),
            ("1970-01-02", "1970-01-03", None),
        ];
        for (least, greatest, expected) in table {
            assert_eq!(bounds(least, greatest), expected, "{least} to {greatest}");
        }
        assert_eq!(time_bounds("{}", "t"), None);
        assert_eq!(time_bounds("damaged", "t"), None);
        assert_eq!(time_bounds(r#"{"minValues":{"t":5},"maxValues":{"t":6}}"#, "t"), None);
    }
}
