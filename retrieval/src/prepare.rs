//! From a request to a plan: resolve, open spine and sources, check, plan. Nothing is written here.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use backsight_registry::model::{Catalog, DataSource, SourceKind};
use backsight_storage::{FileEntry, Location, Stores};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::bounds::TimeBounds;
use crate::choose::{FormChoice, Spilling};
use crate::days::{TimeReach, promised_column};
use crate::delta_table::is_delta;
use crate::engine::RetrievalEngine;
use crate::error::RetrievalError;
use crate::footers::Footers;
use crate::heavy_keys::{SpineSample, sample};
use crate::instant_column::find_spine_instant;
use crate::manifest::ManifestSource;
use crate::narrow::narrow;
use crate::parquet_table::ParquetTable;
use crate::plan::{PlanInput, RetrievalPlan, ViewInput, plan};
use crate::profile::{SpineProfile, profile};
use crate::request::{RetrievalRequest, SpineFrom};
use crate::resolve::{ResolvedView, did_you_mean, resolve};
use crate::saved_dataset::check_savable;
use crate::shards::{Cutting, ShardLimits, cut};
use crate::source_files::SourceFiles;
use crate::spine::{self, SpineOrigin, StageSite};

/// Sources opened at the same time; each reads its footers in parallel, too.
const SOURCES_AT_ONCE: usize = 4;

/// A retrieval that is ready to run.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What was asked for.
    pub request: RetrievalRequest,
    /// The spine.
    pub spine: Arc<ParquetTable>,
    /// What it was made from, unless it is what was given.
    pub(crate) origin: Option<SpineOrigin>,
    /// What is known of it.
    pub profile: SpineProfile,
    /// The views in output order.
    pub views: Vec<ViewInput>,
    /// The plan of the whole.
    pub plan: RetrievalPlan,
    /// What plans are made from.
    pub(crate) input: PlanInput,
}

/// Where relative paths of a retrieval start, and where its spine may be staged.
#[derive(Debug, Clone, Copy)]
pub struct Bases<'a> {
    /// For the spine and the output: the working directory.
    pub working: &'a Path,
    /// For sources: the folder of the feature repo.
    pub repo: &'a Path,
    /// For spines that are not Parquet; without it they are a bug of the caller.
    pub stage: Option<StageSite<'a>>,
}

impl<'a> Bases<'a> {
    /// Bases of a retrieval whose spine is Parquet.
    pub fn new(working: &'a Path, repo: &'a Path) -> Self {
        Self { working, repo, stage: None }
    }

    pub(crate) fn stage(&self) -> Result<StageSite<'a>, RetrievalError> {
        let missing = || RetrievalError::Bug { message: "there is no place to stage a spine".to_owned() };
        self.stage.ok_or_else(missing)
    }
}

/// Resolves and plans a request.
///
/// # Errors
/// Whatever is wrong with request, registry, spine or sources.
pub fn prepare<'a>(
    stores: &'a Stores,
    catalog: &'a Catalog,
    request: &'a RetrievalRequest,
    bases: Bases<'a>,
    form: FormChoice,
) -> BoxFuture<'a, Result<Prepared, RetrievalError>> {
    // Boxed, so that other crates need not look into it to see that it may be sent.
    Box::pin(try_prepare(stores, catalog, request, bases, form))
}

async fn try_prepare(
    stores: &Stores,
    catalog: &Catalog,
    request: &RetrievalRequest,
    bases: Bases<'_>,
    form: FormChoice,
) -> Result<Prepared, RetrievalError> {
    let resolved = resolve(catalog, &request.features, request.full_feature_names)?;
    check_versions(catalog, request)?;
    let files = SourceFiles::new(stores).with_versions(&request.source_versions);
    let sources = Sources { files: &files, repo: bases.repo, exact_reasons: request.exact_reasons };
    // What a source's days are pruned by is known only after the spine was read; other sources come first, and what cannot
    // be found at all is said before a spine is staged.
    let at = match &request.spine.from {
        SpineFrom::AsOf(text) => Some(spine::instant_of(text)?),
        SpineFrom::Files(_) | SpineFrom::Sql(_) => None,
    };
    let opened: Vec<_> = resolved.iter().map(|view| sources.open_or_look(view, at).boxed()).collect();
    let opened: Vec<Option<ViewInput>> = stream::iter(opened).buffered(SOURCES_AT_ONCE).try_collect().await?;
    let known: Vec<ViewInput> = opened.iter().flatten().cloned().collect();
    let made = spine::open(&files, catalog, request, &resolved, &known, bases).await?;
    let (spine, origin) = (Arc::new(made.table), made.origin);
    let profile = profile(stores, &spine, request.spine.timestamp_column.as_deref()).await?;
    let views = resolved.iter().zip(opened);
    let views: Vec<_> =
        views.map(|(resolved, opened)| sources.opened(resolved, opened, profile).boxed()).collect();
    let views: Vec<ViewInput> = stream::iter(views).buffered(SOURCES_AT_ONCE).try_collect().await?;
    let mut footers = Footers::read(&spine, &views, request.spine.timestamp_column.as_deref())?;
    narrow(stores, &spine, &views, profile.bounds(), &mut footers).await?;
    let footers = Arc::new(footers);
    let mut input = PlanInput {
        spine: Arc::clone(&spine),
        profile,
        timestamp_column: request.spine.timestamp_column.clone(),
        created_cut: request.filter_by_created_timestamp,
        preserve_order: request.preserve_order,
        form,
        sample: None,
        views,
        spilling: Spilling::default(),
        footers,
    };
    let mut planned = plan(&input, None)?;
    if planned.views.iter().any(|view| view.is_exchanged) {
        input.sample = sampled(stores, request, &input).await?;
        if input.sample.is_some() {
            planned = plan(&input, None)?;
        }
    }
    let mut plan = planned;
    if spine.rows() == 0 {
        plan.notes.push("the spine has 0 rows: so has the dataset".to_owned());
    }
    let (request, views) = (request.clone(), input.views.clone());
    let prepared = Prepared { request, spine, origin, profile, views, plan, input };
    check_savable(&prepared)?;
    Ok(prepared)
}

