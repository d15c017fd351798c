//! Asking before something is changed: a person on a terminal, everybody else by `--yes`.

use crate::commands::Program;
use crate::errors::Failure;

/// Where nobody can be asked, consent comes with the command; said before anything is read. `preview` is the command
/// that shows what this one would do.
pub(super) fn require_possible(
    command: &str,
    preview: &str,
    yes: bool,
    program: &Program,
) -> Result<(), Failure> {
    if yes || program.terminal.can_ask {
        return Ok(());
    }
    let failure = Failure::usage(format!("`{command}` asks before it writes, and nobody can be asked here"));
    Err(failure.with_hint(format!(
        "`backsight {preview}` shows the changes, `backsight {command} --yes` makes them"
    )))
}

/// Asks; anything but yes ends the command.
pub(super) fn ask(question: &str, program: &Program) -> Result<(), Failure> {
    if program.terminal.ask(question) {
        return Ok(());
    }
    Err(Failure::cancelled("not confirmed; nothing was changed"))
}
