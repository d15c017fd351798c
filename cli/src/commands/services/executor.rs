//! `executor`: the service that runs tasks.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use backsight_executor::{ExecutorError, ExecutorOptions, Ready};
use backsight_registry::size::parse_size;
use clap::Args;

use super::LogFormat;
use super::scheduler::allowed;
use crate::commands::retrieve::cores;
use crate::commands::{Done, Program};
use crate::config::memory::default_limit;
use crate::config::{Workspace, parse_duration, scheduler_url};
use crate::errors::Failure;

/// Arguments of `executor`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  backsight executor --scheduler http://10.0.0.1:50050 --bind 0.0.0.0:50051 --advertise-host 10.0.0.7 --work-dir /scratch
  backsight executor --scheduler http://127.0.0.1:50050 --work-dir /tmp/e1 --allow-dir /data

Terminated, it finishes its tasks and serves its shuffle files until no job needs them. Health, readiness and metrics
are served on `--health-bind`: /healthz, /readyz, /metrics.")]
pub(crate) struct ExecutorArgs {
    /// Serve shuffle files here; port 0 takes a free one
    #[arg(long, env = "BACKSIGHT_EXECUTOR__BIND", value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Host under which others reach this executor [default: the address of `--bind`]
    #[arg(long, env = "BACKSIGHT_EXECUTOR__ADVERTISE_HOST", value_name = "HOST")]
    advertise_host: Option<String>,
    /// Serve health and metrics here; port 0 takes a free one
    #[arg(
        long,
        env = "BACKSIGHT_EXECUTOR__HEALTH_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    health_bind: SocketAddr,
    /// Keep shuffle and spill files here; this executor uses the folder alone and empties it at the start
    #[arg(long, env = "BACKSIGHT_EXECUTOR__WORK_DIR", value_name = "DIR")]
    work_dir: PathBuf,
    /// Partitions worked on at the same time [default: the cores]
    #[arg(long, env = "BACKSIGHT_EXECUTOR__VCORES", value_name = "N")]
    vcores: Option<NonZeroUsize>,
    /// Memory that all tasks share [default: 60 % of what is available]
    #[arg(long, env = "BACKSIGHT_EXECUTOR__MEMORY_LIMIT", value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<u64>,
    /// Bytes that the work folder may hold [default: no limit but the disk's]
    #[arg(long, env = "BACKSIGHT_EXECUTOR__DISK_LIMIT", value_name = "SIZE", value_parser = parse_size)]
    disk_limit: Option<u64>,
    /// Allow local files below this folder; repeat it for more [default: none, only object stores]
    #[arg(long, env = "BACKSIGHT_EXECUTOR__ALLOW_DIR", value_name = "DIR")]
    allow_dir: Vec<PathBuf>,
    /// Tell the scheduler so often that this executor lives
    #[arg(long, env = "BACKSIGHT_EXECUTOR__HEARTBEAT", value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    heartbeat: Duration,
    /// How long a terminated executor serves its files to jobs that need them
    #[arg(long, env = "BACKSIGHT_EXECUTOR__DRAIN_TIMEOUT", value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    drain_timeout: Duration,
    /// Form of the log on standard error
    #[arg(long, env = "BACKSIGHT_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Runs the executor until it is terminated and has drained.
pub(crate) async fn run(args: ExecutorArgs, program: &Program) -> Result<Done, Failure> {
    let Some(scheduler) = scheduler_url(program)? else {
        let failure = Failure::usage("an executor needs a scheduler");
        return Err(
            failure.with_hint("name it with `--scheduler http://host:50050`, or `BACKSIGHT_SCHEDULER`")
        );
    };
    if args.bind.ip().is_unspecified() && args.advertise_host.is_none() {
        let failure = Failure::usage(format!("others cannot reach an executor at `{}`", args.bind.ip()));
        return Err(failure.with_hint("name the host under which they can with `--advertise-host`"));
    }
    let environment = &program.environment;
    let limit = args.memory_limit.unwrap_or_else(|| default_limit(environment.available_memory()));
    let options = ExecutorOptions {
        scheduler,
        bind: args.bind,
        advertise_host: args.advertise_host,
        health_bind: args.health_bind,
        work_dir: environment.working.join(&args.work_dir),
        vcores: args.vcores.unwrap_or_else(cores),
        memory_limit_bytes: usize::try_from(limit).unwrap_or(usize::MAX),
        disk_limit_bytes: args.disk_limit,
        heartbeat: args.heartbeat,
        drain_timeout: args.drain_timeout,
        stores: Workspace::stores_alone(program, Some(allowed(&args.allow_dir, program)))?,
    };
    let terminal = program.terminal.clone();
    let ready = move |ready: Ready| {
        terminal.print(&format!("ready {} health http://{}\n", ready.flight, ready.health));
    };
    backsight_executor::serve(options, program.interrupt.clone().asked(), ready).await?;
    Ok(Done::Done)
}

impl From<ExecutorError> for Failure {
    fn from(error: ExecutorError) -> Self {
        Self::of(&error, error.code(), error.hint())
    }
}
