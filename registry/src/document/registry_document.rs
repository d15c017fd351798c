//! The document itself: a sequence of raw fields, each known by what it is and whose it is.

use std::collections::BTreeSet;

use backsight_proto::feast::core;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use prost::Message;

use crate::document::DocumentError;
use crate::document::catalog::ProjectObjects;
use crate::document::kind::{ObjectId, ObjectKind};
use crate::document::signature::Signature;
use crate::model::Catalog;
use crate::wire::{WireError, WireField, split_fields};

/// `Registry.registry_schema_version`.
pub(crate) const SCHEMA_VERSION: u32 = 3;
/// `Registry.version_id`.
pub(crate) const VERSION_ID: u32 = 4;
/// `Registry.last_updated`.
pub(crate) const LAST_UPDATED: u32 = 5;
/// `Registry.infra`.
const INFRA: u32 = 10;
/// `Registry.feature_view_version_history`.
pub(crate) const VERSION_HISTORY: u32 = 18;

/// A registry file, held as the raw fields it consists of.
///
/// What nobody changes is written back byte for byte, known to us or not: objects of other projects and other kinds,
/// unknown top-level fields, the order of everything.
///
/// ```
/// # use backsight_registry::document::RegistryDocument;
/// let empty = RegistryDocument::parse(b"")?; // Feast: a file of no bytes is an empty registry
/// assert!(empty.projects().is_empty());
/// assert!(empty.to_bytes().is_empty());
/// # Ok::<(), backsight_registry::document::DocumentError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryDocument {
    pub(crate) records: Vec<Record>,
}

/// One top-level field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) field: WireField,
    /// Which object it is; `None` for everything that is not an object we know.
    pub(crate) id: Option<ObjectId>,
}

impl Record {
    /// The record of a new or changed object.
    pub(crate) fn object(id: ObjectId, payload: &[u8]) -> Self {
        Self { field: WireField::length_delimited(id.kind.field_number(), payload), id: Some(id) }
    }

    /// The bytes of the message.
    pub(crate) fn payload(&self) -> &[u8] {
        self.field.payload.as_deref().unwrap_or_default()
    }
}

impl RegistryDocument {
    /// Reads a registry; all that a later look needs is decoded once, so that bad bytes are found here.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let signature = Signature::of(&bytes);
        let fields =
            split_fields(&bytes).map_err(|reason| DocumentError::NotProtobuf { reason, signature })?;
        let mut records = Vec::with_capacity(fields.len());
        let mut offset = 0;
        let mut is_registry = fields.is_empty();
        for field in fields {
            let record = identify(field, offset, signature)?;
            is_registry = is_registry || says_registry(&record);
            offset += record.field.whole.len();
            records.push(record);
        }
        if !is_registry {
            return Err(match signature {
                Some(_) => {
                    DocumentError::NotProtobuf { reason: WireError::Malformed { offset: 0 }, signature }
                }
                None => DocumentError::NothingOfARegistry,
            });
        }
        Ok(Self { records })
    }

    /// The registry as it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.records.iter().map(|record| record.field.whole.len()).sum());
        for record in &self.records {
            bytes.extend_from_slice(&record.field.whole);
        }
        bytes
    }

    /// Every project that has an object or any part of one here, sorted.
    pub fn projects(&self) -> Vec<String> {
        let names: BTreeSet<_> = self
            .records
            .iter()
            .filter_map(|record| record.id.as_ref())
            .map(|id| id.project.as_str())
            .filter(|project| !project.is_empty())
            .collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Whether [`Self::projects`] has `project`.
    pub fn has_project(&self, project: &str) -> bool {
        self.records.iter().any(|record| record.id.as_ref().is_some_and(|id| id.project == project))
    }

    /// Everything of one project, as plain values. A project that is not here is an error that names those that are.
    pub fn catalog(&self, project: &str) -> Result<Catalog, DocumentError> {
        if !self.has_project(project) {
            return Err(DocumentError::UnknownProject {
                project: project.to_owned(),
                known: self.projects(),
            });
        }
        Ok(self.catalog_or_empty(project))
    }

    /// As [`Self::catalog`], but a project that is not here yet is an empty one: what `plan` compares with.
    pub fn catalog_or_empty(&self, project: &str) -> Catalog {
        ProjectObjects::read(&self.records, project).into_catalog(project)
    }

    /// The objects of one project alone, as they stand here.
    pub fn of_project(&self, project: &str) -> Self {
        let is_of_project = |record: &&Record| record.id.as_ref().is_some_and(|id| id.project == project);
        Self { records: self.records.iter().filter(is_of_project).cloned().collect() }
    }

    /// The unique id of this state, fresh with every write; `None` when the writer gave none.
    pub fn version_id(&self) -> Option<String> {
        let payload = self.last_payload(VERSION_ID)?;
        String::from_utf8(payload.to_vec()).ok().filter(|id| !id.is_empty())
    }

    /// When this state was written; `None` when the writer did not say.
    pub fn last_updated(&self) -> Option<DateTime<Utc>> {
        let timestamp = prost_types::Timestamp::decode(self.last_payload(LAST_UPDATED)?).ok()?;
        DateTime::from_timestamp(timestamp.seconds, u32::try_from(timestamp.nanos).ok()?)
    }

    /// The payload of a singular field: as in any protobuf reader, the last one counts.
    fn last_payload(&self, number: u32) -> Option<&[u8]> {
        self.records.iter().rev().find(|record| record.field.number == number).map(Record::payload)
    }
}

