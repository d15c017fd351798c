//! The join report: for each view how many spine rows matched, why the rest did not, how old the winners are.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt8Type};
use backsight_asof::Outcome;
use serde::{Deserialize, Serialize};

use crate::plan::PlannedView;

/// Counts of one part or of a whole dataset; merging is addition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// In the order of the plan's views.
    pub views: Vec<ViewTally>,
}

/// Counts of one view.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewTally {
    /// Spine rows by outcome code (see [`Outcome::code`]).
    pub outcomes: [u64; 6],
    /// Ages of the winners.
    pub ages: AgeHistogram,
    /// For each requested feature the winners in which it is null.
    pub nulls_in_winner: Vec<u64>,
    /// Of the rows with nothing in reach those whose key the view lacks, where a census was taken.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_such_key: u64,
    /// Of them those whose key has only later rows, where a census was taken.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub only_later: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tally {
    /// No rows yet.
    pub fn new(views: &[PlannedView]) -> Self {
        let empty = |view: &PlannedView| ViewTally {
            nulls_in_winner: vec![0; view.features.len()],
            ..ViewTally::default()
        };
        Self { views: views.iter().map(empty).collect() }
    }

    /// Counts the rows of a batch of the plan's output.
    pub fn add(&mut self, views: &[PlannedView], batch: &RecordBatch) {
        for (tally, view) in self.views.iter_mut().zip(views) {
            let outcomes = batch.column(view.outcome).as_primitive::<UInt8Type>();
            let mut unmatched = 0;
            for &code in outcomes.values() {
                if let Some(count) = tally.outcomes.get_mut(usize::from(code)) {
                    *count += 1;
                }
                unmatched += usize::from(!Outcome::from_code(code).is_some_and(Outcome::is_match));
            }
            tally.ages.add_all(batch.column(view.outcome + 1).as_primitive::<Int64Type>().iter().flatten());
            for (nulls, &feature) in tally.nulls_in_winner.iter_mut().zip(&view.features) {
                // Without a match a feature is null; the rest are nulls that the winner holds.
                let column = batch.column(feature);
                let all = column.logical_null_count();
                *nulls += all.saturating_sub(unmatched) as u64;
            }
        }
    }

    /// Adds the counts of another part.
    pub fn merge(&mut self, other: &Self) {
        for (tally, more) in self.views.iter_mut().zip(&other.views) {
            for (count, extra) in tally.outcomes.iter_mut().zip(more.outcomes) {
                *count += extra;
            }
            tally.ages.merge(&more.ages);
            for (count, extra) in tally.nulls_in_winner.iter_mut().zip(&more.nulls_in_winner) {
                *count += extra;
            }
            tally.no_such_key += more.no_such_key;
            tally.only_later += more.only_later;
        }
    }
}

/// Sixteen buckets for each power of two of nanoseconds: every engine and every split gives the same figures,
/// at most 6.25 % above the exact quantile. Least and greatest are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgeHistogram {
    buckets: BTreeMap<u16, u64>,
    least: Option<i64>,
    greatest: Option<i64>,
}

impl AgeHistogram {
    /// Adds many ages: counted in a plain array first, as there are far more ages than buckets.
    pub fn add_all(&mut self, ages: impl Iterator<Item = i64>) {
        let mut counts = [0_u64; BUCKETS];
        let (mut least, mut greatest) = (None, None);
        for age_nanos in ages {
            let bucket = bucket_of(u64::try_from(age_nanos).unwrap_or(0));
            counts[usize::from(bucket)] += 1;
            least = Some(least.map_or(age_nanos, |least: i64| least.min(age_nanos)));
            greatest = Some(greatest.map_or(age_nanos, |greatest: i64| greatest.max(age_nanos)));
        }
        let filled = (0..).zip(counts).filter(|&(_, count)| count > 0);
        self.merge(&Self { buckets: filled.collect(), least, greatest });
    }

    fn merge(&mut self, other: &Self) {
        for (&bucket, &count) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += count;
        }
        self.least = [self.least, other.least].into_iter().flatten().min();
        self.greatest = [self.greatest, other.greatest].into_iter().flatten().max();
    }

    /// The age that a share (0 to 1) of the winners do not exceed: the bucket's upper end, never beyond the greatest.
    pub fn quantile(&self, share: f64) -> Option<i64> {
        let total: u64 = self.buckets.values().sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among at most 2^53 rows, clamped to at least one"
        )]
        let rank = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (&bucket, &count) in &self.buckets {
            seen += count;
            if seen >= rank {
                let upper = i64::try_from(upper_end(bucket)).unwrap_or(i64::MAX);
                return Some(self.greatest.map_or(upper, |greatest| upper.min(greatest)));
            }
        }
        None
    }
}

/// Sixteen for each power of two from 2⁴ to 2⁶³, and the ages below.
const BUCKETS: usize = 61 * 16;

fn bucket_of(age: u64) -> u16 {
    if age < 16 {
        return u16::try_from(age).unwrap_or(0);
    }
    let exponent = 63 - age.leading_zeros();
    let sixteenth = (age >> (exponent - 4)) & 15;
    u16::try_from(u64::from(exponent - 3) * 16 + sixteenth).unwrap_or(u16::MAX)
}

