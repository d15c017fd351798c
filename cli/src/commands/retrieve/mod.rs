//! `retrieve`: features for a spine, as a committed dataset, a preview, or a plan to look at.

mod args;
mod remote;
mod render;
mod run;

pub(crate) use args::RetrieveArgs;
pub(crate) use render::dataset as show_dataset;
pub(crate) use run::{cores, run};
