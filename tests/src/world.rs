//! Builds small feature stores for tests: files, a catalog over them, and retrievals through any engine.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use backsight_engine::{EmbeddedEngine, EngineOptions, SPILL_BYTES_MAX};
use backsight_registry::model::{
    Catalog, DataSource, FeatureView, Field, SourceKind, Tags, Ttl, ValueType, ViewKind,
};
use backsight_retrieval::{
    Bases, Claimant, FeatureSelection, Finished, FormChoice, Manifest, Output, RetrievalEngine,
    RetrievalError, RetrievalRequest, RunContext, RunOptions, SpineRequest, StageSite, prepare, run,
};
use backsight_storage::{Location, StorageOptions, Stores};
use chrono::Utc;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// A feature store in a folder.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) stores: Stores,
    pub(crate) catalog: Catalog,
}

/// What varies between the views of tests; the rest is plain.
pub(crate) struct ViewSpec<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
    pub(crate) keys: &'a [&'a str],
    pub(crate) features: &'a [&'a str],
    pub(crate) created: Option<&'a str>,
    pub(crate) ttl_seconds: Option<i64>,
    pub(crate) mapping: &'a [(&'a str, &'a str)],
    pub(crate) tags: &'a [(&'a str, &'a str)],
}

impl Default for ViewSpec<'_> {
    fn default() -> Self {
        Self {
            name: "view",
            path: "view.parquet",
            keys: &["id"],
            features: &["x"],
            created: None,
            ttl_seconds: None,
            mapping: &[],
            tags: &[],
        }
    }
}

/// A value type that no test depends on: types come from the files.
const ANY: ValueType = ValueType(0);

fn field(name: &str) -> Field {
    Field { name: name.into(), value_type: ANY, description: String::new(), tags: Tags::new() }
}

