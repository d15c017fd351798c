//! `config show`: every setting that has an effect, its value, where it comes from; and the commands about settings.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::commands::{Done, Program};
use crate::config::memory::default_limit;
use crate::config::{Workspace, setting_rows};
use crate::errors::Failure;
use crate::render::table::Table;
use crate::render::units;

/// The commands about settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting, its value and where it comes from
    #[command(
        after_help = "Examples:\n  backsight config show\n  backsight -c client config show --output-format json"
    )]
    Show,
    /// Show every setting that there is: its names, type, default and meaning
    #[command(
        after_help = "Examples:\n  backsight config reference\n  backsight config reference --output-format markdown > settings.md"
    )]
    Reference,
}

/// Runs a command about settings.
pub(crate) fn run(command: &ConfigCommand, program: &Program) -> Result<Done, Failure> {
    match command {
        ConfigCommand::Show => show(program),
        ConfigCommand::Reference => {
            super::config_reference::run(program);
            Ok(Done::Done)
        }
    }
}

fn show(program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    let available = program.environment.available_memory();
    let memory = match available {
        Some(bytes) => {
            format!("{} (60 % of {} available)", units::bytes(default_limit(available)), units::bytes(bytes))
        }
        None => units::bytes(default_limit(None)),
    };
    let cores = super::retrieve::cores().to_string();
    let rows =
        setting_rows(&workspace.config, &program.environment, &memory, &format!("{cores} (one a core)"));
    if program.terminal.is_json() {
        let setting =
            |row: &crate::config::Row| json!({"key": row.key, "value": row.value, "origin": row.origin});
        program.terminal.print_json(&json!({
            "repo": workspace.repo.display().to_string(),
            "feature_store_yaml": workspace.config_path.display().to_string(),
            "registry": workspace.registry.place(),
            "settings": rows.iter().map(setting).collect::<Vec<Value>>(),
        }));
        return Ok(Done::Done);
    }
    let mut table = Table::of_text(&["SETTING", "VALUE", "ORIGIN"]);
    for row in rows {
        table.row([row.key, row.value.unwrap_or_else(|| "-".to_owned()), row.origin]);
    }
    program.terminal.print(&table.text());
    Ok(Done::Done)
}
