//! The engine of a cluster: plans here, runs the stages on executors, reads the rows that they left.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use backsight_engine::{MESSAGE_BYTES_MAX, ballista_config, session_state};
use backsight_retrieval::{FormChoice, RetrievalEngine, RetrievalError, RunContext, WireFailure};
use ballista_core::client::BallistaClient;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::{JobStatus, PartitionLocation};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use tokio::sync::{mpsc, watch};

use super::host::Host;
use super::progress::disk_work;

/// States of one query job that wait to be looked at.
const STATES_MAX: usize = 16;
/// How often and how long apart the rows of a finished job are asked for.
const FETCH_ATTEMPTS_MAX: u8 = 3;
const FETCH_PAUSE_MS: u64 = 300;
/// An executor that does not begin to answer within this is lost.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the rows of a finished query may keep silent.
const READ_SILENCE_MAX: Duration = Duration::from_secs(30);

/// Runs plans on the executors of a [`Host`].
#[derive(Clone)]
pub(crate) struct ClusterEngine {
    host: Host,
    state: SessionState,
    /// Told of the query job that a run is, so that its progress can be looked at.
    started: Option<mpsc::UnboundedSender<String>>,
    /// Query jobs that have to be stopped.
    reaper: mpsc::UnboundedSender<String>,
}

impl ClusterEngine {
    /// An engine whose plans have `partitions`. Jobs that nobody waits for go to `reaper`, see [`reap`].
    pub(crate) fn new(host: Host, partitions: usize, reaper: mpsc::UnboundedSender<String>) -> Self {
        let state = session_state(ballista_config(partitions), Arc::clone(&host.runtime));
        Self { host, state, started: None, reaper }
    }

    /// The same, telling `started` which query job each run is.
    #[must_use]
    pub(crate) fn telling(mut self, started: mpsc::UnboundedSender<String>) -> Self {
        self.started = Some(started);
        self
    }
}

/// Cancels the query jobs that it is sent, for ever.
pub(crate) async fn reap(host: Host, mut given_up: mpsc::UnboundedReceiver<String>) {
    while let Some(job) = given_up.recv().await {
        if let Err(error) = host.server.cancel_job(job.clone().into()).await {
            tracing::warn!(query_job = job, %error, "a query job could not be cancelled");
        }
    }
}

/// Gives a query job up when nobody waits for it any more, whatever the reason.
struct Waiting {
    job: String,
    host: Host,
    reaper: mpsc::UnboundedSender<String>,
    is_read: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_read {
            self.host.jobs.read(&self.job);
            return;
        }
        self.host.jobs.give_up(&self.job);
        // Without a reaper the process ends, and the job with it.
        let _ = self.reaper.send(self.job.clone());
    }
}

#[async_trait]
impl RetrievalEngine for ClusterEngine {
    fn name(&self) -> &'static str {
        "ballista"
    }

    fn form(&self) -> FormChoice {
        // Each executor has a memory limit of its own, which nobody tells.
        FormChoice::ByCost { tasks: self.state.config().target_partitions(), memory_bytes: None }
    }

    async fn plan(&self, logical: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, RetrievalError> {
        self.state.create_physical_plan(logical).await.map_err(RetrievalError::from_engine)
    }

    async fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        run: &RunContext,
    ) -> Result<SendableRecordBatchStream, RetrievalError> {
        let schema = plan.schema();
        let (subscriber, mut states) = mpsc::channel::<JobStatus>(STATES_MAX);
        // A session of its own: nothing of it stays behind.
        let session = Arc::new(SessionContext::new_with_state(self.state.clone()));
        let submitted = self.host.server.submit_physical_plan("retrieval", session, plan, Some(subscriber));
        let job = submitted.await.map_err(|e| lost(format!("the query could not be submitted: {e}")))?;
        let job = job.to_string();
        let waiting = Waiting {
            job: job.clone(),
            host: self.host.clone(),
            reaper: self.reaper.clone(),
            is_read: false,
        };
        if let Some(started) = &self.started {
            // Nobody may look at progress any more.
            let _ = started.send(job.clone());
        }
        let loss = self.host.jobs.watch_loss(&job);
        let locations = finished(&job, &mut states, loss.clone()).await?;
        if let Some(disk) = disk_work(&self.host, &job).await {
            run.progress.add_executors(disk.spilled, disk.shuffled);
        }
        Ok(rows(schema, locations, loss, waiting))
    }
}

fn lost(message: String) -> RetrievalError {
    RetrievalError::Lost { message }
}

