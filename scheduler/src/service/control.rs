//! The control plane's calls: registry, spines, jobs, previews; each one checks, asks, answers.

use std::pin::Pin;
use std::time::{Duration, Instant};

use backsight_proto::ErrorCode;
use backsight_proto::control::control_server::Control;
use backsight_proto::control::{
    ChangeRegistryRequest, ChangeRegistryResponse, CheckSourcesRequest, CheckSourcesResponse,
    DescribeRequest, ExecutorInfo, Explanation, FindSpineRequest, GetJobRequest, Job as JobMessage,
    ListJobsRequest, ListJobsResponse, ListRegistryVersionsRequest, PreviewRequest, PreviewResult,
    PruneRegistryHistoryRequest, PrunedRegistryHistory, ReadRegistryRequest, ReadRegistryVersionRequest,
    RegistryState, RegistryVersion, RegistryVersions, ServerInfo, SpineChunk, StoredSpine, SubmitRequest,
    SyncExecutorRequest, SyncExecutorResponse,
};
use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::failures::{of_store, status};
use super::spines::Spool;
use super::{previews, submissions};
use crate::driver::{Shared, now};
use crate::{registry_history, registry_service};

/// How often a watched job is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(300);

type Answer<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Clone)]
pub(crate) struct ControlService {
    pub(crate) shared: Shared,
    pub(crate) spool: Spool,
}

#[tonic::async_trait]
impl Control for ControlService {
    async fn describe(&self, _: Request<DescribeRequest>) -> Answer<ServerInfo> {
        let options = &self.shared.options;
        let known = self.shared.host.server.state.executor_manager.get_executors_state().await;
        let known = known.unwrap_or_default();
        let executors = self.shared.host.jobs.executors(Instant::now());
        let executors = executors.into_iter().map(|executor| {
            let metadata = known.iter().map(|(metadata, ..)| metadata).find(|m| m.id == executor.id);
            ExecutorInfo {
                host: metadata.map(|m| format!("{}:{}", m.host, m.port)).unwrap_or_default(),
                vcores: metadata.map_or(0, |m| m.specification.vcores),
                silent_ms: u64::try_from(executor.silent.as_millis()).unwrap_or(u64::MAX),
                is_draining: executor.is_draining,
                id: executor.id,
            }
        });
        let (queued, running) = submissions::counts(&self.shared).await.map_err(|error| of_store(&error))?;
        Ok(Response::new(ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            scheduler_id: options.scheduler_id.clone(),
            registry: options.registry.location().to_string(),
            executors: executors.collect(),
            jobs_queued: queued,
            jobs_running: running,
            spine_upload_max: options.spine_upload_bytes_max,
        }))
    }

    async fn read_registry(&self, _: Request<ReadRegistryRequest>) -> Answer<RegistryState> {
        let read = registry_service::read(&self.shared.options.registry).await;
        read.map(Response::new).map_err(status)
    }

    async fn change_registry(
        &self,
        request: Request<ChangeRegistryRequest>,
    ) -> Answer<ChangeRegistryResponse> {
        let request = request.into_inner();
        let (project, who) = (request.project.clone(), request.requested_by.clone());
        let store = &self.shared.options.registry;
        let changed = registry_service::change(store, request, now, &mut uuid::Uuid::new_v4).await;
        tracing::info!(project, who, is_well = changed.is_ok(), "the registry was asked to change");
        changed.map(Response::new).map_err(status)
    }

    async fn list_registry_versions(
        &self,
        _: Request<ListRegistryVersionsRequest>,
    ) -> Answer<RegistryVersions> {
        let versions = registry_history::versions(&self.shared.options.registry).await;
        versions.map(Response::new).map_err(status)
    }

    async fn read_registry_version(
        &self,
        request: Request<ReadRegistryVersionRequest>,
    ) -> Answer<RegistryVersion> {
        let given = &request.get_ref().version;
        let version = registry_history::version(&self.shared.options.registry, given).await;
        version.map(Response::new).map_err(status)
    }

    async fn prune_registry_history(
        &self,
        request: Request<PruneRegistryHistoryRequest>,
    ) -> Answer<PrunedRegistryHistory> {
        let request = request.into_inner();
        let pruned = registry_history::prune(&self.shared.options.registry, &request, now()).await;
        let (who, is_dry_run) = (&request.requested_by, request.dry_run);
        tracing::info!(
            who,
            is_dry_run,
            is_well = pruned.is_ok(),
            "the registry's history was asked to be pruned"
        );
        pruned.map(Response::new).map_err(status)
    }

    async fn check_sources(&self, request: Request<CheckSourcesRequest>) -> Answer<CheckSourcesResponse> {
        previews::check_sources(&self.shared, request.into_inner()).await.map(Response::new)
    }

    async fn find_spine(&self, request: Request<FindSpineRequest>) -> Answer<StoredSpine> {
        self.spool.find(&request.get_ref().sha256).await.map(Response::new)
    }

    async fn upload_spine(&self, request: Request<Streaming<SpineChunk>>) -> Answer<StoredSpine> {
        self.spool.take(request.into_inner()).await.map(Response::new)
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Answer<JobMessage> {
        submissions::submit(&self.shared, request.into_inner()).await.map(Response::new)
    }

    async fn explain(&self, request: Request<SubmitRequest>) -> Answer<Explanation> {
        previews::explain(&self.shared, &request.into_inner()).await.map(Response::new)
    }

    async fn preview(&self, request: Request<PreviewRequest>) -> Answer<PreviewResult> {
        previews::preview(&self.shared, &request.into_inner()).await.map(Response::new)
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Answer<JobMessage> {
        submissions::get(&self.shared, &request.get_ref().id).await.map(Response::new)
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        submissions::list(&self.shared, request.get_ref()).await.map(Response::new)
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<JobMessage, Status>> + Send>>;

    async fn watch_job(&self, request: Request<GetJobRequest>) -> Answer<Self::WatchJobStream> {
        let first = submissions::get(&self.shared, &request.get_ref().id).await?;
        let state = (self.shared.clone(), Some(first), None::<JobMessage>);
        let stream = futures::stream::try_unfold(state, |(shared, first, mut last)| async move {
            if let Some(first) = first {
                return Ok(Some((first.clone(), (shared, None, Some(first)))));
            }
            loop {
                let Some(seen) = &last else { return Ok(None) };
                if submissions::has_ended(seen) {
                    return Ok(None);
                }
                tokio::time::sleep(WATCH_EVERY).await;
                let next = submissions::get(&shared, &seen.id).await?;
                if next != *seen {
                    last = Some(next.clone());
                    return Ok(Some((next, (shared, None, last))));
                }
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn cancel_job(&self, request: Request<GetJobRequest>) -> Answer<JobMessage> {
        submissions::cancel(&self.shared, &request.get_ref().id).await.map(Response::new)
    }

    async fn sync_executor(&self, request: Request<SyncExecutorRequest>) -> Answer<SyncExecutorResponse> {
        let request = request.into_inner();
        if request.executor_id.is_empty() {
            return Err(super::failures::refuse(ErrorCode::Usage, "an executor has an id", None));
        }
        Ok(Response::new(self.shared.host.jobs.sync(&request, Instant::now())))
    }
}
