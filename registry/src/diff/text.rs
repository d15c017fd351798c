//! A plan for people: aligned text for a terminal, Markdown for a pull request.

use similar::{ChangeTag, TextDiff};

use super::plan::{Action, FieldChange, ObjectChange, ObjectRef, Plan};

const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const RED: &str = "\u{1b}[31m";
const BOLD: &str = "\u{1b}[1m";
const RESET: &str = "\u{1b}[0m";

/// The plan as lines of text. Every sign says by itself what a colour says.
pub fn plan_text(plan: &Plan, colour: bool) -> String {
    let paint = Paint { colour };
    let mut lines = change_lines(plan, colour);
    if plan.has_changes() {
        lines.push(String::new());
    }
    if !plan.not_managed.is_empty() {
        let objects: Vec<String> =
            plan.not_managed.iter().map(|(kind, name)| format!("{kind} {}", printable(name))).collect();
        lines.push(format!("Not managed here, kept as they are: {}", objects.join(", ")));
    }
    for conflict in &plan.conflicts {
        lines.push(paint.with(RED, &format!("! apply would refuse: {}", printable(conflict))));
    }
    lines.push(summary(plan, paint));
    lines.join("\n") + "\n"
}

/// The plan as Markdown: a headline, and the changes in a block that shows signs in colour.
pub fn plan_markdown(plan: &Plan) -> String {
    let plain = Paint { colour: false };
    let mut text = format!("### Plan for project `{}`\n\n{}\n", plan.project, summary(plan, plain));
    let refused = plan.conflicts.iter().map(|conflict| format!("- **apply would refuse**: {conflict}\n"));
    let refused: String = refused.collect();
    let broken = broken_list(plan);
    if !broken.is_empty() || !refused.is_empty() {
        text = format!("{text}\n{broken}{refused}");
    }
    if plan.has_changes() {
        let lines: Vec<String> = change_lines(plan, false).iter().map(|line| sign_first(line)).collect();
        // A fence that no value can close.
        let fence = "`".repeat(longest_run_of_ticks(&lines).max(2) + 1);
        text = format!("{text}\n{fence}diff\n{}\n{fence}\n", lines.join("\n"));
    }
    text
}

/// The changes of a plan as lines.
pub(super) fn change_lines(plan: &Plan, colour: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &plan.changes {
        write_change(change, Paint { colour }, &mut lines);
    }
    lines
}

/// What breaks as a list, and the changes with `more` lines in a block that shows signs in colour.
pub(super) fn change_markdown(plan: &Plan, more: &[String]) -> String {
    let broken = broken_list(plan);
    let mut text = if broken.is_empty() { String::new() } else { format!("\n{broken}") };
    let lines: Vec<String> =
        change_lines(plan, false).iter().chain(more).map(|line| sign_first(line)).collect();
    if !lines.is_empty() {
        // A fence that no value can close.
        let fence = "`".repeat(longest_run_of_ticks(&lines).max(2) + 1);
        text = format!("{text}\n{fence}diff\n{}\n{fence}\n", lines.join("\n"));
    }
    text
}

/// `1 created, 2 updated, 0 deleted, 3 unchanged.`, and how many changes break something.
pub(super) fn count_lines(plan: &Plan) -> String {
    let counts = plan.counts();
    let line = format!(
        "{} created, {} updated, {} deleted, {} unchanged.",
        counts.created, counts.updated, counts.deleted, counts.unchanged
    );
    match counts.breaking {
        0 => line,
        1 => format!("{line} 1 change breaks what uses it."),
        more => format!("{line} {more} changes break what uses them."),
    }
}

fn broken_list(plan: &Plan) -> String {
    let broken =
        plan.changes.iter().flat_map(|change| change.breaks.iter().map(move |found| (change, found)));
    let lines = broken.map(|(change, found)| {
        let (cause, user) = (quoted(&change.object), quoted(&found.user));
        format!("- **breaks** {user} (by the change of {cause}): {}\n", found.reason)
    });
    lines.collect()
}

/// Readers of `diff` blocks colour a line by its first character.
fn sign_first(line: &str) -> String {
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    match text.split_at_checked(1) {
        // Signs stand behind two or six blanks; a line of a text that has none stands behind more.
        Some((sign @ ("+" | "-" | "!" | "~"), rest)) if matches!(indent.len(), 2 | 6) => {
            format!("{sign}{indent}{rest}")
        }
        _ => line.to_owned(),
    }
}

fn longest_run_of_ticks(lines: &[String]) -> usize {
    lines.iter().flat_map(|line| line.split(|letter| letter != '`')).map(str::len).max().unwrap_or_default()
}

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.colour { format!("{code}{text}{RESET}") } else { text.to_owned() }
    }
}

