//! The manifest: what a dataset is, what it was made from and how; writing it is the commit.

use serde::{Deserialize, Serialize};

use crate::choose::ChosenForm;
use crate::explain::ExplainedScan;
use crate::report::JoinReport;
use crate::request::RetrievalRequest;
use crate::saved_dataset::ManifestSaved;
use crate::shard_run::ShardWork;
use crate::staging::Staged;

/// The format of manifests written now.
pub const MANIFEST_FORMAT: u32 = 1;

/// `_backsight/manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`] of the writer.
    pub format: u32,
    /// Identifies the request: the same id again returns this dataset.
    pub request_id: String,
    /// What was asked for.
    pub request: RetrievalRequest,
    /// Project of the registry.
    pub project: String,
    /// Version id of the registry's state; its bytes are beside the manifest.
    pub registry_version: Option<String>,
    /// Columns in order.
    pub schema: Vec<ManifestColumn>,
    /// Parts in name order.
    pub parts: Vec<ManifestPart>,
    /// Rows of all parts: the spine's.
    pub rows: u64,
    /// Every file that was read.
    pub sources: Vec<ManifestSource>,
    /// SHA-256 over the spine's file list: name, size and version of each file, and its number of rows.
    pub spine_hash: String,
    /// Engine and form.
    pub engine: ManifestEngine,
    /// What was read of the spine and of each view, by the plan.
    #[serde(default)]
    pub scans: Vec<ExplainedScan>,
    /// How the join went.
    pub report: JoinReport,
    /// What went through disks on the way.
    #[serde(default)]
    pub work: ShardWork,
    /// Under which name the registry remembers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_as: Option<ManifestSaved>,
    /// When the retrieval started, RFC 3339.
    pub started: String,
    /// When the dataset was committed, RFC 3339.
    pub finished: String,
    /// Seconds from start to commit, three decimals; text, so that it repeats exactly.
    pub elapsed_seconds: String,
}

/// A column of the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestColumn {
    /// Name.
    pub name: String,
    /// Arrow type.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Where it comes from: `spine`, or `view:feature`.
    pub origin: String,
}

/// A part of the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPart {
    /// File name.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Σ mod 2⁶⁴ of the mixed spine row ids, in hexadecimal.
    pub checksum: String,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSource {
    /// `spine`, or the feature view.
    pub role: String,
    /// Where it is.
    pub path: String,
    /// Bytes; a table has none beside those of its files.
    pub bytes: u64,
    /// The store's version of it.
    pub etag: Option<String>,
    /// Of a Delta table, whose files follow: the version that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What ran the retrieval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEngine {
    /// Version of backsight.
    pub version: String,
    /// `embedded`, `ballista`, …
    pub engine: String,
    /// Form of the join.
    pub form: String,
    /// For each view how it was joined, and why.
    #[serde(default)]
    pub chosen: Vec<ManifestForm>,
}

/// How a view was joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestForm {
    /// Alias or name of the view.
    pub label: String,
    /// The form with its estimate.
    #[serde(flatten)]
    pub chosen: ChosenForm,
}

/// What is durable before anything becomes visible: enough to finish a commit that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The dataset that will be.
    pub(crate) manifest: Manifest,
    /// Each part's file name and what completes it.
    pub(crate) staged: Vec<(String, Staged)>,
    /// With `--overwrite`: version of the manifest that is replaced, and its parts.
    pub(crate) replaces: Option<Replaced>,
}

/// The dataset that a commit replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replaced {
    /// Version of its manifest.
    pub(crate) version: String,
    /// Its parts.
    pub(crate) parts: Vec<String>,
}
