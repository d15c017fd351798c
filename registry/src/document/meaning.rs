//! What objects mean, whatever kind they are of: their message without times, states and class names.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, Value};

use crate::document::lift::DUMMY_ENTITY;
use crate::document::{ObjectKind, RegistryDocument, message};

/// Parts that Feast stamps on every write, wherever they stand.
const STAMPS: [&str; 2] = ["meta", "data_source_class_type"];

impl RegistryDocument {
    /// Every object of a project, by kind and name, as a message that is equal for objects which mean the same.
    pub(crate) fn meanings(&self, project: &str) -> BTreeMap<(ObjectKind, String), DynamicMessage> {
        let mut meanings = BTreeMap::new();
        for record in &self.records {
            let Some(id) = record.id.as_ref().filter(|id| id.project == project) else { continue };
            if id.kind == ObjectKind::Entity && id.name == DUMMY_ENTITY {
                continue;
            }
            if let Some(mut message) = message::decode(id.kind.message_name(), record.payload()) {
                strip(&mut message);
                meanings.insert((id.kind, id.name.clone()), message);
            }
        }
        meanings
    }
}

fn strip(message: &mut DynamicMessage) {
    for name in STAMPS {
        message.clear_field_by_name(name);
    }
    for (_, value) in message.fields_mut() {
        strip_value(value);
    }
}

fn strip_value(value: &mut Value) {
    match value {
        Value::Message(message) => strip(message),
        Value::List(items) => items.iter_mut().for_each(strip_value),
        Value::Map(entries) => entries.values_mut().for_each(strip_value),
        _ => {}
    }
}
