//! The version history of views, changed record by record so that the others keep their bytes.

use std::collections::{BTreeMap, BTreeSet};

use backsight_proto::feast::core::{FeatureViewVersionHistory, FeatureViewVersionRecord};
use bytes::Bytes;
use prost::Message;

use crate::document::registry_document::{Record, VERSION_HISTORY};
use crate::wire::{WireField, split_fields};

/// `FeatureViewVersionHistory.records`.
const RECORDS: u32 = 1;

/// The history of all projects.
#[derive(Debug, Clone)]
pub(crate) struct VersionHistory {
    entries: Vec<Entry>,
    /// The number of the next version, by project and view.
    next: BTreeMap<String, BTreeMap<String, i32>>,
    is_changed: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    field: WireField,
    /// `None` for a field of the history that we do not know.
    record: Option<FeatureViewVersionRecord>,
}

impl VersionHistory {
    /// Collects the history; protobuf allows its message to come in several pieces.
    pub(crate) fn read(records: &[Record]) -> Self {
        let pieces = records.iter().filter(|record| record.field.number == VERSION_HISTORY);
        let fields = pieces.flat_map(|piece| {
            // The piece was decoded when the document was parsed, so it does split.
            split_fields(&Bytes::copy_from_slice(piece.payload())).unwrap_or_default()
        });
        let entries = fields.map(|field| {
            let payload = field.payload.as_deref().filter(|_| field.number == RECORDS);
            let record = payload.and_then(|payload| FeatureViewVersionRecord::decode(payload).ok());
            Entry { field, record }
        });
        let entries: Vec<Entry> = entries.collect();
        Self { next: next_numbers(&entries), entries, is_changed: false }
    }

    /// The snapshot of one version of a view.
    pub(crate) fn get<'a>(
        &'a self,
        project: &'a str,
        view: &'a str,
        number: i32,
    ) -> Option<&'a FeatureViewVersionRecord> {
        let is_it = move |record: &&FeatureViewVersionRecord| {
            record.project_id == project
                && record.feature_view_name == view
                && record.version_number == number
        };
        self.entries.iter().filter_map(|entry| entry.record.as_ref()).find(is_it)
    }

    /// The number of the next version of a view: 0 for the first.
    pub(crate) fn next_number(&self, project: &str, view: &str) -> i32 {
        self.next.get(project).and_then(|views| views.get(view)).copied().unwrap_or(0)
    }

    /// Adds a snapshot.
    pub(crate) fn push(&mut self, record: FeatureViewVersionRecord) {
        let field = WireField::length_delimited(RECORDS, &record.encode_to_vec());
        note_next(&record, &mut self.next);
        self.entries.push(Entry { field, record: Some(record) });
        self.is_changed = true;
    }

    /// Forgets views.
    pub(crate) fn remove(&mut self, project: &str, views: &BTreeSet<&str>) {
        let is_one = |record: &FeatureViewVersionRecord| {
            record.project_id == project && views.contains(record.feature_view_name.as_str())
        };
        let before = self.entries.len();
        self.entries.retain(|entry| !entry.record.as_ref().is_some_and(is_one));
        if self.entries.len() != before {
            self.next = next_numbers(&self.entries);
            self.is_changed = true;
        }
    }

    /// Brings back what `version` holds of a project's views. Records that were added to a view since then stay; a
    /// view whose records are others today (it was removed and made anew) gets its old ones; views that are not in
    /// `version` are forgotten.
    pub(crate) fn restore(&mut self, project: &str, version: &Self) {
        let of_project =
            |entry: &&Entry| entry.record.as_ref().is_some_and(|record| record.project_id == project);
        let view_of = |entry: &Entry| entry.record.as_ref().map(|record| record.feature_view_name.clone());
        let wanted: Vec<&Entry> = version.entries.iter().filter(of_project).collect();
        let views: BTreeSet<_> = wanted.iter().filter_map(|entry| view_of(entry)).collect();
        let own: BTreeSet<&Bytes> = self.entries.iter().map(|entry| &entry.field.whole).collect();
        let has = |entry: &Entry| own.contains(&entry.field.whole);
        let lost: BTreeSet<_> =
            wanted.iter().filter(|entry| !has(entry)).filter_map(|entry| view_of(entry)).collect();
        let stays = |entry: &Entry| {
            !of_project(&entry)
                || view_of(entry).is_some_and(|view| views.contains(&view) && !lost.contains(&view))
        };
        let before = self.entries.len();
        self.entries.retain(stays);
        let again =
            wanted.into_iter().filter(|entry| view_of(entry).is_some_and(|view| lost.contains(&view)));
        self.entries.extend(again.cloned());
        self.next = next_numbers(&self.entries);
        self.is_changed |= before != self.entries.len() || !lost.is_empty();
    }

    /// The raw records of one project.
    pub(crate) fn raw_of_project<'a>(&'a self, project: &'a str) -> impl Iterator<Item = &'a Bytes> {
        let is_of_project =
            move |entry: &&Entry| entry.record.as_ref().is_some_and(|record| record.project_id == project);
        self.entries.iter().filter(is_of_project).map(|entry| &entry.field.whole)
    }

    /// Puts a changed history back, where the first piece of the old one was.
    pub(crate) fn write(self, records: &mut Vec<Record>) {
        if !self.is_changed {
            return;
        }
        let is_piece = |record: &Record| record.field.number == VERSION_HISTORY;
        let place = records.iter().position(is_piece).unwrap_or(records.len());
        records.retain(|record| !is_piece(record));
        if self.entries.is_empty() {
            return;
        }
        let payload: Vec<u8> =
            self.entries.iter().flat_map(|entry| entry.field.whole.iter().copied()).collect();
        debug_assert!(FeatureViewVersionHistory::decode(&payload[..]).is_ok(), "a history is written");
        let field = WireField::length_delimited(VERSION_HISTORY, &payload);
        records.insert(place.min(records.len()), Record { field, id: None });
    }
}

fn next_numbers(entries: &[Entry]) -> BTreeMap<String, BTreeMap<String, i32>> {
    let mut next = BTreeMap::new();
    entries.iter().filter_map(|entry| entry.record.as_ref()).for_each(|record| note_next(record, &mut next));
    next
}

fn note_next(record: &FeatureViewVersionRecord, next: &mut BTreeMap<String, BTreeMap<String, i32>>) {
    let of_project = next.entry(record.project_id.clone()).or_default();
    let number = of_project.entry(record.feature_view_name.clone()).or_default();
    *number = record.version_number.saturating_add(1).max(*number);
}
