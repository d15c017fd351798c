//! Cuts as text tables: how the files are laid out decides whether a cut is cheap.

use super::*;
use crate::key_range::KeyValue;

fn time(least: i128, greatest: i128) -> Option<TimeBounds> {
    Some(TimeBounds { least, greatest })
}

fn key(least: i128, greatest: i128) -> Vec<Option<KeyRange>> {
    vec![Some(KeyRange { least: KeyValue::Number(least), greatest: KeyValue::Number(greatest) })]
}

/// `count` spine row groups of 10 rows and 100 bytes; times and keys by place.
fn spine(
    count: usize,
    times: impl Fn(i128) -> Option<TimeBounds>,
    keys: impl Fn(i128) -> Vec<Option<KeyRange>>,
) -> Vec<SpineGroup> {
    (0..count)
        .map(|at| SpineGroup {
            file: at / 4,
            group: at % 4,
            rows: 10,
            bytes: 100,
            time: times(at as i128),
            keys: keys(at as i128),
        })
        .collect()
}

fn source(
    ttl_nanos: Option<i128>,
    count: usize,
    times: impl Fn(i128) -> Option<TimeBounds>,
    keys: impl Fn(i128) -> Vec<Option<KeyRange>>,
) -> SourceGroups {
    let group = |at: usize| SourceGroup {
        rows: 20,
        bytes: 1000,
        time: times(at as i128),
        keys: keys(at as i128),
        ..SourceGroup::default()
    };
    SourceGroups { ttl_nanos, groups: (0..count).map(group).collect() }
}

fn day(at: i128) -> Option<TimeBounds> {
    time(at * 100, at * 100 + 99)
}

fn tenth(at: i128) -> Vec<Option<KeyRange>> {
    key(at * 10, at * 10 + 9)
}

fn unknown(_: i128) -> Vec<Option<KeyRange>> {
    vec![None]
}

fn shown(cutting: &Cutting) -> String {
    let shards: Vec<String> = cutting
        .shards
        .iter()
        .map(|shard| {
            let runs: Vec<String> = shard
                .spec
                .groups
                .iter()
                .map(|run| format!("{}:{}-{}", run.file, run.first, run.end))
                .collect();
            format!("{} rows {} bytes [{}]", shard.rows, shard.bytes_to_read, runs.join(" "))
        })
        .collect();
    format!("{}\n{}", cutting.reason, shards.join("\n"))
}

const LIMITS: ShardLimits = ShardLimits { bytes_target: 2500, shards_max: 100, amplification_max: 1.3 };

fn check(spine: &[SpineGroup], sources: &[SourceGroups], limits: &ShardLimits, expected: &str) {
    let cutting = cut(spine, sources, &["k".to_owned()], limits, false);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(shown(&cutting).lines().collect::<Vec<_>>(), expected);
    let rows: u64 = cutting.shards.iter().map(|shard| shard.rows).sum();
    assert_eq!(rows, spine.iter().map(|group| group.rows).sum::<u64>(), "every row in one shard");
    for group in spine {
        let holders = cutting.shards.iter().filter(|shard| shard.spec.holds(group.file, group.group)).count();
        assert_eq!(holders, 1, "{}:{}", group.file, group.group);
    }
}

#[test]
fn files_in_time_order_with_a_short_ttl_are_cut_by_time() {
    check(
        &spine(8, day, unknown),
        &[source(Some(10), 8, day, unknown)],
        &ShardLimits { bytes_target: 4400, ..LIMITS },
        "cut by time: all shards read 1.11 times what one job reads
         40 rows 4400 bytes [0:0-4]
         40 rows 5400 bytes [1:0-4]",
    );
}

#[test]
fn fewer_shards_are_made_where_many_would_read_too_much_twice() {
    check(
        &spine(8, day, unknown),
        &[source(Some(10), 8, day, unknown)],
        &LIMITS,
        "cut by time: all shards read 1.11 times what one job reads
         40 rows 4400 bytes [0:0-4]
         40 rows 5400 bytes [1:0-4]",
    );
}

#[test]
fn without_a_ttl_later_shards_read_everything_before_them() {
    check(
        &spine(8, day, unknown),
        &[source(None, 8, day, unknown)],
        &LIMITS,
        "one shard: every cut reads more than 1.30 times what one job reads (time: 1.45 times, `k`: footers do not say)
         80 rows 8800 bytes [0:0-4 1:0-4]",
    );
}

#[test]
fn files_in_key_order_are_cut_by_key() {
    // By time the row groups come in another order, in which neighbours have distant keys.
    check(
        &spine(8, |at| time(at * 3 % 8, 1000), tenth),
        &[source(None, 8, |_| time(0, 1000), tenth)],
        &LIMITS,
        "cut by `k`: all shards read 1.00 times what one job reads
         20 rows 2200 bytes [0:0-2]
         20 rows 2200 bytes [0:2-4]
         20 rows 2200 bytes [1:0-2]
         20 rows 2200 bytes [1:2-4]",
    );
}

#[test]
fn a_mixed_spine_is_one_shard() {
    check(
        &spine(4, |_| time(0, 1000), |_| key(0, 99)),
        &[source(Some(10), 8, day, tenth)],
        &LIMITS,
        "one shard: every cut reads more than 1.30 times what one job reads (time: 1.95 times, `k`: 1.95 times)
         40 rows 8400 bytes [0:0-4]",
    );
}

#[test]
fn little_work_is_not_cut() {
    check(
        &spine(8, day, tenth),
        &[source(Some(10), 1, day, tenth)],
        &LIMITS,
        "one shard: it reads 1.8 KiB, a shard may read 2.4 KiB
         80 rows 1800 bytes [0:0-4 1:0-4]",
    );
}

#[test]
fn row_groups_out_of_order_are_dealt_by_time_not_by_place() {
    check(
        &spine(4, |at| day(if at % 2 == 0 { at } else { at + 100 }), unknown),
        &[source(Some(1), 2, |at| day(at * 102), unknown)],
        &ShardLimits { bytes_target: 1300, ..LIMITS },
        "cut by time: all shards read 1.00 times what one job reads
         20 rows 1200 bytes [0:0-1 0:2-3]
         20 rows 1200 bytes [0:1-2 0:3-4]",
    );
}

#[test]
fn a_spine_without_row_groups_is_one_empty_shard() {
    check(
        &[],
        &[source(None, 2, day, tenth)],
        &LIMITS,
        "one shard: it reads 2.0 KiB, a shard may read 2.4 KiB\n0 rows 2000 bytes []",
    );
}
