//! Every setting there is: of the file, of the environment, of the services, of storage. Each part comes from the table that
//! the code itself reads by; what only this room reads stands in [`VARIABLES`].

use backsight_registry::feature_store::SETTINGS;
use clap::{Arg, Command};

use super::workspace::{CONFIG_VARIABLE, REPO_VARIABLE};

/// What a setting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// The configuration of a repo.
    Configuration,
    /// One run of the command.
    Process,
    /// `backsight scheduler`.
    Scheduler,
    /// `backsight executor`.
    Executor,
    /// Reaching object stores.
    Storage,
}

impl Group {
    /// All, in the order of the reference.
    pub(crate) const ALL: [Self; 5] =
        [Self::Configuration, Self::Process, Self::Scheduler, Self::Executor, Self::Storage];

    /// Its name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Process => "process",
            Self::Scheduler => "scheduler",
            Self::Executor => "executor",
            Self::Storage => "storage",
        }
    }

    /// Its heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Configuration => "The configuration",
            Self::Process => "The command",
            Self::Scheduler => "The scheduler",
            Self::Executor => "The executor",
            Self::Storage => "Storage",
        }
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) group: Group,
    /// What its value is.
    pub(crate) kind: String,
    /// `None` where it must be given, empty where it is then unset.
    pub(crate) default: Option<String>,
    /// One line.
    pub(crate) meaning: String,
    /// Its key in `feature_store.yaml`.
    pub(crate) file: Option<String>,
    /// Its environment variable.
    pub(crate) variable: Option<String>,
    /// Its option.
    pub(crate) option: Option<String>,
    /// Whether no output may show its value.
    pub(crate) is_secret: bool,
}

impl Entry {
    /// What it is called: its key, else its variable, else its option.
    pub(crate) fn key(&self) -> &str {
        let names = [&self.file, &self.variable, &self.option];
        names.into_iter().flatten().next().map(String::as_str).unwrap_or_default()
    }

    /// All its names, the strongest last.
    pub(crate) fn names(&self) -> Vec<&str> {
        [&self.file, &self.variable, &self.option].into_iter().flatten().map(String::as_str).collect()
    }
}

/// A variable that only this room reads.
struct ProcessVariable {
    name: &'static str,
    option: Option<&'static str>,
    kind: &'static str,
    default: &'static str,
    meaning: &'static str,
}

const fn variable(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> ProcessVariable {
    ProcessVariable { name, option: None, kind, default, meaning }
}

/// Variables that only this room reads.
const VARIABLES: [ProcessVariable; 12] = [
    ProcessVariable {
        option: Some("--chdir"),
        ..variable(REPO_VARIABLE, "folder", "the working directory", "Folder of the feature repo")
    },
    ProcessVariable {
        option: Some("--feature-store-yaml"),
        ..variable(CONFIG_VARIABLE, "path", "`feature_store.yaml` of the repo", "The configuration's file")
    },
    variable(
        "BACKSIGHT_LOG",
        "filter",
        "nothing; of services warnings and their own notes",
        "What is logged where `-v` is not given, as `info` or `warn,backsight=debug`",
    ),
    variable("NO_COLOR", "text", "", "Anything but nothing: no colours, where `--color` says nothing"),
    variable(
        "CLICOLOR_FORCE",
        "text",
        "",
        "Anything but nothing and `0`: colours, also where no terminal is",
    ),
    variable("CLICOLOR", "text", "", "`0`: no colours"),
    variable("TERM", "text", "", "`dumb`: no colours"),
    variable("HOME", "folder", "", "Where the usual files of AWS are"),
    variable("USER", "text", "", "Who submits a job, as its record says"),
    variable("LOGNAME", "text", "", "The same, where `USER` is not set"),
    variable("HOSTNAME", "text", "", "Name of this machine, where the system's files do not say it"),
    variable("PGPASSWORD", "secret", "", "Password of a PostgreSQL `--state`, where its URL has none"),
];

/// All settings; `commands` is the command line's tree.
pub(crate) fn reference(commands: &Command) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for setting in &SETTINGS {
        entries.push(Entry {
            group: Group::Configuration,
            kind: setting.kind.to_owned(),
            default: setting.default.map(str::to_owned),
            meaning: setting.meaning.to_owned(),
            file: setting.is_in_file.then(|| setting.key.to_owned()),
            variable: setting.variable.map(str::to_owned),
            option: setting.option.map(str::to_owned),
            is_secret: false,
        });
    }
    for variable in &VARIABLES {
        entries.push(Entry {
            group: Group::Process,
            kind: variable.kind.to_owned(),
            default: Some(variable.default.to_owned()),
            meaning: variable.meaning.to_owned(),
            file: None,
            variable: Some(variable.name.to_owned()),
            option: variable.option.map(str::to_owned),
            is_secret: variable.kind == "secret",
        });
    }
    for (group, name) in [(Group::Scheduler, "scheduler"), (Group::Executor, "executor")] {
        let Some(command) = commands.find_subcommand(name) else { continue };
        for argument in command.get_arguments() {
            let Some(entry) = of_argument(argument, group) else { continue };
            // One that the configuration has, too, stands there.
            if !entries.iter().any(|held| held.variable == entry.variable && held.group != Group::Scheduler) {
                entries.push(entry);
            }
        }
    }
    for variable in &backsight_storage::VARIABLES {
        entries.push(Entry {
            group: Group::Storage,
            kind: if variable.is_shown { "text" } else { "text, never shown" }.to_owned(),
            default: Some(String::new()),
            meaning: variable.meaning.to_owned(),
            file: None,
            variable: Some(variable.name.to_owned()),
            option: None,
            is_secret: !variable.is_shown,
        });
    }
    entries
}

