//! The calls to a scheduler: each with a deadline, and made again while the scheduler is away where that is safe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backsight_proto::control::control_client::ControlClient;
use backsight_proto::control::{
    ChangeRegistryRequest, ChangeRegistryResponse, CheckSourcesRequest, CheckSourcesResponse,
    DescribeRequest, Explanation, FindSpineRequest, GetJobRequest, Job, ListJobsRequest, ListJobsResponse,
    ListRegistryVersionsRequest, MESSAGE_BYTES_MAX, PreviewRequest, PreviewResult,
    PruneRegistryHistoryRequest, PrunedRegistryHistory, ReadRegistryRequest, ReadRegistryVersionRequest,
    RegistryState, RegistryVersion, RegistryVersions, ServerInfo, SpineChunk, StoredSpine, SubmitRequest,
};
use futures::Stream;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::failure::{Trouble, no_answer, of_status};
use crate::commands::Program;
use crate::config::scheduler::SchedulerAddress;
use crate::errors::Failure;
use crate::terminal::Terminal;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a scheduler whose machine has gone away is noticed: one interval and one timeout.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// For calls that are answered out of the scheduler's own state.
const DEADLINE: Duration = Duration::from_secs(30);
/// For calls that read or write a registry, which may be on a slow store.
const REGISTRY_DEADLINE: Duration = Duration::from_secs(120);
/// For calls that read footers of every file.
const EXPLAIN_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// A preview joins everything. Its scheduler is known to be alive meanwhile; this only bounds what nobody waits for.
const PREVIEW_DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// The least rate at which an upload is worth waiting for.
const UPLOAD_BYTES_PER_SECOND: u64 = 64 << 10;

/// A scheduler that has not answered yet is most likely not there.
const PATIENCE_FIRST: Duration = Duration::from_secs(3);
/// One that has answered is most likely being started again.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP_MIN: Duration = Duration::from_millis(100);
const STEP_MAX: Duration = Duration::from_secs(2);

/// One scheduler. Clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    client: ControlClient<Channel>,
    address: SchedulerAddress,
    who: String,
    terminal: Terminal,
    has_answered: Arc<AtomicBool>,
}

