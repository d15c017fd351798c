//! How reading a registry file fails.

use backsight_proto::ErrorCode;
use thiserror::Error;

use crate::document::signature::Signature;
use crate::wire::WireError;

/// Why bytes are not a registry, or do not hold what was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not a sequence of protobuf fields.
    #[error("not a Feast registry: {reason}{}", looks_like(*.signature))]
    NotProtobuf {
        /// Where the bytes stop making sense.
        reason: WireError,
        /// What they look like instead.
        signature: Option<Signature>,
    },
    /// A field that a registry has does not hold what a registry holds there.
    #[error("not a Feast registry: the {field} at byte {offset} cannot be decoded{}", looks_like(*.signature))]
    BadField {
        /// What should be there.
        field: &'static str,
        /// Where it starts.
        offset: usize,
        /// Why it cannot be decoded.
        source: prost::DecodeError,
        /// What the bytes look like instead.
        signature: Option<Signature>,
    },
    /// Well-formed protobuf without anything of a registry.
    #[error(
        "not a Feast registry: valid protobuf, but no object, version or schema version of a registry in it"
    )]
    NothingOfARegistry,
    /// No object of the registry belongs to the project.
    #[error("the registry has no project `{project}`{}", list_known(.known))]
    UnknownProject {
        /// What was asked for.
        project: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Something cannot be shown as JSON: a time or a duration beyond what the JSON form can say.
    #[error("{what} cannot be shown as JSON")]
    NotJson {
        /// What should be shown.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DocumentError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotProtobuf { .. }
            | Self::BadField { .. }
            | Self::NothingOfARegistry
            | Self::NotJson { .. } => ErrorCode::Invalid,
            Self::UnknownProject { .. } => ErrorCode::NotFound,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotProtobuf { signature, .. } | Self::BadField { signature, .. } => {
                Some(signature.map_or(NOT_A_REGISTRY_HINT, Signature::hint).to_owned())
            }
            Self::NothingOfARegistry => Some(NOT_A_REGISTRY_HINT.to_owned()),
            Self::UnknownProject { .. } => Some(
                "check `project` in feature_store.yaml, or create the project with `backsight apply`"
                    .to_owned(),
            ),
            Self::NotJson { .. } => None,
        }
    }
}

const NOT_A_REGISTRY_HINT: &str = "`registry` in feature_store.yaml should name the file that `feast apply` or `backsight apply` writes \
     (often `registry.pb` or `registry.db`)";

fn looks_like(signature: Option<Signature>) -> String {
    signature.map(|signature| format!("; it looks like {signature}")).unwrap_or_default()
}

fn list_known(projects: &[String]) -> String {
    match projects {
        [] => "; it is empty".to_owned(),
        projects => {
            let names: Vec<_> = projects.iter().map(|name| format!("`{name}`")).collect();
            format!("; it has {}", names.join(", "))
        }
    }
}
