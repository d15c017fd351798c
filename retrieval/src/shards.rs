//! Cuts a big retrieval into shards: sets of whole spine row groups that read nearly nothing twice. Pure.
//!
//! A shard is made of row groups, not of a range of rows, so that the rows and the checksum of each are known before
//! it runs. Row groups are ordered by time, or by a key, and dealt in runs; each run reads of every source only the
//! row groups that its own times and keys can reach. Whether that is cheap depends on how the files are laid out, so
//! it is estimated from the footers: what all shards read together over what one job reads.

use std::sync::Arc;

use backsight_registry::size::show_size;
use serde::{Deserialize, Serialize};

use crate::bounds::TimeBounds;
use crate::key_range::KeyRange;
use crate::reach::{GroupPages, Reach};

/// When and how finely to cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShardLimits {
    /// Bytes that one shard should read, spine and sources together.
    pub bytes_target: u64,
    /// More shards than this are not made.
    pub shards_max: usize,
    /// Cuts that read more than this times what one job reads are not made.
    pub amplification_max: f64,
}

impl Default for ShardLimits {
    /// 4 GiB a shard: minutes of work on one machine, so that little is lost with it; at most 1,000 shards; 1.3 times.
    fn default() -> Self {
        Self { bytes_target: 4 << 30, shards_max: 1_000, amplification_max: 1.3 }
    }
}

/// Row groups of one spine file, from `first` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRun {
    /// The file's place among the spine's files.
    pub file: usize,
    /// First row group.
    pub first: usize,
    /// Past the last.
    pub end: usize,
}

/// The spine row groups of a shard, in file order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSpec {
    /// From 0.
    pub number: u32,
    /// What it reads of the spine.
    pub groups: Vec<GroupRun>,
}

impl ShardSpec {
    pub(crate) fn holds(&self, file: usize, group: usize) -> bool {
        self.groups.iter().any(|run| run.file == file && (run.first..run.end).contains(&group))
    }
}

/// One shard as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedShard {
    /// What it is.
    pub spec: ShardSpec,
    /// In words.
    pub label: String,
    /// Spine rows.
    pub rows: u64,
    /// Rows of the row groups that it reads, of spine and sources.
    #[serde(default)]
    pub rows_to_read: u64,
    /// Bytes of the row groups that it reads, all columns.
    pub bytes_to_read: u64,
}

/// A retrieval cut into shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cutting {
    /// At least one.
    pub shards: Vec<PlannedShard>,
    /// What all shards read over what one job reads.
    pub amplification: f64,
    /// Why it is cut like this.
    pub reason: String,
}

/// A row group of the spine as the cut sees it.
#[derive(Debug, Clone)]
pub(crate) struct SpineGroup {
    pub(crate) file: usize,
    pub(crate) group: usize,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) time: Option<TimeBounds>,
    /// For each of the columns that the spine could be cut by.
    pub(crate) keys: Vec<Option<KeyRange>>,
}

/// A source as the cut sees it.
#[derive(Debug, Clone)]
pub(crate) struct SourceGroups {
    /// Greatest age that matters; `None` is any.
    pub(crate) ttl_nanos: Option<i128>,
    pub(crate) groups: Vec<SourceGroup>,
}

/// A row group of a source as the cut sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceGroup {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) time: Option<TimeBounds>,
    /// For each of the columns that the spine could be cut by; `None` where it is no key of this source.
    pub(crate) keys: Vec<Option<KeyRange>>,
    /// What its pages can hold, where that was asked.
    pub(crate) pages: Option<Arc<GroupPages>>,
    /// Whether it is known to hold none of the spine's keys.
    pub(crate) lacks_keys: bool,
}

/// By what the spine's row groups are ordered before they are dealt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Time,
    Key(usize),
    /// As they are.
    Place,
}

