//! What of the query engine's scheduler is open to the network: what executors call. Plans come from inside only.

use std::pin::Pin;
use std::time::Instant;

use backsight_retrieval::WireFailure;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::protobuf::{
    CancelJobParams, CancelJobResult, CleanJobDataParams, CleanJobDataResult, CreateUpdateSessionParams,
    CreateUpdateSessionResult, ExecuteQueryParams, ExecuteQueryResult, ExecutorStoppedParams,
    ExecutorStoppedResult, GetJobMetricsParams, GetJobMetricsResult, GetJobStatusParams, GetJobStatusResult,
    HeartBeatParams, HeartBeatResult, PollWorkParams, PollWorkResult, RegisterExecutorParams,
    RegisterExecutorResult, RemoveSessionParams, RemoveSessionResult, TaskStatus, UpdateTaskStatusParams,
    UpdateTaskStatusResult, task_status,
};
use futures::Stream;
use tonic::{Request, Response, Status};

use super::host::Server;
use super::query_jobs::QueryJobs;

/// The executors' side of the query engine.
pub(crate) struct Gateway {
    pub(crate) server: Server,
    pub(crate) jobs: QueryJobs,
}

/// Whether a task failed because its executor has no room.
fn is_of_full_disk(word: &TaskStatus) -> bool {
    let Some(task_status::Status::Failed(failed)) = &word.status else { return false };
    WireFailure::find(&failed.error).is_some_and(|failure| failure.is_local)
}

fn closed<T>() -> Result<Response<T>, Status> {
    Err(Status::permission_denied(
        "a backsight scheduler takes requests, not plans: submit retrievals through its control plane",
    ))
}

#[tonic::async_trait]
impl SchedulerGrpc for Gateway {
    type ExecuteQueryPushStream = Pin<Box<dyn Stream<Item = Result<GetJobStatusResult, Status>> + Send>>;

    async fn poll_work(
        &self,
        mut request: Request<PollWorkParams>,
    ) -> Result<Response<PollWorkResult>, Status> {
        let executor = request.get_ref().metadata.as_ref().map(|metadata| metadata.id.clone());
        if let Some(executor) = &executor {
            for word in &request.get_ref().task_status {
                if is_of_full_disk(word) {
                    tracing::warn!(executor, job = word.job_id, "the disk of an executor is full");
                    self.jobs.disk_was_full(executor, Instant::now());
                }
            }
        }
        if executor.as_ref().is_some_and(|executor| self.jobs.is_passed_over(executor, Instant::now())) {
            // It reports, but gets nothing more.
            request.get_mut().num_free_vcores = 0;
        }
        let answer = self.server.poll_work(request).await?;
        if let Some(executor) = executor {
            let tasks = &answer.get_ref().tasks;
            self.jobs.handed(&executor, tasks.iter().map(|task| task.job_id.as_str()));
        }
        Ok(answer)
    }

    async fn register_executor(
        &self,
        request: Request<RegisterExecutorParams>,
    ) -> Result<Response<RegisterExecutorResult>, Status> {
        self.server.register_executor(request).await
    }

    async fn heart_beat_from_executor(
        &self,
        request: Request<HeartBeatParams>,
    ) -> Result<Response<HeartBeatResult>, Status> {
        self.server.heart_beat_from_executor(request).await
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusParams>,
    ) -> Result<Response<UpdateTaskStatusResult>, Status> {
        SchedulerGrpc::update_task_status(&self.server, request).await
    }

    async fn executor_stopped(
        &self,
        request: Request<ExecutorStoppedParams>,
    ) -> Result<Response<ExecutorStoppedResult>, Status> {
        let executor = request.get_ref().executor_id.clone();
        let answer = self.server.executor_stopped(request).await;
        self.jobs.stopped(&executor);
        answer
    }

    async fn create_update_session(
        &self,
        _: Request<CreateUpdateSessionParams>,
    ) -> Result<Response<CreateUpdateSessionResult>, Status> {
        closed()
    }

    async fn remove_session(
        &self,
        _: Request<RemoveSessionParams>,
    ) -> Result<Response<RemoveSessionResult>, Status> {
        closed()
    }

    async fn execute_query_push(
        &self,
        _: Request<ExecuteQueryParams>,
    ) -> Result<Response<Self::ExecuteQueryPushStream>, Status> {
        closed()
    }

    async fn execute_query(
        &self,
        _: Request<ExecuteQueryParams>,
    ) -> Result<Response<ExecuteQueryResult>, Status> {
        closed()
    }

    async fn get_job_status(
        &self,
        _: Request<GetJobStatusParams>,
    ) -> Result<Response<GetJobStatusResult>, Status> {
        closed()
    }

    async fn get_job_metrics(
        &self,
        _: Request<GetJobMetricsParams>,
    ) -> Result<Response<GetJobMetricsResult>, Status> {
        closed()
    }

    async fn cancel_job(&self, _: Request<CancelJobParams>) -> Result<Response<CancelJobResult>, Status> {
        closed()
    }

    async fn clean_job_data(
        &self,
        _: Request<CleanJobDataParams>,
    ) -> Result<Response<CleanJobDataResult>, Status> {
        closed()
    }
}
