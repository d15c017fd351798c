//! A version of a Delta table as a table of Parquet files: the files of its log, the columns of its log.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use backsight_registry::model::{FeatureView, SourceKind};
use backsight_storage::Location;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::days::{TimeReach, day_of, promised_column};
use crate::delta_log::{DeltaFile, DeltaVersion};
use crate::error::RetrievalError;
use crate::parquet_table::ParquetTable;
use crate::plan::source_column;
use crate::source_files::SourceFiles;
use crate::widen::widen;

/// Files looked at from outside at the same time.
const HEADS_AT_ONCE: usize = 32;

/// Whether a view reads a Delta table.
pub(crate) fn is_delta(view: &FeatureView) -> bool {
    matches!(view.source.kind, SourceKind::File { delta: true, .. })
}

/// Opens the version of a table that a retrieval reads. With a `reach`, files are passed over whose statistics, or whose
/// day where the source promises what days mean, are out of it.
///
/// # Errors
/// What the log says and cannot be read as it is meant, and as [`ParquetTable::open`].
pub(crate) async fn open_delta(
    files: &SourceFiles,
    location: &Location,
    view: &FeatureView,
    reach: Option<TimeReach>,
    role: &str,
) -> Result<ParquetTable, RetrievalError> {
    let version = files.delta(location, &view.source.name).await?;
    let pruning = Pruning::new(&version, view);
    let is_kept = |file: &&DeltaFile| reach.is_none_or(|reach| pruning.keeps(file, &reach));
    let kept: Vec<&DeltaFile> = version.files.iter().filter(is_kept).collect();
    let heads: Vec<_> = kept.iter().map(|file| files.file_of(&version, file).boxed()).collect();
    let entries: Vec<_> = stream::iter(heads).buffered(HEADS_AT_ONCE).try_collect().await?;
    let mut table = ParquetTable::of_files(files, location, &entries, role).await?;
    let (own, absent) = columns(&version, &table)?;
    for (file, said) in table.files.iter_mut().zip(&kept) {
        file.constants = said.partitions.clone();
    }
    let skipped = version.files.len() - kept.len();
    let partitions = version.partitions.iter().cloned().map(Arc::new);
    let fields = own.fields().iter().cloned().chain(partitions);
    Ok(ParquetTable {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        hive: version.partitions.len(),
        absent,
        skipped: (skipped > 0).then(|| format!("{skipped} of {} files", version.files.len())),
        version: Some(version.version),
        ..table
    })
}

/// By what files are passed over.
struct Pruning {
    /// The event time, where it is a timestamp.
    time: Option<String>,
    /// Which partition is the promised day.
    day: Option<usize>,
}

impl Pruning {
    fn new(version: &DeltaVersion, view: &FeatureView) -> Self {
        let time = source_column(view, &view.source.timestamp_field);
        let field = version.schema.field_with_name(&time).ok();
        let time = field.filter(|field| matches!(field.data_type(), DataType::Timestamp(_, _))).map(|_| time);
        let day = promised_column(view)
            .and_then(|column| version.partitions.iter().position(|field| *field.name() == column));
        Self { time, day }
    }

    fn keeps(&self, file: &DeltaFile, reach: &TimeReach) -> bool {
        let bounds = self.time.as_deref().and_then(|time| file.time_bounds(time));
        let day = self.day.and_then(|place| file.partitions.get(place)).and_then(day);
        bounds.is_none_or(|bounds| reach.meets(bounds)) && day.is_none_or(|day| reach.holds(day))
    }
}

fn day(value: &ArrayRef) -> Option<chrono::NaiveDate> {
    if value.is_null(0) {
        return None;
    }
    day_of(&array_value_to_string(value, 0).ok()?)
}

/// The columns of the log, in the types that it says, and how many files lack each. A file may hold a value in a narrower
/// type; of nested types the files decide.
fn columns(
    version: &DeltaVersion,
    table: &ParquetTable,
) -> Result<(SchemaRef, BTreeMap<String, usize>), RetrievalError> {
    let mut absent = BTreeMap::new();
    let mut fields = Vec::new();
    for said in version.schema.fields() {
        let Ok(held) = table.schema.field_with_name(said.name()) else {
            if !table.files.is_empty() {
                absent.insert(said.name().clone(), table.files.len());
            }
            fields.push(said.as_ref().clone().with_nullable(true));
            continue;
        };
        if let Some(files) = table.absent.get(said.name()) {
            absent.insert(said.name().clone(), *files);
        }
        let data_type = match (held.data_type(), said.data_type()) {
            (held, said) if held == said => said.clone(),
            (held, _) if held.is_nested() => held.clone(),
            (held, said) if widen(held, said).is_some() => said.clone(),
            (held, _) => {
                return Err(RetrievalError::DamagedTable {
                    table: Box::new(version.location.clone()),
                    detail: format!(
                        "column `{}` is {held} in its files and {} by its log",
                        said.name(),
                        said.data_type()
                    ),
                });
            }
        };
        fields.push(Field::new(said.name(), data_type, held.is_nullable()));
    }
    Ok((Arc::new(Schema::new(fields)), absent))
}
