//! `registry gc`: removes versions that no rule keeps, and what dead writers left beside the registry.

use std::time::Duration;

use backsight_registry::store::{PrunePolicy, SAFE_AGE};
use clap::Args;
use serde_json::{Value, json};

use crate::commands::registry::history;
use crate::commands::{Done, Program, consent};
use crate::config::{Workspace, parse_duration};
use crate::errors::Failure;
use crate::registry_versions::{Pruned, PrunedFile, VersionEntry};
use crate::render::units::{bytes, counted};

/// Arguments of `registry gc`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight registry gc --keep 50 --dry-run
  backsight registry gc --keep 50 --older-than 90d     removes what is neither among the newest 50 nor younger
  backsight registry gc --older-than 365d --yes        asks nothing, for scripts

The current version, the newest kept one and everything younger than an hour stay in any case. Datasets do not need
the history: each keeps its own copy of the registry as `_backsight/registry.pb`.")]
pub(crate) struct GcArgs {
    /// Keep so many of the newest versions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    /// Remove only what is older than this: `90d`, `12h`
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Prunes the history.
pub(crate) async fn run(args: &GcArgs, program: &Program) -> Result<Done, Failure> {
    let policy = PrunePolicy { keep: args.keep, older_than: args.older_than };
    if policy == (PrunePolicy { keep: None, older_than: None }) {
        let failure = Failure::usage("`registry gc` was not told which versions may go");
        return Err(failure.with_hint(
            "add `--keep N`, `--older-than AGE` or both; with both a version goes when neither keeps it",
        ));
    }
    if !args.dry_run {
        consent::require_possible("registry gc", "registry gc --dry-run", args.yes, program)?;
    }
    let workspace = Workspace::open(program)?;
    let found = workspace.registry.prunable(&policy).await?;
    let terminal = &program.terminal;
    let is_asked = !args.dry_run && !args.yes;
    if !terminal.is_json() {
        terminal.print(&text(&found));
    } else if is_asked {
        terminal.say(&text(&found));
    }
    if args.dry_run || found.files.is_empty() {
        if terminal.is_json() {
            terminal.print_json(&outcome(&found, args.dry_run));
        }
        return Ok(Done::Done);
    }
    if is_asked {
        let files = counted(found.files.len() as u64, "file", "files");
        consent::ask(&format!("Remove {files} beside `{}`?", found.location), program)?;
    }
    let removed = workspace.registry.prune(&policy, &found).await?;
    if terminal.is_json() {
        terminal.print_json(&outcome(&removed, false));
    } else {
        let files = counted(removed.files.len() as u64, "file", "files");
        let kept = counted(removed.kept, "version is", "versions are");
        terminal.print(&format!("Removed {files}; {kept} kept.\n"));
    }
    Ok(Done::Done)
}

fn text(found: &Pruned) -> String {
    if found.files.is_empty() {
        let hours = SAFE_AGE.as_secs() / 3600;
        let kept = counted(found.kept, "version is", "versions are");
        return format!(
            "Nothing to remove: {kept} kept. (What is younger than {hours} h is never removed.)\n"
        );
    }
    let versions: Vec<VersionEntry> =
        found.files.iter().filter_map(|file| file.entry.clone()).rev().collect();
    let mut text = String::new();
    if !versions.is_empty() {
        text = format!("{}\n", history::table(&versions).text());
    }
    for file in found.files.iter().filter(|file| file.entry.is_none()) {
        text = format!("{text}left by a writer that died: {} ({})\n", file.name, bytes(file.bytes));
    }
    let files = counted(found.files.len() as u64, "file", "files");
    let size = bytes(found.files.iter().map(|file| file.bytes).sum());
    let kept = counted(found.kept, "version stays", "versions stay");
    format!("{text}{files} to remove, {size}; {kept}.\n")
}

fn outcome(found: &Pruned, is_dry_run: bool) -> Value {
    let names = |is_version: bool| -> Vec<&PrunedFile> {
        found.files.iter().filter(|file| file.entry.is_some() == is_version).collect()
    };
    let versions = names(true);
    json!({
        "registry": found.location,
        "dry_run": is_dry_run,
        "removed": versions.iter().filter_map(|file| file.entry.as_ref()).map(VersionEntry::json).collect::<Vec<_>>(),
        "leftovers": names(false).iter().map(|file| json!({"name": file.name, "bytes": file.bytes})).collect::<Vec<_>>(),
        "bytes": found.files.iter().map(|file| file.bytes).sum::<u64>(),
        "kept": found.kept,
    })
}
