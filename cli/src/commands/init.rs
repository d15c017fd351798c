//! `init`: a runnable feature repo with sample data.

use std::fs;
use std::path::{Path, PathBuf};

use backsight_proto::ErrorCode;
use clap::Args;
use serde_json::json;

use crate::commands::{Done, Program};
use crate::errors::Failure;
use crate::sample;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  backsight init taxi && cd taxi && backsight plan")]
pub(crate) struct InitArgs {
    /// Folder of the new repo; its name becomes the project's
    #[arg(default_value = "feature_repo")]
    dir: PathBuf,
}

const FEATURE_STORE: &str = include_str!("../../templates/feature_store.yaml");
const CLIENT_FEATURE_STORE: &str = include_str!("../../templates/client_feature_store.yaml");
const FEATURES: &str = include_str!("../../templates/features.yaml");
const README: &str = include_str!("../../templates/README.md");

/// Writes the repo.
pub(crate) fn run(args: &InitArgs, program: &Program) -> Result<Done, Failure> {
    let folder = program.environment.working.join(&args.dir);
    let project = project_name(&folder)?;
    let files = write_repo(&folder, &project, &args.dir)?;
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&json!({
            "repo": folder.display().to_string(),
            "project": project,
            "files": files,
        }));
        return Ok(Done::Done);
    }
    let mut text = format!("Created feature repo `{}` for project `{project}`:\n", args.dir.display());
    for file in &files {
        text = format!("{text}  {file}\n");
    }
    terminal.print(&text);
    let enter =
        if args.dir == Path::new(".") { String::new() } else { format!("  cd {}\n", args.dir.display()) };
    terminal.note(&format!(
        "\nNext:\n{enter}  backsight plan\n  backsight apply\n  backsight retrieve --feature-service model_v2 --spine data/spine.parquet --output -"
    ));
    Ok(Done::Done)
}

/// Writes all files of a repo and names them. Nothing is written when one of them is there already.
pub(crate) fn write_repo(folder: &Path, project: &str, shown: &Path) -> Result<Vec<String>, Failure> {
    let made = |error: &dyn std::fmt::Display| Failure::bug(format!("sample data cannot be made: {error}"));
    let parquet = |rows: Result<_, arrow::error::ArrowError>| {
        rows.map_err(|error| made(&error))
            .and_then(|rows| sample::parquet_bytes(&rows).map_err(|error| made(&error)))
    };
    let create = |path: &Path| {
        fs::create_dir_all(path)
            .map_err(|error| Failure::io(&format!("create folder `{}`", shown.display()), &error))
    };
    let is_new = !folder.exists();
    if !is_new && !folder.is_dir() {
        return Err(Failure::new(
            ErrorCode::Conflict,
            format!("`{}` is there and is no folder", shown.display()),
        ));
    }
    // Sources are named by their whole path, so that they are found from the client folder, too.
    let absolute = std::path::absolute(folder).map_err(|error| Failure::io("find the folder", &error))?;
    let stats = absolute.join("data/driver_stats.parquet").display().to_string();
    let fill = |template: &str| {
        let quoted = serde_json::Value::String(stats.clone()).to_string();
        template.replace("{project}", project).replace("{driver_stats}", &quoted).into_bytes()
    };
    let files: [(&str, Vec<u8>); 6] = [
        ("feature_store.yaml", fill(FEATURE_STORE)),
        ("features.yaml", fill(FEATURES)),
        ("data/driver_stats.parquet", parquet(sample::driver_stats())?),
        ("data/spine.parquet", parquet(sample::trips())?),
        ("client/feature_store.yaml", fill(CLIENT_FEATURE_STORE)),
        ("README.md", fill(README)),
    ];
    let there: Vec<String> = files
        .iter()
        .filter(|(name, _)| folder.join(name).exists())
        .map(|(name, _)| format!("`{}`", shown.join(name).display()))
        .collect();
    if !there.is_empty() {
        let failure =
            Failure::new(ErrorCode::Conflict, format!("nothing was written: {} exists", there.join(", ")));
        return Err(failure.with_hint("name another folder; existing files are never overwritten"));
    }
    for part in ["", "data", "client"] {
        create(&folder.join(part))?;
    }
    for (name, bytes) in &files {
        let mut options = fs::File::options();
        let written = options
            .write(true)
            .create_new(true)
            .open(folder.join(name))
            .and_then(|mut file| std::io::Write::write_all(&mut file, bytes));
        written.map_err(|error| Failure::io(&format!("write `{}`", shown.join(name).display()), &error))?;
    }
    Ok(files.iter().map(|(name, _)| (*name).to_owned()).collect())
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
