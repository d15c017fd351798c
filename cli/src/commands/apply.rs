//! `apply` and `teardown`: the two commands that change a registry. Each shows what it will do, then asks.

use std::path::{Path, PathBuf};

use backsight_proto::ErrorCode;
use backsight_registry::diff::{Action, Plan, diff, is_unmoved, plan_json, plan_text};
use backsight_registry::model::{Definitions, Project};
use backsight_retrieval::SourceReport;
use clap::Args;
use serde_json::{Value, json};

use crate::commands::plan::{Looked, compare, described, look};
use crate::commands::{Done, Program, conflict, consent};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::registry_access::{Change, NotWritten, Written};
use crate::render::sources::sources_text;
use crate::render::units::counted;
use crate::saved_plan::{self, SavedPlan};
use crate::source_check::{SourceCheckArgs, SourceRule, failure_of, look_at_sources};

/// Arguments of `apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight apply                    shows the plan, then asks
  backsight apply --yes              asks nothing, for scripts
  backsight apply plan.json --yes    does what `backsight plan --save plan.json` showed, or nothing
  backsight apply --reviewed plan.json --yes
                                     does what the definitions say now, if it changes just what that plan showed")]
pub(crate) struct ApplyArgs {
    /// A plan that was saved: do exactly that; 9 when the project has changed since
    #[arg(value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Apply the definitions only if that changes just what this saved plan showed, else 9; the project may have changed
    /// since in other objects
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    reviewed: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    sources: SourceCheckArgs,
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
    let (looked, rule) = match (&args.plan, &args.reviewed) {
        (Some(file), _) => {
            let (looked, saved) = look_at_saved(file, &workspace, program).await?;
            // Who plans and who applies may each let pass what the other does not.
            (looked, saved.max(args.sources.rule()))
        }
        (None, Some(file)) => {
            let (looked, saved) = look_as_reviewed(file, &workspace, program).await?;
            (looked, saved.max(args.sources.rule()))
        }
        (None, None) => (look(&workspace, program).await?, args.sources.rule()),
    };
    let report = look_at_sources(&workspace, &looked.definitions, rule).await?;
    let terminal = &program.terminal;
    show(&looked.plan, report.as_ref(), args.yes, program);
    if let Some(failure) = failure_of(report.as_ref()) {
        return Err(failure);
    }
    let sources = report.as_ref();
    if !looked.plan.has_changes() {
        if terminal.is_json() {
            let plan = described(&looked.plan, &looked.location, sources);
            terminal.print_json(&outcome(plan, "applied", None));
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
    report_written(&written, "applied", described(&looked.plan, &written.location, sources), program);
    Ok(Done::Done)
}

/// What a saved plan wants, if the registry and the project are still those that it is about.
async fn look_at_saved(
    file: &Path,
    workspace: &Workspace,
    program: &Program,
) -> Result<(Looked, SourceRule), Failure> {
    let shown = file.display().to_string();
    let saved = read_saved(file, &shown, program)?;
    let project = workspace.project();
    require_project(&saved, project, &shown)?;
    let looked = compare(workspace, saved.definitions.clone()).await?;
    require_registry(&saved, &looked, &shown)?;
    if !is_unmoved(&looked.document, &saved.fingerprint, &saved.definitions) {
        let message = format!(
            "project `{project}` in `{}` has changed since the plan in `{shown}` was saved ({}); nothing was written",
            looked.location,
            saved.saved_at.format("%Y-%m-%d %H:%M:%S UTC"),
        );
        let hint = if looked.plan.has_changes() {
            format!("look at both changes, then run `backsight plan --save {shown}` again")
        } else {
            "the registry holds what the plan wants: it may have been applied already".to_owned()
        };
        let failure = Failure::new(ErrorCode::Conflict, message).with_hint(hint);
        let moved = NotWritten::Moved(Box::new(looked.document), failure);
        return Err(conflict::explain(moved, &saved.before(), &saved.plan(), program));
    }
    Ok((looked, saved.sources))
}

/// What the definitions say now, if it changes just what a saved plan showed.
async fn look_as_reviewed(
    file: &Path,
    workspace: &Workspace,
    program: &Program,
) -> Result<(Looked, SourceRule), Failure> {
    let shown = file.display().to_string();
    let saved = read_saved(file, &shown, program)?;
    require_project(&saved, workspace.project(), &shown)?;
    let looked = look(workspace, program).await?;
    require_registry(&saved, &looked, &shown)?;
    let reviewed = saved.plan();
    // Where nothing is left to do, nothing is done that nobody has seen.
    if !looked.plan.has_changes() || looked.plan.makes_the_changes_of(&reviewed) {
        return Ok((looked, saved.sources));
    }
    let terminal = &program.terminal;
    let details = json!({"own_change": plan_json(&looked.plan), "reviewed_change": plan_json(&reviewed)});
    if !terminal.is_json() {
        let text = |plan: &Plan| plan_text(plan, terminal.colour_of_notes());
        terminal.say(&format!("The change that was reviewed:\n\n{}", text(&reviewed)));
        terminal.say(&format!("The change now, which was not written:\n\n{}", text(&looked.plan)));
    }
    let message = format!(
        "the definitions would change something else than the plan in `{shown}`; nothing was written"
    );
    let failure = Failure::new(ErrorCode::Conflict, message).with_hint(
        "the project or the definitions have changed since: look at the change now, and plan again",
    );
    Err(failure.with_details(details))
}

/// A saved plan is about one project of one registry.
fn require_project(saved: &SavedPlan, project: &str, shown: &str) -> Result<(), Failure> {
    if saved.project() == project {
        Ok(())
    } else {
        Err(of_another(shown, "project", saved.project(), project))
    }
}

fn require_registry(saved: &SavedPlan, looked: &Looked, shown: &str) -> Result<(), Failure> {
    if saved.registry == looked.location {
        return Ok(());
    }
    Err(of_another(shown, "the registry", &saved.registry, &looked.location))
}

fn of_another(shown: &str, what: &str, its: &str, ours: &str) -> Failure {
    let message = format!("the plan in `{shown}` is about {what} `{its}`, this is `{ours}`");
    Failure::new(ErrorCode::Invalid, message)
        .with_hint("apply it where it was made, or make one here with `backsight plan --save FILE`")
}

fn read_saved(file: &Path, shown: &str, program: &Program) -> Result<SavedPlan, Failure> {
    let path = program.environment.working.join(file);
    let failed = |error: std::io::Error| Failure::io(&format!("read the saved plan `{shown}`"), &error);
    let bytes = std::fs::metadata(&path).map_err(failed)?.len();
    if bytes > saved_plan::BYTES_MAX {
        let message = format!("`{shown}` is larger than a saved plan can be");
        return Err(Failure::new(ErrorCode::Limit, message));
    }
    SavedPlan::parse(shown, &std::fs::read(&path).map_err(failed)?)
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
    show_teardown(&plan, plan.not_managed.is_empty(), args.yes, program);
    if !args.yes {
        consent::ask(&format!("Remove project `{project}` from `{}`?", before.location), program)?;
    }
    let written = workspace.registry.update(project, &fingerprint, Change::Teardown).await;
    let written = written.map_err(|error| conflict::explain(error, &catalog, &plan, program))?;
    if !written.is_changed && !terminal.is_json() {
        terminal.print("Nothing to remove.\n");
        return Ok(Done::Done);
    }
    report_written(&written, "removed", described(&plan, &written.location, None), program);
    Ok(Done::Done)
}

/// The plan as data; a person who will be asked and has JSON as data sees it beside.
fn show(plan: &Plan, sources: Option<&SourceReport>, yes: bool, program: &Program) {
    let terminal = &program.terminal;
    let found = sources_text(sources);
    if !terminal.is_json() {
        terminal.print(&plan_text(plan, terminal.colour()));
        terminal.print(&found);
    } else if !yes {
        terminal.say(&format!("{}{found}", plan_text(plan, terminal.colour_of_notes())));
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

fn report_written(written: &Written, done: &str, plan: Value, program: &Program) {
    let terminal = &program.terminal;
    if let Some(foreign) = &written.foreign_write {
        terminal.warn(&format!(
            "somebody who does not write through backsight had written version `{}` over what we knew; \
             it was kept, and so are the versions before it in `{}`",
            foreign.version_id, written.history_folder
        ));
    }
    if terminal.is_json() {
        terminal.print_json(&outcome(plan, done, Some(written)));
        return;
    }
    let version = written.version_id.as_deref().unwrap_or("unknown");
    let verb = if done == "applied" { "Applied to" } else { "Removed from" };
    terminal.print(&format!("{verb} `{}` (version {version}).\n", written.location));
}

fn outcome(plan: Value, done: &str, written: Option<&Written>) -> Value {
    let version = written.and_then(|written| written.version_id.clone());
    json!({
        done: written.is_some_and(|written| written.is_changed),
        "version_id": version,
        "plan": plan,
    })
}
