//! Runs the tasks of an executor: gates in their streams, plan-wide part numbers, failures that say what they are.
//!
//! The query engine repeats a task only when the lowest error of the chain is of input and output. So a failure that
//! may pass is handed on as one, and every failure carries itself as text (`WireFailure`): that is all that the
//! scheduler gets to see. A shuffle file that cannot be fetched is not left to the query engine, whose second try can
//! double rows: it fails the job at once as lost, and the shard is done again.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use arrow::error::ArrowError;
use async_trait::async_trait;
use backsight_retrieval::{PartWriteExec, Progress, RetrievalError, StagingLog, WireFailure, WriteContext};
use backsight_storage::Stores;
use ballista_core::JobId;
use ballista_core::error::BallistaError;
use ballista_core::serde::protobuf::ShuffleWritePartition;
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use datafusion::prelude::SessionConfig;

use crate::gate::{Ended, Gate, RunningJobs};
use crate::guard::{GuardExec, closed_error};

/// Creates guarded tasks.
pub struct StageEngine {
    inner: DefaultExecutionEngine,
    jobs: RunningJobs,
    stores: Stores,
}

impl fmt::Debug for StageEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageEngine").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

impl StageEngine {
    /// An engine whose tasks are counted and stopped through `jobs`.
    pub fn new(jobs: RunningJobs, stores: Stores) -> Self {
        Self { inner: DefaultExecutionEngine::new(), jobs, stores }
    }
}

impl ExecutionEngine for StageEngine {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let job = job_id.to_string();
        let write = config.get_extension::<WriteContext>();
        let (log, progress) = match &write {
            Some(write) => (write.log.clone(), Arc::clone(&write.progress)),
            None => Default::default(),
        };
        let gate = self.jobs.begin(&job, stage_id, Arc::clone(&progress));
        let made = guarded(plan, &gate, &global_output_partition_ids).and_then(|plan| {
            progress.follow(Arc::clone(&plan));
            self.inner.create_query_stage_exec(
                job_id,
                stage_id,
                task_id,
                global_output_partition_ids,
                plan,
                work_dir,
                config,
            )
        });
        let inner = match made {
            Ok(inner) => inner,
            Err(error) => {
                self.jobs.end(&job, Ended { stage: stage_id, progress, staged: None });
                return Err(travelling(&error));
            }
        };
        let place = Place { job, stage: stage_id, task: task_id };
        let task =
            Task { inner, gate, log, progress, place, jobs: self.jobs.clone(), stores: self.stores.clone() };
        Ok(Arc::new(task))
    }
}

/// Gates above the leaves and below the part writer, which gets the plan-wide numbers of its partitions.
fn guarded(
    plan: Arc<dyn ExecutionPlan>,
    gate: &Gate,
    partitions: &[usize],
) -> Result<Arc<dyn ExecutionPlan>> {
    let guard = |input: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
        Arc::new(GuardExec::new(Arc::clone(input), gate.clone()))
    };
    let guarded = plan.transform_up(|node| {
        if let Some(writer) = node.downcast_ref::<PartWriteExec>() {
            let input = writer.children().first().map(|input| guard(input));
            let numbered: Arc<dyn ExecutionPlan> = Arc::new(writer.with_partitions(partitions.to_vec()));
            let children = input.into_iter().collect();
            return Ok(Transformed::yes(numbered.replace_children(children, recompute())?));
        }
        Ok(if node.children().is_empty() { Transformed::yes(guard(&node)) } else { Transformed::no(node) })
    })?;
    Ok(guarded.data)
}

fn recompute() -> ReplaceChildrenOptions {
    ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute)
}

#[derive(Debug, Clone)]
struct Place {
    job: String,
    stage: usize,
    task: usize,
}

/// One task: some partitions of one stage.
struct Task {
    inner: Arc<dyn QueryStageExecutor>,
    gate: Gate,
    log: StagingLog,
    progress: Arc<Progress>,
    place: Place,
    jobs: RunningJobs,
    stores: Stores,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("place", &self.place).finish_non_exhaustive()
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

/// Counts a task as ended however it ends, a panic or an abort included.
struct Ending<'a> {
    task: &'a Task,
    is_well: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let task = self.task;
        let staged = self.is_well.then(|| task.log.clone());
        let ended = Ended { stage: task.place.stage, progress: Arc::clone(&task.progress), staged };
        task.jobs.end(&task.place.job, ended);
    }
}

#[async_trait]
impl QueryStageExecutor for Task {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        let mut ending = Ending { task: self, is_well: false };
        let mut gate = self.gate.clone();
        let result = tokio::select! {
            biased;
            closed = gate.wait_closed() => Err(closed_error(closed).into()),
            written = self.inner.execute_query_stage(task_id, context) => written,
        };
        match result {
            Ok(written) => {
                ending.is_well = true;
                Ok(written)
            }
            Err(error) => {
                // Nobody will hear of these parts.
                if let Err(left) = self.log.discard(&self.stores).await {
                    tracing::warn!(job = %self.place.job, error = %left, "parts of a failed task could not be removed");
                }
                let error = travelling(&error);
                let failure = WireFailure::find(&error.to_string()).map(|failure| failure.message);
                tracing::info!(
                    query_job = %self.place.job, stage = self.place.stage, task = self.place.task,
                    error = failure.unwrap_or_default(), "task failed"
                );
                Err(error)
            }
        }
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.inner.collect_plan_metrics()
    }
}

