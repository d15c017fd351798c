//! A failure on its way between processes: inside the query engine errors are text, so it travels in a marker.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use backsight_proto::ErrorCode;
use backsight_storage::StorageError;
use serde::{Deserialize, Serialize};

use crate::error::RetrievalError;

/// What stands before and after an encoded failure.
const OPEN: &str = "[[backsight:";
const CLOSE: &str = "]]";
/// Causes that travel; a longer chain says nothing new.
const CAUSES_MAX: usize = 8;

/// A failure as plain values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireFailure {
    /// The name of an [`ErrorCode`].
    pub code: String,
    /// What happened.
    pub message: String,
    /// From the outermost to the root.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
    /// Whether the same work done again may succeed.
    #[serde(default)]
    pub is_retryable: bool,
    /// Whether it lies with the process that met it, so that another one may succeed: its disk is full.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_local: bool,
}

impl WireFailure {
    /// A failure without causes.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            code: code.name().to_owned(),
            message: message.into(),
            causes: Vec::new(),
            hint,
            is_retryable: code.is_retryable(),
            is_local: false,
        }
    }

    /// An error with its causes; a message that has its cause in it already does not repeat it.
    pub fn of(error: &(dyn Error + 'static), code: ErrorCode, hint: Option<String>) -> Self {
        let mut failure = Self::new(code, error.to_string(), hint);
        let mut cause = error.source();
        while let Some(current) = cause.filter(|_| failure.causes.len() < CAUSES_MAX) {
            let text = current.to_string();
            if !failure.message.contains(&text) && failure.causes.last() != Some(&text) {
                failure.causes.push(text);
            }
            cause = current.source();
        }
        failure
    }

    /// The class of this failure; one of another version's is taken for a bug.
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode::from_name(&self.code).unwrap_or(ErrorCode::Bug)
    }

    /// The failure as text that survives being quoted and wrapped: letters and digits between markers.
    pub fn to_marker(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut text = String::with_capacity(OPEN.len() + json.len() * 2 + CLOSE.len());
        text.push_str(OPEN);
        for byte in json {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push_str(CLOSE);
        text
    }

    /// The first failure that stands in a text.
    pub fn find(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(OPEN)?;
        let (digits, _) = rest.split_once(CLOSE)?;
        let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let json: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
        serde_json::from_slice(&json?).ok()
    }
}

/// A storage fault on its way through readers that make text of their causes: the text carries the failure.
#[derive(Debug, Clone)]
pub struct MarkedFault(pub Arc<StorageError>);

impl fmt::Display for MarkedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = WireFailure::from(&RetrievalError::Storage(Arc::clone(&self.0)));
        write!(f, "{} {}", self.0, failure.to_marker())
    }
}

impl Error for MarkedFault {}

impl From<&RetrievalError> for WireFailure {
    fn from(error: &RetrievalError) -> Self {
        if let RetrievalError::Remote(failure) = error {
            return failure.as_ref().clone();
        }
        let own: &(dyn Error + 'static) = match error {
            RetrievalError::Storage(inner) => inner.as_ref(),
            _ => error,
        };
        let is_local = matches!(error, RetrievalError::Disk { .. });
        Self { is_retryable: error.is_retryable(), is_local, ..Self::of(own, error.code(), error.hint()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_quoting_and_wrapping() {
        let failure = WireFailure {
            code: "data".into(),
            message: "`a \"b\" ü`\n[[x]]".into(),
            causes: vec!["root".into()],
            hint: Some("look".into()),
            is_retryable: true,
            is_local: true,
        };
        let wrapped = format!("{:?}", format!("IoError({:?}), task 3", failure.to_marker()));
        assert_eq!(WireFailure::find(&wrapped), Some(failure));
    }

    #[test]
    fn a_full_disk_is_the_failure_of_one_process() {
        let full = WireFailure::from(&RetrievalError::Disk { detail: "e".into() });
        assert!(full.is_local && !full.is_retryable);
        assert!(!WireFailure::from(&RetrievalError::Memory { detail: "e".into() }).is_local);
    }

    #[test]
    fn damaged_or_absent_markers_are_no_failure() {
        for text in
            ["", "plain", "[[backsight:zz]]", "[[backsight:7b", "[[backsight:7b7]]", "[[backsight:ü]]"]
        {
            assert_eq!(WireFailure::find(text), None, "{text}");
        }
    }
}
