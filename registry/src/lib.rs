//! What exists: definitions, validation, `feature_store.yaml`, reading, changing and storing the registry, the diff.

pub mod definitions;
pub mod diff;
pub mod document;
pub mod dtype;
pub mod export;
pub mod feature_store;
pub mod kept;
pub mod kind;
pub mod model;
pub mod nearest;
pub mod problem;
pub mod size;
pub mod store;
pub mod ttl;
mod wire;
pub mod yaml;
