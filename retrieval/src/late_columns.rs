//! Reads columns of known rows of a source: row group by row group, straight from the Parquet files. Where rows are far apart and the
//! file says where its pages are, only pages that hold one of them are read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_empty_array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use backsight_asof::{ColumnPieces, LateColumns};
use backsight_proto::plan::{LateFile, LateSource};
use backsight_storage::Location;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::TaskContext;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::TryStreamExt;
use futures::future::{BoxFuture, FutureExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use prost::Message;
use tokio::sync::OnceCell;

use crate::error::RetrievalError;
use crate::object_reader::ObjectReader;
use crate::page_index::with_offset_index;
use crate::parquet_table::{ParquetFile, ParquetTable, streams_at_once};

/// Rows of one decoded batch.
const BATCH_ROWS: usize = 32_768;

/// Compressed bytes of the columns of a row group that are read in one go.
const COLUMN_BYTES_AT_ONCE: u64 = 16 << 20;

/// Rows that are not wanted between two that are, before a page can lie there that need not be read: writers begin a page every
/// 20,000 rows, or sooner.
const GAP_ROWS: u64 = 10_000;
/// Of a row group, one row in so many must lie in such gaps before it is asked where pages are.
const GAPS_WORTH: u64 = 8;

/// Some columns of the row groups of a source that a retrieval reads.
pub(crate) struct ParquetColumns {
    role: String,
    store_url: String,
    schema: SchemaRef,
    files: Vec<Arc<LateParquet>>,
    /// File and number of each row group.
    groups: Vec<(usize, usize)>,
    /// Ordinals of each row group.
    units: Vec<Range<u64>>,
}

/// A file whose footer is known, or read when it is needed.
struct LateParquet {
    location: Location,
    size: u64,
    metadata: OnceCell<Arc<ParquetMetaData>>,
    /// One row of the columns whose value its folders say.
    constants: Option<RecordBatch>,
}

impl ParquetColumns {
    /// A reader of `columns` in `groups`: file, number and ordinals of each row group, ascending.
    pub(crate) fn try_new(
        table: &ParquetTable,
        groups: Vec<(usize, usize, Range<u64>)>,
        columns: Vec<String>,
    ) -> Result<Self, RetrievalError> {
        let fields = columns
            .iter()
            .map(|name| table.schema.field_with_name(name).cloned())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| RetrievalError::Bug { message: e.to_string() })?;
        let constants = |file: &ParquetFile| {
            let schema = Arc::new(Schema::new(table.hive_fields().to_vec()));
            let row = (table.hive > 0).then(|| RecordBatch::try_new(schema, file.constants.clone()));
            row.transpose().map_err(|e| RetrievalError::Bug { message: e.to_string() })
        };
        let files = table.files.iter().map(|file| {
            let location = file.entry.location.clone();
            let metadata = OnceCell::new_with(Some(Arc::clone(&file.metadata)));
            let constants = constants(file)?;
            Ok(Arc::new(LateParquet { location, size: file.entry.size, metadata, constants }))
        });
        let files = files.collect::<Result<Vec<_>, RetrievalError>>()?;
        let (groups, units) = groups.into_iter().map(|(file, group, rows)| ((file, group), rows)).unzip();
        Ok(Self {
            role: table.role.clone(),
            store_url: table.location.store_url().to_string(),
            schema: Arc::new(Schema::new(fields)),
            files,
            groups,
            units,
        })
    }

    fn to_message(&self) -> Result<LateSource> {
        let mut schema = StreamWriter::try_new(Vec::new(), &self.schema)?;
        schema.finish()?;
        let mut files: Vec<LateFile> = Vec::new();
        let mut last = None;
        for (&(file, group), rows) in self.groups.iter().zip(&self.units) {
            if last.replace(file) != Some(file) {
                let file = &self.files[file];
                let path = file.location.path().to_string();
                let mut constants = Vec::new();
                if let Some(row) = &file.constants {
                    let mut writer = StreamWriter::try_new(&mut constants, &row.schema())?;
                    writer.write(row)?;
                    writer.finish()?;
                }
                files.push(LateFile { path, size: file.size, constants, ..LateFile::default() });
            }
            let Some(file) = files.last_mut() else { continue };
            file.groups.push(group as u64);
            file.starts.push(rows.start);
            file.rows.push(rows.end - rows.start);
        }
        Ok(LateSource {
            role: self.role.clone(),
            store_url: self.store_url.clone(),
            files,
            schema: schema.into_inner()?,
        })
    }

    fn from_message(message: &LateSource) -> Result<Self> {
        let damaged =
            |what: &dyn fmt::Display| DataFusionError::Plan(format!("a source cannot be decoded: {what}"));
        let url = url::Url::parse(&message.store_url).map_err(|e| damaged(&e))?;
        let schema = StreamReader::try_new(message.schema.as_slice(), None)?.schema();
        let (mut files, mut groups, mut units) = (Vec::new(), Vec::new(), Vec::new());
        for (number, file) in message.files.iter().enumerate() {
            if file.groups.len() != file.starts.len() || file.groups.len() != file.rows.len() {
                return Err(damaged(&"row groups, their starts and their rows differ in number"));
            }
            let path = object_store::path::Path::parse(&file.path).map_err(|e| damaged(&e))?;
            let location = Location::from_store(&url, &path).map_err(|e| damaged(&e))?;
            let constants = if file.constants.is_empty() {
                None
            } else {
                StreamReader::try_new(file.constants.as_slice(), None)?.next().transpose()?
            };
            let metadata = OnceCell::new();
            files.push(Arc::new(LateParquet { location, size: file.size, metadata, constants }));
            for ((&group, &start), &rows) in file.groups.iter().zip(&file.starts).zip(&file.rows) {
                groups.push((number, usize::try_from(group).map_err(|e| damaged(&e))?));
                units.push(start..start + rows);
            }
        }
        Ok(Self {
            role: message.role.clone(),
            store_url: message.store_url.clone(),
            schema,
            files,
            groups,
            units,
        })
    }
}

