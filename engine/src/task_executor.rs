//! Puts the query engine's executor together with our execution engine: for the service, and inside this process.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::error::BallistaError;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::protobuf::ExecutorRegistration;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::scheduler::{ExecutorOperatingSystemSpecification, ExecutorSpecification};
use ballista_core::serde::{BallistaCodec, BallistaLogicalExtensionCodec};
use ballista_core::{BALLISTA_PROTOCOL_VERSION, ConfigProducer};
use ballista_executor::execution_loop::poll_loop;
use ballista_executor::executor::Executor;
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::health::ExecutorHealth;
use ballista_executor::metrics::LoggingMetricsCollector;
use datafusion::execution::runtime_env::RuntimeEnv;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as ResponseBody, Bytes, StdError};

use crate::codecs::physical_codec;
use crate::session::MESSAGE_BYTES_MAX;
use crate::stage_engine::StageEngine;

/// What an executor is made of.
pub struct TaskExecutor {
    /// Unique among all executors.
    pub id: String,
    /// Where others fetch its shuffle files.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Partitions worked on at the same time.
    pub vcores: usize,
    /// Where shuffle files are written.
    pub work_dir: PathBuf,
    /// Makes the session of each task, with what it writes parts with.
    pub config: ConfigProducer,
    /// Memory, spill folder and stores of all tasks.
    pub runtime: Arc<RuntimeEnv>,
    /// Runs the tasks.
    pub engine: StageEngine,
}

impl fmt::Debug for TaskExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskExecutor").field("id", &self.id).field("port", &self.port).finish_non_exhaustive()
    }
}

impl TaskExecutor {
    /// Fetches tasks from a scheduler and runs them, for ever; `free` holds a permit for each core that is not taken.
    ///
    /// # Errors
    /// A semaphore that was closed; failed polls are repeated.
    pub async fn run<C>(
        self,
        scheduler: SchedulerGrpcClient<C>,
        free: Arc<Semaphore>,
    ) -> Result<(), BallistaError>
    where
        C: GrpcService<Body>,
        C::Error: Into<StdError>,
        C::ResponseBody: ResponseBody<Data = Bytes> + Send + 'static,
        <C::ResponseBody as ResponseBody>::Error: Into<StdError> + Send,
    {
        let scheduler = scheduler
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let health = ExecutorHealth::new();
        poll_loop(scheduler, Arc::new(self.executor()), codec(), None, Some(free), health).await
    }

    fn executor(self) -> Executor {
        let port = u32::from(self.port);
        let cores = u32::try_from(self.vcores).unwrap_or(u32::MAX);
        let registration = ExecutorRegistration {
            id: self.id,
            host: Some(self.host),
            port,
            // Nobody calls this port where executors fetch their tasks.
            grpc_port: port,
            specification: Some(ExecutorSpecification::default().with_vcores(cores).into()),
            os_info: Some(ExecutorOperatingSystemSpecification::default().into()),
            ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
        };
        let runtime = self.runtime;
        Executor::new(
            registration,
            &self.work_dir.to_string_lossy(),
            Arc::new(move |_| Ok(Arc::clone(&runtime))),
            self.config,
            Arc::new(BallistaFunctionRegistry::default()),
            Arc::new(LoggingMetricsCollector::default()),
            self.vcores,
            Arc::new(self.engine),
        )
    }
}

/// Serves the shuffle files below a folder.
pub fn shuffle_files(work_dir: &Path) -> FlightServiceServer<BallistaFlightService> {
    FlightServiceServer::new(BallistaFlightService::new(work_dir.to_string_lossy().into_owned()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// What plans travel in. Logical plans never do.
pub(crate) fn codec() -> BallistaCodec {
    BallistaCodec::new(Arc::new(BallistaLogicalExtensionCodec::default()), physical_codec())
}
