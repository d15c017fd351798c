//! Commands through a scheduler: the registry, retrievals, jobs, and a scheduler that goes away.

use std::io::Cursor;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::ipc::writer::StreamWriter;
use backsight_proto::control::{Job, JobState, PreviewResult};
use serde_json::{Value, json};

use crate::fake::{Fake, failed, failure};
use crate::support::{Run, World, write_parquet};

const RETRIEVE: &str = "-c taxi retrieve --feature-service model_v2 --spine taxi/data/spine.parquet";

/// A repo whose commands go through a scheduler.
pub(crate) struct Remote {
    world: World,
    pub(crate) fake: Fake,
}

impl Remote {
    fn new() -> Self {
        let world = World::with_repo();
        let fake = Fake::start(world.path());
        let world = world.with_environment(vec![("BACKSIGHT_SCHEDULER".to_owned(), fake.url())]);
        Self { world, fake }
    }

    pub(crate) fn applied() -> Self {
        let remote = Self::new();
        remote.run("-c taxi apply --yes").expect(0);
        remote
    }

    pub(crate) fn run(&self, line: &str) -> Run {
        self.world.run(line)
    }

    /// Jobs succeed with the manifest that a retrieval in this process has.
    pub(crate) fn succeed(&self) -> Value {
        self.run("--scheduler none -c taxi apply --yes").expect(0);
        let line = format!("--scheduler none {RETRIEVE} --output out/here --output-format json");
        let manifest = self.run(&line).expect(0).json()["manifest"].clone();
        let manifest_json = manifest.to_string();
        self.fake.state().end =
            Some(Job { state: JobState::Succeeded as i32, manifest_json, ..Job::default() });
        manifest
    }

    /// The error without the lines that notes are.
    fn error(run: &Run) -> String {
        let at = run.err.find("error: ").unwrap_or_else(|| panic!("no error in {}", run.err));
        run.err[at..].to_owned()
    }
}

