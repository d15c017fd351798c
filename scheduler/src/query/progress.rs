//! How far a query job is, by its stages: partitions done, and what the finished tasks measured.

use backsight_proto::control::Stage;
use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status::Status;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::physical_plan::metrics::MetricsSet;

use super::host::Host;

/// The stages of a query job, the first to run first; none when it is not known (any more).
pub(crate) async fn stages(host: &Host, job: &str) -> Vec<Stage> {
    let running = host.server.state.task_manager.get_running_job_cache();
    let Some(job) = running.get(&JobId::from(job.to_owned())) else { return Vec::new() };
    let graph = job.execution_graph.read().await;
    let mut stages: Vec<Stage> = graph.stages().iter().map(|(number, stage)| shown(*number, stage)).collect();
    stages.sort_by_key(|stage| stage.number);
    stages
}

fn shown(number: usize, stage: &ExecutionStage) -> Stage {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let of = |partitions: usize, done: usize, metrics: &[MetricsSet]| {
        let (rows, bytes) = read(metrics);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Stage { number, partitions_done: count(done), partitions: count(partitions), rows, bytes }
    };
    match stage {
        ExecutionStage::Running(stage) => {
            let metrics = stage.stage_metrics.as_deref().unwrap_or_default();
            of(stage.partitions, done(&stage.task_infos), metrics)
        }
        ExecutionStage::Successful(stage) => of(stage.partitions, stage.partitions, &stage.stage_metrics),
        ExecutionStage::Failed(stage) => of(stage.partitions, done(&stage.task_infos), &[]),
        ExecutionStage::Resolved(stage) => of(stage.partitions, 0, &[]),
        // How many partitions it has is not settled.
        ExecutionStage::UnResolved(_) => of(0, 0, &[]),
    }
}

fn done(tasks: &[TaskInfo]) -> usize {
    let is_done = |task: &&TaskInfo| matches!(task.task_status, Status::Successful(_));
    tasks.iter().filter(is_done).map(|task| task.global_input_partition_ids.len()).sum()
}

/// Rows and bytes that scans produced: the operators that count the bytes they scan.
fn read(metrics: &[MetricsSet]) -> (u64, u64) {
    let scans = metrics.iter().filter_map(|set| Some((set, set.sum_by_name("bytes_scanned")?)));
    scans.fold((0, 0), |(rows, bytes), (set, scanned)| {
        (rows + set.output_rows().unwrap_or(0) as u64, bytes + scanned.as_usize() as u64)
    })
}
