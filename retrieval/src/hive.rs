//! Columns that are folders: `sales/day=2026-01-31/country=FR/part-0.parquet` has a `day` and a `country`. Pure.
//!
//! The layout is Hive's, as Spark, DuckDB and Arrow write it: values are percent-encoded, and one name stands for null.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field};
use backsight_registry::model::FeatureView;
use backsight_storage::Location;
use percent_encoding::percent_decode_str;

use crate::declared_types::type_of_text;
use crate::error::RetrievalError;
use crate::plan::source_column;

/// What stands for null in a path.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Types that columns are declared to have, by their names in the files.
pub(crate) type DeclaredColumns = BTreeMap<String, DataType>;

/// The columns of a view's source whose types the view declares, as far as text can be read as them.
pub(crate) fn declared_columns(view: &FeatureView) -> DeclaredColumns {
    let fields = view.join_keys.iter().chain(&view.features);
    let typed =
        fields.filter_map(|field| Some((source_column(view, &field.name), type_of_text(field.value_type)?)));
    typed.collect()
}

/// Columns of folders, and for each file its values: arrays of one value each.
#[derive(Debug, Default)]
pub(crate) struct HiveColumns {
    pub(crate) fields: Vec<Field>,
    pub(crate) values: Vec<Vec<ArrayRef>>,
}

/// The columns that the folders between `location` and its files are. A column that the files have themselves is theirs.
///
/// # Errors
/// A value that its declared type cannot have.
pub(crate) fn hive_columns(
    location: &Location,
    files: &[Location],
    own: &[&str],
    declared: &DeclaredColumns,
) -> Result<HiveColumns, RetrievalError> {
    let found: Vec<Vec<(String, Option<String>)>> =
        files.iter().map(|file| segments(location, file)).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in found.iter().flatten() {
        if !own.contains(&name.as_str()) && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut columns = HiveColumns { fields: Vec::new(), values: vec![Vec::new(); files.len()] };
    for name in names {
        let texts: Vec<Option<&str>> = found
            .iter()
            .map(|of_file| {
                of_file.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.as_deref())
            })
            .collect();
        let data_type = declared.get(name).cloned().unwrap_or_else(|| guessed(&texts));
        for (file, (values, text)) in columns.values.iter_mut().zip(&texts).enumerate() {
            let value = typed(*text, &data_type).ok_or_else(|| RetrievalError::Data {
                message: format!(
                    "`{}`: its folder says `{name}={}`, which is no {data_type}",
                    files[file],
                    text.unwrap_or_default()
                ),
            })?;
            values.push(value);
        }
        columns.fields.push(Field::new(name, data_type, true));
    }
    Ok(columns)
}

/// The pairs of name and value in the folders above a file, below what the user named.
pub(crate) fn segments(location: &Location, file: &Location) -> Vec<(String, Option<String>)> {
    let (base, path) = (location.path(), file.path());
    // A pattern's folders are named by it, and mean columns all the same.
    let base = base.as_ref().split(['*', '?', '[', '{']).next().unwrap_or_default();
    let base = if base.len() < location.path().as_ref().len() {
        base.rsplit_once('/').map_or("", |(folder, _)| folder)
    } else {
        base
    };
    let below = path.as_ref().strip_prefix(base).unwrap_or(path.as_ref());
    let mut folders: Vec<&str> = below.split('/').filter(|name| !name.is_empty()).collect();
    folders.pop();
    folders.into_iter().filter_map(segment).collect()
}

/// Name and value of a folder, `None` for one that is no column.
pub(crate) fn segment(folder: &str) -> Option<(String, Option<String>)> {
    let (name, value) = folder.split_once('=')?;
    let text = |encoded: &str| percent_decode_str(encoded).decode_utf8_lossy().into_owned();
    (!name.is_empty()).then(|| (text(name), (value != NULL).then(|| text(value))))
}

/// The narrowest type that all values have: integer, date, else text. `007` is text.
fn guessed(texts: &[Option<&str>]) -> DataType {
    let all = |is_it: &dyn Fn(&str) -> bool| texts.iter().flatten().all(|text| is_it(text));
    let is_integer = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        text.parse::<i64>().is_ok() && (digits == "0" || !digits.starts_with(['0', '+']))
    };
    if texts.iter().flatten().next().is_none() {
        return DataType::Utf8;
    }
    if all(&is_integer) {
        return DataType::Int64;
    }
    let is_date = |text: &str| text.len() == 10 && typed(Some(text), &DataType::Date32).is_some();
    if all(&is_date) { DataType::Date32 } else { DataType::Utf8 }
}

/// One value of a type; `None` where the text cannot be read as it.
pub(crate) fn typed(text: Option<&str>, data_type: &DataType) -> Option<ArrayRef> {
    let Some(text) = text else { return Some(new_null_array(data_type, 1)) };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let value = cast_with_options(&StringArray::from(vec![text]), data_type, &strict).ok()?;
    value.is_valid(0).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn at(text: &str) -> Location {
        Location::parse(text, Path::new("/"), None).unwrap()
    }

    fn shown(columns: &HiveColumns) -> Vec<String> {
        let cell = |value: &ArrayRef| arrow::util::display::array_value_to_string(value, 0).unwrap();
        let line = |(number, field): (usize, &Field)| {
            let values: Vec<String> = columns.values.iter().map(|of_file| cell(&of_file[number])).collect();
            format!("{} {}: {}", field.name(), field.data_type(), values.join(" "))
        };
        columns.fields.iter().enumerate().map(line).collect()
    }

    #[test]
    fn folders_are_columns_of_the_narrowest_type() {
        let files = [
            at("/s/day=2026-01-31/n=7/code=007/a%20b=x%2Fy/p.parquet"),
            at("/s/day=2026-02-01/n=-3/code=12/a%20b=__HIVE_DEFAULT_PARTITION__/q=1.parquet"),
        ];
        let found = hive_columns(&at("/s"), &files, &[], &DeclaredColumns::new()).unwrap();
        assert_eq!(
            shown(&found),
            ["day Date32: 2026-01-31 2026-02-01", "n Int64: 7 -3", "code Utf8: 007 12", "a b Utf8: x/y "]
        );
        // By a pattern they are the same; what lies above, or in the files, is no column.
        let by_pattern = hive_columns(&at("/s/day=*/n=7/*/*"), &files[..1], &["n"], &DeclaredColumns::new());
        assert_eq!(shown(&by_pattern.unwrap()).len(), 3);
        let one = hive_columns(&at("/s/day=2026-01-31"), &files[..1], &["code"], &DeclaredColumns::new());
        assert_eq!(shown(&one.unwrap()), ["n Int64: 7", "a b Utf8: x/y"]);
    }

    #[test]
    fn declared_types_count_and_are_checked() {
        let files = [at("/s/n=7/p.parquet"), at("/s/n=8/p.parquet")];
        let text = DeclaredColumns::from([("n".to_owned(), DataType::Utf8)]);
        assert_eq!(shown(&hive_columns(&at("/s"), &files, &[], &text).unwrap()), ["n Utf8: 7 8"]);
        let boolean = DeclaredColumns::from([("n".to_owned(), DataType::Date32)]);
        let error = hive_columns(&at("/s"), &files, &[], &boolean).unwrap_err();
        assert!(error.to_string().contains("its folder says `n=7`, which is no Date32"), "{error}");
    }
}
