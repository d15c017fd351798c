//! Why a submission is refused, or a stored job cannot be read.

use backsight_proto::ErrorCode;

use super::model::JobId;

/// A refusal; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The id belongs to a job that does something else.
    #[error("job `{id}` exists already with another {}", differing.join(" and another "))]
    IdTaken {
        /// The id that both use.
        id: JobId,
        /// What differs: `request`, `output`, `overwrite`, `project`.
        differing: Vec<&'static str>,
    },
    /// As many jobs wait as may wait.
    #[error("the queue is full: {queued} jobs wait, {limit} are allowed")]
    QueueFull {
        /// Jobs that wait.
        queued: usize,
        /// Jobs that may wait.
        limit: usize,
    },
    /// A later version wrote the record.
    #[error("the record of job `{id}` has format {format}, this version reads up to {format_max}")]
    NewerFormat {
        /// Whose record.
        id: String,
        /// The record's format.
        format: u64,
        /// The newest format that is known here.
        format_max: u32,
    },
    /// The record is no job.
    #[error("a stored job cannot be read")]
    Unreadable {
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The record cannot be put into text.
    #[error("job `{id}` cannot be written down")]
    Unwritable {
        /// Whose record.
        id: JobId,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl JobError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::IdTaken { .. } => ErrorCode::Conflict,
            Self::QueueFull { .. } => ErrorCode::Limit,
            Self::NewerFormat { .. } => ErrorCode::Usage,
            Self::Unreadable { .. } => ErrorCode::Data,
            Self::Unwritable { .. } => ErrorCode::Bug,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::IdTaken { id, .. } => Some(format!(
                "choose another `--request-id`; `jobs show {id}` shows what this one stands for"
            )),
            Self::QueueFull { .. } => Some(
                "submit again later, or start the scheduler with a greater `--jobs-queued-max`".to_owned(),
            ),
            Self::NewerFormat { .. } => {
                Some("a newer scheduler has used this state: start that version or a later one".to_owned())
            }
            Self::Unreadable { .. } | Self::Unwritable { .. } => None,
        }
    }
}
