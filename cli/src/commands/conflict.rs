//! Two changes of one project: shows the other one beside the own one, which was not written.

use backsight_registry::diff::{Plan, diff_states, plan_json, plan_text};
use backsight_registry::model::Catalog;
use serde_json::json;

use crate::commands::Program;
use crate::errors::Failure;
use crate::registry_access::NotWritten;

/// What a refused change says to the user; a conflict shows both changes since `before`.
pub(crate) fn explain(refused: NotWritten, before: &Catalog, own: &Plan, program: &Program) -> Failure {
    let (now, failure) = match refused {
        NotWritten::Moved(now, failure) => (now, failure),
        NotWritten::Failed(failure) => return failure,
    };
    let after = now.catalog_or_empty(&before.project);
    let other = diff_states(before, &after);
    let terminal = &program.terminal;
    let details = json!({"own_change": plan_json(own), "other_change": plan_json(&other)});
    if !terminal.is_json() {
        let shown = |plan: &Plan| {
            if plan.has_changes() {
                plan_text(plan, terminal.colour_of_notes())
            } else {
                "nothing that definitions express (times, states, saved datasets, or objects not managed here)\n".to_owned()
            }
        };
        terminal.say(&format!("Your change, which was not written:\n\n{}", shown(own)));
        terminal.say(&format!("The change that was made meanwhile:\n\n{}", shown(&other)));
    }
    failure.with_details(details)
}
