//! Puts the cases in an object store: S3 in this process or as the environment names it, Google, Azure.
//!
//! `BACKSIGHT_TEST_S3_ENDPOINT`, `…_ACCESS_KEY`, `…_SECRET_KEY` and `…_BUCKET` name a real server; the bucket
//! must exist and be empty of the cases.

use std::path::Path;

use backsight_proto::feast::core::Registry;
use backsight_storage::{Location, StorageOptions, Stores};
use prost::Message;

use super::case::{Case, case_folders};
use crate::clouds::Cloud;

pub(super) struct Target {
    pub(super) name: String,
    base: String,
    stores: Stores,
    _cloud: Option<Cloud>,
}

#[expect(clippy::disallowed_methods, reason = "the one place of the tests that looks for a real server")]
fn variable(name: &str) -> Option<String> {
    std::env::var(format!("BACKSIGHT_TEST_S3_{name}")).ok()
}

impl Target {
    /// The S3 that the environment names, else the one in this process.
    pub(super) fn s3() -> Self {
        let Some(endpoint) = variable("ENDPOINT") else { return Self::of(Cloud::s3()) };
        let environment = vec![
            ("AWS_ENDPOINT_URL".to_owned(), endpoint.clone()),
            ("AWS_ACCESS_KEY_ID".to_owned(), variable("ACCESS_KEY").unwrap()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), variable("SECRET_KEY").unwrap()),
        ];
        let stores = Stores::new(StorageOptions { environment, ..StorageOptions::default() });
        let base = format!("s3://{}", variable("BUCKET").unwrap());
        Self { name: format!("S3 at {endpoint}"), base, stores, _cloud: None }
    }

    pub(super) fn of(cloud: Cloud) -> Self {
        let (base, stores) = (cloud.base.clone(), cloud.stores.clone());
        Self { name: format!("{} in the test process", cloud.name), base, stores, _cloud: Some(cloud) }
    }
}

/// Uploads every case and points its registry at the uploaded sources.
pub(super) async fn upload(target: &Target, work: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in case_folders() {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let base = format!("{}/{name}", target.base);
        let at = |path: &str| Location::parse(&format!("{base}/{path}"), work, None).unwrap();
        for path in files_below(&folder) {
            let relative = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            let mut bytes = bytes::Bytes::from(std::fs::read(&path).unwrap());
            if relative == "registry.pb" {
                bytes = with_sources_below(&bytes, &base);
            }
            target.stores.put(&at(&relative), bytes).await.unwrap();
        }
        cases.push(Case {
            registry: at("registry.pb"),
            spine: format!("{base}/spine.parquet"),
            repo: work.to_owned(),
            outputs: at("out"),
            stores: target.stores.clone(),
            name,
            folder,
        });
    }
    cases
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Relative paths of a registry's file sources, made absolute below `base`.
fn with_sources_below(registry: &[u8], base: &str) -> bytes::Bytes {
    use backsight_proto::feast::core::data_source::Options;
    let mut registry = Registry::decode(registry).unwrap();
    let views =
        registry.feature_views.iter_mut().filter_map(|view| view.spec.as_mut()?.batch_source.as_mut());
    for source in views.chain(registry.data_sources.iter_mut()) {
        if let Some(Options::FileOptions(options)) = &mut source.options {
            options.uri = format!("{base}/{}", options.uri);
        }
    }
    registry.encode_to_vec().into()
}
