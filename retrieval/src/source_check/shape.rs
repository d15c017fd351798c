//! What the footers of one source say, as plain values.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};

use crate::delta_log::DeltaVersion;

/// The columns of a source's files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceShape {
    /// Where the source is, as messages name it.
    pub location: String,
    /// How many files there are.
    pub files: usize,
    /// How many of them were looked at.
    pub files_read: usize,
    /// Every column that any of those has.
    pub columns: BTreeMap<String, ColumnShape>,
}

/// A type of a column, and the first file that has it so.
pub type SeenType = (DataType, String);

/// One column of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnShape {
    /// Its types in order of first sight, each with the first file that has it so.
    pub types: Vec<SeenType>,
    /// How many files have it.
    pub files: usize,
}

impl SourceShape {
    /// A source of so many files, none of them looked at.
    pub fn new(location: String, files: usize) -> Self {
        Self { location, files, ..Self::default() }
    }

    /// What the log of a Delta table says: all of its files have all columns.
    pub(super) fn of_table(table: &DeltaVersion) -> Self {
        let location = table.location.to_string();
        let files = table.files.len();
        let fields = table.schema.fields().iter().map(AsRef::as_ref).chain(&table.partitions);
        let columns = fields.map(|field| {
            let types = vec![(field.data_type().clone(), location.clone())];
            (field.name().clone(), ColumnShape { types, files })
        });
        Self { columns: columns.collect(), files, files_read: files, location: location.clone() }
    }

    /// Takes over what one file has.
    pub fn add(&mut self, file: &str, schema: &Schema) {
        self.files_read += 1;
        for field in schema.fields() {
            let column = self.columns.entry(field.name().clone()).or_default();
            column.files += 1;
            if column.types.iter().all(|(known, _)| known != field.data_type()) {
                column.types.push((field.data_type().clone(), file.to_owned()));
            }
        }
    }

    /// The same with columns that folders are: every file has them.
    #[must_use]
    pub(super) fn with_folders(&self, columns: &[Field], first_file: &str) -> Self {
        let mut shape = self.clone();
        for field in columns {
            let types = vec![(field.data_type().clone(), first_file.to_owned())];
            shape.columns.insert(field.name().clone(), ColumnShape { types, files: self.files_read });
        }
        shape
    }

    /// The names of its columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns.keys().cloned().collect()
    }
}
