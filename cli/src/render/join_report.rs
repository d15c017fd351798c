//! The join report for people: one line a view, then the features with nulls in their winners, then notes.
//!
//! A report that would be wider than most terminals is cut into tables that are not: outcomes, reasons, ages.

use backsight_retrieval::{JoinReport, ViewReport};

use crate::render::table::{Align, Table};
use crate::render::units::{count, percent, span};
use unicode_width::UnicodeWidthStr;

/// A column of the report: its header, and what it counts.
type Reason = (&'static str, fn(&ViewReport) -> u64);

/// Columns of text that most terminals show without breaking lines.
const WIDTH_MAX: usize = 100;

/// Why a spine row has no match, and ties: a column is shown when some view has one.
const OUTCOMES: [Reason; 5] = [
    ("NULL INSTANT", |view| view.null_instant),
    ("NULL KEY", |view| view.null_key),
    ("HIDDEN", |view| view.hidden),
    ("NONE IN REACH", |view| view.none_in_reach),
    ("TIES", |view| view.ties),
];

/// Why nothing was in reach, where a census was taken.
const BECAUSE: [Reason; 3] = [
    ("NO SUCH KEY", |view| view.none_in_reach_because.map_or(0, |because| because.no_such_key)),
    ("ONLY LATER", |view| view.none_in_reach_because.map_or(0, |because| because.only_later)),
    ("EXPIRED", |view| view.none_in_reach_because.map_or(0, |because| because.expired)),
];

/// The cells of a view.
type CellsOf<'a> = Box<dyn Fn(&ViewReport) -> Vec<String> + 'a>;

/// A group of columns beside the name of a view: headers, and the cells of a view.
struct Columns<'a> {
    headers: Vec<&'static str>,
    cells: CellsOf<'a>,
}

impl<'a> Columns<'a> {
    /// These columns and then others.
    fn and(self, other: Self) -> Self {
        let headers = [self.headers, other.headers].concat();
        Columns { headers, cells: Box::new(move |view| [(self.cells)(view), (other.cells)(view)].concat()) }
    }
}

/// The report as text. `columns` is how wide the terminal is, where it is known.
pub(crate) fn join_report(report: &JoinReport, columns: Option<usize>) -> String {
    let mut text = views(report, columns.unwrap_or(WIDTH_MAX));
    let nulls = nulls(report);
    if !nulls.is_empty() {
        text = format!("{text}\n{}", nulls.text());
    }
    for note in &report.notes {
        text = format!("{text}\nnote: {note}");
    }
    if !report.notes.is_empty() {
        text.push('\n');
    }
    text
}

/// All columns in one table where it is narrow enough, else a table for each group.
fn views(report: &JoinReport, width_max: usize) -> String {
    let matched = Columns {
        headers: vec!["MATCHED", "SHARE"],
        cells: Box::new(|view| vec![count(view.matched), percent(view.matched, report.rows)]),
    };
    let outcomes = matched.and(shown(report, &OUTCOMES));
    let ages = Columns {
        headers: vec!["AGE MIN", "MEDIAN", "P99", "MAX"],
        cells: Box::new(|view| match &view.age_ns {
            Some(age) => [age.min, age.median, age.p99, age.max].map(span).to_vec(),
            None => vec!["-".to_owned(); 4],
        }),
    };
    let groups: Vec<Columns<'_>> = [outcomes, shown(report, &BECAUSE), ages]
        .into_iter()
        .filter(|group| !group.headers.is_empty())
        .collect();
    let whole = table(report, &groups).text();
    if whole.lines().all(|line| line.width() <= width_max) {
        return whole;
    }
    let parts = groups.chunks(1).map(|group| table(report, group).text());
    parts.collect::<Vec<_>>().join("\n")
}

/// The reasons that some view has.
fn shown<'a>(report: &JoinReport, reasons: &'a [Reason]) -> Columns<'a> {
    let occurs = |of: &fn(&ViewReport) -> u64| report.views.iter().any(|view| of(view) > 0);
    let shown: Vec<&Reason> = reasons.iter().filter(|(_, of)| occurs(of)).collect();
    Columns {
        headers: shown.iter().map(|(name, _)| *name).collect(),
        cells: Box::new(move |view| shown.iter().map(|(_, of)| count(of(view))).collect()),
    }
}

