//! A registry's bytes: read, looked into, shown, changed, written back.

use std::path::Path;

use backsight_registry::definitions::{SourceFile, check_definitions};
use backsight_registry::diff::{diff, diff_versions, plan_json, plan_text, version_diff_json};
use backsight_registry::document::{ObjectKind, RegistryDocument, Stamp};
use backsight_registry::export::export;
use backsight_registry::model::{Catalog, Definitions, Project};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::mutate::Shape;
use super::runner::{Target, answer, fuzz};

/// Projects of one input that are looked into.
const PROJECTS_MAX: usize = 3;

/// Registries that Feast wrote, and an empty one.
pub(super) fn registries() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("../registry/testdata/feast-0.67.pb")];
    let cases = std::fs::read_dir(root.join("conformance")).unwrap();
    let mut cases: Vec<_> = cases.map(|case| case.unwrap().path().join("registry.pb")).collect();
    cases.sort();
    paths.extend(cases.into_iter().filter(|path| path.exists()).take(24));
    let mut registries: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(registries.len() > 10);
    registries.push(Vec::new());
    registries
}

const DEFINITIONS: &str = "\
kind: Entity
name: driver
join_keys: [driver_id]
value_type: INT64
---
kind: FileSource
name: stats_source
path: data/stats.parquet
timestamp_field: event_timestamp
---
kind: FeatureView
name: stats
entities: [driver]
ttl: 1d
schema: [{name: x, dtype: Float32}]
source: stats_source
---
kind: FeatureService
name: service
features: [stats]
";

/// Definitions of a small project.
fn definitions(project: &str) -> Definitions {
    let file = SourceFile { path: "repo.yaml".into(), text: DEFINITIONS.into() };
    check_definitions(&[file], Project::named(project)).unwrap().definitions
}

/// Changes the registry and holds what every change promises.
fn changes(document: &RegistryDocument, project: &str, others: &[String]) -> Result<(), String> {
    let mut next = 0_u128;
    let mut next_id = || {
        next += 1;
        Uuid::from_u128(next)
    };
    let now: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let mut stamp = Stamp { now, next_id: &mut next_id };
    let definitions = definitions(project);
    let catalog = document.catalog_or_empty(project);
    let plan = diff(&catalog, &definitions);
    plan_text(&plan, false);
    plan_json(&plan);
    let applied = document.apply(&definitions, &mut stamp);
    let gone = document.teardown(project, &mut stamp);
    if let Err(error) = &applied {
        answer(error.code(), error.hint(), &error);
    }
    if let Ok(applied) = &applied {
        let again =
            applied.apply(&definitions, &mut stamp).map_err(|e| format!("applied once, not twice: {e}"))?;
        if again != *applied {
            return Err("the second apply of the same definitions changes something".into());
        }
        if let Ok(back) = applied.rollback(document, project, &mut stamp)
            && back.catalog_or_empty(project) != catalog
        {
            return Err("a rollback does not bring the project back".into());
        }
        version_diff_json(&diff_versions(document, applied, project));
    }
    for changed in [applied, gone].into_iter().flatten() {
        let read = RegistryDocument::parse(&changed.to_bytes())
            .map_err(|error| format!("what was written cannot be read: {error}"))?;
        if read != changed {
            return Err("what was written is read as something else".into());
        }
        for other in others.iter().filter(|other| *other != project) {
            if changed.project_fingerprint(other) != document.project_fingerprint(other) {
                return Err(format!("project `{other}` was touched"));
            }
        }
    }
    Ok(())
}

fn look(document: &RegistryDocument, catalog: &Catalog) -> Result<(), String> {
    let project = &catalog.project;
    if document.project_fingerprint(project) != document.clone().project_fingerprint(project) {
        return Err("a fingerprint is not a function of the registry".into());
    }
    for view in &catalog.feature_views {
        // What cannot be shown is an error that names it.
        let _ = document.describe(ObjectKind::FeatureView, project, &view.name);
    }
    match export(catalog) {
        Ok(export) => (export.inexact(), ()).1,
        Err(problems) => return Err(format!("the export is refused by its reader: {problems:?}")),
    }
    diff(catalog, &catalog.as_definitions());
    Ok(())
}

fn check(bytes: &[u8]) -> Result<(), String> {
    let document = match RegistryDocument::parse(bytes) {
        Ok(document) => document,
        Err(error) => {
            answer(error.code(), error.hint(), &error);
            return Ok(());
        }
    };
    if document.to_bytes() != bytes {
        return Err("the bytes are not those that were read".into());
    }
    let _ = (document.to_json(), document.version_id(), document.last_updated());
    let projects = document.projects();
    for project in projects.iter().take(PROJECTS_MAX) {
        let catalog = document.catalog(project).map_err(|error| format!("a known project: {error}"))?;
        look(&document, &catalog)?;
    }
    changes(&document, projects.first().map_or("rides", String::as_str), &projects)
}

#[test]
fn damaged_registries_are_refused_or_kept() {
    fuzz(Target {
        name: "registry",
        corpus: registries(),
        words: &["\u{0}", "rides", "$(reboot)", "\u{1b}[2J", "\n  - x", "9223372036854775807"],
        shape: Shape::Protobuf,
        inputs: 250,
        check: Box::new(check),
    });
}
