//! A plan for a pull request: a headline, what breaks, a table of changes, and every field, folded when it is long.

use super::plan::{Action, Effect, ObjectChange, ObjectRef, Plan};
use super::text::{lines_of, printable, summary_text};

/// GitHub takes 65,536 characters in a comment; a job that posts it may add a line of its own.
const BYTES_MAX: usize = 60_000;
/// What the tables may take of that; the rest is for the fields.
const TABLES_BYTES_MAX: usize = 30_000;
/// Lines of fields that stand open.
const LINES_OPEN_MAX: usize = 30;
/// Names in one cell.
const NAMES_MAX: usize = 8;

/// The plan as Markdown of at most [`BYTES_MAX`] bytes. `sources` is a paragraph or a list that others have to say of
/// the source files; it stands after what changes.
pub fn plan_markdown(plan: &Plan, sources: &str) -> String {
    let mut text = format!("### Plan for project `{}`\n\n{}\n", plan.project, summary_text(plan));
    if !plan.conflicts.is_empty() {
        let lines: Vec<String> =
            plan.conflicts.iter().map(|it| format!("- **apply would refuse**: {}", printable(it))).collect();
        text = format!("{text}\n{}\n", bounded(&lines, TABLES_BYTES_MAX / 4, "- "));
    }
    text.push_str(&tables(plan));
    if !sources.is_empty() {
        let lines: Vec<String> = sources.trim_end().lines().map(str::to_owned).collect();
        text = format!("{text}\n{}\n", bounded(&lines, BYTES_MAX / 4, ""));
    }
    let room = BYTES_MAX.saturating_sub(text.len() + 200);
    text.push_str(&fields(plan, &[], room));
    text
}

/// What breaks, what changes, and every field with `more` lines after them.
pub(super) fn change_markdown(plan: &Plan, more: &[String]) -> String {
    let mut text = tables(plan);
    let room = BYTES_MAX.saturating_sub(text.len() + 400);
    text.push_str(&fields(plan, more, room));
    text
}

fn tables(plan: &Plan) -> String {
    let mut text = String::new();
    let broken: Vec<String> = plan
        .changes
        .iter()
        .flat_map(|change| change.breaks.iter().map(move |found| (change, found)))
        .map(|(change, found)| {
            let (user, reason) = (quoted(&found.user), cell(&found.reason));
            format!("| {user} | {reason} | {} {} |", verb(change.action), quoted(&change.object))
        })
        .collect();
    if !broken.is_empty() {
        let rows = bounded(&broken, TABLES_BYTES_MAX / 2, "| ");
        text = format!("{text}\n**Breaks**\n\n| what | why | by |\n|---|---|---|\n{rows}\n");
    }
    if plan.has_changes() {
        let rows: Vec<String> = breaking_first(plan).into_iter().map(row).collect();
        let rows = bounded(&rows, TABLES_BYTES_MAX / 4, "| ");
        text = format!("{text}\n**Changes**\n\n| | object | fields | used by |\n|---|---|---|---|\n{rows}\n");
    }
    text
}

fn breaking_first(plan: &Plan) -> Vec<&ObjectChange> {
    let (mut all, others): (Vec<_>, Vec<_>) =
        plan.changes.iter().partition(|change| !change.breaks.is_empty());
    all.extend(others);
    all
}

/// Every field of every change as a block whose signs are coloured, folded when it is long; nothing without lines.
fn fields(plan: &Plan, more: &[String], room: usize) -> String {
    let of_changes = breaking_first(plan).into_iter().flat_map(|change| lines_of(change, false));
    let lines: Vec<String> = of_changes.chain(more.iter().cloned()).map(|line| sign_first(&line)).collect();
    if lines.is_empty() {
        return String::new();
    }
    let block = bounded(&lines, room, "");
    // A fence that no value can close.
    let longest = block.split(|letter| letter != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let block = format!("{fence}diff\n{block}\n{fence}\n");
    if lines.len() <= LINES_OPEN_MAX {
        return format!("\n{block}");
    }
    format!("\n<details><summary>Every field</summary>\n\n{block}\n</details>\n")
}

/// One change as a row.
fn row(change: &ObjectChange) -> String {
    let mut names: Vec<String> = Vec::new();
    for field in change.fields.iter().filter(|_| change.action == Action::Update) {
        let name = match (&field.key, field.field) {
            (Some(key), "features" | "join_keys" | "tags" | "inputs" | "schema") => {
                format!("{}.{key}", field.field)
            }
            _ => field.field.to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let fields = some(names.iter().map(|name| format!("`{}`", cell(name))));
    let mut users = Vec::new();
    // Who uses what is new can be read from what uses it.
    if change.action != Action::Create {
        for (effect, label) in
            [(Effect::Breaks, "**breaks** "), (Effect::Changes, "changes "), (Effect::Nothing, "")]
        {
            let list = some(change.users_with(effect).map(quoted));
            if !list.is_empty() {
                users.push(format!("{label}{list}"));
            }
        }
    }
    format!("| {} | {} | {fields} | {} |", verb(change.action), quoted(&change.object), users.join("; "))
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    }
}

fn quoted(object: &ObjectRef) -> String {
    format!("{} `{}`", object.kind, cell(&object.name))
}

/// The first of a list, and how many more there are.
fn some(list: impl Iterator<Item = String>) -> String {
    let list: Vec<String> = list.collect();
    let (shown, more) = list.split_at(list.len().min(NAMES_MAX));
    let shown = shown.join(", ");
    if more.is_empty() { shown } else { format!("{shown} and {} more", more.len()) }
}

/// A text inside of a cell: it ends neither the cell nor the row.
fn cell(text: &str) -> String {
    printable(text).replace('|', "\\|")
}

/// As many lines as fit, then how many there are more.
fn bounded(lines: &[String], room: usize, mark: &str) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        if text.len() + line.len() + 1 > room {
            let more = lines.len() - number;
            let end = if number > 0 { "\n" } else { "" };
            return format!("{text}{end}{mark}… and {more} lines more: `backsight plan` shows all");
        }
        if number > 0 {
            text.push('\n');
        }
        text.push_str(line);
    }
    text
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
