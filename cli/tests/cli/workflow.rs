//! Runs workflows of GitHub Actions as they are written: their shell steps with `bash`, `git`, `curl` and `jq` of this
//! machine, and a `gh` that keeps comments, runs and artifacts in a folder. What it does not know fails the test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backsight_registry::yaml::{Limits, Node, Value, parse};

const GH: &str = include_str!("gh.sh");
/// Who has it may write what the job's permissions allow.
const TOKEN: &str = "token-of-the-run";

/// A repository on GitHub.
pub(crate) struct Hub {
    folder: PathBuf,
    /// Settings of the repository.
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
    runs: u32,
}

/// Why a workflow runs.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    PullRequest { number: u32, is_fork: bool },
    Push,
    ByHand,
}

/// What became of a run.
pub(crate) struct Ran {
    /// (Job, and its matrix value), with `success`, `failure` or `skipped`.
    pub(crate) jobs: Vec<(String, &'static str)>,
    /// What all steps wrote.
    pub(crate) log: String,
}

/// The values that expressions of one job may ask for.
struct Context<'a> {
    values: BTreeMap<String, String>,
    hub: &'a Hub,
    has_secrets: bool,
}

struct Job<'a> {
    workspace: PathBuf,
    temp: PathBuf,
    commit: &'a str,
    event: &'a str,
    run: u32,
    may_write: bool,
}

