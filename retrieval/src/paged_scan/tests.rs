//! Counts what is asked of the store: pages that hold no wanted row are neither read nor decoded.

use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, UInt64Type};
use async_trait::async_trait;
use backsight_storage::{Location, StorageOptions, Stores};
use datafusion::catalog::TableProvider;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};

use super::*;
use crate::RetrievalPhysicalCodec;
use crate::late_columns::ParquetColumns;
use crate::parquet_table::ParquetTable;
use crate::reach::{Reading, SkippedPages};
use crate::scan::TableScan;
use backsight_asof::LateColumns;

const ROWS: u64 = 100_000;

/// A store that counts the bytes and requests of reads.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn ObjectStore>,
    bytes: AtomicU64,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let got = self.inner.get_opts(path, options).await?;
        self.bytes.fetch_add(got.range.end - got.range.start, Ordering::SeqCst);
        Ok(got)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A file of one row group whose pages have a thousand rows; values that no encoding makes small.
struct Fixture {
    folder: tempfile::TempDir,
    table: Arc<ParquetTable>,
    store: Arc<Counting>,
    session: SessionContext,
}

fn mixed(row: u64) -> i64 {
    crate::part_writer::mix(row).cast_signed()
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(1_000_000))
        .set_data_page_row_count_limit(1_000)
        .set_write_batch_size(1_000)
        .set_dictionary_enabled(false)
}

fn write(path: &FilePath, properties: WriterProperties) {
    let column = |salt: u64| -> ArrayRef {
        Arc::new((0..ROWS).map(|row| Some(mixed(row + salt * ROWS))).collect::<Int64Array>())
    };
    let columns = [("a", column(0)), ("b", column(1)), ("c", column(2)), ("d", column(3))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

async fn fixture(properties: WriterProperties) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("file.parquet"), properties);
    let stores = Stores::new(StorageOptions::default());
    let location = Location::parse("file.parquet", folder.path(), None).unwrap();
    let table = Arc::new(ParquetTable::open(&stores, &location, "source").await.unwrap());
    let inner = stores.open(&location).unwrap();
    let store = Arc::new(Counting { inner, bytes: AtomicU64::new(0) });
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    session
        .runtime_env()
        .register_object_store(&location.store_url(), Arc::clone(&store) as Arc<dyn ObjectStore>);
    Fixture { folder, table, store, session }
}

impl Fixture {
    /// Bytes that were read since the last time.
    fn bytes(&self) -> u64 {
        self.store.bytes.swap(0, Ordering::SeqCst)
    }

    fn file_bytes(&self) -> u64 {
        std::fs::metadata(self.folder.path().join("file.parquet")).unwrap().len()
    }
}

#[tokio::test]
async fn a_scan_reads_the_pages_of_its_rows_here_and_on_an_executor() {
    let kept = vec![40_000..42_000, 70_500..70_510];
    for (properties, has_index) in [
        (properties().build(), true),
        (
            properties()
                .set_offset_index_disabled(true)
                .set_statistics_enabled(EnabledStatistics::Chunk)
                .build(),
            false,
        ),
    ] {
        let fixture = fixture(properties).await;
        let reading = Reading::Rows(kept.clone(), SkippedPages { by_time: 97, by_keys: 0 });
        let scan = TableScan::part_of_source(Arc::clone(&fixture.table), [reading]).numbered();
        assert_eq!((scan.stats.rows, scan.stats.skipped.rows_in_pages), (2_010, ROWS - 2_010));
        // `b`, and the ordinal.
        let plan = scan.scan(&fixture.session.state(), Some(&vec![1, 4]), &[], None).await.unwrap();
        let context = fixture.session.task_ctx();
        let codec = RetrievalPhysicalCodec;
        let sent = PhysicalPlanNode::try_from_physical_plan(Arc::clone(&plan), &codec).unwrap();
        let received = sent.try_into_physical_plan(&context, &codec).unwrap();
        for plan in [plan, received] {
            fixture.bytes();
            let batches = collect(plan, Arc::clone(&context)).await.unwrap();
            let rows: Vec<(u64, i64)> = batches
                .iter()
                .flat_map(|batch| {
                    let ids = batch.column(1).as_primitive::<UInt64Type>().values().to_vec();
                    ids.into_iter().zip(batch.column(0).as_primitive::<Int64Type>().values().to_vec())
                })
                .collect();
            let expected = kept.iter().cloned().flatten().map(|row| (row, mixed(row + ROWS)));
            assert_eq!(rows, expected.collect::<Vec<_>>());
            let bytes = fixture.bytes();
            if has_index {
                // Three pages of 8,000 bytes, the offset index of one column, at most the footer.
                assert!((24_000..110_000).contains(&bytes), "{bytes}");
            } else {
                assert!(bytes > ROWS * 8, "{bytes}");
            }
            assert!(bytes < fixture.file_bytes() / 2, "of one column of four: {bytes}");
        }
    }
}

