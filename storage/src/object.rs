//! Small objects that several writers change: read with a version, written only if the version still stands.
//!
//! A conditional put whose answer is lost may have been applied, and the client repeats puts on its own, so a refused
//! condition may be our own earlier write. Hence one rule for every store: **a write is done when the object holds
//! exactly the bytes given.** Before a conflict is declared the object is read back and compared. Callers make their
//! bytes unique (a version id inside), or two writers of equal bytes would both be told that they wrote.

use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};

use crate::classify::is_unanswered;
use crate::local;
use crate::place::Place;
use crate::{Location, StorageError, Stores};

/// The state of an object: its ETag on S3 and Azure, its generation on Google Cloud Storage, the SHA-256 of its content on
/// a file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub(crate) String);

impl Version {
    /// The version as text, to be shown or recorded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the store of `location` told of an object's state, in the form in which it takes conditions.
    pub(crate) fn told(
        location: &Location,
        etag: Option<String>,
        generation: Option<String>,
    ) -> Option<Self> {
        match location.place() {
            Place::Google { .. } => generation.map(Self),
            Place::Local | Place::S3 { .. } | Place::Azure { .. } => etag.map(Self),
        }
    }

    /// The condition that the object at `location` is still this.
    pub(crate) fn expected_in(&self, location: &Location) -> UpdateVersion {
        let version = Some(self.0.clone());
        match location.place() {
            Place::Google { .. } => UpdateVersion { e_tag: None, version },
            Place::Local | Place::S3 { .. } | Place::Azure { .. } => {
                UpdateVersion { e_tag: version, version: None }
            }
        }
    }
}

/// The bytes of an object and the version they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The whole content.
    pub bytes: Bytes,
    /// What to expect when replacing it.
    pub version: Version,
}

/// How often a conditional write is tried when the store answers "conflict" but holds no object, or does not answer.
const ATTEMPTS_MAX: u32 = 4;

impl Stores {
    /// Reads an object whole; `None` when it does not exist. A missing bucket is an error.
    pub async fn read(&self, location: &Location) -> Result<Option<Versioned>, StorageError> {
        if let Some(path) = self.local_path(location)? {
            return local::read(location.clone(), path).await;
        }
        let store = self.open(location)?;
        let got = match store.get(&location.path()).await {
            Ok(got) => got,
            Err(error) => return absent_or(location, error),
        };
        let version = Version::told(location, got.meta.e_tag.clone(), got.meta.version.clone());
        let bytes = got.bytes().await.map_err(|error| StorageError::classify(location, error))?;
        let version = version.ok_or_else(|| no_version(location))?;
        Ok(Some(Versioned { bytes, version }))
    }

    /// Writes an object that must not exist yet; one that does, with other content, is a conflict.
    pub async fn create(&self, location: &Location, bytes: Bytes) -> Result<Version, StorageError> {
        if let Some(path) = self.local_path(location)? {
            return local::create(location.clone(), path, bytes).await;
        }
        let store = self.open(location)?;
        let mut attempt = 1;
        loop {
            let error = match put(store.as_ref(), location, &bytes, PutMode::Create).await {
                Ok(version) => return self.written(location, &bytes, version).await,
                Err(error) => error,
            };
            let Some(found) = self.read_back(location, &error).await? else {
                return Err(StorageError::classify(location, error));
            };
            match found {
                Some(found) if found.bytes == bytes => return Ok(found.version),
                Some(_) => {
                    return Err(StorageError::Conflict {
                        location: location.clone(),
                        what: "exists already",
                    });
                }
                // "Conflict" and nothing there: another write of this key was under way, and came to nothing.
                None if (is_conflict(&error) || is_worth_repeating(location, &error))
                    && attempt < ATTEMPTS_MAX =>
                {
                    pause(attempt).await;
                    attempt += 1;
                }
                None => return Err(in_doubt(location, error)),
            }
        }
    }

    /// Writes an object that must still be `expected`; one that is not, or is gone, is a conflict.
    pub async fn replace(
        &self,
        location: &Location,
        bytes: Bytes,
        expected: &Version,
    ) -> Result<Version, StorageError> {
        if let Some(path) = self.local_path(location)? {
            let timeout = self.options().lock_timeout;
            return local::replace(location.clone(), path, bytes, expected.clone(), timeout).await;
        }
        let store = self.open(location)?;
        let conflict = |what| Err(StorageError::Conflict { location: location.clone(), what });
        let mut attempt = 1;
        loop {
            let mode = PutMode::Update(expected.expected_in(location));
            let error = match put(store.as_ref(), location, &bytes, mode).await {
                Ok(version) => return self.written(location, &bytes, version).await,
                Err(error) => error,
            };
            return match self.read_back(location, &error).await? {
                None => Err(StorageError::classify(location, error)),
                Some(Some(found)) if found.bytes == bytes => Ok(found.version),
                Some(Some(found)) if found.version == *expected && is_conflict(&error) => {
                    Err(StorageError::ConditionsIgnored {
                        location: location.clone(),
                        finding: "it refused to replace a version that is the current one",
                    })
                }
                Some(Some(found)) if found.version == *expected => {
                    if is_worth_repeating(location, &error) && attempt < ATTEMPTS_MAX {
                        pause(attempt).await;
                        attempt += 1;
                        continue;
                    }
                    Err(in_doubt(location, error))
                }
                Some(Some(_)) => conflict("was changed by somebody else"),
                Some(None) => conflict("was deleted by somebody else"),
            };
        }
    }

