//! A scheduler that runs nothing: it keeps a real registry, takes spines and jobs, and lets jobs end as a test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use backsight_proto::control::control_server::{Control, ControlServer};
use backsight_proto::control::spine_chunk::Content;
use backsight_proto::control::{
    ChangeRegistryRequest, ChangeRegistryResponse, CheckSourcesRequest, CheckSourcesResponse,
    DescribeRequest, Explanation, FAILURE_TRAILER, Failure, FindSpineRequest, GetJobRequest, Job, JobState,
    ListJobsRequest, ListJobsResponse, ListRegistryVersionsRequest, MESSAGE_BYTES_MAX, PreviewRequest,
    PreviewResult, Progress, PruneRegistryHistoryRequest, PrunedRegistryHistory, ReadRegistryRequest,
    ReadRegistryVersionRequest, RegistryState, RegistryVersion, RegistryVersions, ServerInfo, Shard,
    ShardState, SpineChunk, StoredSpine, SubmitRequest, SyncExecutorRequest, SyncExecutorResponse,
    Transition,
};
use backsight_registry::store::RegistryStore;
use backsight_scheduler::{registry_history, registry_service};
use backsight_storage::{Location, StorageOptions, Stores};
use prost::Message;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// What a test decides and what it looks at.
#[derive(Default)]
pub(crate) struct State {
    /// How a job ends; one without an end runs until it is cancelled.
    pub(crate) end: Option<Job>,
    /// So many answers to `Submit` are lost after the job was queued.
    pub(crate) lost_submits: u32,
    /// So many streams of `WatchJob` break after the first state.
    pub(crate) broken_watches: u32,
    /// What clients are taken to have seen of the project.
    pub(crate) stale_fingerprint: Option<String>,
    /// What `Submit` answers instead.
    pub(crate) refusal: Option<Failure>,
    pub(crate) spine_upload_max: u64,
    pub(crate) preview: PreviewResult,
    pub(crate) explanation: String,
    pub(crate) jobs: BTreeMap<String, Job>,
    pub(crate) submitted: Vec<SubmitRequest>,
    /// Contents by hash.
    pub(crate) spines: BTreeMap<String, Vec<u8>>,
    pub(crate) uploads: u32,
    pub(crate) watches: u32,
    pub(crate) changes: Vec<ChangeRegistryRequest>,
    /// It is of a version that knows nothing of sources.
    pub(crate) is_old: bool,
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    registry: RegistryStore,
    /// Where relative paths of sources start.
    repo: PathBuf,
}

/// A running fake.
pub(crate) struct Fake {
    service: Service,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Fake {
    /// Listens at a free port; its registry is `registry.pb` of the folder.
    pub(crate) fn start(folder: &Path) -> Self {
        let location = Location::parse("registry.pb", folder, None).unwrap();
        let registry = RegistryStore::open(Stores::new(StorageOptions::default()), location);
        let state = State { spine_upload_max: 1 << 30, ..State::default() };
        let service = Service { state: Arc::new(Mutex::new(state)), registry, repo: folder.to_owned() };
        let mut fake = Self { service, address: SocketAddr::from(([127, 0, 0, 1], 0)), runtime: None };
        fake.listen();
        fake
    }

    /// Listens, at the same port as before where there was one.
    pub(crate) fn listen(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let service = ControlServer::new(self.service.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
            runtime.handle(),
        );
        tasks.detach_all();
        self.runtime = Some(runtime);
    }

    /// Goes away in the middle of everything.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.service.state.lock().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A failure as a scheduler answers it.
pub(crate) fn failure(code: &str, message: &str, hint: &str) -> Failure {
    Failure {
        code: code.to_owned(),
        message: message.to_owned(),
        causes: Vec::new(),
        hint: hint.to_owned(),
        is_retryable: false,
    }
}

/// The end of a job that failed.
pub(crate) fn failed(failure: Failure) -> Job {
    Job { state: JobState::Failed as i32, failure: Some(failure), ..Job::default() }
}

fn refused(failure: &Failure) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(FAILURE_TRAILER, MetadataValue::from_bytes(&failure.encode_to_vec()));
    Status::with_metadata(Code::FailedPrecondition, "see the trailer", metadata)
}

impl Service {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn job(&self, id: &str) -> Result<Job, Status> {
        let unknown = || refused(&failure("not_found", &format!("there is no job `{id}`"), ""));
        self.state().jobs.get(id).cloned().ok_or_else(unknown)
    }

