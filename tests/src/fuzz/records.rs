//! What the services keep and send: manifests and the state of an output, records of jobs, messages of the control plane.

use backsight_asof::JoinForm;
use backsight_proto::control;
use backsight_retrieval::{Claimant, Manifest, OpenRequest, Opened, Output, RetrievalRequest};
use backsight_scheduler::jobs::{Event, Job, JobOptions, ShardPlan, on_event};
use chrono::DateTime;
use prost::Message;
use serde_json::Value;

use super::mutate::Shape;
use super::runner::{Target, answer, fuzz};
use crate::world::{ViewSpec, World};

const WORDS: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "\\u0000",
    "\\ud800",
    "../../secret.txt",
    "/etc/passwd",
    "_backsight/manifest.json",
    "\"replaces\":{\"version\":\"x\",\"parts\":[\"../secret.txt\"]}",
    "1e999",
    "-1",
    "4294967296",
    ",",
    ":",
];

/// A world with a committed dataset, and its manifest.
fn committed() -> (World, Vec<u8>) {
    let mut world = World::new();
    let ints = |values: &[i64]| -> arrow::array::ArrayRef {
        std::sync::Arc::new(arrow::array::Int64Array::from(values.to_vec()))
    };
    let seconds = |values: &[i64]| -> arrow::array::ArrayRef {
        std::sync::Arc::new(arrow::array::TimestampSecondArray::from(values.to_vec()))
    };
    world.write("view.parquet", vec![("id", ints(&[1])), ("t", seconds(&[1])), ("x", ints(&[1]))]);
    world.write("spine.parquet", vec![("id", ints(&[1, 2])), ("event_timestamp", seconds(&[2, 3]))]);
    world.add_view(&ViewSpec::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = world.embedded(JoinForm::LateFold, 1);
    let request = world.request(&["view:x"], "out");
    runtime.block_on(world.run(&engine, &request, "r-1", false)).unwrap();
    let manifest = std::fs::read(world.path("out/_backsight/manifest.json")).unwrap();
    (world, manifest)
}

/// Opens an output that holds `bytes` under `name`; whatever that says, nothing outside is touched.
async fn open(world: &World, name: &str, bytes: &[u8]) -> Result<(), String> {
    let out = world.path("hostile");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(out.join("_backsight/staging/a")).unwrap();
    std::fs::write(out.join("_backsight/staging/a/part.staged"), "rows").unwrap();
    std::fs::write(out.join("_backsight").join(name), bytes).unwrap();
    let request = world.request(&["view:x"], "hostile");
    let output = Output::new(world.stores.clone(), world.location("hostile"));
    let ask = OpenRequest {
        request_id: "r-1",
        request: &request,
        overwrite: true,
        claimant: &Claimant { host: "test".into(), process: 1 },
        attempt: "b",
        now: DateTime::from_timestamp(1_900_000_000, 0).unwrap(),
        is_gone: |_| false,
        resumes: false,
    };
    match output.open(&ask).await {
        Ok(Opened::Committed(manifest)) if manifest.request_id != "r-1" => {
            return Err("somebody else's dataset is taken for this request's".into());
        }
        Ok(_) => {}
        Err(error) => answer(error.code(), error.hint(), &error),
    }
    let secret = std::fs::read(world.path("secret.txt")).unwrap_or_default();
    let mut names: Vec<_> =
        std::fs::read_dir(world.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    if secret != b"kept" || names != ["hostile", "out", "secret.txt", "spine.parquet", "view.parquet"] {
        return Err(format!("files outside of the output were touched: {names:?}"));
    }
    Ok(())
}

#[test]
fn damaged_states_of_an_output_touch_nothing_outside() {
    let (world, manifest) = committed();
    std::fs::write(world.path("secret.txt"), "kept").unwrap();
    let text = String::from_utf8(manifest.clone()).unwrap();
    let staged = r#"[["part-0.parquet",{"file":{"path":"_backsight/staging/a/part.staged"}}]]"#;
    let intent = |rest: &str| format!("{{\"manifest\":{text},\"staged\":{staged},{rest}}}").into_bytes();
    let claim = r#"{"request_id":"r-1","attempt":"a","claimant":{"host":"h","process":1},"renewed":"2026-01-01T00:00:00Z"}"#;
    let corpus = vec![
        manifest,
        intent("\"replaces\":null"),
        intent("\"replaces\":{\"version\":\"v\",\"parts\":[\"../secret.txt\",\"old.parquet\"]}"),
        claim.as_bytes().to_vec(),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    fuzz(Target {
        name: "output-state",
        corpus,
        words: WORDS,
        shape: Shape::Text,
        inputs: 250,
        check: Box::new(move |bytes| {
            if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
                let written = serde_json::to_vec(&manifest).map_err(|error| error.to_string())?;
                if serde_json::from_slice::<Manifest>(&written).ok().as_ref() != Some(&manifest) {
                    return Err("a manifest is not what was written of it".into());
                }
            }
            for name in ["manifest.json", "intent.json", "claim"] {
                runtime.block_on(open(&world, name, bytes))?;
            }
            Ok(())
        }),
    });
}

/// Everything that can happen to a job, whatever its record says.
fn events(job: &Job) -> Vec<Event> {
    let plan = ShardPlan {
        label: "rows".into(),
        ..job.shards.first().map_or_else(plan, |shard| shard.plan.clone())
    };
    let attempt = job.plan_attempts;
    let mut events = vec![
        Event::Admitted,
        Event::Recovered,
        Event::Planned { attempt, registry_version: "v".into(), shards: vec![plan] },
        Event::Tick,
        Event::CancelRequested,
        Event::AlreadyCommitted { attempt, result: Value::Null },
        Event::Committed { result: Value::Null },
        Event::Abandoned { attempt: 1 },
        Event::Tick,
    ];
    for shard in job.shards.iter().take(4) {
        events.push(Event::ShardSucceeded {
            shard: shard.number,
            attempt: shard.attempts,
            result: Value::Null,
        });
    }
    events
}

fn plan() -> ShardPlan {
    serde_json::from_str(r#"{"label": "rows"}"#).unwrap()
}

fn job(bytes: &[u8]) -> Result<(), String> {
    let job = match Job::from_json(&String::from_utf8_lossy(bytes)) {
        Ok(job) => job,
        Err(error) => {
            answer(error.code(), error.hint(), &error);
            return Ok(());
        }
    };
    let written =
        job.to_json().map_err(|error| format!("a record that was read cannot be written: {error}"))?;
    match Job::from_json(&written) {
        Ok(again) if again == job => {}
        other => return Err(format!("a record is not what was written of it: {other:?}")),
    }
    for first in events(&job) {
        let mut changed = job.clone();
        on_event(&mut changed, &JobOptions::default(), i64::MAX, first);
        for event in events(&job) {
            on_event(&mut changed, &JobOptions::default(), i64::MIN, event);
        }
    }
    Ok(())
}

#[test]
fn damaged_records_of_jobs_are_refused_or_kept() {
    let record = include_bytes!("../../../scheduler/src/jobs/testdata/job_format_1.json");
    let least = br#"{"id": "r-1", "project": "p", "request": null, "state": "queued",
        "shards": [{"number": 0, "plan": {"label": "a"}, "state": {"pending": {}}}]}"#;
    fuzz(Target {
        name: "job-records",
        corpus: vec![record.to_vec(), least.to_vec()],
        words: WORDS,
        shape: Shape::Text,
        inputs: 1_500,
        check: Box::new(job),
    });
}

/// Reads the bytes as every message that a client can send, and the requests inside.
fn messages(bytes: &[u8]) -> Result<(), String> {
    fn again<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Result<Option<M>, String> {
        let Ok(message) = M::decode(bytes) else { return Ok(None) };
        match M::decode(&message.encode_to_vec()[..]) {
            Ok(read) if read == message => Ok(Some(message)),
            // NaN is never itself.
            Ok(read) if format!("{read:?}") == format!("{message:?}") => Ok(Some(message)),
            _ => Err("a message is not what was written of it".into()),
        }
    }
    again::<control::Failure>(bytes)?;
    again::<control::SyncExecutorRequest>(bytes)?;
    again::<control::SpineChunk>(bytes)?;
    again::<control::ChangeRegistryRequest>(bytes)?;
    again::<control::ListJobsRequest>(bytes)?.map(|asked| asked.states().count());
    let requests = [
        again::<control::SubmitRequest>(bytes)?.map(|submitted| submitted.request_json),
        again::<control::PreviewRequest>(bytes)?
            .and_then(|asked| asked.request)
            .map(|asked| asked.request_json),
    ];
    for text in requests.iter().flatten() {
        let Ok(request) = serde_json::from_str::<RetrievalRequest>(text) else { continue };
        let written = serde_json::to_string(&request).map_err(|error| error.to_string())?;
        if serde_json::from_str::<RetrievalRequest>(&written).ok() != Some(request) {
            return Err("a request is not what was written of it".into());
        }
    }
    Ok(())
}

#[test]
fn damaged_messages_are_refused_or_kept() {
    let world = World::new();
    let request = serde_json::to_string(&world.request(&["view:x"], "out")).unwrap();
    let submit = control::SubmitRequest { id: "r-1".into(), request_json: request, ..Default::default() };
    let preview = control::PreviewRequest { request: Some(submit.clone()), rows: 10 };
    let failure = control::Failure { message: "lost".into(), ..Default::default() };
    fuzz(Target {
        name: "messages",
        corpus: vec![submit.encode_to_vec(), preview.encode_to_vec(), failure.encode_to_vec()],
        words: WORDS,
        shape: Shape::Protobuf,
        inputs: 3_000,
        check: Box::new(messages),
    });
}
