//! Feature services and on-demand views: the parts of views that they select.

use std::collections::BTreeMap;

use super::draft::{InputDraft, OnDemandDraft, ProjectionDraft, ServiceDraft};
use super::resolve::{Index, source_kind, source_value, view_names};
use super::resolve_views::ViewShape;
use crate::model::{FeatureService, Field, OnDemandFeatureView, OnDemandInput, Projection, SourceKind};
use crate::nearest::{did_you_mean, quoted_list};
use crate::problem::Problems;
use crate::yaml::Spanned;

pub(super) fn resolve_service(
    draft: &ServiceDraft,
    index: &Index<'_>,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> FeatureService {
    let owner = format!("FeatureService `{}`", draft.name.value);
    check_distinct_names(&draft.projections, &owner, problems);
    check_mixed_aliases(&draft.projections, &owner, warnings);
    let mut projections = Vec::new();
    for projection in &draft.projections {
        projections.extend(resolve_projection(projection, true, &owner, index, problems));
    }
    let common = draft.common.clone();
    FeatureService {
        name: draft.name.value.clone(),
        projections,
        description: common.description,
        tags: common.tags,
        owner: common.owner,
    }
}

fn check_distinct_names(projections: &[ProjectionDraft], owner: &str, problems: &mut Problems) {
    let mut seen: BTreeMap<&str, &ProjectionDraft> = BTreeMap::new();
    for projection in projections {
        let name = projection.name_to_use();
        let Some(first) = seen.get(name.value.as_str()) else {
            seen.insert(&name.value, projection);
            continue;
        };
        let one_view = first.view.value == projection.view.value;
        let message = format!(
            "{owner} uses the name `{}` twice, first at {}",
            name.value,
            first.name_to_use().position
        );
        let hint = match one_view && first.alias.is_none() && projection.alias.is_none() {
            true => format!(
                "list the features in one item, `{{view: {0}, features: [a, b]}}`, or give one a `name` of its own",
                projection.view.value
            ),
            false => "give one of them another `name`".to_owned(),
        };
        problems.push_hint(&name.position, message, hint);
    }
}

/// Feast itself fails on a service that has a view both under its own name and under another.
fn check_mixed_aliases(projections: &[ProjectionDraft], owner: &str, warnings: &mut Problems) {
    for projection in projections.iter().filter(|projection| projection.alias.is_none()) {
        let view = &projection.view;
        if projections.iter().any(|other| other.view.value == view.value && other.alias.is_some()) {
            let message = format!("{owner} has view `{}` with and without a `name`", view.value);
            let hint = "Backsight serves it, Feast's own retrieval fails on it; give each a `name`";
            warnings.push_hint(&view.position, message, hint);
        }
    }
}

fn resolve_projection(
    draft: &ProjectionDraft,
    on_demand_allowed: bool,
    owner: &str,
    index: &Index<'_>,
    problems: &mut Problems,
) -> Option<Projection> {
    let view = draft.view.value.as_str();
    let fields = if let Some(shape) = index.shapes.get(view) {
        check_join_key_map(draft, shape, owner, problems);
        select(draft, &shape.fields(), &shape.join_keys, shape.is_sure, owner, problems)
    } else if let Some(on_demand) = index.on_demand_views.get(view) {
        if !on_demand_allowed {
            let message = format!(
                "{owner} takes `{view}`, an on-demand view; allowed: a feature view or a request source"
            );
            problems.push(&draft.view.position, message);
            return None;
        }
        if let Some((key, _)) = draft.join_key_map.first() {
            let message = format!(
                "`join_key_map` of `{view}` in {owner}: an on-demand view has no join keys of its own"
            );
            problems.push(&key.position, message);
        }
        let fields: Vec<Field> = on_demand.schema.iter().map(|field| field.field.clone()).collect();
        select(draft, &fields, &[], true, owner, problems)
    } else {
        report_unknown_view(draft, owner, index, problems);
        return None;
    };
    Some(Projection {
        view: view.to_owned(),
        alias: draft.alias.as_ref().map(|alias| alias.value.clone()).filter(|alias| alias != view),
        features: fields,
        join_key_map: draft
            .join_key_map
            .iter()
            .map(|(key, column)| (key.value.clone(), column.value.clone()))
            .collect(),
    })
}

