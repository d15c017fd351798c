//! Random joins as plain values: few keys, few instants, many ties, all units, every kind of null.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;
use std::sync::Arc;

use super::columns::{CELLS, Cell, column, dictionary, instants, list, map, structure};
use crate::instants::nanos_per;
use crate::key_cuts::KeyCuts;
use crate::spec::{AsofSpec, JoinForm, LookupSpec, PayloadColumn};

const KEYS_MAX: usize = 3;
const FEATURES_MAX: usize = 4;
const SPINE_ROWS_MAX: usize = 24;
const LOOKUP_ROWS_MAX: usize = 40;

/// Where a key is cut.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    keys: [Cell; KEYS_MAX],
    at: CutAt,
}

#[derive(Debug, Clone, Copy)]
enum CutAt {
    /// Seconds, and steps of the spine's unit beside them.
    Near(i64, i64),
    End(i64),
}

/// One join: types and rows of its inputs, and what is asked.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) key_types: Vec<DataType>,
    pub(super) spine_unit: TimeUnit,
    pub(super) spine: Vec<SpineRow>,
    pub(super) lookups: Vec<Lookup>,
}

#[derive(Debug, Clone)]
pub(super) struct SpineRow {
    keys: [Cell; KEYS_MAX],
    instant: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct Lookup {
    time_unit: TimeUnit,
    created_unit: Option<TimeUnit>,
    ttl_nanos: Option<i128>,
    created_cut: bool,
    features: Vec<DataType>,
    /// Positions in `features`; all of them, unless nothing is paid out.
    ties: Vec<usize>,
    payload: Vec<usize>,
    pub(super) rows: Vec<LookupRow>,
}

#[derive(Debug, Clone)]
pub(super) struct LookupRow {
    keys: [Cell; KEYS_MAX],
    time: Option<i64>,
    created: Option<i64>,
    cells: [Cell; FEATURES_MAX],
}

impl Case {
    /// What is asked of the lookups from `first` to before `end`.
    pub(super) fn spec(&self, form: JoinForm, first: usize, end: usize) -> AsofSpec {
        let keys = self.key_types.len();
        let lookups =
            self.lookups[first..end].iter().enumerate().map(|(number, l)| l.spec(first + number, keys));
        AsofSpec {
            form,
            spine_keys: (1..=keys).rev().collect(),
            spine_instant: keys + 1,
            lookups: lookups.collect(),
            first_outcome: first,
            clusters: true,
        }
    }

    /// `row` (its number), the keys, the instant, and two columns that no join looks at.
    pub(super) fn spine_schema(&self) -> SchemaRef {
        let mut fields = vec![Field::new("row", DataType::Int64, false)];
        fields.extend(
            self.key_types.iter().enumerate().map(|(k, t)| Field::new(format!("k{k}"), t.clone(), true)),
        );
        fields.push(Field::new("at", DataType::Timestamp(self.spine_unit, Some("+02:00".into())), true));
        fields.push(Field::new("label", DataType::Int32, true));
        fields.push(Field::new("note", DataType::Utf8, true));
        Arc::new(Schema::new(fields))
    }

    /// Cuts of this join's keys; nothing where it has none.
    pub(super) fn cuts(&self, cuts: &[Cut]) -> Option<KeyCuts> {
        if self.key_types.is_empty() || cuts.is_empty() {
            return None;
        }
        let mut columns = Vec::new();
        // In the order of the join's keys.
        for (key, kind) in self.key_types.iter().enumerate().rev() {
            let cells: Vec<Cell> = cuts.iter().map(|cut| cut.keys[key]).collect();
            columns.push((format!("k{key}"), column(kind, &cells, 0), true));
        }
        let second = 1_000_000_000 / nanos_per(self.spine_unit);
        let at = |cut: &Cut| match cut.at {
            CutAt::Near(seconds, steps) => Some(seconds * second + steps),
            CutAt::End(at) => Some(at),
        };
        let at: Vec<Option<i64>> = cuts.iter().map(at).collect();
        columns.push(("at".to_owned(), instants(self.spine_unit, Some("+02:00"), &at), true));
        let cuts = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        Some(KeyCuts::new(&cuts).unwrap())
    }

