//! Hosts the query engine's scheduler inside this process: executors fetch their tasks, plans are static.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backsight_engine::{
    EngineOptions, MESSAGE_BYTES_MAX, SPILL_BYTES_MAX, ballista_config, cluster_runtime, force_ballista,
    physical_codec, session_state,
};
use backsight_storage::Stores;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_scheduler::cluster::{BallistaCluster, JobState};
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::create_scheduler;
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};

use super::query_jobs::QueryJobs;
use crate::error::SchedulerError;

/// The query engine's scheduler.
pub(crate) type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// How long a query job's shuffle files and records stay after it has ended: its rows are read at once.
const DATA_KEPT_SECONDS: u64 = 5;
const RECORDS_KEPT_SECONDS: u64 = 5;
/// A task that failed by input or output is repeated so often, the first time included.
const TASK_ATTEMPTS_MAX: usize = 4;
/// Executors poll at least every five seconds, so the query engine must wait longer than that; our own sync is the
/// one that notices a lost executor.
const POLL_SILENCE_SECONDS_MIN: u64 = 15;

/// The hosted query engine.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) server: Server,
    pub(crate) jobs: QueryJobs,
    pub(crate) runtime: Arc<RuntimeEnv>,
    /// Query jobs that have ended, with what their stages did.
    pub(crate) ended: Arc<dyn JobState>,
}

impl Host {
    /// Starts it; it serves nothing by itself.
    pub(crate) async fn start(
        stores: &Stores,
        memory_limit_bytes: usize,
        external_host: &str,
        port: u16,
        executor_timeout: Duration,
    ) -> Result<Self, SchedulerError> {
        let refused = |detail: String| SchedulerError::Engine { detail };
        let partitions = std::num::NonZeroUsize::MIN;
        let options = EngineOptions {
            memory_limit_bytes,
            partitions,
            spill_dir: None,
            spill_limit_bytes: SPILL_BYTES_MAX,
        };
        let runtime = cluster_runtime(stores, &options).map_err(|e| refused(e.to_string()))?;
        let jobs = QueryJobs::default();
        let session_runtime = Arc::clone(&runtime);
        let silence = executor_timeout.as_secs().saturating_mul(2).max(POLL_SILENCE_SECONDS_MIN);
        let message = u32::try_from(MESSAGE_BYTES_MAX).unwrap_or(u32::MAX);
        let config = SchedulerConfig {
            external_host: external_host.to_owned(),
            bind_port: port,
            scheduling_policy: TaskSchedulingPolicy::PullStaged,
            grpc_server_max_decoding_message_size: message,
            grpc_server_max_encoding_message_size: message,
            grpc_client_max_message_size: message,
            executor_timeout_seconds: silence,
            no_executors_grace_period_seconds: silence,
            expire_dead_executor_interval_seconds: 2,
            finished_job_data_clean_up_interval_seconds: DATA_KEPT_SECONDS,
            finished_job_state_clean_up_interval_seconds: RECORDS_KEPT_SECONDS,
            task_max_failures: TASK_ATTEMPTS_MAX,
            stage_max_failures: TASK_ATTEMPTS_MAX,
            override_config_producer: Some(Arc::new(|| ballista_config(1))),
            // Whatever a client sends, the safe settings are applied last.
            override_session_builder: Some(Arc::new(move |config| {
                let partitions = config.target_partitions();
                Ok(session_state(force_ballista(config, partitions), Arc::clone(&session_runtime)))
            })),
            override_physical_codec: Some(physical_codec()),
            job_id_generator: Some(Arc::new(jobs.clone())),
            ..SchedulerConfig::default()
        };
        let cluster = BallistaCluster::new_from_config(&config).await.map_err(|e| refused(e.to_string()))?;
        let ended = cluster.job_state();
        let server = create_scheduler(cluster, Arc::new(config)).await.map_err(|e| refused(e.to_string()))?;
        Ok(Self { server, jobs, runtime, ended })
    }

    /// Looks for executors that went silent, for ever.
    pub(crate) async fn watch_executors(jobs: QueryJobs, timeout: Duration) {
        let every = (timeout / 8).clamp(Duration::from_millis(100), Duration::from_secs(1));
        let mut before = Instant::now();
        loop {
            tokio::time::sleep(every).await;
            let now = Instant::now();
            let slept = now.saturating_duration_since(before);
            before = now;
            if slept > every * 4 {
                // This process stood still itself and could hear nobody.
                tracing::warn!(slept_ms = slept.as_millis(), "the scheduler stood still");
                jobs.forgive(slept);
            }
            for executor in jobs.expire(now, timeout) {
                tracing::warn!(executor, "an executor is lost: it was not heard of in time");
            }
        }
    }

    /// Whether an executor is there that takes tasks.
    pub(crate) async fn has_executors(&self) -> bool {
        self.known_vcores().await > 0
    }

    /// Cores of all executors that are there; at least one, so that a plan can be made.
    pub(crate) async fn vcores(&self) -> usize {
        self.known_vcores().await.max(1)
    }

    async fn known_vcores(&self) -> usize {
        let alive: Vec<String> = self
            .jobs
            .executors(Instant::now())
            .into_iter()
            .filter(|executor| !executor.is_draining)
            .map(|executor| executor.id)
            .collect();
        let known = self.server.state.executor_manager.get_executors_state().await.unwrap_or_default();
        let cores: u32 = known
            .iter()
            .filter(|(metadata, ..)| alive.contains(&metadata.id))
            .map(|(metadata, ..)| metadata.specification.vcores)
            .sum();
        usize::try_from(cores).unwrap_or(usize::MAX)
    }
}
