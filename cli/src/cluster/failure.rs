//! What a failed call means to the user: the scheduler's own failure, a lost connection, or an answer of another version.

use std::error::Error;

use backsight_proto::ErrorCode;
use backsight_proto::control::{FAILURE_TRAILER, Failure as WireFailure};
use prost::Message;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::config::scheduler::SchedulerAddress;
use crate::errors::Failure;

const VERSIONS: &str =
    "client and scheduler may be of different versions: `backsight --version` shows this one's";

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The scheduler was not reached, or the connection broke: it may be back in a moment.
    Lost(Failure),
    /// The scheduler answered.
    Told(Failure),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost(failure) | Trouble::Told(failure) => failure,
        }
    }
}

/// Reads a gRPC status.
pub(crate) fn of_status(status: &Status, address: &SchedulerAddress) -> Trouble {
    match carried(status) {
        // A scheduler that is about to leave says so; another one, or the same later, may do it.
        Some(Ok(failure)) if status.code() == Code::Unavailable && failure.is_retryable => {
            Trouble::Lost(of_wire(failure))
        }
        Some(Ok(failure)) => Trouble::Told(of_wire(failure)),
        None if is_lost(status) => Trouble::Lost(unreachable(status, address)),
        None | Some(Err(())) => Trouble::Told(not_understood(status, address)),
    }
}

/// The failure in the trailer; an error when there is one that cannot be decoded.
fn carried(status: &Status) -> Option<Result<WireFailure, ()>> {
    let value = status.metadata().get_bin(FAILURE_TRAILER)?;
    let bytes = value.to_bytes().map_err(|_| ());
    Some(bytes.and_then(|bytes| WireFailure::decode(bytes).map_err(|_| ())))
}

/// A status that was made on this side, or by a proxy that has nobody behind it.
fn is_lost(status: &Status) -> bool {
    let not_ready = status.code() == Code::Unknown && status.message().starts_with("Service was not ready");
    status.code() == Code::Unavailable || status.source().is_some() || not_ready
}

fn unreachable(status: &Status, address: &SchedulerAddress) -> Failure {
    let mut causes = vec![status.message().to_owned()];
    let mut cause = status.source();
    while let Some(current) = cause {
        let text = current.to_string();
        if causes.iter().all(|known| !known.contains(&text)) {
            causes.push(text);
        }
        cause = current.source();
    }
    // What the transport says of itself says nothing.
    causes.retain(|cause| !cause.is_empty() && cause != "transport error");
    no_answer(&format!("the scheduler at `{}` cannot be reached", address.url), address).with_causes(causes)
}

/// A scheduler that does not answer, in the words of `message`.
pub(crate) fn no_answer(message: &str, address: &SchedulerAddress) -> Failure {
    Failure::new(ErrorCode::Unreachable, message).with_hint(format!(
        "is `backsight scheduler` running there? its address comes from {}",
        address.origin
    ))
}

fn not_understood(status: &Status, address: &SchedulerAddress) -> Failure {
    let code = match status.code() {
        Code::Unimplemented => ErrorCode::Usage,
        Code::PermissionDenied | Code::Unauthenticated => ErrorCode::AccessDenied,
        Code::ResourceExhausted | Code::OutOfRange => ErrorCode::Limit,
        Code::DeadlineExceeded => ErrorCode::Unreachable,
        _ => ErrorCode::Bug,
    };
    let message = format!("`{}` answered with `{:?}`, which says no more", address.url, status.code());
    let causes = [status.message()].into_iter().filter(|text| !text.is_empty()).map(str::to_owned);
    Failure::new(code, message).with_causes(causes.collect()).with_hint(VERSIONS)
}

/// A failure that travelled.
pub(crate) fn of_wire(failure: WireFailure) -> Failure {
    let WireFailure { code, message, causes, hint, is_retryable: _ } = failure;
    match ErrorCode::from_name(&code) {
        Some(code) => {
            let failure = Failure::new(code, message).with_causes(causes);
            if hint.is_empty() { failure } else { failure.with_hint(hint) }
        }
        None => {
            let hint = if hint.is_empty() { VERSIONS.to_owned() } else { format!("{hint}; {VERSIONS}") };
            Failure::new(ErrorCode::Bug, message).with_causes(causes).with_hint(hint)
        }
    }
}

