//! What apply would change: the difference between what a registry holds and what definitions want. Pure.

mod attributes;
mod compare;
mod impact;
mod json;
mod lost;
mod markdown;
mod plan;
mod state;
mod text;
mod unmoved;
mod versions;

#[cfg(test)]
mod tests;

pub use compare::{diff, diff_states};
pub use json::plan_json;
pub use markdown::plan_markdown;
pub use plan::{Action, Break, Counts, Effect, FieldChange, ObjectChange, ObjectRef, Plan, Usage};
pub use text::plan_text;
pub use unmoved::is_unmoved;
pub use versions::{
    OtherChange, VersionDiff, diff_versions, version_diff_json, version_diff_markdown, version_diff_text,
};
