//! Jobs as clients handle them: submit, get, list, cancel.

use backsight_proto::ErrorCode;
use backsight_proto::control::{
    Job as JobMessage, JobState, ListJobsRequest, ListJobsResponse, SubmitRequest,
};
use backsight_retrieval::RetrievalRequest;
use tonic::Status;

use super::failures::{of_job_error, of_store, refuse};
use super::job_message::{message, state_name};
use crate::driver::{Shared, now_ms, row};
use crate::jobs::{Job, JobId, Resubmission, Submission, Waiting, check_queue, queue_positions, resubmit};
use crate::store::{Inserted, JobFilter, JobStoreError, StoredJob};

/// Jobs that a list shows unless told, and at most.
const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 10_000;
/// How often a submission is tried again when another of the same id comes between.
const RACES_MAX: usize = 5;
/// Longest id and name of a submitter.
const ID_BYTES_MAX: usize = 200;

/// The request inside of a submission.
pub(crate) fn request_of(submitted: &SubmitRequest) -> Result<RetrievalRequest, Status> {
    serde_json::from_str(&submitted.request_json).map_err(|error| {
        let hint = "client and scheduler may be of different versions";
        refuse(ErrorCode::Usage, format!("the request cannot be read: {error}"), Some(hint.into()))
    })
}

/// Queues a retrieval; the same id with the same request is the same job.
pub(crate) async fn submit(shared: &Shared, submitted: SubmitRequest) -> Result<JobMessage, Status> {
    let request = request_of(&submitted)?;
    let Some(output) = request.output.clone().filter(|output| !output.is_empty()) else {
        return Err(refuse(ErrorCode::Usage, "a job needs an output", None));
    };
    let is_plain = submitted.id.len() <= ID_BYTES_MAX && submitted.id.chars().all(|c| c.is_ascii_graphic());
    if !is_plain || submitted.submitted_by.len() > ID_BYTES_MAX {
        let message = "an id has 1 to 200 printable ASCII characters without blanks";
        return Err(refuse(ErrorCode::Usage, message, None));
    }
    let id = if submitted.id.is_empty() { uuid::Uuid::new_v4().to_string() } else { submitted.id };
    let submission = Submission {
        id: JobId(id),
        project: request.project.clone(),
        request: serde_json::to_value(&request)
            .map_err(|e| refuse(ErrorCode::Bug, format!("a request cannot be kept: {e}"), None))?,
        output: Some(output),
        overwrite: submitted.overwrite,
        priority: submitted.priority,
        submitted_by: submitted.submitted_by,
    };
    for _ in 0..RACES_MAX {
        if let Some(job) = try_submit(shared, &submission).await? {
            shared.changed.notify_one();
            return Ok(job);
        }
    }
    Err(refuse(ErrorCode::Unreachable, "others submit the same id at the same time", None))
}

/// `None` when somebody came between.
async fn try_submit(shared: &Shared, submission: &Submission) -> Result<Option<JobMessage>, Status> {
    let id = submission.id.0.clone();
    let known = shared.store.get(&id).await.map_err(|e| of_store(&e))?;
    let Some(stored) = known else {
        let (queued, _) = counts(shared).await.map_err(|e| of_store(&e))?;
        let queued = usize::try_from(queued).unwrap_or(usize::MAX);
        check_queue(queued, &shared.options.admission).map_err(|e| of_job_error(&e))?;
        let job = Job::new(submission.clone(), now_ms());
        let row = row(&job).map_err(|e| of_job_error(&e))?;
        return match shared.store.insert(&row).await.map_err(|e| of_store(&e))? {
            Inserted::New => get(shared, &id).await.map(Some),
            Inserted::Exists(_) => Ok(None),
        };
    };
    let job = Job::from_json(&stored.row.record).map_err(|e| of_job_error(&e))?;
    let again = resubmit(&job, submission.clone(), &shared.options.jobs, now_ms());
    match again.map_err(|e| of_job_error(&e))? {
        Resubmission::Same => get(shared, &id).await.map(Some),
        Resubmission::Queued(job) => {
            let row = row(&job).map_err(|e| of_job_error(&e))?;
            match shared.store.replace_unleased(&row, stored.version, now_ms()).await {
                Ok(_) => get(shared, &id).await.map(Some),
                Err(error) if error.code() == ErrorCode::Conflict => Ok(None),
                Err(error) => Err(of_store(&error)),
            }
        }
    }
}

