//! From drafts to definitions: names are unique, references find what they mean.

use std::collections::BTreeMap;

use super::draft::{Drafts, EntityDraft, OnDemandDraft, SourceDraft};
use super::resolve_services::{resolve_on_demand_view, resolve_service};
use super::resolve_views::{ViewShape, resolve_view};
use crate::kind::Kind;
use crate::model::{DataSource, Definitions, Entity, Project, SourceKind, ValueType};
use crate::nearest::{did_you_mean, quoted_list};
use crate::problem::{Position, Problem, Problems};
use crate::yaml::Spanned;

/// Everything by name; of two objects with one name, the first.
pub(super) struct Index<'a> {
    pub(super) entities: BTreeMap<&'a str, &'a EntityDraft>,
    pub(super) sources: BTreeMap<&'a str, &'a SourceDraft>,
    pub(super) shapes: BTreeMap<&'a str, ViewShape<'a>>,
    pub(super) on_demand_views: BTreeMap<&'a str, &'a OnDemandDraft>,
    unread: &'a [String],
}

impl Index<'_> {
    /// Whether an object of this name may stand in a text that could not be read.
    pub(super) fn may_be_unread(&self, name: &str) -> bool {
        self.unread.iter().any(|text| text.contains(name))
    }

    /// Reports a reference that finds nothing.
    pub(super) fn unknown<'n>(
        &self,
        reference: &Spanned<String>,
        what: &str,
        owner: &str,
        candidates: impl IntoIterator<Item = &'n str>,
        problems: &mut Problems,
    ) {
        if self.may_be_unread(&reference.value) {
            return;
        }
        let message = format!("{owner} refers to {what} `{}`, which is not defined", reference.value);
        if problems.count() > LOOKED_UP_MAX {
            problems.push(&reference.position, message);
            return;
        }
        let names: Vec<&str> = candidates.into_iter().collect();
        let hint = did_you_mean(&reference.value, names.iter().copied()).or_else(|| {
            Some(match names.is_empty() {
                true => format!("the repo defines no {what}"),
                false => format!("defined are {}", quoted_list(names)),
            })
        });
        problems.add(&reference.position, message, hint);
    }
}

/// After so many findings none comes with the nearest name: each costs a look at all names, and nobody reads so far.
const LOOKED_UP_MAX: usize = 200;

type Positions = BTreeMap<(Kind, String), Position>;

/// Resolves everything; the result is only meant when nothing was found wrong.
pub(super) fn resolve(
    drafts: &Drafts,
    project: Project,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> (Definitions, Positions) {
    check_unique_names(drafts, problems);
    let mut index = Index {
        entities: first_of(drafts.entities.iter().map(|draft| (draft.name.value.as_str(), draft))),
        sources: first_of(drafts.sources.iter().map(|draft| (draft.name.value.as_str(), draft))),
        shapes: BTreeMap::new(),
        on_demand_views: first_of(
            drafts.on_demand_views.iter().map(|draft| (draft.name.value.as_str(), draft)),
        ),
        unread: &drafts.unread,
    };
    index.shapes = first_of(
        drafts.views.iter().map(|draft| (draft.name.value.as_str(), ViewShape::of(draft, &index.entities))),
    );
    let definitions = Definitions {
        project: resolve_project(drafts, project, problems),
        entities: drafts.entities.iter().map(entity).collect(),
        data_sources: drafts.sources.iter().map(|draft| source(draft, problems)).collect(),
        feature_views: drafts
            .views
            .iter()
            .filter_map(|draft| resolve_view(draft, &index, problems, warnings))
            .collect(),
        on_demand_feature_views: drafts
            .on_demand_views
            .iter()
            .map(|draft| resolve_on_demand_view(draft, &index, problems))
            .collect(),
        feature_services: drafts
            .services
            .iter()
            .map(|draft| resolve_service(draft, &index, problems, warnings))
            .collect(),
    };
    (definitions, positions(drafts))
}

fn first_of<'a, T>(objects: impl Iterator<Item = (&'a str, T)>) -> BTreeMap<&'a str, T> {
    let mut map = BTreeMap::new();
    for (name, object) in objects {
        map.entry(name).or_insert(object);
    }
    map
}

