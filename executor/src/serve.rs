//! Puts an executor together from the query engine's parts and runs it until it is told to end.
//!
//! The query engine's own start listens for signals and leaves at once, files and all. Here the process listens: a
//! terminated executor takes no new tasks, finishes those it has, and serves its shuffle files until no job needs
//! them, or until its patience ends.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use backsight_engine::{
    EngineOptions, RunningJobs, StageEngine, TaskExecutor, ballista_config, cluster_runtime, shuffle_files,
    write_context,
};
use backsight_proto::control::control_client::ControlClient;
use ballista_core::serde::protobuf::ExecutorStoppedParams;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::execution::runtime_env::RuntimeEnv;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceBuilder;

use crate::error::ExecutorError;
use crate::metrics::Metrics;
use crate::options::{ExecutorOptions, Ready};
use crate::sync::Sync;
use crate::work_dir::WorkDir;

/// How long a connection may take; it is opened again whenever it is needed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A scheduler that went away without a word is noticed by this.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A poll answers at once; one that does not is repeated.
const POLL_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a draining executor looks whether it may go.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// How long the scheduler is told that this executor ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs an executor until `shutdown` completes and it has drained. `ready` is called once its ports are open.
///
/// # Errors
/// Whatever keeps it from starting, and a part of it that ends by itself.
pub async fn serve(
    options: ExecutorOptions,
    shutdown: impl Future<Output = ()> + Send,
    ready: impl FnOnce(Ready),
) -> Result<(), ExecutorError> {
    let work_dir = Arc::new(WorkDir::take(&options.work_dir)?);
    let flight = bind(options.bind).await?;
    let health = bind(options.health_bind).await?;
    let addresses = Ready { flight: local(&flight)?, health: local(&health)? };
    let engine_error = |detail: String| ExecutorError::Engine { detail };
    let metrics = Metrics::new().map_err(|e| engine_error(e.to_string()))?;
    metrics.memory_limit_bytes.set(i64::try_from(options.memory_limit_bytes).unwrap_or(i64::MAX));
    let engine_options = EngineOptions {
        memory_limit_bytes: options.memory_limit_bytes,
        partitions: options.vcores,
        spill_dir: Some(work_dir.spill()),
        // The work folder as a whole is bounded as it grows; spilled rows alone stop at once.
        spill_limit_bytes: options.disk_limit_bytes.unwrap_or(u64::MAX),
    };
    let runtime =
        cluster_runtime(&options.stores, &engine_options).map_err(|e| engine_error(e.to_string()))?;
    let channel = channel(&options.scheduler)?;
    let executor_id = format!("executor-{}", uuid::Uuid::new_v4().simple());
    let jobs = RunningJobs::default();
    let vcores = Arc::new(Semaphore::new(options.vcores.get()));
    let draining = Arc::new(AtomicBool::new(false));

    let mut parts: JoinSet<(&'static str, String)> = JoinSet::new();
    let service = shuffle_files(&work_dir.shuffle());
    parts.spawn(async move {
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(flight);
        let served = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
        ("the shuffle file service", ended(served.await))
    });
    let routes = metrics.routes();
    parts.spawn(async move { ("the health service", ended(axum::serve(health, routes).await)) });
    let executor = task_executor(&options, &executor_id, addresses, &work_dir, &jobs, Arc::clone(&runtime));
    let polls_failed = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&polls_failed);
    // What a poll without an answer carried is lost: the scheduler learns of it with the next sync.
    let polling = ServiceBuilder::new()
        .map_err(move |error: tonic::transport::Error| {
            counted.fetch_add(1, Ordering::Relaxed);
            error
        })
        .service(channel.clone());
    let poll = executor.run(SchedulerGrpcClient::new(polling), Arc::clone(&vcores));
    parts.spawn(async move { ("the task loop", ended(poll.await)) });
    let sync = Sync {
        executor_id: executor_id.clone(),
        client: ControlClient::new(channel.clone()),
        jobs: jobs.clone(),
        work_dir: Arc::clone(&work_dir),
        stores: options.stores.clone(),
        runtime,
        disk_limit_bytes: options.disk_limit_bytes,
        heartbeat: options.heartbeat,
        draining: Arc::clone(&draining),
        metrics,
        polls_failed,
    };
    parts.spawn(async move {
        sync.run().await;
        ("the sync loop", "it returned".to_owned())
    });
    tracing::info!(executor_id, flight = %addresses.flight, health = %addresses.health, "executor is up");
    ready(addresses);

    tokio::select! {
        ended = parts.join_next() => return Err(part_ended(ended)),
        () = shutdown => {}
    }
    draining.store(true, Ordering::Relaxed);
    tracing::info!(executor_id, "executor drains");
    let needed = || jobs.tasks() > 0 || !work_dir.jobs().is_empty();
    // The scheduler has to hear of it first: a poll on its way must not bring tasks for cores that are gone.
    let heard = options.heartbeat * 2;
    let drained = async {
        tokio::time::sleep(heard).await;
        drain(&vcores, options.vcores.get(), needed).await;
    };
    tokio::select! {
        ended = parts.join_next() => return Err(part_ended(ended)),
        timed = tokio::time::timeout(options.drain_timeout, drained) => match timed {
            Ok(()) => tracing::info!(executor_id, "executor has drained"),
            Err(_) => tracing::warn!(executor_id, "executor leaves although its files may still be needed"),
        },
    }
    farewell(channel, executor_id).await;
    parts.shutdown().await;
    Ok(())
}

