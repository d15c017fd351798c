//! Compares a registry's project with definitions, object by object and field by field.

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::{
    Attribute, Attributes, name_to_use, of_entity, of_on_demand_view, of_project, of_service, of_source,
    of_view,
};
use super::impact::{breaks_of, usages};
use super::plan::{Action, FieldChange, ObjectChange, ObjectRef, Plan};
use super::state::State;
use crate::dtype::dtype_name;
use crate::kept::Kept;
use crate::kind::Kind;
use crate::model::{Catalog, Definitions, FeatureView, OnDemandInput, Projection, ViewKind};

/// What apply would do to make `current` what `desired` says.
///
/// Objects are compared by meaning: times, states and embedded copies say nothing, and a field that a service or an
/// on-demand view stored with another description or other tags is no difference of theirs.
pub fn diff(current: &Catalog, desired: &Definitions) -> Plan {
    compare(current, desired, &Kept::of(current, desired))
}

/// What another writer made of a project: as [`diff`], but whatever is of a managed kind and gone counts as deleted.
pub fn diff_states(before: &Catalog, after: &Catalog) -> Plan {
    compare(before, &after.as_definitions(), &Kept::of_other_kinds(before))
}

/// The difference, without what `kept` holds.
pub(super) fn compare(current: &Catalog, desired: &Definitions, kept: &Kept) -> Plan {
    let (before, after) = (State::before(current), State::after(current, desired, kept));
    let mut plan = Plan {
        project: desired.project.name.clone(),
        not_managed: kept.list().to_vec(),
        conflicts: conflicts(current, desired, kept),
        ..Plan::default()
    };
    compare_all(current, desired, kept, &before, &mut plan);
    plan.changes.sort_by(|left, right| left.object.cmp(&right.object));
    plan.unchanged.sort();
    let mut breaks = breaks_of(&before, &after);
    for change in &mut plan.changes {
        let stays = before.users_of(&change.object).into_iter().filter(|user| after.has(user));
        let users: BTreeSet<ObjectRef> = stays.chain(after.users_of(&change.object)).collect();
        change.breaks =
            breaks.remove(&change.object).map(|found| found.into_iter().collect()).unwrap_or_default();
        change.used_by = usages(change, users);
    }
    plan
}

fn compare_all(current: &Catalog, desired: &Definitions, kept: &Kept, before: &State<'_>, plan: &mut Plan) {
    let project = current.project_object.as_ref().map(|project| (project.name.as_str(), of_project(project)));
    let wanted = [(desired.project.name.as_str(), of_project(&desired.project))];
    compare_kind(Kind::Project, project, wanted, kept, plan);
    compare_kind(
        Kind::Entity,
        current.entities.iter().map(|entity| (entity.name.as_str(), of_entity(entity))),
        desired.entities.iter().map(|entity| (entity.name.as_str(), of_entity(entity))),
        kept,
        plan,
    );
    compare_kind(
        Kind::DataSource,
        current.data_sources.iter().map(|source| (source.name.as_str(), of_source(source))),
        desired.data_sources.iter().map(|source| (source.name.as_str(), of_source(source))),
        kept,
        plan,
    );
    let managed = current.feature_views.iter().filter(|view| view.kind == ViewKind::Feature);
    compare_kind(
        Kind::FeatureView,
        managed.map(|view| (view.name.as_str(), of_view(view))),
        desired.feature_views.iter().map(|view| (view.name.as_str(), of_view(view))),
        kept,
        plan,
    );
    add_stale_sources(current, desired, plan);
    compare_kind(
        Kind::OnDemandFeatureView,
        current.on_demand_feature_views.iter().map(|view| (view.name.as_str(), of_on_demand_view(view))),
        desired.on_demand_feature_views.iter().map(|view| (view.name.as_str(), of_on_demand_view(view))),
        kept,
        plan,
    );
    compare_kind(
        Kind::FeatureService,
        current.feature_services.iter().map(|service| (service.name.as_str(), of_service(service))),
        desired.feature_services.iter().map(|service| (service.name.as_str(), of_service(service))),
        kept,
        plan,
    );
    drop_explained_types(before, plan);
}

