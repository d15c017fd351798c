//! Whether a project is still as it was when a plan was made of it. Pure.

use super::compare::diff;
use crate::document::{ProjectFingerprint, RegistryDocument};
use crate::model::Definitions;

/// Whether a plan that was made of `definitions` when the project was in the state `seen` still says what there is to
/// say. Saved datasets may have come, gone and changed since, unless the plan would break one of those that are there
/// now: then somebody should see which.
pub fn is_unmoved(document: &RegistryDocument, seen: &ProjectFingerprint, definitions: &Definitions) -> bool {
    let project = definitions.project.name.as_str();
    let found = document.project_fingerprint(project);
    if found == *seen {
        return true;
    }
    found.is_same_but_saved_datasets(seen)
        && !diff(&document.catalog_or_empty(project), definitions).breaks_saved_datasets()
}
