//! A registry file as a document: read, looked into, changed, and written back without losing what we do not know.

mod catalog;
mod error;
mod kind;
mod lift;
mod registry_document;
mod signature;

pub use error::DocumentError;
pub use kind::ObjectKind;
pub use registry_document::RegistryDocument;
pub use signature::Signature;

pub use crate::wire::WireError;
