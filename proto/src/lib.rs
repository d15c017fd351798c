//! Wire types only: Feast's registry messages, the control plane, plan nodes, and the error classes that cross the wire.

pub mod control;
mod error_code;
pub mod feast;
pub mod plan;

pub use error_code::ErrorCode;
