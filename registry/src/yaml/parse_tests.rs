//! What the reader makes of texts, sound and broken.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Parsed {
    parse(&Arc::from("a.yaml"), text, &Limits::default())
}

/// One line per node: place and value, indented by depth.
fn dump(parsed: &Parsed) -> String {
    let mut out = String::new();
    for document in &parsed.documents {
        dump_node(document, 0, &mut out);
    }
    for problem in &parsed.problems {
        writeln!(out, "! {problem}").unwrap();
    }
    out
}

fn dump_node(node: &Node, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let place = format!("{}:{}", node.position.line, node.position.column);
    match &node.value {
        Value::Scalar(scalar) => writeln!(out, "{indent}{place} {:?}", scalar.text).unwrap(),
        Value::Sequence(items) => {
            writeln!(out, "{indent}{place} list").unwrap();
            items.iter().for_each(|item| dump_node(item, depth + 1, out));
        }
        Value::Mapping(pairs) => {
            writeln!(out, "{indent}{place} mapping").unwrap();
            for pair in pairs {
                writeln!(
                    out,
                    "{indent}  {}:{} {}:",
                    pair.key.position.line, pair.key.position.column, pair.key.text
                )
                .unwrap();
                dump_node(&pair.value, depth + 2, out);
            }
        }
    }
}

#[test]
fn every_node_knows_its_place() {
    let text =
        "kind: Entity\nlist:\n  - a\n  - {b: 'c', d: \"e\"}\ntext: |\n  one\n  two\nempty:\n---\nsecond\n";
    let expected = "\
1:1 mapping
  1:1 kind:
    1:7 \"Entity\"
  2:1 list:
    3:3 list
      3:5 \"a\"
      4:5 mapping
        4:6 b:
          4:9 \"c\"
        4:14 d:
          4:17 \"e\"
  5:1 text:
    6:3 \"one\\ntwo\\n\"
  8:1 empty:
    8:6 \"\"
10:1 \"second\"
";
    assert_eq!(dump(&read(text)), expected);
}

#[test]
fn findings_name_the_place() {
    let cases = [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: key `a` is given twice; it is already at a.yaml:1:1"),
        ("{a: 1, 'a': 2}", "a.yaml:1:8: key `a` is given twice; it is already at a.yaml:1:2"),
        ("? [a]\n: b\n", "a.yaml:1:3: a key must be a single value, not a list or a mapping"),
        ("a: !Ref b\n", "a.yaml:1:4: the YAML tag `!Ref` is not supported"),
        ("a: !!binary b\n", "a.yaml:1:4: the YAML tag `!!binary` is not supported"),
        ("a: &x [*x]\n", "a.yaml:1:8: the alias stands inside what it refers to"),
        (
            "a: &x 1\n---\nb: *x\n",
            "a.yaml:3:4: the alias refers to an anchor of another document; anchors hold in their document",
        ),
        ("<<: 3\n", "a.yaml:1:5: `<<` takes a mapping or a list of mappings, got the integer `3`"),
    ];
    for (text, expected) in cases {
        let parsed = read(text);
        let found: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
        assert_eq!(found, [expected], "{text}");
    }
}

#[test]
fn a_syntax_error_keeps_the_documents_before_it() {
    let parsed = read("a: 1\n---\nb: [1, 2\n---\nc: 3\n");
    assert!(!parsed.complete);
    assert_eq!(parsed.documents.len(), 1);
    assert_eq!(parsed.problems.len(), 1);
    assert!(parsed.problems[0].message.starts_with("not valid YAML: "), "{:?}", parsed.problems);
}

#[test]
fn merge_keys_add_what_is_not_there() {
    let text = "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nuse:\n  <<: [*base, *more]\n  a: own\n";
    let parsed = read(text);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let Value::Mapping(pairs) = &parsed.documents[0].value else { panic!() };
    let Value::Mapping(merged) = &pairs[2].value.value else { panic!() };
    let shown: Vec<(&str, String)> =
        merged.iter().map(|pair| (pair.key.text.as_str(), pair.value.describe())).collect();
    let expected = [("a", "the text `own`"), ("b", "the integer `2`"), ("c", "the integer `4`")]
        .map(|(k, v)| (k, v.to_owned()));
    assert_eq!(shown, expected);
}

#[test]
fn aliases_cannot_blow_up_the_tree() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        writeln!(text, "a{level}: &a{level} [{}]", vec![before; 10].join(", ")).unwrap();
    }
    let parsed = read(&text);
    assert!(!parsed.complete);
    assert_eq!(parsed.problems[0].message, "more than 500000 values, counting what aliases repeat");
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(read(&deep).problems[0].to_string(), "a.yaml:1:65: nested deeper than 64 levels");
    let limits = Limits { bytes_max: 10, ..Limits::default() };
    let parsed = parse(&Arc::from("a.yaml"), "name: too long", &limits);
    assert_eq!(parsed.problems[0].to_string(), "a.yaml: the file has 14 bytes; at most 10 are allowed");
}

proptest! {
    /// No text makes the reader fail otherwise than by a finding.
    #[test]
    fn any_text_is_read_or_refused(text in "[a-c:\\-\\[\\]{}&*!|>'\"#,? \n\t~<%@`0-9.é]{0,60}") {
        let parsed = read(&text);
        prop_assert_eq!(parsed.complete || !parsed.problems.is_empty(), true);
    }
}

#[test]
fn what_is_missing_at_the_end_is_missed_at_the_end() {
    for (text, place) in [("{", "1:2"), ("a: [1,", "1:7"), ("a:\n  - \"b", "2:5"), ("ü: {", "1:5")] {
        let parsed = read(text);
        let found: Vec<String> = parsed.problems.iter().map(|problem| problem.position.to_string()).collect();
        assert_eq!(found, [format!("a.yaml:{place}")], "{text}");
    }
}
