//! Which form joins a view, by what it would cost to index and to exchange its rows and the spine's.
//!
//! Broadcast features hold the view and leave the spine where it is. In one process the late fold exchanges nothing either. On
//! executors a slot fold exchanges every row of the view with all its columns. A candidate fold exchanges candidates, but each task
//! that scans the view reads and indexes the spine's keys and instants. So the candidate fold wins unless the spine is so
//! large beside the view that most rows are candidates anyway.
//!
//! All of them hold something in memory. Where that is estimated to be more than there may be, or where it turned out to be
//! ([`Spilling`]), the spilling fold takes the views instead.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backsight_asof::JoinForm;
use serde::{Deserialize, Serialize};

use crate::heavy_keys::KEY_ROWS;
use crate::memory::{self, Side};

/// How the form is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormChoice {
    /// This one, for every view.
    Forced(JoinForm),
    /// This one, for every view; keys with more than twice so many rows of the spine are cut.
    ForcedCut(JoinForm, u64),
    /// For each view the one that costs less where all partitions share one process.
    InProcess {
        /// Partitions of a plan.
        tasks: usize,
        /// Bytes that the join may hold.
        memory_bytes: u64,
    },
    /// For each view the one of those that travel to executors which costs less, with so many tasks side by side.
    ByCost {
        /// Partitions of a plan.
        tasks: usize,
        /// Bytes that the join may hold, where that is known: executors have limits of their own.
        memory_bytes: Option<u64>,
    },
}

/// Whether a retrieval has run out of memory in a form that does not spill: what is planned of it after that spills.
#[derive(Clone, Default)]
pub(crate) struct Spilling(Arc<AtomicBool>);

impl Spilling {
    /// From now on.
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has begun.
    pub(crate) fn is_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Spilling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spilling").field(&self.is_begun()).finish()
    }
}

impl FormChoice {
    /// The form that was asked for.
    pub(crate) fn forced(self) -> Option<JoinForm> {
        match self {
            Self::Forced(form) | Self::ForcedCut(form, _) => Some(form),
            Self::InProcess { .. } | Self::ByCost { .. } => None,
        }
    }

    /// About how many rows of the spine a piece of a heavy key has, where rows may be exchanged by key.
    pub(crate) fn key_rows(self) -> Option<u64> {
        match self {
            Self::Forced(form) => is_exchanged(form).then_some(KEY_ROWS),
            Self::ForcedCut(form, rows) => is_exchanged(form).then_some(rows),
            Self::ByCost { .. } => Some(KEY_ROWS),
            Self::InProcess { .. } => None,
        }
    }
}

/// Whether a form exchanges both sides by key, so that all rows of a key meet in one partition unless it is cut.
pub(crate) fn is_exchanged(form: JoinForm) -> bool {
    match form {
        JoinForm::SlotFold | JoinForm::CandidateFold | JoinForm::SpilledFold => true,
        JoinForm::LateFold | JoinForm::Broadcast | JoinForm::NaiveLoop => false,
    }
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
    /// Their bytes in the files.
    pub(crate) bytes: u64,
    /// Columns of the view that the join needs: keys, times, features.
    pub(crate) columns: u64,
    /// Bytes in memory of those columns of a row.
    pub(crate) row_bytes: u64,
}

impl ViewSize {
    fn side(&self) -> Side {
        Side { rows: self.rows, row_bytes: self.row_bytes }
    }
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
    /// Bytes of the view that go to disk, before they are compressed, estimated.
    #[serde(default)]
    pub spilled_bytes: u64,
}

/// Processor time to read and index a row of the spine in one task, estimated: see docs/performance.md.
const INDEX_NANOS: u64 = 200;
/// Processor time to hash, copy, write, send, read and retain one column of one row, derived there from `train`.
const EXCHANGE_NANOS: u64 = 60;
/// Processor time to sort a row of a view and to make a step of it, in each task that holds the view.
const STEP_NANOS: u64 = 500;
/// Bytes in the files of a view that tasks may hold whole; in memory it is some four times as much, twice for a moment.
const BROADCAST_BYTES_MAX: u64 = 64 << 20;
/// Columns that a spine is taken to have where its exchange is weighed: keys, instant, row id, a label.
const SPINE_COLUMNS: u64 = 4;
/// Spine rows that a task may index beside its share of the join: 45 bytes each while the index is made.
const INDEXED_ROWS_MAX: u64 = 16_000_000;

