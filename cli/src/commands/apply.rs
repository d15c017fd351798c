//! `apply` and `teardown`: the two commands that change a registry. Each shows what it will do, then asks.

use backsight_registry::diff::{Action, Plan, diff, plan_text};
use backsight_registry::model::{Definitions, Project};
use clap::Args;
use serde_json::{Value, json};

use crate::commands::plan::{described, look};
use crate::commands::{Done, Program, conflict, consent};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::registry_access::{Change, Written};
use crate::render::units::counted;

/// Arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight apply              shows the plan, then asks
  backsight apply --yes        asks nothing, for scripts")]
pub(crate) struct ApplyArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Arguments of `teardown`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight teardown           shows what is removed, then asks
  backsight teardown --yes     asks nothing, for scripts")]
pub(crate) struct TeardownArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Makes the registry hold the project as it is defined.
pub(crate) async fn run(args: &ApplyArgs, program: &Program) -> Result<Done, Failure> {
    consent::require_possible("apply", "plan", args.yes, program)?;
    let workspace = Workspace::open(program)?;
    let looked = look(&workspace, program).await?;
    let terminal = &program.terminal;
    show(&looked.plan, args.yes, program);
    if !looked.plan.has_changes() {
        if terminal.is_json() {
            terminal.print_json(&outcome(&looked.plan, &looked.location, "applied", None));
        }
        return Ok(Done::Done);
    }
    warn_of_deletes(&looked.plan, program);
    if !args.yes {
        consent::ask(
            &format!("Apply to project `{}` in `{}`?", workspace.project(), looked.location),
            program,
        )?;
    }
    let written = workspace
        .registry
        .update(workspace.project(), &looked.fingerprint, Change::Apply(&looked.definitions))
        .await;
    let written = written.map_err(|error| conflict::explain(error, &looked.before, &looked.plan, program))?;
    report(&written, "applied", &looked.plan, program);
    Ok(Done::Done)
}

/// Removes the project from the registry.
pub(crate) async fn run_teardown(args: &TeardownArgs, program: &Program) -> Result<Done, Failure> {
    consent::require_possible("teardown", "plan", args.yes, program)?;
    let workspace = Workspace::open(program)?;
    // A registry that is missing has nothing to remove: most likely the configuration is wrong.
    let before = workspace.registry.read().await?;
    let project = workspace.project();
    let catalog = before.document.catalog(project)?;
    let fingerprint = before.document.project_fingerprint(project);
    let own = catalog.project_object.clone().unwrap_or_else(|| Project::named(project));
    let plan = diff(&catalog, &Definitions::empty(own));
    let terminal = &program.terminal;
    show_teardown(&plan, catalog.unmanaged.is_empty(), args.yes, program);
    if !args.yes {
        consent::ask(&format!("Remove project `{project}` from `{}`?", before.location), program)?;
    }
    let written = workspace.registry.update(project, &fingerprint, Change::Teardown).await;
    let written = written.map_err(|error| conflict::explain(error, &catalog, &plan, program))?;
    if !written.is_changed && !terminal.is_json() {
        terminal.print("Nothing to remove.\n");
        return Ok(Done::Done);
    }
    report(&written, "removed", &plan, program);
    Ok(Done::Done)
}

/// The plan as data; a person who will be asked and has JSON as data sees it beside.
fn show(plan: &Plan, yes: bool, program: &Program) {
    let terminal = &program.terminal;
    if !terminal.is_json() {
        terminal.print(&plan_text(plan, terminal.colour()));
    } else if !yes {
        terminal.say(&plan_text(plan, terminal.colour_of_notes()));
    }
}

fn show_teardown(plan: &Plan, is_whole: bool, yes: bool, program: &Program) {
    let terminal = &program.terminal;
    let mut text = String::new();
    for change in &plan.changes {
        text = format!("{text}- {} {}\n", change.object.kind, change.object.name);
    }
    if is_whole {
        text = format!("{text}- project {}\n", plan.project);
    }
    if !plan.not_managed.is_empty() {
        let kept: Vec<String> =
            plan.not_managed.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        text = format!("{text}\nNot managed here, kept as they are: {}\n", kept.join(", "));
    }
    if !terminal.is_json() {
        terminal.print(&text);
    } else if !yes {
        terminal.say(&text);
    }
}

fn warn_of_deletes(plan: &Plan, program: &Program) {
    let deleted = plan.changes.iter().filter(|change| change.action == Action::Delete);
    let names: Vec<String> =
        deleted.map(|change| format!("{} `{}`", change.object.kind, change.object.name)).collect();
    if !names.is_empty() {
        let objects = counted(names.len() as u64, "object is", "objects are");
        program.terminal.warn(&format!("{objects} deleted: {}", names.join(", ")));
    }
}

fn report(written: &Written, done: &str, plan: &Plan, program: &Program) {
    let terminal = &program.terminal;
    if let Some(foreign) = &written.foreign_write {
        terminal.warn(&format!(
            "somebody who does not write through backsight had written version `{}` over what we knew; \
             it was kept, and so are the versions before it in `{}`",
            foreign.version_id, written.history_folder
        ));
    }
    if terminal.is_json() {
        terminal.print_json(&outcome(plan, &written.location, done, Some(written)));
        return;
    }
    let version = written.version_id.as_deref().unwrap_or("unknown");
    let verb = if done == "applied" { "Applied to" } else { "Removed from" };
    terminal.print(&format!("{verb} `{}` (version {version}).\n", written.location));
}

fn outcome(plan: &Plan, location: &str, done: &str, written: Option<&Written>) -> Value {
    let version = written.and_then(|written| written.version_id.clone());
    json!({
        done: written.is_some_and(|written| written.is_changed),
        "version_id": version,
        "plan": described(plan, location),
    })
}
