//! Everything that is wrong with the definitions of a repo.

use std::fmt;

use backsight_proto::ErrorCode;

use crate::problem::{Problem, write_list};

/// All findings of a repo, in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionErrors {
    /// At least one.
    pub problems: Vec<Problem>,
    /// Invalid, or what a file could not be read for.
    pub(crate) code: ErrorCode,
}

impl DefinitionErrors {
    /// The class of the failure.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Each problem carries its own.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

impl fmt::Display for DefinitionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, "the definitions", &self.problems)
    }
}

impl std::error::Error for DefinitionErrors {}