/// Keys and instants of some rows of the spine, where keys may have to be cut.
async fn sampled(
    stores: &Stores,
    request: &RetrievalRequest,
    input: &PlanInput,
) -> Result<Option<SpineSample>, RetrievalError> {
    let spine = &input.spine;
    let views = input.views.iter();
    let keys: BTreeSet<String> =
        views.flat_map(|view| &view.resolved.keys).map(|key| key.spine_column.clone()).collect();
    // No key can have more rows than there are.
    let may_be_heavy = input.form.key_rows().is_some_and(|rows| spine.rows() / 2 >= rows);
    if keys.is_empty() || !may_be_heavy {
        return Ok(None);
    }
    let instant = find_spine_instant(spine, request.spine.timestamp_column.as_deref())?;
    let mut columns: Vec<String> = keys.into_iter().collect();
    if !columns.contains(&instant) {
        columns.push(instant);
    }
    sample(stores, spine, &columns).await.map(Some)
}

/// Versions can be asked for of Delta tables, and of nothing else.
fn check_versions(catalog: &Catalog, request: &RetrievalRequest) -> Result<(), RetrievalError> {
    let views = catalog.feature_views.iter().filter(|view| is_delta(view));
    let known: Vec<String> = views.map(|view| view.source.name.clone()).collect();
    match request.source_versions.keys().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => Err(RetrievalError::Usage {
            message: format!("a version of source `{name}` is asked for, and no Delta table is called so"),
            hint: Some(did_you_mean(name, &known, "Delta tables")),
        }),
    }
}

/// Opens the sources of views.
struct Sources<'a> {
    files: &'a SourceFiles,
    repo: &'a Path,
    /// A census reads what the join need not: nothing may be passed over.
    exact_reasons: bool,
}

impl Sources<'_> {
    /// Opens a source that does not depend on the spine's instants, or that is asked for `at` known ones; of another it
    /// only sees that it is there.
    async fn open_or_look(
        &self,
        resolved: &ResolvedView,
        at: Option<TimeBounds>,
    ) -> Result<Option<ViewInput>, RetrievalError> {
        let view = &resolved.view;
        let column = promised_column(view);
        if self.exact_reasons || at.is_some() || (column.is_none() && !is_delta(view)) {
            return self.open(resolved, at).await.map(Some);
        }
        let location = source_location(&view.source, self.repo)?;
        match column {
            Some(column) if !is_delta(view) => self.files.look_at_days(&location, &column).await?,
            _ => {
                self.files.delta(&location, &view.source.name).await?;
            }
        }
        Ok(None)
    }

    /// A source that is open, or is opened now that the spine is known.
    async fn opened(
        &self,
        resolved: &ResolvedView,
        opened: Option<ViewInput>,
        profile: SpineProfile,
    ) -> Result<ViewInput, RetrievalError> {
        match opened {
            Some(view) => Ok(view),
            None => self.open(resolved, profile.bounds()).await,
        }
    }

    /// Opens a source for instants within `bounds`, or for any.
    async fn open(
        &self,
        resolved: &ResolvedView,
        bounds: Option<TimeBounds>,
    ) -> Result<ViewInput, RetrievalError> {
        let view = &resolved.view;
        let location = source_location(&view.source, self.repo)?;
        let role = format!("source `{}` of feature view `{}`", view.source.name, view.name);
        let bounds = bounds.filter(|_| !self.exact_reasons);
        let reach = bounds.map(|bounds| TimeReach::of(bounds, view.ttl));
        let table = ParquetTable::open_source(self.files, &location, view, reach, &role).await?;
        Ok(ViewInput { resolved: resolved.clone(), table: Arc::new(table) })
    }
}

/// Where the files of a source are.
pub(crate) fn source_location(source: &DataSource, repo: &Path) -> Result<Location, RetrievalError> {
    let SourceKind::File { path, s3_endpoint_override, .. } = &source.kind else {
        return Err(RetrievalError::Bug { message: format!("`{}` is not a file source", source.name) });
    };
    let endpoint = s3_endpoint_override.as_deref().filter(|endpoint| !endpoint.is_empty());
    Ok(Location::parse(path, repo, endpoint)?)
}