/// Reads a reader of late columns that travelled with a plan.
///
/// # Errors
/// Bytes that are none of ours.
pub fn decode_late(bytes: &[u8]) -> Result<Arc<dyn LateColumns>> {
    let message = LateSource::decode(bytes)
        .map_err(|e| DataFusionError::Plan(format!("a source cannot be decoded: {e}")))?;
    Ok(Arc::new(ParquetColumns::from_message(&message)?))
}

impl fmt::Debug for ParquetColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} columns of {}", self.schema.fields().len(), self.role)
    }
}

impl LateColumns for ParquetColumns {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn units(&self) -> &[Range<u64>] {
        &self.units
    }

    fn units_at_once(&self) -> usize {
        self.files.first().map_or(1, |file| streams_at_once(&file.location))
    }

    fn fetch(
        &self,
        unit: usize,
        runs: Vec<Range<u64>>,
        columns: Vec<usize>,
        context: Arc<TaskContext>,
    ) -> BoxFuture<'static, Result<Vec<ColumnPieces>>> {
        let (file, group) = self.groups[unit];
        let reading = GroupReading {
            role: self.role.clone(),
            store_url: self.store_url.clone(),
            file: Arc::clone(&self.files[file]),
            group,
            rows: self.units[unit].clone(),
            wanted: Schema::new(columns.iter().map(|&c| self.schema.field(c).clone()).collect::<Vec<_>>()),
        };
        async move { reading.run(runs, &context).await }.boxed()
    }

    fn encode(&self) -> Result<Vec<u8>> {
        Ok(self.to_message()?.encode_to_vec())
    }
}

/// One row group that is about to be read.
struct GroupReading {
    role: String,
    store_url: String,
    file: Arc<LateParquet>,
    group: usize,
    /// Its ordinals.
    rows: Range<u64>,
    wanted: Schema,
}

impl GroupReading {
    async fn run(&self, runs: Vec<Range<u64>>, context: &TaskContext) -> Result<Vec<ColumnPieces>> {
        let url = ObjectStoreUrl::parse(&self.store_url)?;
        let store = context.runtime_env().object_store(&url)?;
        let mut reader = ObjectReader::new(store, self.file.location.path(), self.file.size);
        let metadata = self.metadata(&mut reader).await.map_err(|error| self.failure(error))?;
        let (metadata, group) = match self.paged(&mut reader, &metadata, &runs).await {
            Ok(Some(paged)) => (paged, 0),
            Ok(None) => (metadata, self.group),
            Err(error) => return Err(self.failure(error)),
        };
        let mut read: HashMap<String, ColumnPieces> = HashMap::with_capacity(self.wanted.fields().len());
        for columns in self.column_groups(&metadata, group) {
            let reading = self.read(reader.clone(), metadata.clone(), group, columns, &runs);
            for (name, column) in reading.await.map_err(|error| self.failure(error))? {
                read.insert(name, column);
            }
        }
        let rows: usize = runs.iter().map(|run| place(run.end, run)).sum();
        self.wanted
            .fields()
            .iter()
            .map(|field| {
                let Some(pieces) = read.remove(field.name()) else {
                    let constants = self.file.constants.as_ref();
                    return Ok(vec![match constants.and_then(|row| row.column_by_name(field.name())) {
                        Some(value) => ScalarValue::try_from_array(value, 0)?.to_array_of_size(rows)?,
                        // The file lacks the column.
                        None => new_null_array(field.data_type(), rows),
                    }]);
                };
                // The table's type holds every file's values.
                let strict = CastOptions { safe: false, ..CastOptions::default() };
                let cast = |piece: ArrayRef| match piece.data_type() == field.data_type() {
                    true => Ok(piece),
                    false => Ok(cast_with_options(&piece, field.data_type(), &strict)?),
                };
                pieces.into_iter().map(cast).collect()
            })
            .collect()
    }