    /// A job that has been looked at once goes on.
    fn proceed(&self, id: &str) {
        let mut state = self.state();
        let end = state.end.clone();
        let Some(job) = state.jobs.get_mut(id) else { return };
        let is_cancelled = job.is_cancel_requested;
        match (job.state(), end) {
            (JobState::Queued, _) => {
                job.state = JobState::Running as i32;
                job.queue_position = 0;
                job.started_at_ms = 1_772_668_801_000;
                job.progress = Some(Progress {
                    rows_read: 5,
                    rows_to_read: 10,
                    bytes_read: 512,
                    bytes_to_read: 1024,
                    rows_to_write: 20,
                    ..Progress::default()
                });
                job.shards = vec![Shard {
                    label: "all".to_owned(),
                    state: ShardState::Running as i32,
                    attempts: 1,
                    ..Shard::default()
                }];
            }
            (JobState::Running, _) if is_cancelled => job.state = JobState::Abandoning as i32,
            (JobState::Abandoning, _) => {
                job.state = JobState::Cancelled as i32;
                job.finished_at_ms = 1_772_668_803_000;
            }
            (JobState::Running, Some(end)) => {
                job.state = end.state;
                job.failure = end.failure;
                job.manifest_json = end.manifest_json;
                job.is_repeated = end.is_repeated;
                job.finished_at_ms = 1_772_668_802_500;
            }
            _ => {}
        }
    }
}

#[tonic::async_trait]
impl Control for Service {
    async fn describe(&self, _: Request<DescribeRequest>) -> Answer<ServerInfo> {
        let spine_upload_max = self.state().spine_upload_max;
        Ok(Response::new(ServerInfo { spine_upload_max, ..ServerInfo::default() }))
    }

    async fn read_registry(&self, _: Request<ReadRegistryRequest>) -> Answer<RegistryState> {
        let state = registry_service::read(&self.registry).await;
        state.map(Response::new).map_err(|failure| refused(&failure))
    }

    async fn change_registry(
        &self,
        request: Request<ChangeRegistryRequest>,
    ) -> Answer<ChangeRegistryResponse> {
        let mut request = request.into_inner();
        self.state().changes.push(request.clone());
        if let Some(stale) = &self.state().stale_fingerprint {
            request.expected_fingerprint.clone_from(stale);
        }
        let mut next_id = uuid::Uuid::new_v4;
        let changed = registry_service::change(&self.registry, request, chrono::Utc::now, &mut next_id).await;
        changed.map(Response::new).map_err(|failure| refused(&failure))
    }

    async fn list_registry_versions(
        &self,
        _: Request<ListRegistryVersionsRequest>,
    ) -> Answer<RegistryVersions> {
        let versions = registry_history::versions(&self.registry).await;
        versions.map(Response::new).map_err(|failure| refused(&failure))
    }

    async fn read_registry_version(
        &self,
        request: Request<ReadRegistryVersionRequest>,
    ) -> Answer<RegistryVersion> {
        let version = registry_history::version(&self.registry, &request.get_ref().version).await;
        version.map(Response::new).map_err(|failure| refused(&failure))
    }

    async fn prune_registry_history(
        &self,
        request: Request<PruneRegistryHistoryRequest>,
    ) -> Answer<PrunedRegistryHistory> {
        let request = request.into_inner();
        let pruned = registry_history::prune(&self.registry, &request, chrono::Utc::now()).await;
        pruned.map(Response::new).map_err(|failure| refused(&failure))
    }

    async fn check_sources(&self, request: Request<CheckSourcesRequest>) -> Answer<CheckSourcesResponse> {
        if self.state().is_old {
            return Err(Status::unimplemented(""));
        }
        let stores = Stores::new(StorageOptions::default());
        let checked = registry_service::check_sources(&stores, &self.repo, request.into_inner()).await;
        checked.map(Response::new).map_err(|failure| refused(&failure))
    }

    async fn find_spine(&self, request: Request<FindSpineRequest>) -> Answer<StoredSpine> {
        let sha256 = request.into_inner().sha256;
        let held = self.state().spines.get(&sha256).map(Vec::len);
        let uri = held.map(|_| format!("s3://spool/{sha256}.parquet")).unwrap_or_default();
        Ok(Response::new(StoredSpine { uri, bytes: held.unwrap_or_default() as u64 }))
    }

