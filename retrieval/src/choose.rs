//! Which form joins a view on executors, by what it would cost to exchange its rows.
//!
//! A slot fold exchanges every row of the view with all its columns. A candidate fold exchanges candidates, but each task
//! that scans the view reads and indexes the spine's keys and instants. So the candidate fold wins unless the spine is so
//! large beside the view that most rows are candidates anyway.

use backsight_asof::JoinForm;
use serde::{Deserialize, Serialize};

/// How the form is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormChoice {
    /// This one, for every view.
    Forced(JoinForm),
    /// For each view the one of those that travel to executors which costs less.
    ByCost,
}

impl From<JoinForm> for FormChoice {
    fn from(form: JoinForm) -> Self {
        Self::Forced(form)
    }
}

/// What a choice is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewSize {
    /// Rows of the spine, or of the shard of it.
    pub(crate) spine_rows: u64,
    /// Rows of the view that are scanned.
    pub(crate) rows: u64,
    /// Columns of the view that the join needs: keys, times, features.
    pub(crate) columns: u64,
}

/// What was chosen for a view, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenForm {
    /// The name of the form.
    pub form: String,
    /// The reason, with the estimate.
    pub reason: String,
    /// Rows of the view that are exchanged, estimated.
    pub exchanged_rows: u64,
}

/// Tasks that scan a view side by side. Plans are made before it is known how many there will be; with more of them both
/// sides of the comparison shrink alike.
const TASKS: u64 = 4;
/// Processor time to read and index a row of the spine in one task; measured on `train`, see docs/performance.md.
const INDEX_NANOS: u64 = 200;
/// Processor time to hash, copy, write, send, read and retain one column of one row; measured there, too.
const EXCHANGE_NANOS: u64 = 60;
/// Spine rows that a task may index beside its share of the join: 45 bytes each while the index is made.
const INDEXED_ROWS_MAX: u64 = 16_000_000;

/// The form for a view.
pub(crate) fn choose(choice: FormChoice, size: ViewSize) -> (JoinForm, ChosenForm) {
    let candidates = size.rows.min(size.spine_rows.saturating_mul(TASKS));
    let saved = (size.rows - candidates).saturating_mul(size.columns).saturating_mul(EXCHANGE_NANOS);
    let spent = size.spine_rows.saturating_mul(TASKS).saturating_mul(INDEX_NANOS);
    let (form, reason) = match choice {
        FormChoice::Forced(form @ JoinForm::LateFold) => (form, "it runs in one process".to_owned()),
        FormChoice::Forced(form) => (form, "it was asked for".to_owned()),
        FormChoice::ByCost if size.spine_rows > INDEXED_ROWS_MAX => {
            let reason =
                format!("the spine has more than {INDEXED_ROWS_MAX} rows, too many to index in each task");
            (JoinForm::SlotFold, reason)
        }
        FormChoice::ByCost => {
            let reason = format!(
                "folding where it is scanned saves {} s of exchange for {} s of indexing",
                seconds(saved),
                seconds(spent)
            );
            (if saved > spent { JoinForm::CandidateFold } else { JoinForm::SlotFold }, reason)
        }
    };
    let exchanged_rows = match form {
        JoinForm::LateFold => 0,
        JoinForm::CandidateFold => candidates,
        JoinForm::SlotFold | JoinForm::NaiveLoop => size.rows,
    };
    (form, ChosenForm { form: form.name().to_owned(), reason, exchanged_rows })
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:02}", nanos / 1_000_000_000, nanos / 10_000_000 % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_fold_wins_unless_most_rows_are_candidates() {
        let table = "
            spine       rows         columns  form            exchanged
            100         20000000     13       candidate fold  400
            5000000     20000000     13       slot fold       20000000
            1000000     20000000     13       candidate fold  4000000
            5000000     200000000    13       candidate fold  20000000
            50000000    1000000      13       slot fold       1000000
            17000000    900000000    13       slot fold       900000000
            10          10           3        slot fold       10
            0           0            3        slot fold       0
        ";
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()).skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [spine_rows, rows, columns, form @ .., exchanged] = words.as_slice() else {
                panic!("{line}")
            };
            let number = |word: &str| word.parse::<u64>().unwrap();
            let size =
                ViewSize { spine_rows: number(spine_rows), rows: number(rows), columns: number(columns) };
            let (_, chosen) = choose(FormChoice::ByCost, size);
            assert_eq!((chosen.form, chosen.exchanged_rows), (form.join(" "), number(exchanged)), "{line}");
        }
    }

    #[test]
    fn a_forced_form_is_taken() {
        let size = ViewSize { spine_rows: 10, rows: 10, columns: 3 };
        let (form, chosen) = choose(JoinForm::CandidateFold.into(), size);
        assert_eq!((form, chosen.reason.as_str()), (JoinForm::CandidateFold, "it was asked for"));
    }
}
