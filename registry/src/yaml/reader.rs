//! Reads a mapping key by key with the types that are wanted, noting everything that is not as it should be.

use super::node::{Node, Pair, Value};
use super::scalar::Resolved;
use crate::nearest::{did_you_mean, quoted_list};
use crate::problem::{Position, Problems};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub position: Position,
}

/// Which keys a mapping may have.
pub struct Keys {
    /// Keys that it may have.
    pub allowed: &'static [&'static str],
    /// Keys that Feast knows and we refuse, with the reason.
    pub refused: &'static [(&'static str, &'static str)],
}

/// A mapping under a name for messages: "FeatureView `driver_stats`".
pub struct Reader<'a> {
    /// Its name for messages.
    pub what: String,
    /// Where it begins.
    pub position: &'a Position,
    pairs: &'a [Pair],
}

impl<'a> Reader<'a> {
    /// Opens a mapping and reports the keys that it may not have; anything but a mapping is a finding.
    pub fn open(node: &'a Node, what: String, keys: &Keys, problems: &mut Problems) -> Option<Self> {
        let reader = Self::open_any(node, what, problems)?;
        for Pair { key, .. } in reader.pairs {
            let known = |name: &&str| *name == key.text;
            if keys.allowed.iter().any(known) {
                continue;
            }
            if let Some((name, reason)) = keys.refused.iter().find(|(name, _)| known(name)) {
                problems
                    .push(&key.position, format!("`{name}` of {} is not supported: {reason}", reader.what));
                continue;
            }
            let allowed = quoted_list(keys.allowed.iter().copied());
            let message = format!("unknown key `{}` in {}; allowed: {allowed}", key.text, reader.what);
            problems.add(&key.position, message, did_you_mean(&key.text, keys.allowed.iter().copied()));
        }
        Some(reader)
    }

    /// Opens a mapping that may have any key.
    pub fn open_any(node: &'a Node, what: String, problems: &mut Problems) -> Option<Self> {
        let Value::Mapping(pairs) = &node.value else {
            problems.push(
                &node.position,
                format!("{what} must be a mapping of keys, got {}", node.describe_shape()),
            );
            return None;
        };
        Some(Self { what, position: &node.position, pairs })
    }

    /// All pairs in order.
    pub fn pairs(&self) -> &'a [Pair] {
        self.pairs
    }

    /// The pair under a key, unless its value is empty.
    pub fn get(&self, key: &str) -> Option<&'a Pair> {
        self.pairs.iter().find(|pair| pair.key.text == key && !pair.value.is_null())
    }

    /// A text; absent when not given, or not a text (a finding).
    pub fn text(&self, key: &str, problems: &mut Problems) -> Option<Spanned<String>> {
        let pair = self.get(key)?;
        text_of(&pair.value, &format!("`{key}` of {}", self.what), problems)
    }

    /// A text that must be there and not be empty.
    pub fn required_text(&self, key: &str, problems: &mut Problems) -> Option<Spanned<String>> {
        self.require(key, problems)?;
        let text = self.text(key, problems)?;
        if text.value.trim().is_empty() {
            problems.push(&text.position, format!("`{key}` of {} must not be empty", self.what));
            return None;
        }
        Some(text)
    }

    /// The pair under a key that must be there.
    pub fn require(&self, key: &str, problems: &mut Problems) -> Option<&'a Pair> {
        let pair = self.get(key);
        if pair.is_none() {
            match self.pairs.iter().find(|pair| pair.key.text == key) {
                Some(empty) => {
                    problems.push(
                        &empty.key.position,
                        format!("`{key}` of {} is required, got nothing", self.what),
                    );
                }
                None => problems.push(self.position, format!("{} lacks the required key `{key}`", self.what)),
            }
        }
        pair
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str, problems: &mut Problems) -> Option<Spanned<bool>> {
        let node = &self.get(key)?.value;
        let value = match &node.value {
            Value::Scalar(scalar) => scalar.as_boolean(),
            _ => None,
        };
        if value.is_none() {
            let given = node.describe();
            let message = format!("`{key}` of {} must be `true` or `false`, got {given}", self.what);
            problems.push(&node.position, message);
        }
        Some(Spanned { value: value?, position: node.position.clone() })
    }

    /// A number, whole or not, that is finite.
    pub fn number(&self, key: &str, problems: &mut Problems) -> Option<Spanned<f64>> {
        let node = &self.get(key)?.value;
        let value = match &node.value {
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Integer(_) | Resolved::Float(_) => scalar.text.parse::<f64>().ok(),
                _ => None,
            },
            _ => None,
        };
        let value = value.filter(|value| value.is_finite());
        if value.is_none() {
            let message = format!("`{key}` of {} must be a number, got {}", self.what, node.describe());
            problems.push(&node.position, message);
        }
        Some(Spanned { value: value?, position: node.position.clone() })
    }

    /// A whole number that is not negative.
    pub fn count(&self, key: &str, problems: &mut Problems) -> Option<Spanned<u64>> {
        let node = &self.get(key)?.value;
        let value = match &node.value {
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Integer(value) => u64::try_from(value).ok(),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            let given = node.describe();
            let message = format!("`{key}` of {} must be a whole number from 0, got {given}", self.what);
            problems.push(&node.position, message);
        }
        Some(Spanned { value: value?, position: node.position.clone() })
    }

    /// The items of a list; absent when not given, or not a list (a finding).
    pub fn list(&self, key: &str, problems: &mut Problems) -> Option<&'a [Node]> {
        let node = &self.get(key)?.value;
        match &node.value {
            Value::Sequence(items) => Some(items),
            _ => {
                let given = node.describe();
                problems
                    .push(&node.position, format!("`{key}` of {} must be a list, got {given}", self.what));
                None
            }
        }
    }

    /// A list of texts.
    pub fn texts(&self, key: &str, problems: &mut Problems) -> Option<Vec<Spanned<String>>> {
        let what = format!("an item of `{key}` of {}", self.what);
        let items = self.list(key, problems)?;
        Some(items.iter().filter_map(|item| text_of(item, &what, problems)).collect())
    }

    /// A mapping of texts to texts, in order.
    pub fn text_pairs(&self, key: &str, problems: &mut Problems) -> Vec<(Spanned<String>, Spanned<String>)> {
        let Some(pair) = self.get(key) else { return Vec::new() };
        let what = format!("`{key}` of {}", self.what);
        let Some(inner) = Self::open_any(&pair.value, what.clone(), problems) else { return Vec::new() };
        let mut pairs = Vec::new();
        for Pair { key, value } in inner.pairs {
            if let Some(value) = text_of(value, &format!("`{}` in {what}", key.text), problems) {
                pairs.push((Spanned { value: key.text.clone(), position: key.position.clone() }, value));
            }
        }
        pairs
    }
}

/// A node as text, or a finding that says how to make it one.
pub fn text_of(node: &Node, what: &str, problems: &mut Problems) -> Option<Spanned<String>> {
    if let Value::Scalar(scalar) = &node.value {
        let text = &scalar.text;
        match scalar.resolve() {
            Resolved::Text => return Some(Spanned { value: text.clone(), position: node.position.clone() }),
            Resolved::Null => {}
            Resolved::Boolean(_) | Resolved::Integer(_) | Resolved::Float(_) => {
                let message = format!("{what} must be a text, got {}", node.describe());
                problems.push_hint(&node.position, message, format!("put it in quotes: `\"{text}\"`"));
                return None;
            }
        }
    }
    problems.push(&node.position, format!("{what} must be a text, got {}", node.describe()));
    None
}
