//! The command line: commands, configuration, rendering. The only room that reads the environment, prints, and
//! installs a log subscriber.

mod args;
mod cluster;
mod commands;
mod config;
mod environment;
mod errors;
mod interrupt;
mod progress;
mod registry_access;
mod registry_versions;
mod render;
mod sample;
mod saved_plan;
mod source_check;
mod terminal;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use backsight_proto::ErrorCode;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Colours, OutputFormat};
use crate::commands::services::LogFormat;
use crate::commands::{Program, dispatch};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::interrupt::Interrupt;
use crate::terminal::Terminal;

/// Planning goes deep in builds without optimisation; the pages of a stack cost nothing until they are touched.
const STACK_BYTES: usize = 16 << 20;

/// Runs the command that the process was started for.
pub fn main() -> ExitCode {
    let deep = std::thread::Builder::new().name("backsight".to_owned()).stack_size(STACK_BYTES);
    let status = deep.spawn(status).map(std::thread::JoinHandle::join);
    // A panic has been reported by its own message.
    ExitCode::from(status.ok().and_then(Result::ok).unwrap_or_else(|| ErrorCode::Bug.exit_status()))
}

fn status() -> u8 {
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(failure) => return Terminal::plain().fail(&failure),
    };
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // The same rule for what clap writes as for what we write.
    let colours = match Colours::among(&arguments) {
        Colours::Auto => environment.colours,
        given => given,
    };
    let is_terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    let command = Cli::command().color(colours.of_arguments(is_terminal));
    let parsed = command.try_get_matches_from(&arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let terminal = Terminal::new(&cli.global, &environment);
    install_logging(&cli, &environment, &terminal);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| Failure::bug(format!("failed to start the runtime: {error}")));
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(failure) => return terminal.fail(&failure),
    };
    let status = runtime.block_on(async {
        let mut listeners = tokio::task::JoinSet::new();
        let interrupt = match Interrupt::listen(&mut listeners, &terminal) {
            Ok(interrupt) => interrupt,
            Err(failure) => return terminal.fail(&failure),
        };
        let Cli { global, command } = cli;
        let program = Program { environment, terminal: terminal.clone(), global, interrupt };
        terminal.finish(dispatch(command, &program).await)
    });
    // Whatever still runs was given up: its results are not looked at any more.
    runtime.shutdown_background();
    status
}

/// Prints help, version, or what is wrong with the arguments.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_help || !OutputFormat::is_json_among(arguments) {
        // A reader that has gone away is no failure.
        let _ = error.print();
        return if is_help { 0 } else { 2 };
    }
    let text = error.render().to_string();
    let message = text.trim().strip_prefix("error: ").unwrap_or(text.trim()).to_owned();
    Terminal::json().fail(&Failure::usage(message))
}

/// Logs go to standard error; `-v` and `BACKSIGHT_LOG` say how much of them.
fn install_logging(cli: &Cli, environment: &Environment, terminal: &Terminal) {
    let (verbose, service) = (cli.global.verbose, cli.command.service_log());
    let by_flag = match verbose {
        0 if service.is_some() => LogFormat::FILTER,
        0 => "off",
        1 => "warn,backsight=info",
        2 => "info,backsight=debug",
        _ => "debug",
    };
    let filter = match environment.variable("BACKSIGHT_LOG") {
        Some(given) if verbose == 0 => EnvFilter::new(given),
        _ => EnvFilter::new(by_flag),
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let subscriber = subscriber.with_ansi(terminal.colour_of_notes());
    // There is no other subscriber in this process.
    let _ = match service {
        Some(LogFormat::Json) => subscriber.json().try_init(),
        Some(LogFormat::Text) | None => subscriber.try_init(),
    };
}
