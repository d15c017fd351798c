//! Everything that is wrong with a configuration file.

use std::fmt;

use backsight_proto::ErrorCode;

use crate::problem::{Problem, write_list};

/// All findings of a configuration, in the order of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// The class of the failure: the configuration asks for something that cannot be.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::Usage
    }

    /// Each problem carries its own.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, "the configuration", &self.problems)
    }
}

impl std::error::Error for ConfigErrors {}
