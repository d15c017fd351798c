//! What a set of spine rows can reach: which row groups of a source, and which rows of these, can hold a match. Pure.
//!
//! Bounds may be wider than what they bound, never narrower; what is not known is read.

use std::ops::Range;
use std::sync::Arc;

use crate::bounds::TimeBounds;
use crate::key_range::{KeyRange, KeySet};
use crate::shards::{SourceGroup, SourceGroups, SpineGroup};

/// What a page can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held<T> {
    /// No value: a row without key or time matches nothing.
    Nulls,
    /// Values in these bounds, perhaps nulls, too.
    Within(T),
    /// Not known.
    Unknown,
}

/// Pages of one column of a row group, in order: the rows of each, counted in the row group, and what it can hold.
pub(crate) type Pages<T> = Vec<(Range<u64>, Held<T>)>;

/// Pages of the columns that decide about a match; `None` where the file does not say.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupPages {
    pub(crate) time: Option<Pages<TimeBounds>>,
    /// For each of the columns that the spine could be cut by.
    pub(crate) keys: Vec<Option<Pages<KeyRange>>>,
}

/// What is read of a row group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Everything.
    All,
    /// These rows, counted in the row group: ascending, disjoint, not empty.
    Rows(Vec<Range<u64>>, SkippedPages),
    /// Nothing, by what footer, page index or Bloom filter say.
    Nothing(RuledOut),
}

/// What says that a row group holds no match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuledOut {
    Time,
    Keys,
    BloomFilter,
}

/// Pages of a row group that cannot hold a match, by the column that says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SkippedPages {
    pub(crate) by_time: usize,
    pub(crate) by_keys: usize,
}

/// What a set of spine row groups can reach: `None` is everything.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) time: Option<TimeBounds>,
    pub(crate) keys: Vec<Option<KeyRange>>,
    /// Every key of the spine, where these are few.
    pub(crate) sets: Vec<Option<Arc<KeySet>>>,
}

impl Reach {
    pub(crate) fn of<'a>(groups: impl IntoIterator<Item = &'a SpineGroup>, columns: usize) -> Self {
        let mut groups = groups.into_iter();
        let sets = vec![None; columns];
        let Some(first) = groups.next() else { return Self { time: None, keys: vec![None; columns], sets } };
        let mut reach = Self { time: first.time, keys: first.keys.clone(), sets };
        for group in groups {
            reach.time = reach.time.zip(group.time).map(|(a, b)| TimeBounds {
                least: a.least.min(b.least),
                greatest: a.greatest.max(b.greatest),
            });
            for (held, more) in reach.keys.iter_mut().zip(&group.keys) {
                *held = held.take().zip(more.clone()).and_then(|(a, b)| a.union(b));
            }
        }
        reach
    }

    /// Which rows of a row group can match.
    pub(crate) fn reading(&self, source: &SourceGroups, group: &SourceGroup) -> Reading {
        if !group.time.is_none_or(|held| self.meets_time(source, held)) {
            return Reading::Nothing(RuledOut::Time);
        }
        let has_key = |(column, held): (usize, &Option<KeyRange>)| {
            held.as_ref().is_none_or(|held| self.meets_key(column, held))
        };
        if !group.keys.iter().enumerate().all(has_key) {
            return Reading::Nothing(RuledOut::Keys);
        }
        if group.lacks_keys {
            return Reading::Nothing(RuledOut::BloomFilter);
        }
        match &group.pages {
            Some(pages) => self.rows(source, group, pages),
            None => Reading::All,
        }
    }

    /// Whether everything that a row group holds is within reach of times and, by range, of keys: its pages say no more.
    pub(crate) fn covers(&self, source: &SourceGroups, group: &SourceGroup) -> (bool, Vec<bool>) {
        let time = match (self.time, group.time) {
            (Some(reach), Some(held)) => {
                held.greatest <= reach.greatest && held.least >= least(source, reach)
            }
            _ => true,
        };
        let of_column = |(column, held): (usize, &Option<KeyRange>)| {
            let (Some(reach), Some(held)) = (self.keys.get(column).and_then(Option::as_ref), held) else {
                return true;
            };
            let is_few = self.sets.get(column).is_some_and(Option::is_some);
            !is_few && reach.contains(held)
        };
        (time, group.keys.iter().enumerate().map(of_column).collect())
    }

    fn meets_time(&self, source: &SourceGroups, held: TimeBounds) -> bool {
        self.time.is_none_or(|reach| held.least <= reach.greatest && held.greatest >= least(source, reach))
    }

    fn meets_key(&self, column: usize, held: &KeyRange) -> bool {
        let range = self.keys.get(column).and_then(Option::as_ref);
        let set = self.sets.get(column).and_then(Option::as_ref);
        range.is_none_or(|range| range.meets(held)) && set.is_none_or(|set| set.meets(held))
    }

    fn rows(&self, source: &SourceGroups, group: &SourceGroup, pages: &GroupPages) -> Reading {
        let mut rows: Vec<Range<u64>> = std::iter::once(0..group.rows).collect();
        let mut skipped = SkippedPages::default();
        if let Some(pages) = &pages.time {
            let kept = keep(pages, |held| self.meets_time(source, *held), &mut skipped.by_time);
            rows = intersect(&rows, &kept);
        }
        for (column, pages) in pages.keys.iter().enumerate() {
            let Some(pages) = pages else { continue };
            let kept = keep(pages, |held| self.meets_key(column, held), &mut skipped.by_keys);
            rows = intersect(&rows, &kept);
        }
        if skipped == SkippedPages::default() {
            Reading::All
        } else if rows.is_empty() {
            Reading::Nothing(if skipped.by_time > 0 { RuledOut::Time } else { RuledOut::Keys })
        } else {
            Reading::Rows(rows, skipped)
        }
    }

    /// Rows and bytes of what is within reach.
    pub(crate) fn reads(&self, sources: &[SourceGroups]) -> (u64, u64) {
        let groups = sources.iter().flat_map(|source| source.groups.iter().map(move |group| (source, group)));
        groups.fold((0, 0), |(rows, bytes), (source, group)| match self.reading(source, group) {
            Reading::All => (rows + group.rows, bytes + group.bytes),
            Reading::Rows(kept, _) => {
                let kept = count(&kept);
                (rows + kept, bytes + share(group.bytes, kept, group.rows))
            }
            Reading::Nothing(_) => (rows, bytes),
        })
    }
}

