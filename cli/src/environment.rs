//! What the process was started with: variables, folder, terminals, machine. Nothing else reads them.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use backsight_proto::ErrorCode;

use crate::config::memory::{MachineTexts, machine_memory};
use crate::config::scheduler::SCHEDULER_VARIABLE;
use crate::config::{CONFIG_VARIABLE, REPO_VARIABLE};
use crate::errors::Failure;

/// The surroundings of one run of the command, read once.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
    /// Where relative paths of the command line start.
    pub(crate) working: PathBuf,
    /// Whether a person may be asked.
    pub(crate) stdin_is_terminal: bool,
    /// Whether a person reads the data.
    pub(crate) stdout_is_terminal: bool,
    /// Whether a person reads notes and progress.
    pub(crate) stderr_is_terminal: bool,
    /// `NO_COLOR` is set, or the terminal knows none.
    pub(crate) no_colour: bool,
}

impl Environment {
    /// Reads the process.
    pub(crate) fn of_process() -> Result<Self, Failure> {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        let variables: BTreeMap<String, String> =
            std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        let working = std::env::current_dir().map_err(|error| {
            Failure::new(ErrorCode::Usage, format!("the working directory cannot be used: {error}"))
        })?;
        let is_set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
        let no_colour = is_set("NO_COLOR") || variables.get("TERM").is_some_and(|term| term == "dumb");
        Ok(Self {
            working,
            stdin_is_terminal: std::io::stdin().is_terminal(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            no_colour,
            variables,
        })
    }

    /// The same surroundings in another folder, without the repo and the scheduler that variables name.
    pub(crate) fn in_folder(&self, working: &Path) -> Self {
        let mut moved = Self { working: working.to_owned(), ..self.clone() };
        let elsewhere = [REPO_VARIABLE, CONFIG_VARIABLE, SCHEDULER_VARIABLE];
        moved.variables.retain(|name, _| !elsewhere.contains(&name.as_str()));
        moved
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables, for `$VAR` in a configuration.
    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The variables that storage reads, in order.
    pub(crate) fn of_storage(&self) -> Vec<(String, String)> {
        let read = self.variables.iter().filter(|(name, _)| backsight_storage::is_read(name));
        read.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The user's home folder.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// Who runs the command and where, for the records of a scheduler.
    pub(crate) fn user_at_host(&self) -> String {
        let user = self.variable("USER").or_else(|| self.variable("LOGNAME")).unwrap_or("unknown");
        format!("{user}@{}", self.host())
    }

    /// The name of this machine; part of a claim on an output.
    pub(crate) fn host(&self) -> String {
        let named = |path: &str| std::fs::read_to_string(path).ok().map(|name| name.trim().to_owned());
        named("/proc/sys/kernel/hostname")
            .or_else(|| named("/etc/hostname"))
            .or_else(|| self.variable("HOSTNAME").map(str::to_owned))
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "unknown".to_owned())
    }

    /// Bytes of memory that this process may take before something else has to give way.
    pub(crate) fn available_memory(&self) -> Option<u64> {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let text = |path: &str| read(Path::new(path));
        let groups = text("/proc/self/cgroup").unwrap_or_default();
        let unified = crate::config::memory::unified_group(&groups);
        let in_group = |file: &str| {
            let own = read(&Path::new("/sys/fs/cgroup").join(unified.trim_start_matches('/')).join(file));
            // In a container the own group is mounted as the root.
            own.or_else(|| read(&Path::new("/sys/fs/cgroup").join(file)))
        };
        let texts = MachineTexts {
            meminfo: text("/proc/meminfo").unwrap_or_default(),
            group_limit: in_group("memory.max")
                .or_else(|| text("/sys/fs/cgroup/memory/memory.limit_in_bytes")),
            group_usage: in_group("memory.current")
                .or_else(|| text("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
            group_stat: in_group("memory.stat").or_else(|| text("/sys/fs/cgroup/memory/memory.stat")),
        };
        machine_memory(&texts)
    }
}
