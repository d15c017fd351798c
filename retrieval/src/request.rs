//! What a user asks for, as it is recorded in the manifest and compared for the same request id.

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

/// Where the spine is and which of its columns holds the instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpineRequest {
    /// File, folder or glob of Parquet files.
    pub uri: String,
    /// The instant's column; found by rule when absent.
    pub timestamp_column: Option<String>,
}
