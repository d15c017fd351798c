//! `jobs show`: what a scheduler knows of one job.

use backsight_proto::control::{Job, Shard, Stage};
use backsight_retrieval::{FeatureSelection, RetrievalRequest};
use chrono::Utc;

use crate::cluster::job::{has_ended, job_json, outcome, shard_state_name, state_name};
use crate::cluster::{Cluster, failure};
use crate::commands::jobs::{find, list};
use crate::commands::{Done, Program, retrieve};
use crate::errors::Failure;
use crate::progress;
use crate::render::join_report::join_report;
use crate::render::table::{Align, Table};
use crate::render::units::{bytes, count};

/// More names than these do not fit on a line.
const FEATURES_MAX: usize = 6;

/// Shows a job.
pub(super) async fn run(cluster: &Cluster, id: &str, program: &Program) -> Result<Done, Failure> {
    let job = find::find(cluster, id).await?;
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&job_json(&job));
    } else {
        terminal.print(&text(&job, Utc::now(), terminal.colour(), terminal.columns()));
    }
    Ok(Done::Done)
}

/// What became of a job that has ended: its dataset, or its failure.
pub(crate) fn show_result(job: &Job, program: &Program) -> Result<Done, Failure> {
    let manifest = outcome(job)?;
    retrieve::show_dataset(&manifest, job.is_repeated, &job.output, program);
    Ok(Done::Done)
}

fn text(job: &Job, now: chrono::DateTime<Utc>, colour: bool, columns: Option<usize>) -> String {
    let mut text = head(job, now);
    if !job.shards.is_empty() {
        text = format!("{text}\n{}", shards(&job.shards).text());
    }
    if !job.history.is_empty() {
        let mut history = Table::of_text(&["WHEN (UTC)", "WHAT"]);
        for transition in &job.history {
            history.row([list::seconds(transition.at_ms), transition.what.clone()]);
        }
        text = format!("{text}\n{}", history.text());
    }
    if let Some(failure) = &job.failure {
        text = format!("{text}\n{}", failure::of_wire(failure.clone()).text(colour));
    }
    match outcome(job) {
        Ok(manifest) => format!("{text}\n{}", join_report(&manifest.report, columns)),
        Err(_) => text,
    }
}

fn head(job: &Job, now: chrono::DateTime<Utc>) -> String {
    let mut lines: Vec<(&str, String)> = vec![
        ("job", job.id.clone()),
        ("project", job.project.clone()),
        ("state", state(job)),
        ("priority", job.priority.to_string()),
        ("by", job.submitted_by.clone()),
        ("submitted", utc(job.submitted_at_ms)),
        ("started", utc(job.started_at_ms)),
        ("finished", utc(job.finished_at_ms)),
        ("time", list::elapsed(job, now)),
    ];
    if let Ok(request) = serde_json::from_str::<RetrievalRequest>(&job.request_json) {
        lines.push(("features", features(&request)));
        lines.push(("spine", request.spine.from.shown()));
    }
    lines.push(("output", job.output.clone()));
    lines.push(("registry", job.registry_version.clone()));
    lines.push(("scheduler", job.leased_by.clone()));
    if let Some(done) = &job.progress {
        lines.push(("progress", progress::of_totals(done)));
    }
    let shown = lines.iter().filter(|(_, value)| !value.is_empty() && value != "-");
    shown.map(|(name, value)| format!("{name:<9}  {}\n", one_line(value))).collect()
}

fn utc(at_ms: i64) -> String {
    if at_ms == 0 { String::new() } else { format!("{} UTC", list::seconds(at_ms)) }
}

fn state(job: &Job) -> String {
    let name = state_name(job.state());
    match (job.queue_position, job.is_cancel_requested, job.is_repeated) {
        (place, false, _) if place > 0 => format!("{name}, number {place} in the queue"),
        (_, true, _) if !has_ended(job) => format!("{name}, cancelling"),
        (_, _, true) => format!("{name}, the dataset had been there"),
        _ => name.to_owned(),
    }
}

fn features(request: &RetrievalRequest) -> String {
    match &request.features {
        FeatureSelection::Service(service) => format!("service {service}"),
        FeatureSelection::References(names) if names.len() > FEATURES_MAX => {
            format!("{} and {} more", names[..FEATURES_MAX].join(", "), names.len() - FEATURES_MAX)
        }
        FeatureSelection::References(names) => names.join(", "),
    }
}

