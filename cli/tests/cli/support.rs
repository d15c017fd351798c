//! Runs the command in folders of its own, with an environment of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use tempfile::TempDir;

/// What a run left.
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    line: String,
}

impl Run {
    fn new(line: String, output: &Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            line,
        }
    }

    /// Fails the test unless the command ended with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "`{}`\nstdout:\n{}\nstderr:\n{}", self.line, self.out, self.err);
        self
    }

    /// Fails the test unless standard error is exactly this, with the folder written as `DIR`.
    #[track_caller]
    pub(crate) fn says(&self, folder: &Path, expected: &str) {
        let said = self.err.replace(&folder.display().to_string(), "DIR");
        assert_eq!(said, expected, "`{}`", self.line);
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("`{}`: {error}\n{}", self.line, self.out))
    }
}

/// A folder with a feature repo `taxi` in it.
pub(crate) struct World {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl World {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// A repo made by `init`.
    pub(crate) fn with_repo() -> Self {
        let world = Self::empty();
        world.run("init taxi").expect(0);
        world
    }

    /// A repo whose definitions are in its registry.
    pub(crate) fn applied() -> Self {
        let world = Self::with_repo();
        world.run("-c taxi apply --yes").expect(0);
        world
    }

    pub(crate) fn with_environment(mut self, variables: Vec<(String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, file: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Replaces a text of a file that must be there.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path().join(file)).unwrap();
        assert!(text.contains(from), "`{from}` is not in {file}");
        self.write(file, text.replace(from, to));
    }

    /// The command with these arguments, which have no blanks in them.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backsight"));
        command.args(line.split_whitespace()).current_dir(self.path()).env_clear();
        command.env("HOME", self.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run(&self, line: &str) -> Run {
        Run::new(line.to_owned(), &self.command(line).output().unwrap())
    }

    /// Names of all files below a folder, sorted.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let root = self.path().join(folder);
        let mut open = vec![root.clone()];
        let mut files = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => open.push(path),
                    false => files.push(path.strip_prefix(&root).unwrap().display().to_string()),
                }
            }
        }
        files.sort();
        files
    }
}

/// Writes a Parquet file of integer columns; `…timestamp` columns hold microseconds.
pub(crate) fn write_parquet(path: &Path, columns: &[(&str, Vec<Option<i64>>)]) {
    let array = |name: &str, values: &Vec<Option<i64>>| -> ArrayRef {
        if name.ends_with("timestamp") {
            Arc::new(TimestampMicrosecondArray::from(values.clone()).with_timezone("UTC"))
        } else {
            Arc::new(Int64Array::from(values.clone()))
        }
    };
    let columns = columns.iter().map(|(name, values)| (*name, array(name, values), true));
    let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

/// 2026-03-05T00:00:00Z in microseconds: inside of the sample data.
pub(crate) const INSTANT: i64 = 1_772_668_800_000_000;
