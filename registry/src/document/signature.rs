//! What bytes look like when they are not a registry: people point at the wrong file in a few usual ways.

use std::fmt;

/// A format that is taken for a registry by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// A web page, often an error page or a listing.
    Html,
    /// XML, often an S3 error document.
    Xml,
    /// A JSON document.
    Json,
    /// A SQLite database: Feast's SQL registry or its online store.
    Sqlite,
    /// A Parquet file.
    Parquet,
    /// Compressed bytes.
    Gzip,
    /// Other readable text, for example YAML.
    Text,
}

impl Signature {
    /// Looks at the first bytes.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"SQLite format 3\0") {
            return Some(Self::Sqlite);
        }
        if bytes.starts_with(b"PAR1") {
            return Some(Self::Parquet);
        }
        if bytes.starts_with(&[0x1f, 0x8b]) {
            return Some(Self::Gzip);
        }
        let head = bytes.get(..bytes.len().min(512)).unwrap_or_default();
        let text = match std::str::from_utf8(head) {
            Ok(text) => text,
            Err(error) if head.len() - error.valid_up_to() < 4 && bytes.len() > head.len() => {
                std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
            }
            Err(_) => return None,
        };
        if text.is_empty() || text.chars().any(|c| c.is_control() && !c.is_ascii_whitespace()) {
            return None;
        }
        let lower = text.trim_start().to_ascii_lowercase();
        Some(if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
            Self::Html
        } else if lower.starts_with('<') {
            Self::Xml
        } else if lower.starts_with('{') || lower.starts_with('[') {
            Self::Json
        } else {
            Self::Text
        })
    }

    /// What to do about it.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SQL registries and online stores are not read; name a registry file, or copy one out of Feast \
                 with `registry_type: file`"
            }
            Self::Html | Self::Xml => "the address answers with a page, not with the registry object",
            Self::Parquet => "this is data, not a registry",
            Self::Gzip => "a registry is not compressed: unpack it first",
            Self::Json | Self::Text => {
                "a registry is the binary file that `feast apply` or `backsight apply` writes, not its text form"
            }
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Html => "an HTML page",
            Self::Xml => "XML",
            Self::Json => "JSON",
            Self::Sqlite => "a SQLite database",
            Self::Parquet => "a Parquet file",
            Self::Gzip => "gzip",
            Self::Text => "text",
        })
    }
}
