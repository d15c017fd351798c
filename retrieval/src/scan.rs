//! Tables of Parquet files as DataFusion scans: row groups, of sources perhaps some of their pages, spread evenly; nothing that
//! cannot match.

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

use crate::paged_scan::{PagedScanExec, PartOfGroup, ScanPages};
use crate::parquet_table::{ParquetFile, ParquetTable};
use crate::reach::{Reading, RuledOut, count, share};
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
    /// Of a single row group, the rows that are read, where that is not all of them.
    kept: Option<Vec<Range<u64>>>,
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
    /// Ordinals inside of units that are not read: ascending, disjoint.
    gaps: Arc<[Range<u64>]>,
    /// Partitions for each that the session asks for.
    streams: usize,
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
    /// Row groups to read, wholly or in part.
    pub row_groups: usize,
    /// All row groups.
    pub row_groups_all: usize,
    /// Rows to read.
    pub rows: u64,
    /// Compressed bytes of the row groups to read, all columns; of one that is read in part its share by rows.
    pub bytes: u64,
    /// What is left out, and why.
    #[serde(default)]
    pub skipped: Skipped,
}

/// What a scan leaves out because it cannot hold a match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Row groups whose times are out of reach.
    pub row_groups_by_time: usize,
    /// Row groups whose keys are not the spine's.
    pub row_groups_by_keys: usize,
    /// Row groups whose Bloom filter holds none of the spine's keys.
    pub row_groups_by_bloom_filter: usize,
    /// Pages of event times out of reach, in row groups that are read.
    pub pages_by_time: usize,
    /// Pages of keys that are not the spine's, in row groups that are read.
    pub pages_by_keys: usize,
    /// Rows of such pages.
    pub rows_in_pages: u64,
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
                    units.push(Unit {
                        file,
                        first_group: group,
                        end_group: group + 1,
                        bytes,
                        base_row,
                        kept: None,
                    });
                }
                base_row += rows;
            }
        }
        let mut fields: Vec<Arc<Field>> = table.schema.fields().iter().cloned().collect();
        fields.push(row_id_field());
        let schema = Arc::new(Schema::new(fields));
        let stats = stats_of(&table, &units);
        Self {
            table,
            units,
            schema,
            is_spine: true,
            is_numbered: true,
            gaps: Arc::from([]),
            streams: 1,
            stats,
        }
    }

    /// A scan of those row groups of a source that `keep` lets through, asked in file and row group order.
    pub(crate) fn source(table: Arc<ParquetTable>, keep: &[bool]) -> Self {
        let reading = |keep: &bool| if *keep { Reading::All } else { Reading::Nothing(RuledOut::Time) };
        Self::part_of_source(table, keep.iter().map(reading))
    }

    /// A scan of what `readings` says of each row group of a source, in file and row group order.
    pub(crate) fn part_of_source(
        table: Arc<ParquetTable>,
        readings: impl IntoIterator<Item = Reading>,
    ) -> Self {
        let mut units: Vec<Unit> = Vec::new();
        let mut gaps: Vec<Range<u64>> = Vec::new();
        let mut skipped = Skipped::default();
        let mut readings = readings.into_iter();
        let mut base_row = 0;
        for (file, parquet) in table.files.iter().enumerate() {
            for (group, metadata) in parquet.metadata.row_groups().iter().enumerate() {
                let rows = unsigned(metadata.num_rows());
                let bytes = unsigned(metadata.compressed_size());
                let mut unit =
                    Unit { file, first_group: group, end_group: group + 1, bytes, base_row, kept: None };
                // One that was not asked about is read.
                match readings.next().unwrap_or(Reading::All) {
                    _ if rows == 0 => {}
                    Reading::All => units.push(unit),
                    Reading::Rows(kept, pages) => {
                        let kept_rows = count(&kept);
                        skipped.pages_by_time += pages.by_time;
                        skipped.pages_by_keys += pages.by_keys;
                        skipped.rows_in_pages += rows - kept_rows;
                        gaps.extend(between(&kept, rows).map(|gap| base_row + gap.start..base_row + gap.end));
                        unit.bytes = share(bytes, kept_rows, rows);
                        unit.kept = Some(kept);
                        units.push(unit);
                    }
                    Reading::Nothing(RuledOut::Time) => skipped.row_groups_by_time += 1,
                    Reading::Nothing(RuledOut::Keys) => skipped.row_groups_by_keys += 1,
                    Reading::Nothing(RuledOut::BloomFilter) => skipped.row_groups_by_bloom_filter += 1,
                }
                base_row += rows;
            }
        }
        let schema = Arc::clone(&table.schema);
        let stats = ScanStats { skipped, ..stats_of(&table, &units) };
        Self {
            table,
            units,
            schema,
            is_spine: false,
            is_numbered: false,
            gaps: gaps.into(),
            streams: 1,
            stats,
        }
    }

    /// The same scan with each row's ordinal among all rows of the source as last column.
    pub(crate) fn numbered(self) -> Self {
        let fields = self.table.schema.fields().iter().cloned().chain(std::iter::once(row_id_field()));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { schema, is_numbered: true, ..self }
    }

    /// The same scan in so many partitions for each that the session asks for: for who reads several at a time, so that one
    /// decodes while another waits for its bytes.
    pub(crate) fn in_streams(self, streams: usize) -> Self {
        Self { streams, ..self }
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
                        && last.kept.is_none()
                        && unit.kept.is_none()
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

    /// The units that are read in part.
    fn parts_of_groups(&self) -> Vec<PartOfGroup> {
        let of_unit = |unit: &Unit| {
            let file = &self.table.files[unit.file];
            let kept = unit.kept.clone()?;
            Some(PartOfGroup {
                path: file.entry.location.path(),
                start: first_page(file, unit.first_group),
                group: unit.first_group,
                rows: unsigned(file.metadata.row_group(unit.first_group).num_rows()),
                kept,
            })
        };
        self.units.iter().filter_map(of_unit).collect()
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
            .with_file_groups(self.file_groups(session.config().target_partitions() * self.streams)?)
            .with_projection_indices(projection.cloned())?
            .build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        let has_row_id = scan.schema().index_of(ROW_ID).is_ok();
        let parts = self.parts_of_groups();
        if !self.is_numbered && parts.is_empty() {
            return Ok(scan);
        }
        let columns = match projection {
            None => self.schema.fields().iter().map(|field| field.name().clone()).collect(),
            Some(columns) => columns.iter().map(|&column| self.schema.field(column).name().clone()).collect(),
        };
        let footers =
            self.table.files.iter().map(|file| (file.entry.location.path(), Arc::clone(&file.metadata)));
        let scan = PagedScanExec::new(scan, ScanPages { columns, parts }).with_footers(footers.collect());
        let scan: Arc<dyn ExecutionPlan> = Arc::new(scan);
        Ok(if self.is_numbered && has_row_id {
            Arc::new(RowIdExec::try_new(scan, Arc::clone(&self.gaps))?)
        } else {
            scan
        })
    }
}

/// What lies between the rows of `kept`, of `rows` rows.
fn between(kept: &[Range<u64>], rows: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = std::iter::once(0).chain(kept.iter().map(|kept| kept.end));
    let ends = kept.iter().map(|kept| kept.start).chain(std::iter::once(rows));
    starts.zip(ends).map(|(start, end)| start..end).filter(|gap| !gap.is_empty())
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
        stats.bytes += unit.bytes;
        for group in unit.first_group..unit.end_group {
            stats.row_groups += 1;
            stats.rows += match &unit.kept {
                Some(kept) => count(kept),
                None => unsigned(table.files[unit.file].metadata.row_group(group).num_rows()),
            };
        }
    }
    stats
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
