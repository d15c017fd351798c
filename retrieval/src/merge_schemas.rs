//! One schema over all files of a table, and which columns some of them lack. Pure.
//!
//! Files of one writer have the same columns: columns are compared once for each different schema, not for each file.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::error::{FileContradiction, RetrievalError};
use crate::parquet_table::ParquetFile;
use crate::widen::widen;

/// Files of one schema.
struct Alike<'a> {
    schema: &'a SchemaRef,
    /// The first of them.
    first: usize,
    files: usize,
}

/// A column that some file has.
struct Column {
    /// The first of the schemas that have it, and its place there.
    first: (usize, usize),
    field: Field,
    files: usize,
    is_nullable: bool,
}

/// Every column of any file, in order of first sight, in a type that holds the values of all; and how many files lack it.
///
/// # Errors
/// Columns of types that no type holds together, with two files that have them so.
pub(crate) fn merge_schemas(
    files: &[ParquetFile],
) -> Result<(SchemaRef, BTreeMap<String, usize>), RetrievalError> {
    let schemas = different(files);
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut columns: Vec<Column> = Vec::new();
    for (number, alike) in schemas.iter().enumerate() {
        for (position, field) in alike.schema.fields().iter().enumerate() {
            let Some(&place) = places.get(field.name().as_str()) else {
                places.insert(field.name(), columns.len());
                columns.push(Column {
                    first: (number, position),
                    field: Field::new(field.name(), field.data_type().clone(), true),
                    files: alike.files,
                    is_nullable: field.is_nullable(),
                });
                continue;
            };
            let column = &mut columns[place];
            column.files += alike.files;
            column.is_nullable |= field.is_nullable();
            let held = column.field.data_type();
            if held != field.data_type() {
                let wide = widen(held, field.data_type())
                    .ok_or_else(|| contradiction(files, &schemas[..=number], field))?;
                column.field = Field::new(field.name(), wide, true);
            }
        }
    }
    let absent = columns
        .iter()
        .filter(|column| column.files < files.len())
        .map(|column| (column.field.name().clone(), files.len() - column.files))
        .collect();
    let fields = columns.into_iter().map(|column| {
        // The metadata of one file speaks for the column only while its type is that file's.
        let own = schemas[column.first.0].schema.field(column.first.1);
        let field = column.field.with_nullable(column.is_nullable || column.files < files.len());
        if own.data_type() == field.data_type() { field.with_metadata(own.metadata().clone()) } else { field }
    });
    let fields: Vec<Field> = fields.collect();
    Ok((Arc::new(Schema::new(fields)), absent))
}

