//! Retrievals that cannot be: the status, the words, and an output that is as it was.

use std::process::Command;

use crate::support::{INSTANT, Run, World, write_parquet};

/// Retrieves `model_v2` for `spine` and checks that nothing was left.
fn retrieve(world: &World, spine: &str, more: &str) -> Run {
    let line = format!("-c taxi retrieve --feature-service model_v2 --spine {spine} --output out {more}");
    let run = world.run(&line);
    assert_eq!(world.files("out"), Vec::<String>::new(), "{}", run.err);
    run
}

#[test]
fn unknown_references_name_what_is_near() {
    let world = World::applied();
    for (what, expected) in [
        (
            "--features driver_hourly_stats:conv_rat",
            r#"error: feature view `driver_hourly_stats` has no feature `conv_rat`
hint: did you mean `conv_rate`?
"#,
        ),
        (
            "--features driver_stats:conv_rate",
            r#"error: project `taxi` has no feature view `driver_stats`
hint: feature views: `driver_hourly_stats`
"#,
        ),
        (
            "--features conv_rate",
            r#"error: `conv_rate` is not a feature reference, expected `view:feature`
hint: for example `driver_hourly_stats:conv_rate`
"#,
        ),
        (
            "--feature-service model_v3",
            r#"error: project `taxi` has no feature service `model_v3`
hint: did you mean `model_v1`?
"#,
        ),
    ] {
        let line = format!("-c taxi retrieve {what} --spine taxi/data/spine.parquet --output out");
        let run = world.run(&line);
        run.says(world.path(), expected);
    }
}

#[test]
fn spines_that_are_none() {
    let world = World::applied();
    let at = |name: &str| world.path().join(name);
    write_parquet(&at("no_key.parquet"), &[("event_timestamp", vec![Some(INSTANT)])]);
    write_parquet(&at("no_time.parquet"), &[("driver_id", vec![Some(1001)])]);
    let two = [
        ("driver_id", vec![Some(1001)]),
        ("a_timestamp", vec![Some(INSTANT)]),
        ("b_timestamp", vec![Some(INSTANT)]),
    ];
    write_parquet(&at("two_times.parquet"), &two);
    let taken = [
        ("driver_id", vec![Some(1001)]),
        ("event_timestamp", vec![Some(INSTANT)]),
        ("conv_rate", vec![Some(1)]),
    ];
    write_parquet(&at("taken.parquet"), &taken);
    for (spine, status, expected) in [
        (
            "no_key.parquet",
            3,
            r#"error: spine `DIR/no_key.parquet` has no column `driver_id`
hint: needed for a join key of feature view `driver_hourly_stats`; columns: `event_timestamp`
"#,
        ),
        (
            "no_time.parquet",
            3,
            r#"error: the spine `DIR/no_time.parquet` has no column that can be its instant
hint: it needs a column `event_timestamp` or one timestamp column; name another with `--timestamp-column`
"#,
        ),
        (
            "two_times.parquet",
            3,
            r#"error: the spine `DIR/two_times.parquet` has no column that can be its instant
hint: its timestamp columns are `a_timestamp`, `b_timestamp`: name one with `--timestamp-column`
"#,
        ),
        (
            "taken.parquet",
            2,
            r#"error: two outputs would be called `conv_rate`: spine column `conv_rate` and `driver_hourly_stats:conv_rate`
hint: ask for `--full-feature-names`, or rename: a service can give a view another name
"#,
        ),
        (
            "nowhere.parquet",
            4,
            r#"error: nothing to read at `DIR/nowhere.parquet`: there is no such file or folder
hint: names that start with `_` or `.` are skipped, and a folder is searched at any depth
"#,
        ),
    ] {
        retrieve(&world, spine, "").expect(status).says(world.path(), expected);
    }
}

#[test]
fn a_spine_without_rows_gives_a_dataset_without_rows() {
    let world = World::applied();
    let spine = [("driver_id", vec![]), ("event_timestamp", vec![])];
    write_parquet(&world.path().join("spine.parquet"), &spine);
    let line = "-c taxi retrieve --feature-service model_v2 --spine spine.parquet --output out";
    let run = world.run(line).expect(0);
    assert!(run.out.contains("rows     0\n"), "{}", run.out);
    assert!(run.out.contains("note: the spine has 0 rows: so has the dataset\n"), "{}", run.out);
    assert!(world.files("out").contains(&"_SUCCESS".to_owned()));
}

