//! `registry show`: every project of the registry or of a kept version, or everything in it as JSON.

use backsight_registry::document::RegistryDocument;
use clap::Args;

use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::render::table::{Align, Table};
use crate::render::units::{bytes, count};

/// Arguments of `registry show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight registry show
  backsight registry show --version 3
  backsight registry show --output-format json")]
pub(crate) struct ShowArgs {
    /// Show this kept version: its number, its id or the first six characters of it
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
}

/// Shows the registry.
pub(crate) async fn run(args: &ShowArgs, program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    let terminal = &program.terminal;
    let (document, location, size) = match &args.version {
        Some(given) => {
            let read = workspace.registry.read_version(given).await?;
            (read.document, read.location, read.entry.bytes)
        }
        None => {
            let read = workspace.registry.read().await?;
            if let Some(foreign) = workspace.registry.foreign_write(&read).await? {
                terminal.warn(&format!(
                    "version `{}` was written by somebody who does not write through backsight, over version `{}` of ours",
                    foreign.version_id, foreign.newest_known_version_id
                ));
            }
            (read.document, read.location, read.bytes.len() as u64)
        }
    };
    if terminal.is_json() {
        terminal.print_json(&document.to_json()?);
        return Ok(Done::Done);
    }
    let unknown = || "unknown".to_owned();
    let version = document.version_id().unwrap_or_else(unknown);
    let updated = document.last_updated();
    let updated = updated.map_or_else(unknown, |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    terminal.print(&format!(
        "registry  {location}\nversion   {version}\nwritten   {updated}\nsize      {}\n\n{}",
        bytes(size),
        projects(&document, workspace.project()).text()
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
