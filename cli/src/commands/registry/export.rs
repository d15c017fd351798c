//! `registry export`: a project's definitions as YAML, from any registry.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use backsight_proto::ErrorCode;
use backsight_registry::definitions::SourceFile;
use backsight_registry::export::{Export, export};
use clap::Args;
use serde_json::{Value, json};

use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::render::units::counted;

/// The one file that a folder may hold already.
const CONFIG_FILE: &str = "feature_store.yaml";

/// Arguments of `registry export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight registry export                               prints all definitions
  backsight registry export --output definitions          writes a file for each kind
  backsight -f old/feature_store.yaml registry export --project taxi --output taxi")]
pub(crate) struct ExportArgs {
    /// Export this project of the registry [default: the configured one]
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Write files into this folder, which is new or holds only `feature_store.yaml`; `-` prints
    #[arg(long, value_name = "DIR", default_value = "-")]
    output: PathBuf,
}

/// Writes the definitions.
pub(crate) async fn run(args: &ExportArgs, program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    let project = args.project.as_deref().unwrap_or(workspace.project());
    let folder = (args.output != Path::new("-")).then(|| program.environment.working.join(&args.output));
    if let Some(folder) = &folder {
        require_free(folder, &args.output)?;
    }
    let read = workspace.registry.read().await?;
    let catalog = read.document.catalog(project)?;
    let exported =
        export(&catalog).map_err(|problems| Failure::of_problems("the exported definitions", problems))?;
    let terminal = &program.terminal;
    if let Some(folder) = &folder {
        write_all(folder, &args.output, &exported.files)?;
    }
    report(&exported, program);
    let value = described(&exported, project, &read.location, folder.is_some().then_some(&args.output));
    match (&folder, terminal.is_json()) {
        (_, true) => terminal.print_json(&value),
        (None, false) => terminal.print(&stream(&exported.files)),
        (Some(_), false) => {
            let objects = counted(exported.objects as u64, "object", "objects");
            let mut text =
                format!("Wrote {objects} of project `{project}` to `{}`:\n", args.output.display());
            for file in &exported.files {
                text = format!("{text}  {}\n", file.path);
            }
            terminal.print(&text);
        }
    }
    if let Some(folder) = folder.filter(|folder| !folder.join(CONFIG_FILE).exists()) {
        terminal.note(&format!(
            "Next: put a `{CONFIG_FILE}` of project `{project}` beside them, then `backsight -c {} plan` shows no changes. \
             Paths of sources are as they were written: relative ones start at the folder of the repo.",
            args.output.display()
        ));
        drop(folder);
    }
    Ok(Done::Done)
}

/// The files as one stream of documents.
fn stream(files: &[SourceFile]) -> String {
    let texts: Vec<&str> = files.iter().map(|file| file.text.as_str()).collect();
    texts.join("---\n")
}

/// What the files do not hold, for people. Names of a registry do not steer a terminal.
fn report(exported: &Export, program: &Program) {
    let terminal = &program.terminal;
    let printable = |text: String| text.replace(char::is_control, "\u{fffd}");
    if !exported.not_managed.is_empty() {
        let names: Vec<String> =
            exported.not_managed.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        let names = printable(names.join(", "));
        terminal.note(&format!("Not managed by definitions, apply keeps them: {names}"));
    }
    for left in &exported.not_expressed {
        terminal.warn(&printable(format!(
            "{} `{}` cannot be said by definitions, so apply keeps it as it is: {}",
            left.object.kind, left.object.name, left.reason
        )));
    }
    for (object, paths) in exported.inexact() {
        let paths = if paths.is_empty() { "the whole object".to_owned() } else { paths.join(", ") };
        terminal.warn(&printable(format!(
            "{} `{}` is said in another way than the registry holds it, and apply would change: {paths}",
            object.kind, object.name
        )));
    }
}

fn described(exported: &Export, project: &str, registry: &str, output: Option<&PathBuf>) -> Value {
    let files = exported.files.iter().map(|file| match output {
        Some(_) => json!(file.path),
        None => json!({"path": file.path, "text": file.text}),
    });
    let inexact = exported
        .inexact()
        .into_iter()
        .map(|(object, fields)| json!({"kind": object.kind.key(), "name": object.name, "fields": fields}));
    json!({
        "registry": registry,
        "project": project,
        "output": output.map(|output| output.display().to_string()),
        "objects": exported.objects,
        "files": files.collect::<Vec<_>>(),
        "not_managed": exported
            .not_managed
            .iter()
            .map(|(kind, name)| json!({"kind": kind, "name": name}))
            .collect::<Vec<_>>(),
        "not_expressed": exported
            .not_expressed
            .iter()
            .map(|left| {
                json!({"kind": left.object.kind.key(), "name": left.object.name, "reason": left.reason})
            })
            .collect::<Vec<_>>(),
        "inexact": inexact.collect::<Vec<_>>(),
    })
}

/// A folder that is new, empty, or holds only its configuration.
fn require_free(folder: &Path, shown: &Path) -> Result<(), Failure> {
    let refused = |what: String| {
        let failure = Failure::new(ErrorCode::Conflict, format!("nothing was written: {what}"));
        Err(failure.with_hint(format!(
            "name a new folder, or one that holds nothing but `{CONFIG_FILE}`; existing files are never overwritten"
        )))
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return refused(format!("`{}` is there and is no folder", shown.display()));
        }
        Err(error) => return Err(Failure::io(&format!("list folder `{}`", shown.display()), &error)),
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.retain(|name| name != CONFIG_FILE);
    names.sort();
    match names.first() {
        None => Ok(()),
        Some(first) => refused(format!("`{}` is not empty, it holds `{first}`", shown.display())),
    }
}

fn write_all(folder: &Path, shown: &Path, files: &[SourceFile]) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::io(&format!("create folder `{}`", shown.display()), &error))?;
    for file in files {
        let mut options = fs::File::options();
        let written = options.write(true).create_new(true).open(folder.join(&file.path));
        written
            .and_then(|mut open| open.write_all(file.text.as_bytes()))
            .map_err(|error| Failure::io(&format!("write `{}`", shown.join(&file.path).display()), &error))?;
    }
    Ok(())
}
