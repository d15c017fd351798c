//! `registry history`: the versions that can be read, newest first.

use clap::Args;
use serde_json::json;

use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::registry_versions::VersionEntry;
use crate::render::table::{Align, Table};
use crate::render::units::{bytes, counted};

/// Arguments of `registry history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight registry history
  backsight registry history --limit 100
  backsight registry diff 3               what changed since version 3")]
pub(crate) struct HistoryArgs {
    /// Show so many
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Lists the versions.
pub(crate) async fn run(args: &HistoryArgs, program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    let found = workspace.registry.versions().await?;
    let terminal = &program.terminal;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let shown = &found.versions[..found.versions.len().min(limit)];
    let more = found.versions.len() - shown.len();
    if terminal.is_json() {
        terminal.print_json(&json!({
            "registry": found.location,
            "history_folder": found.history_folder,
            "versions": shown.iter().map(VersionEntry::json).collect::<Vec<_>>(),
            "has_more": more > 0,
        }));
        return Ok(Done::Done);
    }
    terminal.print(&format!(
        "registry  {}\nhistory   {}\n\n{}",
        found.location,
        found.history_folder,
        table(shown).text()
    ));
    if !found.versions.iter().any(|version| version.is_current) {
        terminal.warn(&format!(
            "there is no registry at `{}` any more; `backsight registry rollback` brings a project back",
            found.location
        ));
    }
    if more > 0 {
        terminal.note(&format!(
            "{}; `--limit` shows more.",
            counted(more as u64, "older version", "older versions")
        ));
    }
    Ok(Done::Done)
}

/// Versions as rows.
pub(super) fn table(versions: &[VersionEntry]) -> Table {
    let mut table = Table::new(&[
        ("VERSION", Align::Right),
        ("WRITTEN (UTC)", Align::Left),
        ("SIZE", Align::Right),
        ("ID", Align::Left),
        ("NOTES", Align::Left),
    ]);
    for version in versions {
        let notes: Vec<&str> = [
            (version.is_current, "current"),
            (version.is_foreign, "foreign: not written through backsight"),
            (version.number.is_none(), "not kept yet"),
        ]
        .into_iter()
        .filter_map(|(is_so, note)| is_so.then_some(note))
        .collect();
        table.row([
            version.number.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            version.at.map_or_else(|| "unknown".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string()),
            bytes(version.bytes),
            version.version_id.clone(),
            notes.join(", "),
        ]);
    }
    table
}
