//! What exists: definitions, validation, `feature_store.yaml`, reading, changing and storing the registry, the diff.

pub mod document;
pub mod model;
mod wire;
