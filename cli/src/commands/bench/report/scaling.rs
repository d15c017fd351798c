//! How time grows: series of runs that differ in rows, in columns, or in executors, and in nothing else.

use std::collections::BTreeMap;

use super::figures::{Figures, Kind, Row};

/// What runs differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    Rows,
    Features,
    Executors,
}

/// Points of a kind of run, by what grows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    /// What grows, and seconds; ascending, each value once.
    pub(super) points: Vec<(f64, f64)>,
}

impl Growth {
    pub(super) const ALL: [Self; 3] = [Self::Rows, Self::Features, Self::Executors];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Rows => "rows of spine and views",
            Self::Features => "features",
            Self::Executors => "executors",
        }
    }

    fn value(self, row: &Row) -> Option<u64> {
        let workload = &row.workload;
        match self {
            Self::Rows => Some(workload.spine_rows + workload.feature_rows),
            Self::Features => Some(workload.features),
            Self::Executors => row.executors,
        }
    }

    /// What must be equal for two runs to be of one series.
    fn name(self, row: &Row) -> String {
        let workload = &row.workload;
        let engine = match self {
            Self::Executors => {
                row.engine.replace(&executors(row.executors), "").replace(", )", ")").replace(" ()", "")
            }
            _ => row.engine.clone(),
        };
        match self {
            Self::Rows => format!("{}, {engine}, {} features", workload.name, workload.features),
            Self::Features => {
                let rows = crate::render::units::count(workload.spine_rows + workload.feature_rows);
                format!("{}, {engine}, {rows} rows", workload.name)
            }
            Self::Executors => format!("{}, {engine}", workload.name),
        }
    }
}

fn executors(count: Option<u64>) -> String {
    match count {
        None => String::new(),
        Some(1) => "1 executor".to_owned(),
        Some(count) => format!("{count} executors"),
    }
}

/// The series of at least two points.
pub(super) fn series(figures: &Figures, growth: Growth) -> Vec<Series> {
    // Of equal runs the fastest counts: the others met a slow moment.
    let mut found: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
    for row in figures.rows.iter().filter(|row| row.kind != Kind::Floor) {
        let Some(value) = growth.value(row) else { continue };
        let points = found.entry(growth.name(row)).or_default();
        let seconds = points.entry(value).or_insert(row.wall_seconds);
        *seconds = seconds.min(row.wall_seconds);
    }
    let grown = found.into_iter().filter(|(_, points)| points.len() > 1);
    grown
        .map(|(name, points)| {
            #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
            let points = points.into_iter().map(|(value, seconds)| (value as f64, seconds)).collect();
            Series { name, points }
        })
        .collect()
}