fn positions(drafts: &Drafts) -> Positions {
    let projects = drafts.projects.iter().map(|draft| (Kind::Project, &draft.name));
    let entities = drafts.entities.iter().map(|draft| (Kind::Entity, &draft.name));
    let sources = drafts.sources.iter().map(|draft| (Kind::DataSource, &draft.name));
    let views = drafts.views.iter().map(|draft| (Kind::FeatureView, &draft.name));
    let on_demand = drafts.on_demand_views.iter().map(|draft| (Kind::OnDemandFeatureView, &draft.name));
    let services = drafts.services.iter().map(|draft| (Kind::FeatureService, &draft.name));
    projects
        .chain(entities)
        .chain(sources)
        .chain(views)
        .chain(on_demand)
        .chain(services)
        .map(|(kind, name)| ((kind, name.value.clone()), name.position.clone()))
        .collect()
}

/// Which names share one space, and how it compares them.
enum Space {
    Exact,
    IgnoringCase,
}

fn check_unique_names(drafts: &Drafts, problems: &mut Problems) {
    let projects: Vec<_> = drafts.projects.iter().map(|draft| ("Project", &draft.name)).collect();
    let entities: Vec<_> = drafts.entities.iter().map(|draft| ("Entity", &draft.name)).collect();
    let services: Vec<_> = drafts.services.iter().map(|draft| ("FeatureService", &draft.name)).collect();
    let sources: Vec<_> = drafts.sources.iter().map(|draft| (source_kind(draft), &draft.name)).collect();
    let views = drafts.views.iter().map(|draft| ("FeatureView", &draft.name));
    let on_demand = drafts.on_demand_views.iter().map(|draft| ("OnDemandFeatureView", &draft.name));
    let mut views: Vec<_> = views.chain(on_demand).collect();
    views.sort_by_key(|(_, name)| &name.position);
    for (space, objects) in [
        (Space::Exact, projects),
        (Space::Exact, entities),
        (Space::Exact, services),
        (Space::IgnoringCase, sources),
        (Space::IgnoringCase, views),
    ] {
        let mut seen: BTreeMap<String, (&str, &Spanned<String>)> = BTreeMap::new();
        for (kind, name) in objects {
            let key = match space {
                Space::Exact => name.value.clone(),
                Space::IgnoringCase => name.value.to_lowercase(),
            };
            match seen.get(&key) {
                None => drop(seen.insert(key, (kind, name))),
                Some((first_kind, first)) => problems.extend(vec![twice(kind, name, first_kind, first)]),
            }
        }
    }
}

fn twice(kind: &str, name: &Spanned<String>, first_kind: &str, first: &Spanned<String>) -> Problem {
    let (given, taken, place) = (&name.value, &first.value, &first.position);
    let message = match kind == first_kind && given == taken {
        true => format!("{kind} `{given}` is defined twice; it is already at {place}"),
        false => {
            format!("{kind} `{given}` has the name of {first_kind} `{taken}`, which is defined at {place}")
        }
    };
    let hint = (given != taken)
        .then(|| "names of views and of sources are unique without regard to case".to_owned());
    Problem { position: name.position.clone(), message, hint }
}

pub(super) fn source_kind(draft: &SourceDraft) -> &'static str {
    match draft.kind {
        SourceKind::Request { .. } => "RequestSource",
        _ => "FileSource",
    }
}

