//! What is wrong where: one finding about a text that a person wrote, and the place it is about.

use std::fmt;
use std::sync::Arc;

/// A place in a file. Lines and columns count from 1; line 0 stands for the file as a whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Path as it is shown, relative to the repo.
    pub file: Arc<str>,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 when the whole file is meant.
    pub column: usize,
}

impl Position {
    /// The file as a whole.
    pub fn whole_file(file: impl Into<Arc<str>>) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One finding: what was given and what is allowed, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is.
    pub position: Position,
    /// What is wrong, as a fragment without a full stop.
    pub message: String,
    /// What to do, when there is something to suggest.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Collects findings while a reader goes on.
#[derive(Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Adds a finding without a hint.
    pub fn push(&mut self, position: &Position, message: impl Into<String>) {
        self.add(position, message.into(), None);
    }

    /// Adds a finding with a hint.
    pub fn push_hint(&mut self, position: &Position, message: impl Into<String>, hint: impl Into<String>) {
        self.add(position, message.into(), Some(hint.into()));
    }

    /// Adds a finding whose hint may be absent.
    pub fn add(&mut self, position: &Position, message: String, hint: Option<String>) {
        self.list.push(Problem { position: position.clone(), message, hint });
    }

    /// Takes over what another reader found.
    pub fn extend(&mut self, other: Vec<Problem>) {
        self.list.extend(other);
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// All findings by place, each once (an alias can show one text twice).
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.list.sort();
        self.list.dedup();
        self.list
    }
}

/// Findings that are shown of a list; who has mended those sees the next ones.
const SHOWN_MAX: usize = 100;

/// Writes findings below a headline, or the only one alone.
pub fn write_list(f: &mut impl fmt::Write, what: &str, problems: &[Problem]) -> fmt::Result {
    match problems {
        [only] => write!(f, "{only}"),
        many => {
            write!(f, "{} problems in {what}", many.len())?;
            many.iter().take(SHOWN_MAX).try_for_each(|problem| write!(f, "\n{problem}"))?;
            match many.len().saturating_sub(SHOWN_MAX) {
                0 => Ok(()),
                more => write!(f, "\n… and {more} more"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let problem = |line| Problem {
            position: Position { file: "a.yaml".into(), line, column: 1 },
            message: "no".to_owned(),
            hint: None,
        };
        let shown = |count| {
            let mut text = String::new();
            write_list(&mut text, "the definitions", &(1..=count).map(problem).collect::<Vec<_>>()).unwrap();
            text
        };
        assert_eq!(shown(1), "a.yaml:1:1: no");
        assert_eq!(shown(2), "2 problems in the definitions\na.yaml:1:1: no\na.yaml:2:1: no");
        assert!(shown(100).ends_with("a.yaml:100:1: no"));
        assert!(shown(20_000).ends_with("a.yaml:100:1: no\n… and 19900 more"));
    }
}
