//! Sessions as all engines use them: forced settings, our planner, bounded memory, our stores.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use backsight_asof::AsofPlanner;
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

use crate::classified_store::ClassifiedStore;
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

/// A runtime with bounded memory and spilling, that reaches objects through `stores`.
pub(crate) fn runtime(stores: &Stores, options: &EngineOptions) -> Result<Arc<RuntimeEnv>> {
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(options.memory_limit_bytes), CONSUMERS_SHOWN);
    let mode = match &options.spill_dir {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
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
