//! Runs the text tables of the job machine: what each event makes of a job, line by line.
//!
//! A table holds cases. `case NAME` opens one; `options NAME=NUMBER …` and `job DESCRIPTION` set it up; with `each job` in
//! place of `job`, every line starts from that description again. `at MS` sets the clock, 1000 at first. A line
//! `EVENT -> ACTIONS ; DESCRIPTION` sends an event: `-` stands for no actions, `=` for a job that has not changed at all,
//! history included. Indented lines hold more about the job as it is then: `history`, `failure`, `hint`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::machine::{Action, Event, on_event};
use super::model::{Job, JobFailure, JobId, JobState, Shard, ShardPlan, ShardState, Submission};
use super::options::JobOptions;

const CLOCK_MS: i64 = 1000;

pub(super) fn submission(id: &str) -> Submission {
    Submission {
        id: JobId(id.to_owned()),
        project: "rides".to_owned(),
        request: json!({"features": ["driver_stats:trips"]}),
        output: Some("s3://lake/out".to_owned()),
        overwrite: false,
        priority: 0,
        submitted_by: "ann".to_owned(),
    }
}

pub(super) fn queued_job(id: &str) -> Job {
    Job::new(submission(id), 0)
}

pub(super) fn failure(code: &str, is_retryable: bool) -> JobFailure {
    JobFailure {
        code: code.to_owned(),
        message: format!("{code} happened"),
        causes: vec!["the root".to_owned()],
        hint: None,
        is_retryable,
        is_local: false,
    }
}

fn plan(label: &str) -> ShardPlan {
    ShardPlan {
        label: label.to_owned(),
        rows: 1,
        rows_to_read: 1,
        bytes_to_read: 1,
        spec: json!({"label": label}),
    }
}

/// `#2/1`: attempt 2 after 1 failure; what is 0 is left out.
fn counts_text(attempts: u32, failures: u32) -> String {
    let attempts = if attempts == 0 { String::new() } else { format!("#{attempts}") };
    let failures = if failures == 0 { String::new() } else { format!("/{failures}") };
    attempts + &failures
}

fn parse_counts(text: &str) -> (&str, u32, u32) {
    let (text, failures) = text.split_once('/').unwrap_or((text, "0"));
    let (text, attempts) = text.split_once('#').unwrap_or((text, "0"));
    (text, attempts.parse().unwrap(), failures.parse().unwrap())
}

fn shard_text(shard: &Shard) -> String {
    let state = match &shard.state {
        ShardState::Pending { not_before_ms } => format!("pending@{not_before_ms}"),
        ShardState::Running { attempt } => {
            assert_eq!(*attempt, shard.attempts, "the running attempt is the newest");
            "running".to_owned()
        }
        ShardState::Done { attempt, .. } => {
            assert_eq!(*attempt, shard.attempts, "the attempt that was done is the newest");
            "done".to_owned()
        }
    };
    format!("{}:{state}{}", shard.number, counts_text(shard.attempts, shard.failures))
}

fn parse_shard(number: &str, text: &str) -> Shard {
    let (text, attempts, failures) = parse_counts(text);
    let state = match text.split_once('@').unwrap_or((text, "0")) {
        ("pending", at_ms) => ShardState::Pending { not_before_ms: at_ms.parse().unwrap() },
        ("running", _) => ShardState::Running { attempt: attempts },
        ("done", _) => ShardState::Done { attempt: attempts, result: json!("stored") },
        other => panic!("shard state {other:?}"),
    };
    let number = number.parse().unwrap();
    Shard { number, plan: plan(&format!("s{number}")), state, attempts, failures, last_failure: None }
}

fn job_text(job: &Job) -> String {
    let mut words = vec![job.state.name().to_owned()];
    match job.state {
        JobState::Planning => {
            words.push(format!("plan{}", counts_text(job.plan_attempts, job.plan_failures)));
        }
        JobState::Committing => {
            words.push(format!("commit{}", counts_text(job.commit_attempts, job.commit_failures)));
        }
        JobState::Abandoning => words.push(format!("abandon#{}", job.abandon_attempts)),
        JobState::Queued
        | JobState::Running
        | JobState::Succeeded
        | JobState::Failed
        | JobState::Cancelled => {}
    }
    words.extend(job.retry_at_ms.map(|at_ms| format!("retry@{at_ms}")));
    words.extend(job.shards.iter().map(shard_text));
    let flags = [
        (job.is_cancel_requested, "cancel"),
        (job.is_commit_durable, "durable"),
        (job.is_repeated, "repeated"),
        (job.result.is_some(), "result"),
    ];
    words.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()));
    if job.interruptions > 0 {
        words.push(format!("interruptions={}", job.interruptions));
    }
    words.extend(job.failure.iter().map(|failure| format!("failure={}", failure.code)));
    words.join(" ")
}

