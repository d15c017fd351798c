//! Tables of Parquet files as DataFusion scans: whole row groups, spread evenly, nothing that cannot match.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::parquet_table::{ParquetFile, ParquetTable};
use crate::row_id::{ROW_ID, RowIdExec};
use crate::shards::ShardSpec;

/// A unit of reading: one row group, or a run of row groups of one file.
#[derive(Debug, Clone)]
struct Unit {
    file: usize,
    first_group: usize,
    /// Past the last.
    end_group: usize,
    bytes: u64,
    base_row: u64,
}

/// One scan of a table.
#[derive(Debug)]
pub(crate) struct TableScan {
    table: Arc<ParquetTable>,
    units: Vec<Unit>,
    /// File columns, and for a spine the row id.
    schema: SchemaRef,
    is_spine: bool,
    /// Whether rows carry their ordinals: always in a spine.
    is_numbered: bool,
    /// What is left after pruning, for progress and `--explain`.
    pub(crate) stats: ScanStats,
}

/// What a scan reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanStats {
    /// Files with something to read, of all files.
    pub files: usize,
    /// All files.
    pub files_all: usize,
    /// Row groups to read.
    pub row_groups: usize,
    /// All row groups.
    pub row_groups_all: usize,
    /// Rows to read.
    pub rows: u64,
    /// Compressed bytes of the row groups to read, all columns.
    pub bytes: u64,
}

impl TableScan {
    /// A scan of a spine, or of a shard of it, with the row id as last column.
    pub(crate) fn spine(table: Arc<ParquetTable>, shard: Option<&ShardSpec>) -> Self {
        let mut units = Vec::new();
        let mut base_row = 0;
        for (file, parquet) in table.files.iter().enumerate() {
            for (group, metadata) in parquet.metadata.row_groups().iter().enumerate() {
                let rows = unsigned(metadata.num_rows());
                if rows > 0 && shard.is_none_or(|shard| shard.holds(file, group)) {
                    let bytes = unsigned(metadata.compressed_size());
                    units.push(Unit { file, first_group: group, end_group: group + 1, bytes, base_row });
                }
                base_row += rows;
            }
        }
        let mut fields: Vec<Arc<Field>> = table.schema.fields().iter().cloned().collect();
        fields.push(row_id_field());
        let schema = Arc::new(Schema::new(fields));
        let stats = stats_of(&table, &units);
        Self { table, units, schema, is_spine: true, is_numbered: true, stats }
    }

    /// A scan of those row groups of a source that `keep` lets through, asked in file and row group order.
    pub(crate) fn source(table: Arc<ParquetTable>, keep: &[bool]) -> Self {
        let mut units: Vec<Unit> = Vec::new();
        let mut kept = keep.iter();
        let mut base_row = 0;
        for (file, parquet) in table.files.iter().enumerate() {
            for (group, metadata) in parquet.metadata.row_groups().iter().enumerate() {
                // One that was not asked about is read.
                if kept.next().is_none_or(|keep| *keep) && metadata.num_rows() > 0 {
                    let bytes = unsigned(metadata.compressed_size());
                    units.push(Unit { file, first_group: group, end_group: group + 1, bytes, base_row });
                }
                base_row += unsigned(metadata.num_rows());
            }
        }
        let schema = Arc::clone(&table.schema);
        let stats = stats_of(&table, &units);
        Self { table, units, schema, is_spine: false, is_numbered: false, stats }
    }

    /// The same scan with each row's ordinal among all rows of the source as last column.
    pub(crate) fn numbered(self) -> Self {
        let fields = self.table.schema.fields().iter().cloned().chain(std::iter::once(row_id_field()));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { schema, is_numbered: true, ..self }
    }

    /// The row groups that are read: file, number and ordinals of each.
    pub(crate) fn row_groups(&self) -> Vec<(usize, usize, Range<u64>)> {
        let mut groups = Vec::new();
        for unit in &self.units {
            let mut base = unit.base_row;
            for group in unit.first_group..unit.end_group {
                let rows = unsigned(self.table.files[unit.file].metadata.row_group(group).num_rows());
                groups.push((unit.file, group, base..base + rows));
                base += rows;
            }
        }
        groups
    }

