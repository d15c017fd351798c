//! Failures on the control plane: a message beside the gRPC status that says what it is.

use backsight_proto::ErrorCode;
use backsight_proto::control::{FAILURE_TRAILER, Failure};
use backsight_retrieval::{RetrievalError, WireFailure};
use prost::Message;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::jobs::JobError;
use crate::store::JobStoreError;

/// A failure's message as plain values.
pub(crate) fn wire_failure(failure: Failure) -> WireFailure {
    let Failure { code, message, causes, hint, is_retryable } = failure;
    let hint = Some(hint).filter(|hint| !hint.is_empty());
    WireFailure { code, message, causes, hint, is_retryable, is_local: false }
}

/// A failure as it travels.
pub(crate) fn message(failure: WireFailure) -> Failure {
    let WireFailure { code, message, causes, hint, is_retryable, is_local: _ } = failure;
    Failure { code, message, causes, hint: hint.unwrap_or_default(), is_retryable }
}

/// The status of a refusal of our own.
pub(crate) fn refuse(code: ErrorCode, text: impl Into<String>, hint: Option<String>) -> Status {
    status(message(WireFailure::new(code, text, hint)))
}

/// The status of a failed retrieval.
pub(crate) fn of_retrieval(error: &RetrievalError) -> Status {
    status(message(WireFailure::from(error)))
}

/// The status of a store that failed.
pub(crate) fn of_store(error: &JobStoreError) -> Status {
    tracing::warn!(%error, "the store of jobs failed");
    refuse(error.code(), error.to_string(), error.hint())
}

/// The status of a refused or unreadable job.
pub(crate) fn of_job_error(error: &JobError) -> Status {
    refuse(error.code(), error.to_string(), error.hint())
}

/// A failure as a gRPC status, with the whole of it in a trailer.
pub(crate) fn status(failure: Failure) -> Status {
    let code = match ErrorCode::from_name(&failure.code) {
        Some(ErrorCode::Usage | ErrorCode::Invalid) => Code::InvalidArgument,
        Some(ErrorCode::NotFound) => Code::NotFound,
        Some(ErrorCode::Data) => Code::FailedPrecondition,
        Some(ErrorCode::Unreachable) => Code::Unavailable,
        Some(ErrorCode::AccessDenied) => Code::PermissionDenied,
        Some(ErrorCode::Cancelled) => Code::Cancelled,
        Some(ErrorCode::Conflict) => Code::AlreadyExists,
        Some(ErrorCode::Limit) => Code::ResourceExhausted,
        _ => Code::Internal,
    };
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(FAILURE_TRAILER, MetadataValue::from_bytes(&failure.encode_to_vec()));
    Status::with_metadata(code, failure.message, metadata)
}
