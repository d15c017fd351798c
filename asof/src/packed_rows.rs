//! Rows of fixed-width columns whose values lie together, a line of the processor's cache at a time: who gathers a row waits
//! for memory once, not once for each column.
//!
//! ```text
//! a line   │ a a a a a a a a │ b b b b │ c c │ nulls │ pad │   one bit for each column, set where it is null
//! ```

use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::Result;

use crate::late::ColumnPieces;

/// Bytes of a line at most.
const LINE_BYTES: usize = 64;
/// Rows that are packed before the next column's turn, so that their lines stay in the cache.
const ROWS_AT_ONCE: usize = if cfg!(test) { 3 } else { 4096 };

/// Which columns lie together, and where in their line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Default)]
struct Line {
    fields: Vec<Field>,
    /// Bytes of a row.
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Field {
    /// Position among the columns.
    column: usize,
    data_type: DataType,
    width: usize,
    offset: usize,
    /// Byte and mask of its null bit.
    null: (usize, u8),
}

/// Rows packed by a [`Layout`]: for each line the rows' bytes, and which of its fields have nulls.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    lines: Vec<(Vec<u8>, Vec<bool>)>,
}

/// The place of a column in a [`Layout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    field: usize,
}

impl Layout {
    /// A layout of those of the columns that can lie together with another one.
    pub(crate) fn new(types: &[DataType]) -> Self {
        let mut layout = Self::of_lines(types, LINE_BYTES);
        layout.lines.retain(|line| line.fields.len() > 1);
        layout
    }

    /// A layout of all columns that can lie together in one line, be it as long as they need.
    pub(crate) fn of_one_line(types: &[DataType]) -> Self {
        Self::of_lines(types, usize::MAX)
    }

    fn of_lines(types: &[DataType], bytes_max: usize) -> Self {
        let mut lines: Vec<Line> = Vec::new();
        for (column, data_type) in types.iter().enumerate() {
            let Some(width @ (1 | 2 | 4 | 8 | 16)) = data_type.primitive_width() else { continue };
            let with_it = |line: &Line| line.bytes + width + (line.fields.len() + 1).div_ceil(8);
            if lines.last().is_none_or(|line| with_it(line) > bytes_max) {
                lines.push(Line::default());
            }
            let Some(line) = lines.last_mut() else { continue };
            let offset = line.bytes;
            line.fields.push(Field { column, data_type: data_type.clone(), width, offset, null: (0, 0) });
            line.bytes += width;
        }
        lines.iter_mut().for_each(Line::seal);
        Self { lines }
    }

    /// Bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.lines.iter().map(|line| line.bytes).sum()
    }

    /// Where a column lies; `None` where it is kept by itself.
    pub(crate) fn place(&self, column: usize) -> Option<Place> {
        self.lines.iter().enumerate().find_map(|(line, fields)| {
            let field = fields.fields.iter().position(|field| field.column == column)?;
            Some(Place { line, field })
        })
    }

    /// The type of a column.
    pub(crate) fn data_type(&self, place: Place) -> &DataType {
        &self.lines[place.line].fields[place.field].data_type
    }

    /// Packs `rows` rows of columns, each given in pieces.
    pub(crate) fn pack(&self, columns: &[ColumnPieces], rows: usize) -> Packed {
        Packed { lines: self.lines.iter().map(|line| line.pack(columns, rows)).collect() }
    }

    /// Copies rows of a line, given by part and number, to `lines`.
    pub(crate) fn gather(&self, line: usize, parts: &[Packed], rows: &[(usize, usize)], lines: &mut Vec<u8>) {
        let bytes = self.lines[line].bytes;
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.lines[line].0.as_slice()).collect();
        lines.clear();
        lines.reserve(rows.len() * bytes);
        // The usual sizes are copied without a call, so that more accesses are under way at once.
        match bytes {
            16 => gather::<16>(&parts, rows, lines),
            24 => gather::<24>(&parts, rows, lines),
            32 => gather::<32>(&parts, rows, lines),
            64 => gather::<64>(&parts, rows, lines),
            _ => {
                for &(part, row) in rows {
                    lines.extend_from_slice(&parts[part][row * bytes..(row + 1) * bytes]);
                }
            }
        }
    }

    /// A column of gathered lines; `nulls` are null besides what is null itself. `parts` are what the lines came from.
    pub(crate) fn column(
        &self,
        place: Place,
        parts: &[Packed],
        lines: &[u8],
        nulls: Option<&NullBuffer>,
    ) -> Result<ArrayRef> {
        let line = &self.lines[place.line];
        let field = &line.fields[place.field];
        let rows = lines.len() / line.bytes;
        let (byte, mask) = field.null;
        let has_own = parts.iter().any(|part| part.lines[place.line].1[place.field]);
        let own = has_own.then(|| {
            NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| {
                lines[row * line.bytes + byte] & mask == 0
            }))
        });
        let values = match field.width {
            1 => field.values(lines, line.bytes, u8::from_ne_bytes),
            2 => field.values(lines, line.bytes, u16::from_ne_bytes),
            4 => field.values(lines, line.bytes, u32::from_ne_bytes),
            8 => field.values(lines, line.bytes, u64::from_ne_bytes),
            _ => field.values(lines, line.bytes, i128::from_ne_bytes),
        };
        let data = ArrayData::builder(field.data_type.clone())
            .len(rows)
            .add_buffer(values)
            .nulls(NullBuffer::union(own.as_ref(), nulls))
            .build()?;
        Ok(make_array(data))
    }
}

