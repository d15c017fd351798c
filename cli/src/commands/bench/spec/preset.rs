//! The named workloads: the same sizes as `benches/workloads.json`, so that figures can be put side by side.

use super::{EntitySpec, KeyType, ROW_GROUP_ROWS, Skew, Spec, SpineSpec, ViewSpec};

/// The names.
pub(crate) const PRESETS: [&str; 10] = [
    "tiny",
    "train",
    "tinyspine",
    "bigspine",
    "manyviews",
    "uniform",
    "hotkey",
    "skew",
    "perkey1000",
    "wide500",
];

/// Rows, keys and days of a spine; rows, keys, features, ttl in hours and files of a view.
type Sizes = ([u64; 3], [u64; 5]);

/// Spine rows that go into one file.
const SPINE_FILE_ROWS: u64 = 4_000_000;
/// The seed of all named workloads.
const SEED: u64 = 7;

/// The workload of this name.
pub(crate) fn preset(name: &str) -> Option<Spec> {
    let one: Sizes = match name {
        "tiny" => ([20_000, 2_000, 30], [200_000, 2_000, 4, 48, 2]),
        "train" => ([5_000_000, 200_000, 90], [20_000_000, 200_000, 10, 168, 16]),
        "tinyspine" => ([50_000, 5_000, 90], [50_000_000, 500_000, 6, 168, 24]),
        "bigspine" => ([30_000_000, 200_000, 90], [400_000, 200_000, 8, 0, 2]),
        "manyviews" => ([1_000_000, 100_000, 60], [3_000_000, 100_000, 5, 0, 4]),
        "uniform" | "hotkey" | "skew" => ([3_000_000, 100_000, 60], [20_000_000, 100_000, 6, 168, 16]),
        "perkey1000" => ([1_000_000, 10_000, 365], [10_000_000, 10_000, 5, 1_440, 12]),
        "wide500" => ([1_000, 1_000, 60], [1_000_000, 100_000, 500, 168, 4]),
        _ => return None,
    };
    let skew = match name {
        "hotkey" => Skew::Hot(0.5),
        "skew" => Skew::Zipf(1.3),
        _ => Skew::Uniform,
    };
    let ttls: Vec<u64> = match name {
        "manyviews" => vec![24, 48, 72, 96, 120, 144, 168, 0],
        _ => vec![one.1[3]],
    };
    Some(of_sizes(name, one, skew, &ttls))
}

fn of_sizes(name: &str, (spine, view): Sizes, skew: Skew, ttls: &[u64]) -> Spec {
    let entity =
        EntitySpec { name: "entity".to_owned(), keys: spine[1], columns: 1, key_type: KeyType::Int64, skew };
    let views = ttls.iter().enumerate().map(|(number, &ttl_hours)| ViewSpec {
        rows: view[0],
        keys: view[1],
        features: view[2],
        files: view[4],
        ttl_hours,
        ..ViewSpec::new(&format!("v{number}"), 0, &entity)
    });
    Spec {
        name: name.to_owned(),
        seed: SEED,
        spine: SpineSpec {
            rows: spine[0],
            days: spine[2],
            files: (spine[0] / SPINE_FILE_ROWS).max(1),
            null_keys: 0.0,
            null_instants: 0.0,
            ties: 0.0,
            row_group_rows: ROW_GROUP_ROWS,
        },
        views: views.collect(),
        entities: vec![entity],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::commands::bench::data::peers_workload;

    #[test]
    fn the_named_workloads_are_those_of_the_peers() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/workloads.json");
        let workloads: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let mut named: Vec<&String> =
            workloads.as_object().unwrap().keys().filter(|key| *key != "_").collect();
        named.sort();
        let mut presets = PRESETS.to_vec();
        presets.sort_unstable();
        assert_eq!(named, presets);
        for name in PRESETS {
            let spec = preset(name).unwrap();
            assert_eq!(spec.problems(), Vec::<String>::new(), "{name}");
            let own = peers_workload(&spec).unwrap();
            for key in ["spine", "views"] {
                let (own, theirs) = (&own[key], &workloads[name][key]);
                assert_eq!(numbers(own), numbers(theirs), "{key} of {name}");
            }
        }
        assert_eq!(preset("small"), None);
    }

    /// `0` and `0.0` are the same.
    fn numbers(value: &Value) -> Vec<String> {
        match value {
            Value::Array(items) => items.iter().flat_map(numbers).collect(),
            Value::Number(number) => vec![number.as_f64().unwrap().to_string()],
            other => vec![other.to_string()],
        }
    }
}
