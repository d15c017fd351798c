//! Passes rows on while a gate is open: stands above every leaf of a task and below its part writer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backsight_retrieval::RetrievalError;
use ballista_core::execution_plans::ShuffleReaderExec;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use crate::gate::{Closed, Gate};

/// The operator.
#[derive(Debug)]
pub(crate) struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    gate: Gate,
}

impl GuardExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, gate: Gate) -> Self {
        Self { input, gate }
    }
}

/// What a task fails with when its gate is closed.
pub(crate) fn closed_error(closed: Closed) -> RetrievalError {
    match closed {
        Closed::Cancelled => RetrievalError::Cancelled,
        Closed::DiskFull(detail) => RetrievalError::Disk { detail },
    }
}

/// How long a shuffle file may keep silent. It was complete before anybody asked for it, so that long a silence is the
/// network's, and nobody else would notice it.
const FETCH_SILENCE_MAX: Duration = Duration::from_secs(30);
/// Files that a failure names.
const FILES_NAMED_MAX: usize = 8;

fn silent() -> RetrievalError {
    let seconds = FETCH_SILENCE_MAX.as_secs();
    RetrievalError::Lost { message: format!("nothing came of a shuffle file for {seconds} s") }
}

/// What a guarded stream reads.
enum Source {
    /// Shuffle files of other executors.
    Shuffle,
    /// These files of a table.
    Files(Vec<String>),
    Other,
}

impl Source {
    fn of(input: &Arc<dyn ExecutionPlan>, partition: usize) -> Self {
        if input.is::<ShuffleReaderExec>() {
            return Self::Shuffle;
        }
        let scan = input.downcast_ref::<DataSourceExec>();
        let config = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        let Some(config) = config else { return Self::Other };
        let Some(group) = config.file_groups.get(partition) else { return Self::Other };
        let store = config.object_store_url.as_str().trim_end_matches('/');
        let mut files: Vec<String> =
            group.iter().map(|file| format!("`{store}/{}`", file.object_meta.location)).collect();
        files.dedup();
        Self::Files(files)
    }

    /// Completes when nothing has come for too long.
    async fn silence(&self) {
        match self {
            Self::Shuffle => tokio::time::sleep(FETCH_SILENCE_MAX).await,
            Self::Files(_) | Self::Other => std::future::pending().await,
        }
    }

    /// A failure of the data says which files it can be of: a damage that does not show again is not found later.
    fn named(&self, error: DataFusionError) -> DataFusionError {
        let Self::Files(files) = self else { return error };
        match RetrievalError::of_engine(&error) {
            RetrievalError::Data { message } if !files.is_empty() => {
                let mut shown = files.iter().take(FILES_NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
                if files.len() > FILES_NAMED_MAX {
                    shown = format!("{shown} and {} more", files.len() - FILES_NAMED_MAX);
                }
                RetrievalError::Data { message: format!("failed to read {shown}: {message}") }.into()
            }
            _ => error,
        }
    }
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardExec")
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &'static str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    backsight_asof::operator_without_expressions!(1, |own, [input]| Ok(Self::new(input, own.gate.clone())));

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let source = Source::of(&self.input, partition);
        let state = Some((input, self.gate.clone(), source));
        let guarded = futures::stream::unfold(state, |state| async move {
            let (mut input, mut gate, source) = state?;
            let next = tokio::select! {
                biased;
                closed = gate.wait_closed() => Some(Err(closed_error(closed).into())),
                () = source.silence() => Some(Err(silent().into())),
                next = input.next() => next.map(|next| next.map_err(|error| source.named(error))),
            };
            let goes_on = matches!(next, Some(Ok(_)));
            next.map(|next| (next, goes_on.then_some((input, gate, source))))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, guarded)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_data_names_the_files_it_can_be_of_and_other_failures_stay() {
        let source = Source::Files(vec!["`s3://b/1.parquet`".into(), "`s3://b/2.parquet`".into()]);
        let damaged = source.named(DataFusionError::Execution("bad page".into()));
        let message = RetrievalError::from_engine(damaged).to_string();
        assert_eq!(message, "failed to read `s3://b/1.parquet`, `s3://b/2.parquet`: bad page");
        let memory = source.named(DataFusionError::ResourcesExhausted("too much".into()));
        assert!(matches!(RetrievalError::from_engine(memory), RetrievalError::Memory { .. }));
        let elsewhere = Source::Other.named(DataFusionError::Execution("bad page".into()));
        assert_eq!(RetrievalError::from_engine(elsewhere).to_string(), "bad page");
    }
}