fn compare_kind<'a>(
    kind: Kind,
    current: impl IntoIterator<Item = (&'a str, Attributes)>,
    desired: impl IntoIterator<Item = (&'a str, Attributes)>,
    kept: &Kept,
    plan: &mut Plan,
) {
    let mut current: BTreeMap<&str, Attributes> = current.into_iter().collect();
    for (name, wanted) in desired {
        let object = ObjectRef { kind, name: name.to_owned() };
        match current.remove(name) {
            None => add(object, Action::Create, changes(&Attributes::default(), &wanted), plan),
            Some(held) => match changes(&held, &wanted) {
                fields if fields.is_empty() => plan.unchanged.push(object),
                fields => add(object, Action::Update, fields, plan),
            },
        }
    }
    for (name, held) in current.into_iter().filter(|(name, _)| !kept.has(kind, name)) {
        let object = ObjectRef { kind, name: name.to_owned() };
        add(object, Action::Delete, changes(&held, &Attributes::default()), plan);
    }
}

fn add(object: ObjectRef, action: Action, fields: Vec<FieldChange>, plan: &mut Plan) {
    plan.changes.push(ObjectChange { object, action, fields, used_by: Vec::new(), breaks: Vec::new() });
}

/// The differences of two attribute lists: field by field, what was there in its old order, then what is new.
fn changes(held: &Attributes, wanted: &Attributes) -> Vec<FieldChange> {
    let mut fields: Vec<&'static str> = Vec::new();
    for attribute in wanted.list.iter().chain(&held.list) {
        if !fields.contains(&attribute.field) {
            fields.push(attribute.field);
        }
    }
    let mut found = Vec::new();
    for field in fields {
        let (held, wanted) = (held.of_field(field), wanted.of_field(field));
        let (held_places, wanted_places) = (places(&held), places(&wanted));
        for old in &held {
            let new = wanted_places.get(&place(old)).copied();
            if new.is_none_or(|new| new.value != old.value) {
                found.push(field_change(old, Some(old), new));
            }
        }
        for new in wanted.iter().filter(|new| !held_places.contains_key(&place(new))) {
            found.push(field_change(new, None, Some(new)));
        }
        if field == "features" {
            let both = |entry: &&&Attribute| {
                held_places.contains_key(&place(entry)) && wanted_places.contains_key(&place(entry))
            };
            found.extend(order_change(held.iter().filter(both), wanted.iter().filter(both)));
        }
    }
    found
}

/// Where an attribute stands in its field.
type Place<'a> = (Option<&'a str>, Option<&'a str>);

fn place(attribute: &Attribute) -> Place<'_> {
    (attribute.key.as_deref(), attribute.attribute.as_deref())
}

fn places<'a>(list: &[&'a Attribute]) -> BTreeMap<Place<'a>, &'a Attribute> {
    list.iter().map(|attribute| (place(attribute), *attribute)).collect()
}

fn field_change(place: &Attribute, old: Option<&Attribute>, new: Option<&Attribute>) -> FieldChange {
    FieldChange {
        field: place.field,
        key: place.key.clone(),
        attribute: place.attribute.clone(),
        old: old.map(|old| old.value.clone()),
        new: new.map(|new| new.value.clone()),
    }
}

/// Features that are on both sides in another order: the order is that of the columns of a dataset.
fn order_change<'a>(
    held: impl Iterator<Item = &'a &'a Attribute>,
    wanted: impl Iterator<Item = &'a &'a Attribute>,
) -> Option<FieldChange> {
    let name = |entry: &&Attribute| entry.key.clone().filter(|_| entry.attribute.is_none());
    let old: Vec<String> = held.filter_map(name).collect();
    let new: Vec<String> = wanted.filter_map(name).collect();
    (old != new).then(|| FieldChange {
        field: "feature_order",
        key: None,
        attribute: None,
        old: Some(old.join(", ")),
        new: Some(new.join(", ")),
    })
}