impl Prepared {
    /// Every file that is read, for the manifest.
    pub fn sources(&self) -> Vec<ManifestSource> {
        let source = |role: &str, file: &FileEntry| ManifestSource {
            role: role.to_owned(),
            path: file.location.to_string(),
            bytes: file.size,
            etag: file.etag.clone(),
            version: None,
        };
        let mut sources: Vec<ManifestSource> = match &self.origin {
            Some(origin) => origin.files.iter().map(|(role, file)| source(role, file)).collect(),
            None => self.spine.files.iter().map(|file| source("spine", &file.entry)).collect(),
        };
        for view in &self.views {
            sources.extend(view.table.version.map(|version| ManifestSource {
                role: view.resolved.label.clone(),
                path: view.table.location.to_string(),
                bytes: 0,
                etag: None,
                version: Some(version),
            }));
            sources.extend(view.table.files.iter().map(|file| source(&view.resolved.label, &file.entry)));
        }
        // Entities as of an instant come from the views' own files.
        let mut seen = BTreeSet::new();
        sources.retain(|source| seen.insert((source.role.clone(), source.path.clone())));
        sources
    }

    /// Cuts it into shards.
    pub fn cut(&self, limits: &ShardLimits) -> Cutting {
        let footers = &self.input.footers;
        let in_order = self.request.preserve_order;
        cut(&footers.spine, &footers.sources, &footers.columns, limits, in_order)
    }

    /// Whether what is planned from now on spills because memory did not suffice.
    pub(crate) fn is_spilling(&self) -> bool {
        self.input.spilling.is_begun()
    }

    /// Whether work that did not spill and failed is to be done again, and spill: memory did not suffice for a form that was
    /// not asked for.
    pub(crate) fn spills_after(&self, error: &RetrievalError, engine: &dyn RetrievalEngine) -> bool {
        if engine.form().forced().is_some() || !error.is_memory() {
            return false;
        }
        tracing::info!(%error, "memory does not suffice: the join is done again, and spills");
        self.input.spilling.begin();
        true
    }

    /// The plan of the whole as it was run: another one than was prepared if memory did not suffice for that.
    pub(crate) fn as_run(&self) -> Result<RetrievalPlan, RetrievalError> {
        if self.input.spilling.is_begun() { plan(&self.input, None) } else { Ok(self.plan.clone()) }
    }

    /// Identifies the spine's files as they were read.
    pub fn spine_hash(&self) -> String {
        match &self.origin {
            Some(origin) => hex(&Sha256::digest(spine::origin_hash_input(origin).as_bytes())),
            None => files_hash(std::iter::once(self.spine.as_ref())),
        }
    }

    /// Where the spine was staged, if it was.
    pub fn staged_spine(&self) -> Option<&Location> {
        self.origin.as_ref().map(|_| &self.spine.location)
    }

    /// Identifies every file that is read: what was made from other files is not the same retrieval.
    pub fn files_hash(&self) -> String {
        files_hash(std::iter::once(self.spine.as_ref()).chain(self.views.iter().map(|v| v.table.as_ref())))
    }

    /// Looks at every file again: a change while reading would make rows that never existed together.
    ///
    /// # Errors
    /// [`RetrievalError::SourceChanged`] with the first file that is gone or different.
    pub async fn check_unchanged(&self, stores: &Stores) -> Result<(), RetrievalError> {
        let mut entries: Vec<FileEntry> = Vec::new();
        for table in std::iter::once(&self.spine).chain(self.views.iter().map(|view| &view.table)) {
            entries.extend(table.files.iter().map(|file| file.entry.clone()));
        }
        entries.extend(self.origin.iter().flat_map(|origin| &origin.files).map(|(_, file)| file.clone()));
        entries.sort_by_key(|entry| entry.location.to_string());
        entries.dedup_by_key(|entry| entry.location.to_string());
        let checks = entries.into_iter().map(|before| {
            let stores = stores.clone();
            async move {
                let after = stores.head(&before.location).await?;
                match change(&before, after.as_ref()) {
                    None => Ok(()),
                    Some(change) => {
                        Err(RetrievalError::SourceChanged { file: Box::new(before.location.clone()), change })
                    }
                }
            }
        });
        stream::iter(checks).buffered(16).try_collect::<Vec<()>>().await?;
        Ok(())
    }
}

fn files_hash<'a>(tables: impl Iterator<Item = &'a ParquetTable>) -> String {
    let mut hash = Sha256::new();
    for file in tables.flat_map(|table| &table.files) {
        let entry = &file.entry;
        let etag = entry.etag.as_deref().unwrap_or("");
        hash.update(format!("{}\0{}\0{etag}\0{}\n", entry.location, entry.size, file.rows()));
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn change(before: &FileEntry, after: Option<&FileEntry>) -> Option<String> {
    let Some(after) = after else { return Some("it is gone".to_owned()) };
    if before.size != after.size {
        return Some(format!("it had {} bytes and has {}", before.size, after.size));
    }
    if before.etag != after.etag {
        return Some("it was written again".to_owned());
    }
    None
}
