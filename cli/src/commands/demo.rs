//! `demo`: the whole job on sample data, each command shown with its output.

use clap::Parser;

use crate::args::Cli;
use crate::commands::{Done, Program, dispatch};
use crate::errors::Failure;

/// What is done, in order. They are the commands that a user would type.
const STEPS: [(&str, &str); 9] = [
    ("A feature repo with sample data", "backsight init taxi"),
    ("What would apply change?", "backsight -c taxi plan"),
    ("Write the definitions into the registry", "backsight -c taxi apply --yes"),
    ("What exists now?", "backsight -c taxi feature-views list"),
    ("", "backsight -c taxi feature-services list"),
    (
        "A look at the features of model_v2, as they were known at each trip",
        "backsight -c taxi retrieve --feature-service model_v2 --spine taxi/data/spine.parquet --output -",
    ),
    (
        "The same as a committed dataset",
        "backsight -c taxi retrieve --feature-service model_v2 --spine taxi/data/spine.parquet --output out/model_v2",
    ),
    (
        "A client needs no definitions",
        "backsight -c taxi/client retrieve --features driver_hourly_stats:conv_rate --spine taxi/data/spine.parquet \
         --output out/client --full-feature-names",
    ),
    ("The registry holds what is defined", "backsight -c taxi plan"),
];

/// Runs the steps in a temporary folder, which is removed at the end.
pub(crate) async fn run(program: &Program) -> Result<Done, Failure> {
    if program.terminal.is_json() {
        return Err(Failure::usage("`demo` is for people and has no JSON form"));
    }
    let folder = tempfile::Builder::new().prefix("backsight-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::io("create a temporary folder", &error))?;
    let environment = program.environment.in_folder(folder.path());
    let inside = Program { environment, terminal: program.terminal.without_notes(), ..program.clone() };
    let terminal = &program.terminal;
    let colour = terminal.colour();
    let paint = |code: &str, text: &str| {
        if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    terminal.print(&format!("{}\n", paint("1", &format!("$ cd {}", folder.path().display()))));
    for (title, line) in STEPS {
        let title = if title.is_empty() {
            String::new()
        } else {
            format!("\n{}", paint("2", &format!("# {title}\n")))
        };
        terminal.print(&format!("{title}{}\n", paint("1", &format!("$ {line}"))));
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| Failure::bug(error.to_string()))?;
        let step =
            Program { global: crate::args::GlobalArgs { quiet: true, ..cli.global }, ..inside.clone() };
        // One command runs others: the future must have a size.
        Box::pin(dispatch(cli.command, &step)).await?;
    }
    terminal.print("\nThat was all; the folder is removed. `backsight init` makes you one to keep.\n");
    Ok(Done::Done)
}