#[test]
fn registry_commands_say_the_same_through_a_scheduler() {
    let remote = Remote::new();
    let plain = World::with_repo();
    let place = |text: &str, world: &World, registry: &str| {
        text.replace(&world.path().join(registry).display().to_string(), "REGISTRY")
            .replace(&world.path().display().to_string(), "DIR")
    };
    let masked = |text: String| -> String {
        // Versions are fresh, dates differ.
        let is_word = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
        text.lines()
            .filter(|line| !["version ", "written ", "hint: "].iter().any(|start| line.starts_with(start)))
            .map(|line| match line.split_once("(version ") {
                Some((before, after)) => format!("{before}(version){}", after.trim_start_matches(is_word)),
                None => line.to_owned(),
            })
            .filter(|line| !line.contains("imestamp: "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (line, status) in [
        ("-c taxi entities list", 4),
        ("-c taxi plan --detailed-exitcode", 8),
        ("-c taxi apply --yes", 0),
        ("-c taxi plan --detailed-exitcode", 0),
        ("-c taxi entities list", 0),
        ("-c taxi data-sources list", 0),
        ("-c taxi feature-views list", 0),
        ("-c taxi feature-views describe driver_hourly_stats", 0),
        ("-c taxi feature-services list", 0),
        ("-c taxi feature-services describe nothing", 4),
        ("-c taxi projects list", 0),
        ("-c taxi registry show", 0),
        ("-c taxi teardown --yes", 0),
        ("-c taxi teardown --yes", 4),
    ] {
        let (there, here) = (remote.run(line).expect(status), plain.run(line).expect(status));
        let there = [there.out, there.err].map(|text| masked(place(&text, &remote.world, "registry.pb")));
        let here = [here.out, here.err].map(|text| masked(place(&text, &plain, "taxi/data/registry.db")));
        assert_eq!(there, here, "{line}");
    }
    assert!(!remote.world.path().join("taxi/data/registry.db").exists(), "the scheduler's registry is meant");
    let changes = std::mem::take(&mut remote.fake.state().changes);
    assert!(changes.iter().all(|change| change.project == "taxi" && change.requested_by.contains('@')));
}

#[test]
fn a_conflict_through_a_scheduler_shows_both_changes() {
    let remote = Remote::applied();
    // As if somebody had changed the project between look and write.
    let stale = remote.fake.state().changes.first().unwrap().expected_fingerprint.clone();
    remote.world.edit("taxi/features.yaml", "somebody who drives", "a driver");
    remote.fake.state().stale_fingerprint = Some(stale);
    let run = remote.run("-c taxi apply --yes").expect(9);
    let error = Remote::error(&run);
    assert!(error.contains("has changed since it was looked at; nothing was written"), "{error}");
    assert!(error.contains("hint: run `backsight plan` again and look at both changes"), "{error}");
    assert!(run.err.contains("Your change, which was not written:"), "{}", run.err);
    assert!(run.err.contains("The change that was made meanwhile:"), "{}", run.err);
    let json = remote.run("-c taxi apply --yes --output-format json").expect(9);
    let value: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(value["error"]["details"]["own_change"]["has_changes"], true);
    assert_eq!(value["error"]["details"]["other_change"]["project"], "taxi");
}

#[test]
fn a_saved_plan_does_the_same_through_a_scheduler() {
    let remote = Remote::new();
    let saved = remote.run("-c taxi plan --save plan.json --detailed-exitcode").expect(8);
    assert!(saved.err.contains("Saved to `plan.json`"), "{}", saved.err);
    // Who applies has no definitions.
    let applied = remote.run("-c taxi/client apply plan.json --yes --output-format json").expect(0).json();
    assert_eq!((&applied["applied"], &applied["plan"]["sources"]["files"]), (&json!(true), &json!(1)));
    remote.run("-c taxi plan --detailed-exitcode").expect(0);
    let again = remote.run("-c taxi apply plan.json --yes").expect(9);
    assert!(again.err.contains("hint: the registry holds what the plan wants"), "{}", again.err);
    let elsewhere = remote.run("--scheduler none -c taxi apply plan.json --yes").expect(3);
    assert!(elsewhere.err.contains("is about the registry `"), "{}", elsewhere.err);
}

#[test]
fn sources_are_looked_at_by_the_scheduler() {
    let remote = Remote::new();
    let source = remote.world.path().join("taxi/data/driver_stats.parquet").display().to_string();
    // A path that only the scheduler's folder makes sense of.
    remote.world.edit("taxi/features.yaml", &format!("{source:?}"), "taxi/data/driver_stats.parquet");
    let plan = remote.run("-c taxi plan --output-format json").expect(0).json();
    assert_eq!((&plan["sources"]["files"], &plan["sources"]["errors"]), (&json!(1), &json!(0)));
    remote.run("--scheduler none -c taxi plan").expect(4);

    remote.world.edit("taxi/features.yaml", "conv_rate, dtype: Float32", "conv_rate, dtype: String");
    let refused = remote.run("-c taxi apply --yes").expect(3);
    let error = Remote::error(&refused);
    assert!(error.contains("column `conv_rate` is Float32 in `"), "{error}");
    assert!(remote.fake.state().changes.is_empty(), "nothing was asked for");
    remote.run("-c taxi apply --yes --allow-type-drift").expect(0);

    remote.fake.state().is_old = true;
    let refused = remote.run("-c taxi plan").expect(2);
    assert!(refused.err.contains("`--no-source-check` goes without"), "{}", refused.err);
    remote.run("-c taxi plan --no-source-check").expect(0);
}

#[test]
fn a_retrieval_is_submitted_followed_and_shown_as_if_it_ran_here() {
    let remote = Remote::applied();
    let manifest = remote.succeed();
    let here = remote
        .run(&format!(
            "--scheduler none {RETRIEVE} --output out/here --request-id {}",
            manifest["request_id"].as_str().unwrap()
        ))
        .expect(0);
    let there = remote.run(&format!("{RETRIEVE} --output out/there --priority -2")).expect(0);
    assert_eq!(there.out.replace("out/there", "out/here"), here.out);
    assert!(there.err.contains("Job `"), "{}", there.err);
    let json = remote.run(&format!("{RETRIEVE} --output out/there --output-format json -q")).expect(0);
    assert_eq!(json.err, "");
    let json = json.json();
    assert_eq!((&json["manifest"], &json["repeated"]), (&manifest, &json!(false)));

    let again = format!("{RETRIEVE} --output out/there --output-format json --request-id same");
    assert_eq!(remote.run(&again).expect(0).json()["repeated"], false);
    assert_eq!(remote.run(&again).expect(0).json()["repeated"], true);

    let state = remote.fake.state();
    assert_eq!((state.uploads, state.submitted.len()), (1, 4), "the same spine is sent once");
    let bytes = std::fs::read(remote.world.path().join("taxi/data/spine.parquet")).unwrap();
    let (sha256, held) = state.spines.first_key_value().unwrap();
    assert_eq!(held, &bytes);
    let first = &state.submitted[0];
    assert_eq!(first.priority, -2);
    let request: Value = serde_json::from_str(&first.request_json).unwrap();
    assert_eq!(request["spine"]["uri"], format!("s3://spool/{sha256}.parquet"));
    assert_eq!(request["output"], remote.world.path().join("out/there").display().to_string());
    assert_eq!(request["features"], json!({"service": "model_v2"}));
    assert_ne!(first.id, state.submitted[1].id);
}

#[test]
fn a_spine_with_a_name_goes_by_it_and_others_are_one_file_within_bounds() {
    let remote = Remote::applied();
    remote.succeed();
    let by_name =
        "-c taxi retrieve --feature-service model_v2 --spine s3://bucket/spine/ --output s3://bucket/out";
    remote.run(by_name).expect(0);
    {
        let state = remote.fake.state();
        let request: Value = serde_json::from_str(&state.submitted[0].request_json).unwrap();
        assert_eq!(
            (&request["spine"]["uri"], &request["output"]),
            (&json!("s3://bucket/spine/"), &json!("s3://bucket/out"))
        );
        assert_eq!(state.uploads, 0);
    }
    let rows = [("driver_id", vec![Some(1001)]), ("event_timestamp", vec![Some(0)])];
    for name in ["many/a.parquet", "many/b.parquet", "one/a.parquet"] {
        write_parquet(&remote.world.path().join(name), &rows);
    }
    let spine = |spine: &str| {
        remote.run(&format!("-c taxi retrieve --feature-service model_v2 --spine {spine} --output out/x"))
    };
    spine("one").expect(0);
    spine("one/*.parquet").expect(0);
    let uploads = remote.fake.state().uploads;
    spine("many").expect(0);
    assert_eq!(remote.fake.state().uploads, uploads + 1, "one file of all rows");
    write_parquet(&remote.world.path().join("unlike/b.parquet"), &rows[..1]);
    std::fs::copy(remote.world.path().join("many/a.parquet"), remote.world.path().join("unlike/a.parquet"))
        .unwrap();
    spine("unlike").expect(3).says(
        remote.world.path(),
        "error: the files of a spine that is sent to a scheduler need the same columns in the same order: \
         `DIR/unlike/a.parquet` has driver_id Int64, event_timestamp Timestamp(µs, \"UTC\"); `DIR/unlike/b.parquet` has driver_id \
         Int64\nhint: write them with one schema, or put the folder into an object store and name it there\n",
    );
    spine("nothing").expect(4);
    remote.fake.state().spine_upload_max = 100;
    let refused = spine("many/a.parquet").expect(10);
    assert!(refused.err.contains("the scheduler takes 100 B at most"), "{}", refused.err);
    assert!(refused.err.contains("`--spine-upload-max`"), "{}", refused.err);
}

#[test]
fn a_job_that_fails_ends_the_command_with_its_code() {
    let remote = Remote::applied();
    for (code, status) in [("data", 5), ("limit", 10), ("invalid", 3), ("conflict", 9), ("strange", 1)] {
        remote.fake.state().end = Some(failed(failure(code, "it went wrong", "look")));
        let run = remote.run(&format!("{RETRIEVE} --output out/x")).expect(status);
        let error = Remote::error(&run);
        assert!(error.starts_with("error: it went wrong\nhint: look"), "{error}");
    }
    let run = remote.run(&format!("{RETRIEVE} --output out/x --output-format json -q")).expect(1);
    let value: Value = serde_json::from_str(&run.err).unwrap();
    assert!(value["error"]["details"]["job_id"].is_string());
    // What is refused at once is no job.
    remote.fake.state().refusal = Some(failure("not_found", "no feature service `model_v2`", ""));
    let run = remote.run(&format!("{RETRIEVE} --output out/x")).expect(4);
    assert_eq!(run.err, "error: no feature service `model_v2`\n");
}

#[test]
fn a_lost_answer_to_a_submit_does_not_make_two_jobs() {
    let remote = Remote::applied();
    remote.succeed();
    remote.fake.state().lost_submits = 2;
    remote.run(&format!("{RETRIEVE} --output out/x")).expect(0);
    let state = remote.fake.state();
    assert_eq!((state.submitted.len(), state.jobs.len()), (3, 1));
    assert!(state.submitted.iter().all(|request| request == &state.submitted[0]));
}

#[test]
fn a_watch_that_breaks_goes_on() {
    let remote = Remote::applied();
    remote.succeed();
    remote.fake.state().broken_watches = 2;
    remote.run(&format!("{RETRIEVE} --output out/x")).expect(0);
    assert_eq!(remote.fake.state().watches, 3);
}

#[test]
fn a_scheduler_that_is_started_again_goes_on_with_the_job() {
    let mut remote = Remote::applied();
    let line = format!("{RETRIEVE} --output out/x");
    let child = remote.world.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| remote.fake.state().watches > 0);
    remote.fake.stop();
    std::thread::sleep(Duration::from_secs(1));
    remote.fake.state().end = Some(failed(failure("data", "it went wrong", "")));
    remote.fake.listen();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(remote.fake.state().watches >= 2);
}

#[test]
fn a_detached_job_is_listed_shown_watched_and_cancelled() {
    let remote = Remote::applied();
    let run = remote.run(&format!("{RETRIEVE} --output out/x --detach --request-id nightly-0001")).expect(0);
    assert_eq!(run.out, "nightly-0001\n");
    assert!(run.err.contains("jobs watch nightly-0001"), "{}", run.err);
    let other = remote
        .run(&format!("{RETRIEVE} --output out/x --detach --request-id nightly-0002 --output-format json"));
    assert_eq!(other.expect(0).json()["job"]["state"], "queued");

    let list = remote.run("-c taxi jobs list").expect(0);
    assert!(
        list.out.starts_with("ID            PROJECT  STATE   PROGRESS  SUBMITTED (UTC)      TIME  WHO\n"),
        "{}",
        list.out
    );
    assert!(
        list.out.contains("nightly-0001  taxi     queued        #1  2026-03-05 00:00:00     -  "),
        "{}",
        list.out
    );
    // No feature repo is needed.
    let json = remote.run("jobs list --output-format json --state queued --limit 1").expect(0).json();
    assert_eq!((json["jobs"].as_array().unwrap().len(), &json["has_more"]), (1, &json!(true)));
    let none = remote.run("jobs list --project other").expect(0);
    assert_eq!(none.err, "no jobs of project `other`\n");

    remote.run("jobs show night").expect(4);
    let several = remote.run("jobs show nightly").expect(2);
    assert_eq!(
        several.err,
        "error: 2 jobs start with `nightly`\nhint: write more of it: `nightly-0001`, `nightly-0002`\n"
    );
    assert_eq!(remote.run("jobs show absent-job").expect(4).err, "error: there is no job `absent-job`\n");
    let show = remote.run("jobs show nightly-0001").expect(0);
    assert!(show.out.contains("state      queued, number 1 in the queue\n"), "{}", show.out);
    assert!(show.out.contains("features   service model_v2\n"), "{}", show.out);

    remote.fake.state().end = Some(failed(failure("data", "it went wrong", "")));
    let watch = remote.run("jobs watch nightly-0001").expect(5);
    let lines: Vec<&str> = watch.out.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "queued; number 1 in the queue",
            "running; 0 of 1 shard; read 5 of 10 rows, 512 B of 1.0 KiB",
            "failed; 0 of 1 shard; read 5 of 10 rows, 512 B of 1.0 KiB",
        ]
    );
    assert_eq!(watch.err, "error: it went wrong\n");
    let watch = remote.run("jobs watch nightly-0001 --output-format json -q").expect(5);
    assert_eq!(watch.json()["failure"]["code"], "data");

    remote.fake.state().end = None;
    let cancel = remote.run("jobs cancel nightly-0002 --no-wait").expect(0);
    assert_eq!(cancel.out, "Job `nightly-0002` is being cancelled.\n");
    let cancel = remote.run("jobs cancel nightly-0002").expect(0);
    assert_eq!(cancel.out, "Job `nightly-0002` is cancelled.\n");
    remote.run("jobs watch nightly-0002").expect(7);
}

