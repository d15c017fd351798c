//! Answers calculated by hand, for every form: what the contract says of bounds, ties, nulls and cuts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int8Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Int8Type, Int64Type, Schema, SchemaRef, TimeUnit, UInt8Type};
use datafusion::physical_plan::collect;

use super::columns::instants;
use super::forms_agree::runtime;
use super::running::{Layout, join, plan, scan, session, unlimited};
use crate::Outcome::{self, Hidden, Matched, MatchedByTie, NoneInReach, NullInstant, NullKey};
use crate::spec::{AsofSpec, JoinForm, LookupSpec, PayloadColumn};
use TimeUnit::{Microsecond, Nanosecond, Second};

type Instant = Option<i64>;
/// Value, outcome, age in nanoseconds.
type Answer = (Option<i64>, Outcome, Option<i64>);

/// A join on one integer key with one integer feature.
#[derive(Clone)]
struct Question {
    spine: Vec<(Option<i64>, Instant)>,
    spine_unit: TimeUnit,
    /// Key, event time, created time, feature.
    rows: Vec<(Option<i64>, Instant, Instant, Option<i64>)>,
    unit: TimeUnit,
    ttl_nanos: Option<i128>,
    has_created: bool,
    created_cut: bool,
    /// Columns of either side that must be equal.
    keys: &'static [usize],
}

impl Question {
    /// Key 1 at the given instants; rows of key 1 with their event time as value.
    fn new(instants: &[i64], times: &[i64]) -> Self {
        Self {
            spine: instants.iter().map(|&at| (Some(1), Some(at))).collect(),
            spine_unit: Nanosecond,
            rows: times.iter().map(|&time| (Some(1), Some(time), None, Some(time))).collect(),
            unit: Nanosecond,
            ttl_nanos: None,
            has_created: false,
            created_cut: false,
            keys: &[1],
        }
    }

    fn ttl(self, nanos: i128) -> Self {
        Self { ttl_nanos: Some(nanos), ..self }
    }

    fn units(self, spine_unit: TimeUnit, unit: TimeUnit) -> Self {
        Self { spine_unit, unit, ..self }
    }

    /// Event time, created time, feature; all of key 1.
    fn created(self, rows: &[(i64, Instant, Option<i64>)]) -> Self {
        let rows = rows.iter().map(|&(time, created, value)| (Some(1), Some(time), created, value)).collect();
        Self { rows, has_created: true, ..self }
    }

    fn cut(self) -> Self {
        Self { created_cut: true, ..self }
    }

    fn answers(&self, form: JoinForm, partitions: usize) -> Vec<Answer> {
        let state = session(&Layout { target_partitions: partitions, ..Layout::plain() }, unlimited());
        let keys = self.keys.to_vec();
        let spec = AsofSpec {
            form,
            spine_keys: keys.clone(),
            spine_instant: 2,
            lookups: vec![LookupSpec {
                ordinal: None,
                late_created: None,
                account: None,
                name: "rows".into(),
                keys,
                time: 2,
                created: self.has_created.then_some(3),
                ties: vec![0],
                payload: vec![PayloadColumn { column: 0, output: "value".into() }],
                ttl_nanos: self.ttl_nanos,
                created_cut: self.created_cut,
            }],
            first_outcome: 0,
            clusters: true,
        };
        let spine = self.spine.iter().enumerate();
        let spine = spine.map(|(row, &(key, at))| (Some(row as i64), key, at, None)).collect::<Vec<_>>();
        let rows: Vec<_> =
            self.rows.iter().map(|&(key, time, created, value)| (value, key, time, created)).collect();
        let inputs = vec![table("spine", self.spine_unit, &spine), table("rows", self.unit, &rows)];
        let batches = runtime().block_on(async {
            let plan = plan(&state, &join(spec, inputs).unwrap()).await.unwrap();
            collect(plan, state.task_ctx()).await.unwrap()
        });
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), self.spine.len());
        let Some(first) = batches.first() else { return Vec::new() };
        let all = concat_batches(&first.schema(), &batches).unwrap();
        let times = cast(all.column(2), &DataType::Int64).unwrap();
        let times = times.as_primitive::<Int64Type>();
        let mut answers: Vec<(i64, Answer)> = (0..all.num_rows())
            .map(|row| {
                let number = |column: usize| {
                    let column = all.column(column).as_primitive::<Int64Type>();
                    column.is_valid(row).then(|| column.value(row))
                };
                // The spine's columns are as they came.
                let spine = self.spine[usize::try_from(number(0).unwrap()).unwrap()];
                let instant = times.is_valid(row).then(|| times.value(row));
                assert_eq!((number(1), instant), spine);
                let outcome = all.column(5).as_primitive::<UInt8Type>().value(row);
                (number(0).unwrap(), (number(4), Outcome::from_code(outcome).unwrap(), number(6)))
            })
            .collect();
        answers.sort_by_key(|(row, _)| *row);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Every form, alone and in three partitions.
    fn gives(&self, expected: &[Answer]) {
        for form in [JoinForm::NaiveLoop, JoinForm::SlotFold, JoinForm::Broadcast] {
            for partitions in [1, 3] {
                assert_eq!(self.answers(form, partitions), expected, "{form:?}, {partitions} partitions");
            }
        }
    }
}