/// A view whose copy of its source is behind the source itself changes too, unless the source's own change says so.
fn add_stale_sources(current: &Catalog, desired: &Definitions, plan: &mut Plan) {
    let of_features = current.feature_views.iter().filter(|view| view.kind == ViewKind::Feature);
    let held_views: BTreeMap<&str, &FeatureView> =
        of_features.map(|view| (view.name.as_str(), view)).collect();
    let unchanged: BTreeSet<ObjectRef> = plan.unchanged.iter().cloned().collect();
    let changes_at: BTreeMap<ObjectRef, usize> =
        plan.changes.iter().enumerate().map(|(at, change)| (change.object.clone(), at)).collect();
    let mut behind = BTreeSet::new();
    for view in &desired.feature_views {
        let held = held_views.get(view.name.as_str()).filter(|held| held.source.name == view.source.name);
        let source = ObjectRef { kind: Kind::DataSource, name: view.source.name.clone() };
        let Some(held) = held.filter(|_| unchanged.contains(&source)) else { continue };
        let stale = changes(&of_source(&held.source), &of_source(&view.source));
        if stale.is_empty() {
            continue;
        }
        let fields = stale.into_iter().map(|change| FieldChange {
            field: "source",
            attribute: Some(change.path()),
            key: None,
            ..change
        });
        let object = ObjectRef { kind: Kind::FeatureView, name: view.name.clone() };
        match changes_at.get(&object).and_then(|at| plan.changes.get_mut(*at)) {
            Some(change) => change.fields.extend(fields),
            None => {
                behind.insert(object.clone());
                add(object, Action::Update, fields.collect(), plan);
            }
        }
    }
    plan.unchanged.retain(|unchanged| !behind.contains(unchanged));
}

/// Services and on-demand views hold copies of types. A copy that followed its view up to now is not a difference of
/// theirs: the view's own change says it.
fn drop_explained_types(before: &State<'_>, plan: &mut Plan) {
    let mut settled = BTreeSet::new();
    for change in &mut plan.changes {
        let name = change.object.name.as_str();
        let (field, projections): (_, Vec<(&str, &Projection)>) = match change.object.kind {
            Kind::FeatureService => {
                let held = before.services.get(name).map(|service| service.projections.iter());
                ("features", held.into_iter().flatten().map(|held| (name_to_use(held), held)).collect())
            }
            Kind::OnDemandFeatureView => {
                let held = before.on_demand.get(name).map(|view| view.inputs.iter());
                let views = held.into_iter().flatten().filter_map(|(name, input)| match input {
                    OnDemandInput::View(projection) => Some((name.as_str(), projection)),
                    OnDemandInput::Request(_) => None,
                });
                ("inputs", views.collect())
            }
            Kind::Project | Kind::Entity | Kind::DataSource | Kind::FeatureView | Kind::SavedDataset => {
                continue;
            }
        };
        change.fields.retain(|found| {
            let (Some(old), Some(_), Some(key)) = (&found.old, &found.new, &found.key) else { return true };
            let Some((name, feature)) = key.split_once(':').filter(|_| found.field == field) else {
                return true;
            };
            let held = projections.iter().find(|(held, _)| *held == name);
            let current = held.and_then(|(_, projection)| before.feature(&projection.view, feature));
            current.is_none_or(|current| dtype_name(current) != *old)
        });
        if change.fields.is_empty() && change.action == Action::Update {
            settled.insert(change.object.clone());
        }
    }
    plan.changes.retain(|change| !settled.contains(&change.object));
    plan.unchanged.extend(settled);
}

/// Names that a kept object already has: Feast finds views of all kinds, and sources, by one name whatever its case.
fn conflicts(current: &Catalog, desired: &Definitions, kept: &Kept) -> Vec<String> {
    let views = desired.feature_views.iter().map(|view| (Kind::FeatureView, view.name.as_str()));
    let on_demand = desired.on_demand_feature_views.iter();
    let on_demand = on_demand.map(|view| (Kind::OnDemandFeatureView, view.name.as_str()));
    let mut found = Vec::new();
    let kept_views = kept.views_in_lower_case();
    for (kind, name) in views.chain(on_demand) {
        for (taken_by, taken) in kept_views.get(&name.to_ascii_lowercase()).into_iter().flatten() {
            let same_list = match *taken_by {
                "FeatureView" | "BatchFeatureView" => kind == Kind::FeatureView,
                "OnDemandFeatureView" => kind == Kind::OnDemandFeatureView,
                _ => false,
            };
            if !(same_list && *taken == name) {
                found.push(format!("{kind} `{name}` has the name of {taken_by} `{taken}`, which is kept"));
            }
        }
    }
    let mut kept_sources: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in current.data_sources.iter().filter(|source| kept.has(Kind::DataSource, &source.name)) {
        kept_sources.entry(source.name.to_ascii_lowercase()).or_default().push(&source.name);
    }
    for source in &desired.data_sources {
        let taken = kept_sources.get(&source.name.to_ascii_lowercase()).into_iter().flatten();
        for taken in taken.filter(|taken| **taken != source.name) {
            found.push(format!(
                "data source `{}` has the name of data source `{taken}`, which is kept",
                source.name
            ));
        }
    }
    found
}
