//! A lookup as steps: for each key the moments at which its best row changes, so that a binary search answers any instant.
//!
//! ```text
//! key A   ──▶ a ────▶ b ─▶ c ─────▶ time      steps a b c: from each on, this is the best row
//! ```
//! A row counts from its *visible time* on, the event time or under a created cut the later of event and created time. A row
//! that becomes visible but is not better than what is known already makes no step.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::exec::timestamp_unit;
use crate::fetched::Fetched;
use crate::instants::{Instants, RoundUp, to_nanos};
use crate::key_index::{KeyIndex, NO_GROUP};
use crate::outcome::Outcome;
use crate::search::{Sought, partition_points};
use crate::spec::LookupSpec;
use crate::ties::comparable_form;

/// Rows are numbered with 32 bits.
const ROWS_MAX: usize = (u32::MAX - 8) as usize;

/// A row while the index is made; the order of the fields is the order of the sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sorted {
    group: u32,
    /// In the spine's unit.
    visible: i64,
    time: i64,
    created: Option<i64>,
    row: u32,
    is_tied: bool,
}

impl Sorted {
    fn meets(&self, other: &Self) -> bool {
        (self.group, self.time, self.created) == (other.group, other.time, other.created)
    }
}

/// What is searched and what is found lie together.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// From when on it holds, in the spine's unit.
    at: i64,
    time: i64,
    row: u32,
    is_tied: bool,
}

/// What a spine row gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Rank for [`BroadcastIndex::gather`].
    pub(crate) row: u32,
    pub(crate) outcome: Outcome,
    /// In nanoseconds, saturated.
    pub(crate) age: i64,
}

impl Answer {
    fn none(outcome: Outcome) -> Self {
        Self { row: 0, outcome, age: 0 }
    }
}

/// Steps of each key, and the rows' columns.
pub(crate) struct BroadcastIndex {
    keys: KeyIndex,
    spine_unit: TimeUnit,
    time_unit: TimeUnit,
    ttl_nanos: Option<i128>,
    /// First step of each key, and one past the last.
    starts: Vec<u32>,
    steps: Vec<Step>,
    seen: Option<Seen>,
    columns: Fetched,
    payload: Vec<usize>,
    rows: usize,
}

/// Under a created cut: event times by key, whatever the created time.
struct Seen {
    starts: Vec<u32>,
    /// In the spine's unit.
    at: Vec<i64>,
    times: Vec<i64>,
}

/// Bytes that the index takes for a row while it is made, beside the row's columns.
pub(crate) const ROW_BYTES_MAX: usize = 2 * size_of::<Sorted>() + size_of::<Step>() + 16;

