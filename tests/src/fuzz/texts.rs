//! YAML that people write: a repo's definitions through the whole loader, and `feature_store.yaml`.

use std::path::Path;

use backsight_registry::definitions::{LoadOptions, load_definitions};
use backsight_registry::diff::diff;
use backsight_registry::document::{RegistryDocument, Stamp};
use backsight_registry::export::export;
use backsight_registry::feature_store::{Environment, parse_feature_store};
use backsight_registry::problem::Problem;
use chrono::DateTime;
use uuid::Uuid;

use super::mutate::Shape;
use super::runner::{Target, answer, fuzz};

const WORDS: &[&str] = &[
    "&a",
    "*a",
    "<<: *a",
    "!!str",
    "!!binary",
    "---\n",
    "...\n",
    "? ",
    "|\n",
    ">-\n",
    "{",
    "}",
    "[",
    "]",
    "\t",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "ü",
    "'",
    "\"",
    "#",
    "null",
    "~",
    "0x1F",
    ".inf",
    "P1DT2H",
    "100d",
    "view@v2",
    "kind: Entity\n",
    "kind: FeatureView\n",
    "Array(Array(Float32))",
    "${A}",
    "$B",
    "s3://bucket/x",
    "backsight:\n",
];

/// Every `yaml` block of the reference, and all of them as one repo.
fn blocks() -> Vec<Vec<u8>> {
    let reference = include_str!("../../../docs/definitions.md");
    let blocks = reference.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let mut blocks: Vec<Vec<u8>> = blocks.map(|block| block.as_bytes().to_vec()).collect();
    let all = blocks.iter().skip(1).map(|block| String::from_utf8(block.clone()).unwrap());
    blocks.push(all.collect::<Vec<_>>().join("---\n").into_bytes());
    assert!(blocks.len() > 6);
    blocks
}

/// A finding must stand inside the text that it is about.
fn inside(problem: &Problem, file: &str, text: &str) -> Result<(), String> {
    let position = &problem.position;
    if position.line == 0 || &*position.file != file {
        return Ok(());
    }
    // The YAML reader takes `\r` alone for the end of a line in some places and not in others.
    let by_newline: Vec<&str> = text.split('\n').collect();
    let by_both: Vec<&str> = text.split(['\n', '\r']).collect();
    let is_inside = |lines: &[&str]| {
        let line = lines.get(position.line - 1);
        line.is_some_and(|line| (1..=line.chars().count() + 2).contains(&position.column))
    };
    if is_inside(&by_newline) || is_inside(&by_both) {
        return Ok(());
    }
    Err(format!("outside of the {} lines: {problem}", by_both.len()))
}

/// What a sound repo must stand: it is applied, nothing is left to do, and its export says the same.
fn sound(repo: &backsight_registry::definitions::LoadedRepo) -> Result<(), String> {
    let mut next_id = || Uuid::from_u128(7);
    let mut stamp = Stamp { now: DateTime::from_timestamp(1_800_000_000, 0).unwrap(), next_id: &mut next_id };
    let empty = RegistryDocument::parse(b"").unwrap();
    let applied = match empty.apply(&repo.definitions, &mut stamp) {
        Ok(applied) => applied,
        Err(error) => return Err(format!("a sound repo cannot be applied: {error}")),
    };
    let catalog = applied.catalog_or_empty(&repo.definitions.project.name);
    let left = diff(&catalog, &repo.definitions);
    if left.has_changes() {
        return Err(format!("what was applied is not what was defined: {:?}", left.changes));
    }
    let export = export(&catalog).map_err(|problems| format!("the export is no repo: {problems:?}"))?;
    if !export.not_expressed.is_empty() || export.plan.has_changes() {
        let changes = &export.plan.changes;
        return Err(format!("the export says something else: {:?} {changes:?}", export.not_expressed));
    }
    Ok(())
}

fn load(folder: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(folder.join("repo.yaml"), bytes).unwrap();
    let options = LoadOptions { project: "rides", ..LoadOptions::default() };
    match load_definitions(folder, &options) {
        Ok(repo) => sound(&repo),
        Err(errors) => {
            answer(errors.code(), errors.hint(), &errors);
            if errors.problems.is_empty() {
                return Err("refused without a reason".into());
            }
            let text = String::from_utf8_lossy(bytes);
            errors.problems.iter().try_for_each(|problem| inside(problem, "repo.yaml", &text))
        }
    }
}

#[test]
fn damaged_definitions_are_refused_at_their_place() {
    let folder = tempfile::tempdir().unwrap();
    fuzz(Target {
        name: "definitions",
        corpus: blocks(),
        words: WORDS,
        shape: Shape::Text,
        inputs: 1_200,
        check: Box::new(move |bytes| load(folder.path(), bytes)),
    });
}

#[test]
fn damaged_ignore_rules_are_refused_at_their_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("old")).unwrap();
    std::fs::write(folder.path().join("old/a.yaml"), "kind: Nothing\n").unwrap();
    fuzz(Target {
        name: "ignore-rules",
        corpus: vec![b"# comment\nold/\n*.tmp.yaml\n**/drafts\n./a/b.yaml\n[a-z]?.yaml\n".to_vec()],
        words: &["**", "*", "[", "]", "[!a]", "?", "/", "../", "***", "#", "\u{0}"],
        shape: Shape::Text,
        inputs: 400,
        check: Box::new(move |bytes| {
            std::fs::write(folder.path().join(".feastignore"), bytes).unwrap();
            let options = LoadOptions { project: "rides", ..LoadOptions::default() };
            let Err(errors) = load_definitions(folder.path(), &options) else { return Ok(()) };
            let text = String::from_utf8_lossy(bytes);
            errors.problems.iter().try_for_each(|problem| inside(problem, ".feastignore", &text))
        }),
    });
}

#[test]
fn damaged_configurations_are_refused_at_their_place() {
    let config = "\
project: rides
project_description: $A rides
provider: local
registry:
  registry_type: file
  path: ${B}/registry.pb
  cache_ttl_seconds: 60
online_store: {type: sqlite, path: x.db}
offline_store:
  type: file
entity_key_serialization_version: 3
backsight:
  scheduler: http://127.0.0.1:50050
  state: sqlite://state.db
  s3: {endpoint: \"http://127.0.0.1:9000\", region: eu-west-1}
";
    let environment: Environment =
        [("A", "two\nlines: [1"), ("B", "s3://bucket")].map(|(k, v)| (k.into(), v.into())).into();
    let mut corpus = blocks();
    corpus.insert(0, config.as_bytes().to_vec());
    fuzz(Target {
        name: "feature-store",
        corpus,
        words: WORDS,
        shape: Shape::Text,
        inputs: 1_500,
        check: Box::new(move |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let Err(errors) = parse_feature_store("feature_store.yaml", &text, &environment) else {
                return Ok(());
            };
            errors.to_string();
            // Positions are those of the expanded text, as everything that Feast says of it.
            let text = backsight_registry::feature_store::expand_variables(&text, &environment);
            errors.problems.iter().try_for_each(|problem| inside(problem, "feature_store.yaml", &text))
        }),
    });
}
