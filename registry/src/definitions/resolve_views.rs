//! Feature views: their entities, their join keys, their features, their source.

use std::collections::BTreeMap;

use super::draft::{EntityDraft, FieldDraft, SourceDraft, ViewDraft};
use super::resolve::{Index, source_kind, source_value};
use crate::dtype::{dtype_name, value_type_name};
use crate::model::{FeatureView, Field, SourceKind, Tags, ViewKind};
use crate::problem::Problems;

/// What others may refer to in a view, known even when the view has faults.
pub(super) struct ViewShape<'a> {
    pub(super) draft: &'a ViewDraft,
    /// Join key columns in Feast's order: those of the schema first.
    pub(super) join_keys: Vec<&'a str>,
    /// Features in order.
    pub(super) features: Vec<&'a FieldDraft>,
    /// Whether all entities were found and the schema could be read.
    pub(super) is_sure: bool,
}

impl<'a> ViewShape<'a> {
    pub(super) fn of(draft: &'a ViewDraft, entities: &BTreeMap<&'a str, &'a EntityDraft>) -> Self {
        let found: Vec<&EntityDraft> =
            draft.entities.iter().filter_map(|name| entities.get(name.value.as_str()).copied()).collect();
        let is_key = |name: &str| found.iter().any(|entity| entity.join_key.value == name);
        let (keys, features): (Vec<_>, Vec<_>) =
            draft.schema.iter().partition(|field| is_key(&field.field.name));
        let mut join_keys: Vec<&str> = keys.iter().map(|field| field.field.name.as_str()).collect();
        for entity in &found {
            if !join_keys.contains(&entity.join_key.value.as_str()) {
                join_keys.push(&entity.join_key.value);
            }
        }
        Self { draft, join_keys, features, is_sure: found.len() == draft.entities.len() && draft.has_schema }
    }

    /// All features as values.
    pub(super) fn fields(&self) -> Vec<Field> {
        self.features.iter().map(|feature| feature.field.clone()).collect()
    }
}

pub(super) fn resolve_view(
    draft: &ViewDraft,
    index: &Index<'_>,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> Option<FeatureView> {
    let owner = format!("FeatureView `{}`", draft.name.value);
    if let Some(position) = &draft.offline_at {
        let message = format!("`offline: true` of {owner} has no effect: Backsight does not write sources");
        warnings.push(position, message);
    }
    let shape = ViewShape::of(draft, &index.entities);
    let join_keys = resolve_join_keys(draft, &shape, &owner, index, problems);
    if shape.is_sure && shape.features.is_empty() {
        let message = match draft.schema.is_empty() {
            true => format!("{owner} declares no features"),
            false => format!("{owner} declares no features, only join keys"),
        };
        problems.push(&draft.name.position, message);
    }
    let source = resolve_source(draft, &owner, index, problems)?;
    check_columns(draft, &shape, source, &owner, problems);
    let common = draft.common.clone();
    Some(FeatureView {
        name: draft.name.value.clone(),
        kind: ViewKind::Feature,
        entities: draft.entities.iter().map(|entity| entity.value.clone()).collect(),
        join_keys,
        features: shape.fields(),
        ttl: draft.ttl,
        source: source_value(source),
        online: draft.online,
        disabled: draft.disabled,
        state: 0,
        description: common.description,
        tags: common.tags,
        owner: common.owner,
    })
}

fn resolve_join_keys(
    draft: &ViewDraft,
    shape: &ViewShape<'_>,
    owner: &str,
    index: &Index<'_>,
    problems: &mut Problems,
) -> Vec<Field> {
    let declared = |key: &str| draft.schema.iter().find(|field| field.field.name == key);
    let mut typed: BTreeMap<&str, Field> = BTreeMap::new();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for reference in &draft.entities {
        let Some(entity) = index.entities.get(reference.value.as_str()) else {
            index.unknown(reference, "entity", owner, index.entities.keys().copied(), problems);
            continue;
        };
        let key = entity.join_key.value.as_str();
        if let Some(other) = seen.insert(key, &reference.value) {
            let message =
                format!("entities `{other}` and `{}` of {owner} share the join key `{key}`", reference.value);
            problems.push(&reference.position, message);
            continue;
        }
        match (declared(key), &entity.value_type) {
            (Some(field), Some(value_type)) => {
                let differs = field.field.value_type != value_type.value;
                if differs && !field.type_is_broken {
                    let message = format!(
                        "join key `{key}` of {owner} is declared {}, but entity `{}` says {} at {}",
                        dtype_name(&field.field),
                        reference.value,
                        value_type_name(value_type.value),
                        value_type.position
                    );
                    problems.push(&field.position, message);
                }
                typed.insert(key, field.field.clone());
            }
            (Some(field), None) => drop(typed.insert(key, field.field.clone())),
            (None, Some(value_type)) => {
                let field = Field {
                    name: key.to_owned(),
                    value_type: value_type.value,
                    description: String::new(),
                    tags: Tags::new(),
                };
                typed.insert(key, field);
            }
            (None, None) if entity.type_is_broken => {}
            (None, None) => {
                let message = format!("the type of join key `{key}` of {owner} is not known");
                let hint = format!(
                    "give entity `{}` a `value_type` (at {}), or declare `{key}` in the schema",
                    reference.value, entity.name.position
                );
                problems.push_hint(&reference.position, message, hint);
            }
        }
    }
    shape.join_keys.iter().filter_map(|key| typed.remove(key)).collect()
}

fn resolve_source<'a>(
    draft: &ViewDraft,
    owner: &str,
    index: &Index<'a>,
    problems: &mut Problems,
) -> Option<&'a SourceDraft> {
    let reference = draft.source.as_ref()?;
    let Some(source) = index.sources.get(reference.value.as_str()) else {
        let files = index.sources.iter().filter(|(_, source)| matches!(source.kind, SourceKind::File { .. }));
        index.unknown(reference, "data source", owner, files.map(|(name, _)| *name), problems);
        return None;
    };
    if !matches!(source.kind, SourceKind::File { .. }) {
        let message =
            format!("{owner} reads `{}`, a {}; allowed: a FileSource", reference.value, source_kind(source));
        problems.push_hint(
            &reference.position,
            message,
            "request sources are inputs of an OnDemandFeatureView",
        );
        return None;
    }
    Some(source)
}

fn check_columns(
    draft: &ViewDraft,
    shape: &ViewShape<'_>,
    source: &SourceDraft,
    owner: &str,
    problems: &mut Problems,
) {
    for feature in &shape.features {
        let name = &feature.field.name;
        if source.timestamp_field.as_ref().is_some_and(|column| column.value == *name) {
            let message = format!(
                "feature `{name}` of {owner} is the `timestamp_field` of source `{}`",
                source.name.value
            );
            let hint = "the event timestamp decides which row wins; it is not a feature";
            problems.push_hint(&feature.position, message, hint);
        }
    }
    for field in &draft.schema {
        let name = &field.field.name;
        if let Some((_, mapped)) = source.field_mapping.iter().find(|(column, _)| column.value == *name) {
            let message = format!(
                "field `{name}` of {owner} is a column that source `{}` maps to `{}`",
                source.name.value, mapped.value
            );
            let hint = format!("use `{}`, the name after `field_mapping`", mapped.value);
            problems.push_hint(&field.position, message, hint);
        }
    }
}
