//! `bench report`: recorded runs, ours and the peers', as one page with plots and as a Markdown table.

mod figures;
mod markdown;
mod page;
mod plot;
mod scaling;
mod style;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use backsight_proto::ErrorCode;
use clap::Args;
use serde_json::{Value, json};

use self::figures::{Figures, figures};
use crate::commands::{Done, Program};
use crate::errors::Failure;

/// Arguments of `bench report`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  backsight bench report bench/train/runs/*.json                       a Markdown table
  backsight bench report bench/*/runs/*.json --output report.html      a page with plots
  backsight bench report benches/runs/*.json bench/train/runs/*.json --output report.html
                                                                       beside the peers")]
pub(crate) struct ReportArgs {
    /// Files that `bench run` or `benches/run_peers.py` wrote
    #[arg(value_name = "RUN.json", required = true)]
    runs: Vec<PathBuf>,
    /// Write a page here: one file that needs no other
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the Markdown here [default: standard output]
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Shows runs.
pub(crate) fn run(args: &ReportArgs, program: &Program) -> Result<Done, Failure> {
    let working = &program.environment.working;
    let mut found = Figures::default();
    for file in &args.runs {
        found.extend(read(&working.join(file), &file.display().to_string())?);
    }
    let text = markdown::markdown(&found);
    if let Some(output) = &args.output {
        put(&working.join(output), &page::page(&found))?;
        program.terminal.note(&format!("Written to `{}`", output.display()));
    }
    if let Some(output) = &args.markdown {
        put(&working.join(output), &text)?;
    }
    if program.terminal.is_json() {
        let rows: Vec<Value> = found.rows.iter().map(figures::Row::json).collect();
        let shown = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
        let files = json!({"page": shown(&args.output), "markdown": shown(&args.markdown), "rows": rows});
        program.terminal.print_json(&files);
    } else if args.markdown.is_none() {
        program.terminal.print(&text);
    }
    Ok(Done::Done)
}

/// The table of one record.
pub(crate) fn markdown_of(record: &Value) -> String {
    figures(record, "").map_or_else(|reason| reason, |found| markdown::markdown(&found))
}

fn read(path: &Path, shown: &str) -> Result<Figures, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::io(&format!("read `{shown}`"), &error))?;
    let broken = |reason: String| {
        Failure::new(ErrorCode::Invalid, format!("`{shown}` holds no figures of a run"))
            .with_causes(vec![reason])
            .with_hint("`bench run` and `benches/run_peers.py` write such files")
    };
    let record: Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    figures(&record, shown).map_err(broken)
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::io(&format!("write `{}`", path.display()), &error))
}