/// Cuts a spine. `columns` names the columns behind the keys of `spine` and `sources`; `in_order` where one shard must follow
/// the other in the spine.
pub(crate) fn cut(
    spine: &[SpineGroup],
    sources: &[SourceGroups],
    columns: &[String],
    limits: &ShardLimits,
    in_order: bool,
) -> Cutting {
    let spine_bytes: u64 = spine.iter().map(|group| group.bytes).sum();
    let whole = spine_bytes + Reach::of(spine, columns.len()).reads(sources).1;
    let one = |reason: String| Cutting {
        shards: vec![planned(0, spine, sources, columns.len(), "the whole spine".to_owned())],
        amplification: 1.0,
        reason,
    };
    let wanted = usize::try_from(whole.div_ceil(limits.bytes_target.max(1))).unwrap_or(usize::MAX);
    let wanted = wanted.min(limits.shards_max).min(spine.len());
    if whole <= limits.bytes_target {
        let (whole, target) = (show_size(whole), show_size(limits.bytes_target));
        return one(format!("one shard: it reads {whole}, a shard may read {target}"));
    }
    if spine.len() < 2 {
        return one("one shard: the spine has one row group".to_owned());
    }
    let orders: Vec<Order> = if in_order {
        vec![Order::Place]
    } else {
        std::iter::once(Order::Time).chain((0..columns.len()).map(Order::Key)).collect()
    };
    let mut refused = Vec::new();
    for order in orders {
        let by = match order {
            Order::Time => "time".to_owned(),
            Order::Key(column) => format!("`{}`", columns[column]),
            Order::Place => "place in the spine".to_owned(),
        };
        let Some(sorted) = ordered(spine, order) else {
            refused.push(format!("{by}: footers do not say"));
            continue;
        };
        // Fewer shards read less twice.
        let mut shards = wanted;
        let mut amplification = f64::INFINITY;
        while shards >= 2 {
            let cutting = deal(&sorted, sources, columns.len(), shards, &by);
            amplification = ratio(cutting.iter().map(|shard| shard.bytes_to_read).sum(), whole);
            if amplification <= limits.amplification_max && cutting.len() > 1 {
                let reason =
                    format!("cut by {by}: all shards read {amplification:.2} times what one job reads");
                return Cutting { shards: cutting, amplification, reason };
            }
            shards /= 2;
        }
        refused.push(format!("{by}: {amplification:.2} times"));
    }
    one(format!(
        "one shard: every cut reads more than {:.2} times what one job reads ({})",
        limits.amplification_max,
        refused.join(", ")
    ))
}

/// The row groups in order of what they begin with; `None` when one of them does not say.
fn ordered(spine: &[SpineGroup], order: Order) -> Option<Vec<SpineGroup>> {
    let mut sorted = spine.to_vec();
    match order {
        Order::Place => {}
        Order::Time => {
            if sorted.iter().any(|group| group.time.is_none()) {
                return None;
            }
            sorted.sort_by_key(|group| group.time.map(|time| (time.least, time.greatest)));
        }
        Order::Key(column) => {
            let range = |group: &SpineGroup| group.keys.get(column).cloned().flatten();
            if sorted.iter().any(|group| range(group).is_none()) {
                return None;
            }
            sorted.sort_by_key(|group| range(group).map(|range| (range.least, range.greatest)));
        }
    }
    Some(sorted)
}

/// Deals row groups in runs of about equal numbers of rows.
fn deal(
    sorted: &[SpineGroup],
    sources: &[SourceGroups],
    columns: usize,
    shards: usize,
    by: &str,
) -> Vec<PlannedShard> {
    let total: u64 = sorted.iter().map(|group| group.rows).sum();
    let mut runs: Vec<Vec<SpineGroup>> = vec![Vec::new()];
    let mut dealt = 0_u64;
    for group in sorted {
        let share = total * (runs.len() as u64) / (shards.max(1) as u64);
        let is_filled = runs.last().is_some_and(|run| !run.is_empty());
        if is_filled && dealt + group.rows / 2 >= share && runs.len() < shards {
            runs.push(Vec::new());
        }
        dealt += group.rows;
        if let Some(run) = runs.last_mut() {
            run.push(group.clone());
        }
    }
    let count = runs.len();
    runs.iter()
        .enumerate()
        .map(|(number, run)| {
            let label =
                format!("{} of {count} by {by}, {} row group{}", number + 1, run.len(), plural(run.len()));
            planned(u32::try_from(number).unwrap_or(u32::MAX), run, sources, columns, label)
        })
        .collect()
}

fn planned(
    number: u32,
    groups: &[SpineGroup],
    sources: &[SourceGroups],
    columns: usize,
    label: String,
) -> PlannedShard {
    let spine_bytes: u64 = groups.iter().map(|group| group.bytes).sum();
    let mut places: Vec<(usize, usize)> = groups.iter().map(|group| (group.file, group.group)).collect();
    places.sort_unstable();
    let mut runs: Vec<GroupRun> = Vec::new();
    for (file, group) in places {
        match runs.last_mut() {
            Some(run) if run.file == file && run.end == group => run.end = group + 1,
            _ => runs.push(GroupRun { file, first: group, end: group + 1 }),
        }
    }
    let rows = groups.iter().map(|group| group.rows).sum();
    let (source_rows, source_bytes) = Reach::of(groups, columns).reads(sources);
    PlannedShard {
        spec: ShardSpec { number, groups: runs },
        label,
        rows,
        rows_to_read: rows + source_rows,
        bytes_to_read: spine_bytes + source_bytes,
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests;