/// An option of a service that has a variable.
fn of_argument(argument: &Arg, group: Group) -> Option<Entry> {
    let variable = argument.get_env()?.to_string_lossy().into_owned();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    // What cannot be written as a value stands at the end of the help.
    let (meaning, said) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), Some(default.trim_end_matches(']').to_owned())),
        None => (help, None),
    };
    let given = argument.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    let default = if argument.is_required_set() { None } else { given.or(said).or(Some(String::new())) };
    let kind = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    Some(Entry {
        group,
        kind: kind_of(&kind.unwrap_or_default()),
        default,
        meaning,
        file: None,
        variable: Some(variable),
        option: argument.get_long().map(|long| format!("{} --{long}", group.name())),
        is_secret: false,
    })
}

/// What a value is, by the name that help gives it.
fn kind_of(value_name: &str) -> String {
    match value_name {
        "N" => "number",
        "DIR" => "folder",
        "URL" => "URL",
        "URI" => "path or URI",
        "FORMAT" => "`text` or `json`",
        other => return other.to_lowercase(),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    fn entries() -> Vec<Entry> {
        reference(&Cli::command())
    }

    /// Rust files of a room, tests left out.
    fn sources(room: &str) -> Vec<PathBuf> {
        let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(room).join("src")];
        let mut files = Vec::new();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.components().any(|part| part.as_os_str() == "tests")
            {
                files.push(path);
            }
        }
        files
    }

    /// Names of variables in code: literals with a prefix of ours or Feast's, and what is asked for by name.
    fn named_in_code() -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for file in ["cli", "registry", "storage", "engine", "scheduler", "executor"]
            .iter()
            .flat_map(|room| sources(room))
        {
            let text = std::fs::read_to_string(file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let pieces: Vec<&str> = code.split('"').collect();
            for pair in pieces.windows(2) {
                let (before, literal) = (pair[0], pair[1]);
                let is_name = literal.len() > 2
                    && literal.chars().all(|letter| {
                        letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
                    });
                let has_prefix =
                    ["BACKSIGHT_", "FEAST_", "FEATURE_REPO"].iter().any(|prefix| literal.starts_with(prefix));
                let is_asked =
                    ["variable(", "is_set(", "variables.get("].iter().any(|call| before.ends_with(call));
                if is_name && !literal.starts_with("BACKSIGHT_TEST") && (has_prefix || is_asked) {
                    names.insert(literal.to_owned());
                }
            }
        }
        names
    }

    #[test]
    fn a_variable_that_code_reads_is_in_the_reference() {
        let entries = entries();
        let known: BTreeSet<&str> = entries.iter().filter_map(|entry| entry.variable.as_deref()).collect();
        let named = named_in_code();
        assert!(named.contains("BACKSIGHT_LOG") && named.contains("NO_COLOR"), "the search finds nothing");
        let missing: Vec<&String> = named.iter().filter(|name| !known.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "not in the reference: {missing:?}");
    }

    #[test]
    fn every_variable_of_an_option_is_in_the_reference() {
        let entries = entries();
        let mut open = vec![Cli::command()];
        while let Some(command) = open.pop() {
            for argument in command.get_arguments() {
                let Some(variable) = argument.get_env() else { continue };
                let variable = variable.to_string_lossy();
                assert!(
                    entries.iter().any(|entry| entry.variable.as_deref() == Some(&*variable)),
                    "`{variable}` of `{}`",
                    command.get_name()
                );
            }
            open.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn an_option_of_the_reference_is_there() {
        let root = Cli::command();
        for entry in entries() {
            let Some(option) = &entry.option else { continue };
            let mut words: Vec<&str> = option.split(' ').collect();
            let long = words.pop().unwrap().trim_start_matches("--");
            let mut command = &root;
            for word in words {
                command = command.find_subcommand(word).unwrap_or_else(|| panic!("{option}"));
            }
            assert!(command.get_arguments().any(|argument| argument.get_long() == Some(long)), "{option}");
        }
    }

    #[test]
    fn entries_are_whole_and_one_of_a_name() {
        let entries = entries();
        let mut keys = BTreeSet::new();
        for entry in &entries {
            assert!(keys.insert((entry.group.name(), entry.key().to_owned())), "{} twice", entry.key());
            assert!(!entry.meaning.is_empty() && !entry.kind.is_empty(), "{}", entry.key());
            assert!(
                !entry.meaning.contains(['\n', '|']) && !entry.meaning.ends_with('.'),
                "{}",
                entry.meaning
            );
        }
        let bind = entries.iter().find(|entry| entry.key() == "BACKSIGHT_SCHEDULER__BIND").unwrap();
        assert_eq!((bind.default.as_deref(), bind.kind.as_str()), (Some("127.0.0.1:50050"), "address"));
        let work_dir = entries.iter().find(|entry| entry.key() == "BACKSIGHT_EXECUTOR__WORK_DIR").unwrap();
        assert_eq!(work_dir.default, None);
    }
}
