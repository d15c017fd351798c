//! A plan as a comment on a pull request.

use super::rendering::mixed;
use super::{REPO, definitions, nothing, plan};
use crate::diff::{diff, plan_markdown};
use crate::model::Catalog;

/// What GitHub takes.
const COMMENT_CHARACTERS_MAX: usize = 65_536;

#[test]
fn a_comment_has_the_breaks_first_then_the_changes_then_every_field() {
    let sources = "Source files: 3 files of 1 source looked at, all as declared.\n";
    let expected = include_str!("../../../testdata/plan.md");
    assert_eq!(plan_markdown(&mixed(), sources), expected);
}

#[test]
fn no_changes_are_a_headline() {
    assert_eq!(
        plan_markdown(&plan(REPO, REPO), ""),
        "### Plan for project `rides`\n\nNo changes: the registry holds project `rides` as it is defined (8 objects).\n"
    );
}

#[test]
fn a_small_plan_stands_open_and_names_end_no_cell_and_no_fence() {
    let mut wanted = definitions("");
    wanted.project.description = "a ``` fence | and\nmore".to_owned();
    wanted.project.owner = "me|you".to_owned();
    let mut current = Catalog { project: "rides".to_owned(), ..Catalog::default() };
    current.project_object = Some(definitions("").project);
    let text = plan_markdown(&diff(&current, &wanted), "");
    assert!(!text.contains("<details>"), "{text}");
    assert!(text.contains("\n````diff\n") && text.ends_with("\n````\n"), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| update")).collect();
    assert_eq!(rows, ["| update | project `rides` | `description`, `owner` |  |"]);
}

#[test]
fn whatever_the_plan_a_comment_can_hold_it() {
    let mut text = REPO.to_owned();
    for number in 0..800 {
        text = format!(
            "{text}---\nkind: FeatureView\nname: view_{number}\nentities: [driver]\nschema: [{{name: f_{number}, dtype: \
             Int64, description: '{}'}}]\nsource: stats\n---\nkind: FeatureService\nname: model_of_view_{number}\nfeatures: \
             [view_{number}]\n",
            "some words about it ".repeat(10)
        );
    }
    let created = diff(&nothing().catalog_or_empty("rides"), &definitions(&text));
    let broken = plan(&text, &text.replace("dtype: Int64", "dtype: String"));
    assert_eq!(broken.counts().broken, 800);
    let notes = "- a note about a source\n".repeat(5_000);
    for plan in [created, broken] {
        let comment = plan_markdown(&plan, &notes);
        assert!(comment.chars().count() < COMMENT_CHARACTERS_MAX, "{}", comment.len());
        assert!(comment.len() > 40_000, "what fits is shown: {}", comment.len());
        assert!(comment.contains("lines more: `backsight plan` shows all"));
        assert_eq!(comment.matches("<details>").count(), comment.matches("</details>").count());
        assert!(comment.ends_with("```\n\n</details>\n"));
    }
}
