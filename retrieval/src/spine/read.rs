//! Reads a file of spine rows from its beginning to its end, in a thread that may wait.

use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::csv::reader::Format;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::reader::infer_json_schema;
use backsight_storage::{FileEntry, Stores};
use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStoreExt;
use tokio::runtime::Handle;

use super::format::SpineFormat;
use super::ipc::{IpcBatches, IpcForm};
use crate::error::RetrievalError;

/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;
/// Bytes of text that are read ahead.
const BUFFER_BYTES: usize = 256 << 10;
/// What Arrow's file format begins with. After some zeros its streaming format follows, which begins with another byte.
const IPC_FILE_MAGIC: &[u8] = b"ARROW1\0";
/// What some programs put before text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Batches of rows with the columns that were asked for.
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// One file to read.
pub(crate) struct SpineFile<'a> {
    pub(crate) stores: &'a Stores,
    pub(crate) entry: &'a FileEntry,
    pub(crate) format: SpineFormat,
}

impl SpineFile<'_> {
    /// The columns that the file seems to have. Text is read whole.
    pub(crate) fn columns(&self, handle: &Handle) -> Result<SchemaRef, RetrievalError> {
        let reader = self.open(handle)?;
        let found = match self.format {
            SpineFormat::Delimited(delimiter) => {
                csv(delimiter).infer_schema(reader, None).map(|(schema, _)| schema)
            }
            SpineFormat::JsonLines => infer_json_schema(reader, None).map(|(schema, _)| schema),
            SpineFormat::ArrowIpc | SpineFormat::Parquet => {
                self.ipc(reader).map(|batches| batches.schema().as_ref().clone())
            }
        };
        let found = found.map_err(|error| self.failure(&error))?;
        self.check(&found)?;
        Ok(found.into())
    }

    /// The file's rows with the columns of `schema`; one that the file lacks is null.
    pub(crate) fn rows(
        &self,
        handle: &Handle,
        own: &SchemaRef,
        schema: &SchemaRef,
    ) -> Result<Batches, RetrievalError> {
        let reader = self.open(handle)?;
        // The file's own columns in its own order, in the types that hold all files' values.
        let typed = own.fields().iter().map(|field| schema.field_with_name(field.name()).cloned());
        let typed = typed.collect::<Result<Vec<_>, _>>().map_err(|error| self.failure(&error))?;
        let typed = SchemaRef::new(Schema::new(typed));
        let batches: Batches = match self.format {
            SpineFormat::Delimited(delimiter) => {
                let builder = arrow::csv::ReaderBuilder::new(typed).with_format(csv(delimiter));
                let built = builder.with_batch_size(BATCH_ROWS).build_buffered(reader);
                Box::new(built.map_err(|error| self.failure(&error))?)
            }
            SpineFormat::JsonLines => {
                let builder = arrow::json::ReaderBuilder::new(typed).with_batch_size(BATCH_ROWS);
                // A number is taken where a key is declared as a string.
                let built = builder.with_coerce_primitive(true).build(reader);
                Box::new(built.map_err(|error| self.failure(&error))?)
            }
            SpineFormat::ArrowIpc | SpineFormat::Parquet => {
                Box::new(self.ipc(reader).map_err(|error| self.failure(&error))?)
            }
        };
        let schema = SchemaRef::clone(schema);
        Ok(Box::new(batches.map(move |batch| aligned(&batch?, &schema))))
    }

    fn open(&self, handle: &Handle) -> Result<BufReader<StoreReader>, RetrievalError> {
        let store = self.stores.open(&self.entry.location)?;
        let path = self.entry.location.path();
        let got = handle.block_on(store.get(&path));
        let got = got.map_err(|error| {
            RetrievalError::from(backsight_storage::StorageError::classify(&self.entry.location, error))
        })?;
        let stream = got.into_stream();
        let reader = StoreReader { handle: handle.clone(), stream, chunk: Bytes::new() };
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        let begin = reader.fill_buf().map_err(|error| self.failure(&ArrowError::from(error)))?;
        let skipped = match self.format {
            SpineFormat::Delimited(_) | SpineFormat::JsonLines if begin.starts_with(BYTE_ORDER_MARK) => {
                BYTE_ORDER_MARK.len()
            }
            _ => 0,
        };
        reader.consume(skipped);
        Ok(reader)
    }

    /// Reads a file of one of Arrow's formats up to its rows.
    fn ipc(
        &self,
        mut reader: BufReader<StoreReader>,
    ) -> Result<IpcBatches<BufReader<StoreReader>>, ArrowError> {
        let begin = reader.fill_buf()?;
        let (form, skipped) = match begin.strip_prefix(IPC_FILE_MAGIC) {
            Some(rest) => {
                let zeros = rest.iter().take_while(|byte| **byte == 0).count();
                (IpcForm::File, IPC_FILE_MAGIC.len() + zeros)
            }
            None => (IpcForm::Stream, 0),
        };
        reader.consume(skipped);
        IpcBatches::open(reader, self.entry.size.saturating_sub(skipped as u64), form)
    }

    /// Does a part of the reading. The readers of these formats are not ours: one that gives up on what a damaged file
    /// says must not take the process with it, nor end the rows as if they were all.
    pub(crate) fn guarded<T>(
        &self,
        work: impl FnOnce() -> Result<T, RetrievalError>,
    ) -> Result<T, RetrievalError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(self.bad(format!("the reader gave up: {text}")))
        })
    }

    /// Names that a dataset cannot have.
    fn check(&self, schema: &Schema) -> Result<(), RetrievalError> {
        let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        match twice {
            None if names.is_empty() => Err(self.bad("it has no columns".to_owned())),
            None => Ok(()),
            Some(name) => Err(self.bad(format!("two columns are called `{name}`"))),
        }
    }

    /// What an error of a reader means: storage's fault, or the file's.
    pub(crate) fn failure(&self, error: &ArrowError) -> RetrievalError {
        if let ArrowError::IoError(_, cause) = error
            && cause.get_ref().is_some_and(|inner| inner.is::<object_store::Error>())
        {
            return backsight_storage::StorageError::classify_io(&self.entry.location, cause).into();
        }
        let detail = match error {
            // The reader counts from the line after the header here, and calls it a line.
            ArrowError::ParseError(detail) if matches!(self.format, SpineFormat::Delimited(_)) => {
                detail.replace(" at line ", " of data row ")
            }
            ArrowError::CsvError(detail)
            | ArrowError::JsonError(detail)
            | ArrowError::ParseError(detail)
            | ArrowError::IpcError(detail) => detail.clone(),
            other => other.to_string(),
        };
        self.bad(detail)
    }

    fn bad(&self, detail: String) -> RetrievalError {
        let hint = match self.format {
            SpineFormat::Delimited(_) => {
                "the first line names the columns, every line has a value for each of them"
            }
            SpineFormat::JsonLines => {
                "each line holds one object, as `{\"driver_id\": 1, \"event_timestamp\": \"2026-01-31T12:00:00Z\"}`"
            }
            SpineFormat::ArrowIpc | SpineFormat::Parquet => "write the file again",
        };
        RetrievalError::BadSpine {
            file: self.entry.location.to_string(),
            detail: format!("it cannot be read as {}: {}", self.format.name(), detail.trim_end()),
            hint: hint.to_owned(),
        }
    }
}

fn csv(delimiter: u8) -> Format {
    Format::default().with_header(true).with_delimiter(delimiter)
}

/// The columns of `schema`, by name.
fn aligned(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => ArrayRef::clone(column),
        None => new_null_array(field.data_type(), batch.num_rows()),
    });
    RecordBatch::try_new(SchemaRef::clone(schema), columns.collect())
}

/// An object as bytes in order; reading waits for them.
struct StoreReader {
    handle: Handle,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for StoreReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() {
            match self.handle.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk.map_err(std::io::Error::other)?,
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
