//! A table of Parquet files as found: listed, footers read, one schema over all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use backsight_registry::model::FeatureView;
use backsight_storage::{FileEntry, Location, Stores};
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::ParquetMetaData;

use crate::days::{TimeReach, promised_column};
use crate::delta_table::{is_delta, open_delta};
use crate::error::RetrievalError;
use crate::hive::{DeclaredColumns, declared_columns, hive_columns};
use crate::merge_schemas::merge_schemas;
use crate::object_reader::{ObjectReader, decoded};
use crate::source_files::{Found, SourceFiles};

/// Footers read at the same time: enough to hide latency, few enough for one connection pool.
const FOOTERS_AT_ONCE: usize = 32;

/// Streams of a remote table that a thread has open.
const REMOTE_STREAMS: usize = 3;

/// How many streams of a table a thread that reads one after the other should have open: over a network one decodes while the
/// bytes of others are on their way; from a disk that costs more than it saves.
pub(crate) fn streams_at_once(table: &Location) -> usize {
    if table.is_local() { 1 } else { REMOTE_STREAMS }
}

/// One file of a table.
#[derive(Debug, Clone)]
pub struct ParquetFile {
    /// Where it is, its size and version.
    pub entry: FileEntry,
    /// Its footer.
    pub metadata: Arc<ParquetMetaData>,
    /// Its own columns.
    pub schema: SchemaRef,
    /// The value of each of the table's hive columns, as arrays of one value.
    pub(crate) constants: Vec<ArrayRef>,
}

impl ParquetFile {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata.file_metadata().num_rows()).unwrap_or(0)
    }
}

/// Parquet files that are read as one table.
#[derive(Debug, Clone)]
pub struct ParquetTable {
    /// What messages call it: `spine` or `source … of feature view …`.
    pub role: String,
    /// Where its files are.
    pub location: Location,
    /// What messages name: where it is, or what it was made from.
    pub shown: String,
    /// In path order.
    pub files: Vec<ParquetFile>,
    /// Every column of any file, in order of first sight, in a type that holds all files' values; then the hive columns.
    pub schema: SchemaRef,
    /// How many of the last columns are folders' names instead of columns of files.
    pub(crate) hive: usize,
    /// Columns that some files lack (they are null there), with the number of those files.
    pub absent: BTreeMap<String, usize>,
    /// How many days or files were passed over, in words.
    pub(crate) skipped: Option<String>,
    /// The version of a Delta table that was read.
    pub(crate) version: Option<u64>,
}

impl ParquetTable {
    /// Lists `location` (file, folder or glob) and reads the footers.
    ///
    /// # Errors
    /// Nothing there, storage faults, a file that is not Parquet, files whose columns do not widen losslessly.
    pub async fn open(stores: &Stores, location: &Location, role: &str) -> Result<Self, RetrievalError> {
        let files = SourceFiles::new(stores);
        let entries = files.expand(location).await?;
        Self::of_files(&files, location, &entries, role).await
    }

    /// Opens the source of a feature view: folders such as `day=2026-01-31` are columns, too, and a Delta table is what its
    /// log says. With a `reach`, files of days out of it are passed over where the source promises what its days mean.
    ///
    /// # Errors
    /// As [`Self::open`], and folders whose values are not what the view declares.
    pub(crate) async fn open_source(
        files: &SourceFiles,
        location: &Location,
        view: &FeatureView,
        reach: Option<TimeReach>,
        role: &str,
    ) -> Result<Self, RetrievalError> {
        if is_delta(view) {
            return open_delta(files, location, view, reach, role).await;
        }
        let found = match promised_column(view).zip(reach) {
            Some((column, reach)) => files.within(location, &column, &reach).await?,
            None => Found { files: files.expand(location).await?.to_vec(), skipped: None },
        };
        let table = Self::of_files(files, location, &found.files, role).await?;
        let table = table.with_hive_columns(&declared_columns(view))?;
        Ok(Self { skipped: found.skipped.map(|skipped| skipped.to_string()), ..table })
    }

    /// The same with the columns that its folders are.
    ///
    /// # Errors
    /// Folders whose values are not what is declared.
    pub(crate) fn with_hive_columns(mut self, declared: &DeclaredColumns) -> Result<Self, RetrievalError> {
        let files: Vec<Location> = self.files.iter().map(|file| file.entry.location.clone()).collect();
        let own: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let found = hive_columns(&self.location, &files, &own, declared)?;
        for (file, values) in self.files.iter_mut().zip(found.values) {
            file.constants = values;
        }
        self.hive = found.fields.len();
        let fields = self.schema.fields().iter().cloned().chain(found.fields.into_iter().map(Arc::new));
        self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(self)
    }

    /// The columns that come from inside of files.
    pub(crate) fn file_schema(&self) -> SchemaRef {
        let own = self.schema.fields().len() - self.hive;
        Arc::new(Schema::new(self.schema.fields()[..own].to_vec()))
    }

    /// The columns that come from folders.
    pub(crate) fn hive_fields(&self) -> &[FieldRef] {
        &self.schema.fields()[self.schema.fields().len() - self.hive..]
    }