#[test]
fn damaged_files_are_5_and_named() {
    let spine = "taxi/data/spine.parquet";
    for damage in ["garbage", "truncated", "rotten page"] {
        let world = World::applied();
        let path = world.path().join("taxi/data/driver_stats.parquet");
        let sound = std::fs::read(&path).unwrap();
        let mut bytes = sound.clone();
        match damage {
            "garbage" => bytes = b"this is no Parquet file at all".to_vec(),
            "truncated" => bytes.truncate(sound.len() / 2),
            _ => bytes[8..2000].fill(0xff),
        }
        std::fs::write(&path, bytes).unwrap();
        let run = retrieve(&world, spine, "").expect(5);
        let first = run.err.replace(&world.path().display().to_string(), "DIR");
        let expected = "error: source `driver_stats_source` of feature view `driver_hourly_stats` `DIR/taxi/data/driver_stats.parquet` cannot be read as Parquet";
        assert!(first.starts_with(expected), "{damage}: {first}");
        assert_eq!(first.contains("(row group 0)"), damage == "rotten page", "{first}");
    }
}

#[test]
fn a_feature_that_the_file_lacks_is_5() {
    let world = World::with_repo();
    world.edit("taxi/features.yaml", "schema:\n", "schema:\n  - {name: trips_today, dtype: Int64}\n");
    world.run("-c taxi apply --yes --no-source-check").expect(0);
    retrieve(&world, "taxi/data/spine.parquet", "").expect(5).says(world.path(), r#"error: source `driver_stats_source` of feature view `driver_hourly_stats` `DIR/taxi/data/driver_stats.parquet` has no column `trips_today`
hint: needed for feature `trips_today` of view `driver_hourly_stats`; columns: `event_timestamp`, `driver_id`, `conv_rate`, `acc_rate`, `created`
"#);
}

#[test]
fn a_memory_limit_that_is_too_small_is_10_and_names_itself() {
    let world = World::applied();
    let rows: i64 = 200_000;
    let spine = [
        ("driver_id", (0..rows).map(|row| Some(row % 5 + 1001)).collect::<Vec<_>>()),
        ("event_timestamp", (0..rows).map(|row| Some(INSTANT + row)).collect()),
    ];
    write_parquet(&world.path().join("spine.parquet"), &spine);
    // The spine is not held beside so few features, so it is these that must not fit.
    let run = retrieve(&world, "spine.parquet", "--memory-limit 1KiB").expect(10);
    assert!(run.err.contains("hint: give it more with `--memory-limit`"), "{}", run.err);
}

#[test]
fn what_may_be_spilled_has_a_limit_that_is_10_and_names_itself() {
    let world = World::applied();
    let rows: i64 = 50_000;
    let spine = [
        ("driver_id", (0..rows).map(|row| Some(row % 5 + 1001)).collect::<Vec<_>>()),
        ("event_timestamp", (0..rows).map(|row| Some(INSTANT + row * 7_919_993 % 600_000_000_000)).collect()),
    ];
    write_parquet(&world.path().join("spine.parquet"), &spine);
    let run = retrieve(&world, "spine.parquet", "--form spill --spill-dir deep/spill --spill-limit 64KiB")
        .expect(10);
    run.says(world.path(), r#"error: no room is left on disk: the spine takes more than the 65536 bytes that may be spilled
hint: give it more room with `--spill-limit`, or another disk with `--spill-dir` (executors: `--disk-limit` and `--work-dir`), or more memory with `--memory-limit`, so that less is spilled
"#);
    assert_eq!(world.files("deep"), Vec::<String>::new());
}

/// On a file system of its own, as far as the machine allows to make one.
#[test]
fn a_full_disk_is_10_and_leaves_nothing() {
    let probe = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this machine lets nobody mount a file system of their own");
        return;
    }
    let world = World::applied();
    let rows: i64 = 100_000;
    let spine = [
        ("driver_id", (0..rows).map(|row| Some(row % 5 + 1001)).collect::<Vec<_>>()),
        ("event_timestamp", (0..rows).map(|row| Some(INSTANT + row * 7_919_993 % 600_000_000_000)).collect()),
    ];
    write_parquet(&world.path().join("spine.parquet"), &spine);
    std::fs::create_dir(world.path().join("small")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none small || exit 77\n\
         {} -c taxi retrieve --feature-service model_v2 --spine spine.parquet --output small/out\n\
         status=$?; find small -type f; exit $status",
        env!("CARGO_BIN_EXE_backsight")
    );
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).current_dir(world.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.starts_with("error: no room to write `"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "files are left");
}

#[test]
fn a_store_that_is_not_files_is_refused_by_name() {
    let world = World::applied();
    world.write(
        "taxi/feature_store.yaml",
        "project: taxi\nregistry: data/registry.db\noffline_store: {type: snowflake.offline}\n",
    );
    world.run("-c taxi entities list").expect(0);
    retrieve(&world, "taxi/data/spine.parquet", "").expect(2).says(world.path(), r#"error: taxi/feature_store.yaml:3:23: offline store `snowflake.offline` does not read files, so Backsight cannot retrieve from it; allowed: `dask`, `file`, `duckdb`
  hint: sources must be Parquet files, local or in an object store
"#);
}
