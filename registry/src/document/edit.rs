//! One change of one project: objects put in and taken out, everything else left as it is.

use std::collections::{BTreeMap, BTreeSet};

use backsight_proto::feast::core;
use chrono::{DateTime, Utc};
use prost::Message;
use prost_types::Timestamp;
use uuid::Uuid;

use crate::document::ApplyError;
use crate::document::RegistryDocument;
use crate::document::history::VersionHistory;
use crate::document::keep_unknown::keep_unknown;
use crate::document::kind::{ObjectId, ObjectKind};
use crate::document::lower::LATEST;
use crate::document::registry_document::{LAST_UPDATED, Record, SCHEMA_VERSION, VERSION_ID};
use crate::document::same::{Definition, Versioned};
use crate::wire::WireField;

/// The schema version that every Feast writes.
const REGISTRY_SCHEMA_VERSION: &str = "1";

/// What a write takes from outside: the time, and ids that nobody used before.
pub struct Stamp<'a> {
    /// The time that changed objects carry.
    pub now: DateTime<Utc>,
    /// Gives a fresh id with every call.
    pub next_id: &'a mut (dyn FnMut() -> Uuid + Send),
}

impl std::fmt::Debug for Stamp<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stamp").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Stamp<'_> {
    /// The time in the precision of Feast, microseconds.
    fn timestamp(&self) -> Timestamp {
        let micros = self.now.timestamp_subsec_micros().min(999_999);
        Timestamp { seconds: self.now.timestamp(), nanos: i32::try_from(micros * 1_000).unwrap_or_default() }
    }
}

/// A document that is being changed. New objects stand aside until [`Edit::settled`] puts them in their places: so each
/// change costs the same, however many objects there are.
#[derive(Debug)]
pub(crate) struct Edit<'a, 'b> {
    records: Vec<Record>,
    /// New objects, in the order in which they came.
    added: Vec<Record>,
    /// Where the project's objects are.
    places: BTreeMap<ObjectKind, BTreeMap<String, Place>>,
    pub(crate) history: VersionHistory,
    pub(crate) project: &'a str,
    pub(crate) now: Timestamp,
    stamp: &'a mut Stamp<'b>,
    is_changed: bool,
}

/// Where an object is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Old(usize),
    New(usize),
}

impl<'a, 'b> Edit<'a, 'b> {
    pub(crate) fn new(document: &RegistryDocument, project: &'a str, stamp: &'a mut Stamp<'b>) -> Self {
        Self {
            records: document.records.clone(),
            added: Vec::new(),
            places: places(&document.records, project),
            history: VersionHistory::read(&document.records),
            project,
            now: stamp.timestamp(),
            stamp,
            is_changed: false,
        }
    }

    /// Whether the project has this object.
    pub(crate) fn has(&self, kind: ObjectKind, name: &str) -> bool {
        self.record(kind, name).is_some()
    }

    /// Puts an object in: `build` gets the old message. An object that stays the same keeps its bytes.
    pub(crate) fn upsert<M: Definition>(
        &mut self,
        kind: ObjectKind,
        name: &str,
        build: impl FnOnce(Option<M>) -> Result<M, ApplyError>,
    ) -> Result<(), ApplyError> {
        let old = self.old::<M>(kind, name);
        let new = build(old.clone())?;
        if old.is_some_and(|old| new.is_same(&old)) {
            return Ok(());
        }
        self.put(kind, name, &new).map(|_| ())
    }

    /// As [`Self::upsert`] for a view, whose schema has versions: a new schema is a new version, as Feast counts them.
    pub(crate) fn upsert_view<M: Versioned>(
        &mut self,
        kind: ObjectKind,
        name: &str,
        build: impl FnOnce(Option<M>) -> Result<M, ApplyError>,
    ) -> Result<(), ApplyError> {
        let old = self.old::<M>(kind, name);
        let mut new = build(old.clone())?;
        let Some(old) = old else {
            new.set_version(0, LATEST);
            let bytes = self.put(kind, name, &new)?;
            self.record_version(name, M::VIEW_TYPE, 0, bytes);
            return Ok(());
        };
        if new.is_same(&old) {
            return Ok(());
        }
        if !new.is_new_version_of(&old) {
            return self.put(kind, name, &new).map(|_| ());
        }
        let mut number = self.history.next_number(self.project, name);
        if number == 0 {
            let bytes = self.record(kind, name).map(|record| record.payload().to_vec());
            self.record_version(name, M::VIEW_TYPE, 0, bytes.unwrap_or_default());
            number = 1;
        }
        new.set_version(number, LATEST);
        let bytes = self.put(kind, name, &new)?;
        self.record_version(name, M::VIEW_TYPE, number, bytes);
        Ok(())
    }

    /// Takes out the project's objects that `is_gone` names; the versions of a view go with it.
    pub(crate) fn remove(&mut self, is_gone: impl Fn(&ObjectId) -> bool) {
        let project = self.project;
        let is_gone =
            |record: &Record| record.id.as_ref().is_some_and(|id| id.project == project && is_gone(id));
        self.settle();
        let (gone, stays) = std::mem::take(&mut self.records).into_iter().partition(is_gone);
        self.exchange(stays);
        let gone: Vec<Record> = gone;
        let has_versions =
            |id: &&ObjectId| matches!(id.kind, ObjectKind::FeatureView | ObjectKind::OnDemandFeatureView);
        let ids = gone.iter().filter_map(|record| record.id.as_ref());
        let views: BTreeSet<&str> = ids.filter(has_versions).map(|id| id.name.as_str()).collect();
        self.history.remove(project, &views);
        self.is_changed |= !gone.is_empty();
    }