    /// The one value that a column has in a file, if its folders say it.
    pub(crate) fn constant<'a>(&self, file: &'a ParquetFile, column: &str) -> Option<&'a ArrayRef> {
        let place = self.hive_fields().iter().position(|field| field.name() == column)?;
        file.constants.get(place)
    }

    /// Reads the footers of files that were listed.
    pub(crate) async fn of_files(
        files: &SourceFiles,
        location: &Location,
        entries: &[FileEntry],
        role: &str,
    ) -> Result<Self, RetrievalError> {
        let files: Vec<_> = entries.iter().map(|entry| files.footer(entry.clone(), role).boxed()).collect();
        let files: Vec<ParquetFile> = stream::iter(files).buffered(FOOTERS_AT_ONCE).try_collect().await?;
        let (schema, absent) = merge_schemas(&files)?;
        Ok(Self {
            role: role.to_owned(),
            location: location.clone(),
            shown: location.to_string(),
            files,
            schema,
            hive: 0,
            absent,
            skipped: None,
            version: None,
        })
    }

    /// Number of rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(ParquetFile::rows).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.entry.size).sum()
    }

    /// The column's field, or an error that says what it is needed for.
    pub(crate) fn column(&self, name: &str, needed_for: &str) -> Result<&Field, RetrievalError> {
        self.schema.field_with_name(name).map_err(|_| {
            let known: Vec<String> = self.schema.fields().iter().map(|field| field.name().clone()).collect();
            RetrievalError::MissingColumn {
                role: format!("{} `{}`", self.role, self.shown),
                column: name.to_owned(),
                hint: format!(
                    "needed for {needed_for}; {}",
                    crate::resolve::did_you_mean(name, &known, "columns")
                ),
            }
        })
    }
}

/// One file's footer.
pub(crate) async fn read_footer(
    stores: &Stores,
    entry: FileEntry,
    role: &str,
) -> Result<ParquetFile, RetrievalError> {
    let store = stores.open(&entry.location)?;
    let mut reader = ObjectReader::new(store, entry.location.path(), entry.size);
    let options = ArrowReaderOptions::new();
    match decoded(ArrowReaderMetadata::load_async(&mut reader, options)).await {
        Ok(metadata) => match contradiction(metadata.metadata(), entry.size) {
            None => Ok(ParquetFile {
                schema: Arc::clone(metadata.schema()),
                metadata: Arc::clone(metadata.metadata()),
                constants: Vec::new(),
                entry,
            }),
            Some((row_group, detail)) => Err(RetrievalError::Corrupt {
                role: role.to_owned(),
                file: Box::new(entry.location),
                row_group,
                detail,
            }),
        },
        Err(error) => Err(footer_error(stores, entry, role, error).await),
    }
}

/// What in a footer cannot be, and in which row group: decoders take it at its word, and so do we.
fn contradiction(metadata: &ParquetMetaData, file_bytes: u64) -> Option<(Option<usize>, String)> {
    let mut rows = 0_i64;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        if group.num_rows() < 0 {
            return Some((Some(number), format!("the footer counts {} rows", group.num_rows())));
        }
        rows = rows.saturating_add(group.num_rows());
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let length = column.compressed_size();
            let end = u64::try_from(start).ok().zip(u64::try_from(length).ok());
            let end = end.and_then(|(start, length)| start.checked_add(length));
            if end.is_none_or(|end| end > file_bytes) {
                let name = column.column_path().string();
                let detail = format!("the footer puts column `{name}` at byte {start}, {length} bytes long");
                return Some((Some(number), detail));
            }
        }
    }
    let counted = metadata.file_metadata().num_rows();
    (counted != rows).then(|| (None, format!("the footer counts {counted} rows, its row groups {rows}")))
}

/// A footer that cannot be read: storage's fault when the file is gone or refused, else the file's.
async fn footer_error(
    stores: &Stores,
    entry: FileEntry,
    role: &str,
    error: parquet::errors::ParquetError,
) -> RetrievalError {
    if let parquet::errors::ParquetError::External(cause) = error {
        return match cause.downcast::<object_store::Error>() {
            Ok(cause) => backsight_storage::StorageError::classify(&entry.location, *cause).into(),
            Err(cause) => corrupt(entry, role, cause.to_string()),
        };
    }
    match stores.head(&entry.location).await {
        Err(error) => error.into(),
        Ok(_) => corrupt(entry, role, error.to_string()),
    }
}

fn corrupt(entry: FileEntry, role: &str, detail: String) -> RetrievalError {
    RetrievalError::Corrupt { role: role.to_owned(), file: Box::new(entry.location), row_group: None, detail }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::FileMetaData;

    use super::*;

    #[test]
    fn a_footer_that_contradicts_itself_is_damage() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("id", column)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let footer = writer.close().unwrap();
        let size = bytes.len() as u64;
        assert_eq!(contradiction(&footer, size), None);
        let of_file = footer.file_metadata();
        for counted in [0, 2, 4] {
            let schema = of_file.schema_descr_ptr();
            let of_file = FileMetaData::new(of_file.version(), counted, None, None, schema, None);
            let footer = ParquetMetaData::new(of_file, footer.row_groups().to_vec());
            let detail = format!("the footer counts {counted} rows, its row groups 3");
            assert_eq!(contradiction(&footer, size), Some((None, detail)));
        }
        let (group, detail) = contradiction(&footer, 4).unwrap();
        assert_eq!(group, Some(0));
        assert!(detail.starts_with("the footer puts column `id` at byte 4, "), "{detail}");
    }
}
