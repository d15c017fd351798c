//! Which columns do text files have, all together? Pure.
//!
//! Text has no types. Join keys take the type that their entity declares, so that `007` stays `007` where the key is a string;
//! every other column gets the narrowest type that all its values of all files have.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::declared_types::type_of_text;
use crate::resolve::ResolvedView;

/// Types of spine columns that are join keys.
pub(crate) type KeyTypes = BTreeMap<String, DataType>;

/// The types of the join keys of some views, by spine column. Of two views that disagree the first counts; the join finds
/// out.
pub(crate) fn key_types<'a>(views: impl IntoIterator<Item = &'a ResolvedView>) -> KeyTypes {
    let mut types = KeyTypes::new();
    for key in views.into_iter().flat_map(|view| &view.keys) {
        if let Some(data_type) = type_of_text(key.value_type) {
            types.entry(key.spine_column.clone()).or_insert(data_type);
        }
    }
    types
}

/// Two files whose columns cannot be one: column, number of the first file, types of both.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    pub(crate) column: String,
    pub(crate) file: usize,
    pub(crate) types: [DataType; 2],
}

/// The columns of all files, in order of first sight, from those that each file seems to have. `is_text` where the types
/// were guessed from text, and so may give way to each other.
pub(crate) fn merge(
    files: &[SchemaRef],
    keys: &KeyTypes,
    is_text: bool,
) -> Result<SchemaRef, (usize, Contradiction)> {
    let mut columns: Vec<(Field, usize)> = Vec::new();
    for (number, file) in files.iter().enumerate() {
        for field in file.fields() {
            match columns.iter_mut().find(|(held, _)| held.name() == field.name()) {
                None => columns.push((field.as_ref().clone(), number)),
                Some((held, first)) => {
                    let common = common(held.data_type(), field.data_type(), is_text);
                    let Some(common) = common else {
                        let types = [held.data_type().clone(), field.data_type().clone()];
                        let column = field.name().clone();
                        return Err((number, Contradiction { column, file: *first, types }));
                    };
                    *held = held.clone().with_data_type(common);
                }
            }
        }
    }
    let finished = columns.into_iter().map(|(field, _)| {
        let data_type = match keys.get(field.name()) {
            Some(declared) if is_text => declared.clone(),
            _ if is_text => settled(field.data_type()),
            _ => field.data_type().clone(),
        };
        // A file may lack it.
        field.with_data_type(data_type).with_nullable(true)
    });
    Ok(Arc::new(Schema::new(finished.collect::<Vec<_>>())))
}

fn common(one: &DataType, other: &DataType, is_text: bool) -> Option<DataType> {
    use DataType::{Boolean, Date32, Float64, Int64, Null, Timestamp, Utf8};
    if one == other {
        return Some(one.clone());
    }
    match (one, other) {
        (Null, some) | (some, Null) => Some(some.clone()),
        _ if !is_text => None,
        (Int64, Float64) | (Float64, Int64) => Some(Float64),
        (Timestamp(one, zone), Timestamp(other, _)) => {
            Some(Timestamp(if finer(*one, *other) { *one } else { *other }, zone.clone()))
        }
        (Date32, instant @ Timestamp(_, _)) | (instant @ Timestamp(_, _), Date32) => Some(instant.clone()),
        (
            Int64 | Float64 | Boolean | Date32 | Timestamp(_, _) | Utf8,
            Int64 | Float64 | Boolean | Date32 | Timestamp(_, _) | Utf8,
        ) => Some(Utf8),
        _ => None,
    }
}

fn finer(one: TimeUnit, other: TimeUnit) -> bool {
    backsight_asof::nanos_per(one) < backsight_asof::nanos_per(other)
}

/// The type in which a guessed column is kept. Instants say that they are in UTC, and have a unit that every reader of
/// Parquet knows; a column without any value is text.
fn settled(guessed: &DataType) -> DataType {
    match guessed {
        DataType::Null => DataType::Utf8,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
        }
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
        let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), false));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    #[test]
    fn guesses_give_way_to_each_other_and_keys_are_as_declared() {
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let files = [
            schema(&[("driver", DataType::Int64), ("at", seconds.clone()), ("x", DataType::Int64)]),
            schema(&[("x", DataType::Float64), ("at", DataType::Date32), ("y", DataType::Boolean)]),
            schema(&[("y", DataType::Int64), ("at", nanos), ("z", DataType::Null)]),
        ];
        let keys = KeyTypes::from([("driver".to_owned(), DataType::Utf8)]);
        let merged = merge(&files, &keys, true).unwrap();
        let shown: Vec<String> =
            merged.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        assert_eq!(shown, ["driver Utf8", "at Timestamp(ns, \"UTC\")", "x Float64", "y Utf8", "z Utf8"]);
        assert!(merged.fields().iter().all(|field| field.is_nullable()));
        let alone = merge(&[schema(&[("at", seconds)])], &keys, true).unwrap();
        assert_eq!(alone.field(0).data_type().to_string(), "Timestamp(µs, \"UTC\")");
    }

    #[test]
    fn types_that_are_no_guesses_must_be_equal() {
        let files = [schema(&[("a", DataType::Int32)]), schema(&[("a", DataType::Int64)])];
        let (file, found) = merge(&files, &KeyTypes::new(), false).unwrap_err();
        let types = [DataType::Int32, DataType::Int64];
        assert_eq!((file, found), (1, Contradiction { column: "a".into(), file: 0, types }));
        let kept = merge(&files[..1], &KeyTypes::from([("a".into(), DataType::Utf8)]), false).unwrap();
        assert_eq!(kept.field(0).data_type(), &DataType::Int32);
    }
}