/// The least event time that matters to a source.
fn least(source: &SourceGroups, reach: TimeBounds) -> i128 {
    source.ttl_nanos.map_or(i128::MIN, |ttl| reach.least.saturating_sub(ttl))
}

/// Rows of some ranges.
pub(crate) fn count(rows: &[Range<u64>]) -> u64 {
    rows.iter().map(|rows| rows.end - rows.start).sum()
}

/// About how many of `bytes` belong to `part` of `rows`.
pub(crate) fn share(bytes: u64, part: u64, rows: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(rows.max(1));
    u64::try_from(share).unwrap_or(bytes)
}

/// The rows of pages that can match, neighbours joined; counts the others.
fn keep<T>(pages: &Pages<T>, can_match: impl Fn(&T) -> bool, skipped: &mut usize) -> Vec<Range<u64>> {
    let mut kept: Vec<Range<u64>> = Vec::new();
    for (rows, held) in pages {
        let is_kept = match held {
            Held::Nulls => false,
            Held::Within(held) => can_match(held),
            Held::Unknown => true,
        };
        if !is_kept {
            *skipped += 1;
            continue;
        }
        match kept.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => kept.push(rows.clone()),
        }
    }
    kept
}

/// What is in both of two ascending lists of disjoint ranges.
fn intersect(one: &[Range<u64>], other: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    let mut both = Vec::new();
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let (start, end) = (a.start.max(b.start), a.end.min(b.end));
        if start < end {
            both.push(start..end);
        }
        if a.end <= b.end {
            left.next();
        } else {
            right.next();
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_range::KeyValue;

    fn time(least: i128, greatest: i128) -> TimeBounds {
        TimeBounds { least, greatest }
    }

    fn keys(least: i128, greatest: i128) -> KeyRange {
        KeyRange { least: KeyValue::Number(least), greatest: KeyValue::Number(greatest) }
    }

    /// Ten rows a page.
    fn pages<T>(held: Vec<Held<T>>) -> Option<Pages<T>> {
        let rows = |page: usize| (page as u64 * 10)..(page as u64 * 10 + 10);
        Some(held.into_iter().enumerate().map(|(page, held)| (rows(page), held)).collect())
    }

    fn source(group: SourceGroup, ttl: Option<i128>) -> SourceGroups {
        SourceGroups { ttl_nanos: ttl, groups: vec![group] }
    }

    fn read(reach: &Reach, source: &SourceGroups) -> String {
        match reach.reading(source, &source.groups[0]) {
            Reading::All => "all".to_owned(),
            Reading::Rows(rows, skipped) => {
                format!("{rows:?}, {} pages by time, {} by keys", skipped.by_time, skipped.by_keys)
            }
            Reading::Nothing(by) => format!("nothing by {by:?}"),
        }
    }

    #[test]
    fn pages_out_of_reach_are_left_out_and_what_is_not_known_is_read() {
        use Held::{Nulls, Unknown, Within};
        let reach = |sets: Option<KeySet>| Reach {
            time: Some(time(100, 200)),
            keys: vec![Some(keys(1, 9))],
            sets: vec![sets.map(Arc::new)],
        };
        let by_time =
            || pages(vec![Within(time(0, 49)), Within(time(50, 120)), Unknown, Within(time(201, 300))]);
        let by_key = || pages(vec![Within(keys(1, 1)), Nulls, Within(keys(2, 3)), Unknown]);
        let numbers = |numbers: &[i128]| KeySet::new(numbers.iter().map(|&n| KeyValue::Number(n)));
        let table = [
            // No page index; every time in reach; ttl moves the least time.
            (None, None, None, None, "all"),
            (by_time(), None, None, None, "[0..30], 1 pages by time, 0 by keys"),
            (by_time(), None, Some(60), None, "[0..30], 1 pages by time, 0 by keys"),
            (by_time(), None, Some(50), None, "[10..30], 2 pages by time, 0 by keys"),
            (by_time(), None, Some(51), None, "[0..30], 1 pages by time, 0 by keys"),
            (None, by_key(), None, None, "[0..10, 20..40], 0 pages by time, 1 by keys"),
            (by_time(), by_key(), Some(50), None, "[20..30], 2 pages by time, 1 by keys"),
            // Few keys say more than their range.
            (None, by_key(), None, Some(numbers(&[1, 9])), "[0..10, 30..40], 0 pages by time, 2 by keys"),
            (by_time(), by_key(), Some(50), Some(numbers(&[1, 9])), "nothing by Time"),
            (None, pages(vec![Within(keys(2, 8)); 4]), None, Some(numbers(&[1, 9])), "nothing by Keys"),
            (pages(vec![Nulls; 4]), None, None, None, "nothing by Time"),
        ];
        for (number, (by_time, by_key, ttl, set, expected)) in table.into_iter().enumerate() {
            let pages = Some(Arc::new(GroupPages { time: by_time, keys: vec![by_key] }));
            let group =
                SourceGroup { rows: 40, bytes: 400, keys: vec![None], pages, ..SourceGroup::default() };
            assert_eq!(read(&reach(set), &source(group, ttl)), expected, "case {number}");
        }
    }

    #[test]
    fn a_row_group_is_ruled_out_by_footer_or_filter() {
        let reach = Reach { time: Some(time(100, 200)), keys: vec![Some(keys(1, 9))], sets: vec![None] };
        let group = |held: (i128, i128), key: (i128, i128), lacks_keys: bool| SourceGroup {
            rows: 40,
            time: Some(time(held.0, held.1)),
            keys: vec![Some(keys(key.0, key.1))],
            lacks_keys,
            ..SourceGroup::default()
        };
        assert_eq!(read(&reach, &source(group((0, 99), (1, 9), false), Some(0))), "nothing by Time");
        assert_eq!(read(&reach, &source(group((0, 99), (1, 9), false), None)), "all");
        assert_eq!(read(&reach, &source(group((0, 99), (10, 19), false), None)), "nothing by Keys");
        assert_eq!(read(&reach, &source(group((0, 99), (0, 9), true), None)), "nothing by BloomFilter");
    }

    #[test]
    fn only_what_sticks_out_of_the_reach_is_looked_at_closer() {
        let mut reach = Reach { time: Some(time(100, 200)), keys: vec![Some(keys(1, 9))], sets: vec![None] };
        let group = |least: i128, greatest: i128, key: (i128, i128)| {
            let keys = vec![Some(keys(key.0, key.1))];
            source(
                SourceGroup { time: Some(time(least, greatest)), keys, ..SourceGroup::default() },
                Some(10),
            )
        };
        let covers = |reach: &Reach, source: &SourceGroups| reach.covers(source, &source.groups[0]);
        assert_eq!(covers(&reach, &group(90, 200, (1, 9))), (true, vec![true]));
        assert_eq!(covers(&reach, &group(89, 200, (1, 10))), (false, vec![false]));
        assert_eq!(covers(&reach, &group(90, 201, (1, 9))), (false, vec![true]));
        reach.sets = vec![Some(Arc::new(KeySet::new([])))];
        assert_eq!(covers(&reach, &group(90, 200, (1, 9))), (true, vec![false]));
    }

    #[test]
    fn ranges_are_cut_with_each_other() {
        let one = |range: Range<u64>| -> Vec<Range<u64>> { std::iter::once(range).collect() };
        assert_eq!(intersect(&[0..10, 20..30], &one(5..25)), [5..10, 20..25]);
        assert_eq!(intersect(&one(0..10), &one(10..20)), Vec::<Range<u64>>::new());
        assert_eq!(intersect(&one(0..40), &[0..10, 20..40]), [0..10, 20..40]);
        assert_eq!((count(&[0..10, 20..25]), share(100, 15, 30), share(100, 0, 0)), (15, 50, 0));
    }
}