impl Hub {
    /// An empty repository; `folder` holds it and all that GitHub remembers.
    pub(crate) fn new(folder: PathBuf) -> Self {
        for part in ["comments", "commits", "artifacts", "bin", "jobs"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        fs::write(folder.join("runs.json"), "[]").unwrap();
        let gh = folder.join("bin/gh");
        fs::write(&gh, GH).unwrap();
        fs::set_permissions(&gh, fs::Permissions::from_mode(0o755)).unwrap();
        let hub = Self { folder, variables: BTreeMap::new(), secrets: BTreeMap::new(), runs: 0 };
        git(&hub.folder, &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"]);
        hub
    }

    /// Where it is cloned from.
    pub(crate) fn origin(&self) -> PathBuf {
        self.folder.join("origin.git")
    }

    /// The bodies of a pull request's comments.
    pub(crate) fn comments(&self, number: u32) -> Vec<String> {
        let text =
            fs::read_to_string(self.folder.join(format!("comments/{number}.json"))).unwrap_or_default();
        let comments: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
        comments.iter().map(|comment| comment["body"].as_str().unwrap().to_owned()).collect()
    }

    /// Remembers that a commit came from a pull request.
    pub(crate) fn merged(&self, commit: &str, number: u32, head: &str) {
        let pulls = serde_json::json!([{"number": number, "merged_at": "2026-11-28T00:00:00Z", "head": {"sha": head}}]);
        fs::write(self.folder.join(format!("commits/{commit}.json")), pulls.to_string()).unwrap();
    }

    /// Runs a workflow of the commit at the tip of `branch`.
    pub(crate) fn run(&mut self, workflow: &str, branch: &str, event: Event) -> Ran {
        self.runs += 1;
        let run = self.runs;
        let commit = git(&self.origin(), &["rev-parse", branch]);
        let text = git(&self.origin(), &["show", &format!("{commit}:.github/workflows/{workflow}")]);
        let parsed = parse(&Arc::from(workflow), &text, &Limits::default());
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let file = &parsed.documents[0];
        let name = match event {
            Event::PullRequest { .. } => "pull_request",
            Event::Push => "push",
            Event::ByHand => "workflow_dispatch",
        };
        assert!(get(&get(file, "on").unwrap(), name).is_some(), "{workflow} does not run on {name}");
        let mut ran = Ran { jobs: Vec::new(), log: String::new() };
        for (key, job) in pairs(&get(file, "jobs").unwrap()) {
            let matrix = get(&job, "strategy")
                .and_then(|it| get(&it, "matrix"))
                .and_then(|it| get(&it, "environment"));
            let environments: Vec<Option<String>> = matrix
                .map_or(vec![None], |list| items(&list).iter().map(|item| Some(text_of(item))).collect());
            for environment in environments {
                let title = environment.as_ref().map_or(key.clone(), |it| format!("{key} {it}"));
                let outcome = self.run_job(&job, environment, &commit, branch, event, name, run, &mut ran);
                ran.log.extend(["== ", &title, ": ", outcome, "\n"]);
                ran.jobs.push((title, outcome));
            }
        }
        let is_good = ran.jobs.iter().all(|(_, outcome)| *outcome != "failure");
        self.remember(run, workflow, &commit, name, is_good);
        ran
    }

    #[expect(clippy::too_many_arguments, reason = "one call, in the function above")]
    fn run_job(
        &self,
        job: &Node,
        environment: Option<String>,
        commit: &str,
        branch: &str,
        event: Event,
        event_name: &str,
        run: u32,
        ran: &mut Ran,
    ) -> &'static str {
        let is_fork = matches!(event, Event::PullRequest { is_fork: true, .. });
        let folder = self.folder.join(format!("jobs/{run}-{}", ran.jobs.len()));
        let temp = folder.join("temp");
        fs::create_dir_all(&temp).unwrap();
        let mut context = Context { values: BTreeMap::new(), hub: self, has_secrets: !is_fork };
        let mut set = |key: &str, value: &str| drop(context.values.insert(key.to_owned(), value.to_owned()));
        set("github.repository", "us/taxi");
        set("github.event_name", event_name);
        set("github.ref", branch);
        set("github.token", TOKEN);
        set("runner.temp", &temp.display().to_string());
        if let Event::PullRequest { number, is_fork } = event {
            set("github.event.pull_request.number", &number.to_string());
            let from = if is_fork { "them/taxi" } else { "us/taxi" };
            set("github.event.pull_request.head.repo.full_name", from);
        }
        if let Some(environment) = &environment {
            set("matrix.environment", environment);
        }
        if let Some(needed) = get(job, "needs").map(|needed| text_of(&needed)) {
            let before = ran.jobs.iter().find(|(name, _)| *name == needed).unwrap();
            if before.1 != "success" {
                return "skipped";
            }
        }
        if get(job, "if").is_some_and(|condition| !context.holds(&text_of(&condition))) {
            return "skipped";
        }
        let may = get(job, "permissions").and_then(|it| get(&it, "pull-requests"));
        let job_run = Job {
            workspace: folder.join("workspace"),
            temp,
            commit,
            event: event_name,
            run,
            may_write: may.is_some_and(|may| text_of(&may) == "write") && !is_fork,
        };
        let of_job = context.environment(get(job, "env").as_ref());
        let mut outcome = "success";
        for step in items(&get(job, "steps").unwrap()) {
            let is_due = match get(step, "if") {
                Some(condition) => outcome == "success" && context.holds(&text_of(&condition)),
                None => outcome == "success",
            };
            if is_due && !job_run.step(step, &of_job, &mut context, &mut ran.log) {
                outcome = "failure";
            }
        }
        outcome
    }

    fn remember(&self, run: u32, workflow: &str, commit: &str, event: &str, is_good: bool) {
        let path = self.folder.join("runs.json");
        let mut runs: Vec<serde_json::Value> =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let status = if is_good { "success" } else { "failure" };
        runs.insert(
            0,
            serde_json::json!({"databaseId": run, "workflow": workflow, "headSha": commit, "event": event, "status": status}),
        );
        fs::write(path, serde_json::Value::from(runs).to_string()).unwrap();
    }
}

impl Job<'_> {
    /// Whether the step ended well.
    fn step(
        &self,
        step: &Node,
        of_job: &[(String, String)],
        context: &mut Context<'_>,
        log: &mut String,
    ) -> bool {
        if let Some(action) = get(step, "uses").map(|action| text_of(&action)) {
            self.action(&action, get(step, "with").as_ref(), context);
            return true;
        }
        let script = self.temp.join("step.sh");
        fs::write(&script, context.filled(&text_of(&get(step, "run").unwrap()))).unwrap();
        let (output, path) = (self.temp.join("output"), self.temp.join("path"));
        fs::write(&output, "").unwrap();
        let added = fs::read_to_string(&path).unwrap_or_default();
        let bin = context.hub.folder.join("bin").display().to_string();
        let search: Vec<&str> =
            added.lines().chain([bin.as_str(), "/usr/local/bin", "/usr/bin", "/bin"]).collect();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-eo", "pipefail"]).arg(&script);
        command.current_dir(&self.workspace).env_clear().env("PATH", search.join(":"));
        command.env("HOME", &self.temp).env("RUNNER_TEMP", &self.temp).env("GITHUB_PATH", &path);
        command.env("GITHUB_OUTPUT", &output).env("GITHUB_STEP_SUMMARY", self.temp.join("summary"));
        command.env("GITHUB_REPOSITORY", "us/taxi").env("GITHUB_SHA", self.commit);
        command.env("GITHUB_EVENT_NAME", self.event).env("FAKE_HUB", &context.hub.folder);
        command.env("FAKE_MAY_WRITE", if self.may_write { TOKEN } else { "nobody" });
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(of_job.iter().cloned());
        command.envs(context.environment(get(step, "env").as_ref()));
        let ended = command.output().unwrap();
        let name = get(step, "name").map(|name| text_of(&name)).unwrap_or_default();
        let [out, err] = [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        log.extend(["-- ", &name, "\n", &out, &err]);
        if let Some(id) = get(step, "id").map(|id| text_of(&id)) {
            for line in fs::read_to_string(&output).unwrap().lines() {
                let (key, value) = line.split_once('=').unwrap();
                context.values.insert(format!("steps.{id}.outputs.{key}"), value.to_owned());
            }
        }
        ended.status.success()
    }

    fn action(&self, action: &str, with: Option<&Node>, context: &Context<'_>) {
        let with =
            |key: &str| with.and_then(|with| get(with, key)).map(|value| context.filled(&text_of(&value)));
        match action {
            "actions/checkout@v4" => {
                let place = self.workspace.display().to_string();
                let origin = context.hub.origin().display().to_string();
                git(&self.temp, &["clone", "--quiet", &origin, &place]);
                let what = with("ref").map_or(self.commit.to_owned(), |branch| format!("origin/{branch}"));
                git(&self.workspace, &["checkout", "--quiet", &what]);
            }
            "actions/upload-artifact@v4" => {
                let place = format!("artifacts/{}/{}", self.run, with("name").unwrap());
                let place = context.hub.folder.join(place);
                fs::create_dir_all(&place).unwrap();
                let file = PathBuf::from(with("path").unwrap());
                fs::copy(&file, place.join(file.file_name().unwrap())).unwrap();
            }
            other => panic!("unknown action {other}"),
        }
    }
}

impl Context<'_> {
    fn value(&self, name: &str) -> String {
        let name = name.trim();
        if let Some(text) = name.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            return text.to_owned();
        }
        if let Some(variable) = name.strip_prefix("vars.") {
            return self.hub.variables.get(variable).cloned().unwrap_or_default();
        }
        if let Some(secret) = name.strip_prefix("secrets.") {
            return self.hub.secrets.get(secret).filter(|_| self.has_secrets).cloned().unwrap_or_default();
        }
        match self.values.get(name) {
            Some(value) => value.clone(),
            None if name.starts_with("steps.") => String::new(),
            None => panic!("unknown expression {name}"),
        }
    }

    fn holds(&self, condition: &str) -> bool {
        match (condition.split_once("=="), condition.split_once("!=")) {
            (Some((left, right)), _) => self.value(left) == self.value(right),
            (_, Some((left, right))) => self.value(left) != self.value(right),
            _ => panic!("unknown condition {condition}"),
        }
    }

    /// The text with the values of its expressions.
    fn filled(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let (name, after) = after.split_once("}}").unwrap();
            filled = format!("{filled}{before}{}", self.value(name));
            rest = after;
        }
        filled + rest
    }

    fn environment(&self, env: Option<&Node>) -> Vec<(String, String)> {
        let env = env.map(pairs).unwrap_or_default();
        env.into_iter().map(|(key, value)| (key, self.filled(&text_of(&value)))).collect()
    }
}