fn report_unknown_view(draft: &ProjectionDraft, owner: &str, index: &Index<'_>, problems: &mut Problems) {
    let known = |name: &str| index.shapes.contains_key(name) || index.on_demand_views.contains_key(name);
    match draft.view.value.split_once('@') {
        Some((name, version)) if known(name) => {
            let message =
                format!("{owner} pins version `{version}` of view `{name}`, which is not supported");
            problems.push_hint(
                &draft.view.position,
                message,
                format!("write `{name}` for the latest version"),
            );
        }
        _ => index.unknown(&draft.view, "view", owner, view_names(index), problems),
    }
}

/// The selected fields in the order of selection; all of them for a whole view.
fn select(
    draft: &ProjectionDraft,
    fields: &[Field],
    join_keys: &[&str],
    is_sure: bool,
    owner: &str,
    problems: &mut Problems,
) -> Vec<Field> {
    let view = &draft.view.value;
    let Some(features) = &draft.features else { return fields.to_vec() };
    let mut selected = Vec::new();
    for feature in features {
        let name = feature.value.as_str();
        if let Some(field) = fields.iter().find(|field| field.name == name) {
            selected.push(field.clone());
        } else if join_keys.contains(&name) {
            let message = format!("{owner} selects `{name}`, a join key of view `{view}`, as a feature");
            problems.push_hint(&feature.position, message, "join keys are columns of the spine already");
        } else if is_sure {
            let names = || fields.iter().map(|field| field.name.as_str());
            let message = format!("{owner} selects `{name}`, but view `{view}` has no such feature");
            let hint =
                did_you_mean(name, names()).unwrap_or_else(|| format!("it has {}", quoted_list(names())));
            problems.push_hint(&feature.position, message, hint);
        }
    }
    selected
}

fn check_join_key_map(draft: &ProjectionDraft, shape: &ViewShape<'_>, owner: &str, problems: &mut Problems) {
    let view = &shape.draft.name.value;
    for (key, column) in &draft.join_key_map {
        if column.value.trim().is_empty() {
            let message = format!("`join_key_map` of `{view}` in {owner} maps `{}` to nothing", key.value);
            problems.push(&column.position, message);
        }
        if !shape.is_sure || shape.join_keys.contains(&key.value.as_str()) {
            continue;
        }
        let message = match shape.join_keys.as_slice() {
            [] => format!(
                "`join_key_map` of `{view}` in {owner} names `{}`, but the view has no join keys",
                key.value
            ),
            keys => format!(
                "`join_key_map` of `{view}` in {owner} names `{}`; the join keys of the view are {}",
                key.value,
                quoted_list(keys.iter().copied())
            ),
        };
        problems.add(&key.position, message, did_you_mean(&key.value, shape.join_keys.iter().copied()));
    }
}

pub(super) fn resolve_on_demand_view(
    draft: &OnDemandDraft,
    index: &Index<'_>,
    problems: &mut Problems,
) -> OnDemandFeatureView {
    let owner = format!("OnDemandFeatureView `{}`", draft.name.value);
    if draft.schema.is_empty() {
        problems.push(&draft.name.position, format!("{owner} declares no features"));
    }
    let mut inputs = BTreeMap::new();
    let mut places: BTreeMap<String, &Spanned<String>> = BTreeMap::new();
    for input in &draft.inputs {
        let Some((name, value)) = resolve_input(input, &owner, index, problems) else { continue };
        match places.get(&name.value) {
            Some(first) => {
                let message = format!(
                    "{owner} has two sources named `{}`, the first at {}",
                    name.value, first.position
                );
                problems.push_hint(&name.position, message, "give one of them a `name`");
            }
            None => {
                places.insert(name.value.clone(), name);
                inputs.insert(name.value.clone(), value);
            }
        }
    }
    check_outputs(draft, &owner, index, problems);
    let common = draft.common.clone();
    OnDemandFeatureView {
        name: draft.name.value.clone(),
        features: draft.schema.iter().map(|field| field.field.clone()).collect(),
        inputs,
        mode: draft.mode.clone(),
        transformation: draft.transformation.clone(),
        description: common.description,
        tags: common.tags,
        owner: common.owner,
    }
}

