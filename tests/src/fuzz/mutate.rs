//! Makes an input out of others: flipped, cut, spliced, repeated, with lengths that lie, and protobuf rebuilt field by field.

use std::ops::Range;

use crate::dice::Dice;

/// Inputs do not grow beyond this; what is large is found by the tests of sizes.
const BYTES_MAX: usize = 256 << 10;
/// Messages inside messages deeper than this are changed as bytes.
const DEPTH_MAX: usize = 6;

/// What the bytes of a target look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Nothing is known.
    Bytes,
    /// Lines and words.
    Text,
    /// A message: fields in fields, with lengths that must agree for anything to be looked at.
    Protobuf,
}

/// Integers that are on the edge of something.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Numbers as text that are on the edge of something.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1e400",
    "NaN",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999999",
    "0.1",
    "-0",
    "1e-5",
];

/// Makes inputs out of a corpus.
pub(super) struct Mutator<'a> {
    pub(super) dice: Dice,
    pub(super) corpus: &'a [Vec<u8>],
    /// Pieces that mean something in this format.
    pub(super) words: &'a [&'a str],
    pub(super) shape: Shape,
}

impl Mutator<'_> {
    /// The next input.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.pick().clone();
        for _ in 0..=self.dice.roll(4) {
            bytes = match self.shape {
                Shape::Protobuf if !self.dice.one_in(4) => {
                    self.message(&bytes, 0).unwrap_or_else(|| self.plain(bytes))
                }
                Shape::Text if !self.dice.one_in(3) => self.text(&bytes),
                _ => self.plain(bytes),
            };
            bytes.truncate(BYTES_MAX);
        }
        bytes
    }

    fn pick(&mut self) -> &Vec<u8> {
        let index = self.dice.index(self.corpus.len());
        &self.corpus[index]
    }

    fn range(&mut self, len: usize) -> Range<usize> {
        let start = self.dice.index(len);
        // Short ranges are as likely as long ones.
        let most = if self.dice.one_in(2) { 16 } else { len };
        let length = self.dice.index(most.min(len - start.min(len)) + 1);
        start..(start + length).min(len)
    }

    /// A change that knows nothing of the format.
    fn plain(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let at = self.dice.index(bytes.len());
        match self.dice.roll(11) {
            _ if bytes.is_empty() => bytes = self.pick().clone(),
            0 => bytes[at] ^= 1 << self.dice.roll(8),
            1 => bytes[at] = self.dice.next().to_le_bytes()[0],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(..at)),
            4 => {
                let range = self.range(bytes.len());
                drop(bytes.drain(range));
            }
            5 => {
                let range = self.range(bytes.len());
                let times = 1 + self.dice.index(if range.len() < 64 { 200 } else { 3 });
                let again = bytes[range.clone()].repeat(times);
                drop(bytes.splice(range.end..range.end, again));
            }
            6 => {
                let other = self.pick().clone();
                let (from, into) = (self.range(other.len()), self.range(bytes.len()));
                drop(bytes.splice(into, other[from].iter().copied()));
            }
            7 | 8 => {
                // A length, an offset or a count that lies.
                let edge = EDGES[self.dice.index(EDGES.len())];
                let value = if self.dice.one_in(3) { bytes.len() as u64 } else { edge };
                let value = value.wrapping_add(self.dice.roll(3)).wrapping_sub(1);
                let width = [1, 2, 4, 8][self.dice.index(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            }
            9 => {
                let range = self.range(bytes.len());
                bytes[range].fill(if self.dice.one_in(2) { 0 } else { 0xff });
            }
            _ => {
                let word = self.word();
                drop(bytes.splice(at..at, word));
            }
        }
        bytes
    }

    fn word(&mut self) -> Vec<u8> {
        match self.words.len() {
            0 => self.dice.next().to_le_bytes().to_vec(),
            count => self.words[self.dice.index(count)].as_bytes().to_vec(),
        }
    }

    /// A change of lines or tokens.
    fn text(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.dice.one_in(2) {
            return self.tokens(bytes);
        }
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let (one, other) = (self.dice.index(lines.len()), self.dice.index(lines.len()));
        match self.dice.roll(6) {
            _ if lines.is_empty() => {}
            0 => drop(lines.remove(one)),
            1 => lines.swap(one, other),
            2 => {
                let line = lines[one].clone();
                let most = if self.dice.one_in(4) { 300 } else { 2 };
                let times = 1 + self.dice.index(most);
                drop(lines.splice(other..other, std::iter::repeat_n(line, times)));
            }
            3 => {
                let indent = b" ".repeat(1 + self.dice.index(6));
                drop(lines[one].splice(0..0, indent));
            }
            4 => {
                let blanks = lines[one].iter().take_while(|byte| **byte == b' ').count();
                let cut = self.dice.index(blanks + 1);
                drop(lines[one].drain(..cut));
            }
            _ => {
                let from = self.pick().clone();
                let all: Vec<&[u8]> = from.split_inclusive(|byte| *byte == b'\n').collect();
                let range = self.range(all.len());
                drop(lines.splice(one..one, all[range].iter().map(|line| line.to_vec())));
            }
        }
        lines.concat()
    }

    fn tokens(&mut self, bytes: &[u8]) -> Vec<u8> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let mut tokens: Vec<Vec<u8>> =
            bytes.chunk_by(|one, next| is_word(*one) && is_word(*next)).map(<[u8]>::to_vec).collect();
        let (one, other) = (self.dice.index(tokens.len()), self.dice.index(tokens.len()));
        match self.dice.roll(6) {
            _ if tokens.is_empty() => {}
            0 => drop(tokens.remove(one)),
            1 => tokens.swap(one, other),
            2 => tokens[one] = tokens[other].clone(),
            3 => tokens[one] = NUMBERS[self.dice.index(NUMBERS.len())].into(),
            4 => tokens[one] = self.word(),
            _ => {
                let repeated = tokens[one].repeat(1 + self.dice.index(200));
                tokens[other] = repeated;
            }
        }
        tokens.concat()
    }

    /// A change of one field of a message, with the lengths around it made right again; `None` for what is no message.
    fn message(&mut self, bytes: &[u8], depth: usize) -> Option<Vec<u8>> {
        let mut fields = fields(bytes)?;
        let (one, other) = (self.dice.index(fields.len()), self.dice.index(fields.len()));
        match self.dice.roll(12) {
            _ if fields.is_empty() => return None,
            0 => drop(fields.remove(one)),
            1 => fields.insert(other, fields[one].clone()),
            2 => fields.swap(one, other),
            3 => {
                let most = if self.dice.one_in(4) { 1 << 29 } else { 24 };
                fields[one].number = 1 + self.dice.roll(most);
            }
            4 => fields[one].value = fields[other].value.clone(),
            _ => {
                let value = match &fields[one].value {
                    Value::Bytes(inner) if inner.is_empty() => Value::Bytes(self.word()),
                    Value::Bytes(inner) => {
                        let inner = inner.clone();
                        let is_deep = depth >= DEPTH_MAX || self.dice.one_in(6);
                        let changed = if is_deep { None } else { self.message(&inner, depth + 1) };
                        Value::Bytes(changed.unwrap_or_else(|| self.plain(inner)))
                    }
                    Value::Varint(_) => Value::Varint(EDGES[self.dice.index(EDGES.len())]),
                    Value::Fixed(held) => {
                        let edge = EDGES[self.dice.index(EDGES.len())].to_le_bytes();
                        Value::Fixed(edge[..held.len()].to_vec())
                    }
                };
                fields[one].value = value;
            }
        }
        let mut written = Vec::with_capacity(bytes.len() + 64);
        fields.iter().for_each(|field| field.write(&mut written));
        Some(written)
    }
}

