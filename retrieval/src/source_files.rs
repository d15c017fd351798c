//! The files of sources as one retrieval sees them: each place is listed once and each footer read once, whoever asks.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use backsight_storage::{FileEntry, Location, StorageError, Stores};
use chrono::NaiveDate;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use parquet::file::metadata::ParquetMetaData;
use tokio::sync::OnceCell;

use crate::days::{SkippedDays, TimeReach, day_of, days_of, within};
use crate::delta_log::{DeltaFile, DeltaVersion, look_at};
use crate::error::RetrievalError;
use crate::footer_cache::FooterCache;
use crate::hive::segment;
use crate::parquet_table::{ParquetFile, read_footer};

/// Names of data files end in this.
const EXTENSIONS: [&str; 1] = ["parquet"];
/// Folders listed one by one rather than with all others: as many requests as they are pay for themselves.
const FOLDERS_MAX: usize = 64;
/// Folders listed at the same time.
const FOLDERS_AT_ONCE: usize = 16;

/// What is asked for once, by what it is asked for.
type Once<K, V> = Mutex<HashMap<K, Arc<OnceCell<V>>>>;

/// Listings and footers that a retrieval has read.
#[derive(Debug)]
pub(crate) struct SourceFiles {
    stores: Stores,
    listings: Once<Location, Arc<[FileEntry]>>,
    folders: Once<Location, Arc<[FileEntry]>>,
    dated: Once<(Location, String), Arc<Dated>>,
    /// By place and the version that is asked for.
    tables: Once<(Location, Option<u64>), Arc<DeltaVersion>>,
    heads: Once<Location, FileEntry>,
    footers: Once<(Location, Option<String>), (Arc<ParquetMetaData>, SchemaRef)>,
    schemas: Mutex<Schemas>,
    /// Versions of tables that are asked for, by the source's name; of others it is the newest.
    versions: BTreeMap<String, u64>,
}

/// A place whose folders may be days.
#[derive(Debug)]
enum Dated {
    /// Its first folders are: nothing below them was listed.
    Folders {
        /// With the days that they name; `None` for null and for what is no date.
        dated: Vec<(Option<NaiveDate>, Location)>,
        /// Folders of other names.
        others: Vec<Location>,
        /// Files beside them.
        files: Vec<FileEntry>,
    },
    /// Any other, listed whole.
    Whole(Arc<[FileEntry]>),
}

/// Files that a view needs, and what was left out.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) files: Vec<FileEntry>,
    pub(crate) skipped: Option<SkippedDays>,
}

impl SourceFiles {
    pub(crate) fn new(stores: &Stores) -> Self {
        Self {
            stores: stores.clone(),
            listings: Mutex::default(),
            folders: Mutex::default(),
            dated: Mutex::default(),
            tables: Mutex::default(),
            heads: Mutex::default(),
            footers: Mutex::default(),
            schemas: Mutex::default(),
            versions: BTreeMap::new(),
        }
    }

    /// The same with versions of tables, by the source's name.
    pub(crate) fn with_versions(self, versions: &BTreeMap<String, u64>) -> Self {
        Self { versions: versions.clone(), ..self }
    }

    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The files that `location` means.
    ///
    /// # Errors
    /// As [`Stores::expand`].
    pub(crate) async fn expand(&self, location: &Location) -> Result<Arc<[FileEntry]>, StorageError> {
        let cell = cell(&self.listings, location);
        let listed = cell.get_or_try_init(|| async { Ok(self.stores.expand(location).await?.into()) }).await;
        listed.map(Arc::clone)
    }

    /// The data files below a folder; there may be none.
    async fn below(&self, folder: &Location) -> Result<Arc<[FileEntry]>, StorageError> {
        let cell = cell(&self.folders, folder);
        let listed = || async { Ok(self.stores.data_below(folder, &EXTENSIONS).await?.into()) };
        cell.get_or_try_init(listed).await.map(Arc::clone)
    }

    /// Looks at a place whose folders `column=…` are days.
    ///
    /// # Errors
    /// As [`Stores::expand`].
    pub(crate) async fn look_at_days(&self, location: &Location, column: &str) -> Result<(), StorageError> {
        self.dated(location, column).await.map(drop)
    }

