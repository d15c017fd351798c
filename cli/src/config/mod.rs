//! Settings: where they come from, which one wins, what they are in the end.

pub(crate) mod memory;
pub(crate) mod scheduler;
mod settings;
mod workspace;

pub(crate) use settings::{Row, setting_rows};
pub(crate) use workspace::{CONFIG_VARIABLE, REPO_VARIABLE, Workspace};
