//! `scheduler`: the service that owns the registry and jobs.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use backsight_registry::size::parse_size;
use backsight_retrieval::ShardLimits;
use backsight_scheduler::jobs::{AdmissionLimits, JobOptions};
use backsight_scheduler::{SchedulerError, SchedulerOptions};
use backsight_storage::Location;
use clap::Args;

use super::LogFormat;
use crate::commands::{Done, Program};
use crate::config::memory::default_limit;
use crate::config::{Workspace, parse_duration};
use crate::errors::Failure;

/// Arguments of `scheduler`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  backsight -c features scheduler
  backsight -c features scheduler --bind 0.0.0.0:50050 --state postgres://backsight@db/jobs --spool s3://bucket/spool
  backsight -c features scheduler --allow-dir /data        executors and scheduler may touch local files there

The configuration of the repo names the registry that it owns. Health, readiness and metrics are served on the same
port: /healthz, /readyz, /metrics.")]
pub(crate) struct SchedulerArgs {
    /// Listen here; port 0 takes a free one
    #[arg(
        long,
        env = "BACKSIGHT_SCHEDULER__BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:50050"
    )]
    pub(crate) bind: SocketAddr,
    /// Keep jobs here: `sqlite:///path/jobs.db` or `postgres://user@host/database` [default: `backsight.state` of the
    /// configuration, else `backsight-jobs.db` in the repo]
    #[arg(long, env = "BACKSIGHT_SCHEDULER__STATE", value_name = "URL")]
    pub(crate) state: Option<String>,
    /// Keep uploaded spines here, where executors reach them, too [default: `backsight-spool` in the repo]
    #[arg(long, env = "BACKSIGHT_SCHEDULER__SPOOL", value_name = "URI")]
    pub(crate) spool: Option<String>,
    /// Greatest spine that is uploaded
    #[arg(long, env = "BACKSIGHT_SCHEDULER__SPINE_UPLOAD_MAX", value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    pub(crate) spine_upload_max: u64,
    /// Allow local files below this folder; repeat it for more [default: none, only object stores]
    #[arg(long, env = "BACKSIGHT_SCHEDULER__ALLOW_DIR", value_name = "DIR")]
    pub(crate) allow_dir: Vec<PathBuf>,
    /// Name of this scheduler in leases; a restarted one of the same name goes on with its jobs at once [default: the
    /// host and the address]
    #[arg(long, env = "BACKSIGHT_SCHEDULER__ID", value_name = "NAME")]
    pub(crate) id: Option<String>,
    /// Jobs that run at the same time
    #[arg(long, env = "BACKSIGHT_SCHEDULER__JOBS_RUNNING_MAX", value_name = "N", default_value = "4")]
    pub(crate) jobs_running_max: NonZeroUsize,
    /// Jobs of one project that run at the same time [default: as many as run at all]
    #[arg(long, env = "BACKSIGHT_SCHEDULER__JOBS_RUNNING_PER_PROJECT_MAX", value_name = "N")]
    pub(crate) jobs_running_per_project_max: Option<NonZeroUsize>,
    /// Jobs that may wait
    #[arg(long, env = "BACKSIGHT_SCHEDULER__JOBS_QUEUED_MAX", value_name = "N", default_value = "10000")]
    pub(crate) jobs_queued_max: NonZeroUsize,
    /// Previews and explanations at the same time; more of them wait up to 30 s for a place
    #[arg(long, env = "BACKSIGHT_SCHEDULER__PREVIEWS_MAX", value_name = "N", default_value = "4")]
    pub(crate) previews_max: NonZeroUsize,
    /// Cut retrievals so that a shard reads about so much
    #[arg(long, env = "BACKSIGHT_SCHEDULER__SHARD_BYTES", value_name = "SIZE", default_value = "4GiB", value_parser = parse_size)]
    pub(crate) shard_bytes: u64,
    /// Try a shard so often
    #[arg(long, env = "BACKSIGHT_SCHEDULER__SHARD_ATTEMPTS_MAX", value_name = "N", default_value = "4")]
    pub(crate) shard_attempts_max: NonZeroU32,
    /// Shards of one job that run at the same time
    #[arg(long, env = "BACKSIGHT_SCHEDULER__SHARDS_AT_ONCE", value_name = "N", default_value = "2")]
    pub(crate) shards_at_once: NonZeroU32,
    /// Partitions of a plan [default: the cores of all executors]
    #[arg(long, env = "BACKSIGHT_SCHEDULER__PARTITIONS", value_name = "N")]
    pub(crate) partitions: Option<NonZeroUsize>,
    /// Take an executor for lost that was not heard of for so long
    #[arg(long, env = "BACKSIGHT_SCHEDULER__EXECUTOR_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) executor_timeout: Duration,
    /// Executors without which `/readyz` says no
    #[arg(long, env = "BACKSIGHT_SCHEDULER__EXECUTORS_READY_MIN", value_name = "N", default_value = "1")]
    pub(crate) executors_ready_min: usize,
    /// Finished jobs to remember
    #[arg(long, env = "BACKSIGHT_SCHEDULER__FINISHED_JOBS_KEPT", value_name = "N", default_value = "10000")]
    pub(crate) finished_jobs_kept: u64,
    /// Memory for planning [default: a tenth of what is available]
    #[arg(long, env = "BACKSIGHT_SCHEDULER__MEMORY_LIMIT", value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_limit: Option<u64>,
    /// How long a terminated scheduler finishes commits
    #[arg(long, env = "BACKSIGHT_SCHEDULER__DRAIN_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) drain_timeout: Duration,
    /// Form of the log on standard error
    #[arg(long, env = "BACKSIGHT_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// How long a job belongs to a scheduler that is not heard of, and an uploaded spine is kept.
