//! One case: where it is, how it is retrieved, what it must give.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use backsight_registry::store::RegistryStore;
use backsight_retrieval::{
    Bases, Claimant, FeatureSelection, Manifest, Output, RetrievalEngine, RetrievalError, RetrievalRequest,
    RunContext, RunOptions, SpineRequest, prepare, run,
};
use backsight_storage::{Location, StorageOptions, Stores};
use chrono::Utc;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// One case on some store.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) stores: Stores,
    /// The folder in this repository: expected rows and the request.
    pub(super) folder: PathBuf,
    /// Registry, spine and output as the retrieval sees them; sources are relative to `repo`.
    pub(super) registry: Location,
    pub(super) spine: String,
    pub(super) repo: PathBuf,
    pub(super) outputs: Location,
}

pub(super) fn cases_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

pub(super) fn case_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(cases_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

impl Case {
    /// All cases read in place, with outputs below `work`.
    pub(super) fn all_local(work: &Path) -> Vec<Self> {
        let stores = Stores::new(StorageOptions::default());
        case_folders()
            .into_iter()
            .map(|folder| {
                let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
                Self {
                    registry: Location::local(&folder.join("registry.pb")).unwrap(),
                    spine: folder.join("spine.parquet").to_str().unwrap().to_owned(),
                    repo: folder.clone(),
                    outputs: Location::local(&work.join(&name)).unwrap(),
                    stores: stores.clone(),
                    name,
                    folder,
                }
            })
            .collect()
    }

    pub(super) fn output(&self, engine: &str) -> Location {
        self.outputs.join(&engine.replace(' ', "-"))
    }

    pub(super) fn request(&self, output: &Location) -> RetrievalRequest {
        let text = std::fs::read_to_string(self.folder.join("request.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let features = match json.get("feature_service").and_then(|service| service.as_str()) {
            Some(service) => FeatureSelection::Service(service.to_owned()),
            None => FeatureSelection::References(
                json["features"].as_array().unwrap().iter().map(|f| f.as_str().unwrap().to_owned()).collect(),
            ),
        };
        let spine = SpineRequest::files(self.spine.clone());
        RetrievalRequest {
            full_feature_names: json["full_feature_names"].as_bool().unwrap(),
            filter_by_created_timestamp: json["filter_by_created_timestamp"].as_bool().unwrap(),
            ..RetrievalRequest::new("conformance", features, spine, Some(output.to_string()))
        }
    }

    pub(super) async fn retrieve(
        &self,
        engine: &dyn RetrievalEngine,
        output: &Location,
    ) -> Result<Manifest, RetrievalError> {
        let snapshot = RegistryStore::open(self.stores.clone(), self.registry.clone()).read().await.unwrap();
        let catalog = snapshot.document.catalog("conformance").unwrap();
        let request = self.request(output);
        let bases = Bases::new(&self.repo, &self.repo);
        let prepared = prepare(&self.stores, &catalog, &request, bases, engine.form()).await?;
        let options = RunOptions {
            stores: &self.stores,
            output: Output::new(self.stores.clone(), output.clone()),
            request_id: self.name.clone(),
            attempt: "attempt".into(),
            overwrite: false,
            claimant: Claimant { host: "test".into(), process: std::process::id() },
            is_gone: |_| false,
            registry: (snapshot.document.version_id(), snapshot.bytes.clone()),
            now: Utc::now,
        };
        let run = run(&prepared, engine, &options, &RunContext::default(), std::future::pending()).await?;
        assert!(!run.repeated);
        Ok(run.manifest)
    }

    pub(super) fn expected(&self) -> RecordBatch {
        read_parquet(bytes::Bytes::from(std::fs::read(self.folder.join("expected.parquet")).unwrap()))
    }

    /// The dataset as a reader finds it: the parts of its manifest, which must be all that is listed.
    pub(super) async fn read_dataset(
        &self,
        output: &Location,
        manifest: &Manifest,
    ) -> Result<RecordBatch, String> {
        let listed = self.stores.expand(output).await.map_err(|e| e.to_string())?;
        let mut names: Vec<&str> = listed.iter().filter_map(|entry| entry.location.file_name()).collect();
        let mut parts: Vec<&str> = manifest.parts.iter().map(|part| part.path.as_str()).collect();
        names.sort_unstable();
        parts.sort_unstable();
        if names != parts {
            return Err(format!("listed {names:?}, the manifest has {parts:?}"));
        }
        let mut batches = Vec::new();
        for part in &manifest.parts {
            let object = self.stores.read(&output.join(&part.path)).await.map_err(|e| e.to_string())?;
            let bytes = object.ok_or("a part is missing")?.bytes;
            if bytes.len() as u64 != part.bytes {
                return Err(format!(
                    "{} has {} bytes, the manifest says {}",
                    part.path,
                    bytes.len(),
                    part.bytes
                ));
            }
            let batch = read_parquet(bytes);
            if batch.num_rows() as u64 != part.rows {
                return Err(format!(
                    "{} has {} rows, the manifest says {}",
                    part.path,
                    batch.num_rows(),
                    part.rows
                ));
            }
            batches.push(batch);
        }
        concat_batches(&batches[0].schema(), &batches).map_err(|e| e.to_string())
    }

    pub(super) async fn exists(&self, location: &Location) -> bool {
        self.stores.head(location).await.unwrap().is_some()
    }
}

fn read_parquet(bytes: bytes::Bytes) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = std::sync::Arc::clone(builder.schema());
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}