fn pairs(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_stores(Stores::new(StorageOptions::default()))
    }

    pub(crate) fn with_stores(stores: Stores) -> Self {
        let catalog = Catalog { project: "test".into(), ..Catalog::default() };
        Self { folder: tempfile::tempdir().unwrap(), stores, catalog }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes columns as one Parquet file, in row groups of at most `group_rows`.
    pub(crate) fn write_groups(&self, name: &str, group_rows: usize, columns: Vec<(&str, ArrayRef)>) {
        write_parquet(&self.path(name), group_rows, columns);
    }

    /// Writes columns as one Parquet file with properties of one's own.
    pub(crate) fn write_as(&self, name: &str, properties: WriterProperties, columns: Vec<(&str, ArrayRef)>) {
        write_parquet_as(&self.path(name), properties, columns);
    }

    pub(crate) fn write(&self, name: &str, columns: Vec<(&str, ArrayRef)>) {
        self.write_groups(name, 1_000, columns);
    }

    pub(crate) fn add_view(&mut self, spec: &ViewSpec<'_>) {
        self.catalog.feature_views.push(FeatureView {
            name: spec.name.into(),
            kind: ViewKind::Feature,
            entities: spec.keys.iter().map(|key| (*key).to_owned()).collect(),
            join_keys: spec.keys.iter().map(|key| field(key)).collect(),
            features: spec.features.iter().map(|name| field(name)).collect(),
            ttl: spec.ttl_seconds.and_then(|s| Ttl::from_nanos(i128::from(s) * 1_000_000_000)),
            source: DataSource {
                name: format!("{}_source", spec.name),
                kind: SourceKind::File { path: spec.path.into(), s3_endpoint_override: None, delta: false },
                timestamp_field: "t".into(),
                created_timestamp_column: spec.created.map(str::to_owned),
                date_partition_column: None,
                field_mapping: pairs(spec.mapping),
                description: String::new(),
                tags: pairs(spec.tags),
                owner: String::new(),
            },
            online: true,
            disabled: false,
            state: 0,
            description: String::new(),
            tags: Tags::new(),
            owner: String::new(),
        });
    }

    pub(crate) fn request(&self, features: &[&str], output: &str) -> RetrievalRequest {
        let features = FeatureSelection::References(features.iter().map(|f| (*f).to_owned()).collect());
        RetrievalRequest::new("test", features, SpineRequest::files("spine.parquet"), Some(output.into()))
    }

    pub(crate) fn embedded(&self, form: impl Into<FormChoice>, partitions: usize) -> EmbeddedEngine {
        EmbeddedEngine::new(self.stores.clone(), engine_options(partitions), form).unwrap()
    }

    /// Runs a request; `id` is its request id.
    pub(crate) async fn run(
        &self,
        engine: &dyn RetrievalEngine,
        request: &RetrievalRequest,
        id: &str,
        overwrite: bool,
    ) -> Result<Finished, RetrievalError> {
        self.run_until(engine, request, id, overwrite, std::future::pending()).await
    }

    pub(crate) async fn run_until(
        &self,
        engine: &dyn RetrievalEngine,
        request: &RetrievalRequest,
        id: &str,
        overwrite: bool,
        cancelled: impl Future<Output = ()> + Send,
    ) -> Result<Finished, RetrievalError> {
        let folder = self.folder.path();
        let stage = self.location("stage");
        let stage = StageSite { folder: &stage, tag: id, engine, bytes_max: None };
        let bases = Bases { stage: Some(stage), ..Bases::new(folder, folder) };
        let prepared = prepare(&self.stores, &self.catalog, request, bases, engine.form()).await?;
        let location = self.location(request.output.as_deref().unwrap());
        let options = RunOptions {
            stores: &self.stores,
            output: Output::new(self.stores.clone(), location),
            request_id: id.into(),
            attempt: format!("attempt-{id}"),
            overwrite,
            claimant: Claimant { host: "test".into(), process: 1 },
            is_gone: |_| false,
            registry: (Some("version".into()), bytes::Bytes::from_static(b"registry")),
            now: Utc::now,
        };
        match run(&prepared, engine, &options, &RunContext::default(), cancelled).await {
            Ok(finished) => Ok(finished),
            Err(error) => Err(prepared.explain_failure(&self.stores, error).await),
        }
    }

    pub(crate) fn location(&self, text: &str) -> Location {
        Location::parse(text, self.folder.path(), None).unwrap()
    }

    /// The rows of a committed dataset, in the order of its parts.
    pub(crate) async fn rows(&self, output: &str, manifest: &Manifest) -> RecordBatch {
        let mut batches = Vec::new();
        for part in &manifest.parts {
            let location = self.location(output).join(&part.path);
            batches.push(read_parquet(self.stores.read(&location).await.unwrap().unwrap().bytes));
        }
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    /// Names of everything below a folder, sorted, parts shown as `part`.
    pub(crate) async fn listing(&self, output: &str) -> Vec<String> {
        let folder = self.location(output);
        let Ok(entries) = self.stores.list(&folder).await else { return vec![] };
        let prefix = format!("{}/", folder.path());
        let mut names: Vec<String> = entries
            .iter()
            .map(|entry| entry.location.path().to_string().replacen(&prefix, "", 1))
            .map(|name| if name.starts_with("part-") { "part".to_owned() } else { name })
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn engine_options(partitions: usize) -> EngineOptions {
    EngineOptions {
        memory_limit_bytes: 1 << 30,
        partitions: NonZeroUsize::new(partitions).unwrap(),
        spill_dir: None,
        spill_limit_bytes: SPILL_BYTES_MAX,
    }
}

pub(crate) fn read_parquet(bytes: bytes::Bytes) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

pub(crate) fn write_parquet(path: &Path, group_rows: usize, columns: Vec<(&str, ArrayRef)>) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group_rows))
        .set_compression(Compression::ZSTD(ZstdLevel::default()));
    write_parquet_as(path, properties.build(), columns);
}

pub(crate) fn write_parquet_as(path: &Path, properties: WriterProperties, columns: Vec<(&str, ArrayRef)>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