fn resolve_project(drafts: &Drafts, configured: Project, problems: &mut Problems) -> Project {
    for draft in &drafts.projects {
        if draft.name.value != configured.name {
            let message = format!(
                "Project `{}` is not the project of `feature_store.yaml`, which is `{}`",
                draft.name.value, configured.name
            );
            let hint = "a repo describes one project; leave the Project out or give it that name";
            problems.push_hint(&draft.name.position, message, hint);
        }
    }
    let Some(draft) = drafts.projects.first() else { return configured };
    let common = draft.common.clone();
    let description = if common.description.is_empty() { configured.description } else { common.description };
    Project { name: configured.name, description, tags: common.tags, owner: common.owner }
}

fn entity(draft: &EntityDraft) -> Entity {
    let common = draft.common.clone();
    Entity {
        name: draft.name.value.clone(),
        join_key: draft.join_key.value.clone(),
        value_type: draft.value_type.as_ref().map_or(ValueType(0), |value_type| value_type.value),
        description: common.description,
        tags: common.tags,
        owner: common.owner,
    }
}

/// A source as a value, without checks.
pub(super) fn source_value(draft: &SourceDraft) -> DataSource {
    let common = draft.common.clone();
    DataSource {
        name: draft.name.value.clone(),
        kind: draft.kind.clone(),
        timestamp_field: draft.timestamp_field.as_ref().map(|text| text.value.clone()).unwrap_or_default(),
        created_timestamp_column: draft.created_timestamp_column.as_ref().map(|text| text.value.clone()),
        date_partition_column: draft.date_partition_column.as_ref().map(|text| text.value.clone()),
        field_mapping: draft
            .field_mapping
            .iter()
            .map(|(column, name)| (column.value.clone(), name.value.clone()))
            .collect(),
        description: common.description,
        tags: common.tags,
        owner: common.owner,
    }
}

fn source(draft: &SourceDraft, problems: &mut Problems) -> DataSource {
    let owner = format!("{} `{}`", source_kind(draft), draft.name.value);
    let mut targets: BTreeMap<&str, &Spanned<String>> = BTreeMap::new();
    for (column, name) in &draft.field_mapping {
        if let Some(first) = targets.insert(&name.value, column) {
            let message = format!(
                "`field_mapping` of {owner} maps both `{}` and `{}` to `{}`",
                first.value, column.value, name.value
            );
            problems.push(&column.position, message);
        }
    }
    let times = [
        ("timestamp_field", &draft.timestamp_field),
        ("created_timestamp_column", &draft.created_timestamp_column),
        ("date_partition_column", &draft.date_partition_column),
    ];
    for (key, column) in times {
        let Some(column) = column else { continue };
        let renamed = draft.field_mapping.iter().find(|(from, _)| from.value == column.value);
        if let Some((_, name)) = renamed.filter(|_| !targets.contains_key(column.value.as_str())) {
            let message = format!(
                "`{key}` of {owner} is `{}`, which `field_mapping` renames to `{}`",
                column.value, name.value
            );
            let hint = format!("write `{key}: {}`: names are those after the mapping", name.value);
            problems.push_hint(&column.position, message, hint);
        }
    }
    if let (Some(event), Some(created)) = (&draft.timestamp_field, &draft.created_timestamp_column)
        && event.value == created.value
    {
        let message =
            format!("`created_timestamp_column` of {owner} is its `timestamp_field` `{}`", event.value);
        problems.push_hint(&created.position, message, "leave it out when the source has no created time");
    }
    if let (Some(event), Some(day)) = (&draft.timestamp_field, &draft.date_partition_column)
        && event.value == day.value
    {
        let message =
            format!("`date_partition_column` of {owner} is its `timestamp_field` `{}`", event.value);
        problems.push_hint(&day.position, message, "it names the folders `name=2026-01-31`");
    }
    source_value(draft)
}

/// Names of all views, on-demand ones included.
pub(super) fn view_names<'a>(index: &'a Index<'_>) -> impl Iterator<Item = &'a str> {
    index.shapes.keys().chain(index.on_demand_views.keys()).copied()
}