    /// Writes an object whatever was there before; readers see the old content or the new, never a part.
    pub async fn put(&self, location: &Location, bytes: Bytes) -> Result<(), StorageError> {
        if let Some(path) = self.local_path(location)? {
            return local::put(location.clone(), path, bytes, self.options().lock_timeout).await;
        }
        let store = self.open(location)?;
        let put = put(store.as_ref(), location, &bytes, PutMode::Overwrite).await;
        put.map(|_| ()).map_err(|error| StorageError::classify(location, error))
    }

    /// Deletes an object; one that does not exist is fine.
    pub async fn delete(&self, location: &Location) -> Result<(), StorageError> {
        if let Some(path) = self.local_path(location)? {
            return local::delete(location.clone(), path).await;
        }
        let store = self.open(location)?;
        let mut attempt = 1;
        loop {
            match store.delete(&location.path()).await {
                Ok(()) => return Ok(()),
                Err(error) if is_worth_repeating(location, &error) && attempt < ATTEMPTS_MAX => {
                    pause(attempt).await;
                    attempt += 1;
                }
                Err(error) => return absent_or::<()>(location, error).map(|_| ()),
            }
        }
    }

    /// Gives a finished file its final name, durably, over whatever is there; a repeated call is fine.
    ///
    /// For files of one file system only: in an object store an upload in parts is what stays unseen until completed.
    pub async fn publish(&self, from: &Location, to: &Location) -> Result<(), StorageError> {
        match (self.local_path(from)?, self.local_path(to)?) {
            (Some(from_path), Some(to_path)) => local::publish(from.clone(), from_path, to_path).await,
            _ => Err(StorageError::InvalidLocation {
                given: to.to_string(),
                reason: format!("`{from}` can be renamed to it on one file system only"),
            }),
        }
    }

    /// Removes a folder of a file system if nothing is in it; object stores have no folders.
    pub async fn remove_empty_folder(&self, folder: &Location) -> Result<(), StorageError> {
        match self.local_path(folder)? {
            Some(path) => local::remove_empty_folder(folder.clone(), path).await,
            None => Ok(()),
        }
    }

    /// The version of what was just written, asked for when the store's answer did not say.
    async fn written(
        &self,
        location: &Location,
        bytes: &Bytes,
        version: Option<Version>,
    ) -> Result<Version, StorageError> {
        if let Some(version) = version {
            return Ok(version);
        }
        match self.read(location).await? {
            Some(found) if found.bytes == bytes => Ok(found.version),
            _ => Err(StorageError::Conflict {
                location: location.clone(),
                what: "was changed by somebody else",
            }),
        }
    }

    /// What the object holds after a put failed with `error`; `None` when the put cannot have been applied.
    async fn read_back(
        &self,
        location: &Location,
        error: &object_store::Error,
    ) -> Result<Option<Option<Versioned>>, StorageError> {
        use object_store::Error as E;
        let is_definite = matches!(
            error,
            E::PermissionDenied { .. }
                | E::Unauthenticated { .. }
                | E::NotFound { .. }
                | E::NotImplemented { .. }
        );
        if is_definite {
            return Ok(None);
        }
        // Not the error: a server's answer may echo a key id or a signature.
        tracing::debug!(%location, "a put failed or is in doubt, reading back");
        self.read(location).await.map(Some)
    }
}

async fn put(
    store: &dyn ObjectStore,
    location: &Location,
    bytes: &Bytes,
    mode: PutMode,
) -> Result<Option<Version>, object_store::Error> {
    let payload = PutPayload::from_bytes(bytes.clone());
    let put = store.put_opts(&location.path(), payload, PutOptions::from(mode)).await?;
    Ok(Version::told(location, put.e_tag, put.version))
}

/// Whether a conditional write or a deletion without an answer is tried again by us. The client does it itself for S3 only. It is safe
/// everywhere: whichever of the two arrives first, the other's condition does not hold.
fn is_worth_repeating(location: &Location, error: &object_store::Error) -> bool {
    !matches!(location.place(), Place::S3 { .. }) && is_unanswered(error)
}

async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
}

/// Whether the store said that the condition does not hold.
fn is_conflict(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
}

/// A put that seems not to have been applied, but failed in a way that leaves no certainty.
fn in_doubt(location: &Location, error: object_store::Error) -> StorageError {
    match StorageError::classify(location, error) {
        // "Exists already" about an object that is not there would mislead.
        StorageError::Conflict { location, .. } => {
            StorageError::Conflict { location, what: "is being written by somebody else" }
        }
        other => other,
    }
}

/// `None` for an object that does not exist; a missing bucket and everything else stays an error.
fn absent_or<T>(location: &Location, error: object_store::Error) -> Result<Option<T>, StorageError> {
    match StorageError::classify(location, error) {
        StorageError::NotFound { kind: "object", .. } => Ok(None),
        other => Err(other),
    }
}

fn no_version(location: &Location) -> StorageError {
    let finding = match location.place() {
        Place::Google { .. } => "it gives its objects no generation",
        Place::Local | Place::S3 { .. } | Place::Azure { .. } => "it gives its objects no ETag",
    };
    StorageError::ConditionsIgnored { location: location.clone(), finding }
}
