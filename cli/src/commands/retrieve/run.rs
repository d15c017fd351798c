//! Runs a retrieval in this process: registry, plan, engine, output.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use backsight_asof::JoinForm;
use backsight_engine::{EmbeddedEngine, EngineOptions, LocalCluster, SPILL_BYTES_MAX};
use backsight_retrieval::{
    Bases, Claimant, Explanation, FormChoice, Output, Prepared, RetrievalEngine, RetrievalError, RunContext,
    RunOptions, ShardLimits, StageSite, check_name_free, prepare, preview, saved_dataset,
};
use backsight_storage::Location;
use chrono::Utc;
use datafusion::physical_plan::displayable;
use tempfile::TempDir;
use uuid::Uuid;

use crate::commands::retrieve::args::{EngineName, RetrieveArgs};
use crate::commands::retrieve::{remote, render};
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::config::memory::default_limit;
use crate::errors::Failure;
use crate::progress::{Totals, with_progress};
use crate::registry_access::RegistryAccess;

/// Rows that a preview shows.
pub(super) const PREVIEW_ROWS: u64 = 20;

/// Fetches features.
pub(crate) async fn run(args: RetrieveArgs, program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    args.check(workspace.scheduler.is_some())?;
    if let RegistryAccess::Remote(cluster) = &workspace.registry {
        return remote::run(&args, &workspace, cluster, program).await;
    }
    let before = tokio::select! {
        biased;
        () = program.interrupt.clone().asked() => Err(cancelled(&args)),
        ready = Ready::make(&args, workspace, program) => ready,
    };
    let ready = before?;
    if args.explain {
        let joined = ready.engine.plan(&ready.prepared.plan.logical).await?;
        let explained = Explanation::new(
            &ready.prepared,
            ready.prepared.cut(&ShardLimits { shards_max: 1, ..ShardLimits::default() }),
            ready.engine.name(),
            ready.options.partitions.get(),
            Some(ready.options.memory_limit_bytes as u64),
            displayable(joined.as_ref()).indent(false).to_string(),
        );
        render::explanation(&explained, program);
        return Ok(Done::Done);
    }
    if args.is_preview() { show(&args, &ready, program).await } else { write(&args, &ready, program).await }
}

/// All that is decided before anything is read but footers.
struct Ready {
    workspace: Workspace,
    prepared: Prepared,
    engine: Arc<dyn RetrievalEngine>,
    options: EngineOptions,
    registry: (Option<String>, bytes::Bytes),
    /// Where the spine was staged, until the end.
    _stage: TempDir,
}

impl Ready {
    async fn make(args: &RetrieveArgs, workspace: Workspace, program: &Program) -> Result<Self, Failure> {
        workspace.config.require_file_store()?;
        let read = workspace.registry.read().await?;
        let catalog = read.document.catalog(workspace.project())?;
        let engine = args.engine.unwrap_or(EngineName::Embedded);
        let options = engine_options(args, &workspace, program)?;
        if let Some(folder) = &options.spill_dir {
            let make = |error| Failure::io(&format!("make the spill folder `{}`", folder.display()), &error);
            std::fs::create_dir_all(folder).map_err(make)?;
        }
        let (tasks, memory_bytes) = (options.partitions.get(), options.memory_limit_bytes as u64);
        let form = match (engine, args.form) {
            (EngineName::Naive, _) => JoinForm::NaiveLoop.into(),
            (_, Some(form)) => form.form().into(),
            (EngineName::Embedded, None) => FormChoice::InProcess { tasks, memory_bytes },
            // Executors exchange as if they shared no memory; in one process they do.
            (EngineName::Ballista, None) => FormChoice::ByCost { tasks, memory_bytes: Some(memory_bytes) },
        };
        let stores = workspace.stores.clone();
        let engine: Arc<dyn RetrievalEngine> = match engine {
            EngineName::Embedded | EngineName::Naive => {
                Arc::new(EmbeddedEngine::new(stores, options.clone(), form)?)
            }
            EngineName::Ballista => {
                let slots = options.partitions.get();
                Arc::new(LocalCluster::start(stores, options.clone(), form, 1, slots).await?)
            }
        };
        let request = args.request(workspace.project(), Utc::now());
        if let (Some(name), Some(output)) = (&request.save_as, &request.output) {
            let output = Location::parse(output, &program.environment.working, None)?;
            let held = read.document.saved_dataset_uri(workspace.project(), name);
            check_name_free(name, held.as_deref(), &output, args.overwrite)?;
        }
        let stage = stage_folder()?;
        let folder = Location::local(stage.path())?;
        let site = StageSite { folder: &folder, tag: "local", engine: engine.as_ref(), bytes_max: None };
        let stage_site = Some(site);
        let bases = Bases { working: &program.environment.working, repo: &workspace.repo, stage: stage_site };
        let prepared = prepare(&workspace.stores, &catalog, &request, bases, form).await?;
        let registry = (read.document.version_id(), read.bytes);
        Ok(Self { workspace, prepared, engine, options, registry, _stage: stage })
    }

