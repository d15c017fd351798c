//! Writes a spine that is not Parquet as Parquet, once: seen only when it is whole.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use backsight_storage::{FileEntry, Location, StorageError, Stores};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::buffered::BufWriter;
use parquet::arrow::AsyncArrowWriter;
use parquet::errors::ParquetError;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::StageSite;
use super::columns::{KeyTypes, merge};
use super::format::SpineFormat;
use super::read::SpineFile;
use crate::encoding::writer_properties;
use crate::error::{FileContradiction, RetrievalError};

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

/// Stages files that are not Parquet, unless they are; returns where.
pub(crate) async fn ensure_files(
    stores: &Stores,
    site: StageSite<'_>,
    files: &[FileEntry],
    format: SpineFormat,
    keys: &KeyTypes,
) -> Result<Location, RetrievalError> {
    let target = place(site.folder, site.tag, &format!("{} {keys:?}", format.name()), files);
    if stores.head(&target).await?.is_none() {
        stage_files(stores, files, format, keys, &target, site.bytes_max).await?;
    }
    Ok(target)
}

/// Writes the rows of `files` to `target`, in the order of files and rows.
///
/// # Errors
/// Files that cannot be read as what their names say, or whose columns cannot be one; storage faults; more than `bytes_max`.
pub(crate) async fn stage_files(
    stores: &Stores,
    files: &[FileEntry],
    format: SpineFormat,
    keys: &KeyTypes,
    target: &Location,
    bytes_max: Option<u64>,
) -> Result<(), RetrievalError> {
    let (sender, mut receiver) = mpsc::channel::<Result<RecordBatch, RetrievalError>>(BATCHES_AHEAD);
    let (for_thread, keys) = (stores.clone(), keys.clone());
    let files = files.to_vec();
    let handle = tokio::runtime::Handle::current();
    // It ends when the receiver is gone, at the next batch.
    let reading = tokio::task::spawn_blocking(move || {
        let ended = read_all(&for_thread, &files, format, &keys, &handle, |batch| {
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
    let rest = futures::stream::unfold((receiver, Some(reading)), |(mut receiver, reading)| async move {
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
    if !hand_on(RecordBatch::new_empty(SchemaRef::clone(&schema))) {
        return Ok(());
    }
    for (entry, own) in files.iter().zip(&own) {
        let file = open(entry);
        let mut batches = file.guarded(|| file.rows(handle, own, &schema))?;
        let mut next = || file.guarded(|| batches.next().transpose().map_err(|error| file.failure(&error)));
        while let Some(batch) = next()? {
            if !hand_on(batch) {
                return Ok(());
            }
        }
    }
    Ok(())
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
    let properties = writer_properties(&first);
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
