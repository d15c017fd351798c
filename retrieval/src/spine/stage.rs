//! Writes a spine that is not Parquet as Parquet, once: seen only when it is whole.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use backsight_storage::{FileEntry, Location, StorageError, Stores};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::future::FutureExt;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use parquet::arrow::{AsyncArrowWriter, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::StageSite;
use super::columns::{KeyTypes, merge};
use super::format::SpineFormat;
use super::read::SpineFile;
use crate::encoding::writer_properties;
use crate::error::{FileContradiction, RetrievalError};
use crate::hive::hive_columns;
use crate::object_reader::ObjectReader;
use crate::parquet_table::{ParquetFile, ParquetTable};

/// Batches that wait to be encoded.
const BATCHES_AHEAD: usize = 4;

/// The place of a staged spine: equal names are equal rows, so one that is there is used again.
pub(crate) fn place(folder: &Location, tag: &str, what: &str, files: &[FileEntry]) -> Location {
    let mut hash = Sha256::new();
    hash.update(format!("backsight staged spine 1\0{what}\n"));
    for file in files {
        let version = file.etag.clone().unwrap_or_else(|| file.modified.to_rfc3339());
        hash.update(format!("{}\0{}\0{version}\n", file.location, file.size));
    }
    let hash: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    folder.join(&format!("spine-staged-{tag}-{hash}.parquet"))
}

/// Stages files that are not Parquet, unless they are; returns where. `base` is what the user named.
pub(crate) async fn ensure_files(
    stores: &Stores,
    site: StageSite<'_>,
    base: &Location,
    files: &[FileEntry],
    format: SpineFormat,
    keys: &KeyTypes,
) -> Result<Location, RetrievalError> {
    let target = place(site.folder, site.tag, &format!("{} {base} {keys:?}", format.name()), files);
    if stores.head(&target).await?.is_none() {
        stage_files(stores, base, files, format, keys, &target, site.bytes_max).await?;
    }
    Ok(target)
}

