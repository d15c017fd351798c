//! Values as YAML text that reads back as the same values.

use crate::yaml::{Resolved, Scalar};

/// A line is filled up to here; what does not fit becomes a block.
const WIDTH: usize = 100;
/// What YAML 1.1, and so Feast's reader, takes for something else than a text.
const WORDS: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan"];

/// A value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A text, quoted where YAML would read something else.
    Text(String),
    /// Written as it is: a boolean, a duration.
    Word(String),
    /// Items in order.
    List(Vec<Self>),
    /// Pairs in order.
    Map(Vec<(String, Self)>),
}

impl Node {
    /// A text.
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A document of pairs, each on its own lines, with a line end.
pub(super) fn document(pairs: &[(String, Node)]) -> String {
    let mut text = String::new();
    write_pairs(pairs, 0, &mut text);
    text
}

/// A comment of one line; nothing in it ends the line.
pub(super) fn comment(line: &str) -> String {
    let shown: String =
        line.chars().map(|letter| if is_printable(letter) { letter } else { '\u{fffd}' }).collect();
    format!("# {shown}").trim_end().to_owned() + "\n"
}

fn write_pairs(pairs: &[(String, Node)], indent: usize, text: &mut String) {
    let margin = " ".repeat(indent);
    for (key, value) in pairs {
        text.extend([margin.as_str(), &scalar(key, true), ":"]);
        write_value(value, indent, text);
    }
}

/// Writes what stands after `key:` or `-`, which begins at `indent`.
fn write_value(value: &Node, indent: usize, text: &mut String) {
    let column = text.len() - text.rfind('\n').map_or(0, |end| end + 1);
    match value {
        Node::Text(content) if is_literal(content) => write_literal(content, indent + 2, text),
        Node::Text(content) => text.extend([" ", &scalar(content, false), "\n"]),
        Node::Word(word) => text.extend([" ", word, "\n"]),
        Node::List(items) => {
            match flow(value).filter(|flow| column + flow.len() < WIDTH && !has_map(items)) {
                Some(flow) => text.extend([" ", &flow, "\n"]),
                None => {
                    text.push('\n');
                    let margin = " ".repeat(indent + 2);
                    for item in items {
                        text.extend([margin.as_str(), "-"]);
                        write_item(item, indent + 2, text);
                    }
                }
            }
        }
        Node::Map(pairs) => match flow(value).filter(|flow| column + flow.len() < WIDTH) {
            Some(flow) => text.extend([" ", &flow, "\n"]),
            None => {
                text.push('\n');
                write_pairs(pairs, indent + 2, text);
            }
        },
    }
}

/// As [`write_value`], for an item: the first pair of a mapping stands beside the dash.
fn write_item(item: &Node, indent: usize, text: &mut String) {
    let fits = |flow: &String| indent + flow.len() < WIDTH;
    match item {
        Node::Map(pairs) if !pairs.is_empty() && flow(item).filter(fits).is_none() => {
            let mut block = String::new();
            write_pairs(pairs, indent + 2, &mut block);
            text.extend([" ", block.trim_start_matches(' ')]);
        }
        other => write_value(other, indent, text),
    }
}

fn has_map(items: &[Node]) -> bool {
    items.iter().any(|item| matches!(item, Node::Map(_)))
}

/// The value on one line; `None` when a text in it has several.
fn flow(value: &Node) -> Option<String> {
    match value {
        Node::Text(text) if text.contains('\n') => None,
        Node::Text(text) => Some(scalar(text, true)),
        Node::Word(word) => Some(word.clone()),
        Node::List(items) => {
            let items: Option<Vec<String>> = items.iter().map(flow).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Node::Map(pairs) => {
            let pair =
                |(key, value): &(String, Node)| Some(format!("{}: {}", scalar(key, true), flow(value)?));
            let pairs: Option<Vec<String>> = pairs.iter().map(pair).collect();
            Some(format!("{{{}}}", pairs?.join(", ")))
        }
    }
}

/// A text as a plain scalar where that is safe in every reader, else in double quotes.
fn scalar(text: &str, is_in_flow: bool) -> String {
    if is_plain(text, is_in_flow) { text.to_owned() } else { quoted(text) }
}

fn is_plain(text: &str, is_in_flow: bool) -> bool {
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    let starts_well = text.starts_with(|first: char| first.is_alphabetic() || matches!(first, '_' | '/'));
    if is_word || !starts_well || text.ends_with(' ') {
        return false;
    }
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_fine = match letter {
            // A dash before a bracket is an error of some readers.
            ' ' => letters.peek().is_some_and(|next| !is_in_flow || next.is_alphanumeric()),
            '_' | '-' | '.' | '/' | '+' | '=' | '@' | '(' | ')' => true,
            ',' | '\'' | ';' | '!' | '?' | '%' | '&' | '*' | '<' | '>' | '$' => !is_in_flow,
            // Inside of a word, as in a URL.
            ':' => !is_in_flow && letters.peek().is_some_and(|next| next.is_alphanumeric() || *next == '/'),
            other => other.is_alphanumeric(),
        };
        if !is_fine {
            return false;
        }
    }
    Scalar { text: text.to_owned(), plain: true }.resolve() == Resolved::Text
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter if is_printable(letter) => quoted.push(letter),
            letter => {
                let code = u32::from(letter);
                let escape = match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                };
                quoted.extend([escape]);
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a reader takes this letter as it stands: YAML's printable letters without those that end lines or are lost.
fn is_printable(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether a text of several lines can stand as it is.
fn is_literal(text: &str) -> bool {
    let lines = text.strip_suffix('\n').unwrap_or(text);
    // The first line gives the indentation; what the last lines are at their ends is a matter of chomping.
    let starts_well = !text.starts_with([' ', '\t', '\n']);
    let ends_well = lines.rsplit('\n').next().is_some_and(|last| !last.trim().is_empty());
    lines.contains('\n')
        && starts_well
        && ends_well
        && text.chars().all(|letter| matches!(letter, '\n' | '\t') || is_printable(letter))
}

fn write_literal(text: &str, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            out.extend([margin.as_str(), line]);
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::export::odd_texts::any_text;
    use crate::yaml::{self, Limits, Value, parse};

    fn as_node(value: &yaml::Node) -> Node {
        match &value.value {
            Value::Scalar(scalar) => {
                assert_eq!(scalar.resolve(), Resolved::Text, "{scalar:?}");
                Node::Text(scalar.text.clone())
            }
            Value::Sequence(items) => Node::List(items.iter().map(as_node).collect()),
            Value::Mapping(pairs) => {
                Node::Map(pairs.iter().map(|pair| (pair.key.text.clone(), as_node(&pair.value))).collect())
            }
        }
    }

    fn read(text: &str) -> Node {
        let parsed = parse(&Arc::from("x.yaml"), text, &Limits::default());
        assert!(parsed.problems.is_empty(), "{:?}\n{text}", parsed.problems);
        assert_eq!(parsed.documents.len(), 1, "{text}");
        as_node(&parsed.documents[0])
    }

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted() {
        for (text, block, flow) in [
            ("", "\"\"", "\"\""),
            ("driver", "driver", "driver"),
            ("No", "\"No\"", "\"No\""),
            ("y", "\"y\"", "\"y\""),
            ("null", "\"null\"", "\"null\""),
            ("~", "\"~\"", "\"~\""),
            ("12", "\"12\"", "\"12\""),
            ("1_000", "\"1_000\"", "\"1_000\""),
            ("12:30:00", "\"12:30:00\"", "\"12:30:00\""),
            ("2024-01-01", "\"2024-01-01\"", "\"2024-01-01\""),
            ("<<", "\"<<\"", "\"<<\""),
            ("- a", "\"- a\"", "\"- a\""),
            ("a: b", "\"a: b\"", "\"a: b\""),
            ("a:", "\"a:\"", "\"a:\""),
            ("a #b", "\"a #b\"", "\"a #b\""),
            ("a, b's", "a, b's", "\"a, b's\""),
            ("a - b -", "a - b -", "\"a - b -\""),
            ("s3://b/k/*.parquet", "s3://b/k/*.parquet", "\"s3://b/k/*.parquet\""),
            ("Array(Int64)", "Array(Int64)", "Array(Int64)"),
            ("Struct({a: Int64})", "\"Struct({a: Int64})\"", "\"Struct({a: Int64})\""),
            (" a", "\" a\"", "\" a\""),
            ("a ", "\"a \"", "\"a \""),
            ("größer", "größer", "größer"),
            ("a\u{85}b\0\u{feff}", "\"a\\x85b\\x00\\ufeff\"", "\"a\\x85b\\x00\\ufeff\""),
        ] {
            assert_eq!((scalar(text, false).as_str(), scalar(text, true).as_str()), (block, flow), "{text}");
        }
    }

    #[test]
    fn short_values_stand_on_one_line_and_long_ones_in_blocks() {
        let field = |name: &str, description: &str| {
            Node::Map(vec![
                ("name".to_owned(), Node::text(name)),
                ("description".to_owned(), Node::text(description)),
            ])
        };
        let pairs = [
            ("ttl".to_owned(), Node::Word("1d12h".to_owned())),
            ("keys".to_owned(), Node::List(vec![Node::text("a"), Node::text("true")])),
            ("schema".to_owned(), Node::List(vec![field("a", "b"), field("c", "d\ne\n")])),
            ("udf".to_owned(), Node::text("def f(x):\n\n    return x\n")),
            ("last".to_owned(), Node::text("a\nb")),
        ];
        let expected = "ttl: 1d12h\nkeys: [a, \"true\"]\nschema:\n  - {name: a, description: b}\n  - name: c\n    \
                        description: |\n      d\n      e\nudf: |\n  def f(x):\n\n      return x\nlast: |-\n  a\n  b\n";
        assert_eq!(document(&pairs), expected);
        assert_eq!(read(expected).clone(), {
            let mut pairs = pairs.to_vec();
            pairs[0].1 = Node::text("1d12h");
            Node::Map(pairs)
        });
    }

    fn any_node() -> impl Strategy<Value = Node> {
        let leaf = any_text().prop_map(Node::Text);
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Node::List),
                prop::collection::btree_map(any_text(), inner, 1..4)
                    .prop_map(|pairs| Node::Map(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_written_reads_back(pairs in prop::collection::btree_map(any_text(), any_node(), 1..4)) {
            let pairs: Vec<(String, Node)> = pairs.into_iter().collect();
            prop_assert_eq!(read(&document(&pairs)), Node::Map(pairs.clone()), "{}", document(&pairs));
        }

        #[test]
        fn a_comment_is_one_line(line in any_text()) {
            let text = comment(&line);
            let parsed = parse(&Arc::from("x.yaml"), &format!("{text}a: b\n"), &Limits::default());
            prop_assert!(parsed.problems.is_empty() && parsed.documents.len() == 1, "{}", text);
        }
    }
}
