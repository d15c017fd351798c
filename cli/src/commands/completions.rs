//! `completions SHELL`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::commands::{Done, Program};
use crate::errors::Failure;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  backsight completions bash > ~/.local/share/bash-completion/completions/backsight"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs, program: &Program) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "backsight", &mut script);
    program.terminal.print(&String::from_utf8_lossy(&script));
    Ok(Done::Done)
}