fn gather<const BYTES: usize>(parts: &[&[u8]], rows: &[(usize, usize)], lines: &mut Vec<u8>) {
    let parts: Vec<&[[u8; BYTES]]> = parts.iter().map(|part| part.as_chunks::<BYTES>().0).collect();
    lines.resize(rows.len() * BYTES, 0);
    let (lines, _) = lines.as_chunks_mut::<BYTES>();
    for (line, &(part, row)) in lines.iter_mut().zip(rows) {
        *line = parts[part][row];
    }
}

impl Packed {
    /// No rows, with room for some.
    pub(crate) fn with_capacity(layout: &Layout, rows: usize) -> Self {
        let line = |line: &Line| (Vec::with_capacity(rows * line.bytes), vec![false; line.fields.len()]);
        Self { lines: layout.lines.iter().map(line).collect() }
    }

    /// Takes a row of another one of the same layout in. What is null there is not noted: see [`Self::note_nulls`].
    #[inline]
    pub(crate) fn push(&mut self, layout: &Layout, other: &Self, row: usize) {
        for ((line, (own, _)), (others, _)) in layout.lines.iter().zip(&mut self.lines).zip(&other.lines) {
            let bytes = &others[row * line.bytes..(row + 1) * line.bytes];
            // The usual sizes are copied without a call.
            if let Ok(bytes) = <&[u8; 24]>::try_from(bytes) {
                own.extend_from_slice(bytes);
            } else if let Ok(bytes) = <&[u8; 32]>::try_from(bytes) {
                own.extend_from_slice(bytes);
            } else {
                own.extend_from_slice(bytes);
            }
        }
    }

    /// Notes which columns of another one have nulls.
    pub(crate) fn note_nulls(&mut self, other: &Self) {
        for ((_, own), (_, others)) in self.lines.iter_mut().zip(&other.lines) {
            own.iter_mut().zip(others).for_each(|(own, &other)| *own |= other);
        }
    }

    /// The values of a column that is eight bytes wide, as whole numbers.
    pub(crate) fn wide_values(&self, layout: &Layout, place: Place) -> impl Iterator<Item = i64> {
        let line = &layout.lines[place.line];
        let offset = line.fields[place.field].offset;
        self.lines[place.line].0.chunks_exact(line.bytes).map(move |row| {
            let mut value = [0; size_of::<i64>()];
            value.copy_from_slice(&row[offset..offset + size_of::<i64>()]);
            i64::from_ne_bytes(value)
        })
    }

    /// Drops all rows and keeps room for some.
    pub(crate) fn clear(&mut self, layout: &Layout, room: usize) {
        for (line, (rows, _)) in layout.lines.iter().zip(&mut self.lines) {
            rows.clear();
            rows.shrink_to(room * line.bytes);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.iter().map(|(rows, _)| rows.capacity()).sum()
    }
}

impl Line {
    /// Adds the null bits, and bytes up to a round number.
    fn seal(&mut self) {
        for (number, field) in self.fields.iter_mut().enumerate() {
            field.null = (self.bytes + number / 8, 1 << (number % 8));
        }
        let bytes = self.bytes + self.fields.len().div_ceil(8);
        // Rows that do not cross lines of the cache, where that costs little.
        let power = bytes.next_power_of_two();
        self.bytes = if power - bytes <= bytes / 4 { power } else { bytes.next_multiple_of(8) };
    }