/// A column of the last of some schemas against the first that has it in a type that does not go with it.
fn contradiction(files: &[ParquetFile], schemas: &[Alike<'_>], field: &Field) -> RetrievalError {
    let file = |alike: &Alike<'_>| files[alike.first].entry.location.clone();
    let types = schemas.iter().filter_map(|alike| {
        let found = alike.schema.field_with_name(field.name()).ok()?;
        Some((found.data_type(), file(alike)))
    });
    let types: Vec<_> = types.collect();
    let against = types.iter().find(|(one, _)| widen(one, field.data_type()).is_none());
    let (Some((first, first_file)), Some((second, second_file))) = (against.or(types.first()), types.last())
    else {
        return RetrievalError::Bug { message: format!("column `{}` contradicts nothing", field.name()) };
    };
    RetrievalError::FilesDisagree(Box::new(FileContradiction {
        column: field.name().clone(),
        first: first.to_string(),
        first_file: first_file.clone(),
        second: second.to_string(),
        second_file: second_file.clone(),
    }))
}

/// The schemas of files, those of equal columns together, in order of first sight.
fn different(files: &[ParquetFile]) -> Vec<Alike<'_>> {
    let mut schemas: Vec<Alike<'_>> = Vec::new();
    let mut by_address: HashMap<*const Schema, usize> = HashMap::new();
    let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::new();
    for (number, file) in files.iter().enumerate() {
        // Footers that were read together share the schemas that are equal.
        let place = *by_address.entry(Arc::as_ptr(&file.schema)).or_insert_with(|| {
            let mut hasher = DefaultHasher::new();
            file.schema.fields().hash(&mut hasher);
            let places = by_hash.entry(hasher.finish()).or_default();
            let is_equal = |place: &usize| schemas[*place].schema.fields() == file.schema.fields();
            places.iter().copied().find(is_equal).unwrap_or_else(|| {
                places.push(schemas.len());
                schemas.push(Alike { schema: &file.schema, first: number, files: 0 });
                schemas.len() - 1
            })
        });
        if let Some(alike) = schemas.get_mut(place) {
            alike.files += 1;
        }
    }
    schemas
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::datatypes::DataType::{Float64, Int32, Int64, LargeUtf8, Utf8};
    use backsight_storage::{FileEntry, Location};
    use chrono::{DateTime, Utc};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ArrowReaderMetadata;
    use parquet::file::metadata::ParquetMetaData;

    use super::*;

    /// A footer of no rows: what is merged are the schemas.
    fn footer() -> Arc<ParquetMetaData> {
        let schema = Arc::new(Schema::new(vec![Field::new("x", Int64, true)]));
        let mut bytes = Vec::new();
        ArrowWriter::try_new(&mut bytes, schema, None).unwrap().close().unwrap();
        let bytes = bytes::Bytes::from(bytes);
        Arc::clone(ArrowReaderMetadata::load(&bytes, Default::default()).unwrap().metadata())
    }

    fn files(schemas: impl IntoIterator<Item = SchemaRef>) -> Vec<ParquetFile> {
        let metadata = footer();
        let base = Location::parse("/s", Path::new("/"), None).unwrap();
        let file = |(number, schema)| ParquetFile {
            entry: FileEntry {
                location: base.join(&format!("{number}.parquet")),
                size: 1,
                etag: None,
                modified: DateTime::<Utc>::UNIX_EPOCH,
            },
            metadata: Arc::clone(&metadata),
            schema,
            constants: Vec::new(),
        };
        schemas.into_iter().enumerate().map(file).collect()
    }

    fn schema(fields: Vec<Field>) -> SchemaRef {
        Arc::new(Schema::new(fields))
    }

    #[test]
    fn columns_widen_over_all_files_and_are_counted_where_they_lack() {
        let tagged = |field: Field| field.with_metadata([("unit".to_owned(), "km".to_owned())].into());
        let one =
            || schema(vec![tagged(Field::new("a", Int32, false)), tagged(Field::new("b", Utf8, false))]);
        let two = || schema(vec![Field::new("b", LargeUtf8, false), Field::new("a", Int32, true)]);
        let three = || schema(vec![Field::new("c", Float64, false), Field::new("a", Int32, false)]);
        let files = files([one(), two(), one(), three(), three(), two()]);
        let (merged, absent) = merge_schemas(&files).unwrap();
        let shown: Vec<String> = merged
            .fields()
            .iter()
            .map(|f| format!("{} {} {} {}", f.name(), f.data_type(), f.is_nullable(), f.metadata().len()))
            .collect();
        assert_eq!(shown, ["a Int32 true 1", "b LargeUtf8 true 0", "c Float64 true 0"]);
        assert_eq!(absent, BTreeMap::from([("b".to_owned(), 2), ("c".to_owned(), 4)]));
        let (merged, _) = merge_schemas(&files[..1]).unwrap();
        assert_eq!(merged.fields(), one().fields());
    }

    #[test]
    fn the_first_files_that_contradict_each_other_are_named() {
        let of = |data_type| schema(vec![Field::new("id", Int64, true), Field::new("x", data_type, true)]);
        let files = files([of(Int32), of(Int32), of(Int64), of(Int64), of(Utf8), of(Utf8)]);
        let error = merge_schemas(&files).unwrap_err();
        assert_eq!(error.to_string(), "column `x` is Int32 in `/s/0.parquet` but Utf8 in `/s/4.parquet`");
        assert!(merge_schemas(&files[..4]).is_ok());
    }

    #[test]
    fn ten_thousand_files_of_two_thousand_columns_are_few_schemas() {
        let wide = |last| {
            let fields = (0..2_000).map(|number| Field::new(format!("f{number}"), Int64, true));
            schema(fields.chain([Field::new(last, Int64, true)]).collect())
        };
        let (plain, other) = (wide("x"), wide("y"));
        let shared = (0..10_000).map(|number| if number % 3 == 0 { &plain } else { &other });
        let files = files(shared.map(Arc::clone));
        assert_eq!(different(&files).iter().map(|alike| alike.files).collect::<Vec<_>>(), [3_334, 6_666]);
        let (merged, absent) = merge_schemas(&files).unwrap();
        assert_eq!(merged.fields().len(), 2_002);
        assert_eq!(absent, BTreeMap::from([("x".to_owned(), 6_666), ("y".to_owned(), 3_334)]));
    }
}
