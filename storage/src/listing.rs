//! What is in a folder, and what one file looks like from outside.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};

use crate::local::{LOCK_FILE, TEMPORARY_PREFIX};
use crate::place::Place;
use crate::probe::PROBE_PREFIX;
use crate::{Location, StorageError, Stores};

/// A file as its store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it is.
    pub location: Location,
    /// Its size in bytes.
    pub size: u64,
    /// What identifies its content; on a file system made of inode, size and time of change.
    pub etag: Option<String>,
    /// When it was last changed.
    pub modified: DateTime<Utc>,
}

impl Stores {
    /// All files below `folder`, at any depth, sorted by path; a folder that does not exist has none.
    pub async fn list(&self, folder: &Location) -> Result<Vec<FileEntry>, StorageError> {
        let store = self.open(folder)?;
        let path = folder.path();
        let prefix = (!folder.is_root()).then_some(&path);
        let objects: Vec<ObjectMeta> =
            store.list(prefix).try_collect().await.map_err(|error| StorageError::classify(folder, error))?;
        let mut entries: Vec<FileEntry> = objects
            .into_iter()
            .filter(|object| !folder.is_local() || !object.location.filename().is_some_and(is_ours))
            .map(|object| entry(folder, object))
            .collect();
        // A link inside of an allowed folder may lead out of it.
        entries.iter().try_for_each(|entry| self.check_allowed(&entry.location))?;
        entries.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(entries)
    }

    /// What writers left beside `beside` that died in the middle: half-written files, probes of conditional writes.
    /// One that is young may belong to a writer that is alive.
    pub async fn leftovers(&self, beside: &Location) -> Result<Vec<FileEntry>, StorageError> {
        let folder = beside.parent().unwrap_or_else(|| beside.clone());
        let path = folder.path();
        let prefix = (!folder.is_root()).then_some(&path);
        let store = self.open(&folder)?;
        let listed = store.list_with_delimiter(prefix).await;
        let objects = match listed.map_err(|error| StorageError::classify(&folder, error)) {
            Ok(listed) => listed.objects,
            Err(StorageError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let is_left = |name: &str| name.starts_with(TEMPORARY_PREFIX) || name.starts_with(PROBE_PREFIX);
        let mut entries: Vec<FileEntry> = objects
            .into_iter()
            .filter(|object| object.location.filename().is_some_and(is_left))
            .map(|object| entry(&folder, object))
            .collect();
        entries.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(entries)
    }

    /// What `location` looks like from outside; `None` when there is no such file, also where a folder is.
    pub async fn head(&self, location: &Location) -> Result<Option<FileEntry>, StorageError> {
        if location.is_root() {
            return Ok(None);
        }
        match self.open(location)?.head(&location.path()).await {
            Ok(object) => Ok(Some(entry(location, object))),
            Err(error) => match StorageError::classify(location, error) {
                StorageError::NotFound { kind: "file" | "object", .. } => Ok(None),
                other => Err(other),
            },
        }
    }
}

/// `object`, listed in the store of `beside`, as an entry.
fn entry(beside: &Location, object: ObjectMeta) -> FileEntry {
    FileEntry {
        location: beside.sibling(&object.location),
        size: object.size,
        etag: object.e_tag.map(|etag| same_everywhere(beside, etag)),
        modified: object.last_modified,
    }
}

/// The ETag in one spelling: Azure's lists have it without the quotes that its answers about one object have.
fn same_everywhere(location: &Location, etag: String) -> String {
    match location.place() {
        Place::Azure { .. } => etag.trim_matches('"').to_owned(),
        Place::Local | Place::S3 { .. } | Place::Google { .. } => etag,
    }
}

/// A file of ours that is being written, or holds a lock.
fn is_ours(name: &str) -> bool {
    name.starts_with(TEMPORARY_PREFIX) || name == LOCK_FILE
}
