//! The command line as clap reads it: global options and the tree of commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::apply::{ApplyArgs, TeardownArgs};
use crate::commands::bench::BenchCommand;
use crate::commands::catalog::CatalogCommand;
use crate::commands::completions::CompletionsArgs;
use crate::commands::config_show::ConfigCommand;
use crate::commands::init::InitArgs;
use crate::commands::jobs::JobsCommand;
use crate::commands::man::ManArgs;
use crate::commands::plan::PlanArgs;
use crate::commands::registry::RegistryCommand;
use crate::commands::retrieve::RetrieveArgs;
use crate::commands::services::{ClusterCommand, ExecutorArgs, LogFormat, SchedulerArgs};

const ABOUT: &str = "Point-in-time correct training sets from a feature registry, at any size";

const EXAMPLES: &str = "\
Examples:
  backsight demo                     the whole job on sample data, in a temporary folder
  backsight init taxi && cd taxi     a runnable repo of your own
  backsight plan                     what apply would change
  backsight apply                    write the definitions into the registry
  backsight retrieve --feature-service model_v2 --spine data/spine.parquet --output out/train

Exit codes: 0 done, 2 usage or configuration, 3 invalid definitions, registry or spine, 4 not found,
5 failed on data, 6 storage or scheduler unreachable, 7 cancelled, 8 plan found changes, 9 conflict, 10 limit reached, 1 bug.";

/// All arguments.
#[derive(Debug, Parser)]
#[command(name = "backsight", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 110)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Options that every command has.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Use the feature repo in this folder [default: `FEATURE_REPO_DIR_ENV_VAR`, else the working directory]
    #[arg(short, long, global = true, value_name = "DIR")]
    pub(crate) chdir: Option<PathBuf>,
    /// Read this configuration [default: `FEAST_FS_YAML_FILE_PATH`, else `feature_store.yaml` of the repo]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) feature_store_yaml: Option<PathBuf>,
    /// Go through this scheduler, as `http://host:50050`; `none` goes through none [default: `BACKSIGHT_SCHEDULER`,
    /// else `backsight.scheduler` of the configuration]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) scheduler: Option<String>,
    /// Write data in this form
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
    pub(crate) output_format: OutputFormat,
    /// When to use colours; `auto`: on a terminal, unless `NO_COLOR` is set, and wherever `CLICOLOR_FORCE` is
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    pub(crate) color: Colours,
    /// Say nothing but data, warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log to standard error; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Draw no progress
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

/// The form of data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people (the default); not a contract
    Text,
    /// For programs; a stable contract
    Json,
    /// For pull requests and pages; only `plan`, `registry diff` and `config reference` have it
    Markdown,
}

