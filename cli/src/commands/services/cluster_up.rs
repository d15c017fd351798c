//! `cluster up`: a scheduler and executors as processes of this machine, for a try or a benchmark.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use backsight_registry::size::parse_size;
use clap::{Args, Subcommand};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::commands::retrieve::cores;
use crate::commands::{Done, Program};
use crate::config::memory::default_limit;
use crate::errors::Failure;
use crate::render::units::counted;

/// Commands about a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start a scheduler and executors as local processes, until interrupted
    Up(UpArgs),
}

/// Arguments of `cluster up`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  backsight -c taxi cluster up --executors 2
  backsight -c taxi --scheduler http://127.0.0.1:50050 retrieve …        in another terminal")]
pub(crate) struct UpArgs {
    /// Executors to start
    #[arg(long, value_name = "N", default_value = "2")]
    executors: NonZeroUsize,
    /// The scheduler listens here; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50050")]
    bind: SocketAddr,
    /// Keep jobs, spines and shuffle files here [default: a temporary folder that is removed]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Cores of each executor [default: this machine's, shared out]
    #[arg(long, value_name = "N")]
    vcores: Option<NonZeroUsize>,
    /// Memory of each executor [default: 60 % of what is available, shared out]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<u64>,
    /// Passed on to the scheduler, as `--scheduler-arg=--shard-bytes=64MiB`; repeat it for more
    #[arg(long, value_name = "ARGUMENT")]
    scheduler_arg: Vec<String>,
}

/// A service that does not come up within this has failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long processes get to end in good order.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the cluster until interrupted.
pub(crate) async fn run(command: ClusterCommand, program: &Program) -> Result<Done, Failure> {
    let ClusterCommand::Up(args) = command;
    let temporary;
    let folder = match &args.work_dir {
        Some(folder) => program.environment.working.join(folder),
        None => {
            temporary = tempfile::tempdir().map_err(|e| Failure::io("make a temporary folder", &e))?;
            temporary.path().to_owned()
        }
    };
    std::fs::create_dir_all(&folder).map_err(|e| Failure::io("make the work folder", &e))?;
    let mut services = Services::default();
    let outcome = tokio::select! {
        outcome = up(&args, &folder, program, &mut services) => outcome,
        () = program.interrupt.clone().asked() => Ok(()),
    };
    services.stop().await;
    outcome.map(|()| Done::Done)
}

async fn up(args: &UpArgs, folder: &Path, program: &Program, services: &mut Services) -> Result<(), Failure> {
    let root = PathBuf::from("/");
    let mut scheduler = own_command(program)?;
    scheduler.arg("scheduler").arg("--bind").arg(args.bind.to_string());
    scheduler.arg("--state").arg(format!("sqlite://{}", folder.join("jobs.db").display()));
    scheduler.arg("--spool").arg(folder.join("spool")).arg("--allow-dir").arg(&root);
    scheduler.args(&args.scheduler_arg);
    let line = services.start("scheduler", scheduler).await?;
    let url = line.strip_prefix("ready ").unwrap_or(&line).trim().to_owned();
    let each = |whole: usize| NonZeroUsize::new(whole / args.executors.get()).unwrap_or(NonZeroUsize::MIN);
    let vcores = args.vcores.unwrap_or_else(|| each(cores().get()));
    let whole = default_limit(program.environment.available_memory());
    let memory = args.memory_limit.unwrap_or(whole / args.executors.get() as u64);
    for number in 1..=args.executors.get() {
        let mut executor = own_command(program)?;
        executor.arg("executor").arg("--scheduler").arg(&url);
        executor.arg("--work-dir").arg(folder.join(format!("executor-{number}")));
        executor.arg("--vcores").arg(vcores.to_string()).arg("--memory-limit").arg(memory.to_string());
        executor.arg("--allow-dir").arg(&root).arg("--drain-timeout").arg("5s");
        services.start(&format!("executor {number}"), executor).await?;
    }
    program.terminal.print(&format!("ready {url}\n"));
    program.terminal.note(&format!(
        "{}, {} each. In another terminal: `backsight --scheduler {url} …`. Ctrl-C ends all.",
        counted(args.executors.get() as u64, "executor", "executors"),
        counted(vcores.get() as u64, "core", "cores"),
    ));
    services.first_to_end().await
}

/// This binary, with the options that choose the repo.
fn own_command(program: &Program) -> Result<Command, Failure> {
    let binary = std::env::current_exe().map_err(|e| Failure::io("find this program", &e))?;
    let mut command = Command::new(binary);
    // This process says that it stops; each of them need not say it again.
    command.arg("--quiet");
    command.current_dir(&program.environment.working);
    if let Some(folder) = &program.global.chdir {
        command.arg("--chdir").arg(folder);
    }
    if let Some(file) = &program.global.feature_store_yaml {
        command.arg("--feature-store-yaml").arg(file);
    }
    for _ in 0..program.global.verbose {
        command.arg("-v");
    }
    Ok(command)
}

/// The processes that were started, the first first.
#[derive(Default)]
struct Services(Vec<(String, Child, BufReader<ChildStdout>)>);

impl Services {
    /// Starts a service and waits for the line that says where it is.
    async fn start(&mut self, name: &str, mut command: Command) -> Result<String, Failure> {
        // A process group of its own: an interrupt reaches this process only, which then ends them in order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| Failure::io(&format!("start the {name}"), &e))?;
        let Some(stdout) = child.stdout.take() else {
            return Err(Failure::bug(format!("the {name} has no output")));
        };
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        let read = tokio::time::timeout(START_TIMEOUT, lines.read_line(&mut line)).await;
        self.0.push((name.to_owned(), child, lines));
        match read {
            Ok(Ok(length)) if length > 0 => Ok(line),
            _ => Err(Failure::new(
                backsight_proto::ErrorCode::Unreachable,
                format!("the {name} did not come up; what it said stands above"),
            )),
        }
    }

    /// Completes when one of them ends by itself.
    async fn first_to_end(&mut self) -> Result<(), Failure> {
        loop {
            for (name, child, _) in &mut self.0 {
                if let Ok(Some(status)) = child.try_wait() {
                    let message = format!("the {name} has ended ({status}); the cluster ends");
                    return Err(Failure::new(backsight_proto::ErrorCode::Unreachable, message));
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends executors first, then the scheduler.
    async fn stop(mut self) {
        self.0.reverse();
        for (_, child, _) in &self.0 {
            if let Some(id) = child.id() {
                terminate(id).await;
            }
        }
        for (_, child, _) in &mut self.0 {
            if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                // It had its time.
                let _ = child.kill().await;
            }
        }
    }
}

/// Asks a process to end; one that has ended already needs nothing.
async fn terminate(process: u32) {
    let mut kill = Command::new("kill");
    kill.arg("-TERM").arg(process.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = kill.status().await;
}
