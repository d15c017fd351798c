//! A plan for people: aligned text for a terminal.

use similar::{ChangeTag, TextDiff};

use super::plan::{Action, Counts, Effect, FieldChange, ObjectChange, ObjectRef, Plan};

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

/// The changes of a plan as lines.
pub(super) fn change_lines(plan: &Plan, colour: bool) -> Vec<String> {
    plan.changes.iter().flat_map(|change| lines_of(change, colour)).collect()
}

/// One change as lines.
pub(super) fn lines_of(change: &ObjectChange, colour: bool) -> Vec<String> {
    let mut lines = Vec::new();
    write_change(change, Paint { colour }, &mut lines);
    lines
}

/// What the plan comes to, in one line without colours.
pub(super) fn summary_text(plan: &Plan) -> String {
    summary(plan, Paint { colour: false })
}

/// `1 created, 2 updated, 0 deleted, 3 unchanged.`, and how many changes break something.
pub(super) fn count_lines(plan: &Plan) -> String {
    let counts = plan.counts();
    let line = format!(
        "{} created, {} updated, {} deleted, {} unchanged.",
        counts.created, counts.updated, counts.deleted, counts.unchanged
    );
    with_breaks(line, counts, Paint { colour: false })
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
    with_breaks(line, counts, paint)
}

/// A line, and behind it how much breaks, if anything does.
fn with_breaks(line: String, counts: Counts, paint: Paint) -> String {
    let objects =
        if counts.broken == 1 { "1 object".to_owned() } else { format!("{} objects", counts.broken) };
    let breaks = match counts.breaking {
        0 => return line,
        1 => format!("1 change breaks {objects}."),
        more => format!("{more} changes break {objects}."),
    };
    format!("{line} {}", paint.with(RED, &breaks))
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
    for found in &change.breaks {
        let text = format!("  ! breaks {}: {}", named(&found.user), printable(&found.reason));
        lines.push(paint.with(RED, &text));
    }
    // Who uses what is new can be read from what uses it.
    if change.action != Action::Create {
        for (effect, verb) in [(Effect::Changes, "changes"), (Effect::Nothing, "used by")] {
            let users: Vec<String> = change.users_with(effect).map(named).collect();
            if !users.is_empty() {
                lines.push(format!("    {verb} {}", users.join(", ")));
            }
        }
    }
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