    /// The units dealt to `partitions` by size, neighbouring row groups of a file kept together.
    fn file_groups(&self, partitions: usize) -> Result<Vec<FileGroup>> {
        let total: u64 = self.units.iter().map(|unit| unit.bytes.max(1)).sum();
        let mut groups: Vec<Vec<Unit>> = vec![Vec::new()];
        let (mut filled, mut dealt) = (0_u64, 0_u64);
        for unit in &self.units {
            let share = total * (groups.len() as u64) / (partitions.max(1) as u64);
            if filled > 0 && dealt + unit.bytes.max(1) / 2 >= share && groups.len() < partitions {
                groups.push(Vec::new());
                filled = 0;
            }
            dealt += unit.bytes.max(1);
            filled += unit.bytes.max(1);
            let Some(group) = groups.last_mut() else { continue };
            match group.last_mut() {
                Some(last)
                    if !self.is_spine
                        && last.file == unit.file
                        && last.end_group == unit.first_group
                        && is_ascending(&self.table.files[unit.file]) =>
                {
                    last.end_group = unit.end_group;
                    last.bytes += unit.bytes;
                }
                _ => group.push(unit.clone()),
            }
        }
        groups
            .into_iter()
            .map(|units| {
                let files = units.iter().map(|unit| self.partitioned_file(unit));
                Ok(FileGroup::new(files.collect::<Result<Vec<_>>>()?))
            })
            .collect()
    }

    fn partitioned_file(&self, unit: &Unit) -> Result<PartitionedFile> {
        let file = &self.table.files[unit.file];
        let entry = &file.entry;
        let mut partitioned = PartitionedFile::new_from_meta(ObjectMeta {
            location: entry.location.path(),
            last_modified: entry.modified,
            size: entry.size,
            e_tag: entry.etag.clone(),
            version: None,
        });
        // A row group belongs to the byte range that its first page lies in.
        let start = first_page(file, unit.first_group);
        // Empty row groups may share an offset with a full one, but they add no rows.
        let last = first_page(file, unit.end_group - 1);
        partitioned = partitioned.with_range(start, last + 1);
        let constants = file.constants.iter().map(|value| ScalarValue::try_from_array(value, 0));
        let mut values = constants.collect::<Result<Vec<_>>>()?;
        values.extend(self.is_numbered.then_some(ScalarValue::UInt64(Some(unit.base_row))));
        Ok(partitioned.with_partition_values(values))
    }
}

#[async_trait]
impl TableProvider for TableScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let store = ObjectStoreUrl::parse(self.table.location.store_url())?;
        let mut of_folders = self.table.hive_fields().to_vec();
        of_folders.extend(self.is_numbered.then(row_id_field));
        let mut table_schema = TableSchema::builder(self.table.file_schema());
        if !of_folders.is_empty() {
            table_schema = table_schema.with_table_partition_cols(of_folders);
        }
        let source = ParquetSource::new(table_schema.build())
            .with_table_parquet_options(session.table_options().parquet.clone());
        // The ordinal goes with every projection: the operator above finds it by name.
        let config = FileScanConfigBuilder::new(store, Arc::new(source))
            .with_file_groups(self.file_groups(session.config().target_partitions())?)
            .with_projection_indices(projection.cloned())?
            .build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        let has_row_id = scan.schema().index_of(ROW_ID).is_ok();
        Ok(if self.is_numbered && has_row_id { Arc::new(RowIdExec::try_new(scan)?) } else { scan })
    }
}

fn row_id_field() -> Arc<Field> {
    Arc::new(Field::new(ROW_ID, DataType::UInt64, false))
}

fn first_page(file: &ParquetFile, group: usize) -> i64 {
    let columns = file.metadata.row_group(group).columns();
    columns
        .first()
        .map_or(0, |column| column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset()))
}

/// Whether the row groups lie in the file in their order, so that a run of them is one byte range.
fn is_ascending(file: &ParquetFile) -> bool {
    (1..file.metadata.num_row_groups()).all(|group| first_page(file, group - 1) <= first_page(file, group))
}

fn stats_of(table: &ParquetTable, units: &[Unit]) -> ScanStats {
    let mut stats = ScanStats {
        files_all: table.files.len(),
        row_groups_all: table.files.iter().map(|file| file.metadata.num_row_groups()).sum(),
        ..ScanStats::default()
    };
    let mut last_file = None;
    for unit in units {
        stats.files += usize::from(last_file.replace(unit.file) != Some(unit.file));
        for group in unit.first_group..unit.end_group {
            let metadata = table.files[unit.file].metadata.row_group(group);
            stats.row_groups += 1;
            stats.rows += unsigned(metadata.num_rows());
            stats.bytes += unsigned(metadata.compressed_size());
        }
    }
    stats
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
