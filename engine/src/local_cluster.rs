//! Ballista inside this process: a scheduler and executors over real gRPC, files and codecs.
//!
//! The static planner runs every plan: it is submitted as a physical plan, which adaptive planning never sees.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use backsight_retrieval::{FormChoice, RetrievalEngine, RetrievalError, RunContext, WriteContext};
use backsight_storage::Stores;
use ballista_core::ConfigProducer;
use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::PhysicalPlanNode;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::codecs::physical_codec;
use crate::gate::RunningJobs;
use crate::options::EngineOptions;
use crate::session::{MESSAGE_BYTES_MAX, ballista_config, force_ballista, runtime, state};
use crate::stage_engine::StageEngine;
use crate::task_executor::{TaskExecutor, codec, shuffle_files};

/// How often and how long apart the scheduler's port is tried.
const CONNECT_ATTEMPTS_MAX: u32 = 50;
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A scheduler and executors in this process. It runs one retrieval at a time.
#[derive(Debug)]
pub struct LocalCluster {
    url: String,
    form: FormChoice,
    state: SessionState,
    /// What the executors' sessions write with: the run of the moment.
    run: Arc<Mutex<RunContext>>,
    /// Owns every task of scheduler and executors.
    tokio: Option<tokio::runtime::Runtime>,
    /// Shuffle files, removed with the cluster.
    _work_dirs: Vec<TempDir>,
}

impl LocalCluster {
    /// Starts a scheduler and `executors`, joining by `form`, each with `vcores` task slots; plans get `options.partitions`.
    ///
    /// # Errors
    /// Ports or folders that cannot be had.
    pub async fn start(
        stores: Stores,
        options: EngineOptions,
        form: FormChoice,
        executors: usize,
        vcores: usize,
    ) -> Result<Self, RetrievalError> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("backsight-cluster")
            .build()
            .map_err(|e| bug(&e))?;
        let runtime = runtime(&stores, &options).map_err(RetrievalError::from_engine)?;
        let config = ballista_config(options.partitions.get());
        let run = Arc::new(Mutex::new(RunContext::default()));
        let work_dirs = (0..executors).map(|_| tempfile::tempdir()).collect::<Result<Vec<_>, _>>();
        let work_dirs = work_dirs.map_err(|e| bug(&e))?;
        let started = tokio.spawn(start_services(
            config.clone(),
            Arc::clone(&runtime),
            stores,
            Arc::clone(&run),
            work_dirs.iter().map(|folder| folder.path().to_owned()).collect(),
            vcores,
        ));
        let url = started.await.map_err(|e| bug(&e))??;
        Ok(Self { url, form, state: state(config, runtime), run, tokio: Some(tokio), _work_dirs: work_dirs })
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            tokio.shutdown_background();
        }
    }
}

async fn start_services(
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
    stores: Stores,
    run: Arc<Mutex<RunContext>>,
    work_dirs: Vec<PathBuf>,
    vcores: usize,
) -> Result<String, RetrievalError> {
    let partitions = config.target_partitions();
    let write_stores = stores.clone();
    let producer: ConfigProducer = Arc::new(move || {
        let run = run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let write =
            WriteContext { stores: write_stores.clone(), log: run.log.child(), progress: run.progress };
        config.clone().with_extension(Arc::new(write))
    });
    let session_runtime = Arc::clone(&runtime);
    // Whatever a client sends, the safe settings are applied last.
    let session_builder = Arc::new(move |config: SessionConfig| {
        Ok(state(force_ballista(config, partitions), Arc::clone(&session_runtime)))
    });
    let address = ballista_scheduler::standalone::new_standalone_scheduler_with_builder(
        session_builder,
        Arc::clone(&producer),
        codec(),
    )
    .await
    .map_err(|e| bug(&e))?;
    let url = format!("http://localhost:{}", address.port());
    let mut services = JoinSet::new();
    for work_dir in work_dirs {
        let client = connect(&url).await?;
        let (config, runtime) = (Arc::clone(&producer), Arc::clone(&runtime));
        let engine = StageEngine::new(RunningJobs::default(), stores.clone());
        start_executor(client, vcores, config, runtime, engine, work_dir, &mut services).await?;
    }
    // They run until the runtime that owns them is shut down.
    services.detach_all();
    Ok(url)
}

/// One executor as the service has it.
async fn start_executor(
    client: SchedulerGrpcClient<tonic::transport::Channel>,
    vcores: usize,
    config: ConfigProducer,
    runtime: Arc<RuntimeEnv>,
    engine: StageEngine,
    work_dir: PathBuf,
    services: &mut JoinSet<()>,
) -> Result<(), RetrievalError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|e| bug(&e))?;
    let files = shuffle_files(&work_dir);
    let executor = TaskExecutor {
        id: uuid::Uuid::new_v4().to_string(),
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().map_err(|e| bug(&e))?.port(),
        vcores,
        work_dir,
        config,
        runtime,
        engine,
    };
    services.spawn(async move {
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(files);
        if let Err(error) = server.serve_with_incoming(incoming).await {
            tracing::warn!(%error, "shuffle files are not served any more");
        }
    });
    services.spawn(async move {
        if let Err(error) = executor.run(client, Arc::new(Semaphore::new(vcores))).await {
            tracing::warn!(%error, "an executor in this process has ended");
        }
    });
    Ok(())
}

async fn connect(url: &str) -> Result<SchedulerGrpcClient<tonic::transport::Channel>, RetrievalError> {
    let mut last = String::new();
    for _ in 0..CONNECT_ATTEMPTS_MAX {
        match SchedulerGrpcClient::connect(url.to_owned()).await {
            Ok(client) => {
                return Ok(client
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX));
            }
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
    Err(RetrievalError::Bug { message: format!("the scheduler in this process does not answer: {last}") })
}

#[async_trait]
impl RetrievalEngine for LocalCluster {
    fn name(&self) -> &'static str {
        "ballista"
    }

    fn form(&self) -> FormChoice {
        self.form
    }

    async fn plan(&self, logical: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, RetrievalError> {
        self.state.create_physical_plan(logical).await.map_err(RetrievalError::from_engine)
    }

    async fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        run: &RunContext,
    ) -> Result<SendableRecordBatchStream, RetrievalError> {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = run.clone();
        let config = self.state.config().clone();
        execute_physical_plan::<PhysicalPlanNode>(
            self.url.clone(),
            &config.ballista_config(),
            plan,
            physical_codec().as_ref(),
            uuid::Uuid::new_v4().to_string(),
            config,
        )
        .await
        .map_err(RetrievalError::from_engine)
    }
}

fn bug(error: &dyn std::fmt::Display) -> RetrievalError {
    RetrievalError::Bug { message: format!("a cluster in this process cannot start: {error}") }
}
