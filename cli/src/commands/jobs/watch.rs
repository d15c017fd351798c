//! `jobs watch` and `jobs cancel`: a job until it has ended.

use std::time::Duration;

use backsight_proto::ErrorCode;
use backsight_proto::control::Job;
use chrono::{SecondsFormat, Utc};

use crate::cluster::Cluster;
use crate::cluster::job::{has_ended, job_json, outcome, state_name};
use crate::commands::jobs::find;
use crate::commands::jobs::show::show_result;
use crate::commands::{Done, Program};
use crate::errors::Failure;
use crate::progress::{JobProgress, of_job};

/// How long a job may take to end after it was cancelled.
const CANCEL_PATIENCE: Duration = Duration::from_secs(120);

/// Follows a job.
pub(super) async fn run(cluster: &Cluster, id: &str, program: &Program) -> Result<Done, Failure> {
    let asked = program.interrupt.clone().asked();
    tokio::select! {
        biased;
        () = asked => Err(Failure::cancelled("not watched any more; the job goes on")),
        outcome = follow(cluster, id, program) => outcome,
    }
}

async fn follow(cluster: &Cluster, id: &str, program: &Program) -> Result<Done, Failure> {
    let id = find::find(cluster, id).await?.id;
    let terminal = &program.terminal;
    let mut drawn = JobProgress::new(terminal);
    let mut last = String::new();
    let mut seen = |job: &Job| {
        if terminal.shows_progress {
            drawn.show(job);
            return;
        }
        let line = of_job(job);
        if line != last {
            let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
            let text = format!("{now}  {line}");
            // Data is one document where it is JSON.
            if terminal.is_json() {
                terminal.note(&text)
            } else {
                terminal.print(&format!("{text}\n"))
            }
            last = line;
        }
    };
    let watched = cluster.watch(&id, &mut seen).await;
    drawn.finish();
    let job = watched?;
    if terminal.is_json() {
        terminal.print_json(&job_json(&job));
        return outcome(&job).map(|_| Done::Done);
    }
    show_result(&job, program)
}

/// Cancels a job.
pub(super) async fn run_cancel(
    cluster: &Cluster,
    id: &str,
    no_wait: bool,
    program: &Program,
) -> Result<Done, Failure> {
    let id = find::find(cluster, id).await?.id;
    let mut job = cluster.cancel(&id).await?;
    if !no_wait && !has_ended(&job) {
        job = wait_for_end(cluster, &id).await?;
    }
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&job_json(&job));
    } else if has_ended(&job) {
        terminal.print(&format!("Job `{id}` is {}.\n", state_name(job.state())));
    } else {
        terminal.print(&format!("Job `{id}` is being cancelled.\n"));
    }
    Ok(Done::Done)
}

/// Waits until a job that was cancelled has ended, within bounds.
pub(crate) async fn wait_for_end(cluster: &Cluster, id: &str) -> Result<Job, Failure> {
    let mut seen = |_: &Job| {};
    match tokio::time::timeout(CANCEL_PATIENCE, cluster.watch(id, &mut seen)).await {
        Ok(job) => job,
        Err(_) => {
            let seconds = CANCEL_PATIENCE.as_secs();
            let message = format!("job `{id}` was cancelled and has not ended within {seconds} s");
            Err(Failure::new(ErrorCode::Unreachable, message)
                .with_hint(format!("it ends by itself; watch it with `{}`", cluster.watch_command(id))))
        }
    }
}
