//! Every conformance case through every engine and store: same rows, same report.
//!
//! A case is a client folder with a registry that Feast wrote, data, a spine, a request and the expected rows
//! (see `tests/conformance/README.md`).

mod case;
mod compare;
mod remote;

use crate::engines::{self, Engine};
use case::Case;
use remote::Target;

use crate::clouds::Cloud;

/// What one engine made of one case.
async fn run(case: &Case, engine: &Engine) -> Result<backsight_retrieval::JoinReport, String> {
    let output = case.output(&engine.name);
    let manifest = case.retrieve(engine.engine.as_ref(), &output).await.map_err(|e| e.to_string())?;
    let rows = case.read_dataset(&output, &manifest).await?;
    compare::same_rows(&case.expected(), &rows)?;
    if !case.exists(&output.join("_SUCCESS")).await {
        return Err("no _SUCCESS".into());
    }
    if engine.spills != (manifest.work.bytes_spilled > 0) && manifest.rows > 0 {
        return Err(format!("{} bytes were spilled", manifest.work.bytes_spilled));
    }
    Ok(manifest.report)
}

/// All cases on all engines over one store; every failure is listed.
async fn run_all(cases: &[Case], engines: &[Engine]) -> (usize, Vec<String>) {
    let mut failures = Vec::new();
    let mut runs = 0;
    for case in cases {
        let mut first: Option<(String, backsight_retrieval::JoinReport)> = None;
        for engine in engines {
            runs += 1;
            match run(case, engine).await {
                Err(failure) => failures.push(format!("{} on {}: {failure}", case.name, engine.name)),
                Ok(report) => match &first {
                    None => first = Some((engine.name.clone(), report)),
                    Some((name, expected)) if *expected != report => failures.push(format!(
                        "{}: the reports of {name} and {} differ:\n{expected:?}\n{report:?}",
                        case.name, engine.name
                    )),
                    Some(_) => {}
                },
            }
        }
    }
    (runs, failures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_files_on_every_engine() {
    let work = tempfile::tempdir().unwrap();
    let cases = Case::all_local(work.path());
    assert_eq!(cases.len(), 52);
    let engines = engines::all(&cases[0].stores).await;
    let (runs, failures) = run_all(&cases, &engines).await;
    let names: Vec<&str> = engines.iter().map(|engine| engine.name.as_str()).collect();
    println!("conformance, local files: {} cases on {} ({runs} runs)", cases.len(), names.join(", "));
    assert!(failures.is_empty(), "{} of {runs} failed:\n{}", failures.len(), failures.join("\n"));
}

/// Registry, sources, spine and output of every case in one object store.
async fn run_remote(target: Target) {
    let work = tempfile::tempdir().unwrap();
    let cases = remote::upload(&target, work.path()).await;
    assert_eq!(cases.len(), 52);
    let engines = engines::some(&cases[0].stores).await;
    let (runs, failures) = run_all(&cases, &engines).await;
    println!("conformance, {}: {} cases ({runs} runs)", target.name, cases.len());
    assert!(failures.is_empty(), "{} of {runs} failed:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_sources_spine_and_output_on_s3() {
    run_remote(Target::s3()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_sources_spine_and_output_on_google() {
    run_remote(Target::of(Cloud::google())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_sources_spine_and_output_on_azure() {
    if let Some(cloud) = Cloud::azure() {
        run_remote(Target::of(cloud)).await;
    }
}