    /// The wanted columns that the file has, by position, in groups of bounded size: all of a wide file's at once would
    /// fill the memory, and memory that is filled for the first time costs as much as decoding.
    fn column_groups(&self, metadata: &ArrowReaderMetadata, group: usize) -> Vec<Vec<usize>> {
        let mut bytes: BTreeMap<usize, u64> = BTreeMap::new();
        for field in self.wanted.fields() {
            bytes.extend(metadata.schema().index_of(field.name()).ok().map(|root| (root, 0)));
        }
        let group = metadata.metadata().row_group(group);
        for (leaf, column) in group.columns().iter().enumerate() {
            if let Some(bytes) = bytes.get_mut(&metadata.parquet_schema().get_column_root_idx(leaf)) {
                *bytes += u64::try_from(column.compressed_size()).unwrap_or(0);
            }
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut filled = u64::MAX;
        for (root, bytes) in bytes {
            match groups.last_mut() {
                Some(group) if filled.saturating_add(bytes) <= COLUMN_BYTES_AT_ONCE => {
                    group.push(root);
                    filled += bytes;
                }
                _ => {
                    groups.push(vec![root]);
                    filled = bytes;
                }
            }
        }
        groups
    }

    /// Columns of the rows in `runs`, by name.
    async fn read(
        &self,
        reader: ObjectReader,
        metadata: ArrowReaderMetadata,
        group: usize,
        columns: Vec<usize>,
        runs: &[Range<u64>],
    ) -> Result<Vec<(String, ColumnPieces)>, ParquetError> {
        let mask = ProjectionMask::roots(metadata.parquet_schema(), columns);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS);
        if runs != [self.rows.clone()] {
            let local = runs.iter().map(|run| place(run.start, &self.rows)..place(run.end, &self.rows));
            let all = place(self.rows.end, &self.rows);
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(local, all));
        }
        let stream = builder.build()?;
        let schema = Arc::clone(stream.schema());
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        let named = schema.fields().iter().enumerate().map(|(place, field)| {
            let mut pieces: ColumnPieces =
                batches.iter().map(|batch| ArrayRef::clone(batch.column(place))).collect();
            if pieces.is_empty() {
                pieces.push(new_empty_array(field.data_type()));
            }
            (field.name().clone(), pieces)
        });
        Ok(named.collect())
    }

    /// The row group as the only one of its file, with the places of its pages; `None` where they are not known or no page could
    /// be passed over.
    async fn paged(
        &self,
        reader: &mut ObjectReader,
        metadata: &ArrowReaderMetadata,
        runs: &[Range<u64>],
    ) -> Result<Option<ArrowReaderMetadata>, ParquetError> {
        if !has_wide_gaps(runs, &self.rows, GAP_ROWS) {
            return Ok(None);
        }
        let schema = metadata.parquet_schema();
        let wanted: HashSet<&str> = self.wanted.fields().iter().map(|field| field.name().as_str()).collect();
        let is_wanted = |leaf: usize| wanted.contains(schema.get_column_root(leaf).name());
        let size = self.file.size;
        let paged = with_offset_index(reader, size, metadata.metadata(), self.group, is_wanted).await?;
        paged
            .map(|paged| ArrowReaderMetadata::try_new(Arc::new(paged), ArrowReaderOptions::new()))
            .transpose()
    }

    async fn metadata(&self, reader: &mut ObjectReader) -> Result<ArrowReaderMetadata, ParquetError> {
        let footer = self.file.metadata.get_or_try_init(|| async {
            let loaded = ArrowReaderMetadata::load_async(reader, ArrowReaderOptions::new()).await?;
            Ok::<_, ParquetError>(Arc::clone(loaded.metadata()))
        });
        ArrowReaderMetadata::try_new(Arc::clone(footer.await?), ArrowReaderOptions::new())
    }

    /// Storage's faults stay what they are; what is left is the file's.
    fn failure(&self, error: ParquetError) -> DataFusionError {
        if matches!(error, ParquetError::External(_)) {
            return DataFusionError::ParquetError(Box::new(error));
        }
        RetrievalError::Corrupt {
            role: self.role.clone(),
            file: Box::new(self.file.location.clone()),
            row_group: Some(self.group),
            detail: error.to_string(),
        }
        .into()
    }
}

/// Whether enough of `rows` lies in gaps of at least `gap_rows` between the runs.
fn has_wide_gaps(runs: &[Range<u64>], rows: &Range<u64>, gap_rows: u64) -> bool {
    let starts = std::iter::once(rows.start).chain(runs.iter().map(|run| run.end));
    let ends = runs.iter().map(|run| run.start).chain(std::iter::once(rows.end));
    let gaps = starts.zip(ends).map(|(start, end)| end.saturating_sub(start));
    let wide: u64 = gaps.filter(|&gap| gap >= gap_rows).sum();
    wide > 0 && wide.saturating_mul(GAPS_WORTH) >= rows.end - rows.start
}

/// Place of an ordinal in a range of ordinals.
fn place(row: u64, rows: &Range<u64>) -> usize {
    usize::try_from(row.saturating_sub(rows.start)).unwrap_or(usize::MAX)
}
