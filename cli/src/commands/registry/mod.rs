//! `registry`: the registry as a whole, the versions kept beside it, and its definitions as YAML.

mod diff;
mod export;
mod gc;
mod history;
mod rollback;
mod show;

use clap::Subcommand;

use crate::commands::{Done, Program};
use crate::errors::Failure;

/// The commands about the registry as a whole.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Show every project; with `--output-format json` every object
    Show(show::ShowArgs),
    /// List the versions that can be read, newest first
    History(history::HistoryArgs),
    /// Show what changed between two versions, field by field
    Diff(diff::DiffArgs),
    /// Put this project back to what a version held of it, as a new version
    Rollback(rollback::RollbackArgs),
    /// Write a project's definitions as YAML
    Export(export::ExportArgs),
    /// Remove old versions and what dead writers left
    Gc(gc::GcArgs),
}

/// Runs one of them.
pub(crate) async fn run(command: &RegistryCommand, program: &Program) -> Result<Done, Failure> {
    match command {
        RegistryCommand::Show(args) => show::run(args, program).await,
        RegistryCommand::History(args) => history::run(args, program).await,
        RegistryCommand::Diff(args) => diff::run(args, program).await,
        RegistryCommand::Rollback(args) => rollback::run(args, program).await,
        RegistryCommand::Export(args) => export::run(args, program).await,
        RegistryCommand::Gc(args) => gc::run(args, program).await,
    }
}
