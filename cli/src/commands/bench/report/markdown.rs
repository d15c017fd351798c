//! Figures as a Markdown table: the page's text form.

use super::figures::{Figures, Kind, Row, Workload};
use crate::render::units::{bytes, count};

/// The titles of the columns, and whether they hold numbers.
pub(super) const COLUMNS: [(&str, bool); 11] = [
    ("engine", false),
    ("wall s", true),
    ("min–max", true),
    ("CPU s", true),
    ("peak memory", true),
    ("read", true),
    ("shuffled", true),
    ("spilled", true),
    ("written", true),
    ("wall / floor", true),
    ("rows checked by", false),
];

/// A table for each workload, and how we stand to the best peer.
pub(crate) fn markdown(figures: &Figures) -> String {
    let mut text = String::new();
    for machine in &figures.machines {
        text = format!("{text}{machine}.\n");
    }
    for workload in figures.workloads() {
        text = format!("{text}\n## {}\n\n{}.\n\n", figures.title(workload), sizes(workload));
        let titles: Vec<&str> = COLUMNS.iter().map(|(title, _)| *title).collect();
        let rules: Vec<&str> =
            COLUMNS.iter().map(|(_, is_number)| if *is_number { "---:" } else { "---" }).collect();
        text = format!("{text}| {} |\n|{}|\n", titles.join(" | "), rules.join("|"));
        for row in figures.of(workload) {
            text = format!("{text}| {} |\n", cells(figures, row).join(" | "));
        }
        let own = figures.of(workload).filter(|row| row.kind == Kind::Own);
        let beside: Vec<String> = own.filter_map(|row| against_peers(figures, row)).collect();
        if !beside.is_empty() {
            text = format!("{text}\n{}\n", beside.join("\n"));
        }
    }
    text
}

/// The size of a workload in words.
pub(super) fn sizes(workload: &Workload) -> String {
    format!(
        "Spine: {} rows; views: {} rows, {} features",
        count(workload.spine_rows),
        count(workload.feature_rows),
        count(workload.features)
    )
}

/// The cells of a row.
pub(super) fn cells(figures: &Figures, row: &Row) -> Vec<String> {
    let none = || "–".to_owned();
    let size = |number: Option<u64>| number.map_or_else(none, bytes);
    let floor = figures.floor_of(row).filter(|_| row.kind != Kind::Floor);
    vec![
        row.engine.clone(),
        format!("{:.2}", row.wall_seconds),
        row.wall_range.map_or_else(none, |(least, most)| format!("{least:.2}–{most:.2}")),
        row.cpu_seconds.map_or_else(none, |seconds| format!("{seconds:.2}")),
        size(row.memory_bytes),
        size(row.bytes_read),
        size(row.bytes_shuffled),
        size(row.bytes_spilled),
        size(row.bytes_written),
        floor.map_or_else(none, |floor| format!("{:.2}", row.wall_seconds / floor.wall_seconds.max(0.001))),
        if row.checked.is_empty() { none() } else { row.checked.clone() },
    ]
}

/// Wall, CPU and memory as shares of the best peer's.
pub(super) fn against_peers(figures: &Figures, row: &Row) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "a share of bytes")]
    let memory = |row: &Row| row.memory_bytes.map(|bytes| bytes as f64);
    let share = |what: &str, own: Option<f64>, peer: Option<f64>| {
        let (own, peer) = own.zip(peer)?;
        Some(format!("{what} {:.2}", own / peer.max(0.001)))
    };
    let wall = |row: &Row| Some(row.wall_seconds);
    let parts = [
        share("wall", wall(row), figures.best_peer(row, wall)),
        share("CPU", row.cpu_seconds, figures.best_peer(row, |peer| peer.cpu_seconds)),
        share("peak memory", memory(row), figures.best_peer(row, memory)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{} × the best peer: {}.", row.engine, parts.join(", ")))
}
