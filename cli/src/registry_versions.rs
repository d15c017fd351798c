//! The versions of a registry as commands reach them: directly in its store, or through a scheduler.

use std::collections::BTreeSet;
use std::time::Duration;

use backsight_proto::control::{
    PruneRegistryHistoryRequest, PrunedFile as WireFile, VersionEntry as WireEntry,
};
use backsight_registry::document::RegistryDocument;
use backsight_registry::store::{self, HistoryEntry, PrunePolicy};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::errors::Failure;
use crate::registry_access::RegistryAccess;

/// One version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionEntry {
    /// Its number in the history; `None` when it is not kept.
    pub(crate) number: Option<u64>,
    /// Its id.
    pub(crate) version_id: String,
    /// When it was kept; for one that is not, when it says that it was written.
    pub(crate) at: Option<DateTime<Utc>>,
    /// Its size.
    pub(crate) bytes: u64,
    /// Whether it is what a reader gets.
    pub(crate) is_current: bool,
    /// Whether somebody else had written it over versions of ours.
    pub(crate) is_foreign: bool,
}

/// The versions of one registry.
#[derive(Debug, Clone)]
pub(crate) struct Versions {
    /// Where the registry is.
    pub(crate) location: String,
    /// Where its versions are kept.
    pub(crate) history_folder: String,
    /// The newest first.
    pub(crate) versions: Vec<VersionEntry>,
}

/// A version as it was read.
#[derive(Debug, Clone)]
pub(crate) struct VersionRead {
    /// Which one it is.
    pub(crate) entry: VersionEntry,
    /// Where it is.
    pub(crate) location: String,
    /// What it says.
    pub(crate) document: RegistryDocument,
}

/// A file that was removed, or would be.
#[derive(Debug, Clone)]
pub(crate) struct PrunedFile {
    /// The last part of its path.
    pub(crate) name: String,
    /// Which version it is; `None` for what a dead writer left.
    pub(crate) entry: Option<VersionEntry>,
    /// Its size.
    pub(crate) bytes: u64,
}

/// What was removed, or would be.
#[derive(Debug, Clone)]
pub(crate) struct Pruned {
    /// Where the registry is.
    pub(crate) location: String,
    /// Versions, oldest first, then leftovers.
    pub(crate) files: Vec<PrunedFile>,
    /// How many versions are still kept.
    pub(crate) kept: u64,
}

impl VersionEntry {
    /// As a sentence names it: `7 (1b9d…)`, or the id alone.
    pub(crate) fn label(&self) -> String {
        match self.number {
            Some(number) => format!("{number} ({})", self.version_id),
            None => self.version_id.clone(),
        }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "number": self.number,
            "version_id": self.version_id,
            "at": self.at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            "bytes": self.bytes,
            "is_current": self.is_current,
            "is_foreign": self.is_foreign,
        })
    }
}

impl RegistryAccess {
    /// Every version that can be read.
    pub(crate) async fn versions(&self) -> Result<Versions, Failure> {
        match self {
            Self::Direct(store) => Ok(Versions {
                location: store.location().to_string(),
                history_folder: store.history_folder().to_string(),
                versions: store.versions().await?.into_iter().map(VersionEntry::from).collect(),
            }),
            Self::Remote(cluster) => {
                let found = cluster.registry_versions().await?;
                Ok(Versions {
                    location: found.location,
                    history_folder: found.history_folder,
                    versions: found.versions.into_iter().map(VersionEntry::from).collect(),
                })
            }
        }
    }

    /// One version as `given` names it.
    pub(crate) async fn read_version(&self, given: &str) -> Result<VersionRead, Failure> {
        match self {
            Self::Direct(store) => {
                let read = store.read_version(given).await?;
                let location = read.entry.location.to_string();
                Ok(VersionRead { entry: read.entry.into(), location, document: read.document })
            }
            Self::Remote(cluster) => {
                let read = cluster.registry_version(given).await?;
                let document = RegistryDocument::parse(&read.registry)?;
                let entry = VersionEntry::from(read.entry.unwrap_or_default());
                Ok(VersionRead { entry, location: read.location, document })
            }
        }
    }

