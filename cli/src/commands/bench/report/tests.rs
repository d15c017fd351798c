//! The report of some made-up runs, held as text: what changes here changes for readers.

use serde_json::{Value, json};

use super::figures::{Figures, figures};
use super::markdown::markdown;
use super::page::page;
use super::scaling::{Growth, series};

fn own(name: &str, rows: u64, executors: Option<u64>, wall: f64) -> Value {
    json!({
        "kind": "backsight-bench",
        "date": "2026-11-24",
        "spec": {"name": name, "spine": {"rows": 1_000}, "views": [{"rows": rows, "features": 4}]},
        "machine": {"processor": "Chip <9>", "cores": 2, "memory_bytes": 8_u64 << 30},
        "versions": {"backsight": "0.1.0"},
        "options": {"executors": executors, "is_cluster": executors.is_some()},
        "repetitions": 3,
        "check": {"by": "naive"},
        "medians": [
            {"engine": "backsight", "form": "slot-fold", "wall_seconds": wall, "wall_seconds_min": wall * 0.9,
             "wall_seconds_max": wall * 1.1, "cpu_seconds": wall * 1.5, "memory_bytes_max": 100_u64 << 20,
             "bytes_read": 7_000_000, "bytes_written": 1_234_567, "bytes_shuffled": null, "bytes_spilled": 3_000_000},
            {"engine": "floor", "wall_seconds": 0.8, "cpu_seconds": 1.5, "memory_bytes_max": 50_u64 << 20},
        ],
    })
}

fn peers() -> Value {
    let median = |engine: &str, wall: f64| {
        json!({"engine": engine, "wall_seconds": wall, "wall_seconds_min": wall, "wall_seconds_max": wall + 1.0,
               "cpu_seconds": wall * 2.0, "memory_bytes_max": 419_430_400.0})
    };
    json!({
        "date": "2026-11-22",
        "workload": {"name": "a", "spine": [1_000, 10, 30], "views": [["v0", 5_000, 10, 4, 48, 0, 2]]},
        "machine": {"processor": "Chip <9>", "cores": 2, "memory_bytes": 8_u64 << 30},
        "versions": {"duckdb": "2.0.0", "changed": false},
        "repetitions": 2,
        "results": {"duckdb": {"differences": []}, "polars": {"differences": ["rows differ"]}},
        "medians": [median("duckdb", 2.0), median("polars", 4.0)],
    })
}

fn all() -> Figures {
    let mut found = Figures::default();
    let records = [
        ("own.json", own("a", 5_000, None, 1.0)),
        ("peers.json", peers()),
        ("wide.json", own("b", 10, None, 0.5)),
    ];
    for (file, record) in records {
        found.extend(figures(&record, file).unwrap());
    }
    found
}

#[test]
fn the_markdown_is_this() {
    let expected = "\
Chip <9>, 2 cores, 8.0 GiB, backsight 0.1.0.
Chip <9>, 2 cores, 8.0 GiB, duckdb 2.0.0.

## a

Spine: 1,000 rows; views: 5,000 rows, 4 features.

| engine | wall s | min–max | CPU s | peak memory | read | shuffled | spilled | written | wall / floor | rows checked by |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|
| backsight (slot-fold) | 1.00 | 0.90–1.10 | 1.50 | 100.0 MiB | 6.7 MiB | – | 2.9 MiB | 1.2 MiB | 1.25 | naive |
| floor (parquet-rs) | 0.80 | – | 1.50 | 50.0 MiB | – | – | – | – | – | – |
| duckdb | 2.00 | 2.00–3.00 | 4.00 | 400.0 MiB | – | – | – | – | 2.50 | same rows |
| polars | 4.00 | 4.00–5.00 | 8.00 | 400.0 MiB | – | – | – | – | 5.00 | DIFFERENT ROWS |

backsight (slot-fold) × the best peer: wall 0.50, CPU 0.38, peak memory 0.25.

## b

Spine: 1,000 rows; views: 10 rows, 4 features.

| engine | wall s | min–max | CPU s | peak memory | read | shuffled | spilled | written | wall / floor | rows checked by |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|
| backsight (slot-fold) | 0.50 | 0.45–0.55 | 0.75 | 100.0 MiB | 6.7 MiB | – | 2.9 MiB | 1.2 MiB | 0.62 | naive |
| floor (parquet-rs) | 0.80 | – | 1.50 | 50.0 MiB | – | – | – | – | – | – |
";
    assert_eq!(markdown(&all()), expected);
}

#[test]
fn the_page_is_the_one_that_is_kept() {
    let mut found = Figures::default();
    for (number, rows) in [(0, 10_000), (1, 20_000)] {
        let record = own("a", rows, None, 1.0 + f64::from(number));
        found.extend(figures(&record, &format!("{number}.json")).unwrap());
    }
    let page = page(&found);
    // The style is not what this is about.
    let (head, rest) = page.split_once("<style>").unwrap();
    let body = format!("{head}{}", rest.split_once("</style>").unwrap().1);
    let kept = include_str!("testdata/page.html");
    if body != kept {
        let path = std::env::temp_dir().join("backsight-bench-page.html");
        std::fs::write(&path, &body).unwrap();
        panic!("the page differs from `testdata/page.html`; it is now in `{}`", path.display());
    }
}

#[test]
fn the_page_needs_nothing_else_and_trusts_no_text() {
    let page = page(&all());
    for word in ["http:", "https:", "<script", "<link", "<img", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("Chip &lt;9&gt;") && !page.contains("Chip <9>"));
    assert_eq!(page.matches("<svg").count(), page.matches("role=\"img\"").count());
    assert_eq!(page.matches("<svg").count(), page.matches("<desc").count());
    assert!(page.contains("prefers-color-scheme:dark"));
}

#[test]
fn runs_that_differ_in_one_thing_make_a_line() {
    let mut found = Figures::default();
    for (executors, wall) in [(1, 8.0), (2, 4.2), (4, 2.3), (4, 2.9)] {
        found.extend(figures(&own("a", 5_000, Some(executors), wall), "x").unwrap());
    }
    let lines = series(&found, Growth::Executors);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].name, "a, backsight (slot-fold)");
    assert_eq!(lines[0].points, [(1.0, 8.0), (2.0, 4.2), (4.0, 2.3)]);
    assert!(series(&found, Growth::Rows).is_empty() && series(&found, Growth::Features).is_empty());
    assert!(series(&all(), Growth::Executors).is_empty());
}

#[test]
fn what_is_no_record_says_why() {
    assert_eq!(figures(&json!({}), "x").unwrap_err(), "it does not say what workload it is about");
    let empty = json!({"workload": peers()["workload"], "medians": []});
    assert_eq!(figures(&empty, "x").unwrap_err(), "its `medians` have no times");
}