fn resolve_input<'a>(
    input: &'a InputDraft,
    owner: &str,
    index: &Index<'_>,
    problems: &mut Problems,
) -> Option<(&'a Spanned<String>, OnDemandInput)> {
    match input {
        InputDraft::View(projection) => {
            let resolved = resolve_projection(projection, false, owner, index, problems)?;
            Some((projection.name_to_use(), OnDemandInput::View(resolved)))
        }
        InputDraft::Source(name) => Some((name, resolve_request(name, owner, index, problems)?)),
        InputDraft::Named(name) => {
            let is_view = index.shapes.contains_key(name.value.as_str());
            let is_source = index.sources.contains_key(name.value.as_str());
            if is_view && is_source {
                let message =
                    format!("{owner} takes `{}`, which is both a view and a data source", name.value);
                let hint = format!("write `{{view: {0}}}` or `{{source: {0}}}`", name.value);
                problems.push_hint(&name.position, message, hint);
                return None;
            }
            if is_source {
                return Some((name, resolve_request(name, owner, index, problems)?));
            }
            if !is_view && !index.on_demand_views.contains_key(name.value.as_str()) {
                let requests = request_names(index);
                let names = index.shapes.keys().copied().chain(requests);
                index.unknown(name, "view or request source", owner, names, problems);
                return None;
            }
            let whole =
                ProjectionDraft { view: name.clone(), alias: None, features: None, join_key_map: Vec::new() };
            let resolved = resolve_projection(&whole, false, owner, index, problems)?;
            Some((name, OnDemandInput::View(resolved)))
        }
    }
}

fn request_names<'a>(index: &'a Index<'_>) -> impl Iterator<Item = &'a str> {
    let requests =
        index.sources.iter().filter(|(_, source)| matches!(source.kind, SourceKind::Request { .. }));
    requests.map(|(name, _)| *name)
}

fn resolve_request(
    name: &Spanned<String>,
    owner: &str,
    index: &Index<'_>,
    problems: &mut Problems,
) -> Option<OnDemandInput> {
    let Some(source) = index.sources.get(name.value.as_str()) else {
        index.unknown(name, "request source", owner, request_names(index), problems);
        return None;
    };
    if !matches!(source.kind, SourceKind::Request { .. }) {
        let message = format!(
            "{owner} takes `{}`, a {}; allowed: a feature view or a RequestSource",
            name.value,
            source_kind(source)
        );
        problems.push_hint(&name.position, message, "define a feature view on it and list that view");
        return None;
    }
    Some(OnDemandInput::Request(source_value(source)))
}

/// An output may not have the name of a column by which its inputs are joined.
fn check_outputs(draft: &OnDemandDraft, owner: &str, index: &Index<'_>, problems: &mut Problems) {
    let views = draft.inputs.iter().filter_map(|input| match input {
        InputDraft::Named(name) => Some(name.value.as_str()),
        InputDraft::View(projection) => Some(projection.view.value.as_str()),
        InputDraft::Source(_) => None,
    });
    let shapes: Vec<&ViewShape<'_>> = views.filter_map(|view| index.shapes.get(view)).collect();
    for output in &draft.schema {
        let name = output.field.name.as_str();
        if let Some(shape) = shapes.iter().find(|shape| shape.join_keys.contains(&name)) {
            let message =
                format!("feature `{name}` of {owner} is a join key of view `{}`", shape.draft.name.value);
            problems.push(&output.position, message);
        }
    }
}
