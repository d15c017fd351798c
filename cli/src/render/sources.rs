//! What a look at source files found, for people: lines for a terminal, a list for a pull request.

use backsight_retrieval::{Severity, SourceFinding, SourceReport};

use crate::render::units::counted;

/// Findings of one severity that are shown; JSON has all of them.
const SHOWN_MAX: usize = 20;

/// Warnings and notes as lines; nothing when there are none. Errors are said as errors.
pub(crate) fn sources_text(report: Option<&SourceReport>) -> String {
    let Some(report) = report else { return String::new() };
    let mut lines = Vec::new();
    for (severity, label) in [(Severity::Warning, "warning"), (Severity::Note, "note")] {
        lines.extend(shown(report, severity, |finding| {
            let hint = finding.hint.as_ref().map(|hint| format!("\n    hint: {hint}"));
            format!("  {label}: {finding}{}", hint.unwrap_or_default())
        }));
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("\nSources: {}\n{}\n", looked_at(report), lines.join("\n"))
}

/// All findings as Markdown, errors first; a line that says so when nobody looked or nothing was found.
pub(crate) fn sources_markdown(report: Option<&SourceReport>) -> String {
    let Some(report) = report else { return "Source files were not looked at.\n".to_owned() };
    let mut text = format!("Source files: {}", looked_at(report));
    if report.findings.is_empty() {
        return format!("{text}, all as declared.\n");
    }
    text.push_str(".\n");
    let item = |label: &str, finding: &SourceFinding| {
        let hint = finding.hint.as_ref().map(|hint| format!(" _({hint})_")).unwrap_or_default();
        format!("- {label}{finding}{hint}")
    };
    for (severity, label) in [(Severity::Error, "**error** "), (Severity::Warning, "**warning** ")] {
        let lines = shown(report, severity, |finding| item(label, finding));
        if !lines.is_empty() {
            text = format!("{text}\n{}\n", lines.join("\n"));
        }
    }
    let notes = shown(report, Severity::Note, |finding| item("", finding));
    if !notes.is_empty() {
        let count = counted(report.of(Severity::Note).count() as u64, "note", "notes");
        text = format!("{text}\n<details><summary>{count}</summary>\n\n{}\n\n</details>\n", notes.join("\n"));
    }
    text
}

fn looked_at(report: &SourceReport) -> String {
    let files = counted(report.files as u64, "file", "files");
    let sources = counted(report.sources as u64, "source", "sources");
    format!("{files} of {sources} looked at")
}

/// Findings as lines, as many as a reader bears.
fn shown(report: &SourceReport, severity: Severity, line: impl Fn(&SourceFinding) -> String) -> Vec<String> {
    let mut lines: Vec<String> =
        report.of(severity).take(SHOWN_MAX).map(|finding| printable(&line(finding))).collect();
    let more = report.of(severity).count().saturating_sub(SHOWN_MAX);
    if more > 0 {
        lines.push(format!("  … and {more} more, all of them with `--output-format json`"));
    }
    lines
}

/// Names in files do not steer a terminal.
fn printable(text: &str) -> String {
    let keep = |letter: char| letter == '\n' || !letter.is_control();
    text.chars().map(|letter| if keep(letter) { letter } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use backsight_retrieval::FindingKind;

    use super::*;

    fn finding(severity: Severity, message: &str, hint: Option<&str>) -> SourceFinding {
        SourceFinding {
            severity,
            views: vec!["v".to_owned()],
            source: "s".to_owned(),
            kind: FindingKind::TypeFamily,
            code: "invalid".to_owned(),
            location: "data".to_owned(),
            column: None,
            file: None,
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
        }
    }

    fn report(findings: Vec<SourceFinding>) -> SourceReport {
        SourceReport { views: 1, sources: 1, files: 2, findings }
    }

    #[test]
    fn a_terminal_is_told_what_is_odd_and_nothing_when_nothing_is() {
        assert_eq!(sources_text(None), "");
        assert_eq!(sources_text(Some(&report(Vec::new()))), "");
        let odd = report(vec![
            finding(Severity::Error, "bad", None),
            finding(Severity::Warning, "drift", Some("mend it")),
            finding(Severity::Note, "narrow\u{1b}", None),
        ]);
        let expected = "\nSources: 2 files of 1 source looked at\n  warning: feature view `v`: drift\n    hint: mend it\n  \
                        note: feature view `v`: narrow\u{fffd}\n";
        assert_eq!(sources_text(Some(&odd)), expected);
        let many = report(vec![finding(Severity::Note, "n", None); 23]);
        let text = sources_text(Some(&many));
        assert!(text.ends_with("  … and 3 more, all of them with `--output-format json`\n"), "{text}");
    }

    #[test]
    fn a_pull_request_is_told_everything() {
        assert_eq!(sources_markdown(None), "Source files were not looked at.\n");
        let good = "Source files: 2 files of 1 source looked at, all as declared.\n";
        assert_eq!(sources_markdown(Some(&report(Vec::new()))), good);
        let odd = report(vec![
            finding(Severity::Error, "bad", Some("mend it")),
            finding(Severity::Note, "narrow", None),
        ]);
        let expected = "Source files: 2 files of 1 source looked at.\n\n- **error** feature view `v`: bad _(mend it)_\n\n\
                        <details><summary>1 note</summary>\n\n- feature view `v`: narrow\n\n</details>\n";
        assert_eq!(sources_markdown(Some(&odd)), expected);
    }
}