/// Columns: a number, the key, the time, the created time.
fn table(
    name: &str,
    unit: TimeUnit,
    rows: &[(Option<i64>, Option<i64>, Instant, Instant)],
) -> datafusion::logical_expr::LogicalPlan {
    let time = || DataType::Timestamp(unit, None);
    let schema = Arc::new(Schema::new(vec![
        Field::new("number", DataType::Int64, true),
        Field::new("key", DataType::Int64, true),
        Field::new("time", time(), true),
        Field::new("created", time(), true),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
        instants(unit, None, &rows.iter().map(|row| row.2).collect::<Vec<_>>()),
        instants(unit, None, &rows.iter().map(|row| row.3).collect::<Vec<_>>()),
    ];
    scan(name, Arc::clone(&schema), vec![vec![RecordBatch::try_new(schema, columns).unwrap()]]).unwrap()
}

fn matched(value: i64, age: i64) -> Answer {
    (Some(value), Matched, Some(age))
}

fn no(outcome: Outcome) -> Answer {
    (None, outcome, None)
}

#[test]
fn the_latest_row_at_or_before_the_instant_wins() {
    Question::new(&[9, 10, 19, 20, 21], &[20, 10]).gives(&[
        no(NoneInReach),
        matched(10, 0),
        matched(10, 9),
        matched(20, 0),
        matched(20, 1),
    ]);
}

#[test]
fn ttl_includes_the_exact_boundary() {
    Question::new(&[10, 15, 16], &[10]).ttl(5).gives(&[matched(10, 0), matched(10, 5), no(NoneInReach)]);
    Question::new(&[10, 11], &[10]).ttl(0).gives(&[matched(10, 0), no(NoneInReach)]);
}

#[test]
fn the_latest_row_hides_older_ones_even_when_it_is_null() {
    let question = Question {
        rows: vec![(Some(1), Some(1), None, Some(7)), (Some(1), Some(2), None, None)],
        ..Question::new(&[3], &[])
    };
    question.gives(&[(None, Matched, Some(1))]);
}

#[test]
fn nulls_never_match_and_a_null_instant_is_named_first() {
    let question = Question {
        spine: vec![(None, None), (Some(1), None), (None, Some(9)), (Some(1), Some(9)), (Some(2), Some(9))],
        rows: vec![
            (None, Some(5), None, Some(5)),
            (Some(1), None, None, Some(6)),
            (None, None, None, Some(7)),
        ],
        ..Question::new(&[], &[])
    };
    question.gives(&[no(NullInstant), no(NullInstant), no(NullKey), no(NoneInReach), no(NoneInReach)]);
}

#[test]
fn every_spine_row_is_answered_duplicates_included() {
    Question::new(&[5, 5, 5, 4], &[5]).gives(&[matched(5, 0), matched(5, 0), matched(5, 0), no(NoneInReach)]);
    Question::new(&[], &[5]).gives(&[]);
    Question::new(&[5], &[]).gives(&[no(NoneInReach)]);
}

#[test]
fn equal_times_go_by_created_time_then_by_the_tie_columns_null_lowest() {
    let rows = [(5, None, Some(99)), (5, Some(1), Some(98)), (5, Some(2), Some(1)), (5, Some(2), None)];
    Question::new(&[5], &[]).created(&rows).gives(&[(Some(1), MatchedByTie, Some(0))]);
    Question::new(&[5], &[]).created(&rows[..2]).gives(&[matched(98, 0)]);
}

#[test]
fn a_repeated_row_and_a_tie_of_losers_are_no_ties() {
    Question::new(&[7], &[5, 5]).gives(&[matched(5, 2)]);
    let rows = [(4, None, Some(1)), (4, None, Some(2)), (5, None, Some(3)), (4, None, Some(4))];
    Question::new(&[4, 5], &[]).created(&rows).gives(&[(Some(4), MatchedByTie, Some(0)), matched(3, 0)]);
}

#[test]
fn the_created_cut_looks_past_rows_that_were_not_known_yet() {
    let rows = [(1, Some(3), Some(10)), (2, Some(8), Some(20)), (4, None, Some(30))];
    let question = Question::new(&[1, 2, 3, 7, 8], &[]).created(&rows);
    question.clone().cut().gives(&[no(Hidden), no(Hidden), matched(10, 2), matched(10, 6), matched(20, 6)]);
    question.gives(&[matched(10, 0), matched(20, 0), matched(20, 1), matched(30, 3), matched(30, 4)]);
}

#[test]
fn the_cut_and_the_ttl_hold_together() {
    // The row of 1 is known from 4 on but too old after 5; the row of 5 is never known.
    let rows = [(1, Some(4), Some(10)), (5, None, Some(50))];
    Question::new(&[0, 1, 3, 4, 5, 6, 9, 10], &[]).created(&rows).cut().ttl(4).gives(&[
        no(NoneInReach),
        no(Hidden),
        no(Hidden),
        matched(10, 3),
        matched(10, 4),
        no(Hidden),
        no(Hidden),
        no(NoneInReach),
    ]);
}

#[test]
fn a_hidden_row_is_remembered_by_a_slot_that_takes_a_candidate_later() {
    // At 6 the candidate of 1 is too old; the row of 3, met before it at the same slot, is in reach but not known.
    let rows = [(3, None, Some(30)), (1, Some(1), Some(10))];
    Question::new(&[3, 6], &[]).created(&rows).cut().ttl(4).gives(&[matched(10, 2), no(Hidden)]);
}

#[test]
fn the_cut_has_no_effect_without_a_created_column() {
    Question { created_cut: true, ..Question::new(&[5], &[5]) }.gives(&[matched(5, 0)]);
}

#[test]
fn a_row_at_the_first_instant_of_all_is_hidden_like_any_other() {
    let rows = [(i64::MIN, None, Some(1))];
    Question::new(&[i64::MIN, 0], &[]).created(&rows).cut().gives(&[no(Hidden), no(Hidden)]);
}

#[test]
fn units_meet_exactly() {
    // A spine in seconds, rows in nanoseconds: one nanosecond late is late.
    Question::new(&[1, 2], &[1_000_000_001])
        .units(Second, Nanosecond)
        .gives(&[no(NoneInReach), matched(1_000_000_001, 999_999_999)]);
    // A spine in nanoseconds, rows in seconds, beyond what 64 bits of nanoseconds can say.
    Question::new(&[i64::MIN, 1_999_999_999, i64::MAX], &[i64::MIN, 2, i64::MAX])
        .units(Nanosecond, Second)
        .gives(&[
            matched(i64::MIN, i64::MAX),
            matched(i64::MIN, i64::MAX),
            matched(2, i64::MAX - 2_000_000_000),
        ]);
    Question::new(&[-1, 0], &[-1_000])
        .units(Microsecond, Nanosecond)
        .ttl(999)
        .gives(&[matched(-1_000, 0), no(NoneInReach)]);
}

#[test]
fn no_ttl_is_too_long() {
    Question::new(&[i64::MAX], &[i64::MIN]).ttl(i128::MAX).gives(&[matched(i64::MIN, i64::MAX)]);
}

#[test]
fn without_keys_rows_match_on_time_alone() {
    let question = Question {
        spine: vec![(None, Some(5)), (Some(2), Some(6)), (Some(3), None)],
        ..Question::new(&[], &[4, 6])
    };
    Question { keys: &[], ..question }.gives(&[matched(4, 1), matched(6, 0), no(NullInstant)]);
}

#[test]
fn a_column_may_be_a_key_twice_and_the_instant_a_key() {
    let rows = [(Some(1), Some(5)), (Some(2), Some(5)), (None, Some(6)), (Some(1), None), (Some(1), Some(6))];
    let question = Question { spine: rows.to_vec(), ..Question::new(&[], &[4, 6]) };
    let (none, null_key, null_instant) = (no(NoneInReach), no(NullKey), no(NullInstant));
    let twice = [matched(4, 1), none, null_key, null_instant, matched(6, 0)];
    Question { keys: &[1, 1], ..question.clone() }.gives(&twice);
    let at_once = [none, none, null_key, null_instant, matched(6, 0)];
    Question { keys: &[2, 1], ..question }.gives(&at_once);
}

/// A hundred values fit 8-bit keys; the dictionaries of thirty batches laid end to end do not.
#[test]
fn dictionaries_in_another_order_in_every_batch_still_fit_their_keys() {
    const VALUES: i64 = 100;
    let kind = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("time", DataType::Timestamp(Second, None), true),
        Field::new("word", kind, true),
    ]));
    let batch = |number: i64| {
        let entries: StringArray =
            (0..VALUES).map(|v| Some(format!("word {}", (v + number * 7) % VALUES))).collect();
        let words =
            DictionaryArray::<Int8Type>::new((0..VALUES as i8).collect::<Int8Array>(), Arc::new(entries));
        let keys: Int64Array = (0..VALUES).map(|v| Some(number * VALUES + v)).collect();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(keys), instants(Second, None, &[Some(1); VALUES as usize]), Arc::new(words)];
        RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
    };
    let batches: Vec<RecordBatch> = (0..30).map(batch).collect();
    let spec = AsofSpec {
        form: JoinForm::SlotFold,
        spine_keys: vec![0],
        spine_instant: 1,
        lookups: vec![LookupSpec {
            ordinal: None,
            late_created: None,
            account: None,
            name: "words".into(),
            keys: vec![0],
            time: 1,
            created: None,
            ties: vec![2],
            payload: vec![PayloadColumn { column: 2, output: "found".into() }],
            ttl_nanos: None,
            created_cut: false,
        }],
        first_outcome: 0,
        clusters: true,
    };
    let spine = scan("spine", Arc::clone(&schema), vec![batches.clone()]).unwrap();
    let words = scan("words", Arc::clone(&schema), vec![batches]).unwrap();
    let state = session(&Layout { batch_rows_max: 8192, ..Layout::plain() }, unlimited());
    let found = runtime().block_on(async {
        let plan = plan(&state, &join(spec, vec![spine, words]).unwrap()).await.unwrap();
        collect(plan, state.task_ctx()).await.unwrap()
    });
    let mut rows = 0;
    for batch in found {
        let text = |column: usize| arrow::compute::cast(batch.column(column), &DataType::Utf8).unwrap();
        assert_eq!(text(2).as_string::<i32>(), text(3).as_string::<i32>());
        rows += batch.num_rows();
    }
    assert_eq!(rows, 3_000);
}