    /// A failure of a run, with the file and row group behind it when there is one.
    async fn explain(&self, error: RetrievalError) -> Failure {
        self.prepared.explain_failure(&self.workspace.stores, error).await.into()
    }
}

/// A folder for a spine that is not Parquet, removed when it is dropped.
pub(super) fn stage_folder() -> Result<TempDir, Failure> {
    let folder = tempfile::Builder::new().prefix("backsight-spine-").tempdir();
    folder.map_err(|error| Failure::io("make a folder for the spine", &error))
}

fn engine_options(
    args: &RetrieveArgs,
    workspace: &Workspace,
    program: &Program,
) -> Result<EngineOptions, Failure> {
    let configured = &workspace.config.backsight;
    let limit = args.memory_limit.or(configured.memory_limit);
    let limit = limit.unwrap_or_else(|| default_limit(program.environment.available_memory()));
    let (spill_dir, spill_limit) = (configured.spill_dir.clone(), configured.spill_limit);
    let configured = configured.target_partitions.and_then(|count| usize::try_from(count).ok());
    Ok(EngineOptions {
        memory_limit_bytes: usize::try_from(limit).unwrap_or(usize::MAX),
        partitions: args.partitions.or(configured.and_then(NonZeroUsize::new)).unwrap_or_else(cores),
        // An option's path starts where the command runs, the file's at its repo.
        spill_dir: match (&args.spill_dir, spill_dir) {
            (Some(folder), _) => Some(program.environment.working.join(folder)),
            (None, folder) => folder.map(|folder| workspace.repo.join(folder)),
        },
        spill_limit_bytes: args.spill_limit.or(spill_limit).unwrap_or(SPILL_BYTES_MAX),
    })
}

/// Processors that this process may use.
pub(crate) fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

async fn show(args: &RetrieveArgs, ready: &Ready, program: &Program) -> Result<Done, Failure> {
    let context = RunContext::default();
    let totals = Totals::of(&ready.prepared);
    let work = preview(&ready.prepared, ready.engine.as_ref(), &context, PREVIEW_ROWS);
    let work = async {
        tokio::select! {
            biased;
            () = program.interrupt.clone().asked() => Err(None),
            shown = work => shown.map_err(Some),
        }
    };
    let shown = with_progress(&program.terminal, totals, Arc::clone(&context.progress), work).await;
    let shown = match shown {
        Ok(shown) => shown,
        Err(None) => return Err(cancelled(args)),
        Err(Some(error)) => return Err(ready.explain(error).await),
    };
    render::preview(&shown, ready.prepared.spine.rows(), program)?;
    Ok(Done::Done)
}

async fn write(args: &RetrieveArgs, ready: &Ready, program: &Program) -> Result<Done, Failure> {
    let stores = &ready.workspace.stores;
    let location = Location::parse(&args.output, &program.environment.working, None)?;
    let options = RunOptions {
        stores,
        output: Output::new(stores.clone(), location.clone()),
        request_id: args.request_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string()),
        attempt: Uuid::new_v4().simple().to_string(),
        overwrite: args.overwrite,
        claimant: Claimant { host: program.environment.host(), process: std::process::id() },
        is_gone,
        registry: ready.registry.clone(),
        now: Utc::now,
    };
    let context = RunContext::default();
    let totals = Totals::of(&ready.prepared);
    let asked = program.interrupt.clone().asked();
    let work = backsight_retrieval::run(&ready.prepared, ready.engine.as_ref(), &options, &context, asked);
    let finished = with_progress(&program.terminal, totals, Arc::clone(&context.progress), work).await;
    match finished {
        Ok(finished) => {
            if let Some(saved) = saved_dataset(&finished.manifest, &location) {
                let registry = ready.workspace.own_registry()?;
                registry.save_dataset(ready.workspace.project(), &saved, Utc::now, &mut Uuid::new_v4).await?;
            }
            render::dataset(&finished.manifest, finished.repeated, &location.to_string(), program);
            Ok(Done::Done)
        }
        Err(RetrievalError::Cancelled) => Err(cancelled(args)),
        Err(error) => Err(ready.explain(error).await),
    }
}

pub(super) fn cancelled(args: &RetrieveArgs) -> Failure {
    if args.is_preview() || args.explain {
        return Failure::cancelled("cancelled");
    }
    Failure::cancelled(format!("cancelled; nothing was left in `{}`", args.output))
}

/// Whether a claimant is known to be gone: a process of this machine that has ended.
fn is_gone(claimant: &Claimant) -> bool {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let processes = Path::new("/proc");
    claimant.host == host.trim()
        && processes.join("self").exists()
        && !processes.join(claimant.process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_is_known_to_be_gone() {
        let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
        // Beyond the greatest process id that Linux gives.
        let ended = Claimant { host: here.clone(), process: u32::MAX };
        assert!(is_gone(&ended));
        assert!(!is_gone(&Claimant { host: "elsewhere".to_owned(), ..ended }));
        assert!(!is_gone(&Claimant { host: here, process: std::process::id() }));
    }
}
