//! From text to documents: builds nodes from parser events, resolves aliases and merge keys, keeps bounds.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::node::{Key, Node, Pair, Value};
use super::scalar::Scalar;
use crate::problem::{Position, Problem, Problems};

/// How much one text may make us hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of the text.
    pub bytes_max: usize,
    /// Nodes, those that aliases repeat included: an alias cannot blow up the tree.
    pub nodes_max: usize,
    /// Nesting.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 4 << 20, nodes_max: 500_000, depth_max: 64 }
    }
}

/// What a text holds.
#[derive(Debug)]
pub struct Parsed {
    /// Documents in order, those before a syntax error included.
    pub documents: Vec<Node>,
    /// Findings; empty for a sound text.
    pub problems: Vec<Problem>,
    /// Whether the text was read to its end.
    pub complete: bool,
}

/// Reads all documents of `text`. `file` is how the file is called in positions.
pub fn parse(file: &Arc<str>, text: &str, limits: &Limits) -> Parsed {
    if text.len() > limits.bytes_max {
        let message = format!("the file has {} bytes; at most {} are allowed", text.len(), limits.bytes_max);
        let problems =
            vec![Problem { position: Position::whole_file(Arc::clone(file)), message, hint: None }];
        return Parsed { documents: Vec::new(), problems, complete: false };
    }
    let mut builder = Builder::new(Arc::clone(file), *limits);
    let complete = builder.run(text.strip_prefix('\u{feff}').unwrap_or(text)).is_ok();
    Parsed { documents: builder.documents, problems: builder.problems.into_sorted(), complete }
}

/// Reading cannot go on; the finding is already noted.
struct Stop;

/// A collection that is still open.
enum Frame {
    Sequence { position: Position, anchor: usize, items: Vec<Node> },
    Mapping { position: Position, anchor: usize, mapping: OpenMapping },
}

#[derive(Default)]
struct OpenMapping {
    pairs: Vec<Pair>,
    places: HashMap<String, usize>,
    merged: Vec<Node>,
    key: OpenKey,
}

/// What the next value of a mapping belongs to.
#[derive(Default)]
enum OpenKey {
    #[default]
    None,
    Is(Key),
    /// `<<`
    Merge,
    /// The value of a key that was refused: read and dropped.
    Dropped,
}

struct Builder {
    file: Arc<str>,
    limits: Limits,
    nodes: usize,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, usize)>,
    documents: Vec<Node>,
    problems: Problems,
}

impl Builder {
    fn new(file: Arc<str>, limits: Limits) -> Self {
        Self {
            file,
            limits,
            nodes: 0,
            stack: Vec::new(),
            anchors: HashMap::new(),
            documents: Vec::new(),
            problems: Problems::default(),
        }
    }

