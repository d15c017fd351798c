//! How a scheduler fails to start or to go on.

use backsight_proto::ErrorCode;
use thiserror::Error;

use crate::store::JobStoreError;

/// Why a scheduler stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// An address cannot be bound.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Jobs cannot be kept.
    #[error(transparent)]
    Store(#[from] JobStoreError),
    /// The query engine cannot be set up.
    #[error("the engine cannot be set up: {detail}")]
    Engine {
        /// Why.
        detail: String,
    },
    /// A part of the service ended by itself.
    #[error("{part} ended: {detail}")]
    Ended {
        /// Which part.
        part: &'static str,
        /// Why.
        detail: String,
    },
}

impl SchedulerError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Bind { .. } | Self::Engine { .. } => ErrorCode::Usage,
            Self::Store(error) => error.code(),
            Self::Ended { .. } => ErrorCode::Bug,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bind { .. } => Some("choose another port with `--bind`, or 0 for a free one".into()),
            Self::Store(error) => error.hint(),
            Self::Engine { .. } | Self::Ended { .. } => None,
        }
    }
}
