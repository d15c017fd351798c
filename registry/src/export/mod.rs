//! Definitions as YAML, from what a registry holds. Pure.
//!
//! The reader of definitions is the judge: what was written is read back and compared with the registry, and what it
//! does not take, or takes for something else, is reported. So nothing is lost in silence.

mod emit;
mod objects;
mod rounds;

#[cfg(test)]
mod odd_texts;
#[cfg(test)]
mod tests;

pub use rounds::{Export, NotExpressed, export, not_expressed};