fn shards(shards: &[Shard]) -> Table {
    let mut columns = vec![
        ("SHARD", Align::Right),
        ("COVERS", Align::Left),
        ("STATE", Align::Left),
        ("ATTEMPTS", Align::Right),
        ("ROWS", Align::Right),
        ("TO READ", Align::Right),
    ];
    let has_stages = shards.iter().any(|shard| !shard.stages.is_empty());
    let has_failures = shards.iter().any(|shard| shard.last_failure.is_some());
    if has_stages {
        columns.push(("STAGES", Align::Left));
    }
    if has_failures {
        columns.push(("LAST FAILURE", Align::Left));
    }
    let mut table = Table::new(&columns);
    for shard in shards {
        let mut cells = vec![
            shard.number.to_string(),
            shard.label.clone(),
            shard_state_name(shard.state()).to_owned(),
            shard.attempts.to_string(),
            count(shard.rows),
            bytes(shard.bytes_to_read),
        ];
        if has_stages {
            cells.push(stages(&shard.stages));
        }
        if has_failures {
            let failure = shard.last_failure.as_ref();
            cells.push(failure.map(|failure| failure.message.clone()).unwrap_or_default());
        }
        table.row(cells);
    }
    table
}

/// `1: 4 of 4, 2: 1 of 8`: partitions done of each stage.
fn stages(stages: &[Stage]) -> String {
    let stage =
        |stage: &Stage| format!("{}: {} of {}", stage.number, stage.partitions_done, stage.partitions);
    stages.iter().map(stage).collect::<Vec<_>>().join(", ")
}

/// Text of others does not steer a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use backsight_proto::control::{Failure as WireFailure, JobState, Progress, ShardState, Transition};
    use chrono::DateTime;

    use super::*;

    #[test]
    fn a_failed_job_shows_shards_history_and_failure() {
        let at = 1_772_668_800_000;
        let failure = WireFailure {
            code: "data".to_owned(),
            message: "source `x` is corrupt".to_owned(),
            hint: "look".to_owned(),
            ..WireFailure::default()
        };
        let shard = |number: u32, state: ShardState| Shard {
            number,
            label: format!("row groups {number}"),
            state: state as i32,
            attempts: 1,
            rows: 1_000,
            bytes_to_read: 2048,
            ..Shard::default()
        };
        let stage = |number: u32| Stage { number, partitions_done: 4, partitions: 8, ..Stage::default() };
        let running = Shard {
            stages: vec![stage(1), stage(2)],
            last_failure: Some(failure.clone()),
            ..shard(1, ShardState::Running)
        };
        let job = Job {
            id: "3f2c9a".to_owned(),
            project: "taxi".to_owned(),
            state: JobState::Failed as i32,
            submitted_by: "me@here".to_owned(),
            submitted_at_ms: at,
            started_at_ms: at + 1_000,
            finished_at_ms: at + 3_000,
            request_json: r#"{"project":"taxi","features":{"service":"m"},"spine":{"uri":"s3://b/s","timestamp_column":null},"output":"s3://b/o"}"#.to_owned(),
            output: "s3://b/o".to_owned(),
            progress: Some(Progress { rows_read: 5, rows_to_read: 10, bytes_to_read: 1024, ..Progress::default() }),
            shards: vec![shard(0, ShardState::Done), running],
            history: vec![Transition { at_ms: at, what: "queued".to_owned() }],
            failure: Some(failure),
            ..Job::default()
        };
        let expected = "\
job        3f2c9a
project    taxi
state      failed
priority   0
by         me@here
submitted  2026-03-05 00:00:00 UTC
started    2026-03-05 00:00:01 UTC
finished   2026-03-05 00:00:03 UTC
time       2 s
features   service m
spine      s3://b/s
output     s3://b/o
progress   read 5 of 10 rows, 0 B of 1.0 KiB

SHARD  COVERS        STATE    ATTEMPTS   ROWS  TO READ  STAGES                LAST FAILURE
    0  row groups 0  done            1  1,000  2.0 KiB
    1  row groups 1  running         1  1,000  2.0 KiB  1: 4 of 8, 2: 4 of 8  source `x` is corrupt

WHEN (UTC)           WHAT
2026-03-05 00:00:00  queued

error: source `x` is corrupt
hint: look
";
        assert_eq!(text(&job, DateTime::from_timestamp_millis(at).unwrap(), false, None), expected);
    }
}
