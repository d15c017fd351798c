//! Settings: where they come from, which one wins, what they are in the end.

mod duration;
pub(crate) mod memory;
mod reference;
pub(crate) mod scheduler;
mod settings;
mod workspace;

pub(crate) use duration::parse_duration;
pub(crate) use reference::{Entry, Group, reference};
pub(crate) use scheduler::scheduler_url;
pub(crate) use settings::{Row, setting_rows};
pub(crate) use workspace::{CONFIG_VARIABLE, REPO_VARIABLE, Workspace};
