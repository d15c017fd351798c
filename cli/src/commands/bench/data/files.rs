//! Which files a workload has: the rows of each, and the slice of time that they lie in.

use std::ops::Range;

use chrono::{DateTime, Days};

use crate::commands::bench::spec::{Layout, Spec, ViewSpec};

/// 2026-01-01T00:00:00Z in microseconds: all workloads begin there.
pub(crate) const BEGIN_MICROS: i64 = 1_767_225_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// What a file is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Spine,
    /// The view at this position.
    View(usize),
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePlan {
    pub(crate) table: Table,
    /// Below the workload's folder.
    pub(crate) path: String,
    /// Its rows among those of the table.
    pub(crate) rows: Range<u64>,
    /// Microseconds since 1970 in which its rows lie.
    pub(crate) micros: Range<i64>,
}

/// All files, the spine's first.
pub(crate) fn plan_files(spec: &Spec) -> Vec<FilePlan> {
    let span = i64::try_from(spec.spine.days).unwrap_or(1) * DAY_MICROS;
    let whole = BEGIN_MICROS..BEGIN_MICROS + span;
    let later = BEGIN_MICROS + span / 10..whole.end;
    let spine = cut(spec.spine.rows, spec.spine.files).enumerate().map(|(number, rows)| FilePlan {
        table: Table::Spine,
        path: format!("spine/part-{number:03}.parquet"),
        rows,
        micros: later.clone(),
    });
    let views = spec.views.iter().enumerate().flat_map(|(position, view)| {
        let table = Table::View(position);
        match view.layout {
            Layout::Slices => slices(view, table, &whole),
            Layout::Hive => hive(view, table, spec.spine.days),
        }
    });
    spine.chain(views).filter(|file| !file.rows.is_empty()).collect()
}

fn slices(view: &ViewSpec, table: Table, whole: &Range<i64>) -> Vec<FilePlan> {
    let span = i128::from(whole.end - whole.start);
    let bound = |number: usize| {
        let share = span * number as i128 / i128::from(view.files);
        whole.start + i64::try_from(share).unwrap_or(0)
    };
    let files = cut(view.rows, view.files).enumerate();
    files
        .map(|(number, rows)| FilePlan {
            table,
            path: format!("{}/part-{number:03}.parquet", view.name),
            rows,
            micros: bound(number)..bound(number + 1),
        })
        .collect()
}

fn hive(view: &ViewSpec, table: Table, days: u64) -> Vec<FilePlan> {
    let mut files = Vec::new();
    let first = DateTime::from_timestamp_micros(BEGIN_MICROS).unwrap_or_default().date_naive();
    for (day, of_day) in cut(view.rows, days).enumerate() {
        let date = first.checked_add_days(Days::new(day as u64)).unwrap_or(first);
        let begin = BEGIN_MICROS + i64::try_from(day).unwrap_or(0) * DAY_MICROS;
        for (number, rows) in cut(of_day.end - of_day.start, view.files).enumerate() {
            files.push(FilePlan {
                table,
                path: format!("{}/event_date={date}/part-{number:03}.parquet", view.name),
                rows: of_day.start + rows.start..of_day.start + rows.end,
                micros: begin..begin + DAY_MICROS,
            });
        }
    }
    files
}

/// So many ranges that hold `rows` together, as even as can be.
fn cut(rows: u64, pieces: u64) -> impl Iterator<Item = Range<u64>> {
    let bound = move |number: u64| {
        let share = u128::from(rows) * u128::from(number) / u128::from(pieces.max(1));
        u64::try_from(share).unwrap_or(rows)
    };
    (0..pieces).map(move |number| bound(number)..bound(number + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::spec::preset;

    #[test]
    fn files_hold_every_row_once_and_cover_the_time() {
        let mut spec = preset("tiny").unwrap();
        spec.views[0].files = 7;
        let files = plan_files(&spec);
        assert_eq!(files.len(), 8);
        let view = &files[1..];
        assert_eq!((view[0].rows.start, view[6].rows.end), (0, 200_000));
        assert_eq!(view[0].micros.start, BEGIN_MICROS);
        assert_eq!(view[6].micros.end, BEGIN_MICROS + 30 * DAY_MICROS);
        for pair in view.windows(2) {
            assert_eq!((pair[0].rows.end, pair[0].micros.end), (pair[1].rows.start, pair[1].micros.start));
        }
    }

    #[test]
    fn a_hive_has_a_folder_for_each_day() {
        let mut spec = preset("tiny").unwrap();
        spec.views[0].layout = Layout::Hive;
        let files = plan_files(&spec);
        assert_eq!(files.len(), 1 + 30 * 2);
        assert_eq!(files[1].path, "v0/event_date=2026-01-01/part-000.parquet");
        assert_eq!(files[60].path, "v0/event_date=2026-01-30/part-001.parquet");
        assert_eq!(files[60].rows.end, 200_000);
        spec.views[0].rows = 3;
        assert_eq!(plan_files(&spec).len(), 1 + 3, "files without rows are none");
    }
}
