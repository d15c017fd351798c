//! Which repo `init` writes, and what it says of it.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::repo::{NewFile, write};
use super::{sample, team};
use crate::commands::{Done, Program};
use crate::errors::Failure;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight init taxi && cd taxi && backsight plan
  backsight init taxi --template team --registry s3://features/registry.pb")]
pub(crate) struct InitArgs {
    /// Folder of the new repo; its name becomes the project's
    #[arg(default_value = "feature_repo")]
    dir: PathBuf,
    /// What to start from
    #[arg(long, value_name = "TEMPLATE", default_value = "sample")]
    template: Template,
    /// The registry that staging and production share, as a whole URI or path; for `--template team`
    #[arg(long, value_name = "URI")]
    registry: Option<String>,
}

/// What a new repo is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// One project with its registry in a file, to try things
    Sample,
    /// Staging and production from the same definitions, a project of one's own for each clone, workflows of GitHub
    Team,
}

/// Writes the repo.
pub(crate) fn run(args: &InitArgs, program: &Program) -> Result<Done, Failure> {
    let folder = program.environment.working.join(&args.dir);
    let project = project_name(&folder)?;
    let files = files(args, &folder, &project)?;
    write(&folder, &args.dir, &files)?;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&json!({
            "repo": folder.display().to_string(),
            "project": project,
            "files": names,
        }));
        return Ok(Done::Done);
    }
    let mut text = format!("Created feature repo `{}` for project `{project}`:\n", args.dir.display());
    for name in names {
        text = format!("{text}  {name}\n");
    }
    terminal.print(&text);
    terminal.note(&next(args));
    Ok(Done::Done)
}

fn files(args: &InitArgs, folder: &Path, project: &str) -> Result<Vec<NewFile>, Failure> {
    match (args.template, &args.registry) {
        (Template::Sample, None) => sample::files(folder, project),
        (Template::Team, Some(registry)) => team::files(project, registry),
        (Template::Sample, Some(_)) => {
            let failure = Failure::usage("`--registry` is for `--template team`");
            Err(failure.with_hint("the sample keeps its registry in its own folder"))
        }
        (Template::Team, None) => {
            let failure = Failure::usage("`--template team` needs `--registry`: the one that all share");
            Err(failure
                .with_hint("for example `--registry s3://features/registry.pb`; it need not exist yet"))
        }
    }
}

/// What to do with the new repo.
fn next(args: &InitArgs) -> String {
    let enter =
        if args.dir == Path::new(".") { String::new() } else { format!("  cd {}\n", args.dir.display()) };
    match args.template {
        Template::Sample => format!(
            "\nNext:\n{enter}  backsight plan\n  backsight apply\n  \
             backsight retrieve --feature-service model_v2 --spine data/spine.parquet --output -"
        ),
        Template::Team => format!(
            "\nNext:\n{enter}  backsight -c features -f local/feature_store.yaml plan\n  \
             git init, commit, push; then what README.md says under `Once, for the repository`"
        ),
    }
}

/// The folder's name as the name of a project: letters, digits and `_`.
fn project_name(folder: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(folder).map_err(|error| Failure::io("find the folder", &error))?;
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let word: String =
        name.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '_' }).collect();
    let word = word.trim_matches('_');
    if word.is_empty() {
        let message = format!("`{}` gives no name for a project", folder.display());
        return Err(Failure::usage(message).with_hint("name a folder with letters or digits"));
    }
    Ok(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_called_like_the_folder() {
        for (folder, project) in
            [("/a/taxi", "taxi"), ("/a/my-repo.v2", "my_repo_v2"), ("/a/.x", "x"), ("/a/_b/", "b")]
        {
            assert_eq!(project_name(Path::new(folder)).unwrap(), project);
        }
        assert!(project_name(Path::new("/")).is_err());
        assert!(project_name(Path::new("/a/---")).is_err());
    }
}
