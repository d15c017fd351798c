//! Whether a store honours conditional writes: asked once, before the first registry is written there.

use bytes::Bytes;
use object_store::{Error, ObjectStore, PutMode, PutOptions, PutPayload};
use uuid::Uuid;

use crate::{Location, StorageError, Stores, Version};

/// How the names of probes start.
pub(crate) const PROBE_PREFIX: &str = ".backsight-probe-";

/// What one probing write was answered.
enum Answer {
    Written(Option<Version>),
    Refused,
}

impl Stores {
    /// Tries conditional writes on a throw-away object beside `beside`, and fails if the store gets one wrong: it
    /// creates what exists, replaces a version that is gone, or refuses to replace the current one.
    ///
    /// A store that passed is not asked again by this process. Files pass without a probe: they are locked.
    pub async fn require_conditional_writes(&self, beside: &Location) -> Result<(), StorageError> {
        if beside.is_local() || self.is_proved(beside) {
            return Ok(());
        }
        let folder = beside.parent().unwrap_or_else(|| beside.clone());
        let probe = folder.join(&format!("{PROBE_PREFIX}{}", Uuid::new_v4()));
        let finding = self.probe(beside, &probe).await;
        let deleted = self.delete(&probe).await;
        match finding? {
            Some(finding) => Err(StorageError::ConditionsIgnored { location: beside.clone(), finding }),
            None => {
                deleted?;
                self.set_proved(beside);
                Ok(())
            }
        }
    }

    /// Which condition the store gets wrong, if any.
    async fn probe(&self, beside: &Location, probe: &Location) -> Result<Option<&'static str>, StorageError> {
        let store = self.open(probe)?;
        // The first write may be repeated inside after a lost answer; `create` knows how to tell.
        let first =
            self.create(probe, Bytes::from_static(b"first")).await.map_err(|error| about(beside, error))?;
        let update = |version: &Version| PutMode::Update(version.expected_in(probe));
        let attempt = async |bytes: &'static [u8], mode| {
            ask(store.as_ref(), probe, bytes, mode)
                .await
                .map_err(|error| StorageError::classify(beside, error))
        };
        if let Answer::Written(_) = attempt(b"second", PutMode::Create).await? {
            return Ok(Some("it created an object that exists already"));
        }
        let second = match attempt(b"third", update(&first)).await? {
            Answer::Written(version) => version,
            Answer::Refused => return Ok(Some("it refused to replace a version that is the current one")),
        };
        if second.is_none_or(|second| second == first) {
            return Ok(Some("it gives a changed object no new version"));
        }
        if let Answer::Written(_) = attempt(b"fourth", update(&first)).await? {
            return Ok(Some("it replaced a version that is not the current one"));
        }
        Ok(None)
    }
}

async fn ask(
    store: &dyn ObjectStore,
    probe: &Location,
    bytes: &'static [u8],
    mode: PutMode,
) -> Result<Answer, Error> {
    match store.put_opts(&probe.path(), PutPayload::from_static(bytes), PutOptions::from(mode)).await {
        Ok(put) => Ok(Answer::Written(Version::told(probe, put.e_tag, put.version))),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => {
            Ok(Answer::Refused)
        }
        Err(error) => Err(error),
    }
}

/// The same failure, told about the object that the user knows.
fn about(beside: &Location, error: StorageError) -> StorageError {
    match error {
        StorageError::AccessDenied { source, .. } => {
            StorageError::AccessDenied { location: beside.clone(), source }
        }
        StorageError::NotFound { kind, .. } => StorageError::NotFound { kind, location: beside.clone() },
        StorageError::Unreachable { source, .. } => {
            StorageError::Unreachable { location: beside.clone(), source }
        }
        other => other,
    }
}
