//! The reference holds what it says: its examples are one sound repo.

use super::check;
use crate::definitions::{SourceFile, check_definitions};
use crate::diff::{diff, plan_text};
use crate::feature_store::{Environment, parse_feature_store};
use crate::model::Catalog;

const REFERENCE: &str = include_str!("../../../../docs/definitions.md");

/// The YAML blocks of the reference.
fn examples() -> Vec<&'static str> {
    let blocks = REFERENCE.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_examples_of_the_reference_are_sound() {
    let (config, definitions): (Vec<_>, Vec<_>) =
        examples().into_iter().partition(|text| text.starts_with("# feature_store.yaml"));
    assert_eq!((config.len(), definitions.len()), (1, 9));
    let config = parse_feature_store("feature_store.yaml", config[0], &Environment::new()).unwrap();
    let file = SourceFile { path: "repo.yaml".to_owned(), text: definitions.join("---\n") };
    let project = super::plain_project(&config.project, &config.project_description);
    let repo = check_definitions(&[file], project).unwrap();
    assert_eq!(repo.positions.len(), 9);
    let plan = diff(&Catalog::default(), &repo.definitions);
    assert!(plan_text(&plan, false).contains("9 to create"));
}

#[test]
fn the_reference_names_every_kind_and_type() {
    let kinds = check("--- a.yaml\nkind: nothing\nname: x\n").unwrap_err();
    let allowed = kinds.split("allowed: ").nth(1).unwrap().lines().next().unwrap();
    for kind in allowed.split(", ").map(|kind| kind.trim_matches('`')) {
        assert!(REFERENCE.contains(&format!("\n## {kind}\n")), "{kind}");
    }
    let types = crate::dtype::allowed_dtypes();
    for name in types.split('`').skip(1).step_by(2).filter(|name| !name.contains('(')) {
        assert!(REFERENCE.contains(&format!("`{name}`")), "{name}");
    }
}
