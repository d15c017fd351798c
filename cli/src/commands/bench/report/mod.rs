//! `bench report`.

use clap::Args;
use serde_json::Value;

use crate::commands::{Done, Program};
use crate::errors::Failure;

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  x")]
pub(crate) struct ReportArgs {}

pub(crate) fn run(_args: &ReportArgs, _program: &Program) -> Result<Done, Failure> {
    Ok(Done::Done)
}

pub(crate) fn markdown_of(value: &Value) -> String {
    value.to_string()
}
