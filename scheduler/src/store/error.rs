//! How does keeping a job fail, and what can be done about it?

use std::path::PathBuf;

use backsight_proto::ErrorCode;
use thiserror::Error;

use super::classify::StoreFailure;

/// Why a job could not be kept, read or changed. No variant ever holds a password.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JobStoreError {
    /// The URL of the store is not one.
    #[error("cannot use the URL of the job store: {reason}")]
    Url {
        /// What is wrong with it, without the URL: it may hold a password.
        reason: String,
    },
    /// The folder for the SQLite file is not there.
    #[error("the folder `{folder}` for the job store `{store}` does not exist")]
    FolderMissing {
        /// The folder.
        folder: PathBuf,
        /// The store.
        store: String,
    },
    /// What should be an SQLite file is a folder, or its folder is a file.
    #[error("cannot keep jobs in `{store}`: `{path}` is a {what}")]
    WrongKind {
        /// The store.
        store: String,
        /// What is in the way.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A later release wrote this store.
    #[error("the job store `{store}` has schema {found}; this release knows schemas up to {known}")]
    SchemaNewer {
        /// The store.
        store: String,
        /// What it has.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// The database failed, or cannot be reached.
    #[error("the job store `{store}` {}", failure.sentence())]
    Database {
        /// The store, without a password.
        store: String,
        /// How it failed.
        failure: StoreFailure,
        /// What the database or its driver said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A row is larger than it may be.
    #[error("the record of job `{id}` is {bytes} bytes; at most {bytes_max} are kept")]
    RecordTooLarge {
        /// The job.
        id: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// A text cannot be stored by every database.
    #[error("cannot keep job `{id}`: its {field} is empty or holds a NUL character")]
    BadText {
        /// The job, NULs escaped.
        id: String,
        /// Which text.
        field: &'static str,
    },
    /// There is no such job.
    #[error("there is no job `{id}`")]
    JobMissing {
        /// What was asked for.
        id: String,
    },
    /// Somebody else was first.
    #[error(
        "job `{id}` was changed by another: it has version {found_version}, expected was {expected_version}{}",
        holder(held_by.as_deref())
    )]
    Conflict {
        /// The job.
        id: String,
        /// What the caller knew.
        expected_version: i64,
        /// What is there.
        found_version: i64,
        /// Who held it.
        held_by: Option<String>,
    },
    /// The caller no longer holds the job.
    #[error("the lease of job `{id}` with token {token} is lost")]
    LeaseLost {
        /// The job.
        id: String,
        /// The token that is no longer good.
        token: i64,
    },
    /// A term that ends before it begins.
    #[error("a lease of job `{id}` from {now_ms} until {until_ms} ms has no term")]
    EmptyTerm {
        /// The job.
        id: String,
        /// When it should begin.
        now_ms: i64,
        /// When it should end.
        until_ms: i64,
    },
}

fn holder(held_by: Option<&str>) -> String {
    held_by.map_or_else(String::new, |owner| format!(", and `{owner}` holds it"))
}

impl JobStoreError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Url { .. } => ErrorCode::Usage,
            Self::FolderMissing { .. } | Self::JobMissing { .. } => ErrorCode::NotFound,
            Self::WrongKind { .. } | Self::SchemaNewer { .. } | Self::BadText { .. } => ErrorCode::Invalid,
            Self::Database { failure, .. } => failure.code(),
            Self::RecordTooLarge { .. } => ErrorCode::Limit,
            Self::Conflict { .. } | Self::LeaseLost { .. } => ErrorCode::Conflict,
            Self::EmptyTerm { .. } => ErrorCode::Bug,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Url { .. } => {
                "allowed are `sqlite:///path/jobs.db` and `postgres://user@host/database`; characters such as `@`, `:`, \
                 `/` or `%` in a user name or password are written as `%40`, `%3A`, `%2F`, `%25`"
            }
            Self::FolderMissing { .. } => "create the folder, or name another file with `--state`",
            Self::WrongKind { .. } => "name a file in an existing folder with `--state`",
            Self::SchemaNewer { .. } => {
                "run the newer release, or give this one a store of its own; an older release must not write here"
            }
            Self::Database { failure, .. } => return failure.hint().map(str::to_owned),
            Self::RecordTooLarge { .. } => "split the request, for example by time",
            Self::BadText { .. } | Self::LeaseLost { .. } | Self::EmptyTerm { .. } => return None,
            Self::JobMissing { .. } => {
                "`backsight jobs list` shows those that are kept; old ones are deleted after a while"
            }
            Self::Conflict { .. } => "look at the job again and decide anew",
        };
        Some(hint.to_owned())
    }

    /// Whether a later try may succeed without a change by the user.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// Whether the call may have been carried out although it is reported as failed: the answer was lost.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            Self::Database {
                failure: StoreFailure::ConnectionLost
                    | StoreFailure::Overdue
                    | StoreFailure::DiskFailed
                    | StoreFailure::Unexpected,
                ..
            }
        )
    }
}
