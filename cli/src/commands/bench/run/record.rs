//! The figures of a run as they are kept: one JSON document, in the keys that `benches/run_peers.py` uses as well.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::retrieval::Run;
use crate::commands::bench::data::peers_workload;
use crate::commands::bench::files::Generated;
use crate::commands::bench::floor::Floor;

/// The figures that a median is taken of.
const FIGURES: [&str; 12] = [
    "wall_seconds",
    "user_seconds",
    "system_seconds",
    "cpu_seconds",
    "memory_bytes_max",
    "retrieval_seconds",
    "bytes_of_sources",
    "bytes_read",
    "bytes_written",
    "bytes_written_all",
    "bytes_shuffled",
    "bytes_spilled",
];

/// A run in the making.
#[derive(Debug, Clone)]
pub(crate) struct Record(Value);

impl Record {
    /// Nothing measured yet.
    pub(super) fn new(generated: &Generated, began: DateTime<Utc>, machine: Value) -> Self {
        let whole = generated.json();
        Self(json!({
            "format": 1,
            "kind": "backsight-bench",
            "date": began.format("%Y-%m-%d").to_string(),
            "started": began.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "workload": peers_workload(&generated.spec),
            "spec": whole["spec"],
            "tables": whole["tables"],
            "machine": machine,
            "versions": {"backsight": env!("CARGO_PKG_VERSION")},
            "options": null,
            "repetitions": 0,
            "check": null,
            "medians": [],
            "runs": [],
            "floor": null,
        }))
    }

    pub(super) fn set_options(&mut self, options: Value) {
        self.0["options"] = options;
    }

    pub(super) fn set_check(&mut self, check: Value) {
        self.0["check"] = check;
    }

    pub(super) fn set_floor(&mut self, floor: &Floor) {
        let mut value = floor.json();
        value["engine"] = json!("floor");
        self.0["floor"] = value.clone();
        if let Some(object) = value.as_object_mut() {
            object.remove("steps");
        }
        if let Some(medians) = self.0["medians"].as_array_mut() {
            medians.push(value);
        }
    }

    /// Keeps a retrieval.
    #[expect(clippy::needless_pass_by_value, reason = "what is kept is given away")]
    pub(super) fn add(&mut self, run: Run) {
        let Some(runs) = self.0["runs"].as_array_mut() else { return };
        let mut value = run.json();
        value["engine"] = json!("backsight");
        value["repetition"] = json!(runs.len());
        runs.push(value);
        let (count, middle) = (runs.len(), medians(runs));
        self.0["repetitions"] = json!(count);
        self.0["medians"] = json!([middle]);
    }

    /// The document.
    pub(crate) fn json(&self) -> Value {
        self.0.clone()
    }
}

/// The median of each figure, with the least and greatest wall time.
fn medians(runs: &[Value]) -> Value {
    let mut middle = Map::new();
    middle.insert("engine".to_owned(), json!("backsight"));
    if let Some(first) = runs.first() {
        middle.insert("form".to_owned(), first["form"].clone());
    }
    for key in FIGURES {
        middle.insert(key.to_owned(), json!(median(runs.iter().filter_map(|run| run[key].as_f64()))));
    }
    let walls = || runs.iter().filter_map(|run| run["wall_seconds"].as_f64());
    middle.insert("wall_seconds_min".to_owned(), json!(walls().reduce(f64::min)));
    middle.insert("wall_seconds_max".to_owned(), json!(walls().reduce(f64::max)));
    Value::Object(middle)
}

/// The middle of some numbers, or of the two in the middle.
fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(rounded(f64::midpoint(*lower, *upper)))
}

/// Milliseconds are what a wall time is good for.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
        let runs = [json!({"wall_seconds": 2.0, "form": "f"}), json!({"wall_seconds": 1.0, "form": "f"})];
        let middle = medians(&runs);
        assert_eq!((&middle["wall_seconds"], &middle["wall_seconds_min"]), (&json!(1.5), &json!(1.0)));
        assert_eq!((&middle["form"], &middle["bytes_shuffled"]), (&json!("f"), &Value::Null));
    }
}
