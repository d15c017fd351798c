//! Reads a repo's files: the edge where definitions meet the file system.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use backsight_proto::ErrorCode;

use super::check::{LoadedRepo, SourceFile, check_definitions, plain_project};
use super::error::DefinitionErrors;
use super::files::{IgnoreRules, is_definition_file, is_hidden};
use crate::problem::{Position, Problem, Problems};

/// Files of one repo, folders of one path, and bytes of all files that are read at most.
const FILES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 64;
const BYTES_MAX: u64 = 256 << 20;
/// One file; the YAML reader holds the same bound.
const FILE_BYTES_MAX: u64 = 4 << 20;

const IGNORE_FILE: &str = ".feastignore";

/// What the repo is loaded for.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// The project of `feature_store.yaml`.
    pub project: &'a str,
    /// Its `project_description`.
    pub project_description: &'a str,
    /// The configuration file in use, when it has another name than `feature_store.yaml`: it holds no definitions.
    pub config_file: Option<&'a Path>,
}

/// Reads every definition below `repo` and checks them all together.
pub fn load_definitions(repo: &Path, options: &LoadOptions<'_>) -> Result<LoadedRepo, DefinitionErrors> {
    let mut problems = Problems::default();
    let files =
        read_files(repo, options.config_file, &mut problems).map_err(|failure| failure.into_errors(repo))?;
    let read = problems.into_sorted();
    let checked = check_definitions(&files, plain_project(options.project, options.project_description));
    match checked {
        Ok(repo) if read.is_empty() => Ok(repo),
        Ok(_) => Err(DefinitionErrors { problems: read, code: ErrorCode::Invalid }),
        Err(found) => {
            let mut all = Problems::default();
            all.extend(read);
            all.extend(found);
            Err(DefinitionErrors { problems: all.into_sorted(), code: ErrorCode::Invalid })
        }
    }
}

/// The repo as a whole cannot be read.
enum Failure {
    Folder(io::Error),
    Limit(String),
}

impl Failure {
    fn into_errors(self, repo: &Path) -> DefinitionErrors {
        let (message, code, hint) = match self {
            Self::Limit(message) => {
                (message, ErrorCode::Limit, Some("list what holds no definitions in `.feastignore`"))
            }
            Self::Folder(error) => {
                let code = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorCode::NotFound,
                    io::ErrorKind::PermissionDenied => ErrorCode::AccessDenied,
                    _ => ErrorCode::Unreachable,
                };
                (format!("failed to list the repo folder: {error}"), code, None)
            }
        };
        let position = Position::whole_file(repo.display().to_string());
        DefinitionErrors {
            problems: vec![Problem { position, message, hint: hint.map(str::to_owned) }],
            code,
        }
    }
}

fn read_files(
    repo: &Path,
    config_file: Option<&Path>,
    problems: &mut Problems,
) -> Result<Vec<SourceFile>, Failure> {
    let rules = match fs::read_to_string(repo.join(IGNORE_FILE)) {
        Ok(text) => IgnoreRules::parse(IGNORE_FILE, &text, problems),
        Err(error) if error.kind() == io::ErrorKind::NotFound => IgnoreRules::default(),
        Err(error) => {
            problems.push(&Position::whole_file(IGNORE_FILE), format!("failed to read the file: {error}"));
            IgnoreRules::default()
        }
    };
    let config_file = config_file.and_then(|path| fs::canonicalize(path).ok());
    let mut paths = Vec::new();
    // The folder itself must be readable; a folder below that is not becomes a finding.
    let top = fs::read_dir(repo).map_err(Failure::Folder)?;
    walk(top, "", 0, &rules, &mut paths, problems)?;
    paths.sort();
    let mut files = Vec::new();
    let mut bytes = 0;
    for (relative, path) in paths {
        if config_file.is_some() && fs::canonicalize(&path).ok() == config_file {
            continue;
        }
        let position = Position::whole_file(relative.as_str());
        match read_text(&path) {
            Ok(Read::Text(text)) => {
                bytes += text.len() as u64;
                if bytes > BYTES_MAX {
                    return Err(Failure::Limit(format!("the definitions have more than {BYTES_MAX} bytes")));
                }
                files.push(SourceFile { path: relative, text });
            }
            Ok(Read::Refused(message)) => problems.push(&position, message),
            Err(error) => problems.push(&position, format!("failed to read the file: {error}")),
        }
    }
    Ok(files)
}

enum Read {
    Text(String),
    Refused(String),
}

fn read_text(path: &Path) -> io::Result<Read> {
    let size = fs::metadata(path)?.len();
    if size > FILE_BYTES_MAX {
        return Ok(Read::Refused(format!("the file has {size} bytes; at most {FILE_BYTES_MAX} are allowed")));
    }
    Ok(match String::from_utf8(fs::read(path)?) {
        Ok(text) => Read::Text(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Read::Refused(format!("the file is not UTF-8 text: byte {at} does not belong to a character"))
        }
    })
}

/// Collects (relative path, path) of definition files. Links to folders are not followed, so there are no cycles.
fn walk(
    entries: fs::ReadDir,
    above: &str,
    depth: usize,
    rules: &IgnoreRules,
    paths: &mut Vec<(String, PathBuf)>,
    problems: &mut Problems,
) -> Result<(), Failure> {
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                problems.push(&Position::whole_file(above), format!("failed to list the folder: {error}"));
                continue;
            }
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        let relative = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
        if is_hidden(&name) || rules.ignores(&relative) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth >= DEPTH_MAX {
                return Err(Failure::Limit(format!(
                    "folder `{relative}` is nested deeper than {DEPTH_MAX} levels"
                )));
            }
            match fs::read_dir(entry.path()) {
                Ok(inner) => walk(inner, &relative, depth + 1, rules, paths, problems)?,
                Err(error) => {
                    problems
                        .push(&Position::whole_file(relative), format!("failed to list the folder: {error}"));
                }
            }
        } else if is_definition_file(&name) && !entry.path().is_dir() {
            if paths.len() >= FILES_MAX {
                return Err(Failure::Limit(format!("the repo has more than {FILES_MAX} YAML files")));
            }
            paths.push((relative, entry.path()));
        }
    }
    Ok(())
}
