//! Binary search for many rows at once. One search waits for memory at every step; side by side the rows' accesses overlap.

use std::hint::select_unpredictable;

use crate::key_index::NO_GROUP;

/// Rows that are searched side by side.
const LANES: usize = 16;

/// What is sought: a group, or [`NO_GROUP`], and an instant.
pub(crate) type Sought = (u32, i64);

/// For each row the place that follows those of its group for which `is_before(item, instant)` holds; for a row without a group
/// 0. Group `g` lies at `starts[g]..starts[g + 1]` of `items`, ascending.
///
/// The steps are those of a branchless lower bound (Khuong and Morin, Array Layouts for Comparison-Based Searching, 2017).
pub(crate) fn partition_points<T>(
    starts: &[u32],
    items: &[T],
    sought: &[Sought],
    is_before: impl Fn(&T, i64) -> bool,
    places: &mut Vec<u32>,
) {
    // A place is looked at only while it lies in its group; past the end it counts as later than everything.
    let before =
        |place: u32, instant: i64| items.get(place as usize).is_some_and(|item| is_before(item, instant));
    places.reserve(sought.len());
    for rows in sought.chunks(LANES) {
        let (mut base, mut len) = ([0_u32; LANES], [0_u32; LANES]);
        let mut longest = 0;
        for (lane, &(group, _)) in rows.iter().enumerate() {
            if group != NO_GROUP {
                base[lane] = starts[group as usize];
                len[lane] = starts[group as usize + 1] - base[lane];
                longest = longest.max(len[lane]);
            }
        }
        while longest > 1 {
            for (lane, &(_, instant)) in rows.iter().enumerate() {
                let half = len[lane] / 2;
                let middle = base[lane] + half;
                let goes_right = (half > 0) & before(middle.saturating_sub(1), instant);
                base[lane] = select_unpredictable(goes_right, middle, base[lane]);
                len[lane] -= half;
            }
            longest -= longest / 2;
        }
        for (lane, &(_, instant)) in rows.iter().enumerate() {
            let goes_right = (len[lane] > 0) & before(base[lane], instant);
            places.push(base[lane] + u32::from(goes_right));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_are_those_of_one_search_for_each_row(
            mut groups in prop::collection::vec(prop::collection::vec(-20_i64..20, 0..40), 1..6),
            rows in prop::collection::vec((0_usize..7, -22_i64..22), 0..60),
        ) {
            let (mut starts, mut at) = (vec![0], Vec::new());
            for group in &mut groups {
                group.sort_unstable();
                at.extend_from_slice(group);
                starts.push(u32::try_from(at.len()).unwrap());
            }
            let sought: Vec<Sought> = rows
                .iter()
                .map(|&(group, instant)| {
                    (if group < groups.len() { u32::try_from(group).unwrap() } else { NO_GROUP }, instant)
                })
                .collect();
            let (mut from, mut after) = (vec![], vec![]);
            partition_points(&starts, &at, &sought, |&at, instant| at < instant, &mut from);
            partition_points(&starts, &at, &sought, |&at, instant| at <= instant, &mut after);
            for (row, &(group, instant)) in sought.iter().enumerate() {
                let (first, values): (u32, &[i64]) = match groups.get(group as usize) {
                    Some(values) => (starts[group as usize], values),
                    None => (0, &[]),
                };
                let place = |is_before: &dyn Fn(i64) -> bool| {
                    first + u32::try_from(values.partition_point(|&at| is_before(at))).unwrap()
                };
                prop_assert_eq!(from[row], place(&|at| at < instant));
                prop_assert_eq!(after[row], place(&|at| at <= instant));
            }
        }
    }
}
