//! Looks closer at the row groups of sources that footers leave in: page indexes and Bloom filters are read where they can rule out
//! something, so that plans know exactly which rows are scanned.
//!
//! What is read is small beside the row groups, and it is read once, before anything moves: rows that were left out are known
//! to `--explain`, to the account of the commit, and to whoever runs the plan.

use std::collections::HashSet;
use std::sync::Arc;

use ahash::RandomState;
use arrow::datatypes::Field;
use backsight_storage::{StorageError, Stores};
use futures::TryStreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;

use crate::bloom::{can_rule_out, is_worth_reading, lacks_all};
use crate::bounds::{TimeBounds, page_times};
use crate::error::RetrievalError;
use crate::footers::Footers;
use crate::key_range::{KeySet, KeyValue, key_values, page_keys};
use crate::object_reader::{ObjectReader, decoded};
use crate::page_index::{has_page_index, read_page_index};
use crate::parquet_table::{ParquetFile, ParquetTable};
use crate::plan::{ViewInput, source_column};
use crate::reach::{GroupPages, Reach, Reading};
use crate::shards::SourceGroup;

/// Of a spine with more rows no keys are read.
const SPINE_ROWS_MAX: u64 = 1_000_000;
/// More keys than this are not few: nearly every page holds one of them.
const KEYS_MAX: usize = 10_000;
/// Row groups looked at at the same time. Where so many give nothing, the other ones of the view are taken to be alike.
const LOOKS_AT_ONCE: usize = 32;

/// Adds to `footers` what page indexes and Bloom filters of the sources say about the row groups within reach.
///
/// # Errors
/// Faults of the store, a spine that cannot be read.
pub(crate) async fn narrow(
    stores: &Stores,
    spine: &ParquetTable,
    views: &[ViewInput],
    instants: Option<TimeBounds>,
    footers: &mut Footers,
) -> Result<(), RetrievalError> {
    let reach = |footers: &Footers| {
        let reach = footers.reach(None);
        Reach { time: reach.time.or(instants), ..reach }
    };
    if spine.rows() <= SPINE_ROWS_MAX {
        let of_footers = reach(footers);
        let mut sets = Vec::with_capacity(footers.columns.len());
        for column in &footers.columns {
            let is_asked = views.iter().enumerate().any(|(view, input)| {
                let within = within_reach(footers, view, input, &of_footers).into_iter();
                within.flatten().any(|group| group.tells_keys(column))
            });
            let set = if is_asked { spine_keys(stores, spine, column).await? } else { None };
            sets.push(set.map(Arc::new));
        }
        footers.sets = sets;
    }
    let reach = reach(footers);
    for (view, input) in views.iter().enumerate() {
        let looks: Vec<Look<'_>> = within_reach(footers, view, input, &reach)
            .into_iter()
            .enumerate()
            .filter_map(|(place, group)| Look::new(footers, view, place, group?, &reach))
            .collect();
        let mut seen = Vec::with_capacity(looks.len());
        let mut waiting = looks.into_iter().peekable();
        let mut is_worth = true;
        while is_worth && waiting.peek().is_some() {
            let some: Vec<BoxFuture<'_, Result<Seen, RetrievalError>>> =
                waiting.by_ref().take(LOOKS_AT_ONCE).map(|look| look.run(stores).boxed()).collect();
            let found: Vec<Seen> = stream::iter(some).buffered(LOOKS_AT_ONCE).try_collect().await?;
            let source = &footers.sources[view];
            is_worth = seen.len() >= LOOKS_AT_ONCE
                || found.iter().any(|seen| {
                    let group = &source.groups[seen.place];
                    let narrowed = SourceGroup {
                        pages: seen.pages.clone(),
                        lacks_keys: seen.lacks_keys,
                        ..group.clone()
                    };
                    reach.reading(source, &narrowed) != Reading::All
                });
            seen.extend(found);
        }
        for seen in seen {
            let group = &mut footers.sources[view].groups[seen.place];
            (group.pages, group.lacks_keys) = (seen.pages, seen.lacks_keys);
        }
    }
    Ok(())
}