/// Finds out what a top-level field is; a known one must decode.
fn identify(field: WireField, offset: usize, signature: Option<Signature>) -> Result<Record, DocumentError> {
    let Some(payload) = &field.payload else {
        // No known field has another wire type: protobuf readers take it for an unknown field, and so do we.
        return Ok(Record { field, id: None });
    };
    let bad =
        |name: &'static str| move |source| DocumentError::BadField { field: name, offset, source, signature };
    let id = match field.number {
        SCHEMA_VERSION => {
            decode_text(payload).map_err(bad("schema version"))?;
            None
        }
        VERSION_ID => {
            decode_text(payload).map_err(bad("version id"))?;
            None
        }
        LAST_UPDATED => {
            prost_types::Timestamp::decode(&payload[..]).map_err(bad("time of the last update"))?;
            None
        }
        INFRA => {
            core::Infra::decode(&payload[..]).map_err(bad("infrastructure"))?;
            None
        }
        VERSION_HISTORY => {
            core::FeatureViewVersionHistory::decode(&payload[..]).map_err(bad("version history"))?;
            None
        }
        number => match ObjectKind::of_field(number) {
            Some(kind) => Some(kind.identify(payload).map_err(bad(kind.label()))?),
            None => None,
        },
    };
    Ok(Record { field, id })
}

/// Whether only a registry would have this: an object with a name, a version, a schema version, a time.
fn says_registry(record: &Record) -> bool {
    match &record.id {
        Some(id) => !id.name.is_empty(),
        None => {
            [SCHEMA_VERSION, VERSION_ID, LAST_UPDATED].contains(&record.field.number)
                && record.field.payload.as_ref().is_some_and(|payload| !payload.is_empty())
        }
    }
}