/// The error as it can cross: with the failure as text, as one of input and output when the task may be repeated.
fn travelling(error: &DataFusionError) -> DataFusionError {
    let failure = failure(error);
    let is_of_storage = matches!(failure, RetrievalError::Storage(_) | RetrievalError::Remote(_));
    let text = WireFailure::from(&failure).to_marker();
    if is_of_storage && failure.is_retryable() {
        DataFusionError::IoError(std::io::Error::other(text))
    } else {
        DataFusionError::Execution(text)
    }
}

/// The failure behind what the query engine wraps around an error on its way through shuffle writers.
fn failure(error: &DataFusionError) -> RetrievalError {
    match error {
        DataFusionError::Context(_, inner) => failure(inner),
        DataFusionError::Shared(inner) => failure(inner),
        DataFusionError::External(inner) => {
            if let Some(ballista) = inner.downcast_ref::<BallistaError>() {
                failure_of_ballista(ballista)
            } else if let Some(inner) = inner.downcast_ref::<DataFusionError>() {
                failure(inner)
            } else {
                RetrievalError::of_engine(error)
            }
        }
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(cause) => match cause.downcast_ref::<DataFusionError>() {
                Some(inner) => failure(inner),
                None => match cause.downcast_ref::<BallistaError>() {
                    Some(ballista) => failure_of_ballista(ballista),
                    None => RetrievalError::of_engine(error),
                },
            },
            _ => RetrievalError::of_engine(error),
        },
        _ => RetrievalError::of_engine(error),
    }
}

fn is_full(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn failure_of_ballista(error: &BallistaError) -> RetrievalError {
    match error {
        BallistaError::DataFusionError(inner) => failure(inner),
        BallistaError::ArrowError(inner) => match inner.as_ref() {
            ArrowError::IoError(_, cause) if is_full(cause) => {
                RetrievalError::Disk { detail: cause.to_string() }
            }
            ArrowError::ExternalError(cause) => match cause.downcast_ref::<DataFusionError>() {
                Some(inner) => failure(inner),
                None => RetrievalError::Data { message: cause.to_string() },
            },
            other => RetrievalError::Data { message: other.to_string() },
        },
        BallistaError::IoError(cause) if is_full(cause) => RetrievalError::Disk { detail: cause.to_string() },
        BallistaError::FetchFailed(..)
        | BallistaError::GrpcConnectionError(_)
        | BallistaError::GrpcActionError(_)
        | BallistaError::GrpcError(_) => {
            RetrievalError::Lost { message: format!("a shuffle file could not be fetched: {error}") }
        }
        other => match WireFailure::find(&other.to_string()) {
            Some(failure) => RetrievalError::Remote(Box::new(failure)),
            None => RetrievalError::Data { message: other.to_string() },
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use backsight_storage::{Location, StorageError};

    use super::*;

    #[test]
    fn a_lost_shuffle_file_fails_the_job_and_says_that_it_may_be_repeated() {
        let fetch = BallistaError::FetchFailed("e-1".into(), 2, 3, "gone".into());
        let fetch = DataFusionError::External(Box::new(DataFusionError::External(Box::new(fetch))));
        let written = BallistaError::DataFusionError(Box::new(fetch));
        let error = DataFusionError::External(Box::new(written)).context("reading");
        let travelled = travelling(&error);
        assert!(matches!(travelled, DataFusionError::Execution(_)), "the query engine must not repeat it");
        let failure = WireFailure::find(&travelled.to_string()).unwrap();
        assert!(failure.is_retryable && failure.message.contains("could not be fetched"), "{failure:?}");
    }

    #[test]
    fn a_storage_fault_keeps_its_class_through_the_shuffle_writer() {
        let place = Location::parse("s3://bucket/part", Path::new("/"), None).unwrap();
        let reset = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset");
        let storage = RetrievalError::from(StorageError::classify_io(&place, &reset));
        let error =
            DataFusionError::External(Box::new(BallistaError::DataFusionError(Box::new(storage.into()))));
        let travelled = travelling(&error);
        assert!(matches!(travelled, DataFusionError::IoError(_)), "the task is repeated: {travelled}");
        assert_eq!(WireFailure::find(&travelled.to_string()).unwrap().code, "unreachable");
    }

    #[test]
    fn a_full_disk_is_a_limit() {
        let full = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space");
        let spill = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space");
        let arrow = ArrowError::IoError("no space".into(), spill);
        for error in [BallistaError::IoError(full), BallistaError::ArrowError(Box::new(arrow))] {
            let error = DataFusionError::External(Box::new(error));
            assert_eq!(WireFailure::find(&travelling(&error).to_string()).unwrap().code, "limit");
        }
        let again = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space");
        let error =
            DataFusionError::ArrowError(Box::new(ArrowError::IoError("no space".into(), again)), None);
        assert_eq!(WireFailure::find(&travelling(&error).to_string()).unwrap().code, "limit");
    }

    #[test]
    fn data_fails_for_good_with_its_code() {
        let error = DataFusionError::Execution("a value does not fit".into());
        let failure = WireFailure::find(&travelling(&error).to_string()).unwrap();
        assert_eq!((failure.code.as_str(), failure.is_retryable), ("data", false));
    }
}
