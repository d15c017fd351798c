//! `registry rollback`: this project as it was in a version, written as a new version.

use backsight_registry::diff::{VersionDiff, diff_versions, version_diff_json, version_diff_text};
use backsight_registry::document::Stamp;
use backsight_registry::store::StoreError;
use chrono::Utc;
use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::commands::{Done, Program, conflict, consent};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::registry_access::{Change, Written};
use crate::registry_versions::VersionRead;

/// Arguments of `registry rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight registry rollback 3          shows what changes, then asks
  backsight registry rollback 3 --yes    asks nothing, for scripts

Only the configured project is put back; other projects keep what they have now.")]
pub(crate) struct RollbackArgs {
    /// The version to go back to: its number, its id or the first six characters of it
    #[arg(value_name = "VERSION")]
    version: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Puts the project back.
pub(crate) async fn run(args: &RollbackArgs, program: &Program) -> Result<Done, Failure> {
    let command = format!("registry rollback {}", args.version);
    consent::require_possible(
        &command,
        &format!("registry diff current {}", args.version),
        args.yes,
        program,
    )?;
    let workspace = Workspace::open(program)?;
    let project = workspace.project();
    let version = workspace.registry.read_version(&args.version).await?;
    let now = workspace.registry.read_if_exists().await?;
    let fingerprint = now.document.project_fingerprint(project);
    let mut stamp = Stamp { now: Utc::now(), next_id: &mut Uuid::new_v4 };
    let back = now.document.rollback(&version.document, project, &mut stamp).map_err(StoreError::from)?;
    let is_same = back.project_fingerprint(project) == fingerprint;
    let diff = diff_versions(&now.document, &back, project);
    let terminal = &program.terminal;
    show(&diff, is_same, args.yes, program);
    if is_same {
        if terminal.is_json() {
            terminal.print_json(&outcome(&diff, &version, &now.location, None));
        }
        return Ok(Done::Done);
    }
    if !args.yes {
        let label = version.entry.label();
        let question = format!("Put project `{project}` in `{}` back to version {label}?", now.location);
        consent::ask(&question, program)?;
    }
    let written = workspace.registry.update(project, &fingerprint, Change::Rollback(&version)).await;
    let before = now.document.catalog_or_empty(project);
    let written = written.map_err(|error| conflict::explain(error, &before, &diff.plan, program))?;
    if let Some(foreign) = &written.foreign_write {
        terminal.warn(&format!(
            "somebody who does not write through backsight had written version `{}` over what we knew; it was kept",
            foreign.version_id
        ));
    }
    if terminal.is_json() {
        terminal.print_json(&outcome(&diff, &version, &written.location, Some(&written)));
    } else {
        let id = written.version_id.as_deref().unwrap_or("unknown");
        let label = version.entry.label();
        terminal.print(&format!(
            "Put project `{project}` in `{}` back to version {label}; it is version {id} now.\n",
            written.location
        ));
        terminal.note(
            "The definitions in the repo are as before: `backsight plan` shows what they would change.",
        );
    }
    Ok(Done::Done)
}

/// The difference as data; a person who will be asked and has JSON as data sees it beside.
fn show(diff: &VersionDiff, is_same: bool, yes: bool, program: &Program) {
    let terminal = &program.terminal;
    let hidden = match (is_same, diff.has_changes()) {
        (false, false) => {
            "What differs is nothing that a definition says: times, states, settings that Feast keeps.\n"
        }
        _ => "",
    };
    let text = |colour| format!("{}{hidden}", version_diff_text(diff, colour));
    if !terminal.is_json() {
        terminal.print(&text(terminal.colour()));
    } else if !yes {
        terminal.say(&text(terminal.colour_of_notes()));
    }
}

fn outcome(diff: &VersionDiff, version: &VersionRead, location: &str, written: Option<&Written>) -> Value {
    json!({
        "rolled_back": written.is_some_and(|written| written.is_changed),
        "version_id": written.and_then(|written| written.version_id.clone()),
        "registry": location,
        "to": version.entry.json(),
        "plan": version_diff_json(diff),
    })
}
