//! `jobs`: retrievals of a scheduler, listed, shown, followed and cancelled.

mod find;
mod list;
mod show;
mod watch;

use backsight_proto::control::JobState;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::cluster::Cluster;
use crate::cluster::job::{STATES, state_name};
use crate::commands::{Done, Program};
use crate::config::scheduler;
use crate::errors::Failure;

pub(crate) use show::show_result;
pub(crate) use watch::wait_for_end;

/// The commands about jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, the newest first
    #[command(
        after_help = "Examples:\n  backsight jobs list\n  backsight jobs list --all --state running --state queued"
    )]
    List(ListArgs),
    /// Show one in full: shards, history, failure or report
    #[command(
        after_help = "Examples:\n  backsight jobs show 3f2c9a\n  backsight jobs show 3f2c9a --output-format json"
    )]
    Show(IdArgs),
    /// Follow one until it has ended; the exit code is its outcome's
    #[command(after_help = "Example:\n  backsight jobs watch 3f2c9a")]
    Watch(IdArgs),
    /// Cancel one, and wait until nothing of it is left
    #[command(
        after_help = "Examples:\n  backsight jobs cancel 3f2c9a\n  backsight jobs cancel 3f2c9a --no-wait"
    )]
    Cancel(CancelArgs),
}

/// Arguments of `jobs list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only jobs of this project [default: the project of the configuration, where there is one]
    #[arg(long, value_name = "PROJECT", conflicts_with = "all")]
    project: Option<String>,
    /// Jobs of all projects
    #[arg(long)]
    all: bool,
    /// Only jobs in this state; may be repeated
    #[arg(long = "state", value_name = "STATE", value_parser = states(), value_delimiter = ',')]
    states: Vec<JobState>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

/// A job.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// Its id, or six or more of the characters that it starts with
    id: String,
}

/// Arguments of `jobs cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Its id, or six or more of the characters that it starts with
    id: String,
    /// Do not wait until it has ended
    #[arg(long)]
    no_wait: bool,
}

/// Does what is asked about jobs.
pub(crate) async fn run(command: JobsCommand, program: &Program) -> Result<Done, Failure> {
    let cluster = Cluster::new(&scheduler::required(program)?, program)?;
    // Following has words of its own for a user who stops.
    if let JobsCommand::Watch(args) = &command {
        return watch::run(&cluster, &args.id, program).await;
    }
    tokio::select! {
        outcome = run_one(command, &cluster, program) => outcome,
        () = program.interrupt.clone().asked() => Err(Failure::cancelled("cancelled")),
    }
}

async fn run_one(command: JobsCommand, cluster: &Cluster, program: &Program) -> Result<Done, Failure> {
    match command {
        JobsCommand::List(args) => list::run(cluster, args, program).await,
        JobsCommand::Show(args) => show::run(cluster, &args.id, program).await,
        JobsCommand::Watch(args) => watch::run(cluster, &args.id, program).await,
        JobsCommand::Cancel(args) => watch::run_cancel(cluster, &args.id, args.no_wait, program).await,
    }
}

fn states() -> impl TypedValueParser<Value = JobState> {
    PossibleValuesParser::new(STATES.map(state_name)).try_map(|name| parse_state(&name))
}

fn parse_state(text: &str) -> Result<JobState, String> {
    STATES.into_iter().find(|state| state_name(*state) == text).ok_or_else(|| {
        let names: Vec<&str> = STATES.into_iter().map(state_name).collect();
        format!("allowed are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_they_are_shown() {
        for state in STATES {
            assert_eq!(parse_state(state_name(state)), Ok(state));
        }
        assert!(parse_state("done").unwrap_err().contains("succeeded"));
    }
}
