//! Definitions: the YAML of a repo, read whole, checked whole, as the desired state of a project.

mod check;
mod draft;
mod error;
mod files;
mod load;
mod read;
mod read_views;
mod resolve;
mod resolve_services;
mod resolve_views;

#[cfg(test)]
mod tests;

pub use check::{LoadedRepo, SourceFile, check_definitions};
pub use error::DefinitionErrors;
pub use load::{LoadOptions, load_definitions};