    fn pack(&self, columns: &[ColumnPieces], rows: usize) -> (Vec<u8>, Vec<bool>) {
        let mut packed = vec![0_u8; rows * self.bytes];
        let mut has_nulls = vec![false; self.fields.len()];
        let mut cursors: Vec<Cursor<'_>> =
            self.fields.iter().map(|field| Cursor { pieces: &columns[field.column], row: 0 }).collect();
        for lines in packed.chunks_mut(ROWS_AT_ONCE * self.bytes) {
            for ((field, cursor), has_nulls) in self.fields.iter().zip(&mut cursors).zip(&mut has_nulls) {
                *has_nulls |= field.pack(cursor, lines, self.bytes);
            }
        }
        (packed, has_nulls)
    }
}

/// What is left of a column: the first piece from a row on.
struct Cursor<'a> {
    pieces: &'a [ArrayRef],
    row: usize,
}

impl Field {
    /// Fills the field of all `lines`; whether some are null.
    fn pack(&self, from: &mut Cursor<'_>, mut lines: &mut [u8], bytes: usize) -> bool {
        let mut has_nulls = false;
        while !lines.is_empty() {
            let Some((piece, others)) = from.pieces.split_first() else { return has_nulls };
            let rows = (piece.len() - from.row).min(lines.len() / bytes);
            let (filled, rest) = lines.split_at_mut(rows * bytes);
            let data = piece.to_data();
            let begin = (data.offset() + from.row) * self.width;
            let values = &data.buffers()[0].as_slice()[begin..begin + rows * self.width];
            match self.width {
                1 => self.scatter::<1>(values, filled, bytes),
                2 => self.scatter::<2>(values, filled, bytes),
                4 => self.scatter::<4>(values, filled, bytes),
                8 => self.scatter::<8>(values, filled, bytes),
                _ => self.scatter::<16>(values, filled, bytes),
            }
            if let Some(nulls) = piece.nulls().filter(|nulls| nulls.null_count() > 0) {
                let (byte, mask) = self.null;
                for (row, line) in filled.chunks_exact_mut(bytes).enumerate() {
                    if nulls.is_null(from.row + row) {
                        line[byte] |= mask;
                        has_nulls = true;
                    }
                }
            }
            from.row += rows;
            if from.row == piece.len() {
                *from = Cursor { pieces: others, row: 0 };
            }
            lines = rest;
        }
        has_nulls
    }

    fn scatter<const WIDTH: usize>(&self, values: &[u8], lines: &mut [u8], bytes: usize) {
        let (values, _) = values.as_chunks::<WIDTH>();
        for (value, line) in values.iter().zip(lines.chunks_exact_mut(bytes)) {
            line[self.offset..self.offset + WIDTH].copy_from_slice(value);
        }
    }

    fn values<T: ArrowNativeType, const WIDTH: usize>(
        &self,
        lines: &[u8],
        bytes: usize,
        value: impl Fn([u8; WIDTH]) -> T,
    ) -> Buffer {
        let values = lines.chunks_exact(bytes).map(|line| {
            let mut own = [0; WIDTH];
            own.copy_from_slice(&line[self.offset..self.offset + WIDTH]);
            value(own)
        });
        Buffer::from_vec(values.collect::<Vec<T>>())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        AsArray, Decimal128Array, Float64Array, Int8Array, Int16Array, StringArray, TimestampSecondArray,
        UInt32Array,
    };
    use arrow::compute::{concat, take};
    use proptest::prelude::*;

    use super::*;

    fn types() -> Vec<DataType> {
        let columns = columns(&[Some(1)]);
        columns.iter().map(|column| column.data_type().clone()).collect()
    }

    /// One column of each width, of a type that says something about its values, and a text.
    fn columns(values: &[Option<i8>]) -> Vec<ArrayRef> {
        let of = || values.iter().copied();
        vec![
            Arc::new(Int8Array::from(values.to_vec())),
            Arc::new(StringArray::from_iter(of().map(|value| value.map(|value| value.to_string())))),
            Arc::new(Int16Array::from_iter(of().map(|value| value.map(|value| i16::from(value) * 100)))),
            Arc::new(UInt32Array::from_iter(
                of().map(|value| value.map(|value| u32::from(value.unsigned_abs()))),
            )),
            Arc::new(
                TimestampSecondArray::from_iter(of().map(|value| value.map(i64::from))).with_timezone("UTC"),
            ),
            Arc::new(
                Decimal128Array::from_iter(of().map(|value| value.map(|value| i128::from(value) << 40)))
                    .with_precision_and_scale(20, 3)
                    .unwrap(),
            ),
            Arc::new(Float64Array::from_iter(of().map(|value| value.map(|value| f64::from(value) / 3.0)))),
        ]
    }

