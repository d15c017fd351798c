//! Reads the log of a Delta table: which files are its rows at a version, with what the log says of each.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, SchemaRef};
use backsight_storage::{FileEntry, Location, StorageError, Stores};
use deltalake_core::logstore::{StorageConfig, default_logstore};
use deltalake_core::{DeltaTable, DeltaTableError};
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::bounds::TimeBounds;
use crate::delta::{
    Refused, is_readable_partition, judge, partition_columns, partition_values, relative_path, time_bounds,
};
use crate::error::RetrievalError;

/// A version of a Delta table.
#[derive(Debug)]
pub(crate) struct DeltaVersion {
    pub(crate) location: Location,
    pub(crate) version: u64,
    /// Its columns but those of partitions.
    pub(crate) schema: SchemaRef,
    pub(crate) partitions: Vec<Field>,
    /// In path order.
    pub(crate) files: Vec<DeltaFile>,
}

/// A file that holds rows of a version.
#[derive(Debug, Clone)]
pub(crate) struct DeltaFile {
    pub(crate) location: Location,
    size: u64,
    /// A value for each partition column.
    pub(crate) partitions: Vec<ArrayRef>,
    statistics: Option<Arc<str>>,
}

impl DeltaFile {
    /// The bounds of a timestamp column, where the log says them.
    pub(crate) fn time_bounds(&self, column: &str) -> Option<TimeBounds> {
        time_bounds(self.statistics.as_deref()?, column)
    }
}

impl DeltaVersion {
    /// Reads the log up to a version, or to the newest.
    ///
    /// # Errors
    /// No table there, a version that it does not have, storage faults, a damaged log, and tables that cannot be read as
    /// they are meant.
    pub(crate) async fn read(
        stores: &Stores,
        location: &Location,
        version: Option<u64>,
    ) -> Result<Self, RetrievalError> {
        let unsupported = |refused: Refused| RetrievalError::UnsupportedTable {
            table: Box::new(location.clone()),
            reason: refused.reason,
            hint: refused.hint,
        };
        let table = match load(stores, location, version).await {
            Ok(table) => table,
            Err(error) => return Err(log_error(stores, location, version, error).await),
        };
        let damaged = |detail: String| damaged(location, detail);
        let state = table.snapshot().map_err(|error| damaged(error.to_string()))?;
        let json = |value: serde_json::Result<serde_json::Value>| value.map_err(|e| damaged(e.to_string()));
        let metadata = json(serde_json::to_value(state.metadata()))?;
        judge(&json(serde_json::to_value(state.protocol()))?, &metadata).map_err(unsupported)?;
        let schema = state.snapshot().arrow_schema();
        let partitions = partition_columns(&metadata);
        let fields = partitions.iter().map(|name| {
            let field = schema.field_with_name(name).map_err(|error| damaged(error.to_string()))?;
            if !is_readable_partition(field.data_type()) {
                return Err(unsupported(Refused {
                    reason: format!("has a partition column `{name}` of type {}", field.data_type()),
                    hint: "partition it by other columns".to_owned(),
                }));
            }
            Ok(Field::new(name, field.data_type().clone(), true))
        });
        let fields = fields.collect::<Result<Vec<Field>, _>>()?;
        let mut files = Vec::new();
        for file in state.log_data().iter() {
            let path = file.path();
            if file.deletion_vector_descriptor().is_some() {
                return Err(unsupported(Refused {
                    reason: format!(
                        "has deleted rows that are still in its files (a deletion vector of `{path}`)"
                    ),
                    hint: "write its files again, with `REORG TABLE … APPLY (PURGE)`".to_owned(),
                }));
            }
            let relative = relative_path(&path).map_err(unsupported)?;
            files.push(DeltaFile {
                location: location.join(relative),
                size: u64::try_from(file.size()).unwrap_or(0),
                partitions: partition_values(&fields, &file.partition_values_map())
                    .map_err(|detail| damaged(format!("`{path}`: {detail}")))?,
                statistics: file.stats().map(Arc::from),
            });
        }
        files.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        let own = schema.fields().iter().filter(|field| !partitions.contains(field.name()));
        let own: Vec<Field> = own
            .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
            .collect();
        Ok(Self {
            location: location.clone(),
            version: state.version(),
            schema: Arc::new(arrow::datatypes::Schema::new(own)),
            partitions: fields,
            files,
        })
    }
}

/// What a file of a version looks like from outside: the log does not know the store's version of it.
///
/// # Errors
/// Storage faults, a file that is gone, and one that is not as the log says.
pub(crate) async fn look_at(
    stores: &Stores,
    version: u64,
    file: &DeltaFile,
) -> Result<FileEntry, RetrievalError> {
    let detail = match stores.head(&file.location).await? {
        Some(entry) if entry.size == file.size => return Ok(entry),
        Some(entry) => format!("has {} bytes, and the table's log says {}", entry.size, file.size),
        None => "is not there".to_owned(),
    };
    Err(RetrievalError::TableFile { file: Box::new(file.location.clone()), version, detail })
}

async fn load(
    stores: &Stores,
    location: &Location,
    version: Option<u64>,
) -> Result<DeltaTable, DeltaTableError> {
    let store = stores.open(location).map_err(|error| DeltaTableError::Generic(error.to_string()))?;
    // The log's reader sees the table as the root of a file system: so names that URLs escape are no matter to it.
    let table: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(store, location.path()));
    let root = Url::parse("file:///").map_err(|error| DeltaTableError::Generic(error.to_string()))?;
    let log = default_logstore(Arc::clone(&table), table, &root, &StorageConfig::default());
    let mut table = DeltaTable::new(log);
    match version {
        Some(version) => table.load_version(version).await?,
        None => table.load().await?,
    }
    Ok(table)
}

fn damaged(location: &Location, detail: String) -> RetrievalError {
    RetrievalError::DamagedTable { table: Box::new(location.clone()), detail }
}

/// A log that cannot be read: storage's fault, no log at all, a version that is not there, or the log's own.
async fn log_error(
    stores: &Stores,
    location: &Location,
    version: Option<u64>,
    error: DeltaTableError,
) -> RetrievalError {
    let log = location.join("_delta_log");
    match stores.list(&log).await {
        Err(error) => error.into(),
        Ok(files) if files.is_empty() => StorageError::NothingFound {
            location: location.clone(),
            looked_for: "there is no Delta table: the folder has no `_delta_log`".to_owned(),
        }
        .into(),
        Ok(files) => {
            let newest = files.iter().filter_map(|file| commit_version(&file.location)).max();
            match version.zip(newest) {
                Some((wanted, newest)) if wanted > newest => RetrievalError::Usage {
                    message: format!("Delta table `{location}` has no version {wanted}"),
                    hint: Some(format!("its newest is {newest}")),
                },
                // What the reader of the log itself does not know.
                _ if error.to_string().to_ascii_lowercase().contains("unsupported") => {
                    RetrievalError::UnsupportedTable {
                        table: Box::new(location.clone()),
                        reason: format!("cannot be read: {error}"),
                        hint: "copy it into a table without that feature".to_owned(),
                    }
                }
                _ => damaged(location, error.to_string()),
            }
        }
    }
}

/// The version that a file of the log is the commit of.
fn commit_version(file: &Location) -> Option<u64> {
    let (version, extension) = file.file_name()?.split_once('.')?;
    (version.len() == 20 && extension == "json").then(|| version.parse().ok()).flatten()
}
