//! Runs of a spine that streams past, each with its rows put near those of the same key. What repeats is then near, too: files
//! of rows that share features get less than half their size, and are written faster.
//!
//! ```text
//! as they come   │ b a c b a │ c a b b c │      a run    │ a a a │ b b b b │ c c c │   by instant inside a key
//! ```
//! Rows go to buckets of neighbouring keys as they come, their columns of fixed width side by side; a bucket is brought in
//! order when it comes out, while it lies in the processor's cache. The keys themselves are given back by their numbers.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DataFusionError, Result};

use crate::fetched::bytes_of;
use crate::key_index::NO_GROUP;
use crate::packed_rows::{Layout, Packed, Place};
use crate::places::Places;
use crate::slot_index::as_u32;
use crate::spine_rows::{in_schema_order, keys_and_others};

/// Rows of a run at most. Twice as many, and `bigspine` (benches/) takes a fifth less bytes, and as long: memory costs, too.
pub(crate) const RUN_ROWS: usize = if cfg!(test) { 10 } else { 1 << 21 };
/// Bytes of a run at most.
const RUN_BYTES: usize = 128 << 20;
/// Bytes for each row of a bucket that is brought in order.
const ORDER_BYTES: usize = size_of::<(i64, u32)>() + size_of::<u32>();
/// Rows of a bucket, about, where keys have as many rows each; rows of a batch that comes out, at most.
const BUCKET_ROWS: usize = if cfg!(test) { 3 } else { 8192 };

/// A row beside its columns of fixed width.
#[derive(Debug, Clone, Copy)]
struct Narrow {
    /// The group of its key.
    group: u32,
    /// Its number in the run.
    row: u32,
}

#[derive(Debug)]
struct Bucket {
    rows: Vec<Narrow>,
    packed: Packed,
}

/// A run: collected, then put out, then collected again.
pub(crate) struct Run {
    columns: Columns,
    /// The place of the instants.
    instant: Place,
    rows_max: usize,
    /// Bits of a group below those that choose its bucket.
    shift: u32,
    buckets: Vec<Bucket>,
    /// Which packed columns have nulls; no rows.
    nulls: Packed,
    /// Rows with a group.
    grouped: usize,
    /// Rows of the batches that `pieces` are of.
    numbered: usize,
    /// The columns apart, of each batch.
    pieces: Vec<Vec<ArrayRef>>,
    piece_rows: Vec<usize>,
    piece_bytes: usize,
    /// Rows without a group, as they came, their number and their bytes.
    groupless: VecDeque<RecordBatch>,
    groupless_rows: usize,
    groupless_bytes: usize,
    out: Option<Out>,
}

/// Where the columns of a spine are while their rows are kept.
struct Columns {
    schema: SchemaRef,
    /// Positions of the keys, with their places in the tuple: nowhere.
    keys: Vec<(usize, usize)>,
    /// Positions of the others.
    others: Vec<usize>,
    /// How some of the others lie in the buckets.
    layout: Layout,
    /// Those of the others that do not.
    apart: Vec<usize>,
}

impl Columns {
    fn of(schema: &SchemaRef, keys: &[usize]) -> Self {
        let (keys, others) = keys_and_others(schema, keys);
        let types: Vec<DataType> =
            others.iter().map(|&column| schema.field(column).data_type().clone()).collect();
        let layout = Layout::of_one_line(&types);
        Self {
            schema: SchemaRef::clone(schema),
            keys,
            apart: (0..others.len()).filter(|&other| layout.place(other).is_none()).collect(),
            others,
            layout,
        }
    }

    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        size_of::<Narrow>() + self.layout.row_bytes()
    }
}

/// How far the rows have come out.
struct Out {
    /// Where the columns apart are.
    pieces: Places,
    bucket: usize,
    /// The places of its rows in their order.
    order: Vec<u32>,
    done: usize,
}

impl Run {
    /// How many rows a run has at most, if there may be so many rows and so many bytes: none is not worth it.
    pub(crate) fn rows_max(schema: &SchemaRef, keys: &[usize], rows: usize, bytes: usize) -> usize {
        rows.min(RUN_ROWS).min(bytes.min(RUN_BYTES) / Columns::of(schema, keys).row_bytes())
    }

