//! Checks the texts of a repo against each other. Pure: texts in, definitions or all findings out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::draft::Drafts;
use super::read::read_document;
use super::resolve::resolve;
use crate::kind::Kind;
use crate::model::{Definitions, Project, Tags};
use crate::problem::{Position, Problem, Problems};
use crate::yaml::{Limits, parse};

/// One file of definitions.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path as messages show it, relative to the repo.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// A sound repo.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedRepo {
    /// The desired state.
    pub definitions: Definitions,
    /// Where each object is defined.
    pub positions: BTreeMap<(Kind, String), Position>,
    /// What is allowed but worth a look.
    pub warnings: Vec<Problem>,
}

/// Reads and checks all files. `project` is the name and the description in `feature_store.yaml`; they hold unless a
/// `Project` object says more.
pub fn check_definitions(files: &[SourceFile], project: Project) -> Result<LoadedRepo, Vec<Problem>> {
    let mut problems = Problems::default();
    let mut drafts = Drafts::default();
    for file in files {
        let path: Arc<str> = Arc::from(file.path.as_str());
        let parsed = parse(&path, &file.text, &Limits::default());
        problems.extend(parsed.problems);
        if !parsed.complete {
            drafts.unread.push(file.text.clone());
        }
        for document in &parsed.documents {
            read_document(document, &mut drafts, &mut problems);
        }
    }
    let mut warnings = Problems::default();
    if drafts.object_count() == 0 && problems.count() == 0 {
        warnings.push_hint(
            &Position::whole_file("."),
            "the repo defines nothing",
            format!(
                "apply would leave project `{}` empty; definitions are `*.yaml` files below the repo",
                project.name
            ),
        );
    }
    let resolved = resolve(&drafts, project, &mut problems, &mut warnings);
    let problems = problems.into_sorted();
    if !problems.is_empty() {
        return Err(problems);
    }
    let (definitions, positions) = resolved;
    Ok(LoadedRepo { definitions, positions, warnings: warnings.into_sorted() })
}

/// The project as `feature_store.yaml` alone describes it.
pub(crate) fn plain_project(name: &str, description: &str) -> Project {
    Project {
        name: name.to_owned(),
        description: description.to_owned(),
        tags: Tags::new(),
        owner: String::new(),
    }
}