#[derive(Clone)]
struct WireField {
    number: u64,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Varint(u64),
    /// Four or eight bytes.
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
}

impl WireField {
    fn write(&self, into: &mut Vec<u8>) {
        let wire_type = match &self.value {
            Value::Varint(_) => 0,
            Value::Fixed(bytes) if bytes.len() == 8 => 1,
            Value::Fixed(_) => 5,
            Value::Bytes(_) => 2,
        };
        write_varint(into, (self.number << 3) | wire_type);
        match &self.value {
            Value::Varint(value) => write_varint(into, *value),
            Value::Fixed(bytes) => into.extend(bytes),
            Value::Bytes(bytes) => {
                write_varint(into, bytes.len() as u64);
                into.extend(bytes);
            }
        }
    }
}

fn write_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    into.push(value.to_le_bytes()[0]);
}

/// The fields of a message; `None` for bytes that are none. Groups count as none.
fn fields(bytes: &[u8]) -> Option<Vec<WireField>> {
    let mut rest = bytes;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = read_varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Varint(read_varint(&mut rest)?),
            1 => Value::Fixed(take(&mut rest, 8)?),
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, length)?)
            }
            5 => Value::Fixed(take(&mut rest, 4)?),
            _ => return None,
        };
        fields.push(WireField { number: tag >> 3, value });
    }
    Some(fields)
}

fn take(rest: &mut &[u8], length: usize) -> Option<Vec<u8>> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken.to_vec())
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_and_they_differ() {
        let corpus = vec![b"kind: Entity\nname: driver\n".to_vec(), b"a: [1, 2]\n".to_vec()];
        for shape in [Shape::Bytes, Shape::Text] {
            let run = |seed| {
                let mut mutator = Mutator { dice: Dice(seed), corpus: &corpus, words: &["x"], shape };
                (0..200).map(|_| mutator.next()).collect::<Vec<_>>()
            };
            assert_eq!(run(1), run(1));
            let mut distinct = run(1);
            distinct.sort();
            distinct.dedup();
            assert!(distinct.len() > 150, "{shape:?}: {}", distinct.len());
        }
    }

    #[test]
    fn most_changes_of_a_message_leave_a_message() {
        let corpus = vec![vec![0x0a, 4, 0x0a, 2, b'h', b'i', 0x10, 150, 1]];
        let mut mutator = Mutator { dice: Dice(5), corpus: &corpus, words: &[], shape: Shape::Protobuf };
        let sound = (0..400).filter(|_| fields(&mutator.next()).is_some()).count();
        assert!(sound > 200, "{sound}");
    }
}