fn upper_end(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < 16 {
        return bucket;
    }
    let (exponent, sixteenth) = (bucket / 16 + 3, bucket % 16);
    let width = 1_u128 << (exponent - 4);
    u64::try_from((16 + u128::from(sixteenth)) * width + width - 1).unwrap_or(u64::MAX)
}

/// The report as the manifest keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReport {
    /// Rows of the spine and of the dataset.
    pub rows: u64,
    /// In output order.
    pub views: Vec<ViewReport>,
    /// What a user should know besides.
    pub notes: Vec<String>,
}

/// How one view fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewReport {
    /// Alias or name.
    pub label: String,
    /// Name in the registry.
    pub view: String,
    /// Spine rows that matched.
    pub matched: u64,
    /// Spine rows without an instant.
    pub null_instant: u64,
    /// Spine rows with a null key.
    pub null_key: u64,
    /// Spine rows for which a row in reach exists, but was created too late.
    pub hidden: u64,
    /// Spine rows without a row in reach.
    pub none_in_reach: u64,
    /// Why, where exact reasons were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_in_reach_because: Option<ReachReport>,
    /// Matched rows whose winner tied with other rows on event and created time.
    pub ties: u64,
    /// Ages of the winners in nanoseconds.
    pub age_ns: Option<AgeReport>,
    /// For each requested feature.
    pub features: Vec<FeatureReport>,
}

/// Why spine rows had nothing in reach; the three add up to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachReport {
    /// The view has no row of the key.
    pub no_such_key: u64,
    /// All rows of the key are later than the instant.
    pub only_later: u64,
    /// There are earlier rows, and all are older than the ttl allows.
    pub expired: u64,
}

/// Quantiles of the winners' ages in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgeReport {
    /// Exact.
    pub min: i64,
    /// At most 6.25 % above the exact one.
    pub median: i64,
    /// At most 6.25 % above the exact one.
    pub p99: i64,
    /// Exact.
    pub max: i64,
}

/// How one feature fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureReport {
    /// Name in the dataset.
    pub name: String,
    /// Matched rows in which it is null.
    pub null_in_winner: u64,
}

impl JoinReport {
    /// The report of a tally, in which a census was taken where reasons are `exact`. `columns` are the dataset's column names.
    pub fn new(
        rows: u64,
        tally: &Tally,
        exact: bool,
        views: &[PlannedView],
        columns: &[String],
        notes: Vec<String>,
    ) -> Self {
        let report = |(tally, view): (&ViewTally, &PlannedView)| {
            let count = |outcome: Outcome| tally.outcomes[usize::from(outcome.code())];
            let ages = &tally.ages;
            let age_ns = match (ages.least, ages.quantile(0.5), ages.quantile(0.99), ages.greatest) {
                (Some(min), Some(median), Some(p99), Some(max)) => Some(AgeReport { min, median, p99, max }),
                _ => None,
            };
            let features = view
                .features
                .iter()
                .zip(&tally.nulls_in_winner)
                .map(|(&column, &null_in_winner)| FeatureReport {
                    name: columns.get(column).cloned().unwrap_or_default(),
                    null_in_winner,
                })
                .collect();
            ViewReport {
                label: view.label.clone(),
                view: view.view.clone(),
                matched: count(Outcome::Matched) + count(Outcome::MatchedByTie),
                null_instant: count(Outcome::NullInstant),
                null_key: count(Outcome::NullKey),
                hidden: count(Outcome::Hidden),
                none_in_reach: count(Outcome::NoneInReach),
                none_in_reach_because: exact.then(|| ReachReport {
                    no_such_key: tally.no_such_key,
                    only_later: tally.only_later,
                    expired: count(Outcome::NoneInReach)
                        .saturating_sub(tally.no_such_key)
                        .saturating_sub(tally.only_later),
                }),
                ties: count(Outcome::MatchedByTie),
                age_ns,
                features,
            }
        };
        Self { rows, views: tally.views.iter().zip(views).map(report).collect(), notes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_age_lies_in_its_bucket_within_a_sixteenth() {
        for age in [0, 1, 15, 16, 17, 31, 32, 1_000, 3_600_000_000_000, u64::MAX / 3, u64::MAX] {
            let upper = upper_end(bucket_of(age));
            assert!(upper >= age, "{age} above {upper}");
            assert!(u128::from(upper - age) <= u128::from(age) / 16 + 1, "{age} far below {upper}");
            assert!(bucket_of(age) == 0 || upper_end(bucket_of(age) - 1) < age, "{age} also fits below");
        }
    }

    #[test]
    fn quantiles_of_merged_parts_are_those_of_the_whole() {
        let (mut whole, mut left, mut right) =
            (AgeHistogram::default(), AgeHistogram::default(), AgeHistogram::default());
        for age in 0..10_000 {
            whole.add_all([age * 977].into_iter());
            let side = if age % 3 == 0 { &mut left } else { &mut right };
            side.add_all([age * 977].into_iter());
        }
        left.merge(&right);
        assert_eq!(left, whole);
        assert_eq!(whole.quantile(1.0), Some(9_999 * 977));
        assert_eq!(AgeHistogram::default().quantile(0.5), None);
    }
}
