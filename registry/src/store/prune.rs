//! Which kept versions and which leftovers of dead writers are removed, and their removal.

use std::time::Duration;

use backsight_storage::FileEntry;
use chrono::{DateTime, TimeDelta, Utc};

use crate::store::history::{History, HistoryEntry, version_id_for_name};
use crate::store::{RegistryStore, StoreError};

/// What is younger is never removed: a writer keeps a version before it becomes current, and may still be at it.
pub const SAFE_AGE: Duration = Duration::from_secs(3600);

/// Which versions stay. A version goes when no rule keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrunePolicy {
    /// So many of the newest stay.
    pub keep: Option<u64>,
    /// What is not older stays. [`SAFE_AGE`] is kept anyway.
    pub older_than: Option<Duration>,
}

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Versions, oldest first.
    pub versions: Vec<HistoryEntry>,
    /// Files that writers left which died in the middle.
    pub leftovers: Vec<FileEntry>,
    /// How many versions are still kept.
    pub kept: u64,
}

impl RegistryStore {
    /// What [`Self::prune`] would remove. The current version, the newest kept one and everything younger than
    /// [`SAFE_AGE`] stay in any case.
    ///
    /// # Errors
    /// The store failed, or the current version is no registry.
    pub async fn prunable(&self, policy: &PrunePolicy, now: DateTime<Utc>) -> Result<Pruned, StoreError> {
        let current = self.read_if_exists().await?;
        let current_id = current.map(|current| version_id_for_name(&current.document, &current.bytes));
        let history = History::list(&self.stores, &self.location).await?;
        let (versions, kept) = choose(&history.entries, current_id.as_deref(), policy, now);
        let mut leftovers = Vec::new();
        for place in [self.location.clone(), self.history_folder().join("any")] {
            leftovers.extend(self.stores.leftovers(&place).await?);
        }
        leftovers.retain(|file| is_older(file.modified, SAFE_AGE, now));
        Ok(Pruned { versions, leftovers, kept })
    }

    /// Removes what [`Self::prunable`] names and `is_agreed` agrees to.
    ///
    /// # Errors
    /// As [`Self::prunable`]; what was removed before the failure is gone.
    pub async fn prune(
        &self,
        policy: &PrunePolicy,
        now: DateTime<Utc>,
        is_agreed: impl Fn(&str) -> bool,
    ) -> Result<Pruned, StoreError> {
        let mut found = self.prunable(policy, now).await?;
        let before = found.versions.len();
        let agreed = |name: Option<&str>| name.is_some_and(&is_agreed);
        found.versions.retain(|entry| agreed(entry.location.file_name()));
        found.leftovers.retain(|file| agreed(file.location.file_name()));
        found.kept += (before - found.versions.len()) as u64;
        // Oldest first: whatever ends this, the versions that are left have no hole in them.
        let versions = found.versions.iter().map(|entry| &entry.location);
        for location in versions.chain(found.leftovers.iter().map(|file| &file.location)) {
            self.stores.delete(location).await?;
        }
        Ok(found)
    }
}

/// The versions that go, oldest first, and how many stay.
fn choose(
    entries: &[HistoryEntry],
    current_id: Option<&str>,
    policy: &PrunePolicy,
    now: DateTime<Utc>,
) -> (Vec<HistoryEntry>, u64) {
    let keep = policy.keep.map_or(0, |keep| usize::try_from(keep).unwrap_or(usize::MAX));
    let age = policy.older_than.unwrap_or_default().max(SAFE_AGE);
    // Without the newest the history would be empty where another program wrote last, and its write go unnoticed.
    let candidates = entries.len().saturating_sub(keep.max(1));
    let is_gone = |entry: &&HistoryEntry| {
        current_id != Some(entry.version_id.as_str()) && is_older(entry.kept_at, age, now)
    };
    let gone: Vec<HistoryEntry> = entries.iter().take(candidates).filter(is_gone).cloned().collect();
    let kept = (entries.len() - gone.len()) as u64;
    (gone, kept)
}

fn is_older(at: DateTime<Utc>, age: Duration, now: DateTime<Utc>) -> bool {
    let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(age).is_some_and(|limit| at < limit)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use backsight_storage::Location;

    use super::*;

    const HOUR: u64 = 3600;

    /// Versions 1, 2, … kept so many hours ago.
    fn entries(hours: &[i64], now: DateTime<Utc>) -> Vec<HistoryEntry> {
        let entry = |(index, hours): (usize, &i64)| HistoryEntry {
            number: index as u64 + 1,
            version_id: format!("v{}", index + 1),
            location: Location::parse("r.pb", Path::new("/r"), None).unwrap(),
            bytes: 1,
            kept_at: now - TimeDelta::hours(*hours),
            is_foreign: false,
        };
        hours.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn a_version_goes_when_no_rule_keeps_it() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let all = entries(&[900, 800, 700, 2, 1, 0], now);
        let rule = |keep: Option<u64>, hours: Option<u64>| PrunePolicy {
            keep,
            older_than: hours.map(|hours| Duration::from_secs(hours * HOUR)),
        };
        for (policy, current, gone) in [
            (rule(Some(1), None), "v6", "v1 v2 v3 v4"),
            (rule(Some(3), None), "v6", "v1 v2 v3"),
            (rule(Some(100), None), "v6", ""),
            (rule(Some(1), Some(750)), "v6", "v1 v2"),
            (rule(Some(5), Some(750)), "v6", "v1"),
            (rule(None, Some(750)), "v6", "v1 v2"),
            // The safe age holds whatever is asked for.
            (rule(None, Some(0)), "v6", "v1 v2 v3 v4"),
            (rule(Some(1), Some(0)), "v6", "v1 v2 v3 v4"),
            // The current version stays wherever it stands, also when it is not kept.
            (rule(Some(1), None), "v2", "v1 v3 v4"),
            (rule(Some(1), None), "foreign", "v1 v2 v3 v4"),
        ] {
            let (found, kept) = choose(&all, Some(current), &policy, now);
            let names: Vec<_> = found.iter().map(|entry| entry.version_id.as_str()).collect();
            assert_eq!(names.join(" "), gone, "{policy:?} {current}");
            assert_eq!(kept as usize, all.len() - found.len());
        }
        let old = entries(&[900, 800], now);
        let (found, _) = choose(&old, None, &rule(None, Some(2)), now);
        assert_eq!(found.len(), 1, "the newest stays");
        assert_eq!(choose(&[], None, &rule(Some(1), None), now), (Vec::new(), 0));
    }
}
