//! The commands: each reads its arguments, asks the rooms below to do the work, and shows the result.

pub(crate) mod apply;
pub(crate) mod bench;
pub(crate) mod catalog;
pub(crate) mod completions;
mod config_reference;
pub(crate) mod config_show;
mod conflict;
mod consent;
mod demo;
pub(crate) mod init;
pub(crate) mod jobs;
mod list;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod retrieve;
pub(crate) mod services;

use crate::args::{Command, GlobalArgs, OutputFormat};
use crate::commands::config_show::ConfigCommand;
use crate::commands::registry::RegistryCommand;
use crate::environment::Environment;
use crate::errors::Failure;
use crate::interrupt::Interrupt;
use crate::terminal::Terminal;

/// What every command is given.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The process's surroundings.
    pub(crate) environment: Environment,
    /// Where words go.
    pub(crate) terminal: Terminal,
    /// Options that every command has.
    pub(crate) global: GlobalArgs,
    /// Whether the user asked to stop.
    pub(crate) interrupt: Interrupt,
}

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// All is done.
    Done,
    /// `plan --detailed-exitcode` found changes.
    ChangesFound,
}

impl Done {
    /// The exit status of the process.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::ChangesFound => 8,
        }
    }
}

/// Runs a command.
pub(crate) async fn dispatch(command: Command, program: &Program) -> Result<Done, Failure> {
    let has_markdown = matches!(
        &command,
        Command::Plan(_)
            | Command::Registry(RegistryCommand::Diff(_))
            | Command::Config(ConfigCommand::Reference)
    );
    if program.terminal.format() == OutputFormat::Markdown && !has_markdown {
        let failure = Failure::usage(
            "`--output-format markdown` is for `plan`, `registry diff` and `config reference` only",
        );
        return Err(failure.with_hint("allowed here: `text`, `json`"));
    }
    // A retrieval has an output to leave clean; all others may end between any two steps.
    if let Command::Retrieve(args) = command {
        return retrieve::run(args, program).await;
    }
    // Who stops watching a job is told that it goes on.
    if let Command::Jobs(command) = command {
        return jobs::run(command, program).await;
    }
    // A service that is asked to end leaves in good order.
    match command {
        Command::Scheduler(args) => return services::scheduler(args, program).await,
        Command::Executor(args) => return services::executor(args, program).await,
        Command::Cluster(command) => return services::cluster(command, program).await,
        _ => {}
    }
    tokio::select! {
        outcome = run(command, program) => outcome,
        () = program.interrupt.clone().asked() => Err(Failure::cancelled("cancelled")),
    }
}

async fn run(command: Command, program: &Program) -> Result<Done, Failure> {
    match command {
        Command::Init(args) => init::run(&args, program),
        Command::Plan(args) => plan::run(&args, program).await,
        Command::Apply(args) => apply::run(&args, program).await,
        Command::Teardown(args) => apply::run_teardown(&args, program).await,
        Command::Retrieve(args) => retrieve::run(args, program).await,
        Command::Entities(command) => catalog::run(catalog::Listed::Entities, command, program).await,
        Command::DataSources(command) => catalog::run(catalog::Listed::DataSources, command, program).await,
        Command::FeatureViews(command) => catalog::run(catalog::Listed::FeatureViews, command, program).await,
        Command::OnDemandFeatureViews(command) => {
            catalog::run(catalog::Listed::OnDemandFeatureViews, command, program).await
        }
        Command::FeatureServices(command) => {
            catalog::run(catalog::Listed::FeatureServices, command, program).await
        }
        Command::Projects(command) => catalog::run(catalog::Listed::Projects, command, program).await,
        Command::SavedDatasets(command) => {
            catalog::run(catalog::Listed::SavedDatasets, command, program).await
        }
        Command::Jobs(command) => jobs::run(command, program).await,
        Command::Scheduler(args) => services::scheduler(args, program).await,
        Command::Executor(args) => services::executor(args, program).await,
        Command::Cluster(command) => services::cluster(command, program).await,
        Command::Registry(command) => registry::run(&command, program).await,
        Command::Config(command) => config_show::run(&command, program),
        Command::Bench(command) => bench::run(command, program).await,
        Command::Demo(_) => demo::run(program).await,
        Command::Completions(args) => completions::run(&args, program),
        Command::Man(args) => man::run(&args, program),
    }
}
