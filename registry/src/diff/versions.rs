//! What changed in one project between two versions of a registry. Pure.

use serde_json::{Value, json};

use super::compare::compare;
use super::json::plan_json;
use super::markdown::change_markdown;
use super::plan::{Action, ObjectRef, Plan};
use super::text::{change_lines, count_lines};
use crate::document::{ObjectKind, RegistryDocument};
use crate::kept::{Kept, kind_of};
use crate::kind::Kind;
use crate::model::{Catalog, Definitions, Project, ViewKind};

/// The difference of one project between two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionDiff {
    /// Everything that can be told field by field, objects included that definitions do not manage.
    pub plan: Plan,
    /// Objects of kinds that definitions do not express and that differ beyond what `plan` says, by kind and name.
    pub others: Vec<OtherChange>,
}

/// The change of an object that is only named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OtherChange {
    /// Its kind as Feast names it.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub action: Action,
}

impl VersionDiff {
    /// Whether the project means the same in both versions.
    pub fn has_changes(&self) -> bool {
        self.plan.has_changes() || !self.others.is_empty()
    }
}

/// Compares a project of `before` with that of `after`. Times, states and embedded copies say nothing; a project that
/// is missing on one side is an empty one.
pub fn diff_versions(before: &RegistryDocument, after: &RegistryDocument, project: &str) -> VersionDiff {
    let (old, new) = (before.catalog_or_empty(project), after.catalog_or_empty(project));
    let mut was = everything(&old);
    // A dataset that went cannot break.
    was.saved_datasets.retain(|dataset| new.saved_datasets.iter().any(|it| it.name == dataset.name));
    let mut plan = compare(&was, &as_wanted(&new), &Kept::default());
    if new.project_object.is_none() {
        // What is wanted always has a project; a version need not.
        plan.unchanged.retain(|object| object.kind != Kind::Project);
        plan.changes.retain(|change| change.object.kind != Kind::Project || old.project_object.is_some());
        for change in plan.changes.iter_mut().filter(|change| change.object.kind == Kind::Project) {
            change.action = Action::Delete;
        }
    }
    let others = others(before, after, &old, &new, &plan);
    VersionDiff { plan, others }
}

/// The catalog as if definitions managed all of it.
fn everything(catalog: &Catalog) -> Catalog {
    let mut all = Catalog { unmanaged: Vec::new(), ..catalog.clone() };
    for view in &mut all.feature_views {
        view.kind = ViewKind::Feature;
    }
    all
}

fn as_wanted(catalog: &Catalog) -> Definitions {
    let all = everything(catalog);
    Definitions {
        project: all.project_object.unwrap_or_else(|| Project::named(&all.project)),
        entities: all.entities,
        data_sources: all.data_sources,
        feature_views: all.feature_views,
        on_demand_feature_views: all.on_demand_feature_views,
        feature_services: all.feature_services,
    }
}

/// Objects that are not managed and differ, unless the plan has them.
fn others(
    before: &RegistryDocument,
    after: &RegistryDocument,
    old: &Catalog,
    new: &Catalog,
    plan: &Plan,
) -> Vec<OtherChange> {
    let mut kinds: Vec<&(String, String)> = old.unmanaged.iter().chain(&new.unmanaged).collect();
    kinds.sort();
    kinds.dedup();
    let (was, is) = (before.meanings(&plan.project), after.meanings(&plan.project));
    let mut found = Vec::new();
    for (kind, name) in kinds {
        let keys: Vec<(ObjectKind, String)> = ObjectKind::ALL
            .into_iter()
            .filter(|object| object.is_called(kind))
            .map(|object| (object, name.clone()))
            .collect();
        let was = keys.iter().find_map(|key| was.get(key));
        let is = keys.iter().find_map(|key| is.get(key));
        let action = match (was, is) {
            (Some(was), Some(is)) if was != is => Action::Update,
            (None, Some(_)) => Action::Create,
            (Some(_), None) => Action::Delete,
            _ => continue,
        };
        let told = kind_of(kind).map(|kind| ObjectRef { kind, name: name.clone() });
        if !plan.changes.iter().any(|change| Some(&change.object) == told.as_ref()) {
            found.push(OtherChange { kind: kind.clone(), name: name.clone(), action });
        }
    }
    found.sort();
    found
}

/// The difference as lines of text, without saying between what.
pub fn version_diff_text(diff: &VersionDiff, colour: bool) -> String {
    let mut lines = change_lines(&diff.plan, colour);
    lines.extend(diff.others.iter().map(other_line));
    if diff.has_changes() {
        lines.push(String::new());
    }
    lines.push(summary(diff));
    lines.join("\n") + "\n"
}

/// The difference as Markdown, without saying between what.
pub fn version_diff_markdown(diff: &VersionDiff) -> String {
    let others: Vec<String> = diff.others.iter().map(other_line).collect();
    format!(
        "### Project `{}`\n\n{}\n{}",
        diff.plan.project,
        summary(diff),
        change_markdown(&diff.plan, &others)
    )
}

/// The difference as JSON: the keys of a plan, and `other_changes`. Keys are only ever added.
pub fn version_diff_json(diff: &VersionDiff) -> Value {
    let mut value = plan_json(&diff.plan);
    if let Value::Object(object) = &mut value {
        object.insert("has_changes".to_owned(), diff.has_changes().into());
        let others = diff
            .others
            .iter()
            .map(|other| json!({"action": other.action.key(), "kind": other.kind, "name": other.name}));
        object.insert("other_changes".to_owned(), others.collect());
    }
    value
}

fn other_line(other: &OtherChange) -> String {
    let sign = match other.action {
        Action::Create => "+",
        Action::Update => "~",
        Action::Delete => "-",
    };
    let name = super::text::printable(&other.name);
    format!("{sign} {} {name} (not managed here)", other.kind)
}

fn summary(diff: &VersionDiff) -> String {
    let project = &diff.plan.project;
    if !diff.has_changes() {
        return format!("No changes of project `{project}`.");
    }
    let others = match diff.others.len() {
        0 => String::new(),
        1 => " 1 object changed that is not managed here.".to_owned(),
        more => format!(" {more} objects changed that are not managed here."),
    };
    format!("Project `{project}`: {}{others}", count_lines(&diff.plan))
}