    /// The spine's rows with these numbers.
    pub(super) fn spine_batch(&self, rows: &[usize], salt: u64) -> RecordBatch {
        let numbers: Int64Array = rows.iter().map(|&row| row as i64).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(numbers)];
        for (key, kind) in self.key_types.iter().enumerate() {
            let cells: Vec<Cell> = rows.iter().map(|&row| self.spine[row].keys[key]).collect();
            columns.push(column(kind, &cells, salt));
        }
        let at: Vec<_> = rows.iter().map(|&row| self.spine[row].instant).collect();
        columns.push(instants(self.spine_unit, Some("+02:00"), &at));
        let beside = |row: &usize, of: u8| (!row.is_multiple_of(3)).then(|| *row as u8 % of);
        let label: Vec<Cell> = rows.iter().map(|row| beside(row, CELLS)).collect();
        let note: Vec<Cell> = rows.iter().map(|row| beside(row, 3)).collect();
        columns.extend([column(&DataType::Int32, &label, salt), column(&DataType::Utf8, &note, salt)]);
        RecordBatch::try_new(self.spine_schema(), columns).unwrap()
    }
}

impl Lookup {
    /// The features, the event time, the keys, the created time.
    pub(super) fn schema(&self, key_types: &[DataType]) -> SchemaRef {
        let mut fields: Vec<Field> = Vec::new();
        fields.extend(
            self.features.iter().enumerate().map(|(f, t)| Field::new(format!("f{f}"), t.clone(), true)),
        );
        fields.push(Field::new("time", DataType::Timestamp(self.time_unit, None), true));
        fields.extend(
            key_types.iter().enumerate().map(|(k, t)| Field::new(format!("key{k}"), t.clone(), true)),
        );
        if let Some(unit) = self.created_unit {
            fields.push(Field::new("created", DataType::Timestamp(unit, Some("UTC".into())), true));
        }
        Arc::new(Schema::new(fields))
    }

    /// The rows with these numbers.
    pub(super) fn batch(&self, key_types: &[DataType], rows: &[usize], salt: u64) -> RecordBatch {
        let mut columns = Vec::new();
        for (feature, kind) in self.features.iter().enumerate() {
            let cells: Vec<Cell> = rows.iter().map(|&row| self.rows[row].cells[feature]).collect();
            columns.push(column(kind, &cells, salt));
        }
        let times: Vec<_> = rows.iter().map(|&row| self.rows[row].time).collect();
        columns.push(instants(self.time_unit, None, &times));
        for (key, kind) in key_types.iter().enumerate() {
            let cells: Vec<Cell> = rows.iter().map(|&row| self.rows[row].keys[key]).collect();
            columns.push(column(kind, &cells, salt));
        }
        if let Some(unit) = self.created_unit {
            let created: Vec<_> = rows.iter().map(|&row| self.rows[row].created).collect();
            columns.push(instants(unit, Some("UTC"), &created));
        }
        RecordBatch::try_new(self.schema(key_types), columns).unwrap()
    }

    fn spec(&self, number: usize, keys: usize) -> LookupSpec {
        let time = self.features.len();
        let payload = self.payload.iter().enumerate();
        LookupSpec {
            ordinal: None,
            late_created: None,
            account: None,
            name: format!("lookup {number}"),
            keys: (time + 1..=time + keys).rev().collect(),
            time,
            created: self.created_unit.map(|_| time + keys + 1),
            ties: self.ties.clone(),
            payload: payload
                .map(|(place, &column)| PayloadColumn { column, output: format!("p{number}_{place}") })
                .collect(),
            ttl_nanos: self.ttl_nanos,
            created_cut: self.created_cut,
        }
    }
}

/// Any join of up to three lookups.
pub(super) fn any_case() -> impl Strategy<Value = Case> {
    let key_types = prop::collection::vec(key_type(), 0..=KEYS_MAX);
    (key_types, unit()).prop_flat_map(|(key_types, spine_unit)| {
        let row = (keys(), instant(spine_unit)).prop_map(|(keys, instant)| SpineRow { keys, instant });
        let spine = prop::collection::vec(row, 0..=SPINE_ROWS_MAX);
        let lookups = prop::collection::vec(lookup(), 1..=3);
        (Just(key_types), Just(spine_unit), spine, lookups).prop_map(
            |(key_types, spine_unit, spine, lookups)| Case { key_types, spine_unit, spine, lookups },
        )
    })
}