fn parse_job(text: &str) -> Job {
    let mut job = queued_job("r-1");
    let mut words = text.split_whitespace();
    let state = words.next().unwrap();
    job.state = JobState::ALL.into_iter().find(|known| known.name() == state).unwrap();
    job.registry_version = Some("v1".to_owned());
    for word in words {
        let (name, attempts, failures) = parse_counts(word);
        match name {
            "cancel" => job.is_cancel_requested = true,
            "durable" => job.is_commit_durable = true,
            "result" => job.result = Some(json!("stored")),
            "plan" => (job.plan_attempts, job.plan_failures) = (attempts, failures),
            "commit" => (job.commit_attempts, job.commit_failures) = (attempts, failures),
            "abandon" => job.abandon_attempts = attempts,
            "before" => job.shard_attempts_before = attempts,
            name => {
                if let Some(at_ms) = name.strip_prefix("retry@") {
                    job.retry_at_ms = Some(at_ms.parse().unwrap());
                } else if let Some(count) = name.strip_prefix("interruptions=") {
                    job.interruptions = count.parse().unwrap();
                } else if let Some(code) = name.strip_prefix("failure=") {
                    job.failure = Some(failure(code, false));
                } else {
                    let (number, shard) = word.split_once(':').unwrap_or_else(|| panic!("word `{word}`"));
                    job.shards.push(parse_shard(number, shard));
                }
            }
        }
    }
    job
}

fn parse_failure(words: &[&str]) -> JobFailure {
    failure(words[0], words.contains(&"retryable"))
}

/// `shard_failed 0#1 unreachable retryable`, `planned#1 s0 s1`, `planned#1 version=v2 s0`, ….
fn parse_event(text: &str) -> (String, Event) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (kind, attempt, _) = parse_counts(words[0]);
    let rest = &words[1..];
    let of_shard = || {
        let (shard, attempt, _) = parse_counts(rest[0]);
        (shard.parse::<u32>().unwrap(), attempt)
    };
    let event = match kind {
        "admitted" => Event::Admitted,
        "recovered" => Event::Recovered,
        "planned" => {
            let version = rest.iter().find_map(|word| word.strip_prefix("version="));
            let shards = rest.iter().filter(|word| !word.contains('=')).map(|word| plan(word)).collect();
            Event::Planned { attempt, registry_version: version.unwrap_or("v1").to_owned(), shards }
        }
        "already_committed" => Event::AlreadyCommitted { attempt, result: json!("found") },
        "plan_failed" => Event::PlanFailed { attempt, failure: parse_failure(rest) },
        "shard_succeeded" => {
            let (shard, attempt) = of_shard();
            Event::ShardSucceeded { shard, attempt, result: json!({"shard": shard, "attempt": attempt}) }
        }
        "shard_failed" => {
            let (shard, attempt) = of_shard();
            Event::ShardFailed { shard, attempt, failure: parse_failure(&rest[1..]) }
        }
        "tick" => Event::Tick,
        "cancel" => Event::CancelRequested,
        "committed" => Event::Committed { result: json!("manifest") },
        "commit_failed" => {
            let is_durable = rest.contains(&"durable");
            Event::CommitFailed { attempt, failure: parse_failure(rest), is_durable }
        }
        "abandoned" => Event::Abandoned { attempt },
        other => panic!("event `{other}`"),
    };
    (kind.to_owned(), event)
}

fn action_text(action: &Action) -> String {
    match action {
        Action::Plan { attempt } => format!("plan#{attempt}"),
        Action::RunShard { shard, attempt } => format!("run {shard}#{attempt}"),
        Action::StopShard { shard, attempt } => format!("stop {shard}#{attempt}"),
        Action::Commit { attempt } => format!("commit#{attempt}"),
        Action::Abandon { attempt } => format!("abandon#{attempt}"),
        Action::WakeAt { at_ms } => format!("wake {at_ms}"),
        Action::Finish => "finish".to_owned(),
    }
}

fn parse_options(text: &str) -> JobOptions {
    let numbers: BTreeMap<&str, u32> = text
        .split_whitespace()
        .map(|word| word.split_once('=').unwrap())
        .map(|(name, number)| (name, number.parse().unwrap()))
        .collect();
    serde_json::from_value(serde_json::to_value(numbers).unwrap()).unwrap()
}

/// A table being run.
struct Runner {
    case: String,
    start: Job,
    is_each: bool,
    job: Job,
    options: JobOptions,
    now_ms: i64,
    cases: usize,
    pairs: BTreeSet<(&'static str, String)>,
    problems: Vec<String>,
}

impl Runner {
    fn run(name: &str, text: &str) -> Self {
        let mut runner = Self {
            case: String::new(),
            start: queued_job("r-1"),
            is_each: false,
            job: queued_job("r-1"),
            options: JobOptions::default(),
            now_ms: CLOCK_MS,
            cases: 0,
            pairs: BTreeSet::new(),
            problems: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            let place = format!("{name}:{}", number + 1);
            if !line.trim().is_empty() && !line.starts_with('#') {
                runner.line(&place, line);
            }
        }
        runner
    }

