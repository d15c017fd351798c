//! How a service logs: to standard error, for people or for programs, from the start.

use clap::ValueEnum;

/// The form of a service's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

impl LogFormat {
    /// What is logged unless `-v` or `BACKSIGHT_LOG` say more.
    pub(crate) const FILTER: &str =
        "warn,backsight_scheduler=info,backsight_executor=info,backsight_engine=info";
}
