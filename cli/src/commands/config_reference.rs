//! `config reference`: every setting that there is, with its type, its default, its meaning and its names.

use clap::CommandFactory;
use serde_json::{Value, json};

use crate::args::{Cli, OutputFormat};
use crate::commands::Program;
use crate::config::{Entry, Group, reference};

/// Shows the reference.
pub(crate) fn run(program: &Program) {
    let entries = reference(&Cli::command());
    match program.terminal.format() {
        OutputFormat::Json => {
            let settings: Vec<Value> = entries.iter().map(as_json).collect();
            program.terminal.print_json(&json!({"settings": settings}));
        }
        OutputFormat::Markdown => program.terminal.print(&markdown(&entries)),
        OutputFormat::Text => program.terminal.print(&text(&entries, program.terminal.colour())),
    }
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "key": entry.key(),
        "group": entry.group.name(),
        "type": entry.kind,
        "is_required": entry.default.is_none(),
        "default": entry.default.as_deref().filter(|default| !default.is_empty()),
        "meaning": entry.meaning,
        "file": entry.file,
        "variable": entry.variable,
        "option": entry.option,
        "is_secret": entry.is_secret,
    })
}

fn default_text(entry: &Entry) -> &str {
    match entry.default.as_deref() {
        None => "must be given",
        Some("") => "unset",
        Some(default) => default,
    }
}

fn of_group(entries: &[Entry], group: Group) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(move |entry| entry.group == group)
}

/// Blocks rather than a table: no line is longer than a narrow terminal shows well.
fn text(entries: &[Entry], colour: bool) -> String {
    let bold = |text: &str| if colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() };
    let mut text = String::new();
    for group in Group::ALL {
        if !text.is_empty() {
            text.push('\n');
        }
        text.extend([bold(group.title()).as_str(), "\n"]);
        for entry in of_group(entries, group) {
            let others: Vec<&str> = entry.names().into_iter().filter(|name| *name != entry.key()).collect();
            text.extend(["\n  ", &bold(entry.key())]);
            for other in others {
                text.extend([", ", other]);
            }
            text.extend(["\n      ", &entry.meaning.replace('`', "")]);
            text.extend(["\n      ", &entry.kind.replace('`', ""), "; default: "]);
            text.extend([default_text(entry).replace('`', "").as_str(), "\n"]);
        }
    }
    text
}

/// A table for each group.
fn markdown(entries: &[Entry]) -> String {
    let mut text = String::new();
    for group in Group::ALL {
        if !text.is_empty() {
            text.push('\n');
        }
        text.extend(["## ", group.title(), "\n\n| setting | type | default | |\n|---|---|---|---|\n"]);
        for entry in of_group(entries, group) {
            let names: Vec<String> = entry.names().iter().map(|name| format!("`{name}`")).collect();
            let is_value = entry
                .default
                .as_deref()
                .is_some_and(|default| !default.is_empty() && !default.contains([' ', '`']));
            let default = default_text(entry);
            let default = if is_value { format!("`{default}`") } else { default.to_owned() };
            let cells = [names.join("<br>"), entry.kind.clone(), default, entry.meaning.clone()];
            text.extend(["| ", &cells.join(" | "), " |\n"]);
        }
    }
    text
}