impl OutputFormat {
    /// Whether arguments that cannot be read as a whole ask for JSON.
    pub(crate) fn is_json_among(arguments: &[OsString]) -> bool {
        let pairs = arguments.windows(2);
        arguments.iter().any(|argument| argument == "--output-format=json")
            || pairs.into_iter().any(|pair| pair[0] == "--output-format" && pair[1] == "json")
    }
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colours {
    /// As the environment says, else on a terminal
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

impl Colours {
    /// What arguments that cannot be read as a whole ask for.
    pub(crate) fn among(arguments: &[OsString]) -> Self {
        let pairs = arguments.windows(2).filter(|pair| pair[0] == "--color").map(|pair| pair[1].to_str());
        let joined = arguments.iter().map(|argument| argument.to_str()?.strip_prefix("--color="));
        let given = pairs.chain(joined).flatten().next();
        given.and_then(|given| Self::from_str(given, false).ok()).unwrap_or(Self::Auto)
    }

    /// Whether a stream that is a terminal, or is none, gets colours.
    pub(crate) fn are_on(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => is_terminal,
            Self::Always => true,
            Self::Never => false,
        }
    }

    /// For help and for what is wrong with arguments. Left to itself, clap takes any `CLICOLOR_FORCE` for a yes.
    pub(crate) fn of_arguments(self, is_terminal: bool) -> clap::ColorChoice {
        if self.are_on(is_terminal) { clap::ColorChoice::Always } else { clap::ColorChoice::Never }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a runnable feature repo with sample data
    Init(InitArgs),
    /// Show what apply would change, field by field
    Plan(PlanArgs),
    /// Make the registry hold this project as it is defined
    Apply(ApplyArgs),
    /// Remove this project from the registry
    Teardown(TeardownArgs),
    /// Fetch features for a spine into a committed dataset
    Retrieve(RetrieveArgs),
    /// Entities of the project
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight entities list\n  backsight entities describe driver"
    )]
    Entities(CatalogCommand),
    /// Data sources of the project
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight data-sources list\n  backsight data-sources describe driver_stats_source"
    )]
    DataSources(CatalogCommand),
    /// Feature views of the project
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight feature-views list\n  backsight feature-views describe driver_hourly_stats"
    )]
    FeatureViews(CatalogCommand),
    /// On-demand feature views of the project
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight on-demand-feature-views list\n  backsight on-demand-feature-views describe transformed_conv_rate"
    )]
    OnDemandFeatureViews(CatalogCommand),
    /// Feature services of the project
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight feature-services list\n  backsight feature-services describe model_v2"
    )]
    FeatureServices(CatalogCommand),
    /// Projects of the registry
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight projects list\n  backsight projects describe taxi"
    )]
    Projects(CatalogCommand),
    /// Saved datasets of the project
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight saved-datasets list\n  backsight saved-datasets describe june"
    )]
    SavedDatasets(CatalogCommand),
    /// Retrievals of a scheduler
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight jobs list\n  backsight jobs show 3f2c9a\n  backsight --scheduler http://host:50050 jobs watch 3f2c9a"
    )]
    Jobs(JobsCommand),
    /// The registry as a whole, its versions, and its definitions as YAML
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight registry show\n  backsight registry history\n  backsight registry diff 3\n  backsight registry export --output definitions"
    )]
    Registry(RegistryCommand),
    /// Run the service that decides: registry, jobs, plans
    Scheduler(SchedulerArgs),
    /// Run a service that works: tasks of a scheduler
    Executor(ExecutorArgs),
    /// A cluster of local processes
    #[command(subcommand, after_help = "Example:\n  backsight cluster up --executors 2")]
    Cluster(ClusterCommand),
    /// Retrieval at scale: workloads from a seed, measured runs, a report
    #[command(
        subcommand,
        after_help = "Examples:\n  backsight bench generate tiny --output bench/tiny\n  backsight bench run bench/tiny\n  backsight bench report bench/tiny/runs/*.json --output report.html"
    )]
    Bench(BenchCommand),
    /// Every setting: its value and origin, its meaning
    #[command(subcommand, after_help = "Examples:\n  backsight config show\n  backsight config reference")]
    Config(ConfigCommand),
    /// Do the whole job on sample data, in a temporary folder
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

impl Command {
    /// How a service logs; other commands are silent unless asked.
    pub(crate) fn service_log(&self) -> Option<LogFormat> {
        match self {
            Self::Scheduler(args) => Some(args.log_format),
            Self::Executor(args) => Some(args.log_format),
            _ => None,
        }
    }
}

/// Arguments of `demo`: none.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  backsight demo")]
pub(crate) struct DemoArgs {}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        let mut open = vec![Cli::command()];
        while let Some(mut command) = open.pop() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{} has no example:\n{help}", command.get_name());
            open.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn every_command_has_its_json_on_the_page() {
        let page = include_str!("../../docs/json.md");
        // For people, for a shell, or without an end.
        let without = ["demo", "completions", "scheduler", "executor", "cluster up"];
        // Said on the page beside another one.
        let beside = ["jobs watch", "jobs cancel"];
        let mut open = vec![(String::new(), Cli::command())];
        while let Some((name, command)) = open.pop() {
            for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
                open.push((format!("{name} {}", below.get_name()).trim().to_owned(), below.clone()));
            }
            let is_said = name.ends_with(" describe") || beside.contains(&name.as_str());
            if name.is_empty() || command.has_subcommands() || without.contains(&name.as_str()) || is_said {
                continue;
            }
            assert!(page.contains(&format!("\n### `{name}`\n")), "`{name}`");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in ["backsight -c repo -q plan", "backsight plan -q -c repo"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.quiet && cli.global.chdir == Some("repo".into()), "{line}");
        }
    }

    #[test]
    fn what_comes_later_is_not_there() {
        for line in ["backsight schedules list", "backsight registry forget"] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
