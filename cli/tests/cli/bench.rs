//! Benchmarks as their users run them: a workload made, retrieved, checked against the oracle, shown.

use backsight_s3_server::S3Server;
use serde_json::{Value, json};

use crate::support::World;

const GENERATE: &str = "bench generate tiny --scale 0.02 --types float32,int64,string,bool --late 0.1 --ties 0.05 \
                        --null-keys 0.05 --null-values 0.1 --layout hive --output w";

#[test]
fn a_workload_is_made_run_checked_and_shown() {
    let world = World::empty();
    let made = world.run(&format!("{GENERATE} --output-format json")).expect(0).json();
    assert_eq!(
        made["tables"][0],
        json!({"name": "spine", "rows": 400, "files": 1, "bytes": made["tables"][0]["bytes"]})
    );
    assert_eq!((&made["tables"][1]["rows"], &made["tables"][1]["files"]), (&json!(4_000), &json!(60)));
    assert_eq!(made["is_complete"], true);

    // The same again is there already; another one is not replaced unasked.
    let again = world.run(&format!("{GENERATE} --output-format json")).expect(0).json();
    assert_eq!(again["repeated"], true);
    let other = world.run(&format!("{GENERATE} --seed 8")).expect(9);
    assert!(other.err.contains("`w` holds another workload, `tiny`"), "{}", other.err);

    // As a user would do it by hand.
    world.run("-c w apply --yes").expect(0);
    world.run("-c w retrieve --feature-service bench --spine w/spine --output by-hand").expect(0);
    let by_hand = world.run("bench checksum by-hand --output-format json").expect(0).json();

    let run = world.run("bench run w --repeat 2 --output run.json --output-format json").expect(0).json();
    assert_eq!(
        run["check"],
        json!({"by": "naive", "rows": 400, "checksum": by_hand["checksum"], "agrees": true})
    );
    assert_eq!((run["runs"].as_array().unwrap().len(), &run["repetitions"]), (2, &json!(2)));
    let middle = &run["medians"][0];
    assert_eq!(middle["engine"], "backsight");
    for figure in ["wall_seconds", "cpu_seconds", "memory_bytes_max", "bytes_read", "bytes_written"] {
        assert!(middle[figure].as_f64().unwrap() > 0.0, "{figure} of {middle}");
    }
    assert_eq!(
        (&run["medians"][1]["engine"], run["floor"]["steps"].as_array().unwrap().len()),
        (&json!("floor"), 3)
    );
    assert!(!world.path().join("w/dataset").exists() && !world.path().join("w/dataset-check").exists());
    let kept: Value = serde_json::from_slice(&std::fs::read(world.path().join("run.json")).unwrap()).unwrap();
    assert_eq!(kept, run);

    let report = world.run("bench report run.json --output report.html").expect(0);
    assert!(
        report.out.contains("\n## tiny\n\nSpine: 400 rows; views: 4,000 rows, 4 features.\n"),
        "{}",
        report.out
    );
    let page = std::fs::read_to_string(world.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("floor (parquet-rs)"));
}

#[test]
fn a_workload_of_ones_own_has_several_views_and_key_sets_and_can_be_elsewhere() {
    let world = World::empty();
    world.write(
        "own.yaml",
        "name: own
spine: {rows: 300, days: 20, null_keys: 0.1, null_instants: 0.05, ties: 0.2, files: 2}
entities:
  - {name: user, keys: 40, columns: 2, key_type: string}
  - {name: shop, keys: 7, skew: {hot: 0.5}}
views:
  - {name: clicks, rows: 900, features: 3, ttl_hours: 0, ties: 0.2}
  - {name: sales, entity: shop, rows: 700, features: 2, disorder: 0.1, page_rows: 100, row_group_rows: 200}
",
    );
    world.run("bench generate --spec own.yaml --output own --data files").expect(0);
    assert!(world.path().join("files/spine/part-001.parquet").exists());
    let run = world.run("bench run own --repeat 1 --no-floor --output-format json").expect(0).json();
    assert_eq!((&run["check"]["by"], &run["check"]["agrees"]), (&json!("naive"), &json!(true)));
    let runs = world.files("own/runs");
    assert!(runs.len() == 1 && runs[0].ends_with("-own.json"), "{runs:?}");

    // What it prints is taken again.
    let printed = world.run("bench generate --spec own.yaml --print-spec").expect(0);
    world.write("printed.json", &printed.out);
    let again = world.run("bench generate --spec printed.json --output own --data files").expect(0);
    assert!(again.out.contains("is there already"), "{}", again.out);
}

#[test]
fn the_files_of_a_workload_and_its_dataset_can_be_in_a_bucket() {
    let world = World::empty();
    let server = S3Server::start(&world.path().join("s3"));
    world.write("s3/bench/readme.txt", "a bucket");
    let world = world.with_environment(server.environment());
    world.run("bench generate tiny --scale 0.02 --output w --data s3://bench/tiny").expect(0);
    assert!(world.files("s3/bench/tiny").contains(&"v0/part-001.parquet".to_owned()));
    assert!(!world.path().join("w/v0").exists());
    let run = world.run("bench run w --repeat 1 --output-format json").expect(0).json();
    assert_eq!((&run["check"]["by"], &run["check"]["agrees"]), (&json!("naive"), &json!(true)));
    assert!(run["floor"]["wall_seconds"].as_f64() > Some(0.0));
    let left: Vec<String> =
        world.files("s3/bench/tiny").into_iter().filter(|file| file.starts_with("dataset")).collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(server.pending_uploads(), 0);
    // Another workload takes the place of the first one's files.
    world
        .run("bench generate tiny --scale 0.01 --files 1 --output w --data s3://bench/tiny --overwrite")
        .expect(0);
    assert_eq!(world.files("s3/bench/tiny"), ["spine/part-000.parquet", "v0/part-000.parquet"]);
}

#[test]
fn what_cannot_be_run_is_refused_with_a_next_step() {
    let world = World::empty();
    world.write("bad.yaml", "name: bad\nspine: {rows: none}\nviews: [{name: a, shape: round}]\n");
    let bad = world.run("bench generate --spec bad.yaml --output w").expect(3);
    assert!(bad.err.contains("2 problems in `bad.yaml`\nbad.yaml:2:15: `rows`"), "{}", bad.err);
    assert!(bad.err.contains("bad.yaml:3:19: unknown key `shape`"), "{}", bad.err);
    assert!(!world.path().join("w").exists());

    let none = world.run("bench run nowhere").expect(4);
    assert!(none.err.contains("hint: make one with `backsight bench generate`"), "{}", none.err);
    world.write("full/notes.txt", "mine");
    world.run("bench generate tiny --output full").expect(9);
    world.write("x.json", "{}");
    let report = world.run("bench report x.json").expect(3);
    assert!(report.err.contains("`x.json` holds no figures of a run"), "{}", report.err);
}
