//! `bench`: retrieval at scale, with figures that can be repeated: workloads, runs, reports.

mod data;
mod files;
mod floor;
mod generate;
mod options;
mod report;
mod run;
mod spec;

use clap::Subcommand;

use crate::commands::{Done, Program};
use crate::errors::Failure;

/// Commands about benchmarks.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Make a workload from a seed: a spine, feature files, a feature repo over them
    Generate(Box<generate::GenerateArgs>),
    /// Retrieve a workload's features, check the rows, write the figures down
    Run(run::RunArgs),
    /// What decoding and encoding alone cost: each needed column once, the dataset once
    Floor(floor::FloorArgs),
    /// Show recorded runs as one page with plots
    Report(report::ReportArgs),
    /// Rows and checksum of a dataset, whatever the order of its rows
    #[command(hide = true)]
    Checksum(run::ChecksumArgs),
}

/// Runs a command about benchmarks.
pub(crate) async fn run(command: BenchCommand, program: &Program) -> Result<Done, Failure> {
    match command {
        BenchCommand::Generate(args) => generate::run(&args, program).await,
        BenchCommand::Run(args) => run::run(&args, program).await,
        BenchCommand::Floor(args) => floor::run(&args, program).await,
        BenchCommand::Report(args) => report::run(&args, program),
        BenchCommand::Checksum(args) => run::print_checksum(&args, program).await,
    }
}
