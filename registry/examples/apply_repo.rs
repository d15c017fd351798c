//! Writes a repo's definitions into a registry: `apply_repo REPO PROJECT REGISTRY`.
//!
//! The smallest program that uses the whole room: load and check, read, apply, write.

use std::error::Error;
use std::path::{Path, absolute};

use backsight_registry::definitions::{LoadOptions, load_definitions};
use backsight_registry::document::{RegistryDocument, Stamp};
use backsight_registry::store::RegistryStore;
use backsight_storage::{Location, StorageOptions, Stores};
use chrono::Utc;
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [repo, project, registry] = &arguments[..] else {
        return Err("usage: apply_repo REPO PROJECT REGISTRY".into());
    };
    let repo = absolute(Path::new(repo))?;
    let loaded = load_definitions(&repo, &LoadOptions { project, ..Default::default() })?;
    let location = Location::parse(registry, &repo, None)?;
    let store = RegistryStore::open(Stores::new(StorageOptions::default()), location);

    let current = store.read_if_exists().await?.map(|snapshot| snapshot.document);
    let current = current.map_or_else(|| RegistryDocument::parse(b""), Ok)?;
    let looked_at = current.project_fingerprint(project);
    let change = |document: &RegistryDocument| {
        document.apply(&loaded.definitions, &mut Stamp { now: Utc::now(), next_id: &mut Uuid::new_v4 })
    };
    store.update(project, &looked_at, change).await?;
    Ok(())
}