/// The forms for all views of a plan, and what they hold in memory, estimated: that is shared.
pub(crate) fn choose(
    choice: FormChoice,
    spine: Side,
    views: &[ViewSize],
    spilling: &Spilling,
) -> (Vec<(JoinForm, ChosenForm)>, u64) {
    let (tasks, limit) = match choice {
        FormChoice::Forced(_) | FormChoice::ForcedCut(..) => (1, None),
        FormChoice::InProcess { tasks, memory_bytes } => (tasks, Some(memory_bytes)),
        FormChoice::ByCost { tasks, memory_bytes } => (tasks, memory_bytes),
    };
    let tasks = u64::try_from(tasks.max(1)).unwrap_or(u64::MAX);
    let mut chosen: Vec<_> = views.iter().map(|&view| choose_one(choice, view)).collect();
    let is_whole = |form: JoinForm| form == JoinForm::Broadcast;
    let whole: u64 = chosen
        .iter()
        .zip(views)
        .filter(|((form, _), _)| is_whole(*form))
        .fold(0, |bytes: u64, (_, view)| bytes.saturating_add(memory::broadcast(view.side())));
    let folds = || chosen.iter().zip(views).filter(|((form, _), _)| !is_whole(*form));
    let folded = match folds().count() {
        0 => 0,
        _ => memory::folded(spine, folds().map(|(_, view)| view.side()), tasks),
    };
    let held = whole.saturating_add(folded);
    if choice.forced().is_some() && !spilling.is_begun() {
        return (chosen, held);
    }
    let (reason, keeps_whole) = match limit {
        _ if spilling.is_begun() => ("memory did not suffice for another form".to_owned(), false),
        Some(limit) if held > limit => {
            let reason = format!("in memory the join would hold {} MiB of {} MiB", held >> 20, limit >> 20);
            // A view that is held whole beside what spills must leave that some room.
            (reason, whole <= limit / 2)
        }
        _ => return (chosen, held),
    };
    for ((form, chosen), view) in chosen.iter_mut().zip(views) {
        if *form == JoinForm::NaiveLoop || is_whole(*form) && keeps_whole {
            continue;
        }
        *form = JoinForm::SpilledFold;
        *chosen = ChosenForm {
            form: form.name().to_owned(),
            reason: reason.clone(),
            exchanged_rows: view.rows,
            spilled_bytes: view.side().bytes(),
        };
    }
    (chosen, held)
}

/// The form for a view, whatever it holds.
fn choose_one(choice: FormChoice, size: ViewSize) -> (JoinForm, ChosenForm) {
    let tasks = match choice {
        FormChoice::ByCost { tasks, .. } => u64::try_from(tasks.max(1)).unwrap_or(u64::MAX),
        FormChoice::Forced(_) | FormChoice::ForcedCut(..) | FormChoice::InProcess { .. } => 1,
    };
    let candidates = candidates(size, tasks);
    let (form, reason) = match choice {
        FormChoice::Forced(form) | FormChoice::ForcedCut(form, _) => (form, "it was asked for".to_owned()),
        FormChoice::InProcess { .. } => {
            cheaper_broadcast(size, 1, size.spine_rows.saturating_mul(INDEX_NANOS))
                .unwrap_or_else(|| (JoinForm::LateFold, "nothing is exchanged in one process".to_owned()))
        }
        FormChoice::ByCost { .. } => {
            let exchange = size.spine_rows.saturating_mul(INDEX_NANOS + SPINE_COLUMNS * EXCHANGE_NANOS);
            cheaper_broadcast(size, tasks, exchange).unwrap_or_else(|| cheaper_fold(size, tasks, candidates))
        }
    };
    let exchanged_rows = match form {
        JoinForm::LateFold => 0,
        JoinForm::CandidateFold => candidates,
        JoinForm::Broadcast => size.rows.saturating_mul(tasks),
        JoinForm::SlotFold | JoinForm::SpilledFold | JoinForm::NaiveLoop => size.rows,
    };
    let spilled_bytes = if form == JoinForm::SpilledFold { size.side().bytes() } else { 0 };
    (form, ChosenForm { form: form.name().to_owned(), reason, exchanged_rows, spilled_bytes })
}

/// Broadcast features, where a view is small and the spine so large that it is better not touched.
fn cheaper_broadcast(size: ViewSize, tasks: u64, saved: u64) -> Option<(JoinForm, String)> {
    let spent = size.rows.saturating_mul(tasks).saturating_mul(STEP_NANOS);
    let is_cheaper = size.bytes <= BROADCAST_BYTES_MAX && spent < saved;
    is_cheaper.then(|| {
        let reason = format!(
            "holding the view takes {} s and leaves the spine where it is, which saves {} s",
            seconds(spent),
            seconds(saved)
        );
        (JoinForm::Broadcast, reason)
    })
}

fn cheaper_fold(size: ViewSize, tasks: u64, candidates: u64) -> (JoinForm, String) {
    if size.spine_rows > INDEXED_ROWS_MAX {
        let reason =
            format!("the spine has more than {INDEXED_ROWS_MAX} rows, too many to index in each task");
        return (JoinForm::SlotFold, reason);
    }
    let saved = (size.rows - candidates).saturating_mul(size.columns).saturating_mul(EXCHANGE_NANOS);
    let spent = size.spine_rows.saturating_mul(tasks).saturating_mul(INDEX_NANOS);
    let reason = format!(
        "folding where it is scanned saves {} s of exchange for {} s of indexing",
        seconds(saved),
        seconds(spent)
    );
    (if saved > spent { JoinForm::CandidateFold } else { JoinForm::SlotFold }, reason)
}

