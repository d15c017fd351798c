//! Rows on disk, in buckets: one file holds all buckets of an input as segments, each an Arrow IPC message.
//!
//! Rows wait in memory until there are enough of them, then each bucket's share goes to the file as one segment. The file is
//! the disk manager's: its folder and its limit apply, and it is removed when the last owner drops it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::spill_file::{SpillFile, SpillWriter};
use datafusion::physical_plan::metrics::SpillMetrics;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use futures::stream::{BoxStream, StreamExt};

/// Seeds the hash of the first level; exchanges use others, so their partitions are spread over all buckets.
const SEED: u64 = 0x6261_636b_7369_6768;
/// Rows of a segment, so that what is read back comes in small batches; fewer where they are wide.
const SEGMENT_ROWS_MAX: usize = 8_192;
/// Bytes that a segment is meant to have in memory.
const SEGMENT_BYTES: usize = 1 << 20;
/// Columns of fewer bytes are written as they are: a frame of compression costs more than it saves.
const COMPRESSED_BYTES_MIN: usize = 4 << 10;
/// Bytes of a row's place while rows are dealt.
const PLACE_BYTES: usize = size_of::<(usize, usize)>();
/// Alignment of buffers in a segment.
const ALIGNMENT: usize = 64;

/// How rows are dealt to buckets.
#[derive(Debug, Clone)]
pub(crate) struct Deal {
    /// Positions of the keys.
    pub(crate) keys: Vec<usize>,
    /// Buckets.
    pub(crate) buckets: usize,
    /// How often the rows were dealt before: each time by another hash.
    pub(crate) level: u32,
}

impl Deal {
    /// The bucket of each row of a batch.
    fn buckets_of(&self, batch: &RecordBatch) -> Result<Vec<usize>> {
        if self.keys.is_empty() || self.buckets <= 1 {
            return Ok(vec![0; batch.num_rows()]);
        }
        let keys: Vec<ArrayRef> = self.keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        let state = RandomState::with_seed(SEED.wrapping_add(u64::from(self.level)));
        let mut hashes = vec![0_u64; batch.num_rows()];
        create_hashes(&keys, &state, &mut hashes)?;
        let bucket = |hash: u64| (u128::from(mixed(hash)) * self.buckets as u128) >> 64;
        Ok(hashes.into_iter().map(|hash| usize::try_from(bucket(hash)).unwrap_or(0)).collect())
    }
}

/// Spreads a hash over all bits (the finaliser of `SplitMix64`): the bucket is taken from the highest.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// Where a segment is.
#[derive(Debug, Clone, Copy)]
struct Segment {
    offset: u64,
    bytes: usize,
    rows: usize,
}

/// What a bucket holds.
#[derive(Debug, Clone, Default)]
struct Contents {
    segments: Vec<Segment>,
    rows: usize,
    /// Bytes of its rows in memory.
    bytes: usize,
}

/// An open spill file.
struct Open {
    file: Arc<dyn SpillFile>,
    writer: Box<dyn SpillWriter>,
    offset: u64,
}

/// Takes rows and puts them into buckets on disk.
pub(crate) struct BucketWriter {
    what: String,
    schema: SchemaRef,
    deal: Deal,
    runtime: Arc<RuntimeEnv>,
    metrics: SpillMetrics,
    waiting: Vec<RecordBatch>,
    /// Of the rows that wait.
    memory: MemoryReservation,
    bytes_max: usize,
    /// The schema as every segment has it in front, and the file does not.
    header: Vec<u8>,
    open: Option<Open>,
    contents: Vec<Contents>,
}

