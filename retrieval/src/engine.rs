//! What a retrieval needs of an engine: a physical plan of its logical one, and its rows.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use crate::choose::FormChoice;
use crate::error::RetrievalError;
use crate::progress::Progress;
use crate::staging::StagingLog;

/// An engine that runs retrieval plans.
#[async_trait]
pub trait RetrievalEngine: Send + Sync {
    /// The name in manifests: `embedded`, `ballista`, …
    fn name(&self) -> &'static str;

    /// How the form of join is found.
    fn form(&self) -> FormChoice;

    /// Plans with this engine's planner, settings and number of partitions.
    ///
    /// # Errors
    /// Plans that the engine cannot run.
    async fn plan(&self, logical: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, RetrievalError>;

    /// Runs a plan and returns the rows of all its partitions, in any order.
    ///
    /// # Errors
    /// What happens while starting; the stream carries the rest.
    async fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        run: &RunContext,
    ) -> Result<SendableRecordBatchStream, RetrievalError>;
}

/// What belongs to one run: where it logs its staged parts and counts its progress.
#[derive(Debug, Clone, Default)]
pub struct RunContext {
    /// Staged parts.
    pub log: StagingLog,
    /// Counters.
    pub progress: Arc<Progress>,
}