impl BroadcastIndex {
    /// An index of all rows of a lookup, for instants of `spine_unit`.
    pub(crate) fn new(
        spec: &LookupSpec,
        schema: &SchemaRef,
        batches: &[RecordBatch],
        spine_unit: TimeUnit,
    ) -> Result<Self> {
        let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        if rows > ROWS_MAX {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "`{}` has more than {ROWS_MAX} rows, too many to broadcast",
                spec.name
            )));
        }
        let types = |columns: &[usize]| -> Vec<DataType> {
            columns.iter().map(|&column| schema.field(column).data_type().clone()).collect()
        };
        let mut kept: Vec<usize> =
            spec.ties.iter().copied().chain(spec.payload.iter().map(|payload| payload.column)).collect();
        kept.sort_unstable();
        kept.dedup();
        let arrays =
            |batch: &RecordBatch| kept.iter().map(|&c| vec![ArrayRef::clone(batch.column(c))]).collect();
        // Many spine rows meet few rows here.
        let columns = Fetched::new(&types(&kept), batches.par_iter().map(arrays), usize::MAX)?;
        let places = |columns: &mut dyn Iterator<Item = usize>| -> Vec<usize> {
            columns.map(|column| kept.partition_point(|&kept| kept < column)).collect()
        };
        let ties = places(&mut spec.ties.iter().copied());
        let mut keys = KeyIndex::new(&types(&spec.keys))?;
        let mut read = Reading::new(spec, schema, spine_unit)?;
        for batch in batches {
            read.push(spec, &mut keys, batch)?;
        }
        keys.seal();
        let groups = keys.groups();
        let Reading { mut rows_read, mut seen, .. } = read;
        // Spine rows that are put near those of the same key come by key then.
        let new = keys.sort();
        rows_read.iter_mut().for_each(|row| row.group = new[row.group as usize]);
        seen.iter_mut().flatten().for_each(|(group, _, _)| *group = new[*group as usize]);
        rows_read.par_sort_unstable();
        settle(&mut rows_read, &columns, &ties, &types(&spec.ties))?;
        let (starts, steps) = steps(&rows_read, groups);
        let seen = seen.as_mut().map(|seen| Seen::new(seen, groups));
        Ok(Self {
            keys,
            spine_unit,
            time_unit: timestamp_unit(schema, spec.time)?,
            ttl_nanos: spec.ttl_nanos,
            starts,
            steps,
            seen,
            columns,
            payload: places(&mut spec.payload.iter().map(|payload| payload.column)),
            rows,
        })
    }

    /// Rows that were indexed.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let seen = self.seen.as_ref().map_or(0, |seen| seen.starts.capacity() * 4 + seen.at.capacity() * 16);
        self.keys.memory_bytes()
            + self.columns.bytes()
            + self.starts.capacity() * 4
            + self.steps.capacity() * size_of::<Step>()
            + seen
    }

    /// How many keys there are.
    pub(crate) fn groups(&self) -> usize {
        self.keys.groups()
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &KeyIndex {
        &self.keys
    }

    /// The groups of the keys of a spine batch.
    pub(crate) fn find(&self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let mut groups = Vec::with_capacity(rows);
        self.keys.find(keys, rows, &mut groups)?;
        Ok(groups)
    }

    /// The answers to the rows of a spine batch, whose keys are of `groups`.
    pub(crate) fn answers(
        &self,
        keys: &[ArrayRef],
        groups: &[u32],
        instants: &ArrayRef,
    ) -> Result<Vec<Answer>> {
        let instants = Instants::of(instants.as_ref())?;
        let nulls: Vec<_> = keys.iter().filter_map(|key| key.logical_nulls()).collect();
        let sought: Vec<Sought> = groups
            .iter()
            .enumerate()
            .map(
                |(row, &group)| {
                    if instants.is_null(row) { (NO_GROUP, 0) } else { (group, instants.values[row]) }
                },
            )
            .collect();
        let mut after = Vec::new();
        partition_points(&self.starts, &self.steps, &sought, |step, instant| step.at <= instant, &mut after);
        let answers = sought.iter().zip(after).enumerate().map(|(row, (&(group, instant), after))| {
            if group != NO_GROUP {
                self.answer(group, instant, after)
            } else if instants.is_null(row) {
                Answer::none(Outcome::NullInstant)
            } else if nulls.iter().any(|nulls| nulls.is_null(row)) {
                Answer::none(Outcome::NullKey)
            } else {
                Answer::none(Outcome::NoneInReach)
            }
        });
        Ok(answers.collect())
    }

    /// The answer to a row of which `after` is the place past the last step that has begun.
    #[inline]
    fn answer(&self, group: u32, instant: i64, after: u32) -> Answer {
        if after > self.starts[group as usize] {
            let Step { time, row, is_tied, .. } = self.steps[after as usize - 1];
            let age = self.age(instant, time);
            if self.is_in_reach(age) {
                let outcome = if is_tied { Outcome::MatchedByTie } else { Outcome::Matched };
                return Answer { row, outcome, age: i64::try_from(age).unwrap_or(i64::MAX) };
            }
        }
        let is_hidden = self.seen.as_ref().is_some_and(|seen| {
            last_at(&seen.starts, &seen.at, group, instant)
                .is_some_and(|place| self.is_in_reach(self.age(instant, seen.times[place])))
        });
        Answer::none(if is_hidden { Outcome::Hidden } else { Outcome::NoneInReach })
    }

    #[inline]
    fn age(&self, instant: i64, time: i64) -> i128 {
        to_nanos(instant, self.spine_unit) - to_nanos(time, self.time_unit)
    }

    #[inline]
    fn is_in_reach(&self, age: i128) -> bool {
        self.ttl_nanos.is_none_or(|ttl| age <= ttl)
    }

    /// The columns of the payload for rows by rank, null where there is none.
    pub(crate) fn gather(&self, ranks: &UInt32Array) -> Result<Vec<ArrayRef>> {
        self.columns.gather(&self.payload, ranks)
    }
}

/// The last place of a group that lies at or before an instant.
#[inline]
fn last_at(starts: &[u32], at: &[i64], group: u32, instant: i64) -> Option<usize> {
    let (start, end) = (starts[group as usize] as usize, starts[group as usize + 1] as usize);
    let after = at[start..end].partition_point(|&at| at <= instant);
    (after > 0).then(|| start + after - 1)
}

/// Rows as they are read.
struct Reading {
    time_unit: TimeUnit,
    round_time: RoundUp,
    round_created: Option<RoundUp>,
    next_row: u32,
    rows_read: Vec<Sorted>,
    /// Under a created cut: group, event time in the spine's unit, event time.
    seen: Option<Vec<(u32, i64, i64)>>,
}

impl Reading {
    fn new(spec: &LookupSpec, schema: &SchemaRef, spine_unit: TimeUnit) -> Result<Self> {
        let time_unit = timestamp_unit(schema, spec.time)?;
        let created_unit = spec.created.map(|column| timestamp_unit(schema, column)).transpose()?;
        let cut = spec.created_cut && spec.created.is_some();
        Ok(Self {
            time_unit,
            round_time: RoundUp::new(time_unit, spine_unit),
            round_created: created_unit.filter(|_| cut).map(|unit| RoundUp::new(unit, spine_unit)),
            next_row: 0,
            rows_read: Vec::new(),
            seen: cut.then(Vec::new),
        })
    }

