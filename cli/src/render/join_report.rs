//! The join report for people: one line a view, then the features with nulls in their winners, then notes.

use backsight_retrieval::{JoinReport, ViewReport};

use crate::render::table::{Align, Table};
use crate::render::units::{count, percent, span};

/// A column of the report: its header, and what it counts.
type Reason = (&'static str, fn(&ViewReport) -> u64);

/// Why a spine row has no match, and ties: a column is shown when some view has one.
const REASONS: [Reason; 8] = [
    ("NULL INSTANT", |view| view.null_instant),
    ("NULL KEY", |view| view.null_key),
    ("HIDDEN", |view| view.hidden),
    ("NONE IN REACH", |view| view.none_in_reach),
    ("NO SUCH KEY", |view| view.none_in_reach_because.map_or(0, |because| because.no_such_key)),
    ("ONLY LATER", |view| view.none_in_reach_because.map_or(0, |because| because.only_later)),
    ("EXPIRED", |view| view.none_in_reach_because.map_or(0, |because| because.expired)),
    ("TIES", |view| view.ties),
];

/// The report as text.
pub(crate) fn join_report(report: &JoinReport) -> String {
    let mut text = views(report).text();
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

fn views(report: &JoinReport) -> Table {
    let shown: Vec<&Reason> =
        REASONS.iter().filter(|(_, of)| report.views.iter().any(|view| of(view) > 0)).collect();
    let mut columns = vec![("VIEW", Align::Left), ("MATCHED", Align::Right), ("SHARE", Align::Right)];
    columns.extend(shown.iter().map(|(name, _)| (*name, Align::Right)));
    columns.extend(["AGE MIN", "MEDIAN", "P99", "MAX"].map(|name| (name, Align::Right)));
    let mut table = Table::new(&columns);
    for view in &report.views {
        let name = if view.label == view.view {
            view.view.clone()
        } else {
            format!("{} ({})", view.label, view.view)
        };
        let mut cells = vec![name, count(view.matched), percent(view.matched, report.rows)];
        cells.extend(shown.iter().map(|(_, of)| count(of(view))));
        cells.extend(match &view.age_ns {
            Some(age) => [age.min, age.median, age.p99, age.max].map(span),
            None => ["-"; 4].map(str::to_owned),
        });
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
    use backsight_retrieval::{AgeReport, FeatureReport};

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
        assert_eq!(join_report(&report), expected);
    }
}
