//! Which files of a repo hold definitions. Pure: decides on relative paths.

use glob::{MatchOptions, Pattern};

use crate::problem::{Position, Problems};

/// The patterns of `.feastignore`, one a line, relative to the repo; `#` starts a comment.
#[derive(Debug, Default)]
pub(super) struct IgnoreRules {
    patterns: Vec<Pattern>,
}

impl IgnoreRules {
    /// Reads the file's text; a line that is no pattern is a finding.
    pub(super) fn parse(file: &str, text: &str, problems: &mut Problems) -> Self {
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let rule = line.split('#').next().unwrap_or_default().trim();
            let relative = rule.strip_prefix("./").unwrap_or(rule).trim_end_matches('/');
            if relative.is_empty() {
                continue;
            }
            let position = Position { file: file.into(), line: index + 1, column: 1 };
            if relative.starts_with('/') {
                let message = format!("`{rule}` is an absolute path; patterns are relative to the repo");
                problems.push(&position, message);
                continue;
            }
            match Pattern::new(relative) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => problems.push(&position, format!("`{rule}` is not a pattern: {}", error.msg)),
            }
        }
        Self { patterns }
    }

    /// Whether a path, or a folder above it, matches. `path` is relative, with `/`.
    pub(super) fn ignores(&self, path: &str) -> bool {
        let options = MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: false,
        };
        let ends = path.match_indices('/').map(|(index, _)| index).chain([path.len()]);
        ends.map(|end| &path[..end])
            .any(|part| self.patterns.iter().any(|pattern| pattern.matches_with(part, options)))
    }
}

/// Whether a file's name says that it may hold definitions.
pub(super) fn is_definition_file(name: &str) -> bool {
    let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
    is_yaml && !is_hidden(name) && name != "feature_store.yaml" && name != "feature_store.yml"
}

/// Whether a file or folder is hidden.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignore_rules_are_globs_relative_to_the_repo() {
        let mut problems = Problems::default();
        let text = "# comment\nold/   # trailing\n*.tmp.yaml\n**/drafts\n./a/b.yaml\n/etc\n[\n";
        let rules = IgnoreRules::parse(".feastignore", text, &mut problems);
        for (path, ignored) in [
            ("old/x.yaml", true),
            ("old/deep/x.yaml", true),
            ("new/old/x.yaml", false),
            ("x.tmp.yaml", true),
            ("new/x.tmp.yaml", false),
            ("drafts/x.yaml", true),
            ("new/drafts/x.yaml", true),
            ("a/b.yaml", true),
            ("a/c.yaml", false),
        ] {
            assert_eq!(rules.ignores(path), ignored, "{path}");
        }
        let found: Vec<String> = problems.into_sorted().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                ".feastignore:6:1: `/etc` is an absolute path; patterns are relative to the repo",
                ".feastignore:7:1: `[` is not a pattern: invalid range pattern",
            ]
        );
    }

    #[test]
    fn definition_files_by_name() {
        for (name, expected) in [
            ("a.yaml", true),
            ("a.yml", true),
            ("feature_store.yaml", false),
            (".a.yaml", false),
            ("a.json", false),
        ] {
            assert_eq!(is_definition_file(name), expected, "{name}");
        }
    }
}