/// Takes every core away from new tasks as it becomes free, then waits until nobody needs this executor.
async fn drain(vcores: &Semaphore, count: usize, is_needed: impl Fn() -> bool) {
    for _ in 0..count {
        if let Ok(core) = vcores.acquire().await {
            core.forget();
        }
    }
    while is_needed() {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

/// The scheduler forgets this executor at once instead of missing it.
async fn farewell(channel: Channel, executor_id: String) {
    let goodbye = ExecutorStoppedParams { executor_id, reason: "drained".to_owned() };
    let mut client = SchedulerGrpcClient::new(channel);
    let told = tokio::time::timeout(FAREWELL_TIMEOUT, client.executor_stopped(goodbye)).await;
    if !matches!(told, Ok(Ok(_))) {
        tracing::info!("the scheduler could not be told; it will notice");
    }
}

fn task_executor(
    options: &ExecutorOptions,
    executor_id: &str,
    addresses: Ready,
    work_dir: &WorkDir,
    jobs: &RunningJobs,
    runtime: Arc<RuntimeEnv>,
) -> TaskExecutor {
    let vcores = options.vcores.get();
    let config = ballista_config(vcores);
    let stores = options.stores.clone();
    TaskExecutor {
        id: executor_id.to_owned(),
        host: options.advertise_host.clone().unwrap_or_else(|| addresses.flight.ip().to_string()),
        port: addresses.flight.port(),
        vcores,
        work_dir: work_dir.shuffle(),
        // Each task logs its own parts.
        config: Arc::new(move || config.clone().with_extension(Arc::new(write_context(&stores)))),
        runtime,
        engine: StageEngine::new(jobs.clone(), options.stores.clone()),
    }
}

fn channel(scheduler: &str) -> Result<Channel, ExecutorError> {
    let endpoint = Endpoint::from_shared(scheduler.to_owned())
        .map_err(|_| ExecutorError::SchedulerUrl { url: scheduler.to_owned() })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(POLL_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, ExecutorError> {
    let refused = |source| ExecutorError::Bind { address: address.to_string(), source };
    TcpListener::bind(address).await.map_err(refused)
}

fn local(listener: &TcpListener) -> Result<std::net::SocketAddr, ExecutorError> {
    listener.local_addr().map_err(|source| ExecutorError::Bind { address: "a free port".to_owned(), source })
}

fn ended<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "it returned".to_owned())
}

fn part_ended(ended: Option<Result<(&'static str, String), tokio::task::JoinError>>) -> ExecutorError {
    match ended {
        Some(Ok((part, detail))) => ExecutorError::Ended { part, detail },
        Some(Err(error)) => {
            ExecutorError::Ended { part: "a part of the executor", detail: error.to_string() }
        }
        None => ExecutorError::Ended { part: "the executor", detail: "it has no parts".to_owned() },
    }
}