fn summary(plan: &Plan, paint: Paint) -> String {
    let counts = plan.counts();
    if !plan.has_changes() {
        let objects = counts.unchanged;
        return format!(
            "No changes: the registry holds project `{}` as it is defined ({objects} {}).",
            plan.project,
            if objects == 1 { "object" } else { "objects" }
        );
    }
    let line = format!(
        "Plan for project `{}`: {} to create, {} to update, {} to delete, {} unchanged.",
        plan.project, counts.created, counts.updated, counts.deleted, counts.unchanged
    );
    match counts.breaking {
        0 => line,
        1 => format!("{line} {}", paint.with(RED, "1 change breaks what uses it.")),
        more => format!("{line} {}", paint.with(RED, &format!("{more} changes break what uses them."))),
    }
}

fn write_change(change: &ObjectChange, paint: Paint, lines: &mut Vec<String>) {
    let (sign, code) = match change.action {
        Action::Create => ("+", GREEN),
        Action::Update => ("~", YELLOW),
        Action::Delete => ("-", RED),
    };
    let name = printable(&change.object.name);
    let name = paint.with(&format!("{BOLD}{code}"), &name);
    lines.push(format!("{} {} {name}", paint.with(code, sign), change.object.kind));
    if change.action != Action::Delete {
        write_fields(change, paint, lines);
    }
    // Who uses what is new can be read from what uses it.
    if !change.used_by.is_empty() && change.action != Action::Create {
        let users: Vec<String> = change.used_by.iter().map(named).collect();
        lines.push(format!("    used by {}", users.join(", ")));
    }
    for found in &change.breaks {
        let text = format!("  ! breaks {}: {}", named(&found.user), printable(&found.reason));
        lines.push(paint.with(RED, &text));
    }
}

fn quoted(object: &ObjectRef) -> String {
    format!("{} `{}`", object.kind, printable(&object.name))
}

fn named(object: &ObjectRef) -> String {
    format!("{} {}", object.kind, printable(&object.name))
}

fn write_fields(change: &ObjectChange, paint: Paint, lines: &mut Vec<String>) {
    let is_new = change.action == Action::Create;
    let paths: Vec<String> = change.fields.iter().map(|field| printable(&field.path())).collect();
    let width = paths.iter().map(|path| path.chars().count()).max().unwrap_or_default();
    for (field, path) in change.fields.iter().zip(&paths) {
        let padded = format!("{path}{}", " ".repeat(width - path.chars().count()));
        if is_long(field) {
            write_long(field, path, is_new, paint, lines);
            continue;
        }
        let line = match (&field.old, &field.new) {
            (Some(old), Some(new)) => {
                let arrow = format!("{} -> {}", shown(old), shown(new));
                format!("  {} {padded}  {arrow}", paint.with(YELLOW, "~"))
            }
            (Some(old), None) => format!("  {} {padded}  {}", paint.with(RED, "-"), shown(old)),
            (None, new) => {
                let sign = if is_new { " ".to_owned() } else { paint.with(GREEN, "+") };
                format!("  {sign} {padded}  {}", shown(new.as_deref().unwrap_or_default()))
            }
        };
        lines.push(line);
    }
}

/// Texts of several lines are compared line by line.
fn is_long(field: &FieldChange) -> bool {
    [&field.old, &field.new].into_iter().flatten().any(|text| text.trim_end().contains('\n'))
}

fn write_long(field: &FieldChange, path: &str, is_new: bool, paint: Paint, lines: &mut Vec<String>) {
    let (old, new) = (field.old.as_deref().unwrap_or_default(), field.new.as_deref().unwrap_or_default());
    let (sign, code) = match (&field.old, &field.new) {
        _ if is_new => (" ", ""),
        (Some(_), Some(_)) => ("~", YELLOW),
        (Some(_), None) => ("-", RED),
        (None, _) => ("+", GREEN),
    };
    let sign = if code.is_empty() { sign.to_owned() } else { paint.with(code, sign) };
    lines.push(format!("  {sign} {path}"));
    let diff = TextDiff::from_lines(old, new);
    let groups = diff.grouped_ops(2);
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            lines.push("        …".to_owned());
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let (sign, code) = match change.tag() {
                ChangeTag::Equal => (" ", ""),
                ChangeTag::Insert => ("+", GREEN),
                ChangeTag::Delete => ("-", RED),
            };
            let text = format!("      {sign} {}", printable(change.value().trim_end_matches(['\n', '\r'])));
            lines.push(if code.is_empty() || is_new { text } else { paint.with(code, &text) });
        }
    }
}

/// A value on one line; an empty one is visible.
fn shown(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { printable(value.trim_end_matches('\n')) }
}

/// Control characters of a registry do not reach a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(
            |letter| {
                if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() }
            },
        )
        .collect()
}
