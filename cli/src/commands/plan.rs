//! `plan`: what apply would change, whom that touches, and whether the sources are as declared.

use std::path::{Path, PathBuf};

use backsight_proto::ErrorCode;
use backsight_registry::definitions::{LoadOptions, load_definitions};
use backsight_registry::diff::{Plan, diff, plan_json, plan_markdown, plan_text};
use backsight_registry::document::{ProjectFingerprint, RegistryDocument};
use backsight_registry::model::{Catalog, Definitions};
use backsight_retrieval::SourceReport;
use chrono::Utc;
use clap::Args;
use serde_json::{Value, json};

use crate::args::OutputFormat;
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::render::sources::{sources_markdown, sources_text};
use crate::saved_plan::SavedPlan;
use crate::source_check::{SourceCheckArgs, as_json, failure_of, look_at_sources};

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight plan
  backsight plan --save plan.json                   and later `backsight apply plan.json`, which does that or nothing
  backsight -c features plan --detailed-exitcode    exits with 8 when there are changes, with 0 when there are none
  backsight plan --output-format markdown           for a comment on a pull request")]
pub(crate) struct PlanArgs {
    /// Exit with 8 when there are changes; 0 says that there are none, every other status is a failure
    #[arg(long)]
    detailed_exitcode: bool,
    /// Write the plan into this file, for `apply FILE`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    sources: SourceCheckArgs,
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
    /// The registry as it was read.
    pub(crate) document: RegistryDocument,
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
    if let Some(file) = &args.save {
        require_replaceable(file, program)?;
    }
    let looked = look(&workspace, program).await?;
    let report = look_at_sources(&workspace, &looked.definitions, args.sources.rule()).await?;
    let terminal = &program.terminal;
    if !looked.exists {
        terminal.note(&format!("There is no registry at `{}` yet; apply creates it.", looked.location));
    }
    let failure = failure_of(report.as_ref());
    let save = args.save.as_ref().filter(|_| failure.is_none());
    match terminal.format() {
        OutputFormat::Json => {
            let mut value = described(&looked.plan, &looked.location, report.as_ref());
            value["saved_to"] = save.map_or(Value::Null, |file| json!(file.display().to_string()));
            terminal.print_json(&value);
        }
        OutputFormat::Markdown => {
            terminal.print(&plan_markdown(&looked.plan, &sources_markdown(report.as_ref())));
        }
        OutputFormat::Text => {
            terminal.print(&plan_text(&looked.plan, terminal.colour()));
            terminal.print(&sources_text(report.as_ref()));
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if let Some(file) = save {
        write(file, args, &looked, program)?;
    }
    let is_found = args.detailed_exitcode && looked.plan.has_changes();
    Ok(if is_found { Done::ChangesFound } else { Done::Done })
}

/// Writes the plan to its file, whole or not at all.
fn write(file: &Path, args: &PlanArgs, looked: &Looked, program: &Program) -> Result<(), Failure> {
    let saved = SavedPlan {
        registry: looked.location.clone(),
        fingerprint: looked.fingerprint,
        saved_at: Utc::now(),
        sources: args.sources.rule(),
        definitions: looked.definitions.clone(),
        before: looked.document.of_project(&looked.before.project),
    };
    let failed = |error: &std::io::Error| Failure::io(&format!("write `{}`", file.display()), error);
    let path = program.environment.working.join(file);
    let folder = path.parent().unwrap_or(&program.environment.working);
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    std::io::Write::write_all(&mut draft, saved.to_text()?.as_bytes()).map_err(|error| failed(&error))?;
    draft.persist(&path).map_err(|error| failed(&error.error))?;
    let shown = file.display();
    program.terminal.note(&format!("Saved to `{shown}`: `backsight apply {shown}` does exactly this."));
    Ok(())
}

/// A file that is something else than a saved plan is not written over; said before anything is read.
fn require_replaceable(file: &Path, program: &Program) -> Result<(), Failure> {
    let path = program.environment.working.join(file);
    let shown = file.display().to_string();
    let is_free = match std::fs::read(&path) {
        Ok(text) => SavedPlan::is_one(&text),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    let failure = Failure::new(ErrorCode::Conflict, format!("`{shown}` is there and is no saved plan"));
    Err(failure.with_hint("name another file; only saved plans are written over"))
}

/// Reads definitions and registry and compares them. Warnings are said.
pub(crate) async fn look(workspace: &Workspace, program: &Program) -> Result<Looked, Failure> {
    let definitions = definitions(workspace, program)?;
    compare(workspace, definitions).await
}

/// Reads the registry and compares it with definitions.
pub(crate) async fn compare(workspace: &Workspace, definitions: Definitions) -> Result<Looked, Failure> {
    let read = workspace.registry.read_if_exists().await?;
    let before = read.document.catalog_or_empty(workspace.project());
    let plan = diff(&before, &definitions);
    let fingerprint = read.document.project_fingerprint(workspace.project());
    let (document, exists, location) = (read.document, read.exists, read.location);
    Ok(Looked { definitions, before, fingerprint, document, exists, location, plan })
}

/// A plan as JSON, with the registry it is about and what a look at its sources found.
pub(crate) fn described(plan: &Plan, location: &str, sources: Option<&SourceReport>) -> Value {
    let mut value = json!({"registry": location});
    if let (Value::Object(object), Value::Object(plan)) = (&mut value, plan_json(plan)) {
        object.extend(plan);
        object.insert("sources".to_owned(), as_json(sources));
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
