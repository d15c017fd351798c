//! Repos in folders: which files are read, and what cannot be.

use std::fs;
use std::path::Path;

use backsight_proto::ErrorCode;

use crate::definitions::{LoadOptions, load_definitions};

fn write(repo: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = repo.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn entity(name: &str) -> String {
    format!("kind: Entity\nname: {name}\nvalue_type: INT64\n")
}

#[test]
fn yaml_files_anywhere_below_the_repo_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path();
    write(repo, "b.yml", entity("third"));
    write(repo, "a/z.yaml", entity("second"));
    write(repo, "a/a.yaml", entity("first"));
    write(repo, "feature_store.yaml", "project: p\n");
    write(repo, "client/feature_store.yaml", "project: p\n");
    write(repo, "staging.yaml", "project: p\n");
    write(repo, ".github/workflow.yaml", "on: push\n");
    write(repo, ".hidden.yaml", "on: push\n");
    write(repo, "old/x.yaml", "not: ours\n");
    write(repo, "notes.txt", "kind: Entity\n");
    write(repo, ".feastignore", "old # retired\n");
    let config = repo.join("staging.yaml");
    let options = LoadOptions { project: "p", config_file: Some(&config), ..LoadOptions::default() };
    let loaded = load_definitions(repo, &options).unwrap();
    let names: Vec<&str> = loaded.definitions.entities.iter().map(|entity| entity.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "third"]);
}

#[test]
fn findings_of_all_files_come_together() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path();
    write(repo, "a.yaml", "kind: Entity\n");
    write(repo, "sub/b.yaml", b"kind: \xff\n");
    write(repo, "c.yaml", "x: [\n");
    write(repo, ".feastignore", "[\n");
    let error = load_definitions(repo, &LoadOptions { project: "p", ..LoadOptions::default() }).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "4 problems in the definitions",
            ".feastignore:1:1: `[` is not a pattern: invalid range pattern",
            "a.yaml:1:1: this Entity lacks the required key `name`",
        ]
    );
    assert!(lines[3].starts_with("c.yaml:2:1: not valid YAML: "), "{text}");
    assert_eq!(lines[4..], ["sub/b.yaml: the file is not UTF-8 text: byte 6 does not belong to a character"]);
}

#[test]
fn a_repo_that_is_not_there_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("nowhere");
    let error = load_definitions(&repo, &LoadOptions::default()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.to_string().contains("failed to list the repo folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path();
    write(repo, "a/x.yaml", entity("one"));
    std::os::unix::fs::symlink(repo, repo.join("a/loop")).unwrap();
    std::os::unix::fs::symlink(repo.join("a/x.yaml"), repo.join("gone.txt")).unwrap();
    let loaded = load_definitions(repo, &LoadOptions { project: "p", ..LoadOptions::default() }).unwrap();
    assert_eq!(loaded.definitions.entities.len(), 1);
}
