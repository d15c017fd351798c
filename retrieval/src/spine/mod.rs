//! Spines: what they can be, and how what is not Parquet becomes Parquet before anything else.
//!
//! Every spine row needs an id before anything moves, and a plan needs footers. So rows of text, of Arrow files, of a SELECT or
//! of an instant are *staged*: written as Parquet once, where all who work on the retrieval can read them.

mod as_of;
mod columns;
mod format;
mod ipc;
mod read;
mod sql;
mod stage;

use std::path::Path;
use std::sync::Arc;

use backsight_registry::model::Catalog;
use backsight_storage::{FileEntry, Location, Stores};

use datafusion::logical_expr::LogicalPlan;

use self::columns::key_types;
use self::format::{EXTENSIONS, SpineFormat};
use self::sql::SelectSite;
use crate::bounds::TimeBounds;
use crate::engine::{RetrievalEngine, RunContext};
use crate::error::RetrievalError;
use crate::parquet_table::ParquetTable;
use crate::plan::ViewInput;
use crate::prepare::Bases;
use crate::request::{RetrievalRequest, SpineFrom};
use crate::resolve::{ResolvedView, resolve};
use crate::source_files::SourceFiles;

/// Where spines are staged, and what computes those that have to be computed.
#[derive(Clone, Copy)]
pub struct StageSite<'a> {
    /// A folder that the engine reads, too.
    pub folder: &'a Location,
    /// Names whose spine it is: the same request finds again what it has staged.
    pub tag: &'a str,
    /// What computes rows.
    pub engine: &'a dyn RetrievalEngine,
    /// Bytes of a staged spine at most, where somebody else pays for them.
    pub bytes_max: Option<u64>,
}

impl std::fmt::Debug for StageSite<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageSite")
            .field("folder", self.folder)
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

/// What a staged spine was made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpineOrigin {
    /// What was asked for.
    pub(crate) what: String,
    /// The files whose rows are in it, with the roles that they have.
    pub(crate) files: Vec<(String, FileEntry)>,
}

/// A spine that can be planned with.
#[derive(Debug)]
pub(crate) struct OpenedSpine {
    pub(crate) table: ParquetTable,
    /// `None` where the files are the spine.
    pub(crate) origin: Option<SpineOrigin>,
}

/// The instant of a request without a spine, as bounds.
///
/// # Errors
/// A text that is no instant.
pub(crate) fn instant_of(text: &str) -> Result<TimeBounds, RetrievalError> {
    let nanos = as_of::nanos(as_of::parse(text)?);
    Ok(TimeBounds { least: nanos, greatest: nanos })
}

/// Opens the spine of a request; one that is not Parquet is staged first. Of `resolved` all are in `views` where an
/// instant makes the spine.
pub(crate) async fn open(
    sources: &SourceFiles,
    catalog: &Catalog,
    request: &RetrievalRequest,
    resolved: &[ResolvedView],
    views: &[ViewInput],
    bases: Bases<'_>,
) -> Result<OpenedSpine, RetrievalError> {
    let stores = sources.stores();
    let shown = request.spine.from.shown();
    match &request.spine.from {
        SpineFrom::Files(uri) => {
            let location = Location::parse(uri, bases.working, None)?;
            let files = stores.expand_data(&location, &EXTENSIONS).await?;
            let format = SpineFormat::of_files(&files)?;
            let keys = key_types(resolved);
            if format == SpineFormat::Parquet {
                let table = ParquetTable::of_files(sources, &location, &files, "spine").await?;
                let table = table.with_hive_columns(&keys)?;
                return Ok(OpenedSpine { table, origin: None });
            }
            let site = bases.stage()?;
            let target = stage::ensure_files(stores, site, &location, &files, format, &keys).await?;
            let files = files.into_iter().map(|file| ("spine".to_owned(), file)).collect();
            let origin = SpineOrigin { what: String::new(), files };
            staged(stores, &target, location.to_string(), origin).await
        }
        SpineFrom::Sql(sql) => {
            let (stage, keys) = (bases.stage()?, key_types(resolved));
            let select = SelectSite { sources, catalog, bases, stage, keys: &keys }.plan(sql).await?;
            let origin = SpineOrigin { what: sql.clone(), files: select.files };
            computed(stores, stage, select.plan, shown, origin).await
        }
        SpineFrom::AsOf(text) => {
            let created_cut = request.filter_by_created_timestamp;
            let plan = as_of::plan(views, as_of::parse(text)?, created_cut)?;
            let mut files = Vec::new();
            for view in views {
                let of_view = view.table.files.iter();
                files.extend(of_view.map(|file| (view.resolved.label.clone(), file.entry.clone())));
            }
            // Which entities there are depends on the views and the cut, too.
            let what = format!("as of {text}, cut {created_cut}, {:?}", request.features);
            let origin = SpineOrigin { what, files };
            computed(stores, bases.stage()?, plan, shown, origin).await
        }
    }
}

