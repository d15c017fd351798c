//! Puts the files of a local spine together as one Parquet file: row groups are copied as they are, nothing is decoded.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use backsight_proto::ErrorCode;
use backsight_retrieval::RetrievalError;
use backsight_storage::Location;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use crate::errors::Failure;

/// Writes the row groups of `files`, in order, to `into`. Reads the footers of all files first.
///
/// # Errors
/// Files that are no Parquet, whose columns differ, or that cannot be read; a disk that cannot hold the result.
pub(crate) fn join(files: &[PathBuf], into: File) -> Result<(), Failure> {
    let parts = files.iter().map(|path| Part::open(path)).collect::<Result<Vec<_>, _>>()?;
    let Some((first, others)) = parts.split_first() else {
        return Err(Failure::bug("a spine of no files was to be put together"));
    };
    for other in others {
        first.check_same_columns(other)?;
    }
    let failed = |error: ParquetError| written(error, || Failure::bug("the spine cannot be put together"));
    let root = first.footer.parquet_schema().root_schema_ptr();
    // The first file's own metadata holds the Arrow schema that it was written with.
    let notes = first.footer.metadata().file_metadata().key_value_metadata().cloned();
    let properties = WriterProperties::builder().set_key_value_metadata(notes).build();
    let mut writer = SerializedFileWriter::new(into, root, properties.into()).map_err(failed)?;
    for part in &parts {
        for (number, group) in part.footer.metadata().row_groups().iter().enumerate() {
            let mut copy = writer.next_row_group().map_err(failed)?;
            for column in group.columns() {
                let column_close = ColumnCloseResult {
                    bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
                    rows_written: u64::try_from(group.num_rows()).unwrap_or(0),
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                copy.append_column(&part.file, column_close).map_err(|error| {
                    let detail = error.to_string();
                    written(error, || corrupt(part.path, Some(number), detail))
                })?;
            }
            copy.close().map_err(failed)?;
        }
    }
    writer.close().map_err(failed)?;
    Ok(())
}

/// A failure to write the copy, or else what `otherwise` makes of it.
fn written(error: ParquetError, otherwise: impl FnOnce() -> Failure) -> Failure {
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(error) => Failure::io("write a copy of the spine", &error),
            Err(_) => otherwise(),
        },
        _ => otherwise(),
    }
}

fn corrupt(path: &Path, row_group: Option<usize>, detail: String) -> Failure {
    match Location::local(path) {
        Ok(file) => {
            RetrievalError::Corrupt { role: "spine".to_owned(), file: Box::new(file), row_group, detail }
                .into()
        }
        Err(error) => error.into(),
    }
}

struct Part<'a> {
    path: &'a Path,
    file: File,
    footer: ArrowReaderMetadata,
}

impl<'a> Part<'a> {
    fn open(path: &'a Path) -> Result<Self, Failure> {
        let unreadable = |error| Failure::io(&format!("read the spine `{}`", path.display()), &error);
        let file = File::open(path).map_err(unreadable)?;
        let footer = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|error| corrupt(path, None, error.to_string()))?;
        Ok(Self { path, file, footer })
    }

    fn check_same_columns(&self, other: &Self) -> Result<(), Failure> {
        let is_same = self.footer.parquet_schema().root_schema()
            == other.footer.parquet_schema().root_schema()
            && fields(self.footer.schema()) == fields(other.footer.schema());
        if is_same {
            return Ok(());
        }
        let message = format!(
            "the files of a spine that is sent to a scheduler need the same columns in the same order: `{}` has {}; `{}` has {}",
            self.path.display(),
            shown(self.footer.schema()),
            other.path.display(),
            shown(other.footer.schema())
        );
        Err(Failure::new(ErrorCode::Invalid, message).with_hint(
            "write them with one schema, or put the folder into an object store and name it there",
        ))
    }
}

fn fields(schema: &SchemaRef) -> Vec<(&String, &arrow::datatypes::DataType)> {
    schema.fields().iter().map(|field| (field.name(), field.data_type())).collect()
}

fn shown(schema: &SchemaRef) -> String {
    let columns: Vec<String> =
        schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    columns.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use arrow::compute::concat_batches;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch(keys: &[i64], names: &[Option<&str>]) -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", Arc::new(Int64Array::from(keys.to_vec()))),
            ("name", Arc::new(StringArray::from(names.to_vec()))),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    }

    fn write(path: &Path, batch: &RecordBatch, group_rows: usize) {
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
        let mut writer =
            ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn rows_of_all_files_are_there_in_order_with_their_statistics() {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["a", "b", "c"].iter().map(|name| folder.path().join(name)).collect();
        let batches = [
            batch(&[1, 2, 3], &[Some("x"), None, Some("x")]),
            batch(&[], &[]),
            batch(&[4, 5], &[None, Some("ü")]),
        ];
        for (path, batch) in paths.iter().zip(&batches) {
            write(path, batch, 2);
        }
        let joined = folder.path().join("joined");
        join(&paths, File::create(&joined).unwrap()).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&joined).unwrap()).unwrap();
        let groups: Vec<(i64, Option<i64>)> = reader
            .metadata()
            .row_groups()
            .iter()
            .map(|group| (group.num_rows(), group.column(0).statistics().map(|_| group.num_rows())))
            .collect();
        assert_eq!(groups, [(2, Some(2)), (1, Some(1)), (2, Some(2))]);
        let read: Vec<RecordBatch> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
        let schema = batches[0].schema();
        assert_eq!(concat_batches(&schema, &read).unwrap(), concat_batches(&schema, &batches).unwrap());
    }

    #[test]
    fn files_that_differ_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        write(&one, &batch(&[1], &[None]), 10);
        let narrow = batch(&[1], &[None]).project(&[0]).unwrap();
        write(&other, &narrow, 10);
        let failure = join(&[one.clone(), other.clone()], tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(failure.status(), 3);
        assert!(failure.message().contains("has key Int64, name Utf8; "), "{}", failure.message());
        // A footer whose column chunks are gone.
        let long: Vec<i64> = (0..10_000).collect();
        write(&one, &batch(&long, &vec![None; long.len()]), long.len());
        let whole = std::fs::read(&one).unwrap();
        let (data, ending) = whole.split_at(whole.len() - 8);
        let footer_bytes = u32::from_le_bytes(ending[..4].try_into().unwrap()) as usize;
        std::fs::write(&other, &whole[data.len() - footer_bytes..]).unwrap();
        let failure = join(&[one.clone(), other.clone()], tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(failure.status(), 5, "{}", failure.message());
        assert!(
            failure.message().contains("cannot be read as Parquet (row group 0)"),
            "{}",
            failure.message()
        );
        std::fs::write(&other, "no parquet").unwrap();
        let failure = join(&[one, other.clone()], tempfile::tempfile().unwrap()).unwrap_err();
        assert_eq!(failure.status(), 5);
        let named = format!("spine `{}` cannot be read as Parquet: ", other.display());
        assert!(failure.message().starts_with(&named), "{}", failure.message());
    }
}
