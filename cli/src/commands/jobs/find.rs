//! The job that an id, or the beginning of one, means.

use backsight_proto::ErrorCode;
use backsight_proto::control::{Job, ListJobsRequest};

use crate::cluster::Cluster;
use crate::errors::Failure;

/// Shorter beginnings are more likely a slip than a job.
const PREFIX_MIN: usize = 6;
/// As many jobs are looked through as a scheduler usually keeps.
const JOBS_MAX: u32 = 10_000;
const SHOWN_MAX: usize = 5;

/// Finds a job.
pub(super) async fn find(cluster: &Cluster, id: &str) -> Result<Job, Failure> {
    let unknown = match cluster.job(id).await {
        Err(failure) if failure.code() == ErrorCode::NotFound => failure,
        answer => return answer,
    };
    if id.chars().count() < PREFIX_MIN {
        return Err(unknown);
    }
    let request = ListJobsRequest { limit: JOBS_MAX, ..ListJobsRequest::default() };
    let jobs = cluster.jobs(request).await?.jobs;
    let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).filter(|full| full.starts_with(id)).collect();
    match ids.as_slice() {
        [] => Err(unknown),
        // A list tells less of a job.
        [full] => cluster.job(full).await,
        several => Err(ambiguous(id, several)),
    }
}

fn ambiguous(id: &str, several: &[&str]) -> Failure {
    let shown: Vec<String> = several.iter().take(SHOWN_MAX).map(|id| format!("`{id}`")).collect();
    let more = several.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Failure::usage(format!("{} jobs start with `{id}`", several.len()))
        .with_hint(format!("write more of it: {}{more}", shown.join(", ")))
}