    /// A run of up to `rows` rows, and never more than suits, whose keys are in columns and of so many groups, and whose instants are
    /// in a column that is not a key.
    pub(crate) fn new(
        schema: &SchemaRef,
        keys: &[usize],
        instant: usize,
        groups: usize,
        rows: usize,
    ) -> Result<Self> {
        let columns = Columns::of(schema, keys);
        let other = columns.others.iter().position(|&other| other == instant);
        let Some(instant) = other.and_then(|other| columns.layout.place(other)) else {
            let field = schema.field(instant);
            return Err(DataFusionError::Internal(format!("an instant column is {}", field.data_type())));
        };
        let rows_max = rows.max(1);
        let buckets_of = |shift: u32| (groups.saturating_sub(1) >> shift) + 1;
        let mut shift = 0;
        while buckets_of(shift) > (rows_max / BUCKET_ROWS).max(1) {
            shift += 1;
        }
        let buckets = buckets_of(shift);
        let room = room(rows_max, buckets);
        let bucket = || Bucket {
            rows: Vec::with_capacity(room),
            packed: Packed::with_capacity(&columns.layout, room),
        };
        Ok(Self {
            instant,
            rows_max,
            shift,
            buckets: (0..buckets).map(|_| bucket()).collect(),
            nulls: Packed::with_capacity(&columns.layout, 0),
            grouped: 0,
            numbered: 0,
            pieces: Vec::new(),
            piece_rows: Vec::new(),
            piece_bytes: 0,
            groupless: VecDeque::new(),
            groupless_rows: 0,
            groupless_bytes: 0,
            out: None,
            columns,
        })
    }

    /// Bytes that [`Self::new`] takes, at most.
    pub(crate) fn bytes_of_new(schema: &SchemaRef, keys: &[usize], rows: usize) -> usize {
        room(rows, 1).saturating_mul(Columns::of(schema, keys).row_bytes())
    }

    /// Takes rows in, with the groups of their keys.
    pub(crate) fn push(&mut self, batch: &RecordBatch, groups: &[u32]) -> Result<()> {
        let places = (0_u32..).zip(groups).filter(|&(_, &group)| group == NO_GROUP).map(|(place, _)| place);
        let groupless: Vec<u32> = places.collect();
        let grouped = batch.num_rows() - groupless.len();
        if !groupless.is_empty() {
            self.groupless_rows += groupless.len();
            let groupless = match grouped {
                0 => batch.clone(),
                _ => take_record_batch(batch, &UInt32Array::from(groupless))?,
            };
            self.groupless_bytes += bytes_of(groupless.columns());
            self.groupless.push_back(groupless);
        }
        if grouped == 0 {
            return Ok(());
        }
        let Columns { others, layout, apart, .. } = &self.columns;
        let others: Vec<Vec<ArrayRef>> =
            others.iter().map(|&column| vec![ArrayRef::clone(batch.column(column))]).collect();
        let packed = layout.pack(&others, batch.num_rows());
        self.nulls.note_nulls(&packed);
        for (place, &group) in groups.iter().enumerate().filter(|&(_, &group)| group != NO_GROUP) {
            let bucket = &mut self.buckets[(group >> self.shift) as usize];
            bucket.rows.push(Narrow { group, row: as_u32(self.numbered + place) });
            bucket.packed.push(layout, &packed, place);
        }
        self.grouped += grouped;
        self.numbered += batch.num_rows();
        if !apart.is_empty() {
            let apart: Vec<ArrayRef> =
                apart.iter().map(|&other| ArrayRef::clone(&others[other][0])).collect();
            self.piece_bytes += bytes_of(&apart);
            self.pieces.push(apart);
            self.piece_rows.push(batch.num_rows());
        }
        Ok(())
    }

    /// Whether no more rows should come. A run without rows takes some, whatever its room.
    pub(crate) fn is_full(&self) -> bool {
        let bytes = self.grouped * self.columns.row_bytes() + self.piece_bytes + self.groupless_bytes;
        let rows = self.grouped + self.groupless_rows;
        rows > 0 && (rows >= self.rows_max || bytes >= RUN_BYTES)
    }

