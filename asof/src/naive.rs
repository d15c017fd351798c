//! The oracle: compares every spine row with every lookup row, one value at a time.
//!
//! Shares nothing with the other forms but the specification: keys compare as scalar values, instants as
//! 128-bit nanoseconds, ties by Arrow's comparators. For tests and small data.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DynComparator, Int64Array, RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array,
    make_comparator,
};
use arrow::compute::{SortOptions, concat_batches, take};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_plan::common::collect;
use futures::stream::{BoxStream, StreamExt};

use crate::exec::PartitionJoin;
use crate::instants::{Instants, to_nanos};
use crate::outcome::Outcome;
use crate::spec::LookupSpec;

/// The output of the one partition.
pub(crate) fn stream(join: PartitionJoin) -> BoxStream<'static, Result<RecordBatch>> {
    futures::stream::once(run(join)).boxed()
}

async fn run(join: PartitionJoin) -> Result<RecordBatch> {
    let spine = concat_batches(&join.spine_schema(), &collect(join.spine()?).await?)?;
    let keys = scalars(&spine, &join.spec.spine_keys)?;
    let instants = nanos(spine.column(join.spec.spine_instant))?;
    let mut columns = spine.columns().to_vec();
    for (number, spec) in join.spec.lookups.iter().enumerate() {
        let rows = concat_batches(&join.lookup_schema(number), &collect(join.lookup(number)?).await?)?;
        columns.extend(Lookup::new(spec, rows)?.answer(&keys, &instants)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(spine.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&join.schema), columns, &options)?)
}

struct Lookup<'a> {
    spec: &'a LookupSpec,
    rows: RecordBatch,
    keys: Vec<Vec<ScalarValue>>,
    times: Vec<Option<i128>>,
    created: Option<Vec<Option<i128>>>,
    ties: Vec<DynComparator>,
}

/// What one spine row gets.
struct Answer {
    outcome: Outcome,
    winner: Option<u32>,
    age: Option<i64>,
}

impl Answer {
    fn none(outcome: Outcome) -> Self {
        Self { outcome, winner: None, age: None }
    }
}

impl<'a> Lookup<'a> {
    fn new(spec: &'a LookupSpec, rows: RecordBatch) -> Result<Self> {
        let lowest = SortOptions { descending: false, nulls_first: true };
        let ties = spec
            .ties
            .iter()
            .map(|&c| make_comparator(rows.column(c).as_ref(), rows.column(c).as_ref(), lowest))
            .collect::<Result<Vec<_>, _>>()?;
        let created = match spec.created {
            Some(column) => Some(nanos(rows.column(column))?),
            None => None,
        };
        Ok(Self {
            keys: scalars(&rows, &spec.keys)?,
            times: nanos(rows.column(spec.time))?,
            created,
            ties,
            spec,
            rows,
        })
    }

    fn answer(&self, keys: &[Vec<ScalarValue>], instants: &[Option<i128>]) -> Result<Vec<ArrayRef>> {
        let answers: Vec<Answer> =
            keys.iter().zip(instants).map(|(key, instant)| self.answer_row(key, *instant)).collect();
        let winners: UInt32Array = answers.iter().map(|answer| answer.winner).collect();
        let mut columns = Vec::new();
        for payload in &self.spec.payload {
            columns.push(take(self.rows.column(payload.column), &winners, None)?);
        }
        columns.push(Arc::new(UInt8Array::from_iter_values(answers.iter().map(|a| a.outcome.code()))));
        columns.push(Arc::new(answers.iter().map(|a| a.age).collect::<Int64Array>()));
        Ok(columns)
    }

    fn answer_row(&self, key: &[ScalarValue], instant: Option<i128>) -> Answer {
        let Some(instant) = instant else { return Answer::none(Outcome::NullInstant) };
        if key.iter().any(ScalarValue::is_null) {
            return Answer::none(Outcome::NullKey);
        }
        let mut hidden = false;
        let mut best: Option<(usize, i128)> = None;
        let mut tied = false;
        for row in 0..self.rows.num_rows() {
            let Some(time) = self.times[row] else { continue };
            let in_reach =
                time <= instant && self.spec.ttl_nanos.is_none_or(|ttl| time >= instant.saturating_sub(ttl));
            if !in_reach || self.keys[row] != key {
                continue;
            }
            if self.spec.created_cut
                && let Some(created) = &self.created
                && created[row].is_none_or(|c| c > instant)
            {
                hidden = true;
                continue;
            }
            let Some((held, held_time)) = best else {
                best = Some((row, time));
                continue;
            };
            let by_time = time.cmp(&held_time).then_with(|| match &self.created {
                Some(created) => created[row].cmp(&created[held]),
                None => Ordering::Equal,
            });
            let by_ties =
                self.ties.iter().map(|c| c(row, held)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal);
            if by_time.then(by_ties).is_gt() {
                best = Some((row, time));
            }
            tied = match by_time {
                Ordering::Less => tied,
                Ordering::Equal => tied || by_ties.is_ne(),
                Ordering::Greater => false,
            };
        }
        match best {
            Some((row, time)) => Answer {
                outcome: if tied { Outcome::MatchedByTie } else { Outcome::Matched },
                winner: u32::try_from(row).ok(),
                age: Some(i64::try_from(instant - time).unwrap_or(i64::MAX)),
            },
            None if hidden => Answer::none(Outcome::Hidden),
            None => Answer::none(Outcome::NoneInReach),
        }
    }
}

fn scalars(batch: &RecordBatch, columns: &[usize]) -> Result<Vec<Vec<ScalarValue>>> {
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|&c| ScalarValue::try_from_array(batch.column(c), row)).collect())
        .collect()
}

fn nanos(column: &ArrayRef) -> Result<Vec<Option<i128>>> {
    let instants = Instants::of(column.as_ref())?;
    Ok((0..column.len())
        .map(|row| (!instants.is_null(row)).then(|| to_nanos(instants.values[row], instants.unit)))
        .collect())
}