    async fn dated(&self, location: &Location, column: &str) -> Result<Arc<Dated>, StorageError> {
        let cell = cell(&self.dated, &(location.clone(), column.to_owned()));
        let looked = || async {
            let folder = match location.path().as_ref().contains(['*', '?', '[', '{']) {
                true => backsight_storage::Folder::default(),
                false => self.stores.folder(location, &EXTENSIONS).await?,
            };
            let (mut dated, mut others) = (Vec::new(), Vec::new());
            for folder in folder.folders {
                match folder.file_name().and_then(segment).filter(|(name, _)| name == column) {
                    Some((_, value)) => dated.push((value.as_deref().and_then(day_of), folder)),
                    None => others.push(folder),
                }
            }
            Ok(Arc::new(if dated.is_empty() {
                Dated::Whole(self.expand(location).await?)
            } else {
                Dated::Folders { dated, others, files: folder.files }
            }))
        };
        cell.get_or_try_init(looked).await.map(Arc::clone)
    }

    /// The files that `location` means but those of days that are out of reach.
    ///
    /// # Errors
    /// As [`Stores::expand`].
    pub(crate) async fn within(
        &self,
        location: &Location,
        column: &str,
        reach: &TimeReach,
    ) -> Result<Found, StorageError> {
        let whole = |files: &[FileEntry]| Found {
            skipped: SkippedDays::count(column, days_of(location, files, column), reach),
            files: within(location, files, column, reach),
        };
        let looked = self.dated(location, column).await?;
        let (dated, others, files) = match looked.as_ref() {
            Dated::Whole(files) => return Ok(whole(files)),
            Dated::Folders { dated, others, files } => (dated, others, files),
        };
        let Some(folders) = folders_to_list(dated, reach) else {
            return Ok(whole(&self.expand(location).await?));
        };
        let listings: Vec<_> =
            folders.into_iter().chain(others).map(|folder| self.below(folder).boxed()).collect();
        let listed: Vec<Arc<[FileEntry]>> =
            stream::iter(listings).buffered(FOLDERS_AT_ONCE).try_collect().await?;
        let mut files: Vec<FileEntry> =
            files.iter().chain(listed.iter().flat_map(|listed| listed.iter())).cloned().collect();
        if files.is_empty() {
            // What is there lies elsewhere, or nothing is.
            return Ok(whole(&self.expand(location).await?));
        }
        files.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        let skipped = SkippedDays::count(column, dated.iter().filter_map(|(day, _)| *day), reach);
        Ok(Found { files: within(location, &files, column, reach), skipped })
    }

    /// The version of a source's Delta table that is read.
    ///
    /// # Errors
    /// As [`DeltaVersion::read`].
    pub(crate) async fn delta(
        &self,
        location: &Location,
        source: &str,
    ) -> Result<Arc<DeltaVersion>, RetrievalError> {
        let wanted = self.versions.get(source).copied();
        let cell = cell(&self.tables, &(location.clone(), wanted));
        let read = || async { Ok(Arc::new(DeltaVersion::read(&self.stores, location, wanted).await?)) };
        cell.get_or_try_init(read).await.map(Arc::clone)
    }

    /// A file of a version as it is found in its store.
    ///
    /// # Errors
    /// As [`look_at`].
    pub(crate) async fn file_of(
        &self,
        version: &DeltaVersion,
        file: &DeltaFile,
    ) -> Result<FileEntry, RetrievalError> {
        let cell = cell(&self.heads, &file.location);
        let look = || look_at(&self.stores, version.version, file);
        cell.get_or_try_init(look).await.cloned()
    }

    /// A file with its footer.
    ///
    /// # Errors
    /// Storage faults, and a file that is no sound Parquet.
    pub(crate) async fn footer(&self, entry: FileEntry, role: &str) -> Result<ParquetFile, RetrievalError> {
        let cell = cell(&self.footers, &(entry.location.clone(), entry.etag.clone()));
        let read = || async {
            let kept = self.stores.extension::<FooterCache>();
            if let Some(known) = kept.get(&entry) {
                return Ok(known);
            }
            let file = read_footer(&self.stores, entry.clone(), role).await?;
            let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
            let schema = schemas.shared(file.schema);
            kept.put(&entry, &file.metadata, &schema);
            Ok::<_, RetrievalError>((file.metadata, schema))
        };
        let (metadata, schema) = cell.get_or_try_init(read).await?;
        Ok(ParquetFile {
            metadata: Arc::clone(metadata),
            schema: Arc::clone(schema),
            constants: Vec::new(),
            entry,
        })
    }
}

