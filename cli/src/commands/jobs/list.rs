//! `jobs list`: one line a job.

use backsight_proto::control::{Job, JobState, ListJobsRequest};
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::cluster::Cluster;
use crate::cluster::job::{has_ended, job_json, shards_done, state_name};
use crate::commands::jobs::ListArgs;
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::render::table::{Align, Table};
use crate::render::units::{percent, span};

/// Lists jobs.
pub(super) async fn run(cluster: &Cluster, args: ListArgs, program: &Program) -> Result<Done, Failure> {
    let project = match args.project {
        Some(project) => project,
        None if args.all || !Workspace::has_config(program) => String::new(),
        None => Workspace::open(program)?.project().to_owned(),
    };
    let request = ListJobsRequest {
        project: project.clone(),
        states: args.states.iter().map(|state| *state as i32).collect(),
        limit: args.limit,
    };
    let answer = cluster.jobs(request).await?;
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&json!({
            "jobs": answer.jobs.iter().map(job_json).collect::<Vec<_>>(),
            "has_more": answer.has_more,
        }));
        return Ok(Done::Done);
    }
    terminal.print(&table(&answer.jobs, Utc::now()).text());
    if answer.jobs.is_empty() {
        let of = if project.is_empty() { String::new() } else { format!(" of project `{project}`") };
        let such = if args.states.is_empty() { "" } else { " in such a state" };
        terminal.note(&format!("no jobs{of}{such}"));
    }
    if answer.has_more {
        terminal.note("there are more; `--limit` shows them");
    }
    Ok(Done::Done)
}

fn table(jobs: &[Job], now: DateTime<Utc>) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("PROJECT", Align::Left),
        ("STATE", Align::Left),
        ("PROGRESS", Align::Right),
        ("SUBMITTED (UTC)", Align::Left),
        ("TIME", Align::Right),
        ("WHO", Align::Left),
    ]);
    for job in jobs {
        table.row([
            job.id.clone(),
            job.project.clone(),
            state_name(job.state()).to_owned(),
            progress(job),
            seconds(job.submitted_at_ms),
            elapsed(job, now),
            job.submitted_by.clone(),
        ]);
    }
    table
}

/// A share of the rows, or the place in the queue.
fn progress(job: &Job) -> String {
    let progress = job.progress.unwrap_or_default();
    let all = progress.rows_to_read + progress.rows_to_write;
    match job.state() {
        JobState::Queued if job.queue_position > 0 => format!("#{}", job.queue_position),
        JobState::Succeeded => "100.0 %".to_owned(),
        _ if all > 0 => {
            let done = progress.rows_read.min(progress.rows_to_read)
                + progress.rows_written.min(progress.rows_to_write);
            percent(done, all)
        }
        _ => percent(shards_done(job), job.shards.len() as u64),
    }
}

/// How long it has been worked on; a job that waits has no time yet.
pub(super) fn elapsed(job: &Job, now: DateTime<Utc>) -> String {
    if job.started_at_ms == 0 {
        return "-".to_owned();
    }
    let end = match job.finished_at_ms {
        0 if has_ended(job) => return "-".to_owned(),
        0 => now.timestamp_millis(),
        end => end,
    };
    let ms = end.saturating_sub(job.started_at_ms).max(0);
    // Nobody counts milliseconds of minutes.
    let ms = if ms >= 60_000 { ms / 1_000 * 1_000 } else { ms };
    span(ms.saturating_mul(1_000_000))
}

/// An instant to the second.
pub(super) fn seconds(at_ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(at_ms).filter(|_| at_ms != 0);
    time.map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use backsight_proto::control::{Progress, Shard, ShardState};

    use super::*;

    #[test]
    fn the_list_lines_up() {
        let at = 1_772_668_800_000;
        let job = |id: &str, state: JobState| Job {
            id: id.to_owned(),
            project: "taxi".to_owned(),
            state: state as i32,
            submitted_at_ms: at,
            submitted_by: "me@here".to_owned(),
            ..Job::default()
        };
        let queued = Job { queue_position: 12, ..job("a", JobState::Queued) };
        let progress =
            Progress { rows_read: 50, rows_to_read: 150, rows_to_write: 50, ..Progress::default() };
        let running =
            Job { started_at_ms: at + 1_000, progress: Some(progress), ..job("long-id", JobState::Running) };
        let shard = |state: ShardState| Shard { state: state as i32, ..Shard::default() };
        let shards = vec![shard(ShardState::Done), shard(ShardState::Pending)];
        let planning = Job { started_at_ms: at, shards, ..job("p", JobState::Planning) };
        let done = Job { started_at_ms: at, finished_at_ms: at + 61_500, ..job("d", JobState::Succeeded) };
        let now = DateTime::from_timestamp_millis(at + 3_500).unwrap();
        let expected = "\
ID       PROJECT  STATE      PROGRESS  SUBMITTED (UTC)           TIME  WHO
a        taxi     queued          #12  2026-03-05 00:00:00          -  me@here
long-id  taxi     running      25.0 %  2026-03-05 00:00:00    2.500 s  me@here
p        taxi     planning     50.0 %  2026-03-05 00:00:00    3.500 s  me@here
d        taxi     succeeded   100.0 %  2026-03-05 00:00:00  1 min 1 s  me@here
";
        assert_eq!(table(&[queued, running, planning, done], now).text(), expected);
    }
}
