//! Wire types only: Feast's registry messages, plan nodes, and the error classes that cross the wire.

mod error_code;
pub mod feast;
pub mod plan;

pub use error_code::ErrorCode;
