//! The versions of a registry as people name them: a list with the current one in it, and which one a text means.

use backsight_storage::Location;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::document::RegistryDocument;
use crate::store::history::{History, HistoryEntry, version_id_for_name};
use crate::store::{RegistrySnapshot, RegistryStore, StoreError};

/// The word for the version that is read when none is named.
const CURRENT: &str = "current";
/// A part of a version id names it from so many characters on.
const ID_START_MIN: usize = 6;

/// One version of a registry: kept beside it, current, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionEntry {
    /// Its number in the history; `None` when it is not kept yet, as what another program wrote.
    pub number: Option<u64>,
    /// Its id: the registry's own, or one made of its content where it has none.
    pub version_id: String,
    /// When it was kept; for one that is not, when it says that it was written.
    pub at: Option<DateTime<Utc>>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it is what a reader gets.
    pub is_current: bool,
    /// Whether somebody else had written it over versions of ours.
    pub is_foreign: bool,
    /// Where it is.
    pub location: Location,
}

/// One version as it was read.
#[derive(Debug, Clone)]
pub struct VersionRead {
    /// Which one it is.
    pub entry: VersionEntry,
    /// What it says.
    pub document: RegistryDocument,
    /// The bytes as stored.
    pub bytes: Bytes,
}

impl RegistryStore {
    /// Every version that can be read, the newest first. A registry without a current and without a kept version is
    /// missing.
    ///
    /// # Errors
    /// The store failed, the current version is no registry, or there is nothing.
    pub async fn versions(&self) -> Result<Vec<VersionEntry>, StoreError> {
        let current = self.read_if_exists().await?;
        let history = History::list(&self.stores, &self.location).await?;
        let versions = list(&self.location, &history.entries, current.as_ref());
        if versions.is_empty() {
            return Err(StoreError::Missing { location: self.location.clone() });
        }
        Ok(versions)
    }

    /// Reads the version that `given` names: its number, its id or the first six or more characters of it, or
    /// `current`.
    ///
    /// # Errors
    /// No version or several are called so, the store failed, or what is there is no registry.
    pub async fn read_version(&self, given: &str) -> Result<VersionRead, StoreError> {
        let current = self.read_if_exists().await?;
        let history = History::list(&self.stores, &self.location).await?;
        let versions = list(&self.location, &history.entries, current.as_ref());
        if versions.is_empty() {
            return Err(StoreError::Missing { location: self.location.clone() });
        }
        let entry = find(&self.location, &versions, given)?.clone();
        if let Some(current) = current.filter(|_| entry.is_current) {
            return Ok(VersionRead { entry, document: current.document, bytes: current.bytes });
        }
        let location = entry.location.clone();
        let Some(found) = self.stores.read(&location).await? else {
            return Err(StoreError::Missing { location });
        };
        match RegistryDocument::parse(&found.bytes) {
            Ok(document) => Ok(VersionRead { entry, document, bytes: found.bytes }),
            Err(source) => Err(StoreError::Document { location, source }),
        }
    }
}

/// The kept versions and the current one, the newest first. A current version that is not kept is the newest.
fn list(registry: &Location, kept: &[HistoryEntry], current: Option<&RegistrySnapshot>) -> Vec<VersionEntry> {
    let current_id = current.map(|current| version_id_for_name(&current.document, &current.bytes));
    let mut versions: Vec<VersionEntry> = kept
        .iter()
        .rev()
        .map(|entry| VersionEntry {
            number: Some(entry.number),
            version_id: entry.version_id.clone(),
            at: Some(entry.kept_at),
            bytes: entry.bytes,
            is_current: current_id.as_ref() == Some(&entry.version_id),
            is_foreign: entry.is_foreign,
            location: entry.location.clone(),
        })
        .collect();
    if let (Some(current), Some(version_id)) = (current, current_id)
        && !versions.iter().any(|version| version.is_current)
    {
        let entry = VersionEntry {
            number: None,
            version_id,
            at: current.document.last_updated(),
            bytes: current.bytes.len() as u64,
            is_current: true,
            is_foreign: !kept.is_empty(),
            location: registry.clone(),
        };
        versions.insert(0, entry);
    }
    versions
}

/// The version that a text names: a whole id first, then a number, then the start of an id.
fn find<'a>(
    registry: &Location,
    versions: &'a [VersionEntry],
    given: &str,
) -> Result<&'a VersionEntry, StoreError> {
    let number: Option<u64> = given.parse().ok();
    let by_id = versions.iter().filter(|version| version.version_id == given).collect();
    let by_word = versions.iter().filter(|version| given == CURRENT && version.is_current).collect();
    let by_number = versions.iter().filter(|version| number.is_some() && version.number == number).collect();
    let is_start = given.len() >= ID_START_MIN;
    let by_start =
        versions.iter().filter(|version| is_start && version.version_id.starts_with(given)).collect();
    let ways: [Vec<&VersionEntry>; 4] = [by_id, by_word, by_number, by_start];
    let numbers = || versions.iter().filter_map(|version| version.number);
    match ways.into_iter().find(|found| !found.is_empty()).as_deref() {
        Some([one]) => Ok(one),
        Some(several) => Err(StoreError::AmbiguousVersion {
            location: registry.clone(),
            given: given.to_owned(),
            candidates: several.iter().map(|version| format!("`{}`", version.version_id)).collect(),
        }),
        None => Err(StoreError::UnknownVersion {
            location: registry.clone(),
            given: given.to_owned(),
            numbers: numbers().min().zip(numbers().max()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn registry() -> Location {
        Location::parse("registry.pb", Path::new("/r"), None).unwrap()
    }

    fn version(number: Option<u64>, id: &str, is_current: bool) -> VersionEntry {
        VersionEntry {
            number,
            version_id: id.to_owned(),
            at: None,
            bytes: 1,
            is_current,
            is_foreign: false,
            location: registry(),
        }
    }

    #[test]
    fn a_text_names_a_version_by_id_number_start_or_word() {
        let versions = [
            version(None, "feast-1", true),
            version(Some(12), "abcdef-12", false),
            version(Some(3), "abcdef-3", false),
            version(Some(3), "zzzzzz-3", false),
            version(Some(2), "12", false),
        ];
        for (given, expected) in [
            ("current", "ok feast-1"),
            ("feast-1", "ok feast-1"),
            ("feast-", "ok feast-1"),
            ("feast", "`/r/registry.pb` has no version `feast`; kept are 2 to 12"),
            ("2", "ok 12"),
            ("12", "ok 12"),
            ("012", "ok abcdef-12"),
            ("abcdef-1", "ok abcdef-12"),
            ("3", "`3` stands for several versions of `/r/registry.pb`: `abcdef-3`, `zzzzzz-3`"),
            ("abcdef", "`abcdef` stands for several versions of `/r/registry.pb`: `abcdef-12`, `abcdef-3`"),
            ("7", "`/r/registry.pb` has no version `7`; kept are 2 to 12"),
            ("", "`/r/registry.pb` has no version ``; kept are 2 to 12"),
        ] {
            let found = match find(&registry(), &versions, given) {
                Ok(found) => format!("ok {}", found.version_id),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{given}");
        }
    }
}
