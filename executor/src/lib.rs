//! The service that runs: hosts the query engine's executor, stops what nobody waits for, leaves in good order.

mod error;
mod metrics;
mod options;
mod serve;
mod sync;
mod work_dir;

pub use error::ExecutorError;
pub use options::{ExecutorOptions, Ready};
pub use serve::serve;
