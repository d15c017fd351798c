//! How serialized protobuf is cut into fields without knowing the message: what keeps unknown bytes alive.

use bytes::Bytes;
use thiserror::Error;

/// Groups inside groups deeper than this are refused, as protobuf decoders do.
const GROUP_DEPTH_MAX: u32 = 100;
/// The greatest field number of protobuf.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;
/// Wire type of strings, bytes and messages.
const LENGTH_DELIMITED: u64 = 2;

/// Why bytes are not a sequence of protobuf fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("the bytes end inside the field that starts at byte {offset}")]
    Truncated {
        /// Where the field starts.
        offset: usize,
    },
    /// Something that no protobuf writer produces.
    #[error("byte {offset} does not start a protobuf field")]
    Malformed {
        /// Where the field starts.
        offset: usize,
    },
}

/// One field as it stands in the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireField {
    /// Field number.
    pub(crate) number: u32,
    /// Tag, length and payload: what is written again when the field is kept.
    pub(crate) whole: Bytes,
    /// The payload, when the field is length-delimited.
    pub(crate) payload: Option<Bytes>,
}

impl WireField {
    /// A new length-delimited field.
    pub(crate) fn length_delimited(number: u32, payload: &[u8]) -> Self {
        let mut whole = Vec::with_capacity(payload.len() + 12);
        write_varint(&mut whole, (u64::from(number) << 3) | LENGTH_DELIMITED);
        write_varint(&mut whole, payload.len() as u64);
        let start = whole.len();
        whole.extend_from_slice(payload);
        let whole = Bytes::from(whole);
        Self { number, payload: Some(whole.slice(start..)), whole }
    }
}

/// Cuts `bytes` into fields; concatenating their `whole` gives `bytes` back.
pub(crate) fn split_fields(bytes: &Bytes) -> Result<Vec<WireField>, WireError> {
    let mut fields = Vec::new();
    let mut cursor = Cursor { bytes, position: 0, field_start: 0 };
    while cursor.position < bytes.len() {
        let start = cursor.position;
        cursor.field_start = start;
        let (number, wire_type) = cursor.tag()?;
        let payload = cursor.skip_value(number, wire_type, 0)?;
        fields.push(WireField {
            number,
            whole: bytes.slice(start..cursor.position),
            payload: payload.map(|range| bytes.slice(range)),
        });
    }
    Ok(fields)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    field_start: usize,
}

impl Cursor<'_> {
    fn truncated(&self) -> WireError {
        WireError::Truncated { offset: self.field_start }
    }

    fn malformed(&self) -> WireError {
        WireError::Malformed { offset: self.field_start }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.position).ok_or_else(|| self.truncated())?;
            self.position += 1;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(self.malformed());
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    fn tag(&mut self) -> Result<(u32, u64), WireError> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(self.malformed());
        }
        let number = u32::try_from(number).map_err(|_| self.malformed())?;
        Ok((number, tag & 7))
    }

    fn advance(&mut self, length: u64) -> Result<std::ops::Range<usize>, WireError> {
        let length = usize::try_from(length).map_err(|_| self.truncated())?;
        let end = self.position.checked_add(length).ok_or_else(|| self.truncated())?;
        if end > self.bytes.len() {
            return Err(self.truncated());
        }
        let range = self.position..end;
        self.position = end;
        Ok(range)
    }

    fn skip_value(
        &mut self,
        number: u32,
        wire_type: u64,
        depth: u32,
    ) -> Result<Option<std::ops::Range<usize>>, WireError> {
        match wire_type {
            0 => self.varint().map(|_| None),
            1 => self.advance(8).map(|_| None),
            LENGTH_DELIMITED => {
                let length = self.varint()?;
                self.advance(length).map(Some)
            }
            3 => self.skip_group(number, depth).map(|()| None),
            5 => self.advance(4).map(|_| None),
            _ => Err(self.malformed()),
        }
    }

    fn skip_group(&mut self, group: u32, depth: u32) -> Result<(), WireError> {
        if depth >= GROUP_DEPTH_MAX {
            return Err(self.malformed());
        }
        loop {
            let (number, wire_type) = self.tag()?;
            if wire_type == 4 {
                return if number == group { Ok(()) } else { Err(self.malformed()) };
            }
            self.skip_value(number, wire_type, depth + 1)?;
        }
    }
}

fn write_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{WireError, WireField, split_fields};

    fn split(bytes: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, WireError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let fields = split_fields(&bytes)?;
        let joined: Vec<u8> = fields.iter().flat_map(|field| field.whole.to_vec()).collect();
        assert_eq!(joined, bytes, "the pieces are the whole");
        Ok(fields
            .into_iter()
            .map(|field| (field.number, field.payload.unwrap_or_default().to_vec()))
            .collect())
    }

    #[test]
    fn every_wire_type_is_cut_at_its_end() {
        // varint 1, fixed64 2, bytes 3, group 4 { varint 1 }, fixed32 5
        let bytes = [
            &[8, 150, 1][..],
            &[17, 1, 2, 3, 4, 5, 6, 7, 8],
            &[26, 2, 104, 105],
            &[35, 8, 1, 36],
            &[45, 1, 2, 3, 4],
        ]
        .concat();
        let numbers: Vec<_> = split(&bytes).unwrap().into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_built_field_is_cut_again() {
        let field = WireField::length_delimited(300, &[7; 200]);
        assert_eq!(split(&field.whole).unwrap(), [(300, vec![7; 200])]);
    }

    #[test]
    fn what_no_writer_produces_is_refused() {
        let table: [(&[u8], WireError); 8] = [
            (&[0x0a], WireError::Truncated { offset: 0 }),
            (&[0x0a, 5, 1], WireError::Truncated { offset: 0 }),
            (&[8, 1, 0x0a, 0xff], WireError::Truncated { offset: 2 }),
            (&[0x00, 0x01], WireError::Malformed { offset: 0 }),
            (b"<html>", WireError::Malformed { offset: 0 }),
            (&[0x0c], WireError::Malformed { offset: 0 }),
            (&[0x0b, 0x14], WireError::Malformed { offset: 0 }),
            (
                &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                WireError::Malformed { offset: 0 },
            ),
        ];
        for (bytes, error) in table {
            assert_eq!(split(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn deep_groups_do_not_exhaust_the_stack() {
        assert_eq!(split(&vec![0x0b; 100_000]), Err(WireError::Malformed { offset: 0 }));
    }
}
