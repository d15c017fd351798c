//! What a configuration says, as plain values, and where each value comes from.

use std::fmt;

use backsight_storage::S3Options;

use super::error::ConfigErrors;
use crate::problem::{Position, Problem};

/// Offline stores of Feast that read files, as Backsight does.
pub(super) const FILE_STORES: [&str; 3] = ["dask", "file", "duckdb"];

/// A `feature_store.yaml`, read whole. Holds no secrets: what may be one is never kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureStoreConfig {
    /// Whose objects of the registry are meant.
    pub project: String,
    /// Description of the project, unless a `Project` object has one.
    pub project_description: String,
    /// Feast's provider; without effect here.
    pub provider: String,
    /// Where the registry is.
    pub registry: RegistryConfig,
    /// Feast's offline store, by its type.
    pub offline_store_type: String,
    /// Where the type was written.
    pub(super) offline_store_position: Position,
    /// Our own part.
    pub backsight: BacksightConfig,
    /// Every setting that has an effect here, in the order of the reference.
    pub settings: Vec<Setting>,
    /// What is allowed but worth a look.
    pub warnings: Vec<Problem>,
}

/// Where the registry is and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// As written: a path relative to the repo folder, an absolute one, or a URI.
    pub path: String,
    /// Endpoint for an S3 registry alone (`FEAST_S3_ENDPOINT_URL`).
    pub s3_endpoint: Option<String>,
    /// How long a reader may keep what it read; 0 is for ever.
    pub cache_ttl_seconds: u64,
    /// Where the path was written.
    pub position: Position,
}

/// The `backsight:` key, which Feast ignores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BacksightConfig {
    /// The scheduler that runs retrievals; none is in process.
    pub scheduler: Option<String>,
    /// The scheduler's durable state.
    pub state: Option<String>,
    /// S3 as a whole.
    pub s3: S3Options,
    /// Memory for one retrieval in process, in bytes.
    pub memory_limit: Option<u64>,
    /// Partitions of a plan in process.
    pub target_partitions: Option<u64>,
}

/// One setting, for `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its place: `registry.path`.
    pub key: &'static str,
    /// Its value as text; empty when it is not set.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File(Position),
    /// An environment variable of this name.
    Environment(String),
    /// An option of the command line of this name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(position) => write!(f, "{position}"),
            Self::Environment(name) => write!(f, "environment variable `{name}`"),
            Self::Flag(name) => write!(f, "option `{name}`"),
        }
    }
}

impl FeatureStoreConfig {
    /// Retrieval reads files: an offline store of another kind is refused by name. To be asked before a retrieval;
    /// reading and changing the registry works with any store.
    pub fn require_file_store(&self) -> Result<(), ConfigErrors> {
        if FILE_STORES.contains(&self.offline_store_type.as_str()) {
            return Ok(());
        }
        let problem = Problem {
            position: self.offline_store_position.clone(),
            message: format!(
                "offline store `{}` does not read files, so Backsight cannot retrieve from it; allowed: `dask`, `file`, \
                 `duckdb`",
                self.offline_store_type
            ),
            hint: Some("sources must be Parquet files, local or in an object store".to_owned()),
        };
        Err(ConfigErrors { problems: vec![problem] })
    }
}