/// Waits for the end of a query job.
async fn finished(
    job: &str,
    states: &mut mpsc::Receiver<JobStatus>,
    loss: Option<watch::Receiver<Option<String>>>,
) -> Result<Vec<PartitionLocation>, RetrievalError> {
    loop {
        let state = tokio::select! {
            biased;
            executor = lost_executor(loss.clone()) => {
                return Err(lost(format!("executor `{executor}` was lost while it may have worked on this")));
            }
            state = states.recv() => state,
        };
        let Some(state) = state else {
            return Err(lost(format!("nothing more was heard of query job `{job}`")));
        };
        match state.status {
            Some(Status::Successful(successful)) => return Ok(successful.partition_location),
            Some(Status::Failed(failed)) => return Err(failure(&failed.error)),
            Some(Status::Queued(_) | Status::Running(_)) | None => {}
        }
    }
}

/// Completes when an executor is lost; never when nobody tells.
async fn lost_executor(loss: Option<watch::Receiver<Option<String>>>) -> String {
    let Some(mut loss) = loss else { return std::future::pending().await };
    loop {
        if let Some(executor) = loss.borrow_and_update().clone() {
            return executor;
        }
        if loss.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What a task's failure was, as the executor put it; what it did not put is a loss: it is done again, a few times.
fn failure(text: &str) -> RetrievalError {
    match WireFailure::find(text) {
        Some(failure) => RetrievalError::Remote(Box::new(failure)),
        None => lost(format!("the query engine gave up: {}", text.lines().next().unwrap_or_default())),
    }
}

/// Reads the rows of all partitions, one after the other.
fn rows(
    schema: SchemaRef,
    locations: Vec<PartitionLocation>,
    loss: Option<watch::Receiver<Option<String>>>,
    waiting: Waiting,
) -> SendableRecordBatchStream {
    let mut left = locations;
    left.reverse();
    let state = (left, None::<SendableRecordBatchStream>, Some(waiting), loss);
    let stream = futures::stream::try_unfold(state, |(mut left, mut open, mut waiting, loss)| async move {
        loop {
            if let Some(stream) = &mut open {
                let next = tokio::select! {
                    biased;
                    executor = lost_executor(loss.clone()) => {
                        let message = format!("executor `{executor}` was lost while its rows were read");
                        return Err(lost(message).into());
                    }
                    () = tokio::time::sleep(READ_SILENCE_MAX) => {
                        return Err(lost("the rows of a finished query did not come".to_owned()).into());
                    }
                    next = stream.next() => next,
                };
                match next {
                    Some(Ok(batch)) => return Ok(Some((batch, (left, open, waiting, loss)))),
                    Some(Err(error)) => return Err(lost(format!("rows could not be read: {error}")).into()),
                    None => {}
                }
            }
            let Some(location) = left.pop() else {
                if let Some(mut waiting) = waiting.take() {
                    waiting.is_read = true;
                }
                return Ok(None);
            };
            open = Some(open_partition(location).await?);
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

async fn open_partition(location: PartitionLocation) -> Result<SendableRecordBatchStream, RetrievalError> {
    let layout = location.layout();
    let (Some(executor), Some(partition)) = (location.executor_meta, location.partition_id) else {
        return Err(RetrievalError::Bug {
            message: "a finished query does not say where its rows are".into(),
        });
    };
    let port = u16::try_from(executor.port).unwrap_or_default();
    let opened = async {
        let mut client = BallistaClient::try_new(
            &executor.host,
            port,
            MESSAGE_BYTES_MAX,
            false,
            None,
            FETCH_ATTEMPTS_MAX,
            FETCH_PAUSE_MS,
            0,
            0,
        )
        .await?;
        client.fetch_partition(&executor.id, &partition.into(), location.file_id, layout, false).await
    };
    let from = format!("executor `{}` at {}:{port}", executor.id, executor.host);
    match tokio::time::timeout(FETCH_TIMEOUT, opened).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(lost(format!("rows could not be read from {from}: {error}"))),
        Err(_) => Err(lost(format!("rows could not be read from {from}: no answer in time"))),
    }
}

#[cfg(test)]
mod tests {
    use backsight_proto::ErrorCode;

    use super::*;

    #[test]
    fn a_failure_of_a_task_keeps_what_it_was() {
        let wire = WireFailure::new(ErrorCode::Limit, "no room", None);
        let error = failure(&format!("Job failed due to stage 2 failed: {:?}", wire.to_marker()));
        assert_eq!((error.code(), error.is_retryable()), (ErrorCode::Limit, false));
        let unknown = failure("Task failed\nwith a backtrace");
        assert!(unknown.is_retryable() && !unknown.to_string().contains("backtrace"));
    }
}
