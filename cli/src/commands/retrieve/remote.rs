//! Runs a retrieval on a scheduler: the spine handed over, the job submitted, followed, and shown as if it ran here.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use backsight_proto::control::{Job, PreviewRequest, SubmitRequest};
use backsight_retrieval::{Preview, RetrievalRequest, SpineFrom, stage_local_spine};
use backsight_storage::Location;
use chrono::Utc;
use serde_json::json;
use uuid::Uuid;

use crate::cluster::job::{has_ended, job_json};
use crate::cluster::{Cluster, upload_spine};
use crate::commands::jobs::{show_result, wait_for_end};
use crate::commands::retrieve::args::RetrieveArgs;
use crate::commands::retrieve::render;
use crate::commands::retrieve::run::{PREVIEW_ROWS, cancelled, stage_folder};
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::progress::JobProgress;

/// What the user wants when a followed job is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Cancel,
    Detach,
}

/// Fetches features on a scheduler.
pub(super) async fn run(
    args: &RetrieveArgs,
    workspace: &Workspace,
    cluster: &Cluster,
    program: &Program,
) -> Result<Done, Failure> {
    // Until it is submitted there is nothing to leave clean.
    let before = tokio::select! {
        biased;
        () = program.interrupt.clone().asked() => Err(cancelled(args)),
        shown = before_submit(args, workspace, cluster, program) => shown,
    };
    match before? {
        Some(request) => submit(args, request, cluster, program).await,
        None => Ok(Done::Done),
    }
}

/// Makes the request; one that has no output is answered at once, and `None` is left to do.
async fn before_submit(
    args: &RetrieveArgs,
    workspace: &Workspace,
    cluster: &Cluster,
    program: &Program,
) -> Result<Option<SubmitRequest>, Failure> {
    let request = request(args, workspace, cluster, program).await?;
    if args.explain {
        let explanation = cluster.explain(request).await?;
        let explained = serde_json::from_str(&explanation.explanation_json)
            .map_err(|error| Failure::bug(format!("the scheduler's explanation cannot be read: {error}")))?;
        render::explanation(&explained, program);
        return Ok(None);
    }
    if args.is_preview() {
        let asked = PreviewRequest { request: Some(request), rows: PREVIEW_ROWS };
        let result = cluster.preview(asked).await?;
        let not_read = |error: &dyn std::fmt::Display| {
            Failure::bug(format!("the scheduler's preview cannot be read: {error}"))
        };
        let report = serde_json::from_str(&result.report_json).map_err(|error| not_read(&error))?;
        let rows = rows_of(&result.rows).map_err(|error| not_read(&error))?;
        render::preview(&Preview { rows, report }, result.spine_rows, program)?;
        return Ok(None);
    }
    Ok(Some(request))
}

async fn request(
    args: &RetrieveArgs,
    workspace: &Workspace,
    cluster: &Cluster,
    program: &Program,
) -> Result<SubmitRequest, Failure> {
    let working = &program.environment.working;
    let mut request = args.request(workspace.project(), Utc::now());
    if let Some(output) = &request.output {
        request.output = Some(Location::parse(output, working, None)?.to_string());
    }
    // The executors read what has a name everywhere; a file of this machine has none.
    if let SpineFrom::Files(uri) = &request.spine.from {
        let spine = Location::parse(uri, working, None)?;
        if spine.is_local() {
            let uri = hand_over(&request, &spine, workspace, cluster, program).await?;
            request.spine.from = SpineFrom::Files(uri);
        }
    }
    let request_json = serde_json::to_string(&request)
        .map_err(|error| Failure::bug(format!("the request cannot be written: {error}")))?;
    Ok(SubmitRequest {
        request_json,
        // Made before the first try: sent again it is the same job.
        id: args.request_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string()),
        overwrite: args.overwrite,
        priority: args.priority.unwrap_or_default(),
        submitted_by: cluster.who().to_owned(),
    })
}

/// Sends a local spine to the scheduler, as Parquet; returns its name there.
async fn hand_over(
    request: &RetrievalRequest,
    spine: &Location,
    workspace: &Workspace,
    cluster: &Cluster,
    program: &Program,
) -> Result<String, Failure> {
    let working = &program.environment.working;
    let read = workspace.registry.read().await?;
    let catalog = read.document.catalog(workspace.project())?;
    let folder = stage_folder()?;
    let place = Location::local(folder.path())?;
    let staged = stage_local_spine(&workspace.stores, &catalog, request, working, &place).await?;
    upload_spine(cluster, &workspace.stores, staged.as_ref().unwrap_or(spine)).await
}

async fn submit(
    args: &RetrieveArgs,
    request: SubmitRequest,
    cluster: &Cluster,
    program: &Program,
) -> Result<Done, Failure> {
    let job = cluster.submit(request).await?;
    if args.detach {
        detached(&job, cluster, program);
        return Ok(Done::Done);
    }
    if !has_ended(&job) {
        program.terminal.note(&format!("Job `{}` at {}", job.id, cluster.url()));
    }
    follow(job, cluster, program).await
}

/// The job to its end, or until the user has had enough.
async fn follow(job: Job, cluster: &Cluster, program: &Program) -> Result<Done, Failure> {
    if has_ended(&job) {
        // It had ended before it was asked for.
        return show_result(&Job { is_repeated: true, ..job }, program);
    }
    let mut drawn = JobProgress::new(&program.terminal);
    // The user is asked here what the first Ctrl-C means.
    program.interrupt.hold(program.terminal.can_ask);
    let mut seen = |job: &Job| drawn.show(job);
    let ended = tokio::select! {
        biased;
        () = program.interrupt.clone().asked() => None,
        ended = cluster.watch(&job.id, &mut seen) => Some(ended),
    };
    drawn.finish();
    let wish = match &ended {
        None if program.terminal.can_ask => ask(program).await,
        _ => Wish::Cancel,
    };
    program.interrupt.hold(false);
    if let Some(ended) = ended {
        return show_result(&ended?, program);
    }
    if wish == Wish::Detach {
        detached(&job, cluster, program);
        return Ok(Done::Done);
    }
    program.terminal.note(&format!("Cancelling job `{}`…", job.id));
    let mut ended = cluster.cancel(&job.id).await?;
    if !has_ended(&ended) {
        ended = wait_for_end(cluster, &job.id).await?;
    }
    // It may have been done a moment before.
    show_result(&ended, program)
}

/// Anything but a clear wish to cancel leaves the job alone: so do a second Ctrl-C and the end of the input.
async fn ask(program: &Program) -> Wish {
    let terminal = program.terminal.clone();
    let answer = tokio::task::spawn_blocking(move || terminal.ask_word("\ncancel the job or detach? [c/d]"));
    let answer = tokio::select! {
        biased;
        () = program.interrupt.clone().asked_times(2) => None,
        answer = answer => answer.ok().flatten(),
    };
    match answer.as_deref() {
        Some("c" | "cancel") => Wish::Cancel,
        _ => Wish::Detach,
    }
}

/// A job that goes on by itself.
fn detached(job: &Job, cluster: &Cluster, program: &Program) {
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&json!({"job": job_json(job)}));
        return;
    }
    terminal.print(&format!("{}\n", job.id));
    terminal.note(&format!("The job goes on; watch it with `{}`.", cluster.watch_command(&job.id)));
}

/// The rows of an Arrow IPC stream as one batch.
fn rows_of(bytes: &[u8]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<RecordBatch>, _>>()?;
    concat_batches(&schema, &batches)
}