/// A row group of a source, in its file.
#[derive(Clone, Copy)]
struct GroupOf<'a> {
    view: &'a ViewInput,
    file: &'a ParquetFile,
    group: usize,
}

/// The row groups of a view in order; `None` where one is out of reach.
fn within_reach<'a>(
    footers: &Footers,
    view: usize,
    input: &'a ViewInput,
    reach: &Reach,
) -> Vec<Option<GroupOf<'a>>> {
    let source = &footers.sources[view];
    let places = input.table.files.iter().flat_map(|file| {
        (0..file.metadata.num_row_groups()).map(move |group| GroupOf { view: input, file, group })
    });
    let is_within = |group| !matches!(reach.reading(source, group), Reading::Nothing(_));
    source.groups.iter().zip(places).map(|(group, place)| is_within(group).then_some(place)).collect()
}

impl GroupOf<'_> {
    /// Leaf and field of a column of the file that has one plain value a row.
    fn leaf(&self, column: &str) -> Option<(usize, Field)> {
        let root = self.file.schema.index_of(column).ok()?;
        let schema = self.file.metadata.file_metadata().schema_descr();
        let mut leaves = (0..schema.num_columns()).filter(|&leaf| schema.get_column_root_idx(leaf) == root);
        let (leaf, more) = (leaves.next()?, leaves.next());
        let is_plain = more.is_none() && schema.column(leaf).path().parts().len() == 1;
        (is_plain && schema.column(leaf).max_rep_level() == 0)
            .then(|| (leaf, self.file.schema.field(root).clone()))
    }

    /// The view's column behind a key column of the spine.
    fn key_leaf(&self, spine_column: &str) -> Option<(usize, Field)> {
        let key = self.view.resolved.keys.iter().find(|key| key.spine_column == *spine_column)?;
        self.leaf(&source_column(&self.view.resolved.view, &key.view_column))
    }

    /// Whether it has a page index or a filter to hold keys against.
    fn tells_keys(&self, spine_column: &str) -> bool {
        self.key_leaf(spine_column).is_some_and(|(leaf, field)| {
            let group = self.file.metadata.row_group(self.group);
            let bytes = u64::try_from(group.compressed_size()).unwrap_or(0);
            has_page_index(group.column(leaf))
                || is_worth_reading(group.column(leaf), field.data_type(), bytes)
        })
    }
}

/// What is to be found out about a row group.
struct Look<'a> {
    of: GroupOf<'a>,
    place: usize,
    time: Option<(usize, Field)>,
    /// For each of the columns that the spine could be cut by.
    keys: Vec<Option<(usize, Field)>>,
    filters: Vec<(usize, Field, Arc<KeySet>)>,
}

/// What was found.
struct Seen {
    place: usize,
    pages: Option<Arc<GroupPages>>,
    lacks_keys: bool,
}

impl<'a> Look<'a> {
    /// Nothing when neither pages nor filters can rule out anything.
    fn new(footers: &Footers, view: usize, place: usize, of: GroupOf<'a>, reach: &Reach) -> Option<Self> {
        let source = &footers.sources[view];
        let (covers_time, covers_keys) = reach.covers(source, &source.groups[place]);
        let metadata = of.file.metadata.row_group(of.group);
        let bytes = u64::try_from(metadata.compressed_size()).unwrap_or(0);
        let has_pages = |(leaf, _): &(usize, Field)| has_page_index(metadata.column(*leaf));
        let definition = &of.view.resolved.view;
        let time = source_column(definition, &definition.source.timestamp_field);
        let time = if covers_time { None } else { of.leaf(&time).filter(has_pages) };
        let mut filters = Vec::new();
        let mut keys = Vec::with_capacity(footers.columns.len());
        for (number, column) in footers.columns.iter().enumerate() {
            let leaf = of.key_leaf(column);
            if let (Some((leaf, field)), Some(set)) = (&leaf, reach.sets.get(number).and_then(Option::as_ref))
                && can_rule_out(set)
                && is_worth_reading(metadata.column(*leaf), field.data_type(), bytes)
            {
                filters.push((*leaf, field.clone(), Arc::clone(set)));
            }
            let is_covered = covers_keys.get(number).copied().unwrap_or(true);
            keys.push(leaf.filter(|_| !is_covered).filter(has_pages));
        }
        let is_useless = time.is_none() && keys.iter().all(Option::is_none) && filters.is_empty();
        (!is_useless).then_some(Self { of, place, time, keys, filters })
    }

