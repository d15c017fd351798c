//! Two changes of one project: shows the other one beside the own one, which was not written.

use backsight_registry::diff::{Plan, diff, plan_json, plan_text};
use backsight_registry::model::{Catalog, Definitions, Project, SourceKind, Tags, ViewKind};
use backsight_registry::store::StoreError;
use serde_json::json;

use crate::commands::Program;
use crate::errors::Failure;

/// What `error` says to the user; a conflict shows both changes since `before`.
pub(crate) fn explain(error: StoreError, before: &Catalog, own: &Plan, program: &Program) -> Failure {
    let StoreError::ProjectMoved { now, project, .. } = &error else { return error.into() };
    let after = now.document.catalog_or_empty(project);
    let other = diff(before, &as_definitions(after));
    let terminal = &program.terminal;
    let details = json!({"own_change": plan_json(own), "other_change": plan_json(&other)});
    if !terminal.is_json() {
        let shown = |plan: &Plan| {
            if plan.has_changes() {
                plan_text(plan, terminal.colour_of_notes())
            } else {
                "nothing that definitions express (times, states, or objects not managed here)\n".to_owned()
            }
        };
        terminal.say(&format!("Your change, which was not written:\n\n{}", shown(own)));
        terminal.say(&format!("The change that was made meanwhile:\n\n{}", shown(&other)));
    }
    Failure::from(error).with_details(details)
}

/// A state as if somebody had defined it, to compare with an earlier one.
fn as_definitions(catalog: Catalog) -> Definitions {
    let is_own_view = |name: &str| !catalog.keeps_view(name);
    let is_own_source = |name: &str| !catalog.keeps_data_source(name);
    Definitions {
        project: catalog.project_object.clone().unwrap_or_else(|| Project {
            name: catalog.project.clone(),
            description: String::new(),
            tags: Tags::new(),
            owner: String::new(),
        }),
        entities: catalog
            .entities
            .iter()
            .filter(|entity| !catalog.keeps_entity(&entity.name))
            .cloned()
            .collect(),
        data_sources: catalog
            .data_sources
            .iter()
            .filter(|source| !matches!(source.kind, SourceKind::Other { .. }) && is_own_source(&source.name))
            .cloned()
            .collect(),
        feature_views: catalog
            .feature_views
            .iter()
            .filter(|view| view.kind == ViewKind::Feature && is_own_view(&view.name))
            .cloned()
            .collect(),
        on_demand_feature_views: catalog
            .on_demand_feature_views
            .iter()
            .filter(|view| is_own_view(&view.name))
            .cloned()
            .collect(),
        feature_services: catalog.feature_services.clone(),
    }
}