    proptest! {
        #[test]
        fn gathered_rows_are_those_that_were_packed(
            parts in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(prop::option::weighted(0.8, any::<i8>()), 1..6), 1..4),
                1..4,
            ),
            picks in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..20),
        ) {
            let layout = Layout::new(&types());
            let packed: Vec<Packed> = parts
                .iter()
                .map(|pieces| {
                    // Slices, so that pieces begin in the middle of their buffers.
                    let pieces: Vec<Vec<ArrayRef>> = pieces
                        .iter()
                        .map(|values| {
                            let longer = columns(&[&[Some(9)], values.as_slice(), &[None]].concat());
                            longer.iter().map(|column| column.slice(1, values.len())).collect()
                        })
                        .collect();
                    let rows = pieces.iter().map(|columns| columns[0].len()).sum();
                    let by_column: Vec<ColumnPieces> = (0..types().len())
                        .map(|column| pieces.iter().map(|columns| ArrayRef::clone(&columns[column])).collect())
                        .collect();
                    layout.pack(&by_column, rows)
                })
                .collect();
            let all: Vec<(usize, usize, Option<i8>)> = parts
                .iter()
                .enumerate()
                .flat_map(|(part, pieces)| {
                    pieces.iter().flatten().enumerate().map(move |(row, value)| (part, row, *value))
                })
                .collect();
            let picked: Vec<(usize, bool)> =
                picks.iter().map(|(index, is_valid)| (index.index(all.len()), *is_valid)).collect();
            let rows: Vec<(usize, usize)> = picked.iter().map(|&(pick, _)| (all[pick].0, all[pick].1)).collect();
            let nulls = NullBuffer::from_iter(picked.iter().map(|(_, is_valid)| *is_valid));
            let expected: UInt32Array =
                picked.iter().map(|&(pick, is_valid)| is_valid.then_some(pick as u32)).collect();
            let values = columns(&all.iter().map(|(_, _, value)| *value).collect::<Vec<_>>());
            let mut lines = Vec::new();
            for (column, values) in values.iter().enumerate() {
                let Some(place) = layout.place(column) else {
                    prop_assert!(values.as_string_opt::<i32>().is_some());
                    continue;
                };
                layout.gather(place.line, &packed, &rows, &mut lines);
                let gathered = layout.column(place, &packed, &lines, Some(&nulls)).unwrap();
                let expected = take(values, &expected, None).unwrap();
                prop_assert_eq!(gathered.to_data(), expected.to_data());
                prop_assert!(concat(&[&gathered, &expected]).is_ok(), "one type");
            }
        }
    }

    #[test]
    fn lines_hold_what_fits_and_nobody_lies_alone() {
        use DataType::{Boolean, Float32, Float64, Utf8};
        let bytes = |types: &[DataType]| -> Vec<(usize, usize)> {
            let layout = Layout::new(types);
            layout.lines.iter().map(|line| (line.fields.len(), line.bytes)).collect()
        };
        assert_eq!(bytes(&[]), []);
        assert_eq!(bytes(&[Float64, Utf8, Boolean]), [], "one that could");
        assert_eq!(bytes(&[Float64, Utf8, Float32]), [(2, 16)]);
        assert_eq!(bytes(&[Float64, Float64, Float64, Float32]), [(4, 32)], "29 bytes");
        assert_eq!(bytes(&[Float64, Float64, Float64, Float64]), [(4, 40)], "33 bytes");
        assert_eq!(bytes(&vec![Float64; 7]), [(7, 64)]);
        assert_eq!(bytes(&vec![Float64; 8]), [(7, 64)], "the eighth by itself");
        assert_eq!(bytes(&vec![Float32; 500]).len(), 34);
        let layout = Layout::new(&vec![Float64; 9]);
        assert_eq!(
            [0, 6, 7, 8, 9].map(|column| layout.place(column).map(|place| place.line)),
            [Some(0), Some(0), Some(1), Some(1), None]
        );
    }
}
