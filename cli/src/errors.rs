//! Failures as a user sees them: one renderer for every room's errors, as text and as JSON.

use std::error::Error;

use backsight_proto::ErrorCode;
use backsight_registry::definitions::DefinitionErrors;
use backsight_registry::document::DocumentError;
use backsight_registry::feature_store::ConfigErrors;
use backsight_registry::problem::{Problem, write_list};
use backsight_registry::store::StoreError;
use backsight_retrieval::{RetrievalError, WireFailure};
use backsight_storage::StorageError;
use serde_json::{Value, json};

/// Why a command failed. Small, since every function may return one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    code: ErrorCode,
    message: String,
    /// From the outermost to the root.
    causes: Vec<String>,
    hint: Option<String>,
    /// Findings with their places, when the failure is a list of them; the message has them as text.
    problems: Vec<Problem>,
    /// What else a program may want to know.
    details: Option<Value>,
}

impl Failure {
    /// A failure without causes and hint.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Parts {
            code,
            message,
            causes: Vec::new(),
            hint: None,
            problems: Vec::new(),
            details: None,
        }))
    }

    /// The command line or configuration asks for what cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Usage, message)
    }

    /// Our own mistake.
    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Bug, message).with_hint("this is a bug in backsight, please report it")
    }

    /// The user stopped it.
    pub(crate) fn cancelled(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Cancelled, message)
    }

    /// A failure of the file system.
    pub(crate) fn io(action: &str, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::NotFound,
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ErrorCode::AccessDenied
            }
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::Limit,
            std::io::ErrorKind::AlreadyExists => ErrorCode::Conflict,
            _ => ErrorCode::Unreachable,
        };
        let mut failure = Self::new(code, format!("failed to {action}"));
        failure.0.causes.push(error.to_string());
        failure
    }

    /// What the user may do.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Why, from the outermost to the root.
    pub(crate) fn with_causes(mut self, causes: Vec<String>) -> Self {
        self.0.causes = causes;
        self
    }

    /// What else a program may want to know.
    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    /// What happened, without causes and hint.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// The class of this failure.
    pub(crate) fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The exit status of the process.
    pub(crate) fn status(&self) -> u8 {
        self.0.code.exit_status()
    }

    pub(crate) fn of(error: &(dyn Error + 'static), code: ErrorCode, hint: Option<String>) -> Self {
        let WireFailure { message, causes, hint, .. } = WireFailure::of(error, code, hint);
        Self(Box::new(Parts { code, message, causes, hint, problems: Vec::new(), details: None }))
    }

    /// Findings of a file, each with its place, as one failure.
    pub(crate) fn of_problems(what: &str, problems: Vec<Problem>) -> Self {
        let mut message = String::new();
        // A text takes whatever is written.
        let _ = write_list(&mut message, what, &problems);
        let mut failure = Self::new(ErrorCode::Invalid, message);
        failure.0.problems = problems;
        failure
    }

    /// As lines for a terminal: `error: …`, causes, `hint: …`.
    pub(crate) fn text(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\u{1b}[1;{code}m{text}\u{1b}[0m") } else { text.to_owned() }
        };
        let mut text = format!("{} {}\n", paint("31", "error:"), printable(&self.0.message));
        for cause in &self.0.causes {
            text = format!("{text}  caused by: {}\n", printable(cause));
        }
        if let Some(hint) = &self.0.hint {
            text = format!("{text}{} {}\n", paint("36", "hint:"), printable(hint));
        }
        text
    }

    /// As JSON: a stable contract, described in `docs/cli.md`.
    pub(crate) fn json(&self) -> Value {
        let problem = |problem: &Problem| {
            json!({
                "file": problem.position.file.as_ref(),
                "line": problem.position.line,
                "column": problem.position.column,
                "message": problem.message,
                "hint": problem.hint,
            })
        };
        json!({
            "error": {
                "code": self.0.code.name(),
                "exit_status": self.status(),
                "message": self.0.message,
                "causes": self.0.causes,
                "hint": self.0.hint,
                "problems": self.0.problems.iter().take(PROBLEMS_MAX).map(problem).collect::<Vec<_>>(),
                "details": self.0.details,
            }
        })
    }
}

/// Findings that JSON holds; the message says how many there are.
const PROBLEMS_MAX: usize = 1_000;

/// Text of others does not steer a terminal; line breaks stay.
fn printable(text: &str) -> String {
    let keep = |letter: char| letter == '\n' || !letter.is_control();
    text.chars().map(|letter| if keep(letter) { letter } else { '\u{fffd}' }).collect()
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::of(&error, error.code(), error.hint())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::of(&error, error.code(), error.hint())
    }
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        Self::of(&error, error.code(), error.hint())
    }
}

impl From<DefinitionErrors> for Failure {
    fn from(error: DefinitionErrors) -> Self {
        let mut failure = Self::of(&error, error.code(), error.hint());
        failure.0.problems = error.problems;
        failure
    }
}

impl From<ConfigErrors> for Failure {
    fn from(error: ConfigErrors) -> Self {
        let mut failure = Self::of(&error, error.code(), error.hint());
        failure.0.problems = error.problems;
        failure
    }
}

impl From<RetrievalError> for Failure {
    fn from(error: RetrievalError) -> Self {
        match &error {
            RetrievalError::Storage(inner) => Self::of(inner.as_ref(), inner.code(), inner.hint()),
            _ => Self::of(&error, error.code(), error.hint()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_cause_and_the_hint_on_lines_of_their_own() {
        let error = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space");
        let failure = Failure::io("write `x`", &error).with_hint("make room");
        assert_eq!(
            failure.text(false),
            "error: failed to write `x`\n  caused by: no space\nhint: make room\n"
        );
        assert_eq!(failure.status(), 10);
        assert!(failure.text(true).starts_with("\u{1b}[1;31merror:\u{1b}[0m failed"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let failure = Failure::usage("a\u{1b}[2Jb\nc");
        assert_eq!(failure.text(false), "error: a\u{fffd}[2Jb\nc\n");
    }

    #[test]
    fn json_says_what_the_text_says() {
        let failure = Failure::new(ErrorCode::NotFound, "no `x`").with_hint("look");
        let expected = serde_json::json!({"error": {
            "code": "not_found", "exit_status": 4, "message": "no `x`", "causes": [], "hint": "look", "problems": [],
            "details": null,
        }});
        assert_eq!(failure.json(), expected);
    }
}
