//! Retrievals under a memory limit: they spill, give the same rows, and leave nothing behind.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, TimestampSecondArray};
use backsight_asof::JoinForm;
use backsight_engine::{EmbeddedEngine, EngineOptions, LocalCluster, SPILL_BYTES_MAX};
use backsight_proto::ErrorCode;
use backsight_retrieval::{FormChoice, Manifest, RetrievalEngine, RetrievalError};

use crate::random::texts;
use crate::world::{ViewSpec, World};

const SPINE_ROWS: i64 = 300_000;
const VIEW_ROWS: i64 = 200_000;
/// Too little for the spine, its index and the winners, enough for what readers and writers of files ask for.
const MEMORY: usize = 20 << 20;
/// Too little for an executor, which has a part of the spine.
const EXECUTOR_MEMORY: usize = 12 << 20;

fn world() -> World {
    let mut world = World::new();
    let ids = |rows: i64| Arc::new((0..rows).map(|row| row * 7 % 5_000).collect::<Int64Array>()) as ArrayRef;
    let times = |rows: i64, step: i64| {
        let times = (0..rows).map(|row| row * 7_919 % 1_000_000 * step);
        Arc::new(TimestampSecondArray::from_iter_values(times)) as ArrayRef
    };
    world.write_groups(
        "spine.parquet",
        20_000,
        vec![("id", ids(SPINE_ROWS)), ("event_timestamp", times(SPINE_ROWS, 2))],
    );
    let value = |row: i64| f64::from(i32::try_from(row).unwrap());
    let x: ArrayRef = Arc::new((0..VIEW_ROWS).map(value).collect::<Float64Array>());
    world.write_groups(
        "view.parquet",
        20_000,
        vec![("id", ids(VIEW_ROWS)), ("t", times(VIEW_ROWS, 1)), ("x", x)],
    );
    world.add_view(&ViewSpec { ttl_seconds: Some(500_000), ..ViewSpec::default() });
    world
}

fn options(memory_limit_bytes: usize, spill_dir: &Path, spill_limit_bytes: u64) -> EngineOptions {
    EngineOptions {
        memory_limit_bytes,
        partitions: NonZeroUsize::new(2).unwrap(),
        spill_dir: Some(spill_dir.to_owned()),
        spill_limit_bytes,
    }
}

fn embedded(world: &World, memory: usize, form: FormChoice, spill_limit: u64) -> EmbeddedEngine {
    let folder = world.path("spill");
    std::fs::create_dir_all(&folder).unwrap();
    EmbeddedEngine::new(world.stores.clone(), options(memory, &folder, spill_limit), form).unwrap()
}

/// An estimate that is far too low.
const TRUSTING: FormChoice = FormChoice::InProcess { tasks: 2, memory_bytes: u64::MAX };

async fn retrieve(
    world: &World,
    engine: &dyn RetrievalEngine,
    output: &str,
) -> Result<(Vec<String>, Manifest), RetrievalError> {
    let manifest = world.run(engine, &world.request(&["view:x"], output), output, false).await?.manifest;
    let mut rows = texts(&world.rows(output, &manifest).await);
    rows.sort_unstable();
    Ok((rows, manifest))
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

/// Tasks of a retrieval that failed or was cancelled end on their own, shortly after it.
async fn no_file_is_left(folder: &Path) {
    for _ in 0..500 {
        if files(folder) == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} files are left", files(folder));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_memory_does_not_hold_is_spilled_by_estimate_and_after_a_failure() {
    let world = world();
    let ample = embedded(&world, 1 << 30, TRUSTING, SPILL_BYTES_MAX);
    let (expected, manifest) = retrieve(&world, &ample, "ample").await.unwrap();
    assert_eq!((manifest.engine.form.as_str(), manifest.work.bytes_spilled), ("late slot fold", 0));

    let known = FormChoice::InProcess { tasks: 2, memory_bytes: MEMORY as u64 };
    let (rows, manifest) =
        retrieve(&world, &embedded(&world, MEMORY, known, SPILL_BYTES_MAX), "known").await.unwrap();
    assert!(rows == expected, "the rows differ");
    assert_eq!(manifest.engine.form, "spilling fold");
    assert!(manifest.work.bytes_spilled > 2 << 20 && manifest.report.notes.is_empty(), "{:?}", manifest.work);

    // The estimate does not see it coming: it fails, and is done again.
    let engine = embedded(&world, MEMORY, TRUSTING, SPILL_BYTES_MAX);
    let (rows, manifest) = retrieve(&world, &engine, "surprised").await.unwrap();
    assert!(rows == expected, "the rows differ");
    assert_eq!(manifest.engine.form, "spilling fold");
    assert!(manifest.report.notes[0].contains("memory did not suffice"), "{:?}", manifest.report.notes);
    let parts: Vec<String> = manifest.parts.iter().map(|_| "part".to_owned()).collect();
    let listed = world.listing("surprised").await;
    let own = ["_SUCCESS", "_backsight/claim", "_backsight/manifest.json", "_backsight/registry.pb"];
    let found: Vec<&String> = listed.iter().filter(|name| !own.contains(&name.as_str())).collect();
    assert_eq!(found, parts.iter().collect::<Vec<_>>(), "what failed left nothing");
    drop(engine);

    // Asked for, a form is kept to.
    let late = embedded(&world, MEMORY, JoinForm::LateFold.into(), SPILL_BYTES_MAX);
    let error = retrieve(&world, &late, "late").await.unwrap_err();
    assert!(matches!(error, RetrievalError::Memory { .. }), "{error}");
    no_file_is_left(&world.path("spill")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executors_that_run_out_of_memory_spill_as_well() {
    let world = world();
    let ample = embedded(&world, 1 << 30, TRUSTING, SPILL_BYTES_MAX);
    let (expected, _) = retrieve(&world, &ample, "ample").await.unwrap();
    let folder = world.path("spill");
    // Executors do not tell how much memory they have.
    let form = FormChoice::ByCost { tasks: 2, memory_bytes: None };
    let options = options(EXECUTOR_MEMORY, &folder, SPILL_BYTES_MAX);
    let cluster = LocalCluster::start(world.stores.clone(), options, form, 1, 2);
    let (rows, manifest) = retrieve(&world, &cluster.await.unwrap(), "ballista").await.unwrap();
    assert!(rows == expected, "the rows differ");
    assert_eq!(manifest.engine.form, "spilling fold");
    assert!(manifest.work.bytes_spilled > 2 << 20, "{:?}", manifest.work);
    no_file_is_left(&folder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_what_may_be_spilled_is_10_with_what_to_do() {
    let world = world();
    let engine = embedded(&world, MEMORY, JoinForm::SpilledFold.into(), 1 << 20);
    let error = retrieve(&world, &engine, "out").await.unwrap_err();
    assert_eq!((error.code(), error.code().exit_status()), (ErrorCode::Limit, 10));
    assert!(matches!(error, RetrievalError::Disk { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--spill-limit"), "{error}");
    no_file_is_left(&world.path("spill")).await;
    assert_eq!(world.listing("out").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_retrieval_leaves_no_spilled_rows() {
    let world = world();
    let engine = embedded(&world, MEMORY, JoinForm::SpilledFold.into(), SPILL_BYTES_MAX);
    let folder = world.path("spill");
    let has_spilled = async {
        while files(&folder) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let request = world.request(&["view:x"], "out");
    let error = world.run_until(&engine, &request, "id", false, has_spilled).await.unwrap_err();
    assert!(matches!(error, RetrievalError::Cancelled), "{error}");
    no_file_is_left(&folder).await;
}
