//! Progress of a retrieval on a terminal: rows and bytes of the total, rate, time left.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backsight_proto::control::{Job, Progress as WireProgress, Shard, Stage};
use backsight_retrieval::{Prepared, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cluster::job::{has_ended, shards_done, state_name};
use crate::render::units;
use crate::terminal::Terminal;

/// What ends sooner needs no progress.
const PATIENCE: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(200);
/// Fewer bytes are sent before anybody looks.
const BYTES_WORTH_DRAWING: u64 = 16 << 20;

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
    let bar = bar(totals.work());
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

fn bar(whole: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(whole), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Progress of a job of a scheduler, drawn anew with each of its states.
#[derive(Debug)]
pub(crate) struct JobProgress {
    shows: bool,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl JobProgress {
    /// Nothing is drawn yet.
    pub(crate) fn new(terminal: &Terminal) -> Self {
        Self { shows: terminal.shows_progress, since: Instant::now(), bar: None }
    }

    /// Draws a state.
    pub(crate) fn show(&mut self, job: &Job) {
        if !self.shows || self.since.elapsed() < PATIENCE {
            return;
        }
        let (sofar, totals) = of_wire(&job.progress.unwrap_or_default());
        let drawn = self.bar.get_or_insert_with(|| bar(totals.work().max(1)));
        // What there is to do is known only after planning.
        drawn.set_length(totals.work().max(1));
        drawn.set_position(sofar.done(totals));
        let started = UNIX_EPOCH + Duration::from_millis(job.started_at_ms.unsigned_abs());
        let elapsed = SystemTime::now().duration_since(started).ok().filter(|_| job.started_at_ms > 0);
        let rate = elapsed.and_then(|elapsed| rate(sofar, totals, elapsed));
        let rate = rate.map(|rate| format!("; {rate}")).unwrap_or_default();
        drawn.set_message(format!("{}{rate}", of_job(job)));
    }

    /// Takes the drawing away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// A job's state on one line: `running; 3 of 8 shards; read …; wrote …`.
pub(crate) fn of_job(job: &Job) -> String {
    let mut parts = vec![state_name(job.state()).to_owned()];
    if job.queue_position > 0 {
        parts.push(format!("number {} in the queue", job.queue_position));
    }
    if job.is_cancel_requested && !has_ended(job) {
        parts.push("cancelling".to_owned());
    }
    if !job.shards.is_empty() {
        let all = job.shards.len() as u64;
        let name = if all == 1 { "shard" } else { "shards" };
        parts.push(format!("{} of {} {name}", units::count(shards_done(job)), units::count(all)));
    }
    parts.extend(job.shards.iter().find_map(|shard| of_stages(shard, job.shards.len())));
    if let Some(progress) = job.progress.filter(|progress| progress.rows_to_read > 0) {
        parts.push(of_totals(&progress));
    }
    parts.join("; ")
}

/// Where a running shard is: `stage 2 of 3, 1 of 8 tasks`; of several shards the first is enough for a line.
fn of_stages(shard: &Shard, shards: usize) -> Option<String> {
    let is_open = |stage: &Stage| stage.partitions == 0 || stage.partitions_done < stage.partitions;
    let at = shard.stages.iter().position(is_open)?;
    let stage = &shard.stages[at];
    let which = if shards > 1 { format!("shard {} at ", shard.number) } else { String::new() };
    let tasks = match stage.partitions {
        0 => String::new(),
        1 => ", 0 of 1 task".to_owned(),
        all => format!(", {} of {all} tasks", stage.partitions_done),
    };
    Some(format!("{which}stage {} of {}{tasks}", at + 1, shard.stages.len()))
}

/// Rows and bytes of their totals.
pub(crate) fn of_totals(progress: &WireProgress) -> String {
    let (sofar, totals) = of_wire(progress);
    amounts(sofar, totals)
}

fn of_wire(progress: &WireProgress) -> (Sofar, Totals) {
    let sofar = Sofar {
        rows_read: progress.rows_read,
        bytes_read: progress.bytes_read,
        rows_written: progress.rows_written,
        bytes_written: progress.bytes_written,
    };
    let totals = Totals {
        rows_to_read: progress.rows_to_read,
        bytes_to_read: progress.bytes_to_read,
        rows_to_write: progress.rows_to_write,
    };
    (sofar, totals)
}

/// Progress of bytes that are sent. Clones are the same progress.
#[derive(Debug, Clone)]
pub(crate) struct ByteProgress(Option<ProgressBar>);

impl ByteProgress {
    /// Of so many bytes.
    pub(crate) fn new(terminal: &Terminal, what: &'static str, whole: u64) -> Self {
        if !terminal.shows_progress || whole < BYTES_WORTH_DRAWING {
            return Self(None);
        }
        let bar = bar(whole);
        bar.set_message(format!("{what} {}", units::bytes(whole)));
        Self(Some(bar))
    }

    /// So many more.
    pub(crate) fn add(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    /// Takes the drawing away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn message(sofar: Sofar, totals: Totals, elapsed: Duration) -> String {
    match rate(sofar, totals, elapsed) {
        Some(rate) => format!("{}; {rate}", amounts(sofar, totals)),
        None => amounts(sofar, totals),
    }
}

fn amounts(sofar: Sofar, totals: Totals) -> String {
    let of = |part: u64, whole: u64, shown: fn(u64) -> String| format!("{} of {}", shown(part), shown(whole));
    let read = format!(
        "read {} rows, {}",
        of(sofar.rows_read, totals.rows_to_read, units::count),
        of(sofar.bytes_read, totals.bytes_to_read, units::bytes),
    );
    if sofar.rows_written == 0 {
        return read;
    }
    let written = of(sofar.rows_written, totals.rows_to_write, units::count);
    format!("{read}; wrote {written} rows, {}", units::bytes(sofar.bytes_written))
}

fn rate(sofar: Sofar, totals: Totals, elapsed: Duration) -> Option<String> {
    let done = u128::from(sofar.done(totals));
    let rate = done * 1000 / elapsed.as_millis().max(1);
    if rate == 0 {
        return None;
    }
    let seconds_left = u128::from(totals.work()).saturating_sub(done).div_ceil(rate);
    let nanos_left = i64::try_from(seconds_left.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX);
    let rate = units::count(u64::try_from(rate).unwrap_or(u64::MAX));
    Some(format!("{rate} rows/s, {} left", units::span(nanos_left)))
}

#[cfg(test)]
mod tests {
    use backsight_proto::control::{JobState, ShardState};

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

    #[test]
    fn the_line_of_a_job_names_state_shards_rows_and_bytes() {
        let job = Job { state: JobState::Queued as i32, queue_position: 3, ..Job::default() };
        assert_eq!(of_job(&job), "queued; number 3 in the queue");
        let shard = |state: ShardState| Shard { state: state as i32, ..Shard::default() };
        let progress = WireProgress {
            rows_read: 1_000,
            rows_to_read: 2_000,
            bytes_read: 1024,
            bytes_to_read: 4096,
            rows_to_write: 100,
            ..WireProgress::default()
        };
        let job = Job {
            state: JobState::Running as i32,
            shards: vec![shard(ShardState::Done), shard(ShardState::Running)],
            progress: Some(progress),
            is_cancel_requested: true,
            ..Job::default()
        };
        let expected = "running; cancelling; 1 of 2 shards; read 1,000 of 2,000 rows, 1.0 KiB of 4.0 KiB";
        assert_eq!(of_job(&job), expected);
    }

    #[test]
    fn the_line_of_a_job_names_the_stage_it_is_at() {
        let stage =
            |partitions_done: u32, partitions: u32| Stage { partitions_done, partitions, ..Stage::default() };
        let shard = Shard {
            number: 3,
            state: ShardState::Running as i32,
            stages: vec![stage(4, 4), stage(1, 8), stage(0, 0)],
            ..Shard::default()
        };
        let job = |shards: Vec<Shard>| Job { state: JobState::Running as i32, shards, ..Job::default() };
        assert_eq!(of_job(&job(vec![shard.clone()])), "running; 0 of 1 shard; stage 2 of 3, 1 of 8 tasks");
        let pending = Shard { state: ShardState::Pending as i32, ..Shard::default() };
        let two = of_job(&job(vec![pending, shard]));
        assert_eq!(two, "running; 0 of 2 shards; shard 3 at stage 2 of 3, 1 of 8 tasks");
    }
}