    async fn upload_spine(&self, request: Request<Streaming<SpineChunk>>) -> Answer<StoredSpine> {
        let mut chunks = request.into_inner();
        let mut header = None;
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            match chunk.content {
                Some(Content::Header(first)) => header = Some(first),
                Some(Content::Data(data)) => {
                    assert!(header.is_some() && data.len() <= 1 << 20);
                    bytes.extend(data);
                }
                None => {}
            }
        }
        let header = header.unwrap();
        assert_eq!((header.bytes, header.extension.as_str()), (bytes.len() as u64, ".parquet"));
        let uri = format!("s3://spool/{}.parquet", header.sha256);
        let mut state = self.state();
        state.uploads += 1;
        state.spines.insert(header.sha256, bytes);
        Ok(Response::new(StoredSpine { uri, bytes: header.bytes }))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Answer<Job> {
        let request = request.into_inner();
        let asked: serde_json::Value = serde_json::from_str(&request.request_json).unwrap();
        let mut state = self.state();
        state.submitted.push(request.clone());
        if let Some(failure) = &state.refusal {
            return Err(refused(failure));
        }
        let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
        let job = Job {
            id: request.id.clone(),
            project: text("project"),
            state: JobState::Queued as i32,
            priority: request.priority,
            submitted_by: request.submitted_by,
            submitted_at_ms: 1_772_668_800_000,
            request_json: request.request_json,
            output: text("output"),
            queue_position: 1,
            history: vec![Transition { at_ms: 1_772_668_800_000, what: "queued".to_owned() }],
            ..Job::default()
        };
        let job = state.jobs.entry(request.id).or_insert(job).clone();
        if state.lost_submits > 0 {
            state.lost_submits -= 1;
            return Err(Status::unavailable("the answer was lost"));
        }
        Ok(Response::new(job))
    }

    async fn explain(&self, request: Request<SubmitRequest>) -> Answer<Explanation> {
        assert!(request.into_inner().request_json.contains("s3://spool/"));
        let explanation_json = self.state().explanation.clone();
        Ok(Response::new(Explanation { explanation_json }))
    }

    async fn preview(&self, request: Request<PreviewRequest>) -> Answer<PreviewResult> {
        assert_eq!(request.into_inner().rows, 20);
        Ok(Response::new(self.state().preview.clone()))
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Answer<Job> {
        self.job(&request.into_inner().id).map(Response::new)
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        let request = request.into_inner();
        let is_wanted = |job: &&Job| {
            (request.project.is_empty() || job.project == request.project)
                && (request.states.is_empty() || request.states.contains(&job.state))
        };
        let mut jobs: Vec<Job> = self.state().jobs.values().filter(is_wanted).cloned().collect();
        let has_more = request.limit > 0 && jobs.len() > request.limit as usize;
        jobs.truncate(request.limit as usize);
        Ok(Response::new(ListJobsResponse { jobs, has_more }))
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<Job, Status>> + Send>>;

    async fn watch_job(&self, request: Request<GetJobRequest>) -> Answer<Self::WatchJobStream> {
        let id = request.into_inner().id;
        self.job(&id)?;
        let is_broken = {
            let mut state = self.state();
            state.watches += 1;
            let is_broken = state.broken_watches > 0;
            state.broken_watches = state.broken_watches.saturating_sub(1);
            is_broken
        };
        let service = self.clone();
        let every = tokio::time::interval(Duration::from_millis(30));
        let states = tokio_stream::wrappers::IntervalStream::new(every).map(move |_| {
            let job = service.job(&id);
            service.proceed(&id);
            job
        });
        let first = usize::from(is_broken);
        let stream: Self::WatchJobStream = if is_broken {
            Box::pin(states.take(first).chain(tokio_stream::once(Err(Status::unavailable("stopping")))))
        } else {
            Box::pin(states)
        };
        Ok(Response::new(stream))
    }

    async fn cancel_job(&self, request: Request<GetJobRequest>) -> Answer<Job> {
        let id = request.into_inner().id;
        self.job(&id)?;
        if let Some(job) = self.state().jobs.get_mut(&id) {
            job.is_cancel_requested = true;
        }
        self.job(&id).map(Response::new)
    }

    async fn sync_executor(&self, _: Request<SyncExecutorRequest>) -> Answer<SyncExecutorResponse> {
        Err(Status::unimplemented("no executors here"))
    }
}