    fn push(&mut self, spec: &LookupSpec, keys: &mut KeyIndex, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<ArrayRef> =
            spec.keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        let mut groups = Vec::with_capacity(batch.num_rows());
        keys.insert(&columns, batch.num_rows(), &mut groups)?;
        let times = Instants::of(batch.column(spec.time).as_ref())?;
        debug_assert_eq!(times.unit, self.time_unit);
        let created = spec.created.map(|column| Instants::of(batch.column(column).as_ref())).transpose()?;
        for (place, &group) in groups.iter().enumerate() {
            let row = self.next_row;
            self.next_row += 1;
            if group == NO_GROUP || times.is_null(place) {
                continue;
            }
            let time = times.values[place];
            // Later than every instant of the spine.
            let Some(mut visible) = self.round_time.apply(time) else { continue };
            let own = created.as_ref().and_then(|c| (!c.is_null(place)).then(|| c.values[place]));
            if let Some(seen) = &mut self.seen {
                seen.push((group, visible, time));
            }
            if let Some(round) = self.round_created {
                // Under a cut a row without a created time is not eligible.
                let Some(bound) = own.and_then(|own| round.apply(own)) else { continue };
                visible = visible.max(bound);
            }
            self.rows_read.push(Sorted { group, visible, time, created: own, row, is_tied: false });
        }
        Ok(())
    }
}

/// Of rows that meet in key, event and created time one stays, the greatest by the tie columns; it is tied when they differ.
fn settle(rows: &mut Vec<Sorted>, columns: &Fetched, ties: &[usize], types: &[DataType]) -> Result<()> {
    let mut contested: Vec<u32> = Vec::new();
    if !ties.is_empty() {
        let runs = rows.chunk_by(Sorted::meets).filter(|run| run.len() > 1);
        contested.extend(runs.flatten().map(|row| row.row));
    }
    let comparable = if contested.is_empty() {
        None
    } else {
        let arrays = columns.gather(ties, &UInt32Array::from(contested))?;
        Some(comparable_form(types)?.convert_columns(&arrays)?)
    };
    // What stays moves up.
    let (mut first, mut stay, mut next) = (0, 0, 0);
    while first < rows.len() {
        let run = rows[first..].iter().take_while(|row| row.meets(&rows[first])).count();
        let mut best = rows[first];
        if let (Some(comparable), true) = (&comparable, run > 1) {
            let values = || (next..next + run).map(|place| comparable.row(place));
            let greatest = (0..run).max_by_key(|&place| comparable.row(next + place)).unwrap_or(0);
            best = rows[first + greatest];
            best.is_tied = values().min() != values().max();
            next += run;
        }
        rows[stay] = best;
        stay += 1;
        first += run;
    }
    rows.truncate(stay);
    Ok(())
}

/// The steps of sorted rows: where each key's begin, and all of them.
fn steps(rows: &[Sorted], groups: usize) -> (Vec<u32>, Vec<Step>) {
    let mut starts = Vec::with_capacity(groups + 1);
    let mut steps: Vec<Step> = Vec::new();
    for rows in rows.chunk_by(|one, other| one.group == other.group) {
        // Keys without rows that count begin where this one does.
        starts.resize(rows[0].group as usize + 1, as_u32(steps.len()));
        let mut best: Option<Sorted> = None;
        for row in rows {
            if best.is_some_and(|best| (row.time, row.created) <= (best.time, best.created)) {
                continue;
            }
            let step = Step { at: row.visible, time: row.time, row: row.row, is_tied: row.is_tied };
            if best.is_some_and(|best| best.visible == row.visible) {
                if let Some(last) = steps.last_mut() {
                    *last = step;
                }
            } else {
                steps.push(step);
            }
            best = Some(*row);
        }
    }
    starts.resize(groups + 1, as_u32(steps.len()));
    steps.shrink_to_fit();
    (starts, steps)
}

impl Seen {
    fn new(seen: &mut [(u32, i64, i64)], groups: usize) -> Self {
        seen.sort_unstable();
        let mut starts = Vec::with_capacity(groups + 1);
        let (mut at, mut times): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
        for rows in seen.chunk_by(|one, other| one.0 == other.0) {
            starts.resize(rows[0].0 as usize + 1, as_u32(at.len()));
            for &(_, visible, time) in rows {
                at.push(visible);
                times.push(time);
            }
        }
        starts.resize(groups + 1, as_u32(at.len()));
        Self { starts, at, times }
    }
}

/// Places stay below [`ROWS_MAX`].
fn as_u32(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
