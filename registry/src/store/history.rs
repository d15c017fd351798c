//! The versions kept beside a registry, and what they say about who wrote last.
//!
//! ```text
//! registry.pb                                  the current version
//! registry.pb.history/00000001-<version id>.pb  each version that we wrote or replaced, in order
//! registry.pb.history/00000002-<version id>.foreign.pb  one that somebody else had written over ours
//! registry.pb.history/00000003-<version id>.pb
//! ```
//!
//! A version is kept *before* it becomes current: whatever crashes in between, every version of ours that ever was
//! current can be read again. The price is that a crash may leave a kept version that never became current; it does
//! no harm, and the next number is given out after it. The version that we replace is kept too, if it is not yet: so
//! are those of other writers that we meet. Therefore a current version that is not kept was written by somebody else.

use backsight_storage::{FileEntry, Location, StorageError, Stores};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::document::RegistryDocument;

/// Longer ids of other writers do not become part of a name.
const VERSION_ID_LENGTH_MAX: usize = 64;

/// What the name of a version has that somebody else wrote. No version id has a point.
const FOREIGN_MARK: &str = ".foreign";

/// A kept version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Counts up from 1. Two writers at once may give out the same number; one of them did not become current.
    pub number: u64,
    /// The version id in its name: the registry's own, or one made of its content where it has none.
    pub version_id: String,
    /// Where it is.
    pub location: Location,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was kept.
    pub kept_at: DateTime<Utc>,
    /// Whether somebody else had written it over versions of ours.
    pub is_foreign: bool,
}

/// The current version was written by something else than Backsight, over versions that Backsight wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignWrite {
    /// The version id of the foreign version.
    pub version_id: String,
    /// When it says that it was written.
    pub written_at: Option<DateTime<Utc>>,
    /// The newest version that we know of: compare the two to see whether something of ours was lost.
    pub newest_known: HistoryEntry,
}

/// The history of one registry as it was listed.
#[derive(Debug, Clone)]
pub(crate) struct History {
    folder: Location,
    pub(crate) entries: Vec<HistoryEntry>,
}

impl History {
    /// Lists what is kept beside `registry`, oldest first.
    pub(crate) async fn list(stores: &Stores, registry: &Location) -> Result<Self, StorageError> {
        let folder = folder(registry);
        let files = stores.list(&folder).await?;
        let mut entries: Vec<_> = files.into_iter().filter_map(|file| entry(&folder, file)).collect();
        entries.sort_by(|left, right| {
            (left.number, &left.kept_at, &left.version_id).cmp(&(
                right.number,
                &right.kept_at,
                &right.version_id,
            ))
        });
        Ok(Self { folder, entries })
    }

    /// Whether this version is kept.
    pub(crate) fn has(&self, version_id: &str) -> bool {
        self.entries.iter().any(|entry| entry.version_id == version_id)
    }

    /// Keeps a version under the next number; one that is kept already stays as it is.
    pub(crate) async fn keep(
        &mut self,
        stores: &Stores,
        document: &RegistryDocument,
        bytes: &Bytes,
    ) -> Result<Location, StorageError> {
        self.keep_marked(stores, document, bytes, false).await
    }

    /// Keeps the current version before it is replaced, and says whether somebody else wrote it.
    pub(crate) async fn keep_current(
        &mut self,
        stores: &Stores,
        document: &RegistryDocument,
        bytes: &Bytes,
    ) -> Result<Option<ForeignWrite>, StorageError> {
        let foreign_write = self.foreign_write(document, bytes);
        self.keep_marked(stores, document, bytes, foreign_write.is_some()).await?;
        Ok(foreign_write)
    }

    async fn keep_marked(
        &mut self,
        stores: &Stores,
        document: &RegistryDocument,
        bytes: &Bytes,
        is_foreign: bool,
    ) -> Result<Location, StorageError> {
        let version_id = version_id_for_name(document, bytes);
        if let Some(entry) = self.entries.iter().find(|entry| entry.version_id == version_id) {
            return Ok(entry.location.clone());
        }
        let number = self.entries.iter().map(|entry| entry.number).max().unwrap_or(0) + 1;
        let mark = if is_foreign { FOREIGN_MARK } else { "" };
        let location = self.folder.join(&format!("{number:08}-{version_id}{mark}.pb"));
        stores.create(&location, bytes.clone()).await?;
        let kept_at = document.last_updated().unwrap_or_default();
        let size = bytes.len() as u64;
        self.entries.push(HistoryEntry {
            number,
            version_id,
            location: location.clone(),
            bytes: size,
            kept_at,
            is_foreign,
        });
        Ok(location)
    }

    /// Whether somebody else wrote the current version over ours.
    pub(crate) fn foreign_write(&self, document: &RegistryDocument, bytes: &Bytes) -> Option<ForeignWrite> {
        let newest_known = self.entries.last()?;
        let version_id = version_id_for_name(document, bytes);
        (!self.has(&version_id)).then(|| ForeignWrite {
            version_id,
            written_at: document.last_updated(),
            newest_known: newest_known.clone(),
        })
    }
}

/// `<registry>.history`.
pub(crate) fn folder(registry: &Location) -> Location {
    let name = format!("{}.history", registry.file_name().unwrap_or_default());
    match registry.parent() {
        Some(parent) => parent.join(&name),
        None => registry.join(&name),
    }
}

/// The version id as a part of a file name; where there is none, or one that does not fit, the content says it.
pub(crate) fn version_id_for_name(document: &RegistryDocument, bytes: &Bytes) -> String {
    let fits = |id: &String| {
        id.len() <= VERSION_ID_LENGTH_MAX
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    document.version_id().filter(fits).unwrap_or_else(|| {
        let hash = Sha256::digest(bytes);
        let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("sha256-{hex}")
    })
}

/// Reads the name of a kept version; `None` for files that are something else.
fn entry(folder: &Location, file: FileEntry) -> Option<HistoryEntry> {
    if file.location.parent().as_ref() != Some(folder) {
        return None;
    }
    let (number, version_id) = file.location.file_name()?.strip_suffix(".pb")?.split_once('-')?;
    let own_id = version_id.strip_suffix(FOREIGN_MARK);
    Some(HistoryEntry {
        number: number.parse().ok()?,
        version_id: own_id.unwrap_or(version_id).to_owned(),
        is_foreign: own_id.is_some(),
        bytes: file.size,
        kept_at: file.modified,
        location: file.location,
    })
}
