//! `registry show`: every project of the registry, or everything in it as JSON.

use backsight_registry::document::RegistryDocument;
use clap::Subcommand;

use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::render::table::{Align, Table};
use crate::render::units::{bytes, count};

/// The commands about the registry as a whole.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Show every project; with `--output-format json` every object
    #[command(
        after_help = "Examples:\n  backsight registry show\n  backsight registry show --output-format json"
    )]
    Show,
}

/// Shows the registry.
pub(crate) async fn run(RegistryCommand::Show: &RegistryCommand, program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    let read = workspace.registry.read().await?;
    let terminal = &program.terminal;
    if let Some(foreign) = workspace.registry.foreign_write(&read).await? {
        terminal.warn(&format!(
            "version `{}` was written by somebody who does not write through backsight, over version `{}` of ours",
            foreign.version_id, foreign.newest_known_version_id
        ));
    }
    if terminal.is_json() {
        terminal.print_json(&read.document.to_json()?);
        return Ok(Done::Done);
    }
    let unknown = || "unknown".to_owned();
    let version = read.document.version_id().unwrap_or_else(unknown);
    let updated = read.document.last_updated();
    let updated = updated.map_or_else(unknown, |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    terminal.print(&format!(
        "registry  {}\nversion   {version}\nwritten   {updated}\nsize      {}\n\n{}",
        read.location,
        bytes(read.bytes.len() as u64),
        projects(&read.document, workspace.project()).text()
    ));
    Ok(Done::Done)
}

fn projects(document: &RegistryDocument, current: &str) -> Table {
    let mut columns = vec![("PROJECT", Align::Left)];
    columns.extend(
        ["ENTITIES", "SOURCES", "VIEWS", "ON-DEMAND", "SERVICES", "NOT MANAGED"]
            .map(|name| (name, Align::Right)),
    );
    let mut table = Table::new(&columns);
    for project in document.projects() {
        let catalog = document.catalog_or_empty(&project);
        let mark = if project == current { " (this)" } else { "" };
        let numbers = [
            catalog.entities.len(),
            catalog.data_sources.len(),
            catalog.feature_views.len(),
            catalog.on_demand_feature_views.len(),
            catalog.feature_services.len(),
            catalog.unmanaged.len(),
        ];
        let mut cells = vec![format!("{project}{mark}")];
        cells.extend(numbers.map(|number| count(number as u64)));
        table.row(cells);
    }
    table
}
