//! Progress of a retrieval on a terminal: rows and bytes of the total, rate, time left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backsight_retrieval::{Prepared, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::render::units;
use crate::terminal::Terminal;

/// What ends sooner needs no progress.
const PATIENCE: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(200);

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Rows that scans will produce.
    rows_to_read: u64,
    /// Bytes of the row groups to read; fewer are fetched when columns are left out.
    bytes_to_read: u64,
    /// Rows of the dataset.
    rows_to_write: u64,
}

impl Totals {
    /// Of a prepared retrieval.
    pub(crate) fn of(prepared: &Prepared) -> Self {
        let scans = || prepared.plan.scans.iter().map(|(_, stats)| stats);
        Self {
            rows_to_read: scans().map(|stats| stats.rows).sum(),
            bytes_to_read: scans().map(|stats| stats.bytes).sum(),
            rows_to_write: prepared.spine.rows(),
        }
    }

    fn work(self) -> u64 {
        self.rows_to_read + self.rows_to_write
    }
}

/// What is done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sofar {
    rows_read: u64,
    bytes_read: u64,
    rows_written: u64,
    bytes_written: u64,
}

impl Sofar {
    /// Rows read and rows written: the unit of the bar.
    fn done(self, totals: Totals) -> u64 {
        self.rows_read.min(totals.rows_to_read) + self.rows_written.min(totals.rows_to_write)
    }
}

/// Runs `work` and draws how far it is, where somebody looks.
pub(crate) async fn with_progress<T>(
    terminal: &Terminal,
    totals: Totals,
    progress: Arc<Progress>,
    work: impl Future<Output = T>,
) -> T {
    if !terminal.shows_progress {
        return work.await;
    }
    let started = Instant::now();
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let bar = ProgressBar::with_draw_target(Some(totals.work()), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    loop {
        let sofar = Sofar {
            rows_read: progress.rows_read(),
            bytes_read: progress.bytes_read(),
            rows_written: progress.rows_written(),
            bytes_written: progress.bytes_written(),
        };
        bar.set_position(sofar.done(totals));
        bar.set_message(message(sofar, totals, started.elapsed()));
        tokio::select! {
            biased;
            done = &mut work => {
                bar.finish_and_clear();
                return done;
            }
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn message(sofar: Sofar, totals: Totals, elapsed: Duration) -> String {
    let of = |part: u64, whole: u64, shown: fn(u64) -> String| format!("{} of {}", shown(part), shown(whole));
    let mut message = format!(
        "read {} rows, {}",
        of(sofar.rows_read, totals.rows_to_read, units::count),
        of(sofar.bytes_read, totals.bytes_to_read, units::bytes),
    );
    if sofar.rows_written > 0 {
        let written = of(sofar.rows_written, totals.rows_to_write, units::count);
        message = format!("{message}; wrote {written} rows, {}", units::bytes(sofar.bytes_written));
    }
    let done = u128::from(sofar.done(totals));
    let rate = done * 1000 / elapsed.as_millis().max(1);
    if rate == 0 {
        return message;
    }
    let seconds_left = u128::from(totals.work()).saturating_sub(done).div_ceil(rate);
    let nanos_left = i64::try_from(seconds_left.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX);
    let rate = units::count(u64::try_from(rate).unwrap_or(u64::MAX));
    format!("{message}; {rate} rows/s, {} left", units::span(nanos_left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_rows_and_bytes_of_their_totals_rate_and_time_left() {
        let totals = Totals { rows_to_read: 2_000, bytes_to_read: 4096, rows_to_write: 100 };
        let second = Duration::from_secs(1);
        let reading = Sofar { rows_read: 1_000, bytes_read: 1024, ..Sofar::default() };
        assert_eq!(
            message(reading, totals, second * 2),
            "read 1,000 of 2,000 rows, 1.0 KiB of 4.0 KiB; 500 rows/s, 3 s left"
        );
        let writing = Sofar { rows_read: 2_000, bytes_read: 4096, rows_written: 50, bytes_written: 10 };
        assert_eq!(
            message(writing, totals, second),
            "read 2,000 of 2,000 rows, 4.0 KiB of 4.0 KiB; wrote 50 of 100 rows, 10 B; 2,050 rows/s, 1 s left"
        );
        assert_eq!(message(Sofar::default(), totals, second), "read 0 of 2,000 rows, 0 B of 4.0 KiB");
    }
}
