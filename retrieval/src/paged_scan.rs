//! A scan that reads parts of row groups, and each footer once.
//!
//! Which rows are read is planned ([`crate::reach`]) and travels with this operator; row selections of the scan itself would not
//! survive the way to an executor. Where the scan runs, it gets its selections, and a reader that knows where the pages of
//! the columns are, so that bytes of other pages are not asked for.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    DefaultParquetFileReaderFactory, ParquetAccessPlan, RowGroupAccess,
};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::future::{BoxFuture, FutureExt};
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataBuilder};
use tokio::sync::OnceCell;

use crate::page_index::with_offset_index;

/// What a scan reads of its files, beside whole row groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ScanPages {
    /// Columns of the scan.
    pub(crate) columns: Vec<String>,
    /// Row groups of which some rows are read; each is a file of the scan by itself.
    pub(crate) parts: Vec<PartOfGroup>,
}

/// Some rows of a row group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartOfGroup {
    pub(crate) path: Path,
    /// First byte of its range in the scan.
    pub(crate) start: i64,
    pub(crate) group: usize,
    /// Rows of the row group.
    pub(crate) rows: u64,
    /// Those that are read: ascending, disjoint.
    pub(crate) kept: Vec<Range<u64>>,
}

type Footers = HashMap<Path, Arc<ParquetMetaData>>;

/// The physical operator, above the scan.
#[derive(Debug)]
pub(crate) struct PagedScanExec {
    input: Arc<dyn ExecutionPlan>,
    pages: Arc<ScanPages>,
    /// What is known without reading; nothing on an executor.
    known: Arc<Footers>,
    /// The scan with its selections, once a partition was asked for.
    opened: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    properties: Arc<PlanProperties>,
}

impl PagedScanExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, pages: ScanPages) -> Self {
        Self::over(input, Arc::new(pages), Arc::default())
    }

    /// The same where footers are known.
    pub(crate) fn with_footers(self, known: Footers) -> Self {
        Self::over(self.input, self.pages, Arc::new(known))
    }

    fn over(input: Arc<dyn ExecutionPlan>, pages: Arc<ScanPages>, known: Arc<Footers>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, pages, known, opened: Mutex::default(), properties: Arc::new(properties) }
    }

    /// What is read of the files that the scan still has: a task runs a slice of it.
    pub(crate) fn pages(&self) -> ScanPages {
        let files: HashSet<(&Path, i64)> = match as_scan(&self.input) {
            Some((config, _)) => {
                config.file_groups.iter().flat_map(FileGroup::iter).filter_map(place_of).collect()
            }
            None => return (*self.pages).clone(),
        };
        let parts = self.pages.parts.iter().filter(|part| files.contains(&(&part.path, part.start)));
        ScanPages { columns: self.pages.columns.clone(), parts: parts.cloned().collect() }
    }

    /// The input with the scan in it marked: executors put an operator of theirs above it.
    fn open(&self, context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(input) = &*opened {
            return Ok(Arc::clone(input));
        }
        let marked = Arc::clone(&self.input).transform_down(|node| {
            Ok(match self.marked(&node, context)? {
                Some(scan) => Transformed::new(scan, true, TreeNodeRecursion::Stop),
                None => Transformed::no(node),
            })
        })?;
        if !marked.transformed {
            return Err(DataFusionError::Internal(format!("{} reads no Parquet files", self.input.name())));
        }
        *opened = Some(Arc::clone(&marked.data));
        Ok(marked.data)
    }

    /// A scan with its selections and our readers, unless `node` is none.
    fn marked(
        &self,
        node: &Arc<dyn ExecutionPlan>,
        context: &TaskContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some((config, source)) = as_scan(node) else { return Ok(None) };
        let store = context.runtime_env().object_store(&config.object_store_url)?;
        let parts: HashMap<(&Path, i64), &PartOfGroup> =
            self.pages.parts.iter().map(|part| ((&part.path, part.start), part)).collect();
        let groups = config.file_groups.iter().map(|group| {
            let marked = group.iter().map(|file| match place_of(file).and_then(|place| parts.get(&place)) {
                Some(part) => select(file, part),
                None => file.clone(),
            });
            FileGroup::new(marked.collect())
        });
        let readers = Readers {
            inner: DefaultParquetFileReaderFactory::new(store),
            columns: self.pages.columns.iter().cloned().collect(),
            known: Arc::clone(&self.known),
            read: Mutex::default(),
        };
        let source = source.clone().with_parquet_file_reader_factory(Arc::new(readers));
        let config = FileScanConfigBuilder::from(config.clone())
            .with_file_groups(groups.collect())
            .with_source(Arc::new(source))
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

fn as_scan(node: &Arc<dyn ExecutionPlan>) -> Option<(&FileScanConfig, &ParquetSource)> {
    node.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()
}

fn place_of(file: &PartitionedFile) -> Option<(&Path, i64)> {
    Some((&file.object_meta.location, file.range.as_ref()?.start))
}

/// The file with its rows selected; its reader shows the one row group.
fn select(file: &PartitionedFile, part: &PartOfGroup) -> PartitionedFile {
    let narrow = |row: u64| usize::try_from(row).unwrap_or(usize::MAX);
    let kept = part.kept.iter().map(|rows| narrow(rows.start)..narrow(rows.end));
    let selection = RowSelection::from_consecutive_ranges(kept, narrow(part.rows));
    file.clone()
        .with_extension(ParquetAccessPlan::new(vec![RowGroupAccess::Selection(selection)]))
        .with_extension(OneGroup(part.group))
}

/// The row group that a file's reader is to show alone.
#[derive(Debug, Clone, Copy)]
struct OneGroup(usize);

impl DisplayAs for PagedScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PagedScanExec: row_groups_in_part={}", self.pages.parts.len())
    }
}

