//! The rows of a workload, as a pure function of specification, seed and row number, and the files that hold them.

mod definitions;
mod files;
mod random;
mod rows;
mod write;

pub(crate) use definitions::{definitions, feature_store, peers_workload};
pub(crate) use files::{Table, plan_files};
pub(crate) use random::mix;
pub(crate) use write::{Written, write_all};