    async fn run(self, stores: &Stores) -> Result<Seen, RetrievalError> {
        let (table, file) = (&self.of.view.table, self.of.file);
        let fault = |error: ParquetError| fault(table, file, Some(self.of.group), error);
        let store = stores.open(&file.entry.location)?;
        let mut reader = ObjectReader::new(store, file.entry.location.path(), file.entry.size);
        for (leaf, field, set) in &self.filters {
            let asked =
                lacks_all(reader.clone(), &file.metadata, self.of.group, *leaf, field.data_type(), set);
            if decoded(asked).await.map_err(fault)? {
                return Ok(Seen { place: self.place, pages: None, lacks_keys: true });
            }
        }
        let group = file.metadata.row_group(self.of.group);
        let mut pages = GroupPages::default();
        if let Some((leaf, field)) = &self.time {
            let index = read_page_index(&mut reader, file.entry.size, group, *leaf, field);
            pages.time = decoded(index).await.map_err(fault)?.as_ref().and_then(page_times);
        }
        for key in &self.keys {
            let of_key = match key {
                Some((leaf, field)) => {
                    let index = read_page_index(&mut reader, file.entry.size, group, *leaf, field);
                    decoded(index).await.map_err(fault)?.as_ref().and_then(page_keys)
                }
                None => None,
            };
            pages.keys.push(of_key);
        }
        let says_something = pages.time.is_some() || pages.keys.iter().any(Option::is_some);
        Ok(Seen { place: self.place, pages: says_something.then(|| Arc::new(pages)), lacks_keys: false })
    }
}

/// Every key in a column of the spine; `None` when they are many, or of a type that is not ordered here.
async fn spine_keys(
    stores: &Stores,
    spine: &ParquetTable,
    column: &str,
) -> Result<Option<KeySet>, RetrievalError> {
    let mut keys: HashSet<KeyValue, RandomState> = HashSet::default();
    for file in &spine.files {
        let fault = |error: ParquetError| fault(spine, file, None, error);
        // A file that lacks the column has null there.
        let Ok(position) = file.schema.index_of(column) else { continue };
        let store = stores.open(&file.entry.location)?;
        let reader = ObjectReader::new(store, file.entry.location.path(), file.entry.size);
        let metadata = ArrowReaderMetadata::try_new(Arc::clone(&file.metadata), ArrowReaderOptions::new());
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata.map_err(fault)?);
        let mask = ProjectionMask::roots(builder.parquet_schema(), [position]);
        let mut batches = builder.with_projection(mask).build().map_err(fault)?;
        while let Some(batch) = decoded(batches.try_next()).await.map_err(fault)? {
            let Some(values) = key_values(batch.column(0)) else { return Ok(None) };
            keys.extend(values.into_iter().flatten());
            if keys.len() > KEYS_MAX {
                return Ok(None);
            }
        }
    }
    Ok(Some(KeySet::new(keys)))
}

/// Storage's faults stay what they are; what is left is the file's.
pub(crate) fn fault(
    table: &ParquetTable,
    file: &ParquetFile,
    group: Option<usize>,
    error: ParquetError,
) -> RetrievalError {
    let detail = match error {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(cause) => return StorageError::classify(&file.entry.location, *cause).into(),
            Err(cause) => cause.to_string(),
        },
        error => error.to_string(),
    };
    RetrievalError::Corrupt {
        role: table.role.clone(),
        file: Box::new(file.entry.location.clone()),
        row_group: group,
        detail,
    }
}