    fn run(&mut self, text: &str) -> Result<(), Stop> {
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            match next {
                Ok((Event::StreamEnd, _)) => return Ok(()),
                Ok((event, span)) => {
                    let position = self.position(&span.start);
                    self.on_event(event, position)?;
                }
                Err(error) => {
                    let position = self.position(error.marker());
                    let position = within(position, text);
                    self.problems.push(&position, format!("not valid YAML: {}", error.info()));
                    return Err(Stop);
                }
            }
        }
        Ok(())
    }

    fn position(&self, marker: &Marker) -> Position {
        Position { file: Arc::clone(&self.file), line: marker.line(), column: marker.col() + 1 }
    }

    fn on_event(&mut self, event: Event<'_>, position: Position) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !self.is_text_tag(tag.as_deref(), &position);
                let scalar = Scalar { text: text.into_owned(), plain };
                self.count(1, &position)?;
                self.complete(Node { position, value: Value::Scalar(scalar) }, anchor)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    let is_open = |frame: &Frame| match frame {
                        Frame::Sequence { anchor: id, .. } | Frame::Mapping { anchor: id, .. } => {
                            *id == anchor
                        }
                    };
                    let message = match self.stack.iter().any(is_open) {
                        true => "the alias stands inside what it refers to",
                        false => {
                            "the alias refers to an anchor of another document; anchors hold in their document"
                        }
                    };
                    self.problems.push(&position, message);
                    return Err(Stop);
                };
                self.count(size, &position)?;
                self.complete(node, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.is_text_tag(tag.as_deref(), &position);
                self.count(1, &position)?;
                self.open(Frame::Sequence { position, anchor, items: Vec::new() })
            }
            Event::MappingStart(anchor, tag) => {
                self.is_text_tag(tag.as_deref(), &position);
                self.count(1, &position)?;
                self.open(Frame::Mapping { position, anchor, mapping: OpenMapping::default() })
            }
            Event::SequenceEnd => match self.stack.pop() {
                Some(Frame::Sequence { position, anchor, items }) => {
                    self.complete(Node { position, value: Value::Sequence(items) }, anchor)
                }
                _ => self.unbalanced(&position),
            },
            Event::MappingEnd => match self.stack.pop() {
                Some(Frame::Mapping { position, anchor, mapping }) => {
                    let pairs = self.merge(mapping);
                    self.complete(Node { position, value: Value::Mapping(pairs) }, anchor)
                }
                _ => self.unbalanced(&position),
            },
        }
    }

    fn unbalanced(&mut self, position: &Position) -> Result<(), Stop> {
        self.problems.push(position, "not valid YAML: a collection ends that was never opened");
        Err(Stop)
    }

    fn open(&mut self, frame: Frame) -> Result<(), Stop> {
        if self.stack.len() >= self.limits.depth_max {
            let (Frame::Sequence { position, .. } | Frame::Mapping { position, .. }) = &frame;
            let message = format!("nested deeper than {} levels", self.limits.depth_max);
            self.problems.push(position, message);
            return Err(Stop);
        }
        self.stack.push(frame);
        Ok(())
    }

    fn count(&mut self, nodes: usize, position: &Position) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= self.limits.nodes_max {
            return Ok(());
        }
        let message = format!("more than {} values, counting what aliases repeat", self.limits.nodes_max);
        self.problems.push(position, message);
        Err(Stop)
    }

    /// Whether a tag makes the value a text; tags beyond the core schema are findings.
    fn is_text_tag(&mut self, tag: Option<&Tag>, position: &Position) -> bool {
        let Some(tag) = tag else { return false };
        if tag.is_yaml_core_schema() {
            match tag.suffix.as_str() {
                "str" => return true,
                "int" | "float" | "bool" | "null" | "map" | "seq" => return false,
                _ => {}
            }
        }
        if tag.suffix.is_empty() {
            return true;
        }
        let shown = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
        self.problems.push(position, format!("the YAML tag `{shown}` is not supported"));
        false
    }

    /// Hands a finished node to what it belongs to.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor > 0 {
            let size = node.size();
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.stack.last_mut() {
            None => self.documents.push(node),
            Some(Frame::Sequence { items, .. }) => items.push(node),
            Some(Frame::Mapping { mapping, .. }) => match std::mem::take(&mut mapping.key) {
                OpenKey::None => {
                    mapping.key = open_key(&mut self.problems, &mapping.places, &mapping.pairs, node)
                }
                OpenKey::Is(key) => {
                    mapping.places.insert(key.text.clone(), mapping.pairs.len());
                    mapping.pairs.push(Pair { key, value: node });
                }
                OpenKey::Merge => mapping.merged.push(node),
                OpenKey::Dropped => {}
            },
        }
        Ok(())
    }

    /// Adds the pairs of `<<` that are not there; earlier ones win, own ones win over all.
    fn merge(&mut self, mapping: OpenMapping) -> Vec<Pair> {
        let OpenMapping { mut pairs, mut places, merged, .. } = mapping;
        let sources = merged.into_iter().flat_map(|node| match node.value {
            Value::Sequence(items) => items,
            value => vec![Node { position: node.position, value }],
        });
        for source in sources {
            let Value::Mapping(more) = source.value else {
                let message =
                    format!("`<<` takes a mapping or a list of mappings, got {}", source.describe());
                self.problems.push(&source.position, message);
                continue;
            };
            for pair in more {
                if !places.contains_key(&pair.key.text) {
                    places.insert(pair.key.text.clone(), pairs.len());
                    pairs.push(pair);
                }
            }
        }
        pairs
    }
}

/// The place itself, or the end of the text for one that lies behind it: what is missing there has no line.
fn within(position: Position, text: &str) -> Position {
    let last = text.split('\n').count();
    if position.line <= last {
        return position;
    }
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { line: last, column, ..position }
}

fn open_key(problems: &mut Problems, places: &HashMap<String, usize>, pairs: &[Pair], node: Node) -> OpenKey {
    let Node { position, value } = node;
    let Value::Scalar(Scalar { text, plain }) = value else {
        problems.push(&position, "a key must be a single value, not a list or a mapping");
        return OpenKey::Dropped;
    };
    if plain && text == "<<" {
        return OpenKey::Merge;
    }
    if let Some(first) = places.get(&text).and_then(|place| pairs.get(*place)) {
        let message = format!("key `{text}` is given twice; it is already at {}", first.key.position);
        problems.push(&position, message);
        return OpenKey::Dropped;
    }
    OpenKey::Is(Key { text, position })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
