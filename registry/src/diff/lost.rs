//! What a user of views and request sources loses between two states: features, types, columns of the spine.

use super::plan::ObjectRef;
use super::state::State;
use crate::dtype::dtype_name;
use crate::kind::Kind;
use crate::model::{Field, Projection};

/// Something that was there, and the object whose change took it away.
pub(super) struct Lost {
    pub(super) cause: ObjectRef,
    pub(super) reason: String,
}

/// A part of a view that somebody uses, before and after a change.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// The name under which it is used.
    pub(super) prefix: &'a str,
    pub(super) projection: &'a Projection,
    /// The part of that name now.
    pub(super) now: Option<&'a Projection>,
}

/// All that the user of a part loses.
pub(super) fn lost_of_part(part: Part<'_>, before: &State<'_>, after: &State<'_>) -> Vec<Lost> {
    let mut found = lost_features(part, before, after);
    found.extend(lost_spine(part, before, after));
    found
}

/// Features that the view had and has no more, or has under another type and that are still selected.
fn lost_features(part: Part<'_>, before: &State<'_>, after: &State<'_>) -> Vec<Lost> {
    let Part { prefix, projection, now } = part;
    let view = projection.view.as_str();
    if !before.has_view(view) {
        return Vec::new();
    }
    let cause = before.view_of(projection);
    let lost = |reason: String| Lost { cause: cause.clone(), reason };
    if !after.has_view(view) {
        return vec![lost(format!("{} `{view}` is gone", cause.kind))];
    }
    let is_selected =
        |feature: &str| now.is_some_and(|now| now.features.iter().any(|selected| selected.name == feature));
    let mut found = Vec::new();
    if now.is_some_and(|now| now.view == view) && before.serves(view) && !after.serves(view) {
        found.push(lost(format!("feature view `{view}` is disabled")));
    }
    for stored in &projection.features {
        // What the registry says of the view counts; a copy may be old.
        let Some(old) = before.feature(view, &stored.name) else { continue };
        let reference = format!("{prefix}:{}", stored.name);
        match after.feature(view, &stored.name) {
            None => found.push(lost(format!("feature `{reference}` is gone"))),
            Some(new) if is_selected(&stored.name) && dtype_name(new) != dtype_name(old) => {
                let (new, old) = (dtype_name(new), dtype_name(old));
                found.push(lost(format!("feature `{reference}` becomes {new}, it was {old}")));
            }
            Some(_) => {}
        }
    }
    found
}

/// Columns that a spine must bring now and had not to bring before, must bring as another type, or brings in vain.
fn lost_spine(part: Part<'_>, before: &State<'_>, after: &State<'_>) -> Vec<Lost> {
    let Part { prefix, projection, now } = part;
    let view = projection.view.as_str();
    let Some(now) = now.filter(|now| now.view == view && after.has_view(view)) else { return Vec::new() };
    let column = |key: &Field| now.join_key_map.get(&key.name).unwrap_or(&key.name).clone();
    let (old_keys, new_keys) = (before.join_keys(view), after.join_keys(view));
    let is_among = |key: &Field, keys: &[Field]| keys.iter().any(|other| other.name == key.name);
    let mut found = Vec::new();
    for key in new_keys {
        let name = column(key);
        let reason = match old_keys.iter().find(|old| old.name == key.name) {
            None => format!("`{prefix}` needs the spine column `{name}`"),
            Some(old) if dtype_name(old) != dtype_name(key) => {
                format!("spine column `{name}` becomes {}, it was {}", dtype_name(key), dtype_name(old))
            }
            Some(_) => continue,
        };
        found.push(Lost { cause: cause_of_key(view, &key.name, before, after), reason });
    }
    // Where a new key came, it says enough.
    if new_keys.iter().all(|key| is_among(key, old_keys)) {
        for key in old_keys.iter().filter(|key| !is_among(key, new_keys)) {
            let reason = format!("`{prefix}` is no longer joined on `{}`", column(key));
            found.push(Lost { cause: cause_of_key(view, &key.name, before, after), reason });
        }
    }
    found
}

/// Whose change gave a view another join key: the entity's, when that one changed or went, else the view's.
fn cause_of_key(view: &str, key: &str, before: &State<'_>, after: &State<'_>) -> ObjectRef {
    let entities = before.views.get(view).map(|view| view.entities.as_slice()).unwrap_or_default();
    let by_entity = entities.iter().find(|name| {
        let Some(old) = before.entities.get(name.as_str()) else { return false };
        match after.entities.get(name.as_str()) {
            None => old.join_key == key,
            Some(new) => {
                (old.join_key == key || new.join_key == key)
                    && (&old.join_key, old.value_type) != (&new.join_key, new.value_type)
            }
        }
    });
    match by_entity {
        Some(entity) => ObjectRef { kind: Kind::Entity, name: entity.clone() },
        None => ObjectRef { kind: Kind::FeatureView, name: view.to_owned() },
    }
}

/// Values that a request must bring now, brings in vain, or brings as another type.
pub(super) fn lost_request_values(source: &str, old: &[Field], new: &[Field]) -> Vec<Lost> {
    let lost = |reason: String| Lost {
        cause: ObjectRef { kind: Kind::DataSource, name: source.to_owned() },
        reason,
    };
    let mut found = Vec::new();
    for field in old {
        match new.iter().find(|new| new.name == field.name) {
            None => found.push(lost(format!("request value `{}` is gone", field.name))),
            Some(new) if dtype_name(new) != dtype_name(field) => {
                let (now, was) = (dtype_name(new), dtype_name(field));
                found.push(lost(format!("request value `{}` becomes {now}, it was {was}", field.name)));
            }
            Some(_) => {}
        }
    }
    for field in new.iter().filter(|field| old.iter().all(|old| old.name != field.name)) {
        found.push(lost(format!("needs the request value `{}`", field.name)));
    }
    found
}
