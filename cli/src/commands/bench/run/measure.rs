//! Runs this program as a process of its own and counts what it took, as the kernel does.

use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use backsight_proto::ErrorCode;
use serde_json::Value;
use wait4::Wait4;

use crate::commands::Program;
use crate::errors::Failure;

/// How often it is looked whether a process has ended; the error of a wall time.
const LOOK: Duration = Duration::from_millis(2);
/// Bytes of a failed process's words that are shown.
const SHOWN_BYTES: usize = 4_000;

/// What a process took.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) wall_seconds: f64,
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    /// The most memory that it held.
    pub(crate) memory_bytes_max: u64,
    /// Bytes that it asked the system to read from files, cached or not; `None` where nothing counts them.
    pub(crate) bytes_read: Option<u64>,
    /// Bytes that it asked the system to write.
    pub(crate) bytes_written: Option<u64>,
}

impl Usage {
    /// User and system time.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// A process that has ended well.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) usage: Usage,
    pub(crate) out: String,
}

impl Ended {
    /// Its standard output as JSON.
    ///
    /// # Errors
    /// Anything else.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.out)
            .map_err(|error| Failure::bug(format!("a process of a benchmark did not print JSON: {error}")))
    }
}

/// This program with these arguments, in the folder of the caller.
///
/// # Errors
/// A program that does not know its own file.
pub(crate) fn own_command(program: &Program, arguments: &[&str]) -> Result<Command, Failure> {
    let binary = std::env::current_exe().map_err(|error| Failure::io("find this program", &error))?;
    let mut command = Command::new(binary);
    command.args(["--no-progress", "--quiet", "--output-format", "json"]).args(arguments);
    command.current_dir(&program.environment.working);
    Ok(command)
}

/// Runs a process to its end.
///
/// # Errors
/// With the code and the words of the process, when it failed.
pub(crate) async fn measured(mut command: Command) -> Result<Ended, Failure> {
    let temporary = || tempfile::tempfile().map_err(|error| Failure::io("make a temporary file", &error));
    let (mut out, mut err) = (temporary()?, temporary()?);
    let share = |file: &std::fs::File| file.try_clone().map_err(|e| Failure::io("share a file", &e));
    command.stdin(Stdio::null()).stdout(share(&out)?).stderr(share(&err)?);
    // An interrupt is for this process; it ends the other by dropping its guard.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let began = Instant::now();
    let child = command.spawn().map_err(|error| Failure::io("start this program", &error))?;
    let mut guard = Guard { child, is_reaped: false };
    let folder = format!("/proc/{}", guard.child.id());
    let counts = has_ended(Path::new(&folder)).await;
    let wall_seconds = began.elapsed().as_secs_f64();
    // It has ended, so this does not wait, but where there is no `/proc`.
    let taken = tokio::task::block_in_place(|| guard.child.wait4());
    guard.is_reaped = true;
    let taken = taken.map_err(|error| Failure::io("wait for a process", &error))?;
    let text = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if !taken.status.success() {
        return Err(failed(taken.status, &text(&mut err)));
    }
    let usage = Usage {
        wall_seconds: if counts.is_some() { wall_seconds } else { began.elapsed().as_secs_f64() },
        user_seconds: taken.rusage.utime.as_secs_f64(),
        system_seconds: taken.rusage.stime.as_secs_f64(),
        memory_bytes_max: taken.rusage.maxrss,
        bytes_read: counts.and_then(|(read, _)| read),
        bytes_written: counts.and_then(|(_, written)| written),
    };
    Ok(Ended { usage, out: text(&mut out) })
}

/// Waits until a process has ended but is still known; then the bytes that it read and wrote. `None` at once where
/// nothing is known of processes.
async fn has_ended(folder: &Path) -> Option<(Option<u64>, Option<u64>)> {
    loop {
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        if is_zombie(&stat) {
            let io = std::fs::read_to_string(folder.join("io")).unwrap_or_default();
            return Some((io_count(&io, "rchar"), io_count(&io, "wchar")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The state stands behind the name, which may hold anything.
fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

fn io_count(io: &str, key: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")?.trim().parse().ok())
}

/// The failure that a process reported, as this process's own.
fn failed(status: ExitStatus, said: &str) -> Failure {
    let reported: Option<Value> = serde_json::from_str(said.trim()).ok();
    let Some(error) = reported.as_ref().and_then(|value| value.get("error")) else {
        let tail: String =
            said.chars().rev().take(SHOWN_BYTES).collect::<Vec<_>>().into_iter().rev().collect();
        return Failure::new(ErrorCode::Bug, format!("a process of the benchmark ended with {status}"))
            .with_causes(vec![tail.trim().to_owned()]);
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let code = text(&error["code"]).and_then(|name| ErrorCode::from_name(&name)).unwrap_or(ErrorCode::Bug);
    let causes = error["causes"].as_array().into_iter().flatten().filter_map(text).collect();
    let failure = Failure::new(code, text(&error["message"]).unwrap_or_default()).with_causes(causes);
    match text(&error["hint"]) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// A process that does not outlive whoever waits for it.
struct Guard {
    child: Child,
    /// Its number may be another's by now.
    is_reaped: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.is_reaped {
            // What it leaves is below a folder that the next run clears.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_found_behind_any_name() {
        assert!(is_zombie("12 (a) b) Z 1 2"));
        assert!(!is_zombie("12 (Z) S 1 2"));
        assert_eq!(io_count("rchar: 17\nwchar: 4\n", "wchar"), Some(4));
        assert_eq!(io_count("", "wchar"), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_kernel_counts_what_a_process_takes() {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 3000000 /dev/zero | wc -c; sleep 0.1"]);
        let ended = measured(command).await.unwrap();
        assert_eq!(ended.out.trim(), "3000000");
        assert!((0.1..20.0).contains(&ended.usage.wall_seconds), "{:?}", ended.usage);
        assert!(ended.usage.memory_bytes_max > 100_000, "{:?}", ended.usage);
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing >&2; exit 4"]);
        let failure = measured(command).await.unwrap_err();
        assert!(failure.text(false).contains("caused by: no such thing"), "{}", failure.text(false));
    }

    #[test]
    fn a_reported_failure_keeps_its_code_and_words() {
        use std::os::unix::process::ExitStatusExt;
        let reported = Failure::new(ErrorCode::Limit, "too much").with_hint("take less");
        let failure = failed(ExitStatus::from_raw(10 << 8), &reported.json().to_string());
        assert_eq!(failure, reported);
    }
}
