//! Whether a project has moved: one hash over everything that a registry holds of it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::document::RegistryDocument;
use crate::document::history::VersionHistory;
use crate::document::registry_document::VERSION_HISTORY;

/// Hexadecimal digits of a fingerprint.
const DIGITS: usize = 64;

/// The state of one project, down to the last byte and time stamp, whatever the order of its objects.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProjectFingerprint([u8; 32]);

impl fmt::Debug for ProjectFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProjectFingerprint(")?;
        for byte in self.0.iter().take(6) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…)")
    }
}

/// All of it in hexadecimal, as it travels; [`FromStr`] reads it back.
impl fmt::Display for ProjectFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        let mut bytes = [0; DIGITS / 2];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NoFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NoFingerprint)?;
        }
        Ok(Self(bytes))
    }
}

impl RegistryDocument {
    /// The fingerprint of a project as it is here; all projects that are not here have the same.
    pub fn project_fingerprint(&self, project: &str) -> ProjectFingerprint {
        let is_of_project = |record: &&super::registry_document::Record| {
            record.id.as_ref().is_some_and(|id| id.project == project)
        };
        let history = VersionHistory::read(&self.records);
        let mut parts: Vec<(u32, &[u8])> = self
            .records
            .iter()
            .filter(is_of_project)
            .map(|record| (record.field.number, &record.field.whole[..]))
            .chain(history.raw_of_project(project).map(|whole| (VERSION_HISTORY, &whole[..])))
            .collect();
        // Feast takes objects out and appends them again: order says nothing.
        parts.sort_unstable();
        let mut hash = Sha256::new();
        for (number, bytes) in parts {
            hash.update(number.to_le_bytes());
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        ProjectFingerprint(hash.finalize().into())
    }
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
        for wrong in ["", &text[1..], &text.to_uppercase(), &format!("{text}0"), &format!("+{}", &text[1..])]
        {
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