/// A failure that travelled, as a part of a job.
pub(crate) fn as_json(failure: &WireFailure) -> Value {
    json!({
        "code": failure.code,
        "exit_status": ErrorCode::from_name(&failure.code).unwrap_or(ErrorCode::Bug).exit_status(),
        "message": failure.message,
        "causes": failure.causes,
        "hint": (!failure.hint.is_empty()).then_some(&failure.hint),
        "is_retryable": failure.is_retryable,
    })
}

#[cfg(test)]
mod tests {
    use backsight_registry::feature_store::Origin;
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::*;

    fn address() -> SchedulerAddress {
        SchedulerAddress { url: "http://h:1".to_owned(), origin: Origin::Flag("--scheduler".to_owned()) }
    }

    fn with_trailer(code: Code, bytes: &[u8]) -> Status {
        let mut metadata = MetadataMap::new();
        metadata.insert_bin(FAILURE_TRAILER, MetadataValue::from_bytes(bytes));
        Status::with_metadata(code, "plain", metadata)
    }

    fn wire(code: &str, is_retryable: bool) -> WireFailure {
        WireFailure {
            code: code.to_owned(),
            message: "no `x`".to_owned(),
            causes: vec!["because".to_owned()],
            hint: "look".to_owned(),
            is_retryable,
        }
    }

    #[test]
    fn the_trailer_is_the_failure_whatever_the_status_says() {
        for (name, exit) in [
            ("bug", 1),
            ("usage", 2),
            ("invalid", 3),
            ("not_found", 4),
            ("data", 5),
            ("unreachable", 6),
            ("access_denied", 6),
            ("cancelled", 7),
            ("conflict", 9),
            ("limit", 10),
        ] {
            let status = with_trailer(Code::Internal, &wire(name, false).encode_to_vec());
            let Trouble::Told(failure) = of_status(&status, &address()) else { panic!("{name}") };
            assert_eq!(failure.status(), exit, "{name}");
            assert_eq!(failure.json()["error"]["code"], name);
            assert_eq!(failure.text(false), "error: no `x`\n  caused by: because\nhint: look\n");
        }
    }

    #[test]
    fn what_cannot_be_decoded_says_that_versions_may_differ() {
        let unknown = with_trailer(Code::Internal, &wire("quota", false).encode_to_vec());
        let broken = with_trailer(Code::Internal, &[0xff]);
        let bare = Status::new(Code::Unimplemented, "no such call");
        for (status, exit) in [(unknown, 1), (broken, 1), (bare, 2)] {
            let Trouble::Told(failure) = of_status(&status, &address()) else { panic!("{status:?}") };
            assert_eq!(failure.status(), exit, "{status:?}");
            let text = failure.text(false);
            assert!(text.contains("different versions"), "{text}");
        }
    }

    #[test]
    fn only_a_scheduler_that_is_away_is_asked_again() {
        let lost = |status: &Status| matches!(of_status(status, &address()), Trouble::Lost(_));
        assert!(lost(&Status::unavailable("tcp connect error")));
        assert!(lost(&Status::from_error(Box::new(std::io::Error::other("broken pipe")))));
        assert!(lost(&Status::unknown("Service was not ready: closed")));
        assert!(lost(&with_trailer(Code::Unavailable, &wire("unreachable", true).encode_to_vec())));
        assert!(!lost(&with_trailer(Code::Unavailable, &wire("access_denied", false).encode_to_vec())));
        assert!(!lost(&Status::internal("odd")));
    }

    #[test]
    fn an_unreachable_scheduler_is_named_with_where_its_address_comes_from() {
        let Trouble::Lost(failure) = of_status(&Status::unavailable("refused"), &address()) else {
            panic!("not lost");
        };
        let expected = "error: the scheduler at `http://h:1` cannot be reached\n  caused by: refused\nhint: is \
                        `backsight scheduler` running there? its address comes from option `--scheduler`\n";
        assert_eq!((failure.text(false).as_str(), failure.status()), (expected, 6));
    }
}
