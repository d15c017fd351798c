//! Whether a project has moved: hashes over everything that a registry holds of it.
//!
//! Saved datasets have a hash of their own. Retrievals write them (`--save-as`), at any hour of the day, and definitions
//! do not decide about them: so a change that was decided on before is still the same change (ADR 0014).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::document::RegistryDocument;
use crate::document::history::VersionHistory;
use crate::document::kind::ObjectKind;
use crate::document::registry_document::VERSION_HISTORY;

/// Bytes of a hash.
const HASH: usize = 32;
/// Hexadecimal digits of a fingerprint.
const DIGITS: usize = 4 * HASH;

/// The state of one project, down to the last byte and time stamp, whatever the order of its objects.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProjectFingerprint {
    /// Everything but saved datasets.
    rest: [u8; HASH],
    saved_datasets: [u8; HASH],
}

impl ProjectFingerprint {
    /// Whether two states differ in their saved datasets at most.
    pub fn is_same_but_saved_datasets(&self, other: &Self) -> bool {
        self.rest == other.rest
    }

    fn bytes(&self) -> impl Iterator<Item = &u8> {
        self.rest.iter().chain(&self.saved_datasets)
    }
}

impl fmt::Debug for ProjectFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProjectFingerprint(")?;
        for byte in self.rest.iter().take(6) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…, ")?;
        for byte in self.saved_datasets.iter().take(6) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…)")
    }
}

/// All of it in hexadecimal, as it travels; [`FromStr`] reads it back.
impl fmt::Display for ProjectFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a fingerprint has {DIGITS} lower case hexadecimal digits")]
pub struct NoFingerprint;

impl FromStr for ProjectFingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != DIGITS || !text.bytes().all(is_digit) {
            return Err(NoFingerprint);
        }
        let mut found = Self { rest: [0; HASH], saved_datasets: [0; HASH] };
        let bytes = found.rest.iter_mut().chain(&mut found.saved_datasets);
        for (byte, pair) in bytes.zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NoFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoFingerprint)?;
        }
        Ok(found)
    }
}

impl RegistryDocument {
    /// The fingerprint of a project as it is here; all projects that are not here have the same.
    pub fn project_fingerprint(&self, project: &str) -> ProjectFingerprint {
        let is_of_project = |record: &&super::registry_document::Record| {
            record.id.as_ref().is_some_and(|id| id.project == project)
        };
        let history = VersionHistory::read(&self.records);
        let of_records = self
            .records
            .iter()
            .filter(is_of_project)
            .map(|record| (record.field.number, &record.field.whole[..]));
        let (saved_datasets, rest) = of_records
            .chain(history.raw_of_project(project).map(|whole| (VERSION_HISTORY, &whole[..])))
            .partition(|(number, _)| *number == ObjectKind::SavedDataset.field_number());
        ProjectFingerprint { rest: hash_of(rest), saved_datasets: hash_of(saved_datasets) }
    }
}

fn hash_of(mut parts: Vec<(u32, &[u8])>) -> [u8; HASH] {
    // Feast takes objects out and appends them again: order says nothing.
    parts.sort_unstable();
    let mut hash = Sha256::new();
    for (number, bytes) in parts {
        hash.update(number.to_le_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use crate::document::{NoFingerprint, ProjectFingerprint, RegistryDocument};

    #[test]
    fn a_fingerprint_is_read_back_from_its_text() {
        let bytes = include_bytes!("../../testdata/feast-0.67.pb");
        let fingerprint = RegistryDocument::parse(bytes).unwrap().project_fingerprint("first");
        let text = fingerprint.to_string();
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(format!("{fingerprint:?}").matches(&text[..12]).count(), 1);
        for wrong in [
            "",
            &text[1..],
            &text[64..],
            &text.to_uppercase(),
            &format!("{text}0"),
            &format!("+{}", &text[1..]),
        ] {
            assert_eq!(wrong.parse::<ProjectFingerprint>(), Err(NoFingerprint), "{wrong}");
        }
    }

    #[test]
    fn a_fingerprint_sees_its_own_project_only_and_no_order() {
        let bytes = include_bytes!("../../testdata/feast-0.67.pb");
        let document = RegistryDocument::parse(bytes).unwrap();
        let first = document.project_fingerprint("first");
        let second = document.project_fingerprint("second");
        assert_ne!(first, second);
        assert_eq!(document.project_fingerprint("a"), document.project_fingerprint("b"));

        let mut reordered = document.clone();
        reordered.records.reverse();
        assert_eq!(reordered.project_fingerprint("first"), first);

        let without = |project: &str| {
            let mut changed = document.clone();
            let is_victim = |record: &super::super::registry_document::Record| {
                record.id.as_ref().is_some_and(|id| id.project == project && id.name == "driver")
            };
            let at = changed.records.iter().position(is_victim).unwrap();
            changed.records.remove(at);
            changed
        };
        assert_eq!(without("second").project_fingerprint("first"), first);
        assert_ne!(without("second").project_fingerprint("second"), second);
        assert_ne!(without("first").project_fingerprint("first"), first);
    }
}