    /// Puts other records in the place of all.
    pub(crate) fn exchange(&mut self, records: Vec<Record>) {
        self.added.clear();
        self.places = places(&records, self.project);
        self.records = records;
    }

    /// The records as they are now, each in its place.
    pub(crate) fn settled(&mut self) -> &[Record] {
        self.settle();
        &self.records
    }

    /// Puts each new object after the last of its kind.
    fn settle(&mut self) {
        if self.added.is_empty() {
            return;
        }
        let mut last: BTreeMap<u32, usize> = BTreeMap::new();
        for (at, record) in self.records.iter().enumerate() {
            last.insert(record.field.number, at);
        }
        // The first of a kind goes to the end, and the others of that kind after it.
        let mut kinds: Vec<u32> = Vec::new();
        let mut waiting: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
        for record in self.added.drain(..) {
            let number = record.field.number;
            if !kinds.contains(&number) {
                kinds.push(number);
            }
            waiting.entry(number).or_default().push(record);
        }
        let mut records = Vec::with_capacity(self.records.len());
        for (at, record) in std::mem::take(&mut self.records).into_iter().enumerate() {
            let number = record.field.number;
            records.push(record);
            if last.get(&number) == Some(&at) {
                records.extend(waiting.remove(&number).unwrap_or_default());
            }
        }
        for number in kinds {
            records.extend(waiting.remove(&number).unwrap_or_default());
        }
        self.exchange(records);
    }

    /// The changed document, with a fresh version id; the old one when nothing has changed.
    pub(crate) fn finish(mut self) -> RegistryDocument {
        self.settle();
        if self.is_changed {
            let version_id = (self.stamp.next_id)().to_string();
            self.history.write(&mut self.records);
            set_singular(&mut self.records, SCHEMA_VERSION, REGISTRY_SCHEMA_VERSION.as_bytes());
            set_singular(&mut self.records, VERSION_ID, version_id.as_bytes());
            set_singular(&mut self.records, LAST_UPDATED, &self.now.encode_to_vec());
        }
        RegistryDocument { records: self.records }
    }

    /// The changed document, with a fresh version id, when the project is not in the state `before` any more; else the
    /// old one.
    pub(crate) fn finish_if_moved(mut self, before: &RegistryDocument) -> RegistryDocument {
        let mut records = self.settled().to_vec();
        self.history.clone().write(&mut records);
        let after = RegistryDocument { records };
        if after.project_fingerprint(self.project) == before.project_fingerprint(self.project) {
            return before.clone();
        }
        self.is_changed = true;
        self.finish()
    }

    fn record(&self, kind: ObjectKind, name: &str) -> Option<&Record> {
        match *self.places.get(&kind)?.get(name)? {
            Place::Old(at) => self.records.get(at),
            Place::New(at) => self.added.get(at),
        }
    }

    fn record_mut(&mut self, kind: ObjectKind, name: &str) -> Option<&mut Record> {
        match *self.places.get(&kind)?.get(name)? {
            Place::Old(at) => self.records.get_mut(at),
            Place::New(at) => self.added.get_mut(at),
        }
    }

    fn old<M: Definition>(&self, kind: ObjectKind, name: &str) -> Option<M> {
        M::decode(self.record(kind, name)?.payload()).ok()
    }

    fn put<M: Definition>(&mut self, kind: ObjectKind, name: &str, new: &M) -> Result<Vec<u8>, ApplyError> {
        self.is_changed = true;
        let id = ObjectId { kind, project: self.project.to_owned(), name: name.to_owned() };
        let bytes = new.encode_to_vec();
        let Some(record) = self.record_mut(kind, name) else {
            let place = Place::New(self.added.len());
            self.places.entry(kind).or_default().insert(name.to_owned(), place);
            self.added.push(Record::object(id, &bytes));
            return Ok(bytes);
        };
        let bytes = keep_unknown(kind.message_name(), record.payload(), bytes)
            .ok_or(ApplyError::NoMessage { message: kind.message_name() })?;
        *record = Record::object(id, &bytes);
        Ok(bytes)
    }

    fn record_version(&mut self, view: &str, view_type: &str, number: i32, bytes: Vec<u8>) {
        self.history.push(core::FeatureViewVersionRecord {
            feature_view_name: view.to_owned(),
            project_id: self.project.to_owned(),
            version_number: number,
            feature_view_type: view_type.to_owned(),
            feature_view_proto: bytes,
            created_timestamp: Some(self.now),
            description: String::new(),
            version_id: (self.stamp.next_id)().to_string(),
        });
    }
}

/// Where the objects of a project are; of two that are called the same, the first.
fn places(records: &[Record], project: &str) -> BTreeMap<ObjectKind, BTreeMap<String, Place>> {
    let mut places: BTreeMap<ObjectKind, BTreeMap<String, Place>> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        if let Some(id) = record.id.as_ref().filter(|id| id.project == project) {
            places.entry(id.kind).or_default().entry(id.name.clone()).or_insert(Place::Old(at));
        }
    }
    places
}

/// Sets a field of which the last one counts.
fn set_singular(records: &mut Vec<Record>, number: u32, payload: &[u8]) {
    let field = WireField::length_delimited(number, payload);
    match records.iter_mut().rfind(|record| record.field.number == number && record.field.payload.is_some()) {
        Some(record) => record.field = field,
        None => records.push(Record { field, id: None }),
    }
}
