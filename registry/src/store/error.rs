//! How reading or changing a stored registry fails.

use backsight_proto::ErrorCode;
use backsight_storage::{Location, StorageError};
use thiserror::Error;

use crate::document::{ApplyError, DocumentError};
use crate::store::RegistrySnapshot;

/// Why a registry could not be read or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing is there.
    #[error("there is no registry at `{location}`")]
    Missing {
        /// Where it was looked for.
        location: Location,
    },
    /// What is there is something else, or does not hold what was asked for.
    #[error("cannot use `{location}` as a registry")]
    Document {
        /// Where it is.
        location: Location,
        /// What is wrong.
        source: DocumentError,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Somebody changed this project since the change was decided on.
    #[error("project `{project}` in `{location}` has changed since it was looked at; nothing was written")]
    ProjectMoved {
        /// The project.
        project: String,
        /// The registry.
        location: Location,
        /// What is there now; compare it with what was looked at to see the other change.
        now: Box<RegistrySnapshot>,
    },
    /// Other writers were first every time.
    #[error("`{location}` is written by so many others that {attempts} attempts failed; nothing was written")]
    Contended {
        /// The registry.
        location: Location,
        /// How often it was tried.
        attempts: u32,
    },
    /// No version of the registry is called so.
    #[error("`{location}` has no version `{given}`{}", kept_numbers(.numbers))]
    UnknownVersion {
        /// The registry.
        location: Location,
        /// What was asked for.
        given: String,
        /// The least and the greatest number that is kept.
        numbers: Option<(u64, u64)>,
    },
    /// Several versions are called so.
    #[error("`{given}` stands for several versions of `{location}`: {}", candidates.join(", "))]
    AmbiguousVersion {
        /// The registry.
        location: Location,
        /// What was asked for.
        given: String,
        /// The versions that it may be.
        candidates: Vec<String>,
    },
    /// The change itself cannot be made.
    #[error(transparent)]
    Change(#[from] ApplyError),
}

impl StoreError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Missing { .. } | Self::UnknownVersion { .. } => ErrorCode::NotFound,
            Self::AmbiguousVersion { .. } => ErrorCode::Usage,
            Self::Document { source, .. } => source.code(),
            Self::Storage(source) => source.code(),
            Self::ProjectMoved { .. } => ErrorCode::Conflict,
            Self::Contended { .. } => ErrorCode::Unreachable,
            Self::Change(source) => source.code(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(
                "`backsight apply` creates it; if it should exist, check `registry` in feature_store.yaml"
                    .to_owned(),
            ),
            Self::Document { source, .. } => source.hint(),
            Self::Storage(source) => source.hint(),
            Self::ProjectMoved { .. } => {
                Some("run `backsight plan` again and look at both changes".to_owned())
            }
            Self::UnknownVersion { .. } => {
                Some("`backsight registry history` lists the versions that are kept".to_owned())
            }
            Self::AmbiguousVersion { .. } => Some("write the whole version id".to_owned()),
            Self::Contended { .. } => Some("try again when fewer are writing".to_owned()),
            Self::Change(source) => source.hint(),
        }
    }
}

fn kept_numbers(numbers: &Option<(u64, u64)>) -> String {
    match numbers {
        Some((least, greatest)) if least == greatest => format!("; kept is {least}"),
        Some((least, greatest)) => format!("; kept are {least} to {greatest}"),
        None => "; none is kept".to_owned(),
    }
}
