//! Writes the files of a workload, several at a time and each as a stream, within bounded memory.

use std::num::NonZeroUsize;
use std::sync::Arc;

use backsight_storage::{Location, Stores};
use object_store::buffered::BufWriter;
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::task::JoinSet;

use super::files::{FilePlan, Table};
use super::rows::batch;
use crate::commands::bench::spec::Spec;
use crate::errors::Failure;

/// Bytes that all writers may hold together, roughly; one writer always runs.
const WRITERS_BYTES: u64 = 1 << 30;
/// Values of a batch.
const BATCH_VALUES: u64 = 1 << 20;
/// Rows of a batch.
const BATCH_ROWS: (u64, u64) = (256, 65_536);

/// What one file has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) table: Table,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// Writes all files below `folder`; `seen` is told the rows of each that is done.
///
/// # Errors
/// The first fault of the storage. Files that are there already are replaced.
pub(crate) async fn write_all(
    spec: &Arc<Spec>,
    files: Vec<FilePlan>,
    stores: &Stores,
    folder: &Location,
    cores: NonZeroUsize,
    mut seen: impl FnMut(u64),
) -> Result<Vec<Written>, Failure> {
    let mut written = Vec::with_capacity(files.len());
    let mut writers = JoinSet::new();
    let at_once = writers_at_once(spec, cores);
    let mut open = files.into_iter();
    loop {
        while writers.len() < at_once
            && let Some(file) = open.next()
        {
            let (spec, stores, location) = (Arc::clone(spec), stores.clone(), folder.join(&file.path));
            writers.spawn(async move { write(&spec, &file, &stores, &location).await });
        }
        let Some(done) = writers.join_next().await else { return Ok(written) };
        let done = done.map_err(|error| Failure::bug(format!("a writer has ended: {error}")))??;
        seen(done.rows);
        written.push(done);
    }
}

/// A row group is encoded in memory before it is written.
fn writers_at_once(spec: &Spec, cores: NonZeroUsize) -> usize {
    let groups = spec.views.iter().map(|view| view.row_group_rows.min(view.rows) * (view.features + 3) * 8);
    let spine = spec.spine.row_group_rows.min(spec.spine.rows) * (spec.entities.len() as u64 + 2) * 8;
    let most = groups.chain([spine]).max().unwrap_or(1).max(1);
    usize::try_from(WRITERS_BYTES / most).unwrap_or(usize::MAX).clamp(1, cores.get())
}

async fn write(
    spec: &Spec,
    file: &FilePlan,
    stores: &Stores,
    location: &Location,
) -> Result<Written, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(backsight_proto::ErrorCode::Unreachable, format!("failed to write `{location}`"))
            .with_causes(vec![error.to_string()])
    };
    let store = stores.open(location)?;
    let first = batch(spec, file, file.rows.start..file.rows.start).map_err(|error| failed(&error))?;
    let sink = BufWriter::new(store, location.path());
    let mut writer = AsyncArrowWriter::try_new(sink, first.schema(), Some(properties(spec, file.table)))
        .map_err(|error| failed(&error))?;
    let columns = first.num_columns() as u64;
    let step = (BATCH_VALUES / columns.max(1)).clamp(BATCH_ROWS.0, BATCH_ROWS.1);
    let mut start = file.rows.start;
    while start < file.rows.end {
        let end = (start + step).min(file.rows.end);
        let rows = batch(spec, file, start..end).map_err(|error| failed(&error))?;
        writer.write(&rows).await.map_err(|error| failed(&error))?;
        start = end;
        // Other files, and whoever asks to stop, get their turn.
        tokio::task::yield_now().await;
    }
    writer.finish().await.map_err(|error| failed(&error))?;
    let bytes = stores.head(location).await?.map_or(0, |entry| entry.size);
    Ok(Written { table: file.table, rows: file.rows.end - file.rows.start, bytes })
}

fn properties(spec: &Spec, table: Table) -> WriterProperties {
    let view = match table {
        Table::Spine => None,
        Table::View(position) => spec.views.get(position),
    };
    let groups = view.map_or(spec.spine.row_group_rows, |view| view.row_group_rows);
    let size = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(size(groups)))
        .set_created_by("backsight bench".to_owned());
    if let Some(view) = view {
        properties = properties
            .set_data_page_row_count_limit(size(view.page_rows))
            .set_write_batch_size(size(view.page_rows).min(1_024));
    }
    properties.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::spec::preset;

    #[test]
    fn wide_files_are_written_by_fewer_writers() {
        let cores = NonZeroUsize::new(16).unwrap();
        assert_eq!(writers_at_once(&preset("tiny").unwrap(), cores), 16);
        assert_eq!(writers_at_once(&preset("wide500").unwrap(), cores), 1);
    }
}