const LEASE: Duration = Duration::from_secs(15);
const SPINE_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Runs the scheduler until it is terminated.
pub(crate) async fn run(args: SchedulerArgs, program: &Program) -> Result<Done, Failure> {
    let options = options(&args, program)?;
    let terminal = program.terminal.clone();
    let ready = move |address: SocketAddr| terminal.print(&format!("ready http://{address}\n"));
    backsight_scheduler::serve(options, program.interrupt.clone().asked(), ready).await?;
    Ok(Done::Done)
}

fn options(args: &SchedulerArgs, program: &Program) -> Result<SchedulerOptions, Failure> {
    let mut folders = allowed(&args.allow_dir, program);
    let repo = Workspace::open_own(program, None)?.repo;
    let spool = args.spool.clone().unwrap_or_else(|| repo.join("backsight-spool").display().to_string());
    let spool = Location::parse(&spool, &program.environment.working, None)?;
    // What it keeps itself it may touch.
    folders.extend(spool.local_path());
    let workspace = Workspace::open_own(program, Some(folders))?;
    let below_repo = |name: &str| workspace.repo.join(name).display().to_string();
    let state = args.state.clone().or_else(|| workspace.config.backsight.state.clone());
    let available = program.environment.available_memory();
    let memory = args.memory_limit.unwrap_or_else(|| default_limit(available.map(|bytes| bytes / 6)));
    Ok(SchedulerOptions {
        bind: args.bind,
        scheduler_id: args
            .id
            .clone()
            .unwrap_or_else(|| format!("{}:{}", program.environment.host(), args.bind)),
        state_url: state.unwrap_or_else(|| format!("sqlite://{}", below_repo("backsight-jobs.db"))),
        spool,
        spine_upload_bytes_max: args.spine_upload_max,
        spine_kept: SPINE_KEPT,
        repo: workspace.repo.clone(),
        registry: workspace.own_registry()?,
        stores: workspace.stores.clone(),
        memory_limit_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        partitions: args.partitions,
        shards: ShardLimits { bytes_target: args.shard_bytes, ..ShardLimits::default() },
        jobs: JobOptions {
            shard_attempts_max: args.shard_attempts_max.get(),
            shards_at_once: args.shards_at_once.get(),
            ..JobOptions::default()
        },
        admission: AdmissionLimits {
            jobs_running_max: args.jobs_running_max.get(),
            jobs_running_per_project_max: args.jobs_running_per_project_max.map(NonZeroUsize::get),
            jobs_queued_max: args.jobs_queued_max.get(),
        },
        previews_max: args.previews_max,
        finished_jobs_kept: args.finished_jobs_kept,
        executor_timeout: args.executor_timeout,
        lease: LEASE,
        drain_timeout: args.drain_timeout,
        executors_ready_min: args.executors_ready_min,
    })
}

/// The folders as absolute paths.
pub(super) fn allowed(folders: &[PathBuf], program: &Program) -> Vec<PathBuf> {
    folders.iter().map(|folder| program.environment.working.join(folder)).collect()
}

impl From<SchedulerError> for Failure {
    fn from(error: SchedulerError) -> Self {
        Self::of(&error, error.code(), error.hint())
    }
}
