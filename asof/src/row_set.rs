//! A set of row ordinals that knows the rank of each member: one bit a row, one count for every 512 rows.

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

const WORD_BITS: u64 = 64;
/// Words between two counts.
const STRIDE: usize = 8;

/// Rows below a bound, some of them in the set.
#[derive(Debug)]
pub(crate) struct RowSet {
    words: Vec<AtomicU64>,
    /// Members before each stride; filled by [`Self::seal`].
    ranks: Vec<u64>,
    members: u64,
}

impl RowSet {
    /// The empty set over ordinals below `end`.
    pub(crate) fn new(end: u64) -> Self {
        Self { words: (0..words(end)).map(|_| AtomicU64::new(0)).collect(), ranks: Vec::new(), members: 0 }
    }

    /// Bytes of a set over ordinals below `end`.
    pub(crate) fn bytes(end: u64) -> usize {
        words(end) * 8 + words(end).div_ceil(STRIDE) * 8
    }

    /// Takes a row in, from any thread.
    #[inline]
    pub(crate) fn insert(&self, row: u64) {
        let bit = 1 << (row % WORD_BITS);
        if let Some(word) = self.words.get(place(row))
            && word.load(Relaxed) & bit == 0
        {
            word.fetch_or(bit, Relaxed);
        }
    }

    /// To be called after the last insert.
    pub(crate) fn seal(&mut self) {
        self.ranks.clear();
        let mut members = 0;
        for stride in self.words.chunks_mut(STRIDE) {
            self.ranks.push(members);
            members += stride.iter_mut().map(|word| u64::from(word.get_mut().count_ones())).sum::<u64>();
        }
        self.members = members;
    }

    /// How many rows are in the set.
    pub(crate) fn members(&self) -> u64 {
        self.members
    }

    /// How many members come before `row`.
    #[inline]
    pub(crate) fn rank(&self, row: u64) -> u64 {
        let word = place(row);
        let stride = word / STRIDE;
        let Some(&before) = self.ranks.get(stride) else { return self.members };
        let whole: u32 =
            self.words[stride * STRIDE..word].iter().map(|word| word.load(Relaxed).count_ones()).sum();
        let below = self.words[word].load(Relaxed) & ((1_u64 << (row % WORD_BITS)) - 1);
        before + u64::from(whole) + u64::from(below.count_ones())
    }

    /// The members inside `range` as runs.
    pub(crate) fn runs(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut row = range.start;
        while row < range.end {
            let Some(word) = self.words.get(place(row)) else { break };
            let rest = word.load(Relaxed) >> (row % WORD_BITS);
            if rest == 0 {
                row += WORD_BITS - row % WORD_BITS;
                continue;
            }
            let start = row + u64::from(rest.trailing_zeros());
            let ones = u64::from((rest >> rest.trailing_zeros()).trailing_ones());
            // A run that reaches the word's end goes on in the next one, which the next round appends.
            let (start, end) = (start.min(range.end), (start + ones).min(range.end));
            if start < end {
                match runs.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => runs.push(start..end),
                }
            }
            row = start + ones;
        }
        runs
    }
}

fn words(end: u64) -> usize {
    usize::try_from(end.div_ceil(WORD_BITS)).unwrap_or(usize::MAX)
}

fn place(row: u64) -> usize {
    usize::try_from(row / WORD_BITS).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_and_runs_are_those_of_a_sorted_list(
            rows in prop::collection::btree_set(0_u64..1500, 0..400),
            dense in 0_u64..1400,
            range in (0_u64..1600, 0_u64..1600),
        ) {
            let mut rows = rows;
            rows.extend(dense..dense + 100);
            let mut set = RowSet::new(1500);
            rows.iter().for_each(|&row| set.insert(row));
            set.seal();
            prop_assert_eq!(set.members(), rows.len() as u64);
            for row in 0..1500 {
                prop_assert_eq!(set.rank(row), rows.range(..row).count() as u64);
            }
            let range = range.0.min(range.1)..range.0.max(range.1);
            let runs = set.runs(range.clone());
            let listed: Vec<u64> = runs.iter().cloned().flatten().collect();
            prop_assert_eq!(listed, rows.range(range).copied().collect::<Vec<_>>());
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", runs);
        }
    }
}
