//! Works on jobs: admits, leases, drives each one, measures.

mod dispatcher;
mod metrics;
mod retrieval_work;
mod shared;
mod worker;

pub(crate) use dispatcher::dispatch;
pub(crate) use metrics::Metrics;
pub(crate) use retrieval_work::{prepare_request, spines_of};
pub(crate) use shared::{Shared, now, now_ms, row};
