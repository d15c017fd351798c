//! How far a query job is, by its stages: partitions done, and what executors say that they have read and written; and
//! what went through their disks, once it has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use backsight_proto::control::{Stage, StageWork};
use ballista_core::JobId;
use ballista_core::serde::protobuf::task_status::Status;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::physical_plan::metrics::MetricsSet;

use super::host::Host;

/// How often and how long apart an ended query job is looked for: its end is told a moment before it is kept.
const LOOKS_MAX: u32 = 50;
const LOOK: Duration = Duration::from_millis(10);

/// What the stages of a query job put on the executors' disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DiskWork {
    /// Bytes of rows that operators came back to.
    pub(crate) spilled: u64,
    /// Bytes of rows for the next stage, as the shuffle writers count them.
    pub(crate) shuffled: u64,
}

/// What a query job that has ended well put on disks; `None` when it is not known any more.
pub(crate) async fn disk_work(host: &Host, job: &str) -> Option<DiskWork> {
    let job = JobId::from(job.to_owned());
    for _ in 0..LOOKS_MAX {
        if let Ok(Some(graph)) = host.ended.get_execution_graph(&job).await {
            let mut work = DiskWork::default();
            for stage in graph.stages().values() {
                if let ExecutionStage::Successful(stage) = stage {
                    work.spilled +=
                        stage.stage_metrics.iter().filter_map(MetricsSet::spilled_bytes).sum::<usize>()
                            as u64;
                    // What the last stage leaves is its answer.
                    if !stage.output_links.is_empty() {
                        work.shuffled += stage.task_infos.iter().map(shuffled).sum::<u64>();
                    }
                }
            }
            return Some(work);
        }
        tokio::time::sleep(LOOK).await;
    }
    None
}

fn shuffled(task: &TaskInfo) -> u64 {
    match &task.task_status {
        Status::Successful(task) => task.partitions.iter().map(|partition| partition.num_bytes).sum(),
        _ => 0,
    }
}

/// The stages of a query job, the first to run first, with what was done of each; those that nothing is known of
/// (any more) are not there.
pub(crate) async fn stages(host: &Host, job: &str) -> (Vec<Stage>, BTreeMap<u32, StageWork>) {
    let work = host.jobs.work(job);
    let running = host.server.state.task_manager.get_running_job_cache();
    let Some(known) = running.get(&JobId::from(job.to_owned())) else { return (Vec::new(), work) };
    let graph = known.execution_graph.read().await;
    let mut stages: Vec<Stage> =
        graph.stages().iter().map(|(number, stage)| shown(*number, stage, &work)).collect();
    stages.sort_by_key(|stage| stage.number);
    (stages, work)
}

fn shown(number: usize, stage: &ExecutionStage, work: &BTreeMap<u32, StageWork>) -> Stage {
    let (partitions, done) = match stage {
        ExecutionStage::Running(stage) => (stage.partitions, done(&stage.task_infos)),
        ExecutionStage::Successful(stage) => (stage.partitions, stage.partitions),
        ExecutionStage::Failed(stage) => (stage.partitions, done(&stage.task_infos)),
        ExecutionStage::Resolved(stage) => (stage.partitions, 0),
        // How many partitions it has is not settled.
        ExecutionStage::UnResolved(_) => (0, 0),
    };
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let (rows, bytes) = work.get(&count(number)).map_or((0, 0), |work| (work.rows_read, work.bytes_read));
    Stage { number: count(number), partitions_done: count(done), partitions: count(partitions), rows, bytes }
}

fn done(tasks: &[TaskInfo]) -> usize {
    let is_done = |task: &&TaskInfo| matches!(task.task_status, Status::Successful(_));
    tasks.iter().filter(is_done).map(|task| task.global_input_partition_ids.len()).sum()
}