/// One job.
pub(crate) async fn get(shared: &Shared, id: &str) -> Result<JobMessage, Status> {
    let Some(stored) = shared.store.get(id).await.map_err(|e| of_store(&e))? else {
        let hint = "`backsight jobs list` shows those that are known";
        return Err(refuse(ErrorCode::NotFound, format!("there is no job `{id}`"), Some(hint.into())));
    };
    let job = Job::from_json(&stored.row.record).map_err(|e| of_job_error(&e))?;
    let place = if job.state == crate::jobs::JobState::Queued {
        positions(shared).await.map_err(|e| of_store(&e))?.get(&job.id).copied().unwrap_or(0)
    } else {
        0
    };
    Ok(message(shared, &stored, &job, place).await)
}

/// The newest jobs.
pub(crate) async fn list(shared: &Shared, asked: &ListJobsRequest) -> Result<ListJobsResponse, Status> {
    let limit = if asked.limit == 0 { LIST_DEFAULT } else { asked.limit.min(LIST_MAX) };
    let filter = JobFilter {
        project: Some(asked.project.clone()).filter(|project| !project.is_empty()),
        states: asked.states().filter_map(state_name).map(str::to_owned).collect(),
        limit,
    };
    let page = shared.store.list(&filter).await.map_err(|e| of_store(&e))?;
    let places = positions(shared).await.map_err(|e| of_store(&e))?;
    let mut jobs = Vec::with_capacity(page.jobs.len());
    for stored in page.jobs {
        let job = match Job::from_json(&stored.row.record) {
            Ok(job) => job,
            Err(error) => {
                tracing::warn!(job = stored.row.id, %error, "a stored job is not listed");
                continue;
            }
        };
        let place = places.get(&job.id).copied().unwrap_or(0);
        // A list stays small: what is long is in the job alone.
        let mut listed = message(shared, &stored, &job, place).await;
        listed.manifest_json.clear();
        listed.history.clear();
        jobs.push(listed);
    }
    Ok(ListJobsResponse { jobs, has_more: page.has_more })
}

/// Asks to stop a job; whoever works on it sees that.
pub(crate) async fn cancel(shared: &Shared, id: &str) -> Result<JobMessage, Status> {
    shared.store.request_cancel(id).await.map_err(|e| of_store(&e))?;
    shared.changed.notify_one();
    get(shared, id).await
}

/// Jobs that wait, jobs that have begun.
pub(crate) async fn counts(shared: &Shared) -> Result<(u64, u64), JobStoreError> {
    let counts = shared.store.count().await?;
    let queued = counts.in_state(crate::jobs::JobState::Queued.name());
    Ok((queued, counts.unfinished.saturating_sub(queued)))
}

/// Whether nothing will change any more.
pub(crate) fn has_ended(job: &JobMessage) -> bool {
    matches!(job.state(), JobState::Succeeded | JobState::Failed | JobState::Cancelled)
}

fn is_queued(stored: &StoredJob) -> bool {
    stored.row.state == crate::jobs::JobState::Queued.name()
}

async fn positions(shared: &Shared) -> Result<std::collections::BTreeMap<JobId, u32>, JobStoreError> {
    let unfinished = shared.store.unfinished().await?;
    let waiting: Vec<Waiting> = unfinished
        .iter()
        .filter(|stored| is_queued(stored))
        .map(|stored| Waiting {
            id: JobId(stored.row.id.clone()),
            project: stored.row.project.clone(),
            priority: stored.row.priority,
            submitted_at_ms: stored.row.submitted_at_ms,
        })
        .collect();
    let running: Vec<String> =
        unfinished.iter().filter(|stored| !is_queued(stored)).map(|s| s.row.project.clone()).collect();
    Ok(queue_positions(&waiting, &running, &shared.options.admission))
}
