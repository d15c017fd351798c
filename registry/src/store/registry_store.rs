//! Reads the registry, and changes it by read, modify, conditional write.

use std::num::NonZeroU32;
use std::time::Duration;

use backsight_proto::ErrorCode;
use backsight_storage::{Location, Stores, Version};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::diff::is_unmoved;
use crate::document::{ApplyError, ProjectFingerprint, RegistryDocument};
use crate::model::Definitions;
use crate::store::history::{ForeignWrite, History, HistoryEntry};
use crate::store::{StoreError, history};

/// Bounds of a write.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How often a change is tried while writers of other projects are first. Each loser of a round makes room for
    /// one winner, so this bounds how many may write at once.
    pub attempts_max: NonZeroU32,
    /// The longest wait after the first lost round; it doubles with every round.
    pub delay_min: Duration,
    /// The longest wait between two rounds.
    pub delay_max: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            attempts_max: NonZeroU32::new(100).unwrap_or(NonZeroU32::MIN),
            delay_min: Duration::from_millis(20),
            delay_max: Duration::from_secs(1),
        }
    }
}

/// A registry as it was read.
#[derive(Debug, Clone)]
pub struct RegistrySnapshot {
    /// What it says.
    pub document: RegistryDocument,
    /// The state of the object, for a conditional write.
    pub version: Version,
    /// The bytes as stored.
    pub bytes: Bytes,
}

/// The outcome of [`RegistryStore::update`].
#[derive(Debug, Clone)]
pub struct Written {
    /// The registry after the change. When others wrote in the same moment, theirs may be in it too.
    pub snapshot: RegistrySnapshot,
    /// Whether anything was written.
    pub is_changed: bool,
    /// How many attempts it took.
    pub attempts: u32,
    /// A warning: somebody else had written over versions of ours.
    pub foreign_write: Option<ForeignWrite>,
}

/// One registry in its store.
#[derive(Debug, Clone)]
pub struct RegistryStore {
    pub(super) stores: Stores,
    pub(super) location: Location,
    options: StoreOptions,
}

impl RegistryStore {
    /// The registry at `location`; nothing is read or written yet.
    pub fn open(stores: Stores, location: Location) -> Self {
        Self::with_options(stores, location, StoreOptions::default())
    }

    /// As [`Self::open`], with other bounds.
    pub fn with_options(stores: Stores, location: Location, options: StoreOptions) -> Self {
        Self { stores, location, options }
    }

    /// Where the registry is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Reads the registry. One that is missing is an error, and is never created by reading.
    pub async fn read(&self) -> Result<RegistrySnapshot, StoreError> {
        let missing = || StoreError::Missing { location: self.location.clone() };
        self.read_if_exists().await?.ok_or_else(missing)
    }

    /// As [`Self::read`], with `None` for a registry that is missing: what `plan` and the first `apply` start from.
    pub async fn read_if_exists(&self) -> Result<Option<RegistrySnapshot>, StoreError> {
        let Some(found) = self.stores.read(&self.location).await? else { return Ok(None) };
        Ok(Some(RegistrySnapshot {
            document: self.parse(&found.bytes)?,
            version: found.version,
            bytes: found.bytes,
        }))
    }

    /// Changes one project.
    ///
    /// `expected` is the project's fingerprint when the change was decided on: if the project is in another state now,
    /// nothing is written. When a writer of another project is first, `change` is applied again to what that one
    /// wrote; it must therefore give its result a fresh version id each time. A `change` that changes nothing writes
    /// nothing. A registry that is missing is created.
    ///
    /// After an error of the store (not a conflict) the change may have been written all the same: read again.
    pub async fn update(
        &self,
        project: &str,
        expected: &ProjectFingerprint,
        change: impl FnMut(&RegistryDocument) -> Result<RegistryDocument, ApplyError>,
    ) -> Result<Written, StoreError> {
        let is_unmoved = |document: &RegistryDocument| document.project_fingerprint(project) == *expected;
        self.update_if(project, is_unmoved, change).await
    }

    /// As [`Self::update`], for definitions: `expected` is the project's fingerprint when they were compared with it.
    /// Saved datasets that came or changed since are no reason to refuse, unless the change breaks one.
    pub async fn update_to(
        &self,
        definitions: &Definitions,
        expected: &ProjectFingerprint,
        change: impl FnMut(&RegistryDocument) -> Result<RegistryDocument, ApplyError>,
    ) -> Result<Written, StoreError> {
        let is_unmoved = |document: &RegistryDocument| is_unmoved(document, expected, definitions);
        self.update_if(&definitions.project.name, is_unmoved, change).await
    }