#[tokio::test]
async fn late_columns_read_the_pages_of_winners_where_the_file_says_where_they_are() {
    for (properties, at_most) in [
        // Two pages of two columns, and their offset indexes.
        (properties().build(), 4 * 8_100 + 2 * 1_500),
        // No index: both columns whole.
        (
            properties()
                .set_offset_index_disabled(true)
                .set_statistics_enabled(EnabledStatistics::None)
                .build(),
            2 * ROWS * 8 + 10_000,
        ),
    ] {
        let fixture = fixture(properties).await;
        let scan = TableScan::source(Arc::clone(&fixture.table), &[]);
        let columns = ["c", "a"].map(str::to_owned).to_vec();
        let late = ParquetColumns::try_new(&fixture.table, scan.row_groups(), columns).unwrap();
        let runs = vec![10_998..11_000, 50_000..50_001];
        let context = fixture.session.task_ctx();
        fixture.bytes();
        let arrays = late.fetch(0, runs.clone(), vec![1, 0], Arc::clone(&context)).await.unwrap();
        let bytes = fixture.bytes();
        for (pieces, salt) in arrays.iter().zip([0, 2]) {
            let expected = runs.iter().cloned().flatten().map(|row| mixed(row + salt * ROWS));
            let found = pieces.iter().flat_map(|piece| piece.as_primitive::<Int64Type>().values().to_vec());
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
        assert!(bytes <= at_most && bytes * 2 > at_most, "{bytes}, at most {at_most}");
        // Winners everywhere: nobody asks where pages are.
        let runs: Vec<Range<u64>> = (0..ROWS / 5).map(|row| row * 5..row * 5 + 1).collect();
        late.fetch(0, runs, vec![0], context).await.unwrap();
        let bytes = fixture.bytes();
        assert!((ROWS * 8..ROWS * 8 + 5_000).contains(&bytes), "one column: {bytes}");
    }
}

#[tokio::test]
async fn an_index_that_contradicts_the_footer_is_not_used() {
    let fixture = fixture(properties().build()).await;
    let file = &fixture.table.files[0];
    let group = file.metadata.row_group(0);
    let store = Arc::clone(&fixture.store) as Arc<dyn ObjectStore>;
    let path = file.entry.location.path();
    let size = file.entry.size;
    let mut reader = crate::object_reader::ObjectReader::new(store, path, size);
    let field = file.schema.field(0);
    let read = crate::page_index::read_page_index(&mut reader, size, group, 0, field).await.unwrap();
    assert_eq!(read.unwrap().rows.len(), 100);
    // The same index beside fewer rows, a shorter chunk, at a place where none is, and beyond the end of the file.
    let rows = group.clone().into_builder().set_num_rows(99_000).build().unwrap();
    let changed = |change: &dyn Fn(
        parquet::file::metadata::ColumnChunkMetaDataBuilder,
    ) -> parquet::file::metadata::ColumnChunkMetaDataBuilder| {
        let mut columns = group.columns().to_vec();
        columns[0] = change(columns[0].clone().into_builder()).build().unwrap();
        group.clone().into_builder().set_column_metadata(columns).build().unwrap()
    };
    let groups = [
        rows,
        changed(&|column| column.set_total_compressed_size(7_000)),
        changed(&|column| column.set_offset_index_offset(Some(4))),
        changed(&|column| column.set_column_index_offset(Some(4))),
        changed(&|column| column.set_offset_index_offset(Some(i64::MAX))),
        changed(&|column| column.set_column_index_length(Some(-1))),
    ];
    for (number, group) in groups.iter().enumerate() {
        let read = crate::page_index::read_page_index(&mut reader, size, group, 0, field).await.unwrap();
        assert!(read.is_none(), "case {number}");
    }
}
