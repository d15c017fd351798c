//! What a user asks for, as it is recorded in the manifest and compared for the same request id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One retrieval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalRequest {
    /// Project of the registry.
    pub project: String,
    /// What to fetch.
    pub features: FeatureSelection,
    /// Which rows to fetch it for.
    pub spine: SpineRequest,
    /// Where the dataset goes; absent for a preview.
    pub output: Option<String>,
    /// Name outputs `<alias or view>__<feature>`.
    #[serde(default)]
    pub full_feature_names: bool,
    /// Use only feature rows created at or before the spine row's instant.
    #[serde(default)]
    pub filter_by_created_timestamp: bool,
    /// Keep the spine's order, across and inside part files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preserve_order: bool,
    /// Tell apart why nothing was in reach, by a census of keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact_reasons: bool,
    /// Versions of Delta tables to read, by the name of their source; of others it is the newest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_versions: BTreeMap<String, u64>,
    /// Remember the dataset in the registry under this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_as: Option<String>,
}

impl RetrievalRequest {
    /// A request with nothing asked for beyond the features of a spine.
    pub fn new(
        project: impl Into<String>,
        features: FeatureSelection,
        spine: SpineRequest,
        output: Option<String>,
    ) -> Self {
        Self {
            project: project.into(),
            features,
            spine,
            output,
            full_feature_names: false,
            filter_by_created_timestamp: false,
            preserve_order: false,
            exact_reasons: false,
            source_versions: BTreeMap::new(),
            save_as: None,
        }
    }
}

/// Feature references, or the name of a feature service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureSelection {
    /// `view:feature`, in order.
    References(Vec<String>),
    /// A feature service by name.
    Service(String),
}

/// Which rows to fetch features for, and which of their columns holds the instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenSpine", into = "WrittenSpine")]
pub struct SpineRequest {
    /// Where the rows come from.
    pub from: SpineFrom,
    /// The instant's column; found by rule when absent.
    pub timestamp_column: Option<String>,
}

impl SpineRequest {
    /// The rows of files.
    pub fn files(uri: impl Into<String>) -> Self {
        Self { from: SpineFrom::Files(uri.into()), timestamp_column: None }
    }
}

/// Where the rows of a spine come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpineFrom {
    /// File, folder or glob: Parquet, CSV, JSON lines or Arrow IPC.
    Files(String),
    /// The rows of a SELECT over feature views and files.
    Sql(String),
    /// Every entity with an eligible row at this instant, in RFC 3339.
    AsOf(String),
}

impl SpineFrom {
    /// What messages and lists call it.
    pub fn shown(&self) -> String {
        match self {
            Self::Files(uri) => uri.clone(),
            Self::Sql(_) => "--spine-sql".to_owned(),
            Self::AsOf(instant) => format!("entities as of {instant}"),
        }
    }
}

/// A spine as JSON: exactly one of `uri`, `sql` and `as_of`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSpine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sql: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    timestamp_column: Option<String>,
}

impl TryFrom<WrittenSpine> for SpineRequest {
    type Error = String;

    fn try_from(written: WrittenSpine) -> Result<Self, Self::Error> {
        let WrittenSpine { uri, sql, as_of, timestamp_column } = written;
        let from = match (uri, sql, as_of) {
            (Some(uri), None, None) => SpineFrom::Files(uri),
            (None, Some(sql), None) => SpineFrom::Sql(sql),
            (None, None, Some(instant)) => SpineFrom::AsOf(instant),
            _ => return Err("a spine has one of `uri`, `sql` and `as_of`".to_owned()),
        };
        Ok(Self { from, timestamp_column })
    }
}

impl From<SpineRequest> for WrittenSpine {
    fn from(request: SpineRequest) -> Self {
        let written = Self { timestamp_column: request.timestamp_column, ..Self::default() };
        match request.from {
            SpineFrom::Files(uri) => Self { uri: Some(uri), ..written },
            SpineFrom::Sql(sql) => Self { sql: Some(sql), ..written },
            SpineFrom::AsOf(instant) => Self { as_of: Some(instant), ..written },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spine_is_written_as_one_of_three() {
        let table = [
            (SpineFrom::Files("s.csv".into()), r#"{"uri":"s.csv","timestamp_column":null}"#),
            (SpineFrom::Sql("SELECT 1".into()), r#"{"sql":"SELECT 1","timestamp_column":null}"#),
            (
                SpineFrom::AsOf("2026-01-01T00:00:00Z".into()),
                r#"{"as_of":"2026-01-01T00:00:00Z","timestamp_column":null}"#,
            ),
        ];
        for (from, text) in table {
            let request = SpineRequest { from, timestamp_column: None };
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<SpineRequest>(text).unwrap(), request);
        }
        for wrong in ["{}", r#"{"uri":"a","sql":"b"}"#, r#"{"uri":"a","url":"b"}"#] {
            assert!(serde_json::from_str::<SpineRequest>(wrong).is_err(), "{wrong}");
        }
    }
}