/// Runs git as somebody whose settings are in no file, and gives what it printed.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("HOME", "/nonexistent"),
        ("GIT_AUTHOR_NAME", "me"),
        ("GIT_AUTHOR_EMAIL", "me@example.com"),
        ("GIT_COMMITTER_NAME", "me"),
        ("GIT_COMMITTER_EMAIL", "me@example.com"),
    ] {
        command.env(name, value);
    }
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap().trim_end().to_owned()
}

/// Whether this machine has what the steps call; says so when not.
#[expect(clippy::print_stderr, reason = "what is skipped is said")]
pub(crate) fn is_possible() -> bool {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|it| it.status.success());
    let missing: Vec<&str> =
        ["git", "bash", "curl", "jq", "sha256sum"].into_iter().filter(|it| !has(it)).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: the workflows of `init --template team` are not run, for lack of {missing:?}");
    }
    missing.is_empty()
}

fn get(node: &Node, key: &str) -> Option<Node> {
    pairs(node).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

fn pairs(node: &Node) -> Vec<(String, Node)> {
    match &node.value {
        Value::Mapping(pairs) => {
            pairs.iter().map(|pair| (pair.key.text.clone(), pair.value.clone())).collect()
        }
        _ => Vec::new(),
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::Sequence(items) => items,
        _ => &[],
    }
}

fn text_of(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.clone(),
        _ => panic!("{} is no text", node.position),
    }
}
