//! `registry diff`: what changed between two versions.

use std::collections::BTreeSet;

use backsight_registry::diff::{
    VersionDiff, diff_versions, version_diff_json, version_diff_markdown, version_diff_text,
};
use clap::Args;
use serde_json::{Value, json};

use crate::args::OutputFormat;
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::registry_versions::VersionRead;

/// Arguments of `registry diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight registry diff 3                          from version 3 to the current one
  backsight registry diff 3 5 --all-projects
  backsight registry diff 3 --output-format markdown")]
pub(crate) struct DiffArgs {
    /// The older version: its number, its id or the first six characters of it
    #[arg(value_name = "FROM")]
    from: String,
    /// The newer version
    #[arg(value_name = "TO", default_value = "current")]
    to: String,
    /// Compare every project instead of the configured one
    #[arg(long)]
    all_projects: bool,
}

/// Shows the difference.
pub(crate) async fn run(args: &DiffArgs, program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    let from = workspace.registry.read_version(&args.from).await?;
    let to = workspace.registry.read_version(&args.to).await?;
    let projects: BTreeSet<String> = match args.all_projects {
        true => from.document.projects().into_iter().chain(to.document.projects()).collect(),
        false => [workspace.project().to_owned()].into(),
    };
    if let (false, Some(project)) = (args.all_projects, projects.first())
        && !from.document.has_project(project)
    {
        // The error names the projects that there are.
        to.document.catalog(project)?;
    }
    let diffs: Vec<VersionDiff> =
        projects.iter().map(|project| diff_versions(&from.document, &to.document, project)).collect();
    let terminal = &program.terminal;
    let head = format!("From version {} to version {}", from.entry.label(), to.entry.label());
    match terminal.format() {
        OutputFormat::Json => {
            let whole = workspace.registry.versions().await?.location;
            terminal.print_json(&described(&whole, &from, &to, &diffs, args.all_projects));
        }
        OutputFormat::Markdown => {
            let parts: Vec<String> = diffs.iter().map(version_diff_markdown).collect();
            terminal.print(&format!("{head}.\n\n{}", parts.join("\n")));
        }
        OutputFormat::Text => {
            let parts: Vec<String> =
                diffs.iter().map(|diff| version_diff_text(diff, terminal.colour())).collect();
            terminal.print(&format!("{head}:\n\n{}", parts.join("\n")));
        }
    }
    Ok(Done::Done)
}

fn described(
    registry: &str,
    from: &VersionRead,
    to: &VersionRead,
    diffs: &[VersionDiff],
    all_projects: bool,
) -> Value {
    let mut value = json!({"registry": registry, "from": from.entry.json(), "to": to.entry.json()});
    let Value::Object(object) = &mut value else { return value };
    if all_projects {
        object.insert("has_changes".to_owned(), diffs.iter().any(VersionDiff::has_changes).into());
        object.insert("projects".to_owned(), diffs.iter().map(version_diff_json).collect());
    } else if let Some(Value::Object(diff)) = diffs.first().map(version_diff_json) {
        object.extend(diff);
    }
    value
}
