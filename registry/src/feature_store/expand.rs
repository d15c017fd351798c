//! `$NAME` and `${NAME}` in the raw text, as Feast expands them.

use std::collections::BTreeMap;

/// Environment variables by name, as the caller read them.
pub type Environment = BTreeMap<String, String>;

/// Replaces each variable that is set; one that is not stays as it is written. There is no escape and no default
/// value, values are not expanded again, and comments and quotes are expanded too: the text is not YAML yet.
pub fn expand_variables(text: &str, environment: &Environment) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, name, whole)) = next_variable(rest) {
        expanded.push_str(before);
        expanded.push_str(environment.get(name).map_or(whole, String::as_str));
        rest = &rest[before.len() + whole.len()..];
    }
    expanded.push_str(rest);
    expanded
}

/// The names of the variables that a text still holds.
pub(super) fn variables_in(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((before, name, whole)) = next_variable(rest) {
        names.push(name);
        rest = &rest[before.len() + whole.len()..];
    }
    names
}

/// The text before the next variable, its name, and how it is written.
fn next_variable(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(found) = text[from..].find('$') {
        let start = from + found;
        let after = &text[start + 1..];
        if let Some(inner) = after.strip_prefix('{') {
            if let Some(end) = inner.find('}') {
                return Some((&text[..start], &inner[..end], &text[start..start + end + 3]));
            }
        } else {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let end = after.find(|letter| !is_word(letter)).unwrap_or(after.len());
            if end > 0 {
                return Some((&text[..start], &after[..end], &text[start..start + 1 + end]));
            }
        }
        from = start + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_is_that_of_the_os_expander() {
        let environment: Environment = [("A", "1"), ("B_2", "two"), ("LOOP", "$A"), ("EMPTY", "")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        for (text, expected) in [
            ("x", "x"),
            ("$A", "1"),
            ("${A}", "1"),
            ("a$A.b", "a1.b"),
            ("$B_2$A", "two1"),
            ("$AB", "$AB"),
            ("${NONE}", "${NONE}"),
            ("${A:-3}", "${A:-3}"),
            ("$$A", "$1"),
            ("$", "$"),
            ("${A", "${A"),
            ("${", "${"),
            ("$-${A}", "$-1"),
            ("$LOOP", "$A"),
            ("<$EMPTY>", "<>"),
            ("# $A 'ü$A'", "# 1 'ü1'"),
        ] {
            assert_eq!(expand_variables(text, &environment), expected, "{text}");
        }
        assert_eq!(variables_in("a${X}$Y-$"), ["X", "Y"]);
    }
}