impl Cluster {
    /// The scheduler at an address; nothing is sent yet.
    pub(crate) fn new(address: &SchedulerAddress, program: &Program) -> Result<Self, Failure> {
        let refused = |error| Failure::usage(format!("`{}` is no address: {error}", address.url));
        let endpoint = Endpoint::from_shared(address.url.clone())
            .map_err(refused)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let client = ControlClient::new(endpoint.connect_lazy())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self {
            client,
            address: address.clone(),
            who: program.environment.user_at_host(),
            terminal: program.terminal.clone(),
            has_answered: Arc::default(),
        })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.address.url
    }

    /// Its address and who named it.
    pub(super) fn address(&self) -> &SchedulerAddress {
        &self.address
    }

    /// Who asks, for the scheduler's records.
    pub(crate) fn who(&self) -> &str {
        &self.who
    }

    /// Who answers.
    pub(crate) async fn describe(&self) -> Result<ServerInfo, Failure> {
        self.again(DEADLINE, DescribeRequest {}, async |mut client, request| client.describe(request).await)
            .await
    }

    /// The registry as it is.
    pub(crate) async fn read_registry(&self) -> Result<RegistryState, Failure> {
        self.again(REGISTRY_DEADLINE, ReadRegistryRequest {}, async |mut client, request| {
            client.read_registry(request).await
        })
        .await
    }

    /// The registry's versions.
    pub(crate) async fn registry_versions(&self) -> Result<RegistryVersions, Failure> {
        self.again(REGISTRY_DEADLINE, ListRegistryVersionsRequest {}, async |mut client, request| {
            client.list_registry_versions(request).await
        })
        .await
    }

    /// One version of the registry.
    pub(crate) async fn registry_version(&self, given: &str) -> Result<RegistryVersion, Failure> {
        let request = ReadRegistryVersionRequest { version: given.to_owned() };
        self.again(REGISTRY_DEADLINE, request, async |mut client, request| {
            client.read_registry_version(request).await
        })
        .await
    }

    /// Prunes the registry's history. What is gone is gone: safe to ask again.
    pub(crate) async fn prune_registry_history(
        &self,
        request: PruneRegistryHistoryRequest,
    ) -> Result<PrunedRegistryHistory, Failure> {
        self.again(REGISTRY_DEADLINE, request, async |mut client, request| {
            client.prune_registry_history(request).await
        })
        .await
    }

    /// Changes a project. Not made again: an answer that was lost may have been a success.
    pub(crate) async fn change_registry(
        &self,
        request: ChangeRegistryRequest,
    ) -> Result<ChangeRegistryResponse, Failure> {
        let send = async |mut client: ControlClient<Channel>, request| client.change_registry(request).await;
        Ok(self.once(REGISTRY_DEADLINE, request, &send).await?)
    }

    /// Looks at source files as the scheduler reaches them.
    pub(crate) async fn check_sources(
        &self,
        request: CheckSourcesRequest,
    ) -> Result<CheckSourcesResponse, Failure> {
        self.again(EXPLAIN_DEADLINE, request, async |mut client, request| client.check_sources(request).await)
            .await
    }

    /// Whether the scheduler holds a spine already; without a URI it does not.
    pub(crate) async fn find_spine(&self, sha256: &str) -> Result<StoredSpine, Failure> {
        let request = FindSpineRequest { sha256: sha256.to_owned() };
        self.again(DEADLINE, request, async |mut client, request| client.find_spine(request).await).await
    }

    /// Hands over a spine of so many bytes.
    pub(super) async fn upload_spine(
        &self,
        chunks: impl Stream<Item = SpineChunk> + Send + 'static,
        bytes: u64,
    ) -> Result<StoredSpine, Trouble> {
        let deadline = DEADLINE + Duration::from_secs(bytes / UPLOAD_BYTES_PER_SECOND);
        let mut client = self.client.clone();
        self.within(deadline, client.upload_spine(Request::new(chunks))).await
    }

    /// Queues a retrieval. The id in the request makes it safe to send it again.
    pub(crate) async fn submit(&self, request: SubmitRequest) -> Result<Job, Failure> {
        if request.id.is_empty() {
            return Err(Failure::bug("a retrieval was submitted without an id"));
        }
        self.again(REGISTRY_DEADLINE, request, async |mut client, request| client.submit(request).await).await
    }

    /// How a retrieval would be done.
    pub(crate) async fn explain(&self, request: SubmitRequest) -> Result<Explanation, Failure> {
        self.again(EXPLAIN_DEADLINE, request, async |mut client, request| client.explain(request).await).await
    }

    /// The first rows of a retrieval and its report. Ends when the future is dropped.
    pub(crate) async fn preview(&self, request: PreviewRequest) -> Result<PreviewResult, Failure> {
        let send = async |mut client: ControlClient<Channel>, request| client.preview(request).await;
        Ok(self.once(PREVIEW_DEADLINE, request, &send).await?)
    }

    /// A job.
    pub(crate) async fn job(&self, id: &str) -> Result<Job, Failure> {
        let request = GetJobRequest { id: id.to_owned() };
        self.again(DEADLINE, request, async |mut client, request| client.get_job(request).await).await
    }

    /// Jobs, the newest first.
    pub(crate) async fn jobs(&self, request: ListJobsRequest) -> Result<ListJobsResponse, Failure> {
        self.again(DEADLINE, request, async |mut client, request| client.list_jobs(request).await).await
    }

    /// Asks for the end of a job.
    pub(crate) async fn cancel(&self, id: &str) -> Result<Job, Failure> {
        let request = GetJobRequest { id: id.to_owned() };
        self.again(DEADLINE, request, async |mut client, request| client.cancel_job(request).await).await
    }

    /// The changes of a job; the connection may break at any time.
    pub(super) async fn job_stream(&self, id: &str) -> Result<Streaming<Job>, Trouble> {
        let request = GetJobRequest { id: id.to_owned() };
        let mut client = self.client.clone();
        self.within(DEADLINE, client.watch_job(request)).await
    }

    /// A call that may be made more than once: while the scheduler is away, it is.
    async fn again<T: Clone, R>(
        &self,
        deadline: Duration,
        request: T,
        send: impl AsyncFn(ControlClient<Channel>, Request<T>) -> Result<Response<R>, Status>,
    ) -> Result<R, Failure> {
        let mut wait = Wait::new();
        loop {
            let lost = match self.once(deadline, request.clone(), &send).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Told(failure)) => return Err(failure),
                Err(Trouble::Lost(failure)) => failure,
            };
            let known = self.has_answered.load(Ordering::Relaxed);
            let patience = if known { PATIENCE } else { PATIENCE_FIRST };
            if !wait.step(patience, &self.terminal, &self.address.url).await {
                return Err(lost);
            }
        }
    }

    async fn once<T, R>(
        &self,
        deadline: Duration,
        request: T,
        send: &impl AsyncFn(ControlClient<Channel>, Request<T>) -> Result<Response<R>, Status>,
    ) -> Result<R, Trouble> {
        let mut request = Request::new(request);
        // The scheduler gives up as well, a moment later.
        request.set_timeout(deadline + Duration::from_secs(1));
        self.within(deadline, send(self.client.clone(), request)).await
    }

    async fn within<R>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<R, Trouble> {
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(response)) => {
                self.has_answered.store(true, Ordering::Relaxed);
                Ok(response.into_inner())
            }
            Ok(Err(status)) => {
                let trouble = of_status(&status, &self.address);
                if matches!(trouble, Trouble::Told(_)) {
                    self.has_answered.store(true, Ordering::Relaxed);
                }
                Err(trouble)
            }
            Err(_) => {
                let url = &self.address.url;
                let message =
                    format!("the scheduler at `{url}` did not answer within {} s", deadline.as_secs());
                // It may be stopped, or its machine cut off: as good as away.
                Err(Trouble::Lost(no_answer(&message, &self.address)))
            }
        }
    }

    /// Where words go while waiting.
    pub(super) fn terminal(&self) -> &Terminal {
        &self.terminal
    }
}

/// Waiting for a scheduler that is away: steps that double, up to a bound.
#[derive(Debug)]
pub(super) struct Wait {
    since: Instant,
    step: Duration,
    is_told: bool,
}

impl Wait {
    /// Away since now.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), step: STEP_MIN, is_told: false }
    }

    /// Waits for a moment, or says that it was waited long enough.
    pub(super) async fn step(&mut self, patience: Duration, terminal: &Terminal, url: &str) -> bool {
        if self.since.elapsed() + self.step > patience {
            return false;
        }
        // A short absence is not worth a word.
        if !self.is_told && self.since.elapsed() > Duration::from_secs(2) {
            self.is_told = true;
            terminal.note(&format!("The scheduler at `{url}` does not answer; trying again…"));
        }
        tokio::time::sleep(self.step).await;
        self.step = (self.step * 2).min(STEP_MAX);
        true
    }
}