impl ExecutionPlan for PagedScanExec {
    fn name(&self) -> &'static str {
        "PagedScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    backsight_asof::operator_without_expressions!(1, |own, [input]| {
        Ok(Self::over(input, Arc::clone(&own.pages), Arc::clone(&own.known)))
    });

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.open(&context)?.execute(partition, context)
    }
}

/// Readers that share the footers of one scan.
#[derive(Debug)]
struct Readers {
    inner: DefaultParquetFileReaderFactory,
    columns: HashSet<String>,
    known: Arc<Footers>,
    read: Mutex<HashMap<Path, Arc<OnceCell<Arc<ParquetMetaData>>>>>,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let path = &file.object_meta.location;
        let footer = match self.known.get(path) {
            Some(footer) => Arc::new(OnceCell::new_with(Some(Arc::clone(footer)))),
            None => {
                let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(read.entry(path.clone()).or_default())
            }
        };
        let (bytes, group) = (file.object_meta.size, file.extension::<OneGroup>().copied());
        let columns = group.map_or_else(HashSet::new, |_| self.columns.clone());
        let inner = self.inner.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(Reader { inner, footer, bytes, group, columns }))
    }
}

/// Reads one file.
struct Reader {
    inner: Box<dyn AsyncFileReader + Send>,
    footer: Arc<OnceCell<Arc<ParquetMetaData>>>,
    bytes: u64,
    group: Option<OneGroup>,
    columns: HashSet<String>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let inner = &mut self.inner;
            let footer = self.footer.get_or_try_init(|| inner.get_metadata(options)).await?;
            let Some(OneGroup(group)) = self.group else { return Ok(Arc::clone(footer)) };
            if group >= footer.num_row_groups() {
                return Err(ParquetError::General(format!("the file has no row group {group}")));
            }
            let schema = footer.file_metadata().schema_descr();
            let is_wanted = |leaf: usize| self.columns.contains(schema.get_column_root(leaf).name());
            let paged = with_offset_index(self.inner.as_mut(), self.bytes, footer, group, is_wanted).await?;
            Ok(Arc::new(paged.unwrap_or_else(|| {
                ParquetMetaDataBuilder::new(footer.file_metadata().clone())
                    .add_row_group(footer.row_group(group).clone())
                    .build()
            })))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
