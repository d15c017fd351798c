//! Row groups of Parquet files as units of work: found once, read one by one on any core.

use std::sync::Arc;

use backsight_proto::ErrorCode;
use backsight_storage::{Location, Stores};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};

use super::object::ObjectReader;
use crate::errors::Failure;

/// Rows of a batch: what the engine works with.
const BATCH_ROWS: usize = 8_192;

/// One row group of a file.
#[derive(Clone)]
pub(crate) struct Unit {
    reader: ObjectReader,
    metadata: ArrowReaderMetadata,
    group: usize,
    location: Arc<Location>,
}

/// All row groups of the Parquet files below a folder.
///
/// # Errors
/// A fault of the storage, a file that is not Parquet, or none at all.
pub(crate) async fn units(stores: &Stores, folder: &Location) -> Result<Vec<Unit>, Failure> {
    let store = stores.open(folder)?;
    let mut units = Vec::new();
    for entry in stores.list(folder).await? {
        if !entry.location.file_name().is_some_and(|name| name.ends_with(".parquet")) {
            continue;
        }
        let location = Arc::new(entry.location);
        let mut reader = ObjectReader { store: Arc::clone(&store), path: location.path(), size: entry.size };
        let metadata = ArrowReaderMetadata::load_async(&mut reader, ArrowReaderOptions::new())
            .await
            .map_err(|error| failed(&location, &error))?;
        for group in 0..metadata.metadata().num_row_groups() {
            let (reader, metadata, location) = (reader.clone(), metadata.clone(), Arc::clone(&location));
            units.push(Unit { reader, metadata, group, location });
        }
    }
    if units.is_empty() {
        return Err(Failure::new(ErrorCode::NotFound, format!("there are no Parquet files in `{folder}`")));
    }
    Ok(units)
}

impl Unit {
    /// Reads all columns, or those of these names.
    ///
    /// # Errors
    /// A name that is not there.
    pub(crate) fn read(
        &self,
        columns: Option<&[String]>,
    ) -> Result<ParquetRecordBatchStream<ObjectReader>, Failure> {
        let mut builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader.clone(), self.metadata.clone())
                .with_row_groups(vec![self.group])
                .with_batch_size(BATCH_ROWS);
        if let Some(columns) = columns {
            let names = columns.iter().map(String::as_str);
            let mask =
                ProjectionMask::columns(self.metadata.metadata().file_metadata().schema_descr(), names);
            builder = builder.with_projection(mask);
        }
        builder.build().map_err(|error| self.failed(&error))
    }

    /// The file's footer and the number of the group in it.
    pub(crate) fn footer(&self) -> (&ArrowReaderMetadata, usize) {
        (&self.metadata, self.group)
    }

    /// A failure of reading it.
    pub(crate) fn failed(&self, error: &dyn std::error::Error) -> Failure {
        failed(&self.location, error)
    }
}

fn failed(location: &Location, error: &dyn std::error::Error) -> Failure {
    Failure::new(ErrorCode::Data, format!("failed to read `{location}`")).with_causes(vec![error.to_string()])
}
