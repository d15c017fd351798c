//! A cluster of processes for the time of a benchmark.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use backsight_proto::ErrorCode;

use crate::commands::Program;
use crate::errors::Failure;

/// What the processes log, in the workload's folder.
const LOG: &str = "cluster.log";

/// `backsight cluster up`, ended in good order when dropped.
pub(super) struct LocalProcesses {
    child: Child,
    url: String,
}

impl LocalProcesses {
    /// Starts a scheduler and executors over the registry of a feature repo.
    ///
    /// # Errors
    /// A cluster that does not come up; what it said is in its log.
    pub(super) fn start(
        program: &Program,
        repo: &Path,
        executors: u32,
        memory_limit: Option<u64>,
    ) -> Result<Self, Failure> {
        let binary = std::env::current_exe().map_err(|error| Failure::io("find this program", &error))?;
        let mut command = Command::new(binary);
        command.arg("--quiet").arg("-c").arg(repo).args(["cluster", "up", "--bind", "127.0.0.1:0"]);
        command.arg("--executors").arg(executors.to_string());
        if let Some(limit) = memory_limit {
            command.arg("--memory-limit").arg(limit.to_string());
        }
        let log = repo.join(LOG);
        let file =
            std::fs::File::create(&log).map_err(|error| Failure::io("make the cluster's log", &error))?;
        command.current_dir(&program.environment.working).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(file);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().map_err(|error| Failure::io("start a cluster", &error))?;
        let mut started = Self { child, url: String::new() };
        let mut line = String::new();
        if let Some(out) = started.child.stdout.as_mut() {
            tokio::task::block_in_place(|| BufReader::new(out).read_line(&mut line))
                .map_err(|error| Failure::io("read what the cluster said", &error))?;
        }
        match line.trim().strip_prefix("ready ") {
            Some(url) => {
                started.url = url.to_owned();
                Ok(started)
            }
            None => Err(Failure::new(
                ErrorCode::Unreachable,
                "the cluster did not come up; what it said stands above",
            )),
        }
    }

    /// Where its scheduler is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for LocalProcesses {
    fn drop(&mut self) {
        // It ends its own processes, so it must be asked and not killed.
        let mut kill = Command::new("kill");
        kill.arg("-TERM").arg(self.child.id().to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = kill.status();
        let _ = self.child.wait();
    }
}