/// The folders to be listed one by one; `None` where listing everything is the better way. The first and the last day
/// are among them: their files show which columns there are.
fn folders_to_list<'a>(
    dated: &'a [(Option<NaiveDate>, Location)],
    reach: &TimeReach,
) -> Option<Vec<&'a Location>> {
    let is_kept = |day: &Option<NaiveDate>| day.is_none_or(|day| reach.holds(day));
    let out = || dated.iter().filter(|(day, _)| !is_kept(day));
    let (first, last) = (out().min(), out().max());
    let mut wanted: Vec<&Location> =
        dated.iter().filter(|(day, _)| is_kept(day)).map(|(_, folder)| folder).collect();
    wanted.extend(first.into_iter().chain(last).map(|(_, folder)| folder));
    wanted.sort_unstable();
    wanted.dedup();
    (wanted.len() <= FOLDERS_MAX && wanted.len() < dated.len()).then_some(wanted)
}

fn cell<K: Hash + Eq + Clone, V>(cells: &Once<K, V>, key: &K) -> Arc<OnceCell<V>> {
    let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(cells.entry(key.clone()).or_default())
}

/// Schemas of files, each kept once: files of one writer have the same, and there may be thousands of columns.
#[derive(Debug, Default)]
struct Schemas(Vec<SchemaRef>);

impl Schemas {
    /// Different schemas that are looked through; files that all differ are kept as they are.
    const KEPT_MAX: usize = 64;

    /// A schema of the same columns that was seen before, else this one.
    fn shared(&mut self, schema: SchemaRef) -> SchemaRef {
        if let Some(seen) = self.0.iter().rev().find(|seen| seen.fields() == schema.fields()) {
            return Arc::clone(seen);
        }
        if self.0.len() < Self::KEPT_MAX {
            self.0.push(Arc::clone(&schema));
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn few_days_are_listed_one_by_one_and_many_at_once() {
        let base = Location::parse("/s", Path::new("/"), None).unwrap();
        let first = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        let days = first.iter_days().take(365);
        let mut dated: Vec<(Option<NaiveDate>, Location)> =
            days.map(|day| (Some(day), base.join(&format!("ds={day}")))).collect();
        dated.push((None, base.join("ds=__HIVE_DEFAULT_PARTITION__")));
        let at = |day: i128| (20_454 + day) * 86_400_000_000_000;
        let listed = |least: Option<i128>, greatest: i128| {
            let reach = TimeReach { least: least.map(at), greatest: at(greatest) };
            folders_to_list(&dated, &reach).map(|folders| {
                folders.iter().map(|folder| folder.file_name().unwrap().to_owned()).collect::<Vec<_>>()
            })
        };
        assert_eq!(
            listed(Some(100), 101).unwrap(),
            [
                "ds=2026-01-01",
                "ds=2026-04-10",
                "ds=2026-04-11",
                "ds=2026-04-12",
                "ds=2026-12-31",
                "ds=__HIVE_DEFAULT_PARTITION__"
            ]
        );
        assert_eq!(listed(None, 10).unwrap().len(), 14);
        assert_eq!(listed(None, 100), None);
        assert_eq!(listed(None, 500), None);
    }

    #[test]
    fn equal_columns_are_kept_once() {
        let schema = |metadata: &str| -> SchemaRef {
            let own = [("pandas".to_owned(), metadata.to_owned())].into();
            Arc::new(Schema::new_with_metadata(vec![Field::new("x", DataType::Int64, true)], own))
        };
        let mut schemas = Schemas::default();
        let first = schemas.shared(schema("a"));
        assert!(Arc::ptr_eq(&first, &schemas.shared(schema("b"))));
        let other: SchemaRef = Arc::new(Schema::new(vec![Field::new("x", DataType::Int32, true)]));
        assert!(Arc::ptr_eq(&other, &schemas.shared(Arc::clone(&other))));
        assert!(Arc::ptr_eq(&first, &schemas.shared(schema("c"))));
    }
}
