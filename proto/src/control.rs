//! The control plane's messages and service, generated from `protos/backsight/control`.

/// The trailer that carries an encoded [`Failure`] beside a gRPC status.
pub const FAILURE_TRAILER: &str = "backsight-failure-bin";

/// The greatest message of the control plane in bytes: a whole registry fits.
pub const MESSAGE_BYTES_MAX: usize = 128 << 20;

#[expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from the `.proto` file, which carries the words"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/backsight.control.v1.rs"));
}

pub use generated::*;