    /// Bytes held, and those that bring the longest bucket in order.
    pub(crate) fn bytes(&self) -> usize {
        let of = |bucket: &Bucket| bucket.rows.capacity() * size_of::<Narrow>() + bucket.packed.bytes();
        let longest = self.buckets.iter().map(|bucket| bucket.rows.len()).max().unwrap_or(0);
        let held = self.piece_bytes + self.buckets.iter().map(of).sum::<usize>() + self.groupless_bytes;
        held + longest * ORDER_BYTES
    }

    /// The next rows and their groups; after the last ones the run is as new. `keys` gives a column for each key, of some groups.
    pub(crate) fn next(
        &mut self,
        keys: impl Fn(&[u32]) -> Result<Vec<ArrayRef>>,
    ) -> Result<Option<(RecordBatch, Vec<u32>)>> {
        let Self { columns, buckets, instant, shift, piece_rows, out, .. } = self;
        let (instant, shift) = (*instant, *shift);
        let ordered = |buckets: &[Bucket], number: usize| {
            buckets[number].order(&columns.layout, instant, number << shift, shift)
        };
        let out = out.get_or_insert_with(|| Out {
            pieces: Places::new(piece_rows.iter().copied()),
            bucket: 0,
            order: ordered(buckets, 0),
            done: 0,
        });
        while out.bucket < buckets.len() && out.done == out.order.len() {
            out.bucket += 1;
            out.done = 0;
            out.order = if out.bucket < buckets.len() { ordered(buckets, out.bucket) } else { Vec::new() };
        }
        let Some(bucket) = buckets.get(out.bucket) else { return self.next_groupless() };
        let end = out.order.len().min(out.done + BUCKET_ROWS);
        let order = &out.order[out.done..end];
        out.done = end;
        let groups: Vec<u32> = order.iter().map(|&place| bucket.rows[place as usize].group).collect();
        let places: Vec<(usize, usize)> = order.iter().map(|&place| (0, place as usize)).collect();
        let mut lines = Vec::new();
        columns.layout.gather(0, std::slice::from_ref(&bucket.packed), &places, &mut lines);
        let mut all: Vec<(usize, ArrayRef)> = Vec::with_capacity(columns.schema.fields().len());
        let key_columns = keys(&groups)?;
        all.extend(columns.keys.iter().map(|&(column, key)| (column, ArrayRef::clone(&key_columns[key]))));
        for (other, &column) in columns.others.iter().enumerate() {
            if let Some(place) = columns.layout.place(other) {
                let nulls = std::slice::from_ref(&self.nulls);
                all.push((column, columns.layout.column(place, nulls, &lines, None)?));
            }
        }
        if !columns.apart.is_empty() {
            let row = |place: &u32| out.pieces.of(bucket.rows[*place as usize].row as usize);
            let rows: Vec<(usize, usize)> = order.iter().map(row).collect();
            for (apart, &other) in columns.apart.iter().enumerate() {
                let pieces: Vec<&dyn Array> =
                    self.pieces.iter().map(|pieces| pieces[apart].as_ref()).collect();
                all.push((columns.others[other], interleave(&pieces, &rows)?));
            }
        }
        Ok(Some((in_schema_order(&columns.schema, all)?, groups)))
    }

    /// [`Self::next`] when all rows with a group are out.
    fn next_groupless(&mut self) -> Result<Option<(RecordBatch, Vec<u32>)>> {
        let (mut pieces, mut rows) = (Vec::new(), 0);
        while rows < BUCKET_ROWS
            && let Some(piece) = self.groupless.pop_front()
        {
            let taken = piece.num_rows().min(BUCKET_ROWS - rows);
            if taken < piece.num_rows() {
                self.groupless.push_front(piece.slice(taken, piece.num_rows() - taken));
            }
            pieces.push(piece.slice(0, taken));
            rows += taken;
        }
        if rows == 0 {
            self.clear();
            return Ok(None);
        }
        let batch = concat_batches(&self.columns.schema, &pieces)?;
        Ok(Some((batch, vec![NO_GROUP; rows])))
    }