    fn line(&mut self, place: &str, line: &str) {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match word {
            "case" => {
                self.case = rest.to_owned();
                self.cases += 1;
                self.options = JobOptions::default();
                self.now_ms = CLOCK_MS;
                self.set_job(queued_job("r-1"), false);
            }
            "options" => self.options = parse_options(rest),
            "at" => self.now_ms = rest.parse().unwrap(),
            "job" => self.set_job(parse_job(rest), false),
            "each" => self.set_job(parse_job(rest.strip_prefix("job ").unwrap()), true),
            "history:" => {
                let last = self.job.history.last().map_or("", |entry| &entry.what).to_owned();
                self.compare(place, "history", rest, &last);
            }
            "failure:" => {
                let message = self.job.failure.as_ref().map_or("", |failure| &failure.message).to_owned();
                self.compare(place, "failure", rest, &message);
            }
            "hint:" => {
                let hint =
                    self.job.failure.as_ref().and_then(|failure| failure.hint.clone()).unwrap_or_default();
                self.compare(place, "hint", rest, &hint);
            }
            _ => self.event(place, line.trim()),
        }
    }

    fn set_job(&mut self, job: Job, is_each: bool) {
        self.start = job.clone();
        self.job = job;
        self.is_each = is_each;
    }

    fn event(&mut self, place: &str, line: &str) {
        let (event_text, expected) = line.split_once(" -> ").unwrap_or_else(|| panic!("{place}: no ` -> `"));
        let (actions, state) = expected.split_once(" ; ").unwrap_or_else(|| panic!("{place}: no ` ; `"));
        let (kind, event) = parse_event(event_text);
        if self.is_each {
            self.job = self.start.clone();
        }
        let before = self.job.clone();
        self.pairs.insert((before.state.name(), kind));
        let done = on_event(&mut self.job, &self.options, self.now_ms, event);
        let texts: Vec<String> = done.iter().map(action_text).collect();
        let done = if texts.is_empty() { "-".to_owned() } else { texts.join(", ") };
        self.compare(place, event_text, actions.trim(), &done);
        let state = state.trim();
        if state != "=" {
            let got = job_text(&self.job);
            self.compare(place, event_text, state, &got);
        } else if self.job != before {
            let got = format!("{} (last: {:?})", job_text(&self.job), self.job.history.last());
            self.compare(place, event_text, "the same job", &got);
        }
    }

    fn compare(&mut self, place: &str, what: &str, expected: &str, got: &str) {
        if expected != got {
            let case = &self.case;
            self.problems.push(format!(
                "{place}, case `{case}`, {what}\n    expected: {expected}\n         got: {got}"
            ));
        }
    }

    fn assert(self, cases_min: usize) -> Self {
        assert!(self.problems.is_empty(), "{}", self.problems.join("\n"));
        assert!(self.cases >= cases_min, "{} cases were found", self.cases);
        self
    }
}

#[test]
fn jobs_go_through_the_lives_in_the_table() {
    Runner::run("lives.txt", include_str!("testdata/lives.txt")).assert(30);
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let runner = Runner::run("pairs.txt", include_str!("testdata/pairs.txt")).assert(8);
    let kinds: BTreeSet<&String> = runner.pairs.iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
    let missing: Vec<String> = JobState::ALL
        .into_iter()
        .flat_map(|state| kinds.iter().map(move |kind| (state.name(), (*kind).clone())))
        .filter(|pair| !runner.pairs.contains(pair))
        .map(|(state, kind)| format!("{state} + {kind}"))
        .collect();
    assert!(missing.is_empty(), "pairs without a line: {}", missing.join(", "));
}

#[test]
fn the_results_of_done_shards_and_the_manifest_are_kept() {
    let mut job = parse_job("running 0:running#2");
    let options = JobOptions::default();
    on_event(&mut job, &options, 1, parse_event("shard_succeeded 0#2").1);
    let expected = ShardState::Done { attempt: 2, result: json!({"shard": 0, "attempt": 2}) };
    assert_eq!(job.shards[0].state, expected);
    on_event(&mut job, &options, 2, parse_event("committed").1);
    assert_eq!(job.result, Some(Value::from("manifest")));
    assert_eq!(job.finished_at_ms, Some(2));
}

#[test]
fn only_the_newest_commit_that_is_under_way_may_write_its_intent() {
    let cases = [
        ("committing commit#2/1 0:done#1", 2, true),
        ("committing commit#2/1 0:done#1", 1, false),
        ("committing commit#2/1 retry@1500 0:done#1", 2, false),
        ("abandoning commit#2/1 0:done#1", 2, false),
        ("failed commit#2/1 0:done#1", 2, false),
        ("running commit#2/1 0:running#1", 2, false),
    ];
    for (job, attempt, expected) in cases {
        assert_eq!(parse_job(job).may_write_intent(attempt), expected, "{job}");
    }
}