/// Runs a plan and stages its rows, unless they are there.
async fn computed(
    stores: &Stores,
    site: StageSite<'_>,
    plan: LogicalPlan,
    shown: String,
    origin: SpineOrigin,
) -> Result<OpenedSpine, RetrievalError> {
    let files: Vec<FileEntry> = origin.files.iter().map(|(_, file)| file.clone()).collect();
    let target = stage::place(site.folder, site.tag, &origin.what, &files);
    if stores.head(&target).await?.is_none() {
        let plan = site.engine.plan(&plan).await?;
        let rows = site.engine.execute(plan, &RunContext::default()).await?;
        stage::stage_stream(stores, rows, &target, site.bytes_max).await?;
    }
    staged(stores, &target, shown, origin).await
}

async fn staged(
    stores: &Stores,
    target: &Location,
    shown: String,
    origin: SpineOrigin,
) -> Result<OpenedSpine, RetrievalError> {
    let table = ParquetTable::open(stores, target, "spine").await?;
    Ok(OpenedSpine { table: ParquetTable { shown, ..table }, origin: Some(origin) })
}

/// Stages the local files of a request's spine below `folder`, for somebody who cannot read them where they are; `None`
/// where they lie in an object store, or are Parquet with all columns inside.
///
/// # Errors
/// What the request names and the registry lacks; files that cannot be read as what their names say.
pub async fn stage_local_spine(
    stores: &Stores,
    catalog: &Catalog,
    request: &RetrievalRequest,
    working: &Path,
    folder: &Location,
) -> Result<Option<Location>, RetrievalError> {
    let SpineFrom::Files(uri) = &request.spine.from else { return Ok(None) };
    let location = Location::parse(uri, working, None)?;
    if !location.is_local() {
        return Ok(None);
    }
    let files = stores.expand_data(&location, &EXTENSIONS).await?;
    let format = SpineFormat::of_files(&files)?;
    let keys = key_types(&resolve(catalog, &request.features, request.full_feature_names)?);
    if format == SpineFormat::Parquet {
        // What folders say is not in the files that are sent.
        let sources = SourceFiles::new(stores);
        let table = ParquetTable::of_files(&sources, &location, &files, "spine").await?;
        let table = table.with_hive_columns(&keys)?;
        if table.hive == 0 {
            return Ok(None);
        }
        let target = stage::place(folder, "local", &location.to_string(), &files);
        stage::stage_table(stores, &table, &target).await?;
        return Ok(Some(target));
    }
    let target = stage::place(folder, "local", format.name(), &files);
    // The scheduler that it is sent to has a bound of its own.
    stage::stage_files(stores, &location, &files, format, &keys, &target, None).await?;
    Ok(Some(target))
}

/// Names the files of a spine in a hash: those that it was made from.
pub(crate) fn origin_hash_input(origin: &SpineOrigin) -> Arc<str> {
    let mut text = format!("{}\n", origin.what);
    for (_, file) in &origin.files {
        text.push_str(&[&file.location.to_string(), "\0", &file.size.to_string(), "\0"].concat());
        text.push_str(file.etag.as_deref().unwrap_or(""));
        text.push('\n');
    }
    text.into()
}
