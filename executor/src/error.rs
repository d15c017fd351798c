//! How an executor fails to start or to go on.

use std::path::PathBuf;

use backsight_proto::ErrorCode;
use thiserror::Error;

/// Why an executor stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// Another executor uses the folder.
    #[error("work folder `{}` is used by another executor", .folder.display())]
    WorkDirInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be used.
    #[error("work folder `{}` cannot be used", .folder.display())]
    WorkDir {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An address cannot be bound.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The scheduler's URL is none.
    #[error("`{url}` is not the URL of a scheduler")]
    SchedulerUrl {
        /// As given.
        url: String,
    },
    /// Memory or spill folder cannot be set up.
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

impl ExecutorError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::WorkDirInUse { .. } => ErrorCode::Conflict,
            Self::WorkDir { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => ErrorCode::Limit,
                _ => ErrorCode::Usage,
            },
            Self::Bind { .. } | Self::SchedulerUrl { .. } => ErrorCode::Usage,
            Self::Engine { .. } => ErrorCode::Usage,
            Self::Ended { .. } => ErrorCode::Bug,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WorkDirInUse { .. } => Some("give each executor a `--work-dir` of its own".into()),
            Self::WorkDir { .. } => Some("`--work-dir` names a folder that this user may write".into()),
            Self::Bind { .. } => Some("choose another port, or 0 for a free one".into()),
            Self::SchedulerUrl { .. } => Some("for example `http://127.0.0.1:50050`".into()),
            Self::Engine { .. } | Self::Ended { .. } => None,
        }
    }
}
