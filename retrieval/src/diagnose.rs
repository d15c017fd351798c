//! Finds the file and row group behind a decoding failure: the engine's error names neither.

use std::panic::AssertUnwindSafe;

use backsight_proto::ErrorCode;
use backsight_storage::Stores;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;

use crate::error::RetrievalError;
use crate::object_reader::ObjectReader;
use crate::parquet_table::{ParquetFile, ParquetTable};
use crate::prepare::Prepared;

impl Prepared {
    /// After a failed run: if a file that was read cannot be decoded, the error that names it, else `error`.
    ///
    /// Reads the files once more, row group by row group, until the first that fails; only failures pay for it.
    pub fn explain_failure<'a>(
        &'a self,
        stores: &'a Stores,
        error: RetrievalError,
    ) -> BoxFuture<'a, RetrievalError> {
        Box::pin(self.try_explain(stores, error))
    }

    async fn try_explain(&self, stores: &Stores, error: RetrievalError) -> RetrievalError {
        let is_of_data = match &error {
            // What looks like a bug can be a decoder that gave up on a damaged file.
            RetrievalError::Data { .. } | RetrievalError::Bug { .. } => true,
            RetrievalError::Remote(failure) => {
                matches!(failure.error_code(), ErrorCode::Data | ErrorCode::Bug)
            }
            _ => false,
        };
        if !is_of_data {
            return error;
        }
        for table in std::iter::once(&self.spine).chain(self.views.iter().map(|view| &view.table)) {
            for file in &table.files {
                if let Some(corrupt) = first_corrupt_group(stores, table, file).await {
                    return corrupt;
                }
            }
        }
        error
    }
}

async fn first_corrupt_group(
    stores: &Stores,
    table: &ParquetTable,
    file: &ParquetFile,
) -> Option<RetrievalError> {
    for group in 0..file.metadata.num_row_groups() {
        let decoded = AssertUnwindSafe(decode_group(stores, file, group)).catch_unwind().await;
        if let Err(detail) = decoded.unwrap_or_else(|_| Err("its decoder gave up".to_owned())) {
            return Some(RetrievalError::Corrupt {
                role: table.role.clone(),
                file: Box::new(file.entry.location.clone()),
                row_group: Some(group),
                detail,
            });
        }
    }
    None
}

async fn decode_group(stores: &Stores, file: &ParquetFile, group: usize) -> Result<(), String> {
    let Ok(store) = stores.open(&file.entry.location) else { return Ok(()) };
    let reader = ObjectReader::new(store, file.entry.location.path(), file.entry.size);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|e| e.to_string())?;
    let mut stream = builder.with_row_groups(vec![group]).build().map_err(|e| e.to_string())?;
    while let Some(batch) = stream.next().await {
        batch.map_err(|e| e.to_string())?;
    }
    Ok(())
}
