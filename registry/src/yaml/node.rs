//! The tree a document becomes: each node with its place.

use super::scalar::{Resolved, Scalar};
use crate::problem::Position;

/// One value and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it starts.
    pub position: Position,
    /// What it is.
    pub value: Value,
}

/// The three shapes of YAML.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One text; what it means is decided by who asks.
    Scalar(Scalar),
    /// Values in order.
    Sequence(Vec<Node>),
    /// Pairs in order; keys are unique.
    Mapping(Vec<Pair>),
}

/// One entry of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Node,
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it starts.
    pub position: Position,
}

impl Node {
    /// Whether it is an empty value, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.resolve() == Resolved::Null)
    }

    /// How an error message calls what was given: "the integer `3`", "a list", "nothing".
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => "nothing".to_owned(),
                Resolved::Boolean(_) => format!("the boolean `{}`", scalar.text),
                Resolved::Integer(_) => format!("the integer `{}`", scalar.text),
                Resolved::Float(_) => format!("the number `{}`", scalar.text),
                Resolved::Text => format!("the text `{}`", shortened(&scalar.text)),
            },
        }
    }

    /// The same without the value: for places where a secret may stand.
    pub fn describe_shape(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => "nothing",
                Resolved::Boolean(_) => "a boolean",
                Resolved::Integer(_) => "an integer",
                Resolved::Float(_) => "a number",
                Resolved::Text => "a text",
            },
        }
    }

    /// How many nodes hang below, this one included.
    pub(crate) fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::Sequence(items) => items.iter().map(Self::size).sum(),
            Value::Mapping(pairs) => pairs.iter().map(|pair| 1 + pair.value.size()).sum(),
        }
    }
}

/// A text cut to one short line for a message.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > SHOWN_MAX || line.len() < text.trim_end().len() {
        line.chars().take(SHOWN_MAX).chain("…".chars()).collect()
    } else {
        line.to_owned()
    }
}