/// Slots that rows fall into when each task's rows fall into all slots alike; never more than rows.
fn candidates(size: ViewSize, tasks: u64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let (rows, slots) = (size.rows as f64, size.spine_rows.saturating_mul(tasks) as f64);
    if slots == 0.0 {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the rows")]
    let filled = (slots * (1.0 - (-rows / slots).exp())).ceil() as u64;
    filled.min(size.rows)
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:02}", nanos / 1_000_000_000, nanos / 10_000_000 % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheaper_form_is_chosen() {
        // Rows of 50 bytes; no tasks: in one process.
        let table = "
            spine       rows         columns  tasks  form                exchanged
            100         20000000     13       2      candidate fold      200
            5000000     20000000     13       2      candidate fold      8646648
            5000000     20000000     13       4      candidate fold      12642412
            5000000     20000000     13       100    slot fold           20000000
            17000000    900000000    13       2      slot fold           900000000
            50000000    1000000      13       2      broadcast features  2000000
            50000000    1000000      13       100    slot fold           1000000
            500000000   5000000      13       2      slot fold           5000000
            10          10           3        2      slot fold           10
            0           0            3        2      slot fold           0
            5000000     20000000     13       0      late slot fold      0
            50000000    1000000      13       0      broadcast features  1000000
            500000000   5000000      13       0      late slot fold      0
        ";
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()).skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [spine_rows, rows, columns, tasks, form @ .., exchanged] = words.as_slice() else {
                panic!("{line}")
            };
            let number = |word: &str| word.parse::<u64>().unwrap();
            let size = ViewSize {
                spine_rows: number(spine_rows),
                rows: number(rows),
                bytes: number(rows) * 50,
                columns: number(columns),
                row_bytes: number(columns) * 8,
            };
            let choice = match tasks.parse().unwrap() {
                0 => FormChoice::InProcess { tasks: 2, memory_bytes: u64::MAX },
                tasks => FormChoice::ByCost { tasks, memory_bytes: None },
            };
            let spine = Side { rows: size.spine_rows, row_bytes: 24 };
            let (chosen, _) = choose(choice, spine, &[size], &Spilling::default());
            let [(_, chosen)] = chosen.try_into().unwrap();
            assert_eq!((chosen.form, chosen.exchanged_rows), (form.join(" "), number(exchanged)), "{line}");
        }
    }

    #[test]
    fn a_forced_form_is_taken() {
        let size = ViewSize { spine_rows: 10, rows: 10, bytes: 90, columns: 3, row_bytes: 24 };
        let spine = Side { rows: 10, row_bytes: 24 };
        for form in [JoinForm::CandidateFold, JoinForm::SpilledFold] {
            let (chosen, _) = choose(form.into(), spine, &[size], &Spilling::default());
            assert_eq!((chosen[0].0, chosen[0].1.reason.as_str()), (form, "it was asked for"));
        }
    }

    #[test]
    fn what_does_not_fit_spills() {
        let view = |rows: u64| ViewSize {
            spine_rows: 30_000_000,
            rows,
            bytes: rows * 20,
            columns: 4,
            row_bytes: 32,
        };
        let views = [view(400_000), view(20_000_000)];
        let spine = Side { rows: 30_000_000, row_bytes: 24 };
        let forms = |memory_mib: u64, views: &[ViewSize], spilling: &Spilling| {
            let choice = FormChoice::InProcess { tasks: 2, memory_bytes: memory_mib << 20 };
            let (chosen, held) = choose(choice, spine, views, spilling);
            (chosen.iter().map(|(form, _)| form.name()).collect::<Vec<_>>().join(", "), held >> 20)
        };
        let begun = Spilling::default();
        let table = [
            (8_192, &views[..], "broadcast features, late slot fold"),
            (1_024, &views[..], "broadcast features, spilling fold"),
            // The small view alone is held in 48 MiB.
            (64, &views[..], "spilling fold, spilling fold"),
            (64, &views[..1], "broadcast features"),
            (32, &views[..1], "spilling fold"),
        ];
        for (memory_mib, views, expected) in table {
            assert_eq!(forms(memory_mib, views, &begun).0, expected, "{memory_mib} MiB");
        }
        // The late fold's 6,320 MB, and 51 MB for the view that is held whole.
        assert_eq!(forms(8_192, &views, &begun).1, 6_076);
        begun.begin();
        assert_eq!(forms(8_192, &views, &begun).0, "spilling fold, spilling fold");
    }
}
