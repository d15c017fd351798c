//! What is answered at once and kept nowhere: how a retrieval would be done, its first rows, a look at sources.

use std::time::Duration;

use arrow::ipc::writer::StreamWriter;
use backsight_proto::ErrorCode;
use backsight_proto::control::{
    CheckSourcesRequest, CheckSourcesResponse, Explanation as ExplanationMessage, PreviewRequest,
    PreviewResult, SubmitRequest,
};
use backsight_retrieval::{Explanation, RetrievalEngine, RunContext, plan_shard, preview as run_preview};
use datafusion::physical_plan::displayable;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

use super::failures::{of_retrieval, refuse, status};
use super::submissions::request_of;
use crate::driver::{Shared, prepare_request};
use crate::registry_service;

/// Rows that a preview shows at most.
const ROWS_MAX: u64 = 10_000;
/// How long one waits for a place.
const PLACE_TIMEOUT: Duration = Duration::from_secs(30);

/// A place among those that are worked on at the same time; they do not queue as jobs do, and each holds memory here.
async fn place(places: &Semaphore, patience: Duration) -> Result<SemaphorePermit<'_>, Status> {
    match tokio::time::timeout(patience, places.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        _ => {
            let message = "this scheduler is busy with as many previews and explanations as it may have";
            let hint = "ask again later, or start it with a greater `--previews-max`";
            Err(refuse(ErrorCode::Limit, message, Some(hint.into())))
        }
    }
}

/// How a retrieval would be done.
pub(crate) async fn explain(
    shared: &Shared,
    submitted: &SubmitRequest,
) -> Result<ExplanationMessage, Status> {
    let request = request_of(submitted)?;
    let _place = place(&shared.previews, PLACE_TIMEOUT).await?;
    let (prepared, _) =
        prepare_request(shared, &request, None, &submitted.id).await.map_err(|e| of_retrieval(&e))?;
    let cutting = prepared.cut(&shared.options.shards);
    let engine = shared.engine().await;
    let first = cutting.shards.first().map(|shard| &shard.spec);
    let planned = plan_shard(&prepared, first).map_err(|e| of_retrieval(&e))?;
    let physical = engine.plan(&planned.logical).await.map_err(|e| of_retrieval(&e))?;
    let text = displayable(physical.as_ref()).indent(false).to_string();
    let partitions =
        shared.options.partitions.map_or(shared.host.vcores().await, std::num::NonZeroUsize::get);
    let explained = Explanation::new(&prepared, cutting, engine.name(), partitions, None, text);
    let json = serde_json::to_string(&explained);
    let explanation_json = json.map_err(|e| refuse(ErrorCode::Bug, e.to_string(), None))?;
    Ok(ExplanationMessage { explanation_json })
}

/// What source files hold of what definitions say. It reads as many footers as an explanation does.
pub(crate) async fn check_sources(
    shared: &Shared,
    request: CheckSourcesRequest,
) -> Result<CheckSourcesResponse, Status> {
    let _place = place(&shared.previews, PLACE_TIMEOUT).await?;
    let options = &shared.options;
    registry_service::check_sources(&options.stores, &options.repo, request).await.map_err(status)
}

/// The first rows of a retrieval and the report over all. When the caller goes away, the work stops.
pub(crate) async fn preview(shared: &Shared, asked: &PreviewRequest) -> Result<PreviewResult, Status> {
    let Some(submitted) = &asked.request else {
        return Err(refuse(ErrorCode::Usage, "a preview needs a request", None));
    };
    let request = request_of(submitted)?;
    let _place = place(&shared.previews, PLACE_TIMEOUT).await?;
    let (prepared, _) =
        prepare_request(shared, &request, None, &submitted.id).await.map_err(|e| of_retrieval(&e))?;
    let engine = shared.engine_with_executors().await;
    let rows = asked.rows.min(ROWS_MAX);
    let shown = match run_preview(&prepared, &engine, &RunContext::default(), rows).await {
        Ok(shown) => shown,
        Err(error) => {
            let error = prepared.explain_failure(&shared.options.stores, error).await;
            return Err(of_retrieval(&error));
        }
    };
    let bug = |detail: String| refuse(ErrorCode::Bug, format!("a preview cannot be sent: {detail}"), None);
    let mut bytes = Vec::new();
    let mut writer =
        StreamWriter::try_new(&mut bytes, &shown.rows.schema()).map_err(|e| bug(e.to_string()))?;
    writer.write(&shown.rows).and_then(|()| writer.finish()).map_err(|e| bug(e.to_string()))?;
    drop(writer);
    let report_json = serde_json::to_string(&shown.report).map_err(|e| bug(e.to_string()))?;
    Ok(PreviewResult { rows: bytes, report_json, spine_rows: prepared.spine.rows() })
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn previews_beyond_the_bound_wait_and_are_then_refused() {
        let places = Semaphore::new(1);
        let held = place(&places, Duration::ZERO).await.unwrap();
        let refused = place(&places, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("busy"), "{}", refused.message());
        drop(held);
        assert!(place(&places, Duration::from_secs(5)).await.is_ok());
    }
}