    /// Drops the rows and keeps the room that a run needs whose keys have as many rows each.
    fn clear(&mut self) {
        let room = room(self.rows_max, self.buckets.len());
        for bucket in &mut self.buckets {
            bucket.rows.clear();
            bucket.rows.shrink_to(room);
            bucket.packed.clear(&self.columns.layout, room);
        }
        self.nulls = Packed::with_capacity(&self.columns.layout, 0);
        self.grouped = 0;
        self.numbered = 0;
        self.pieces.clear();
        self.piece_rows.clear();
        self.piece_bytes = 0;
        self.groupless.clear();
        self.groupless_rows = 0;
        self.groupless_bytes = 0;
        self.out = None;
    }
}

/// Rows that each of some buckets has room for: a little more than they need if keys have as many rows each.
fn room(rows: usize, buckets: usize) -> usize {
    rows / buckets + rows / buckets / 16
}

impl Bucket {
    /// The places of the rows, whose groups begin at `first` and have bits below `shift`, by group and instant.
    fn order(&self, layout: &Layout, instant: Place, first: usize, shift: u32) -> Vec<u32> {
        let mut starts = vec![0_u32; (1 << shift) + 1];
        for row in &self.rows {
            starts[row.group as usize - first + 1] += 1;
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        let mut sorted = vec![(0_i64, 0_u32); self.rows.len()];
        let mut next = starts.clone();
        let instants = self.packed.wide_values(layout, instant);
        for ((place, row), instant) in (0_u32..).zip(&self.rows).zip(instants) {
            let at = &mut next[row.group as usize - first];
            sorted[*at as usize] = (instant, place);
            *at += 1;
        }
        for bounds in starts.windows(2) {
            sorted[bounds[0] as usize..bounds[1] as usize].sort_unstable();
        }
        sorted.into_iter().map(|(_, place)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, StringArray, TimestampSecondArray};
    use arrow::datatypes::{Field, Int64Type, Schema, TimeUnit, TimestampSecondType};

    use super::*;

    const NONE: u32 = NO_GROUP;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("key", DataType::Int64, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Second, None), true),
            Field::new("row", DataType::Int64, true),
        ]))
    }

    fn key(group: u32) -> Option<i64> {
        (group != NONE).then_some(i64::from(group) * 10)
    }

    fn keys(groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(groups.iter().map(|&group| key(group)).collect::<Int64Array>())])
    }

    fn new_run(groups: usize, rows: usize) -> Run {
        Run::new(&schema(), &[1], 2, groups, rows).unwrap()
    }

    /// What comes out of batches of (group, instant): group, instant and number of each row; odd numbers are null.
    fn ordered(run: &mut Run, batches: &[&[(u32, i64)]]) -> Vec<(u32, i64, i64)> {
        let mut row = 0;
        for rows in batches {
            let numbers: Vec<i64> = (row..row + rows.len() as i64).collect();
            row += rows.len() as i64;
            let even = |number: &i64| (number % 2 == 0).then_some(*number);
            let columns: Vec<ArrayRef> = vec![
                Arc::new(numbers.iter().map(|number| Some(number.to_string())).collect::<StringArray>()),
                Arc::new(rows.iter().map(|row| key(row.0)).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| Some(row.1)).collect::<TimestampSecondArray>()),
                Arc::new(numbers.iter().map(even).collect::<Int64Array>()),
            ];
            let batch = RecordBatch::try_new(schema(), columns).unwrap();
            run.push(&batch, &rows.iter().map(|row| row.0).collect::<Vec<_>>()).unwrap();
        }
        let mut found = Vec::new();
        while let Some((batch, groups)) = run.next(keys).unwrap() {
            assert!(batch.num_rows() <= BUCKET_ROWS);
            let text = batch.column(0).as_string::<i32>();
            assert_eq!(batch.column(1), &keys(&groups).unwrap()[0]);
            let instants = batch.column(2).as_primitive::<TimestampSecondType>().values();
            let numbers = batch.column(3).as_primitive::<Int64Type>();
            for (row, (&at, &group)) in instants.iter().zip(&groups).enumerate() {
                let number: i64 = text.value(row).parse().unwrap();
                assert_eq!(numbers.is_null(row), number % 2 == 1);
                assert!(numbers.is_null(row) || numbers.value(row) == number);
                found.push((group, at, number));
            }
        }
        found
    }

    #[test]
    fn rows_come_by_group_and_instant_and_those_without_a_group_last() {
        let first: &[&[(u32, i64)]] = &[
            &[(2, 9), (0, 5), (NONE, 1), (2, 3)],
            &[(0, 4), (2, 3), (0, 6), (NONE, 0), (2, 1)],
            &[],
            &[(6, 1), (NONE, 5), (NONE, 4)],
        ];
        let expected: Vec<(u32, i64, i64)> = vec![
            (0, 4, 4),
            (0, 5, 1),
            (0, 6, 6),
            (2, 1, 8),
            (2, 3, 3),
            (2, 3, 5),
            (2, 9, 0),
            (6, 1, 9),
            (NONE, 1, 2),
            (NONE, 0, 7),
            (NONE, 5, 10),
            (NONE, 4, 11),
        ];
        // From a bucket for all keys to one for each.
        for rows in [1, 5, 10, 100] {
            let mut run = new_run(7, rows);
            for _ in 0..2 {
                let found = ordered(&mut run, first);
                assert_eq!(found, expected, "{rows} rows");
                assert_eq!(ordered(&mut run, &[]), []);
            }
        }
    }

    #[test]
    fn a_run_is_full_by_rows_or_bytes() {
        let mut run = new_run(1, 4);
        assert!(!run.is_full());
        assert!(run.bytes() <= Run::bytes_of_new(&schema(), &[1], 4));
        let batch = RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(StringArray::from(vec!["a"; 3])),
                Arc::new(Int64Array::from(vec![0; 3])),
                Arc::new(TimestampSecondArray::from(vec![1; 3])),
                Arc::new(Int64Array::from(vec![1; 3])),
            ],
        )
        .unwrap();
        run.push(&batch, &[0; 3]).unwrap();
        assert!(!run.is_full());
        run.push(&batch, &[0; 3]).unwrap();
        assert!(run.is_full());
        let mut run = new_run(1, 10);
        run.push(&batch, &[0; 3]).unwrap();
        run.piece_bytes = RUN_BYTES;
        assert!(run.is_full());
    }

    #[test]
    fn a_run_takes_rows_however_wide_they_are_and_however_they_were_spread() {
        let instant = || Field::new("at", DataType::Timestamp(TimeUnit::Second, None), true);
        let wide = |column: usize| Field::new(format!("c{column}"), DataType::Int64, true);
        let schema: SchemaRef =
            Arc::new(Schema::new(std::iter::once(instant()).chain((0..2000).map(wide)).collect::<Vec<_>>()));
        let rows = Run::rows_max(&schema, &[], RUN_ROWS, 40_000);
        assert_eq!(rows, 2);
        assert_eq!(Run::rows_max(&schema, &[], RUN_ROWS, 100), 0);
        let mut run = Run::new(&schema, &[], 0, 3, rows).unwrap();
        let batch = |rows: usize| {
            let instants: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1; rows]));
            let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1; rows]));
            let columns = std::iter::once(instants).chain((0..2000).map(|_| ArrayRef::clone(&numbers)));
            RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
        };
        let room = run.bytes();
        // All of one key, then all without one: buckets that grow do not keep what they grew to.
        for groups in [[0; 40], [NONE; 40]] {
            assert!(!run.is_full());
            run.push(&batch(40), &groups).unwrap();
            assert!(run.is_full() && run.bytes() > room);
            let mut rows = 0;
            while let Some((batch, _)) = run.next(|_| Ok(Vec::new())).unwrap() {
                rows += batch.num_rows();
            }
            assert_eq!(rows, 40);
            assert!(run.bytes() <= room, "{} of {room}", run.bytes());
        }
    }
}
