//! The embedded engine: plans and runs in this process, on all cores.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use backsight_retrieval::{FormChoice, RetrievalEngine, RetrievalError, RunContext, WriteContext};
use backsight_storage::Stores;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;

use crate::options::EngineOptions;
use crate::session::{force_settings, runtime, state};

/// Plans and runs retrievals in this process.
#[derive(Debug)]
pub struct EmbeddedEngine {
    stores: Stores,
    form: FormChoice,
    state: SessionState,
}

impl EmbeddedEngine {
    /// An engine that finds its form by `form`, within `options`.
    ///
    /// # Errors
    /// A spill folder that cannot be used.
    pub fn new(
        stores: Stores,
        options: EngineOptions,
        form: impl Into<FormChoice>,
    ) -> Result<Self, RetrievalError> {
        let config = force_settings(SessionConfig::new(), options.partitions.get());
        let runtime = runtime(&stores, &options).map_err(RetrievalError::from_engine)?;
        Ok(Self { stores, form: form.into(), state: state(config, runtime) })
    }
}

#[async_trait]
impl RetrievalEngine for EmbeddedEngine {
    fn name(&self) -> &'static str {
        "embedded"
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
        let write = WriteContext {
            stores: self.stores.clone(),
            log: run.log.clone(),
            progress: Arc::clone(&run.progress),
        };
        let config = self.state.config().clone().with_extension(Arc::new(write));
        let state = SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
        run.progress.follow(Arc::clone(&plan));
        let rows = execute_stream(plan, state.task_ctx()).map_err(RetrievalError::from_engine)?;
        Ok(guarded(rows))
    }
}

/// The rows; a decoder that gives up on what a damaged file says ends them with an error, not the process with a panic.
/// Whether a file is to blame is found out where failures are explained.
fn guarded(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let rows = AssertUnwindSafe(rows).catch_unwind().map(|next| {
        next.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(DataFusionError::Internal(format!("a task gave up: {text}")))
        })
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
