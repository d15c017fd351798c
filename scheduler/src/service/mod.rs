//! What a scheduler answers: the control plane, and health and metrics for operators.

mod control;
mod failures;
mod http;
mod job_message;
mod previews;
mod spines;
mod submissions;

pub(crate) use control::ControlService;
pub(crate) use failures::{message as failure_message, wire_failure};
pub(crate) use http::routes;
pub(crate) use spines::{Spool, abort_uploads};
