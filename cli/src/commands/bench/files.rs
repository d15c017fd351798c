//! `bench.json`: what a generated folder holds, written first as unfinished and last as complete.

use std::path::Path;

use backsight_proto::ErrorCode;
use serde_json::{Value, json};

use super::data::{Table, Written};
use super::spec::{Spec, read_value};
use crate::errors::Failure;

/// The file's name.
pub(crate) const FILE: &str = "bench.json";

/// A generated folder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Generated {
    pub(crate) spec: Spec,
    /// Where the Parquet files are: `.` for the folder itself, else a URI.
    pub(crate) data: String,
    /// Whether all files are there.
    pub(crate) is_complete: bool,
    /// Rows, files and bytes of the spine and each view, in this order.
    pub(crate) tables: Vec<Counts>,
}

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Generated {
    /// A folder before anything is written into it.
    pub(crate) fn begun(spec: Spec, data: String) -> Self {
        Self { spec, data, is_complete: false, tables: Vec::new() }
    }

    /// The folder with all its files.
    pub(crate) fn completed(self, written: &[Written]) -> Self {
        let views = self.spec.views.iter().enumerate();
        let names = views.map(|(position, view)| (Table::View(position), view.name.clone()));
        let names = std::iter::once((Table::Spine, "spine".to_owned())).chain(names);
        let tables = names.map(|(table, name)| {
            let own = || written.iter().filter(|file| file.table == table);
            Counts {
                name,
                rows: own().map(|file| file.rows).sum(),
                files: own().count() as u64,
                bytes: own().map(|file| file.bytes).sum(),
            }
        });
        Self { is_complete: true, tables: tables.collect(), ..self }
    }

    /// As it is kept.
    pub(crate) fn json(&self) -> Value {
        let counts = |table: &Counts| json!({"name": table.name, "rows": table.rows, "files": table.files, "bytes": table.bytes});
        json!({
            "format": 1,
            "is_complete": self.is_complete,
            "generator": concat!("backsight ", env!("CARGO_PKG_VERSION")),
            "spec": self.spec.json(),
            "data": self.data,
            "tables": self.tables.iter().map(counts).collect::<Vec<_>>(),
        })
    }

    /// Reads the description of `folder`; `None` when there is none.
    ///
    /// # Errors
    /// One that cannot be read.
    pub(crate) fn read(folder: &Path, shown: &str) -> Result<Option<Self>, Failure> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(&format!("read `{shown}/{FILE}`"), &error)),
        };
        let file = format!("{shown}/{FILE}");
        let broken = |reason: String| {
            Failure::new(ErrorCode::Invalid, format!("`{file}` is not what `bench generate` wrote"))
                .with_causes(vec![reason])
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let spec = read_value(&file, &value["spec"])
            .map_err(|found| broken(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let tables = value["tables"].as_array().into_iter().flatten().map(|table| Counts {
            name: table["name"].as_str().unwrap_or_default().to_owned(),
            rows: number(&table["rows"]),
            files: number(&table["files"]),
            bytes: number(&table["bytes"]),
        });
        Ok(Some(Self {
            spec,
            data: value["data"].as_str().unwrap_or(".").to_owned(),
            is_complete: value["is_complete"].as_bool().unwrap_or(false),
            tables: tables.collect(),
        }))
    }

    /// Reads the description of a folder that must be complete.
    ///
    /// # Errors
    /// A folder that was not generated, or not to the end.
    pub(crate) fn require(folder: &Path, shown: &str) -> Result<Self, Failure> {
        let make = "make one with `backsight bench generate`";
        match Self::read(folder, shown)? {
            Some(found) if found.is_complete => Ok(found),
            Some(_) => {
                let message = format!("`{shown}` was not generated to its end");
                Err(Failure::usage(message).with_hint("repeat `backsight bench generate`"))
            }
            None => {
                let message = format!("`{shown}` is no workload: it has no `{FILE}`");
                Err(Failure::new(ErrorCode::NotFound, message).with_hint(make))
            }
        }
    }

    /// Where a table's files are, for a command that runs in the folder's parent or anywhere.
    pub(crate) fn table(&self, folder: &Path, name: &str) -> String {
        if self.data == "." {
            folder.join(name).display().to_string()
        } else {
            format!("{}/{name}", self.data)
        }
    }
}
