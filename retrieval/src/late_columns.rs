//! Reads columns of known rows of a source: row group by row group, straight from the Parquet files.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{Schema, SchemaRef};
use backsight_asof::LateColumns;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::TryStreamExt;
use futures::future::{BoxFuture, FutureExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;

use crate::error::RetrievalError;
use crate::object_reader::ObjectReader;
use crate::parquet_table::ParquetTable;

/// Rows of one decoded batch.
const BATCH_ROWS: usize = 32_768;

/// Some columns of the row groups of a source that a retrieval reads.
pub(crate) struct ParquetColumns {
    table: Arc<ParquetTable>,
    schema: SchemaRef,
    /// File and number of each row group.
    groups: Vec<(usize, usize)>,
    /// Ordinals of each row group.
    units: Vec<Range<u64>>,
}

impl ParquetColumns {
    /// A reader of `columns` in `groups`: file, number and ordinals of each row group, ascending.
    pub(crate) fn try_new(
        table: &Arc<ParquetTable>,
        groups: Vec<(usize, usize, Range<u64>)>,
        columns: Vec<String>,
    ) -> Result<Self, RetrievalError> {
        let fields = columns
            .iter()
            .map(|name| table.schema.field_with_name(name).cloned())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| RetrievalError::Bug { message: e.to_string() })?;
        let (groups, units) = groups.into_iter().map(|(file, group, rows)| ((file, group), rows)).unzip();
        Ok(Self { table: Arc::clone(table), schema: Arc::new(Schema::new(fields)), groups, units })
    }
}

impl fmt::Debug for ParquetColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} columns of {}", self.schema.fields().len(), self.table.role)
    }
}

impl LateColumns for ParquetColumns {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn units(&self) -> &[Range<u64>] {
        &self.units
    }

    fn fetch(
        &self,
        unit: usize,
        runs: Vec<Range<u64>>,
        columns: Vec<usize>,
        context: Arc<TaskContext>,
    ) -> BoxFuture<'static, Result<Vec<ArrayRef>>> {
        let (file, group) = self.groups[unit];
        let reading = GroupReading {
            table: Arc::clone(&self.table),
            file,
            group,
            rows: self.units[unit].clone(),
            wanted: Schema::new(columns.iter().map(|&c| self.schema.field(c).clone()).collect::<Vec<_>>()),
        };
        async move { reading.run(runs, &context).await }.boxed()
    }
}

/// One row group that is about to be read.
struct GroupReading {
    table: Arc<ParquetTable>,
    file: usize,
    group: usize,
    /// Its ordinals.
    rows: Range<u64>,
    wanted: Schema,
}

impl GroupReading {
    async fn run(&self, runs: Vec<Range<u64>>, context: &TaskContext) -> Result<Vec<ArrayRef>> {
        let file = &self.table.files[self.file];
        let url = ObjectStoreUrl::parse(self.table.location.store_url())?;
        let store = context.runtime_env().object_store(&url)?;
        let reader = ObjectReader::new(store, file.entry.location.path(), file.entry.size);
        let options = ArrowReaderOptions::new();
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(&file.metadata), options)
            .map_err(|error| self.failure(error))?;
        let present: Vec<usize> = self
            .wanted
            .fields()
            .iter()
            .filter_map(|field| metadata.schema().index_of(field.name()).ok())
            .collect();
        let mask = ProjectionMask::roots(metadata.parquet_schema(), present);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
            .with_row_groups(vec![self.group])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS);
        if runs != [self.rows.clone()] {
            let local = runs.iter().map(|run| place(run.start, &self.rows)..place(run.end, &self.rows));
            let all = place(self.rows.end, &self.rows);
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(local, all));
        }
        let stream = builder.build().map_err(|error| self.failure(error))?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(|error| self.failure(error))?;
        let rows: usize = runs.iter().map(|run| place(run.end, run)).sum();
        self.wanted
            .fields()
            .iter()
            .map(|field| {
                let arrays: Vec<&dyn Array> = batches
                    .iter()
                    .filter_map(|b| b.column_by_name(field.name()))
                    .map(AsRef::as_ref)
                    .collect();
                let array = match arrays.as_slice() {
                    // The file lacks the column.
                    [] => return Ok(new_null_array(field.data_type(), rows)),
                    arrays => concat(arrays)?,
                };
                if array.data_type() == field.data_type() {
                    return Ok(array);
                }
                // The table's type holds every file's values.
                let strict = CastOptions { safe: false, ..CastOptions::default() };
                Ok(cast_with_options(&array, field.data_type(), &strict)?)
            })
            .collect()
    }

    /// Storage's faults stay what they are; what is left is the file's.
    fn failure(&self, error: ParquetError) -> DataFusionError {
        if matches!(error, ParquetError::External(_)) {
            return DataFusionError::ParquetError(Box::new(error));
        }
        RetrievalError::Corrupt {
            role: self.table.role.clone(),
            file: Box::new(self.table.files[self.file].entry.location.clone()),
            row_group: Some(self.group),
            detail: error.to_string(),
        }
        .into()
    }
}

/// Place of an ordinal in a range of ordinals.
fn place(row: u64, rows: &Range<u64>) -> usize {
    usize::try_from(row.saturating_sub(rows.start)).unwrap_or(usize::MAX)
}