    async fn update_if(
        &self,
        project: &str,
        is_unmoved: impl Fn(&RegistryDocument) -> bool,
        mut change: impl FnMut(&RegistryDocument) -> Result<RegistryDocument, ApplyError>,
    ) -> Result<Written, StoreError> {
        let mut foreign_write = None;
        let mut lost: Option<LostRound> = None;
        for attempt in 1..=self.options.attempts_max.get() {
            let current = self.read_if_exists().await?;
            let before = match &current {
                Some(current) => current.document.clone(),
                None => self.parse(&[])?,
            };
            let ours = lost.take();
            if !is_unmoved(&before) {
                return self.moved(project, current, ours, attempt, foreign_write);
            }
            if let Some(lost) = ours {
                // It did not become current, so it is not a version of this registry. Leaving it would do no harm.
                let _ = self.stores.delete(&lost.kept_at).await;
            }
            let document = change(&before)?;
            let bytes = Bytes::from(document.to_bytes());
            if let Some(snapshot) = current.as_ref().filter(|current| current.bytes == bytes) {
                let snapshot = snapshot.clone();
                return Ok(Written { snapshot, is_changed: false, attempts: attempt, foreign_write });
            }
            if current.is_none() && bytes.is_empty() {
                return Err(StoreError::Missing { location: self.location.clone() });
            }
            self.stores.require_conditional_writes(&self.location).await?;
            let mut history = History::list(&self.stores, &self.location).await?;
            if let Some(current) = &current {
                let found = history.keep_current(&self.stores, &current.document, &current.bytes).await?;
                foreign_write = foreign_write.or(found);
            }
            let kept_at = history.keep(&self.stores, &document, &bytes).await?;
            let swapped = match &current {
                Some(current) => self.stores.replace(&self.location, bytes.clone(), &current.version).await,
                None => self.stores.create(&self.location, bytes.clone()).await,
            };
            match swapped {
                Ok(version) => {
                    let snapshot = RegistrySnapshot { document, version, bytes };
                    return Ok(Written { snapshot, is_changed: true, attempts: attempt, foreign_write });
                }
                Err(error) if error.code() == ErrorCode::Conflict => {
                    lost = Some(LostRound {
                        before: before.project_fingerprint(project),
                        after: document.project_fingerprint(project),
                        kept_at,
                    });
                    tokio::time::sleep(self.delay(attempt, &bytes)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Contended {
            location: self.location.clone(),
            attempts: self.options.attempts_max.get(),
        })
    }

    /// The versions kept beside the registry, oldest first.
    pub async fn history(&self) -> Result<Vec<HistoryEntry>, StoreError> {
        Ok(History::list(&self.stores, &self.location).await?.entries)
    }

    /// Reads a kept version.
    pub async fn read_kept(&self, entry: &HistoryEntry) -> Result<RegistryDocument, StoreError> {
        let location = entry.location.clone();
        let Some(found) = self.stores.read(&location).await? else {
            return Err(StoreError::Missing { location });
        };
        RegistryDocument::parse(&found.bytes).map_err(|source| StoreError::Document { location, source })
    }

    /// Whether somebody else wrote this version over versions of ours; a warning, not an error.
    pub async fn foreign_write(
        &self,
        snapshot: &RegistrySnapshot,
    ) -> Result<Option<ForeignWrite>, StoreError> {
        let history = History::list(&self.stores, &self.location).await?;
        Ok(history.foreign_write(&snapshot.document, &snapshot.bytes))
    }

    /// The folder of kept versions.
    pub fn history_folder(&self) -> Location {
        history::folder(&self.location)
    }

    fn parse(&self, bytes: &[u8]) -> Result<RegistryDocument, StoreError> {
        let location = || self.location.clone();
        RegistryDocument::parse(bytes).map_err(|source| StoreError::Document { location: location(), source })
    }

    /// The project is not as expected. It may be as *we* left it: a write whose answer was lost counts as refused
    /// when another writer came right after it.
    fn moved(
        &self,
        project: &str,
        current: Option<RegistrySnapshot>,
        ours: Option<LostRound>,
        attempts: u32,
        foreign_write: Option<ForeignWrite>,
    ) -> Result<Written, StoreError> {
        let Some(snapshot) = current else {
            return Err(StoreError::Missing { location: self.location.clone() });
        };
        if ours.is_some_and(|ours| ours.is_in(&snapshot.document.project_fingerprint(project))) {
            return Ok(Written { snapshot, is_changed: true, attempts, foreign_write });
        }
        Err(StoreError::ProjectMoved {
            project: project.to_owned(),
            location: self.location.clone(),
            now: Box::new(snapshot),
        })
    }

    /// A wait below a bound that doubles with every round. What was to be written carries a fresh id, so its hash is
    /// the random part: two writers do not wait in step.
    fn delay(&self, attempt: u32, bytes: &Bytes) -> Duration {
        let bound = self.options.delay_min.saturating_mul(1 << attempt.min(16)).min(self.options.delay_max);
        let random =
            Sha256::digest(bytes).iter().fold(0_u32, |sum, byte| sum.rotate_left(8) ^ u32::from(*byte));
        bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// A write that another one was faster than.
#[derive(Debug)]
struct LostRound {
    /// The state of the project that it started from.
    before: ProjectFingerprint,
    /// The state in which it would have left the project.
    after: ProjectFingerprint,
    /// Where the version was kept.
    kept_at: Location,
}

impl LostRound {
    /// Whether it became current after all: the project is as it left it. A dataset that was saved since then does not
    /// count, if it was not datasets alone that the round was about.
    fn is_in(&self, found: &ProjectFingerprint) -> bool {
        let changed_more = !self.after.is_same_but_saved_datasets(&self.before);
        self.after == *found || (changed_more && self.after.is_same_but_saved_datasets(found))
    }
}
