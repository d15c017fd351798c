//! Puts one project back to what an older version of the registry held of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::edit::{Edit, Stamp};
use crate::document::history::VersionHistory;
use crate::document::kind::{ObjectId, ObjectKind};
use crate::document::registry_document::Record;
use crate::document::{ApplyError, RegistryDocument};
use crate::wire::{WireField, split_fields};

/// `meta` of a feature view and of a stream feature view.
const META: u32 = 2;
/// `FeatureViewMeta.materialization_intervals`.
const INTERVALS: u32 = 3;

impl RegistryDocument {
    /// The registry with one project as `version` has it; other projects, and what belongs to no project, stay.
    ///
    /// Every object of the project comes back byte for byte, also those of kinds that definitions do not express, with
    /// all that we do not know in them; objects that the project has got since then go. Two things are not brought
    /// back, since they tell of the world and not of the project (ADR 0012):
    ///
    /// - **Materialization intervals** say what the online store holds *now*. A view keeps those that it has; one that
    ///   comes back has none, as when Feast creates it.
    /// - **Numbers of view versions** are given out once. Snapshots taken since then stay, so that `view@v3` never
    ///   means two things; those of views that go, go with them.
    ///
    /// When the project is in that state already, the document comes back as it is, version id and all.
    ///
    /// # Errors
    /// `version` has nothing of the project.
    pub fn rollback(&self, version: &Self, project: &str, stamp: &mut Stamp<'_>) -> Result<Self, ApplyError> {
        if !version.has_project(project) {
            return Err(ApplyError::NotInVersion { project: project.to_owned() });
        }
        let own: BTreeMap<&ObjectId, &Record> =
            self.records.iter().rev().filter_map(|own| Some((own.id.as_ref()?, own))).collect();
        let of_project = version.records.iter().filter(is_of(project));
        let wanted: Vec<Record> = of_project.map(|record| with_own_intervals(record, &own)).collect();
        let mut edit = Edit::new(self, project, stamp);
        edit.exchange(replaced(&self.records, &wanted, project));
        edit.history.restore(project, &VersionHistory::read(&version.records));
        Ok(edit.finish_if_moved(self))
    }
}

/// The record of a view with the materialization intervals that the view has in `own`, the registry of now.
fn with_own_intervals(record: &Record, own: &BTreeMap<&ObjectId, &Record>) -> Record {
    let Some(id) = record.id.as_ref() else { return record.clone() };
    if !matches!(id.kind, ObjectKind::FeatureView | ObjectKind::StreamFeatureView) {
        return record.clone();
    }
    let own = own.get(id).map(|own| meta_of(own.payload())).unwrap_or_default();
    let held = meta_of(record.payload());
    let is_interval = |field: &&WireField| field.number == INTERVALS;
    if held.iter().filter(is_interval).eq(own.iter().filter(is_interval)) {
        return record.clone();
    }
    let rest = held.iter().filter(|field| field.number != INTERVALS);
    let meta: Vec<u8> =
        rest.chain(own.iter().filter(is_interval)).flat_map(|field| field.whole.to_vec()).collect();
    let mut payload: Vec<u8> = fields_of(record.payload())
        .iter()
        .filter(|field| field.number != META)
        .flat_map(|field| field.whole.to_vec())
        .collect();
    payload.extend_from_slice(&WireField::length_delimited(META, &meta).whole);
    Record::object(id.clone(), &payload)
}

fn is_of(project: &str) -> impl Fn(&&Record) -> bool {
    move |record| record.id.as_ref().is_some_and(|id| id.project == project)
}

/// The fields of a message; it was decoded when the document was parsed, so it does split.
fn fields_of(payload: &[u8]) -> Vec<WireField> {
    split_fields(&bytes::Bytes::copy_from_slice(payload)).unwrap_or_default()
}

/// The fields of a view's `meta`, which protobuf allows to come in several pieces.
fn meta_of(payload: &[u8]) -> Vec<WireField> {
    let pieces = fields_of(payload).into_iter().filter(|field| field.number == META);
    pieces.flat_map(|piece| fields_of(piece.payload.as_deref().unwrap_or_default())).collect()
}

/// `records` with the objects of `project` exchanged for `wanted`: each kind where it was, or after the last of its kind.
fn replaced(records: &[Record], wanted: &[Record], project: &str) -> Vec<Record> {
    let of_kind = |number: u32| wanted.iter().filter(move |record| record.field.number == number).cloned();
    let mut result: Vec<Record> = Vec::with_capacity(records.len());
    let mut placed = BTreeSet::new();
    for record in records {
        if !is_of(project)(&record) {
            result.push(record.clone());
        } else if placed.insert(record.field.number) {
            result.extend(of_kind(record.field.number));
        }
    }
    for number in wanted.iter().map(|record| record.field.number) {
        if placed.insert(number) {
            let last = result.iter().rposition(|record| record.field.number == number);
            let place = last.map_or(result.len(), |last| last + 1);
            result.splice(place..place, of_kind(number));
        }
    }
    result
}