impl BucketWriter {
    /// Rows of `schema` by `deal`; `what` names them in errors. Up to `bytes_max` wait in memory, accounted in `memory`.
    pub(crate) fn new(
        what: &str,
        schema: SchemaRef,
        deal: Deal,
        runtime: Arc<RuntimeEnv>,
        memory: MemoryReservation,
        bytes_max: usize,
        metrics: SpillMetrics,
    ) -> Result<Self> {
        let header =
            StreamWriter::try_new_with_options(Vec::new(), &schema, options(None)?)?.get_ref().clone();
        let contents = vec![Contents::default(); deal.buckets.max(1)];
        let waiting = Vec::new();
        let what = what.to_owned();
        Ok(Self {
            what,
            schema,
            deal,
            runtime,
            metrics,
            waiting,
            memory,
            bytes_max,
            header,
            open: None,
            contents,
        })
    }

    /// Takes a batch.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let bytes = get_record_batch_memory_size(&batch) + batch.num_rows() * PLACE_BYTES;
        // The declared schema, for a batch may say less of nulls than its input does.
        self.waiting.push(RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?);
        // Without room to wait rows are written at once.
        let has_room = self.memory.try_grow(bytes).is_ok();
        if !has_room || self.memory.size() >= self.bytes_max {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what waits.
    fn flush(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.waiting);
        let (rows, bytes) = batches.iter().fold((0, 0), |(rows, bytes), batch| {
            (rows + batch.num_rows(), bytes + get_record_batch_memory_size(batch))
        });
        let row_bytes = (bytes / rows.max(1)).max(1);
        let segment_rows = (SEGMENT_BYTES / row_bytes).clamp(1, SEGMENT_ROWS_MAX);
        let mut places: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.contents.len()];
        for (number, batch) in batches.iter().enumerate() {
            for (row, bucket) in self.deal.buckets_of(batch)?.into_iter().enumerate() {
                places[bucket].push((number, row));
            }
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        for (bucket, places) in places.iter().enumerate() {
            for places in places.chunks(segment_rows) {
                self.write(bucket, &interleave_record_batch(&batches, places)?)?;
            }
        }
        self.memory.free();
        Ok(())
    }

    fn write(&mut self, bucket: usize, rows: &RecordBatch) -> Result<()> {
        let column_bytes = get_record_batch_memory_size(rows) / self.schema.fields().len().max(1);
        let compression = (column_bytes >= COMPRESSED_BYTES_MIN).then_some(CompressionType::LZ4_FRAME);
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &self.schema, options(compression)?)?;
        writer.write(rows)?;
        writer.flush()?;
        let Some(segment) = writer.get_ref().strip_prefix(self.header.as_slice()) else {
            return Err(DataFusionError::Internal("a segment does not begin with its schema".into()));
        };
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let file = self.runtime.disk_manager.create_tmp_file(&self.what)?;
                let writer = file.open_writer()?;
                self.metrics.spill_file_count.add(1);
                none.insert(Open { file, writer, offset: 0 })
            }
        };
        let limit = self.runtime.disk_manager.max_temp_directory_size();
        open.writer.write_all(segment).map_err(|error| no_room(&self.what, &error, limit))?;
        let contents = &mut self.contents[bucket];
        contents.segments.push(Segment { offset: open.offset, bytes: segment.len(), rows: rows.num_rows() });
        contents.rows += rows.num_rows();
        contents.bytes += get_record_batch_memory_size(rows);
        open.offset += segment.len() as u64;
        self.metrics.spilled_bytes.add(segment.len());
        self.metrics.spilled_rows.add(rows.num_rows());
        Ok(())
    }

    /// Writes the rest.
    pub(crate) fn finish(mut self) -> Result<Arc<BucketFile>> {
        self.flush()?;
        let limit = self.runtime.disk_manager.max_temp_directory_size();
        let file = match self.open.take() {
            None => None,
            Some(mut open) => {
                open.writer.flush().map_err(|error| no_room(&self.what, &error, limit))?;
                open.writer.finish()?;
                Some(open.file)
            }
        };
        let contents = std::mem::take(&mut self.contents);
        Ok(Arc::new(BucketFile { file, header: std::mem::take(&mut self.header), contents }))
    }
}

