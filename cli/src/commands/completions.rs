//! `completions SHELL`

use clap::{Arg, Args, Command, CommandFactory, ValueHint};
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
    program.terminal.print(&script(args.shell));
    Ok(Done::Done)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut hinted(Cli::command()), "backsight", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command line with what each value is, by its name in the help: else a shell offers files everywhere.
fn hinted(command: Command) -> Command {
    command.mut_args(hinted_argument).mut_subcommands(hinted)
}

fn hinted_argument(argument: Arg) -> Arg {
    if !argument.get_action().takes_values() || !argument.get_possible_values().is_empty() {
        return argument;
    }
    let id = argument.get_id().as_str().to_uppercase();
    let name = argument.get_value_names().and_then(|names| names.first()).map_or(id, ToString::to_string);
    match name.as_str() {
        "FILE" | "PATH" | "URI" => argument,
        "DIR" => argument.value_hint(ValueHint::DirPath),
        _ => argument.value_hint(ValueHint::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(path: &[&str], id: &str) -> ValueHint {
        let mut command = hinted(Cli::command());
        command.build();
        let found = path.iter().fold(&command, |command, name| command.find_subcommand(name).unwrap());
        found.get_arguments().find(|it| it.get_id() == id).unwrap().get_value_hint()
    }

    #[test]
    fn files_are_offered_where_files_are_meant() {
        for (path, id, expected) in [
            (&["plan"][..], "chdir", ValueHint::DirPath),
            (&["plan"], "feature_store_yaml", ValueHint::AnyPath),
            (&["plan"], "save", ValueHint::AnyPath),
            (&["plan"], "scheduler", ValueHint::Other),
            (&["apply"], "plan", ValueHint::AnyPath),
            (&["init"], "dir", ValueHint::DirPath),
            (&["registry", "export"], "output", ValueHint::DirPath),
            (&["registry", "rollback"], "version", ValueHint::Other),
            (&["feature-views", "describe"], "name", ValueHint::Other),
            (&["retrieve"], "spine", ValueHint::Unknown),
            (&["retrieve"], "feature_service", ValueHint::Other),
            (&["jobs", "show"], "id", ValueHint::Other),
        ] {
            assert_eq!(hint(path, id), expected, "{path:?} {id}");
        }
    }

    #[test]
    fn every_word_that_is_one_of_few_is_offered() {
        for (shell, words) in [
            (Shell::Bash, "queued planning running committing abandoning succeeded failed cancelled"),
            (Shell::Bash, "auto always never"),
            (Shell::Zsh, r"sample\:"),
            (Shell::Fish, r"markdown\t"),
        ] {
            assert!(script(shell).contains(words), "{shell}: {words}");
        }
    }
}
