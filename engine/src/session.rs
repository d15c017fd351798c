//! Sessions as all engines use them: forced settings, our planner, bounded memory, our stores.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use backsight_asof::AsofPlanner;
use backsight_retrieval::{StagingLog, WriteContext};
use backsight_storage::Stores;
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use url::Url;

use ballista_core::extension::SessionConfigExt;

use crate::classified_store::ClassifiedStore;
use crate::codecs::physical_codec;
use crate::options::EngineOptions;

/// Consumers named when memory runs out.
const CONSUMERS_SHOWN: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(2);

/// The settings that must hold whatever else is asked for.
///
/// Scans are cut by us, in whole row groups, and must stay so: row ids count on it. An exchange never keeps an
/// order that a stage boundary would lose.
pub(crate) fn force_settings(config: SessionConfig, partitions: usize) -> SessionConfig {
    let mut config = config
        .with_target_partitions(partitions)
        .with_round_robin_repartition(false)
        .with_repartition_file_scans(false)
        .with_prefer_existing_sort(false)
        .with_collect_statistics(false);
    let options = config.options_mut();
    options.execution.enable_file_stream_work_stealing = false;
    options.execution.parquet.pushdown_filters = false;
    config
}

/// Messages carry whole plans; the default of 16 MiB is too small for wide ones.
pub const MESSAGE_BYTES_MAX: usize = 128 << 20;
/// How often and how long apart an executor tries to fetch a shuffle file: a lost executor is found by that.
const FETCH_ATTEMPTS_MAX: usize = 3;
const FETCH_PAUSE_MS: usize = 500;

/// The settings of every Ballista session, whatever a client asks for; see [`force_settings`].
///
/// Adaptive planning gives wrong rows in 55.0.
pub fn force_ballista(config: SessionConfig, partitions: usize) -> SessionConfig {
    force_settings(config, partitions)
        .with_ballista_adaptive_query_planner(false)
        .with_ballista_grpc_client_max_message_size(MESSAGE_BYTES_MAX)
        .with_ballista_physical_extension_codec(physical_codec())
}

/// A new Ballista session's configuration.
pub fn ballista_config(partitions: usize) -> SessionConfig {
    let config = SessionConfig::new_with_ballista()
        .set_usize("ballista.client.io_retries_times", FETCH_ATTEMPTS_MAX)
        .set_usize("ballista.client.io_retry_wait_time_ms", FETCH_PAUSE_MS);
    force_ballista(config, partitions)
}

/// What a task writes parts with: a log of its own, counters that nobody reads.
pub fn write_context(stores: &Stores) -> WriteContext {
    WriteContext { stores: stores.clone(), log: StagingLog::default(), progress: Arc::default() }
}

/// A session of a scheduler over its configuration and runtime.
pub fn session_state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    state(config, runtime)
}

/// The runtime of a service: memory, spill folder and stores, shared by all its sessions.
///
/// # Errors
/// A spill folder that cannot be used.
pub fn cluster_runtime(stores: &Stores, options: &EngineOptions) -> Result<Arc<RuntimeEnv>> {
    runtime(stores, options)
}

/// A runtime with bounded memory and spilling, that reaches objects through `stores`.
pub(crate) fn runtime(stores: &Stores, options: &EngineOptions) -> Result<Arc<RuntimeEnv>> {
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(options.memory_limit_bytes), CONSUMERS_SHOWN);
    let mode = match &options.spill_dir {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(
            DiskManagerBuilder::default()
                .with_mode(mode)
                .with_max_temp_directory_size(options.spill_limit_bytes),
        )
        .with_object_store_registry(Arc::new(StoreRegistry { stores: stores.clone() }))
        .build()?;
    Ok(Arc::new(runtime))
}

/// A session over a configuration and a runtime, with the planner of the point-in-time join.
pub(crate) fn state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_query_planner(Arc::new(Planner))
        .build()
}

#[derive(Debug)]
struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(AsofPlanner)])
            .create_physical_plan(plan, session)
            .await
    }
}

/// Finds stores by the names that locations give them; nothing can be registered from outside.
struct StoreRegistry {
    stores: Stores,
}

impl fmt::Debug for StoreRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreRegistry")
    }
}

impl ObjectStoreRegistry for StoreRegistry {
    fn register_store(&self, _: &Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let store = self
            .stores
            .open_url(url)
            .map_err(|error| DataFusionError::External(Box::new(Arc::new(error))))?;
        Ok(Arc::new(ClassifiedStore::new(store, url.clone())))
    }
}