/// Writes the rows of `files` to `target`, in the order of files and rows, with the columns that folders below `base` are.
///
/// # Errors
/// Files that cannot be read as what their names say, or whose columns cannot be one; storage faults; more than `bytes_max`.
pub(crate) async fn stage_files(
    stores: &Stores,
    base: &Location,
    files: &[FileEntry],
    format: SpineFormat,
    keys: &KeyTypes,
    target: &Location,
    bytes_max: Option<u64>,
) -> Result<(), RetrievalError> {
    let (sender, mut receiver) = mpsc::channel::<Result<RecordBatch, RetrievalError>>(BATCHES_AHEAD);
    let (for_thread, keys) = (stores.clone(), keys.clone());
    let (base, files) = (base.clone(), files.to_vec());
    let handle = tokio::runtime::Handle::current();
    // It ends when the receiver is gone, at the next batch.
    let reading = tokio::task::spawn_blocking(move || {
        let ended = read_all(&for_thread, &base, &files, format, &keys, &handle, |batch| {
            sender.blocking_send(Ok(batch)).is_ok()
        });
        if let Err(error) = ended {
            // Nobody waits for it where this fails.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let first = receiver.recv().await;
    let Some(first) = first else {
        let ended = reading.await.err().map(|error| error.to_string()).unwrap_or_default();
        return Err(RetrievalError::Bug { message: format!("a spine's files gave no rows: {ended}") });
    };
    // The end of the batches is the end of the rows only if the thread says so: one that was lost has rows left.
    let rest = stream::unfold((receiver, Some(reading)), |(mut receiver, reading)| async move {
        if let Some(batch) = receiver.recv().await {
            return Some((batch, (receiver, reading)));
        }
        let lost = reading?.await.err()?;
        let lost = RetrievalError::Bug { message: format!("the reader of a spine was lost: {lost}") };
        Some((Err(lost), (receiver, None)))
    });
    write(stores, first?, rest.boxed(), target, bytes_max).await
}

/// Hands on every batch, first an empty one that has the columns; stops when nobody takes them.
fn read_all(
    stores: &Stores,
    base: &Location,
    files: &[FileEntry],
    format: SpineFormat,
    keys: &KeyTypes,
    handle: &tokio::runtime::Handle,
    mut hand_on: impl FnMut(RecordBatch) -> bool,
) -> Result<(), RetrievalError> {
    let open = |entry| SpineFile { stores, entry, format };
    let columns = |entry| {
        let file = open(entry);
        file.guarded(|| file.columns(handle))
    };
    let own = files.iter().map(columns).collect::<Result<Vec<_>, _>>()?;
    let schema = merge(&own, keys, format != SpineFormat::ArrowIpc).map_err(|(file, found)| {
        let [first, second] = found.types.map(|data_type| data_type.to_string());
        RetrievalError::FilesDisagree(Box::new(FileContradiction {
            column: found.column,
            first,
            first_file: files[found.file].location.clone(),
            second,
            second_file: files[file].location.clone(),
        }))
    })?;
    let places: Vec<Location> = files.iter().map(|file| file.location.clone()).collect();
    let own_names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let folders = hive_columns(base, &places, &own_names, keys)?;
    let whole = with_fields(&schema, &folders.fields);
    if !hand_on(RecordBatch::new_empty(SchemaRef::clone(&whole))) {
        return Ok(());
    }
    for ((entry, own), values) in files.iter().zip(&own).zip(&folders.values) {
        let file = open(entry);
        let mut batches = file.guarded(|| file.rows(handle, own, &schema))?;
        let mut next = || file.guarded(|| batches.next().transpose().map_err(|error| file.failure(&error)));
        while let Some(batch) = next()? {
            let batch = with_constants(&batch, values, &whole).map_err(|error| file.failure(&error))?;
            if !hand_on(batch) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn with_fields(schema: &Schema, more: &[Field]) -> SchemaRef {
    let more = more.iter().cloned().map(Arc::new);
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// A batch with more columns of one value each.
fn with_constants(
    batch: &RecordBatch,
    values: &[ArrayRef],
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let first = UInt64Array::from(vec![0; batch.num_rows()]);
    let mut columns = batch.columns().to_vec();
    for value in values {
        columns.push(take(value, &first, None)?);
    }
    RecordBatch::try_new(SchemaRef::clone(schema), columns)
}

/// Writes the rows of Parquet files with the columns of their folders inside: for somebody who is sent the rows alone.
///
/// # Errors
/// Files that cannot be read; storage faults.
pub(crate) async fn stage_table(
    stores: &Stores,
    table: &ParquetTable,
    target: &Location,
) -> Result<(), RetrievalError> {
    let own = table.file_schema();
    let files = stream::iter(table.files.iter().map(|file| read_file(stores, table, file, &own).boxed()));
    let rows = files.buffered(1).try_flatten();
    write(stores, RecordBatch::new_empty(SchemaRef::clone(&table.schema)), rows.boxed(), target, None).await
}

/// The rows of one file of a table, in the table's columns.
async fn read_file<'a>(
    stores: &Stores,
    table: &'a ParquetTable,
    file: &'a ParquetFile,
    own: &'a SchemaRef,
) -> Result<BoxStream<'a, Result<RecordBatch, RetrievalError>>, RetrievalError> {
    let corrupt = |detail: String| RetrievalError::Corrupt {
        role: table.role.clone(),
        file: Box::new(file.entry.location.clone()),
        row_group: None,
        detail,
    };
    let store = stores.open(&file.entry.location)?;
    let reader = ObjectReader::new(store, file.entry.location.path(), file.entry.size);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|e| corrupt(e.to_string()))?;
    let batches = builder.build().map_err(|e| corrupt(e.to_string()))?;
    let rows = batches.map(move |batch| {
        let batch = batch.map_err(|e| corrupt(e.to_string()))?;
        let columns = own.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|e| corrupt(e.to_string()))?;
        let batch =
            RecordBatch::try_new(SchemaRef::clone(own), columns).map_err(|e| corrupt(e.to_string()))?;
        with_constants(&batch, &file.constants, &table.schema).map_err(|e| corrupt(e.to_string()))
    });
    Ok(rows.boxed())
}

/// Writes the rows of a stream of the query engine to `target`.
///
/// # Errors
/// What happens while the rows are made; storage faults; more than `bytes_max`.
pub(crate) async fn stage_stream(
    stores: &Stores,
    rows: SendableRecordBatchStream,
    target: &Location,
    bytes_max: Option<u64>,
) -> Result<(), RetrievalError> {
    let empty = RecordBatch::new_empty(rows.schema());
    let rows = rows.map(|batch| batch.map_err(RetrievalError::from_engine));
    write(stores, empty, rows.boxed(), target, bytes_max).await
}

/// Writes `rest` as Parquet; `empty` has its columns.
async fn write(
    stores: &Stores,
    empty: RecordBatch,
    rest: BoxStream<'_, Result<RecordBatch, RetrievalError>>,
    target: &Location,
    bytes_max: Option<u64>,
) -> Result<(), RetrievalError> {
    // A spine without rows is asked for its end twice.
    let mut rest = rest.fuse();
    // How columns are encoded is seen in rows.
    let first = rest.next().await.transpose()?.unwrap_or(empty);
    let store = stores.open(target)?;
    let sink = BufWriter::new(store, target.path());
    let failed = |error: ParquetError| of_writer(error, target);
    let properties = writer_properties(&first, None);
    let mut writer = AsyncArrowWriter::try_new(sink, first.schema(), Some(properties)).map_err(failed)?;
    let mut result = writer.write(&first).await.map_err(failed);
    while result.is_ok() {
        if let Some(bytes_max) = bytes_max
            && (writer.bytes_written() + writer.in_progress_size()) as u64 > bytes_max
        {
            result = Err(RetrievalError::SpineTooLarge { bytes_max });
            break;
        }
        result = match rest.next().await {
            None => break,
            Some(Ok(batch)) => writer.write(&batch).await.map_err(failed),
            Some(Err(error)) => Err(error),
        };
    }
    match result {
        Ok(()) => writer.close().await.map(|_| ()).map_err(failed),
        Err(error) => {
            // The first failure is what matters; an upload that was not begun cannot be aborted.
            let mut sink = writer.into_inner();
            let _ = sink.abort().await;
            Err(error)
        }
    }
}

/// Storage's fault, or columns that Parquet cannot hold.
fn of_writer(error: ParquetError, target: &Location) -> RetrievalError {
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(cause) => StorageError::classify_io(target, &cause).into(),
            Err(cause) => RetrievalError::Bug { message: format!("a spine cannot be staged: {cause}") },
        },
        other => RetrievalError::Usage {
            message: format!("the spine has a column that Parquet cannot hold: {other}"),
            hint: Some("leave it out, or write it with another type".to_owned()),
        },
    }
}