fn lookup() -> impl Strategy<Value = Lookup> {
    let features = prop::collection::vec(feature_type(), 0..=FEATURES_MAX);
    (unit(), prop::option::of(unit()), features).prop_flat_map(|(time_unit, created_unit, features)| {
        let all: Vec<usize> = (0..features.len()).collect();
        let payload = prop::sample::subsequence(all.clone(), 0..=all.len()).prop_shuffle();
        let row = (keys(), instant(time_unit), instant(created_unit.unwrap_or(time_unit)), cells())
            .prop_map(|(keys, time, created, cells)| LookupRow { keys, time, created, cells });
        let rows = prop::collection::vec(row, 0..=LOOKUP_ROWS_MAX);
        let asked = (ttl(), any::<bool>(), Just(all).prop_shuffle(), payload, any::<bool>());
        (Just((time_unit, created_unit, features)), asked, rows).prop_map(
            |((time_unit, created_unit, features), (ttl_nanos, created_cut, ties, payload, untied), rows)| {
                let ties = if untied && payload.is_empty() { Vec::new() } else { ties };
                Lookup { time_unit, created_unit, ttl_nanos, created_cut, features, ties, payload, rows }
            },
        )
    })
}

fn unit() -> impl Strategy<Value = TimeUnit> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    prop::sample::select(vec![Second, Millisecond, Microsecond, Nanosecond])
}

fn key_type() -> impl Strategy<Value = DataType> {
    prop_oneof![
        4 => Just(DataType::Int64),
        2 => Just(DataType::Utf8),
        1 => Just(DataType::Int32),
        1 => Just(DataType::Utf8View),
        1 => Just(DataType::Boolean),
        1 => Just(dictionary()),
    ]
}

fn feature_type() -> impl Strategy<Value = DataType> {
    prop_oneof![
        2 => Just(DataType::Int64),
        2 => Just(DataType::Float64),
        1 => Just(DataType::Utf8),
        1 => Just(DataType::Utf8View),
        1 => Just(DataType::Boolean),
        1 => Just(dictionary()),
        1 => Just(list()),
        1 => Just(structure()),
        1 => Just(map()),
    ]
}

/// Cuts of the common keys, and of one that is rare.
pub(super) fn any_cuts() -> impl Strategy<Value = Vec<Cut>> {
    let key = prop::array::uniform3(prop_oneof![8 => 0_u8..2, 1 => Just(4)].prop_map(Some));
    let at = prop_oneof![
        8 => (-2_i64..3, -1_i64..=1).prop_map(|(seconds, steps)| CutAt::Near(seconds, steps)),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX]).prop_map(CutAt::End),
    ];
    prop::collection::vec((key, at).prop_map(|(keys, at)| Cut { keys, at }), 0..=6)
}

/// Two common keys, so that rows meet; a third and null, so that some do not.
fn keys() -> impl Strategy<Value = [Cell; KEYS_MAX]> {
    prop::array::uniform3(prop_oneof![8 => (0_u8..2).prop_map(Some), 1 => Just(Some(4)), 1 => Just(None)])
}

fn cells() -> impl Strategy<Value = [Cell; FEATURES_MAX]> {
    prop::array::uniform4(prop_oneof![4 => (0..CELLS).prop_map(Some), 1 => Just(None)])
}

/// Whole seconds and one step beside them, so that instants of different units meet exactly or just miss;
/// and the ends of the range.
fn instant(unit: TimeUnit) -> impl Strategy<Value = Option<i64>> {
    let second = 1_000_000_000 / nanos_per(unit);
    prop_oneof![
        30 => (-2_i64..3, -1_i64..=1).prop_map(move |(seconds, steps)| Some(seconds * second + steps)),
        2 => Just(None),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX]).prop_map(Some),
    ]
}

fn ttl() -> impl Strategy<Value = Option<i128>> {
    let second = 1_000_000_000;
    prop::option::of(prop::sample::select(vec![
        0,
        1,
        1_000,
        second - 1,
        second,
        second + 1,
        2 * second,
        i128::from(i64::MAX),
        i128::from(u64::MAX) * second,
        i128::MAX,
    ]))
}
