//! Where words go: data to standard output, all else to standard error; a reader that has gone away is no failure.

use std::io::{BufRead, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};

use backsight_registry::problem::Problem;
use serde_json::Value;

use crate::args::{Colours, GlobalArgs, OutputFormat};
use crate::commands::Done;
use crate::environment::Environment;
use crate::errors::Failure;
use crate::render::table::Table;

/// The two streams of the process and how to write on them. Clones are the same terminal.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    format: OutputFormat,
    is_quiet: bool,
    colour_out: bool,
    colour_err: bool,
    /// How wide the terminal is that shows the data; `None` where it goes elsewhere.
    columns: Option<usize>,
    /// Whether a person can be asked: both ends of a conversation are terminals.
    pub(crate) can_ask: bool,
    /// Whether progress may be drawn.
    pub(crate) shows_progress: bool,
    /// The first failure of writing data.
    write_error: Arc<Mutex<Option<std::io::Error>>>,
}

impl Terminal {
    /// As the user asked for it.
    pub(crate) fn new(global: &GlobalArgs, environment: &Environment) -> Self {
        let colours = match global.color {
            Colours::Auto => environment.colours,
            given => given,
        };
        Self {
            format: global.output_format,
            is_quiet: global.quiet,
            colour_out: colours.are_on(environment.stdout_is_terminal),
            colour_err: colours.are_on(environment.stderr_is_terminal),
            columns: environment.columns,
            can_ask: environment.stdin_is_terminal && environment.stderr_is_terminal,
            shows_progress: environment.stderr_is_terminal && !global.quiet && !global.no_progress,
            write_error: Arc::default(),
        }
    }

    /// Before arguments are read.
    pub(crate) fn plain() -> Self {
        Self {
            format: OutputFormat::Text,
            is_quiet: false,
            colour_out: false,
            colour_err: false,
            columns: None,
            can_ask: false,
            shows_progress: false,
            write_error: Arc::default(),
        }
    }

    /// As [`Self::plain`], for a program that reads.
    pub(crate) fn json() -> Self {
        Self { format: OutputFormat::Json, ..Self::plain() }
    }

    /// The same terminal without notes.
    pub(crate) fn without_notes(&self) -> Self {
        Self { is_quiet: true, ..self.clone() }
    }

    /// The form of data.
    pub(crate) fn format(&self) -> OutputFormat {
        self.format
    }

    /// Whether data is JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// How wide the terminal is that shows the data; `None` where it goes elsewhere.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// Whether data may have colours.
    pub(crate) fn colour(&self) -> bool {
        self.colour_out
    }

    /// Whether notes may have colours.
    pub(crate) fn colour_of_notes(&self) -> bool {
        self.colour_err
    }

    /// Writes a table; on a terminal that is too narrow, some of its columns are cut.
    pub(crate) fn print_table(&self, table: &Table) {
        self.print(&table.text_within(self.columns));
    }

    /// Writes data. What cannot be written is reported at the end: the work itself goes on.
    pub(crate) fn print(&self, text: &str) {
        let mut failed = self.write_error.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some() {
            return;
        }
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            *failed = Some(error);
        }
    }

    /// Writes a JSON document.
    pub(crate) fn print_json(&self, value: &Value) {
        // With a `Value` the alternate form cannot fail.
        self.print(&format!("{value:#}\n"));
    }

    /// Says something that is no data.
    pub(crate) fn note(&self, text: &str) {
        if !self.is_quiet {
            self.say(text);
        }
    }

    /// Says something that a user should know even if quiet.
    pub(crate) fn warn(&self, text: &str) {
        let label = if self.colour_err { "\u{1b}[1;33mwarning:\u{1b}[0m" } else { "warning:" };
        self.say(&format!("{label} {text}"));
    }

    /// Warns of findings with their places.
    pub(crate) fn warn_of(&self, problems: &[Problem]) {
        for problem in problems {
            self.warn(&problem.to_string());
        }
    }

    /// Writes a line on standard error, if anybody reads it.
    pub(crate) fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Asks a person; anything but yes is no.
    pub(crate) fn ask(&self, question: &str) -> bool {
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
        let mut answer = String::new();
        let _ = std::io::stdin().lock().read_line(&mut answer);
        matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    /// Asks a person for a word, `None` at the end of the input. Blocks.
    pub(crate) fn ask_word(&self, question: &str) -> Option<String> {
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{question} ").and_then(|()| err.flush());
        drop(err);
        let mut answer = String::new();
        match std::io::stdin().lock().read_line(&mut answer) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(answer.trim().to_ascii_lowercase()),
        }
    }

    /// Reports a failure and gives its exit status.
    pub(crate) fn fail(&self, failure: &Failure) -> u8 {
        if self.is_json() {
            self.say(&format!("{:#}", failure.json()));
        } else {
            self.say(failure.text(self.colour_err).trim_end());
        }
        failure.status()
    }

    /// Reports how a command ended and gives the exit status.
    pub(crate) fn finish(&self, outcome: Result<Done, Failure>) -> u8 {
        let done = match outcome {
            Ok(done) => done,
            Err(failure) => return self.fail(&failure),
        };
        let failed = self.write_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                self.fail(&Failure::io("write to standard output", &error))
            }
            _ => done.status(),
        }
    }
}