    /// What `policy` does not keep.
    pub(crate) async fn prunable(&self, policy: &PrunePolicy) -> Result<Pruned, Failure> {
        match self {
            Self::Direct(store) => {
                let pruned = store.prunable(policy, Utc::now()).await?;
                Ok(Pruned::of(store.location().to_string(), pruned))
            }
            Self::Remote(cluster) => {
                let request =
                    PruneRegistryHistoryRequest { dry_run: true, ..request_of(policy, cluster.who()) };
                Ok(cluster.prune_registry_history(request).await?.into())
            }
        }
    }

    /// Removes what `policy` does not keep and `agreed` holds.
    pub(crate) async fn prune(&self, policy: &PrunePolicy, agreed: &Pruned) -> Result<Pruned, Failure> {
        let names: BTreeSet<&str> = agreed.files.iter().map(|file| file.name.as_str()).collect();
        match self {
            Self::Direct(store) => {
                let pruned = store.prune(policy, Utc::now(), |name| names.contains(name)).await?;
                Ok(Pruned::of(store.location().to_string(), pruned))
            }
            Self::Remote(cluster) => {
                let agreed = names.into_iter().map(str::to_owned).collect();
                let request = PruneRegistryHistoryRequest { agreed, ..request_of(policy, cluster.who()) };
                Ok(cluster.prune_registry_history(request).await?.into())
            }
        }
    }
}

fn request_of(policy: &PrunePolicy, who: &str) -> PruneRegistryHistoryRequest {
    let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    PruneRegistryHistoryRequest {
        keep: policy.keep,
        older_than_ms: policy.older_than.map(millis),
        requested_by: who.to_owned(),
        ..PruneRegistryHistoryRequest::default()
    }
}

impl Pruned {
    fn of(location: String, pruned: store::Pruned) -> Self {
        let versions = pruned.versions.into_iter().map(|kept| PrunedFile {
            name: kept.location.file_name().unwrap_or_default().to_owned(),
            bytes: kept.bytes,
            entry: Some(kept.into()),
        });
        let leftovers = pruned.leftovers.into_iter().map(|file| PrunedFile {
            name: file.location.file_name().unwrap_or_default().to_owned(),
            entry: None,
            bytes: file.size,
        });
        Self { location, files: versions.chain(leftovers).collect(), kept: pruned.kept }
    }
}

impl From<backsight_proto::control::PrunedRegistryHistory> for Pruned {
    fn from(pruned: backsight_proto::control::PrunedRegistryHistory) -> Self {
        let file = |file: WireFile| PrunedFile {
            name: file.name,
            entry: file.entry.map(VersionEntry::from),
            bytes: file.bytes,
        };
        let files = pruned.versions.into_iter().chain(pruned.leftovers).map(file).collect();
        Self { location: pruned.location, files, kept: pruned.kept }
    }
}

impl From<store::VersionEntry> for VersionEntry {
    fn from(entry: store::VersionEntry) -> Self {
        Self {
            number: entry.number,
            version_id: entry.version_id,
            at: entry.at,
            bytes: entry.bytes,
            is_current: entry.is_current,
            is_foreign: entry.is_foreign,
        }
    }
}

impl From<HistoryEntry> for VersionEntry {
    fn from(kept: HistoryEntry) -> Self {
        Self {
            number: Some(kept.number),
            version_id: kept.version_id,
            at: Some(kept.kept_at),
            bytes: kept.bytes,
            is_current: false,
            is_foreign: kept.is_foreign,
        }
    }
}

impl From<WireEntry> for VersionEntry {
    fn from(entry: WireEntry) -> Self {
        Self {
            number: entry.number,
            version_id: entry.version_id,
            at: entry.at_ms.and_then(DateTime::from_timestamp_millis),
            bytes: entry.bytes,
            is_current: entry.is_current,
            is_foreign: entry.is_foreign,
        }
    }
}