#[test]
fn ctrl_c_without_a_terminal_cancels_the_job() {
    let remote = Remote::applied();
    let line = format!("{RETRIEVE} --output out/x --request-id j-interrupted");
    let child = remote.world.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| remote.fake.state().watches > 0);
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("error: job `j-interrupted` was cancelled; nothing was left in `"), "{said}");
    assert_eq!(remote.fake.state().jobs["j-interrupted"].state(), JobState::Cancelled);
}

#[test]
fn a_preview_and_an_explanation_come_from_the_scheduler() {
    let remote = Remote::applied();
    remote.run("--scheduler none -c taxi apply --yes").expect(0);
    let line = format!("{RETRIEVE} --output - --output-format json");
    let here = remote.run(&format!("--scheduler none {line}")).expect(0).json();
    let column: ArrayRef = std::sync::Arc::new(Int64Array::from(vec![1, 2]));
    let rows = RecordBatch::try_from_iter([("driver_id", column)]).unwrap();
    let mut writer = StreamWriter::try_new(Cursor::new(Vec::new()), &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    let bytes = writer.into_inner().unwrap().into_inner();
    remote.fake.state().preview =
        PreviewResult { rows: bytes, report_json: here["report"].to_string(), spine_rows: 5 };
    let there = remote.run(&line).expect(0).json();
    assert_eq!(there["rows"], json!([{"driver_id": 1}, {"driver_id": 2}]));
    assert_eq!(there["report"], here["report"]);
    let text = remote.run(&format!("{RETRIEVE} --output -")).expect(0);
    assert!(text.out.starts_with("driver_id\n        1\n        2\n… and 3 more rows\n"), "{}", text.out);
    let explained =
        remote.run(&format!("--scheduler none {line} --explain --memory-limit 1GiB")).expect(0).json();
    remote.fake.state().explanation = explained.to_string();
    assert_eq!(remote.run(&format!("{line} --explain")).expect(0).json(), explained);
    let text = format!("{RETRIEVE} --output - --explain");
    let here = remote.run(&format!("--scheduler none {text} --memory-limit 1GiB")).expect(0).out;
    assert_eq!(remote.run(&text).expect(0).out, here);
    assert!(remote.fake.state().jobs.is_empty());
}

#[test]
fn who_names_the_scheduler_is_known() {
    let mut remote = Remote::applied();
    remote.world.edit(
        "taxi/feature_store.yaml",
        "project: taxi",
        "project: taxi\nbacksight: {scheduler: \"http://127.0.0.1:1\"}",
    );
    let setting = |line: &str| {
        let value = remote.run(&format!("{line} config show --output-format json")).expect(0).json();
        let settings = value["settings"].as_array().unwrap().clone();
        let row = settings.into_iter().find(|row| row["key"] == "backsight.scheduler").unwrap();
        (row["value"].clone(), row["origin"].as_str().unwrap().to_owned())
    };
    let url = json!(remote.fake.url());
    assert_eq!(setting("-c taxi"), (url, "environment variable `BACKSIGHT_SCHEDULER`".to_owned()));
    assert_eq!(
        setting("-c taxi --scheduler http://h:7"),
        (json!("http://h:7"), "option `--scheduler`".to_owned())
    );
    assert_eq!(setting("-c taxi --scheduler none"), (json!(null), "option `--scheduler`".to_owned()));
    let bad = remote.run("-c taxi --scheduler h:7 plan").expect(2);
    assert!(bad.err.contains("option `--scheduler`, does not start with `http://`"), "{}", bad.err);

    remote.fake.stop();
    let run = remote.run("-c taxi plan").expect(6);
    let expected = format!("error: the scheduler at `{}` cannot be reached\n", remote.fake.url());
    assert!(run.err.starts_with(&expected), "{}", run.err);
    assert!(
        run.err.contains("its address comes from environment variable `BACKSIGHT_SCHEDULER`"),
        "{}",
        run.err
    );
    let none = remote.run("--scheduler none jobs list").expect(2);
    assert!(none.err.contains("needs a scheduler"), "{}", none.err);
    let local = remote.run(&format!("--scheduler none {RETRIEVE} --output o --detach")).expect(2);
    assert!(local.err.contains("`--detach` needs a scheduler"), "{}", local.err);
}

#[track_caller]
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "it never happened");
        std::thread::sleep(Duration::from_millis(20));
    }
}
