//! Which paths a glob names: `*`, `?`, `[..]` inside one part, `**` over any number of parts, `{a,b}` for either.

use glob::{MatchOptions, Pattern as PartPattern};

/// A pattern over paths; wildcards never match a name that starts with `_` or `.`, only the name written out does.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// One for each way to choose from the braces.
    alternatives: Vec<Vec<Part>>,
}

#[derive(Debug)]
enum Part {
    Literal(String),
    Wild(PartPattern),
    AnyDepth,
}

/// How a path relates to a pattern.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum Match {
    /// The path itself is named.
    File,
    /// A folder above the path is named, and nothing between the two is hidden.
    Below,
    /// The pattern does not name it.
    No,
}

/// More ways to choose from braces than this are a mistake.
const ALTERNATIVES_MAX: usize = 1000;

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Whether a path has a character that makes it a pattern.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '[', '{'])
}

/// Whether listings pass over a file or folder of this name.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.'])
}

impl Pattern {
    /// Reads a pattern over paths whose parts are joined by `/`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut alternatives = Vec::new();
        for alternative in expand_braces(text)? {
            let parts = alternative.split('/').filter(|part| !part.is_empty()).map(Part::parse);
            alternatives.push(parts.collect::<Result<_, _>>()?);
        }
        Ok(Self { alternatives })
    }

    /// How `path` relates to this pattern.
    pub(crate) fn matches(&self, path: &str) -> Match {
        let names: Vec<&str> = path.split('/').collect();
        let mut best = Match::No;
        for parts in &self.alternatives {
            if matches_parts(parts, &names) {
                return Match::File;
            }
            let is_below = (1..names.len()).any(|depth| {
                let (folder, below) = names.split_at(depth);
                !below.iter().any(|name| is_hidden(name)) && matches_parts(parts, folder)
            });
            if is_below {
                best = Match::Below;
            }
        }
        best
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Ok(Self::AnyDepth);
        }
        if !is_pattern(text) {
            return Ok(Self::Literal(text.to_owned()));
        }
        let pattern = PartPattern::new(text);
        pattern.map(Self::Wild).map_err(|error| format!("its part `{text}` is not a pattern: {}", error.msg))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == name,
            Self::Wild(pattern) => {
                let is_written_out = pattern.as_str().chars().next() == name.chars().next();
                (is_written_out || !is_hidden(name)) && pattern.matches_with(name, OPTIONS)
            }
            Self::AnyDepth => !is_hidden(name),
        }
    }
}

fn matches_parts(parts: &[Part], names: &[&str]) -> bool {
    // One row of the usual table: `reached[i]` tells whether the parts so far match the first `i` names.
    let mut reached = vec![false; names.len() + 1];
    reached[0] = true;
    for part in parts {
        let mut next = vec![false; names.len() + 1];
        if let Part::AnyDepth = part {
            next[0] = reached[0];
        }
        for (i, name) in names.iter().enumerate() {
            next[i + 1] = match part {
                Part::AnyDepth => reached[i + 1] || (next[i] && part.matches(name)),
                Part::Literal(_) | Part::Wild(_) => reached[i] && part.matches(name),
            };
        }
        reached = next;
    }
    reached[names.len()]
}

/// Every way to choose from the braces of `text`; braces may nest, and a brace with no partner is an error.
fn expand_braces(text: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    while let Some(text) = open.pop() {
        let Some(start) = text.find('{') else {
            done.push(text);
            continue;
        };
        let (choices, end) = choices(&text, start)?;
        // In reverse, because the last one pushed is the next one done.
        open.extend(choices.iter().rev().map(|choice| format!("{}{choice}{}", &text[..start], &text[end..])));
        if open.len() + done.len() > ALTERNATIVES_MAX {
            return Err(format!("its braces mean more than {ALTERNATIVES_MAX} patterns"));
        }
    }
    Ok(done)
}

/// The choices of the brace that opens at `start`, and where it ends.
fn choices(text: &str, start: usize) -> Result<(Vec<&str>, usize), String> {
    let mut choices = Vec::new();
    let mut depth = 0;
    let mut choice_start = start + 1;
    for (i, c) in text.char_indices().skip_while(|(i, _)| *i < start) {
        match c {
            '{' => depth += 1,
            ',' if depth == 1 => {
                choices.push(&text[choice_start..i]);
                choice_start = i + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    choices.push(&text[choice_start..i]);
                    return Ok((choices, i + 1));
                }
            }
            _ => {}
        }
    }
    Err("it has a `{` without its `}`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Match, Pattern, expand_braces};

    #[test]
    fn patterns_name_files_and_folders() {
        let table = [
            ("a/*.parquet", "a/x.parquet", Match::File),
            ("a/*.parquet", "a/b/x.parquet", Match::No),
            ("a/*.parquet", "a/.x.parquet", Match::No),
            ("a/*.parquet", "a/_x.parquet", Match::No),
            ("a/_*.parquet", "a/_x.parquet", Match::File),
            ("a/.*", "a/.x", Match::File),
            ("a/**/*.parquet", "a/x.parquet", Match::File),
            ("a/**/*.parquet", "a/b/c/x.parquet", Match::File),
            ("a/**/*.parquet", "a/_b/x.parquet", Match::No),
            ("a/**", "a/b/x.parquet", Match::File),
            ("**/x.parquet", "x.parquet", Match::File),
            ("a/day=*", "a/day=1/x.parquet", Match::Below),
            ("a/day=*", "a/day=1/_tmp/x.parquet", Match::No),
            ("a/day=?", "a/day=12/x.parquet", Match::No),
            ("a/part-[0-4].parquet", "a/part-3.parquet", Match::File),
            ("a/part-[!0-4].parquet", "a/part-3.parquet", Match::No),
            ("a/{x,y}/*.parquet", "a/y/1.parquet", Match::File),
            ("a/{x,y}/*.parquet", "a/z/1.parquet", Match::No),
            ("a/{x/1,y}.parquet", "a/x/1.parquet", Match::File),
            ("a/x*", "a/X1", Match::No),
            ("é/*", "é/ü", Match::File),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn braces_nest_and_keep_their_order() {
        assert_eq!(expand_braces("{a,b{c,d},}x").unwrap(), ["ax", "bcx", "bdx", "x"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["a/{x", "a/[x", "a/***", &"{a,b}".repeat(12)] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
