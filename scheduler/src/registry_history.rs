//! What clients read of the registry's history and how they prune it: the scheduler's side of those calls.

use std::collections::BTreeSet;
use std::time::Duration;

use backsight_proto::control::{
    Failure, PruneRegistryHistoryRequest, PrunedFile, PrunedRegistryHistory, RegistryVersion,
    RegistryVersions, VersionEntry as WireEntry,
};
use backsight_registry::store::{HistoryEntry, PrunePolicy, RegistryStore, VersionEntry};
use chrono::{DateTime, Utc};

use crate::registry_service::failure_of;

/// The versions that can be read, the newest first.
///
/// # Errors
/// The store cannot be read, or there is neither a registry nor a kept version of one.
pub async fn versions(store: &RegistryStore) -> Result<RegistryVersions, Failure> {
    let versions = store.versions().await.map_err(|error| failure_of(&error))?;
    Ok(RegistryVersions {
        location: store.location().to_string(),
        history_folder: store.history_folder().to_string(),
        versions: versions.into_iter().map(entry).collect(),
    })
}

/// One version as `given` names it.
///
/// # Errors
/// No version or several are called so, or the store cannot be read.
pub async fn version(store: &RegistryStore, given: &str) -> Result<RegistryVersion, Failure> {
    let read = store.read_version(given).await.map_err(|error| failure_of(&error))?;
    let location = read.entry.location.to_string();
    Ok(RegistryVersion { entry: Some(entry(read.entry)), location, registry: read.bytes.to_vec() })
}

/// Removes what the request's rules do not keep and its client agreed to, or says what that would be.
///
/// # Errors
/// The store failed; what was removed before is gone.
pub async fn prune(
    store: &RegistryStore,
    request: &PruneRegistryHistoryRequest,
    now: DateTime<Utc>,
) -> Result<PrunedRegistryHistory, Failure> {
    let policy =
        PrunePolicy { keep: request.keep, older_than: request.older_than_ms.map(Duration::from_millis) };
    let agreed: BTreeSet<&str> = request.agreed.iter().map(String::as_str).collect();
    let pruned = match request.dry_run {
        true => store.prunable(&policy, now).await,
        false => store.prune(&policy, now, |name| agreed.contains(name)).await,
    };
    let pruned = pruned.map_err(|error| failure_of(&error))?;
    let leftovers = pruned.leftovers.into_iter().map(|file| PrunedFile {
        name: file.location.file_name().unwrap_or_default().to_owned(),
        entry: None,
        bytes: file.size,
    });
    Ok(PrunedRegistryHistory {
        location: store.location().to_string(),
        versions: pruned.versions.into_iter().map(pruned_version).collect(),
        leftovers: leftovers.collect(),
        kept: pruned.kept,
    })
}

fn entry(entry: VersionEntry) -> WireEntry {
    WireEntry {
        number: entry.number,
        version_id: entry.version_id,
        at_ms: entry.at.map(|at| at.timestamp_millis()),
        bytes: entry.bytes,
        is_current: entry.is_current,
        is_foreign: entry.is_foreign,
    }
}

fn pruned_version(kept: HistoryEntry) -> PrunedFile {
    let name = kept.location.file_name().unwrap_or_default().to_owned();
    let entry = WireEntry {
        number: Some(kept.number),
        version_id: kept.version_id,
        at_ms: Some(kept.kept_at.timestamp_millis()),
        bytes: kept.bytes,
        is_current: false,
        is_foreign: kept.is_foreign,
    };
    PrunedFile { name, entry: Some(entry), bytes: kept.bytes }
}
