//! One registry object and its history: read, and changed so that no update of ours is ever lost.

mod error;
mod history;
mod prune;
mod registry_store;
mod save_dataset;
mod versions;

pub use error::StoreError;
pub use history::{ForeignWrite, HistoryEntry};
pub use prune::{PrunePolicy, Pruned, SAFE_AGE};
pub use registry_store::{RegistrySnapshot, RegistryStore, StoreOptions, Written};
pub use versions::{VersionEntry, VersionRead};
