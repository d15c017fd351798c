//! JSON values as YAML, the way Feast describes objects.

use serde_json::Value;

/// A value as block YAML, with a line end.
pub(crate) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(object) if !object.is_empty() => write_block(value, 0, &mut text),
        Value::Array(items) if !items.is_empty() => write_block(value, 0, &mut text),
        scalar => text.push_str(&inline(scalar)),
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Writes a container that is not empty, each entry on its own lines.
fn write_block(value: &Value, indent: usize, text: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                text.extend([margin.as_str(), &quoted_if_needed(key), ":"]);
                write_value(value, indent, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut block = String::new();
                if is_block(item) {
                    write_block(item, indent + 2, &mut block);
                    // The first line stands beside the dash.
                    text.extend([margin.as_str(), "- ", block.trim_start_matches(' ')]);
                } else {
                    text.extend([margin.as_str(), "- ", &inline(item), "\n"]);
                }
            }
        }
        scalar => text.push_str(&inline(scalar)),
    }
}

fn write_value(value: &Value, indent: usize, text: &mut String) {
    match value {
        value if is_block(value) => {
            text.push('\n');
            // A list stands under its key without a further step, as most tools write it.
            write_block(value, if value.is_array() { indent } else { indent + 2 }, text);
        }
        Value::String(string) if is_literal(string) => {
            let margin = " ".repeat(indent + 2);
            let keep = match (string.ends_with("\n\n"), string.ends_with('\n')) {
                (true, _) => "+",
                (false, true) => "",
                (false, false) => "-",
            };
            text.extend([" |", keep, "\n"]);
            for line in string.lines() {
                if !line.is_empty() {
                    text.extend([margin.as_str(), line]);
                }
                text.push('\n');
            }
        }
        scalar => text.extend([" ", &inline(scalar), "\n"]),
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(object) => !object.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// Several lines of plain text, which a literal block shows as they are.
fn is_literal(text: &str) -> bool {
    let is_plain = text.chars().all(|letter| letter == '\n' || letter == '\t' || !letter.is_control());
    text.contains('\n') && is_plain && !text.starts_with([' ', '\n', '\t'])
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted_if_needed(text),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// Quotes text that YAML would read as something else.
fn quoted_if_needed(text: &str) -> String {
    const WORDS: [&str; 10] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"];
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    let is_number = text.starts_with(|letter: char| letter.is_ascii_digit() || "+-.".contains(letter))
        && (text.parse::<f64>().is_ok()
            || text.chars().all(|letter| letter.is_ascii_digit() || "+-.:_xobeE".contains(letter)));
    let is_odd_start = text.starts_with(|letter: char| "-?:,[]{}#&*!|>'\"%@` ".contains(letter));
    let is_odd = text.contains(": ") || text.contains(" #") || text.ends_with([':', ' ']);
    let has_control = text.chars().any(char::is_control);
    if text.is_empty() || is_word || is_number || is_odd_start || is_odd || has_control {
        // A JSON string is a YAML string.
        Value::String(text.to_owned()).to_string()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::yaml;

    #[test]
    fn objects_and_lists_are_blocks() {
        let value = json!({
            "spec": {"name": "driver", "tags": {}, "features": [{"name": "a", "type": "FLOAT"}, {"name": "b"}]},
            "list": ["x", [1, 2]],
            "empty": [],
        });
        let expected = "spec:\n  name: driver\n  tags: {}\n  features:\n  - name: a\n    type: FLOAT\n  - name: b\nlist:\n- x\n- - 1\n  - 2\nempty: []\n";
        assert_eq!(yaml(&value), expected);
    }

    #[test]
    fn text_that_yaml_would_misread_is_quoted() {
        let value = json!({"a": "", "b": "True", "c": "8640000000s", "d": "12", "e": "x: y", "f": "- x", "g": "1e5", "h": null, "i": "2026-01-01T00:00:00Z"});
        let expected = "a: \"\"\nb: \"True\"\nc: 8640000000s\nd: \"12\"\ne: \"x: y\"\nf: \"- x\"\ng: \"1e5\"\nh: null\ni: 2026-01-01T00:00:00Z\n";
        assert_eq!(yaml(&value), expected);
    }

    #[test]
    fn several_lines_are_a_literal_block() {
        let value = json!({"body": "def f(x):\n    return x\n", "last": "a\nb"});
        assert_eq!(yaml(&value), "body: |\n  def f(x):\n      return x\nlast: |-\n  a\n  b\n");
    }
}
