//! What a look at source files found: one list over all of them, which also travels from a scheduler.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use backsight_proto::ErrorCode;
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Definitions and files do not go together: nothing is applied.
    Error,
    /// As an error, but the user let it pass.
    Warning,
    /// Good to know.
    Note,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The source cannot be listed or read at all, or is not there.
    Unreachable,
    /// A file is no Parquet file, or a damaged one.
    Unreadable,
    /// A column that the view needs is in no file.
    MissingColumn,
    /// The timestamp or created column cannot be an instant.
    NoInstant,
    /// A join key has a type that keys cannot have.
    KeyType,
    /// A column has another family of types than is declared.
    TypeFamily,
    /// A column has another width than is declared.
    TypeWidth,
    /// Files have a column in types that no type holds together.
    FilesDisagree,
    /// Some files lack a column.
    AbsentInFiles,
    /// There are more files than are looked at.
    NotAllRead,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceFinding {
    /// How bad it is.
    pub severity: Severity,
    /// The views it is about, sorted.
    pub views: Vec<String>,
    /// The name of their source.
    pub source: String,
    /// What was found.
    pub kind: FindingKind,
    /// The name of an [`ErrorCode`], for the exit status of an error.
    pub code: String,
    /// Where the source is.
    pub location: String,
    /// The source's column.
    pub column: Option<String>,
    /// A file that shows it.
    pub file: Option<String>,
    /// What is wrong, without the views.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for SourceFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (views, more) = self.views.split_at(self.views.len().min(VIEWS_NAMED_MAX));
        let word = if self.views.len() == 1 { "feature view" } else { "feature views" };
        write!(f, "{word} `{}`", views.join("`, `"))?;
        if !more.is_empty() {
            write!(f, " and {} more", more.len())?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Views that a sentence names.
const VIEWS_NAMED_MAX: usize = 5;

/// All findings of a look.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceReport {
    /// How many views were looked at.
    pub views: usize,
    /// How many places they read; views may share one.
    pub sources: usize,
    /// How many footers were read.
    pub files: usize,
    /// What was found: the worst first, then by view.
    pub findings: Vec<SourceFinding>,
}

impl SourceReport {
    /// Findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &SourceFinding> {
        self.findings.iter().filter(move |finding| finding.severity == severity)
    }

    /// The class of failure when there are errors. What no later try will mend comes before what it may.
    pub fn error_code(&self) -> Option<ErrorCode> {
        let rank = |code: ErrorCode| match code {
            ErrorCode::Bug => 0,
            ErrorCode::Invalid => 1,
            ErrorCode::Usage => 2,
            ErrorCode::NotFound => 3,
            ErrorCode::Data => 4,
            ErrorCode::AccessDenied => 5,
            _ => 6,
        };
        let codes = self.of(Severity::Error).map(|finding| {
            // A class that only another version knows.
            ErrorCode::from_name(&finding.code).unwrap_or(ErrorCode::Bug)
        });
        codes.min_by_key(|code| rank(*code))
    }

    /// Puts everything into its place. Findings that differ in their views only become one.
    pub(super) fn settle(&mut self) {
        let mut views_of = BTreeMap::<SourceFinding, BTreeSet<String>>::new();
        for mut finding in std::mem::take(&mut self.findings) {
            let views = std::mem::take(&mut finding.views);
            views_of.entry(finding).or_default().extend(views);
        }
        let settled = views_of
            .into_iter()
            .map(|(finding, views)| SourceFinding { views: views.into_iter().collect(), ..finding });
        self.findings = settled.collect();
        self.findings.sort();
    }
}
