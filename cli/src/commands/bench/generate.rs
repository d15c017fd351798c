//! `bench generate`: writes a workload and a feature repo over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backsight_proto::ErrorCode;
use backsight_storage::{Location, Stores};
use clap::Args;
use serde_json::{Value, json};

use super::data::{definitions, feature_store, peers_workload, plan_files, write_all};
use super::files::{FILE, Generated};
use super::options::WorkloadArgs;
use super::spec::Spec;
use crate::commands::retrieve::cores;
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::render::units::{bytes, count, counted};

/// Arguments of `bench generate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  backsight bench generate tiny --output bench/tiny
  backsight bench generate train --scale 0.1 --hot-key 0.5 --late 0.05 --output bench/hot
  backsight bench generate --spec mine.yaml --output bench/mine --data s3://bucket/bench/mine
  backsight bench generate manyviews --print-spec > mine.json       all keys, to be changed

The output is a feature repo: `backsight -c bench/tiny apply`, then `retrieve --feature-service bench`.")]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Folder of the feature repo, and of the files unless `--data` names another place
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "print_spec",
        help_heading = "Where to put it"
    )]
    output: Option<PathBuf>,
    /// Put the Parquet files here, local or in an object store
    #[arg(long, value_name = "URI", help_heading = "Where to put it")]
    data: Option<String>,
    /// Replace another workload that the output holds
    #[arg(long, help_heading = "Where to put it")]
    overwrite: bool,
    /// Print the workload as JSON for `--spec`, and do nothing
    #[arg(long, conflicts_with_all = ["output", "data", "overwrite"], help_heading = "Where to put it")]
    print_spec: bool,
}

/// Writes a workload.
pub(crate) async fn run(args: &GenerateArgs, program: &Program) -> Result<Done, Failure> {
    let working = &program.environment.working;
    let spec = args.workload.workload(working)?;
    let Some(output) = args.output.as_deref().filter(|_| !args.print_spec) else {
        program.terminal.print_json(&spec.json());
        return Ok(Done::Done);
    };
    let repo = working.join(output);
    let shown = output.display().to_string();
    let stores = Workspace::stores_alone(program, None)?;
    let own = Location::local(&repo)?;
    let folder = match &args.data {
        Some(data) => Location::parse(data, working, None)?,
        None => own.clone(),
    };
    let data = if folder == own { ".".to_owned() } else { folder.to_string() };
    let begun = Generated::begun(spec, data);
    let found = Generated::read(&repo, &shown)?;
    if let Some(found) = &found
        && found.is_complete
        && found.spec == begun.spec
        && found.data == begun.data
    {
        show(found, &shown, true, program);
        return Ok(Done::Done);
    }
    refuse_occupied(&repo, &shown, found.as_ref(), args.overwrite)?;
    if let Some(found) = &found {
        remove(found, &repo, working, &stores).await?;
    }
    let generated = write(begun, &repo, &folder, &stores, program).await?;
    show(&generated, &shown, false, program);
    Ok(Done::Done)
}

/// A folder that is not ours stays as it is; another workload is replaced only when that was asked for.
fn refuse_occupied(
    repo: &Path,
    shown: &str,
    found: Option<&Generated>,
    overwrite: bool,
) -> Result<(), Failure> {
    match found {
        Some(found) if found.is_complete && !overwrite => {
            let message = format!("`{shown}` holds another workload, `{}`", found.spec.name);
            Err(Failure::new(ErrorCode::Conflict, message).with_hint("`--overwrite` replaces it"))
        }
        Some(_) => Ok(()),
        None => {
            let mut entries = std::fs::read_dir(repo).into_iter().flatten();
            match entries.next() {
                None => Ok(()),
                Some(_) => {
                    let message = format!("`{shown}` holds files that are no workload");
                    Err(Failure::new(ErrorCode::Conflict, message).with_hint("name a new folder"))
                }
            }
        }
    }
}

/// Removes the Parquet files of a workload, and what was made from them.
async fn remove(found: &Generated, repo: &Path, working: &Path, stores: &Stores) -> Result<(), Failure> {
    for table in std::iter::once("spine").chain(found.spec.views.iter().map(|view| view.name.as_str())) {
        let folder = Location::parse(&found.table(repo, table), working, None)?;
        for entry in stores.list(&folder).await? {
            if entry.location.file_name().is_some_and(|name| name.ends_with(".parquet")) {
                stores.delete(&entry.location).await?;
            }
        }
    }
    for name in ["registry.pb", "workload.json"] {
        let _ = std::fs::remove_file(repo.join(name));
    }
    Ok(())
}

async fn write(
    begun: Generated,
    repo: &Path,
    folder: &Location,
    stores: &Stores,
    program: &Program,
) -> Result<Generated, Failure> {
    let put = |name: &str, text: String| {
        std::fs::write(repo.join(name), text).map_err(|error| Failure::io(&format!("write `{name}`"), &error))
    };
    std::fs::create_dir_all(repo).map_err(|error| Failure::io("make the output folder", &error))?;
    put(FILE, pretty(&begun.json()))?;
    put("feature_store.yaml", feature_store())?;
    let prefix = if begun.data == "." { String::new() } else { format!("{}/", begun.data) };
    put("definitions.yaml", definitions(&begun.spec, &prefix))?;
    if let Some(workload) = peers_workload(&begun.spec) {
        put("workload.json", pretty(&workload))?;
    }
    let spec = Arc::new(begun.spec.clone());
    let mut progress = Tenths::new(&spec, program);
    let files = plan_files(&spec);
    let written = write_all(&spec, files, stores, folder, cores(), |rows| progress.add(rows)).await?;
    let generated = begun.completed(&written);
    put(FILE, pretty(&generated.json()))?;
    Ok(generated)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Notes how far it is, at most ten times.
struct Tenths<'a> {
    rows: u64,
    done: u64,
    noted: u64,
    program: &'a Program,
}

impl<'a> Tenths<'a> {
    fn new(spec: &Spec, program: &'a Program) -> Self {
        Self { rows: spec.rows().max(1), done: 0, noted: 0, program }
    }

    fn add(&mut self, rows: u64) {
        self.done += rows;
        let tenth = self.done * 10 / self.rows;
        // Small workloads are done before anybody reads a note.
        if tenth > self.noted && tenth < 10 && self.rows > 5_000_000 && !self.program.global.no_progress {
            self.noted = tenth;
            self.program.terminal.note(&format!("{}0 % of {} rows", tenth, count(self.rows)));
        }
    }
}

fn show(generated: &Generated, shown: &str, is_old: bool, program: &Program) {
    let terminal = &program.terminal;
    if terminal.is_json() {
        let mut value = generated.json();
        value["output"] = json!(shown);
        value["repeated"] = json!(is_old);
        return terminal.print_json(&value);
    }
    let verb = if is_old { "is there already" } else { "is written" };
    let mut text =
        format!("Workload `{}`, seed {}, {verb}: `{shown}`\n", generated.spec.name, generated.spec.seed);
    for table in &generated.tables {
        text = format!(
            "{text}  {:<12} {:>15} rows  {:>10}  {}\n",
            table.name,
            count(table.rows),
            bytes(table.bytes),
            counted(table.files, "file", "files"),
        );
    }
    terminal.print(&text);
    terminal.note(&format!("Next: `backsight bench run {shown}`"));
}
