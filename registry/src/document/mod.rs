//! A registry file as a document: read, looked into, changed, and written back without losing what we do not know.

mod apply;
mod apply_error;
mod catalog;
mod edit;
mod error;
mod fingerprint;
mod history;
mod json;
mod keep_unknown;
mod kind;
mod lift;
mod lower;
mod meaning;
mod message;
mod registry_document;
mod rollback;
mod same;
mod save_dataset;
mod signature;
mod views;

pub use apply_error::ApplyError;
pub use edit::Stamp;
pub use error::DocumentError;
pub use fingerprint::{NoFingerprint, ProjectFingerprint};
pub use kind::ObjectKind;
pub use registry_document::RegistryDocument;
pub use save_dataset::SavedDataset;
pub use signature::Signature;

pub use crate::wire::WireError;
