//! One registry object and its history: read, and changed so that no update of ours is ever lost.

mod error;
mod history;
mod registry_store;
mod save_dataset;

pub use error::StoreError;
pub use history::{ForeignWrite, HistoryEntry};
pub use registry_store::{RegistrySnapshot, RegistryStore, StoreOptions, Written};
