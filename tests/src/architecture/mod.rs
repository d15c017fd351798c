//! The house rules that a machine can hold: who imports whom, how files begin and end, what is never written.

mod files;
mod imports;
mod rooms;

use std::path::{Path, PathBuf};

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Fails with all problems at once.
fn assert_none(rule: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{rule}:\n  {}", problems.join("\n  "));
}