/// Checks a string as protobuf readers do: UTF-8 or an error.
fn decode_text(bytes: &[u8]) -> Result<(), prost::DecodeError> {
    // As a message of one string, so that the decoder itself says what is wrong with it.
    let field = WireField::length_delimited(1, bytes);
    String::decode(&field.whole[..]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use backsight_proto::ErrorCode;
    use proptest::prelude::*;

    use super::RegistryDocument;

    /// Two projects with every kind of object, written by Feast 0.67 (`testdata/write_with_feast.py`).
    const FEAST: &[u8] = include_bytes!("../../testdata/feast-0.67.pb");

    #[test]
    fn an_unchanged_document_keeps_every_byte() {
        let document = RegistryDocument::parse(FEAST).unwrap();
        assert_eq!(document.to_bytes(), FEAST);
        assert_eq!(document.projects(), ["first", "second"]);
        assert_eq!(document.version_id().map(|id| id.len()), Some(36));
        assert_eq!(
            document.last_updated().map(|time| time.format("%Y").to_string()).as_deref(),
            Some("2026")
        );
    }

    #[test]
    fn what_we_do_not_know_survives_at_its_place() {
        let strange = [&[0xfa, 0x3e, 3, 1, 2, 3][..], FEAST, &[0xc0, 0x3e, 7, 0x25, 1, 2, 3, 4]].concat();
        let document = RegistryDocument::parse(&strange).unwrap();
        assert_eq!(document.to_bytes(), strange);
        assert_eq!(document.projects(), ["first", "second"]);
    }

    #[test]
    fn bytes_that_are_not_a_registry_are_one_clear_error() {
        let truncated = &FEAST[..FEAST.len() - 1];
        let bad_utf8 = &[0x22, 2, 0xff, 0xfe];
        let table: [(&[u8], &str); 11] = [
            (
                b"<!DOCTYPE html><html><body>hi",
                "not a Feast registry: byte 0 does not start a protobuf field; it looks like an HTML page",
            ),
            (
                b"{\"project\": \"demo\"}",
                "not a Feast registry: the bytes end inside the field that starts at byte 0; it looks like JSON",
            ),
            (
                b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>",
                "not a Feast registry: byte 0 does not start a protobuf field; it looks like XML",
            ),
            (
                b"SQLite format 3\0aaaaaaa",
                "not a Feast registry: byte 0 does not start a protobuf field; it looks like a SQLite database",
            ),
            (
                b"PAR1aaaaaaaaaaaaa",
                "not a Feast registry: the bytes end inside the field that starts at byte 2; it looks like a Parquet \
                 file",
            ),
            (
                b"project: demo\nprovider: local\n",
                "not a Feast registry: byte 2 does not start a protobuf field; it looks like text",
            ),
            (b" 1", "not a Feast registry: byte 0 does not start a protobuf field; it looks like text"),
            (
                &[0xde, 0xad, 0xbe, 0xef, 0, 1, 2, 3],
                "not a Feast registry: byte 0 does not start a protobuf field",
            ),
            (
                &[0xfa, 0x3e, 3, 1, 2, 3],
                "not a Feast registry: valid protobuf, but no object, version or schema version of a registry in it",
            ),
            (bad_utf8, "not a Feast registry: the version id at byte 0 cannot be decoded"),
            (truncated, "not a Feast registry: the bytes end inside the field that starts at byte 7890"),
        ];
        for (bytes, message) in table {
            let error = RegistryDocument::parse(bytes).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.code(), ErrorCode::Invalid);
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn an_unknown_project_names_those_that_are_there() {
        let document = RegistryDocument::parse(FEAST).unwrap();
        let error = document.catalog("nope").unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert_eq!(error.to_string(), "the registry has no project `nope`; it has `first`, `second`");
        assert_eq!(document.catalog_or_empty("nope").project, "nope");
    }

    proptest! {
        /// Whatever the bytes: an error, or a document that keeps every one of them and can be looked into.
        #[test]
        fn any_bytes_are_refused_or_kept(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            read_or_refuse(&bytes);
        }

        #[test]
        fn a_damaged_registry_is_refused_or_kept(
            damage in proptest::collection::vec((0..FEAST.len(), any::<u8>()), 1..4),
            end in 0..FEAST.len(),
            is_cut in any::<bool>(),
        ) {
            let mut bytes = FEAST.to_vec();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            if is_cut {
                bytes.truncate(end);
            }
            read_or_refuse(&bytes);
        }
    }

    fn read_or_refuse(bytes: &[u8]) {
        match RegistryDocument::parse(bytes) {
            Err(error) => assert_eq!(error.code(), ErrorCode::Invalid),
            Ok(document) => {
                assert_eq!(document.to_bytes(), bytes);
                for project in document.projects() {
                    assert!(document.catalog(&project).is_ok());
                    document.project_fingerprint(&project);
                }
                let _ = document.to_json();
            }
        }
    }
}