/// Rows that were written, by bucket.
pub(crate) struct BucketFile {
    file: Option<Arc<dyn SpillFile>>,
    header: Vec<u8>,
    contents: Vec<Contents>,
}

/// One bucket of a file.
#[derive(Clone)]
pub(crate) struct Bucket {
    file: Arc<BucketFile>,
    number: usize,
}

impl BucketFile {
    /// The buckets, the first one first.
    pub(crate) fn buckets(self: &Arc<Self>) -> impl Iterator<Item = Bucket> {
        (0..self.contents.len()).map(|number| Bucket { file: Arc::clone(self), number })
    }
}

impl Bucket {
    fn contents(&self) -> &Contents {
        &self.file.contents[self.number]
    }

    /// Rows in it.
    pub(crate) fn rows(&self) -> usize {
        self.contents().rows
    }

    /// Bytes of its rows in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.contents().bytes
    }

    /// Its rows, in the order in which they were written.
    pub(crate) fn read(&self) -> BoxStream<'static, Result<RecordBatch>> {
        self.read_from(0)
    }

    /// The same without the first `skipped`.
    pub(crate) fn read_from(&self, mut skipped: usize) -> BoxStream<'static, Result<RecordBatch>> {
        let mut first = 0;
        for segment in &self.contents().segments {
            if skipped < segment.rows {
                break;
            }
            skipped -= segment.rows;
            first += 1;
        }
        let state = (self.clone(), first, skipped, None::<File>);
        futures::stream::try_unfold(state, |(bucket, next, skipped, mut file)| async move {
            let Some(&segment) = bucket.contents().segments.get(next) else { return Ok(None) };
            // Reading never waits, so who cancels this would not be heard.
            tokio::task::yield_now().await;
            let batch = bucket.file.segment(segment, &mut file)?;
            let batch = batch.slice(skipped, batch.num_rows() - skipped);
            Ok(Some((batch, (bucket, next + 1, 0, file))))
        })
        .boxed()
    }
}

impl BucketFile {
    fn segment(&self, segment: Segment, open: &mut Option<File>) -> Result<RecordBatch> {
        let file = match open {
            Some(file) => file,
            none => {
                let Some(path) = self.file.as_ref().and_then(|file| file.path()) else {
                    return Err(DataFusionError::Internal("a spill file has no path".into()));
                };
                none.insert(File::open(path)?)
            }
        };
        file.seek(SeekFrom::Start(segment.offset))?;
        let mut bytes = vec![0; segment.bytes];
        file.read_exact(&mut bytes)?;
        let mut decoder = StreamDecoder::new();
        let mut header = Buffer::from(self.header.as_slice());
        decoder.decode(&mut header)?;
        let mut bytes = Buffer::from_vec(bytes);
        match decoder.decode(&mut bytes)? {
            Some(batch) if batch.num_rows() == segment.rows => Ok(batch),
            _ => Err(DataFusionError::Internal("a segment of a spill file does not hold its rows".into())),
        }
    }
}

fn options(compression: Option<CompressionType>) -> Result<IpcWriteOptions> {
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, arrow::ipc::MetadataVersion::V5)?;
    Ok(options.try_with_compression(compression)?)
}

/// What kept rows from being written: the limit of the disk manager, a full disk, or anything else.
fn no_room(what: &str, error: &io::Error, limit: u64) -> DataFusionError {
    let is_limit = error.to_string().contains("max_temp_directory_size");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<DataFusionError>());
    let kind = match inner.map(DataFusionError::find_root) {
        _ if is_limit => ErrorKind::QuotaExceeded,
        Some(DataFusionError::IoError(cause)) => cause.kind(),
        _ => error.kind(),
    };
    let message = if is_limit {
        format!("{what} takes more than the {limit} bytes that may be spilled")
    } else {
        format!("{what} cannot be spilled: {error}")
    };
    DataFusionError::ArrowError(
        Box::new(ArrowError::IoError(message.clone(), io::Error::new(kind, message))),
        None,
    )
}
