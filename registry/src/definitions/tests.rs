//! Repos as text: what sound ones become, and every word that broken ones are answered with.

use super::check::plain_project;
use super::*;

/// A sound base that the broken cases build on.
const BASE: &str = "\
--- base.yaml
kind: Entity
name: driver
join_keys: [driver_id]
value_type: INT64
---
kind: FileSource
name: stats
path: data/stats.parquet
timestamp_field: event_timestamp
created_timestamp_column: created
---
kind: FeatureView
name: driver_stats
entities: [driver]
ttl: 1d
schema: [{name: conv_rate, dtype: Float32}, {name: acc_rate, dtype: Float32}]
source: stats
---
kind: RequestSource
name: request
schema: [{name: amount, dtype: Float64}]
";

/// Cuts `--- path` sections into files. A document separator is `---` alone.
pub(super) fn files(text: &str) -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> = Vec::new();
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("--- ") {
            files.push(SourceFile { path: path.to_owned(), text: String::new() });
        } else {
            let file = files.last_mut().unwrap();
            file.text.push_str(line);
            file.text.push('\n');
        }
    }
    files
}

pub(super) fn check(text: &str) -> Result<LoadedRepo, String> {
    check_definitions(&files(text), plain_project("rides", "from the configuration"))
        .map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect())
}

/// Each case, added to the sound base, is answered with exactly that text.
fn assert_answers(cases: &[(&str, &str, &str)]) {
    assert!(check(BASE).is_ok());
    for (claim, text, expected) in cases {
        let answer =
            check(&format!("{BASE}{text}")).map(|_| "sound".to_owned()).unwrap_or_else(|answer| answer);
        assert_eq!(&answer, expected, "{claim}");
    }
}

mod broken;
mod broken_references;
mod docs;
mod good;
mod on_disk;
