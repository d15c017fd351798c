//! `plan`: what apply would change.

use backsight_registry::definitions::{LoadOptions, load_definitions};
use backsight_registry::diff::{Plan, diff, plan_json, plan_markdown, plan_text};
use backsight_registry::document::ProjectFingerprint;
use backsight_registry::model::{Catalog, Definitions};
use clap::Args;
use serde_json::{Value, json};

use crate::args::OutputFormat;
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight plan
  backsight -c features plan --detailed-exitcode    exits with 8 when there are changes
  backsight plan --output-format markdown           for a comment on a pull request")]
pub(crate) struct PlanArgs {
    /// Exit with 8 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Definitions beside the registry: what is wanted, what is there, the difference.
#[derive(Debug)]
pub(crate) struct Looked {
    /// What the repo defines.
    pub(crate) definitions: Definitions,
    /// What the registry held of the project.
    pub(crate) before: Catalog,
    /// The state of the project when it was looked at.
    pub(crate) fingerprint: ProjectFingerprint,
    /// Whether there is a registry.
    pub(crate) exists: bool,
    /// Where the registry is.
    pub(crate) location: String,
    /// The difference.
    pub(crate) plan: Plan,
}

/// Shows the difference.
pub(crate) async fn run(args: &PlanArgs, program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    let looked = look(&workspace, program).await?;
    let terminal = &program.terminal;
    if !looked.exists {
        terminal.note(&format!("There is no registry at `{}` yet; apply creates it.", looked.location));
    }
    match terminal.format() {
        OutputFormat::Json => terminal.print_json(&described(&looked.plan, &looked.location)),
        OutputFormat::Markdown => terminal.print(&plan_markdown(&looked.plan, "")),
        OutputFormat::Text => terminal.print(&plan_text(&looked.plan, terminal.colour())),
    }
    let is_found = args.detailed_exitcode && looked.plan.has_changes();
    Ok(if is_found { Done::ChangesFound } else { Done::Done })
}

/// Reads definitions and registry and compares them. Warnings are said.
pub(crate) async fn look(workspace: &Workspace, program: &Program) -> Result<Looked, Failure> {
    let definitions = definitions(workspace, program)?;
    let read = workspace.registry.read_if_exists().await?;
    let before = read.document.catalog_or_empty(workspace.project());
    let plan = diff(&before, &definitions);
    let fingerprint = read.document.project_fingerprint(workspace.project());
    let (exists, location) = (read.exists, read.location);
    Ok(Looked { definitions, before, fingerprint, exists, location, plan })
}

/// A plan as JSON, with the registry it is about.
pub(crate) fn described(plan: &Plan, location: &str) -> Value {
    let mut value = json!({"registry": location});
    if let (Value::Object(object), Value::Object(plan)) = (&mut value, plan_json(plan)) {
        object.extend(plan);
    }
    value
}

fn definitions(workspace: &Workspace, program: &Program) -> Result<Definitions, Failure> {
    let config = &workspace.config;
    let options = LoadOptions {
        project: &config.project,
        project_description: &config.project_description,
        config_file: Some(&workspace.config_path),
    };
    let loaded = load_definitions(&workspace.repo, &options)?;
    program.terminal.warn_of(&loaded.warnings);
    Ok(loaded.definitions)
}
