//! `bench run`: retrieves a workload's features as a user would, again and again, checks the rows, keeps the figures.

mod checksum;
mod cluster;
mod machine;
mod measure;
mod object;
mod oracle;
mod record;
mod retrieval;
mod units;

use std::path::PathBuf;

use backsight_proto::ErrorCode;
use backsight_registry::size::parse_size;
use backsight_storage::{Location, Stores};
use chrono::Utc;
use clap::Args;
use serde_json::json;

pub(crate) use measure::{Usage, measured, own_command};
pub(crate) use oracle::Check;
pub(crate) use record::{Record, rounded};
pub(crate) use units::{Unit, units};

use self::cluster::LocalProcesses;
use self::retrieval::{Place, Retrieval, clear};
use super::files::Generated;
use super::floor::Floor;
use crate::args::GlobalArgs;
use crate::commands::retrieve::cores;
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::config::scheduler::SCHEDULER_VARIABLE;
use crate::errors::Failure;

/// Arguments of `bench run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  backsight bench run bench/tiny
  backsight bench run bench/train --repeat 5 --memory-limit 1GiB --output runs/train-1GiB.json
  backsight bench run bench/train --executors 2                  on a cluster of this machine
  backsight --scheduler http://host:50050 bench run bench/train  on a cluster that is there
  backsight bench report bench/train/runs/*.json --output report.html

Each retrieval is a process of its own; time and memory are what the kernel counted. The rows are checked: their
number, and a checksum against another way to the same rows. A difference ends the command with 1.")]
pub(crate) struct RunArgs {
    /// Folder that `bench generate` wrote
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Retrievals; the report shows their median
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    repeat: u32,
    /// Write the figures here [default: `<DATA>/runs/<instant>-<workload>.json`]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Folder of the dataset, local or in an object store; what it holds is replaced [default: `dataset` beside the files]
    #[arg(long, value_name = "URI")]
    dataset: Option<String>,
    /// Leave the dataset when all is done
    #[arg(long)]
    keep_dataset: bool,
    /// Check the rows against: naive (the oracle), partitions (another number of them), none [default: by size]
    #[arg(long, value_name = "HOW", value_parser = Check::parse)]
    check: Option<Check>,
    /// Do not measure the floor
    #[arg(long)]
    no_floor: bool,
    /// Start a cluster of so many executors on this machine and run there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    executors: Option<u32>,
    /// Memory of a retrieval, or of each executor that is started, as `1GiB`
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory_limit: Option<u64>,
    /// Partitions of a retrieval in this process
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Passed on to `retrieve`, as `--retrieve-arg=--filter-by-created-timestamp`; repeat it for more
    #[arg(long, value_name = "ARGUMENT")]
    retrieve_arg: Vec<String>,
    /// What the report calls these runs, besides the form of the join
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

/// Arguments of the hidden `bench checksum`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  backsight bench checksum out/train")]
pub(crate) struct ChecksumArgs {
    /// Folder of the dataset, local or in an object store
    #[arg(value_name = "URI")]
    dataset: String,
}

/// Runs a workload.
pub(crate) async fn run(args: &RunArgs, program: &Program) -> Result<Done, Failure> {
    let working = &program.environment.working;
    let repo = working.join(&args.data);
    let shown = args.data.display().to_string();
    let generated = Generated::require(&repo, &shown)?;
    let stores = stores_of(&args.data, program)?;
    let dataset = args.dataset.clone().unwrap_or_else(|| generated.table(&repo, "dataset"));
    let mut cluster = None;
    let place = match (args.executors, given_scheduler(program)) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage("`--executors` starts a cluster, and `--scheduler` names one")
                .with_hint("give one of them"));
        }
        (Some(executors), None) => {
            let started = LocalProcesses::start(program, &repo, executors, args.memory_limit)?;
            Place::Cluster(cluster.insert(started).url().to_owned())
        }
        (None, Some(url)) => Place::Cluster(url),
        (None, None) => Place::Process,
    };
    if let (Place::Cluster(_), Some(_)) = (&place, args.partitions) {
        return Err(Failure::usage("`--partitions` has no effect on a scheduler's executors"));
    }
    let mut options = args.retrieve_arg.clone();
    if let (Place::Process, Some(limit)) = (&place, args.memory_limit) {
        options.push(format!("--memory-limit={limit}"));
    }
    options.extend(args.partitions.map(|count| format!("--partitions={count}")));
    let retrieval =
        Retrieval { program, repo: shown.clone(), spine: generated.table(&repo, "spine"), place, options };
    let began = Utc::now();
    let mut record = Record::new(&generated, began, machine::machine());
    record.set_options(json!({
        "label": args.label,
        "memory_limit_bytes": args.memory_limit,
        "partitions": args.partitions,
        "executors": args.executors,
        "is_cluster": matches!(retrieval.place, Place::Cluster(_)),
        "retrieve_arguments": args.retrieve_arg,
        "cores": cores().get(),
    }));
    retrieval.apply().await?;
    for number in 0..args.repeat {
        clear(&stores, &Location::parse(&dataset, working, None)?).await?;
        let run = retrieval.run(&dataset).await?;
        program.terminal.note(&format!("{}/{}  {}", number + 1, args.repeat, run.text()));
        record.add(run);
    }
    check(args, &retrieval, &generated, &dataset, &stores, &mut record).await?;
    drop(cluster);
    if !args.no_floor {
        record.set_floor(&Floor::measure(program, &shown, &dataset).await?);
    }
    if !args.keep_dataset {
        clear(&stores, &Location::parse(&dataset, working, None)?).await?;
    }
    let output = match &args.output {
        Some(output) => working.join(output),
        None => {
            let instant = began.format("%Y-%m-%dT%H%M%SZ");
            repo.join("runs").join(format!("{instant}-{}.json", generated.spec.name))
        }
    };
    write(&record, &output)?;
    if program.terminal.is_json() {
        program.terminal.print_json(&record.json());
    } else {
        program.terminal.print(&super::report::markdown_of(&record.json()));
        program.terminal.note(&format!("Written to `{}`", output.display()));
    }
    Ok(Done::Done)
}

/// Storage as the workload's own configuration has it.
///
/// # Errors
/// A configuration that cannot be read.
pub(crate) fn stores_of(data: &std::path::Path, program: &Program) -> Result<Stores, Failure> {
    let global =
        GlobalArgs { chdir: Some(data.to_owned()), feature_store_yaml: None, ..program.global.clone() };
    Workspace::stores_alone(&Program { global, ..program.clone() }, None)
}

/// The scheduler that the command line or the environment names.
fn given_scheduler(program: &Program) -> Option<String> {
    let given = program.global.scheduler.clone();
    let given = given.or_else(|| program.environment.variable(SCHEDULER_VARIABLE).map(str::to_owned));
    given.filter(|url| url != "none")
}

fn write(record: &Record, output: &std::path::Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(&format!("write `{}`", output.display()), &error);
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(output, format!("{:#}\n", record.json())).map_err(failed)
}

/// Counts the rows of the last dataset and compares them with another way to the same rows.
async fn check(
    args: &RunArgs,
    retrieval: &Retrieval<'_>,
    generated: &Generated,
    dataset: &str,
    stores: &Stores,
    record: &mut Record,
) -> Result<(), Failure> {
    let program = retrieval.program;
    let found = oracle::checksum_of(program, &retrieval.repo, dataset).await?;
    let expected = generated.spec.spine.rows;
    let wrong = |message: String| {
        let failure = Failure::new(ErrorCode::Bug, message);
        failure.with_hint(
            "this is a bug in backsight: figures of wrong rows are worth nothing, none were written",
        )
    };
    if found.rows != expected {
        return Err(wrong(format!("the dataset has {} rows, the spine {expected}", found.rows)));
    }
    let check = args.check.unwrap_or_else(|| Check::by_size(&generated.spec));
    let mut compared = json!({"by": check.name(), "rows": found.rows, "checksum": found.hex()});
    if check != Check::None {
        let beside = format!("{dataset}-check");
        let place = Location::parse(&beside, &program.environment.working, None)?;
        clear(stores, &place).await?;
        let other = retrieval.other_way(check, cores().get());
        other.apply().await?;
        other.run(&beside).await?;
        let second = oracle::checksum_of(program, &retrieval.repo, &beside).await?;
        clear(stores, &place).await?;
        if second != found {
            return Err(wrong(format!(
                "the rows differ from those of `{}`: {} rows with checksum {}, there {} rows with {}",
                check.name(),
                found.rows,
                found.hex(),
                second.rows,
                second.hex()
            )));
        }
        compared["agrees"] = json!(true);
    }
    record.set_check(compared);
    Ok(())
}

/// Prints rows and checksum.
pub(crate) async fn print_checksum(args: &ChecksumArgs, program: &Program) -> Result<Done, Failure> {
    let stores = Workspace::stores_alone(program, None)?;
    let location = Location::parse(&args.dataset, &program.environment.working, None)?;
    let found = checksum::checksum(&stores, &location, cores()).await?;
    if program.terminal.is_json() {
        program.terminal.print_json(&json!({"rows": found.rows, "checksum": found.hex()}));
    } else {
        program.terminal.print(&format!("rows {}  checksum {}\n", found.rows, found.hex()));
    }
    Ok(Done::Done)
}
