//! Rules for files: what they open with, how long they are, where they stand in the map, what they never say.

use std::fs;
use std::path::{Path, PathBuf};

use super::rooms::ROOMS;
use super::{assert_none, root};

const LINES_MAX: usize = 600;
/// Text files by their ending; everything else is data.
const TEXT: &[&str] =
    &["rs", "toml", "md", "py", "sh", "proto", "yaml", "yml", "json", "txt", "sql", "justfile", "run"];

/// Every file of the repository, relative to its root; build output and hidden folders but `.ci` are not part of it.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    assert!(found.len() > 50, "the walk found {} files", found.len());
    found
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let skipped = name == "target" || name == "__pycache__" || (name.starts_with('.') && name != ".ci");
        if skipped {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path.strip_prefix(root()).unwrap().to_path_buf());
        }
    }
}

fn ending(path: &Path) -> String {
    path.extension().or(path.file_name()).unwrap_or_default().to_string_lossy().into_owned()
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|path| ending(path) == "rs");
    rust.map(|path| (path.clone(), fs::read_to_string(root().join(&path)).unwrap())).collect()
}

#[test]
fn every_source_file_says_first_which_question_it_answers() {
    let problems: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none("files whose first line is not `//!` and a sentence", &problems);
}

#[test]
fn no_source_file_is_longer_than_a_question() {
    let problems: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines, {LINES_MAX} are allowed", path.display()))
        .collect();
    assert_none("look for the second question in", &problems);
}

#[test]
fn suppressions_expect_and_give_a_reason() {
    let banned = [concat!("#[", "allow("), concat!("#![", "allow(")];
    let mut problems = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if banned.iter().any(|word| line.trim_start().starts_with(word)) {
                problems.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert_none("use `#[expect(lint, reason = \"…\")]` instead of `allow`", &problems);
}

#[test]
fn every_crate_is_under_the_houses_lints() {
    let problems: Vec<String> = files()
        .iter()
        .filter(|path| path.ends_with("Cargo.toml") && path.components().count() > 1)
        .filter(|path| {
            !fs::read_to_string(root().join(path)).unwrap().contains("[lints]\nworkspace = true\n")
        })
        .map(|path| path.display().to_string())
        .collect();
    assert_none("manifests without the workspace's lints", &problems);
}

#[test]
fn the_map_names_every_folder() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut folders: Vec<String> = files()
        .iter()
        .filter(|path| path.components().count() > 1)
        .map(|path| path.components().next().unwrap().as_os_str().to_string_lossy().into_owned())
        .collect();
    folders.extend(ROOMS.iter().map(|room| room.folder.to_owned()));
    folders.sort();
    folders.dedup();
    let problems: Vec<String> =
        folders.into_iter().filter(|folder| !map.contains(&format!("`{folder}/`"))).collect();
    assert_none("folders that ARCHITECTURE.md does not name", &problems);
}

#[test]
fn text_names_no_machine() {
    let banned = [
        concat!("/wo", "rk/"),
        concat!("/var", "/tmp/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Use", "rs/"),
    ];
    let mut problems = Vec::new();
    for path in files().iter().filter(|path| TEXT.contains(&ending(path).as_str())) {
        let Ok(text) = fs::read_to_string(root().join(path)) else {
            problems.push(format!("{}: not UTF-8", path.display()));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = banned.iter().find(|word| line.contains(*word)) {
                problems.push(format!("{}:{}: `{word}`", path.display(), number + 1));
            }
        }
    }
    assert_none("paths of one machine in committed text", &problems);
}