/// One line a view with these groups of columns.
fn table(report: &JoinReport, groups: &[Columns<'_>]) -> Table {
    let headers = groups.iter().flat_map(|group| &group.headers);
    let mut columns = vec![("VIEW", Align::Left)];
    columns.extend(headers.map(|name| (*name, Align::Right)));
    let mut table = Table::new(&columns);
    for view in &report.views {
        let name = if view.label == view.view {
            view.view.clone()
        } else {
            format!("{} ({})", view.label, view.view)
        };
        let mut cells = vec![name];
        cells.extend(groups.iter().flat_map(|group| (group.cells)(view)));
        table.row(cells);
    }
    table
}

/// A null that the winner itself holds has another cause than a row without a winner.
fn nulls(report: &JoinReport) -> Table {
    let columns = [("FEATURE", Align::Left), ("NULL IN WINNER", Align::Right), ("OF MATCHED", Align::Right)];
    let mut table = Table::new(&columns);
    for view in &report.views {
        for feature in view.features.iter().filter(|feature| feature.null_in_winner > 0) {
            let share = percent(feature.null_in_winner, view.matched);
            table.row([feature.name.clone(), count(feature.null_in_winner), share]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use backsight_retrieval::{AgeReport, FeatureReport, ReachReport};

    use super::*;

    fn view(label: &str) -> ViewReport {
        ViewReport {
            label: label.to_owned(),
            view: "stats".to_owned(),
            matched: 8,
            null_instant: 0,
            null_key: 1,
            hidden: 0,
            none_in_reach: 1,
            none_in_reach_because: None,
            ties: 0,
            age_ns: None,
            features: vec![FeatureReport { name: "conv".to_owned(), null_in_winner: 0 }],
        }
    }

    #[test]
    fn a_report_that_would_be_wide_is_cut_into_tables() {
        let because = ReachReport { no_such_key: 1, only_later: 2, expired: 3 };
        let wide = ViewReport {
            null_instant: 1,
            hidden: 2,
            none_in_reach: 6,
            none_in_reach_because: Some(because),
            ties: 4,
            ..view("driver_hourly_stats")
        };
        let report = JoinReport { rows: 18, views: vec![wide], notes: Vec::new() };
        let expected = "\
VIEW                         MATCHED   SHARE  NULL INSTANT  NULL KEY  HIDDEN  NONE IN REACH  TIES
driver_hourly_stats (stats)        8  44.4 %             1         1       2              6     4

VIEW                         NO SUCH KEY  ONLY LATER  EXPIRED
driver_hourly_stats (stats)            1           2        3

VIEW                         AGE MIN  MEDIAN  P99  MAX
driver_hourly_stats (stats)        -       -    -    -
";
        assert_eq!(join_report(&report, None), expected);
    }

    #[test]
    fn only_reasons_that_occurred_have_a_column() {
        let age =
            AgeReport { min: 0, median: 60_000_000_000, p99: 7_200_000_000_000, max: 7_200_000_000_000 };
        let mut second =
            ViewReport { age_ns: Some(age), matched: 10, null_key: 0, none_in_reach: 0, ..view("origin") };
        second.features[0].null_in_winner = 5;
        let report =
            JoinReport { rows: 10, views: vec![view("stats"), second], notes: vec!["look".to_owned()] };
        let expected = "\
VIEW            MATCHED    SHARE  NULL KEY  NONE IN REACH  AGE MIN  MEDIAN  P99  MAX
stats                 8   80.0 %         1              1        -       -    -    -
origin (stats)       10  100.0 %         0              0      0 s   1 min  2 h  2 h

FEATURE  NULL IN WINNER  OF MATCHED
conv                  5      50.0 %

note: look
";
        assert_eq!(join_report(&report, None), expected);
        // On a narrow terminal, a table for each group.
        let narrow = join_report(&report, Some(80));
        assert!(
            narrow.starts_with("VIEW            MATCHED    SHARE  NULL KEY  NONE IN REACH\n"),
            "{narrow}"
        );
        assert!(narrow.lines().all(|line| line.width() <= 80), "{narrow}");
    }
}
