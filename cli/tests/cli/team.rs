//! `init --template team` as a team lives with it: two checkouts, pull requests, merges, on a registry on S3. The shell
//! steps of the workflows are run as they were written.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use backsight_s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use sha2::{Digest, Sha256};

use crate::support::{Run, World};
use crate::workflow::{Event, Hub, Ran, git, is_possible};

/// A pull request.
struct Pull {
    number: u32,
    branch: String,
}

struct Team {
    world: World,
    server: S3Server,
    hub: Hub,
    pulls: u32,
}

impl Team {
    /// A repository on GitHub with what `init` wrote, its sources on S3, applied once by hand; `None` where the machine
    /// lacks a tool.
    fn new() -> Option<Self> {
        if !is_possible() {
            return None;
        }
        let world = World::empty();
        let server = S3Server::start(&world.path().join("s3"));
        server.create_bucket("features");
        let world = world.with_environment(server.environment());
        let mut hub = Hub::new(world.path().join("hub"));
        git(world.path(), &["clone", "--quiet", &hub.origin().display().to_string(), "taxi"]);
        world.run("init taxi --template team --registry s3://features/registry.pb").expect(0);
        let stats = fs::read(world.path().join("taxi/features/data/driver_stats.parquet")).unwrap();
        world.write("s3/features/data/driver_stats.parquet", stats);
        let source = "path: s3://features/data/driver_stats.parquet";
        world.edit("taxi/features/features.yaml", "path: \"data/driver_stats.parquet\"", source);
        settings(&world, &server, &mut hub);
        let mut team = Self { world, server, hub, pulls: 0 };
        team.commit("taxi", "the repo of a team");
        git(&team.path("taxi"), &["branch", "--move", "main"]);
        git(&team.path("taxi"), &["push", "--quiet", "origin", "main"]);
        let first = team.hub.run("apply.yml", "main", Event::ByHand);
        team.expect(&first, &[("staging", "success"), ("production", "success")]);
        Some(team)
    }

    fn path(&self, folder: &str) -> std::path::PathBuf {
        self.world.path().join(folder)
    }

    fn commit(&self, clone: &str, message: &str) {
        git(&self.path(clone), &["add", "--all"]);
        git(&self.path(clone), &["commit", "--quiet", "--message", message]);
    }

    /// Somebody clones the repository.
    fn clone(&self, name: &str) {
        let origin = self.hub.origin().display().to_string();
        git(self.world.path(), &["clone", "--quiet", &origin, name]);
    }

    /// A branch of this clone with a text replaced in the definitions, as a pull request.
    fn pull(&mut self, clone: &str, branch: &str, from: &str, to: &str) -> Pull {
        git(&self.path(clone), &["fetch", "--quiet"]);
        git(&self.path(clone), &["switch", "--quiet", "--create", branch, "--no-track", "origin/main"]);
        self.push_edit(clone, branch, from, to);
        self.pulls += 1;
        Pull { number: self.pulls, branch: branch.to_owned() }
    }

    fn push_edit(&self, clone: &str, branch: &str, from: &str, to: &str) {
        self.world.edit(&format!("{clone}/features/features.yaml"), from, to);
        self.commit(clone, branch);
        git(&self.path(clone), &["push", "--quiet", "--force", "origin", branch]);
    }

    fn plan(&mut self, pull: &Pull) -> Ran {
        self.hub.run("plan.yml", &pull.branch, Event::PullRequest { number: pull.number, is_fork: false })
    }

    /// Merges a pull request in the first clone, as the button does, and gives what the push started.
    fn merge(&mut self, pull: &Pull) -> Ran {
        let clone = self.path("taxi");
        git(&clone, &["fetch", "--quiet"]);
        git(&clone, &["switch", "--quiet", "main"]);
        git(&clone, &["merge", "--quiet", "--ff-only", "origin/main"]);
        git(&clone, &["merge", "--quiet", "--no-ff", "-m", "merge", &format!("origin/{}", pull.branch)]);
        git(&clone, &["push", "--quiet", "origin", "main"]);
        let commit = git(&clone, &["rev-parse", "main"]);
        let head = git(&clone, &["rev-parse", &format!("origin/{}", pull.branch)]);
        self.hub.merged(&commit, pull.number, &head);
        self.hub.run("apply.yml", "main", Event::Push)
    }

    /// Fails the test unless the jobs ended so, and nothing secret was written.
    #[track_caller]
    fn expect(&self, ran: &Ran, jobs: &[(&str, &str)]) {
        let found: Vec<(&str, &str)> = ran.jobs.iter().map(|(job, ended)| (job.as_str(), *ended)).collect();
        assert_eq!(found, jobs, "{}", ran.log);
        assert!(!ran.log.contains(SECRET_KEY), "{}", ran.log);
    }

    fn backsight(&self, environment: &str, line: &str) -> Run {
        self.world.run(&format!("-c taxi/features -f taxi/{environment}/feature_store.yaml {line}"))
    }

    /// The ttl that a project of the registry has.
    fn ttl(&self, environment: &str) -> String {
        let described = "feature-views describe driver_hourly_stats --output-format json";
        let view = self.backsight(environment, described).expect(0).json();
        view["spec"]["ttl"].as_str().unwrap().to_owned()
    }
}

/// What the heads of the workflows ask for. The command is fetched as from a server, and does what the built one does.
fn settings(world: &World, server: &S3Server, hub: &mut Hub) {
    let script = format!("#!/bin/bash\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_backsight"));
    let place = world.write("served/backsight", &script);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let sum: String = Sha256::digest(script.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    for (name, value) in [
        ("BACKSIGHT_URL", format!("file://{}", place.display())),
        ("BACKSIGHT_SHA256", sum),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT_URL", server.endpoint()),
    ] {
        hub.variables.insert(name.to_owned(), value);
    }
    for prefix in ["READ", "WRITE"] {
        hub.secrets.insert(format!("{prefix}_ACCESS_KEY_ID"), ACCESS_KEY.to_owned());
        hub.secrets.insert(format!("{prefix}_SECRET_ACCESS_KEY"), SECRET_KEY.to_owned());
    }
}

const BOTH_PLANNED: [(&str, &str); 3] =
    [("check", "success"), ("plan staging", "success"), ("plan production", "success")];
const BOTH_APPLIED: [(&str, &str); 2] = [("staging", "success"), ("production", "success")];

#[test]
fn a_change_goes_by_pull_request_to_staging_and_then_to_production() {
    let Some(mut team) = Team::new() else { return };
    for environment in ["staging", "production"] {
        team.backsight(environment, "plan --detailed-exitcode").expect(0);
    }
    team.clone("mine");
    let pull = team.pull("mine", "shorter", "ttl: 100d", "ttl: 50d");
    let ran = team.plan(&pull);
    team.expect(&ran, &BOTH_PLANNED);
    let comments = team.hub.comments(pull.number);
    assert_eq!(comments.len(), 2, "{comments:?}");
    for (comment, (environment, project)) in
        comments.iter().zip([("staging", "taxi_staging"), ("production", "taxi")])
    {
        let head = format!("<!-- backsight plan: {environment} -->\n### Plan for project `{project}`\n");
        assert!(comment.starts_with(&head), "{comment}");
        assert!(comment.contains("~   ttl  100d -> 50d") && comment.contains("all as declared"), "{comment}");
    }

    // Another push changes the same comments.
    team.push_edit("mine", "shorter", "ttl: 50d", "ttl: 20d");
    let ran = team.plan(&pull);
    team.expect(&ran, &BOTH_PLANNED);
    let comments = team.hub.comments(pull.number);
    assert_eq!(comments.len(), 2, "{comments:?}");
    assert!(comments.iter().all(|comment| comment.contains("~   ttl  100d -> 20d")), "{comments:?}");
    assert_eq!((team.ttl("staging"), team.ttl("production")), ("8640000s".into(), "8640000s".into()));

    let ran = team.merge(&pull);
    team.expect(&ran, &BOTH_APPLIED);
    assert_eq!((team.ttl("staging"), team.ttl("production")), ("1728000s".into(), "1728000s".into()));
    assert_eq!(team.hub.comments(pull.number).len(), 2, "nothing went wrong, so nothing is said");
    // The saved plan did it, not the definitions of the checkout.
    assert!(!ran.log.contains("--reviewed") && !ran.log.contains("changed since"), "{}", ran.log);
}

#[test]
fn a_breaking_change_is_said_before_it_is_merged() {
    let Some(mut team) = Team::new() else { return };
    let feature = "  - {name: acc_rate, dtype: Float32, description: trips accepted of trips offered}\n";
    team.clone("mine");
    let pull = team.pull("mine", "without-acc-rate", feature, "");
    let ran = team.plan(&pull);
    team.expect(&ran, &BOTH_PLANNED);
    let row = "| feature service `model_v2` | feature `driver_hourly_stats:acc_rate` is gone |";
    for comment in team.hub.comments(pull.number) {
        assert!(comment.contains("**Breaks**") && comment.contains(row), "{comment}");
    }
    let ran = team.merge(&pull);
    team.expect(&ran, &BOTH_APPLIED);

    // What is wrong is in the comment, and the check fails with the status of the command.
    let pull = team.pull("mine", "mistake", "ttl: 100d", "ttl: ever");
    let ran = team.plan(&pull);
    team.expect(&ran, &[("check", "failure"), ("plan staging", "failure"), ("plan production", "failure")]);
    let comments = team.hub.comments(pull.number);
    assert_eq!(comments.len(), 2);
    assert!(
        comments[0].contains("**No plan for staging** (status 3):\n\n````text\nerror: "),
        "{}",
        comments[0]
    );
    assert!(comments[0].contains("features.yaml:19:"), "{}", comments[0]);
    // Merged all the same, it is not applied.
    let ran = team.merge(&pull);
    team.expect(&ran, &[("staging", "failure"), ("production", "skipped")]);
    assert!(ran.log.contains("No reviewed plan was found"), "{}", ran.log);
}

#[test]
fn a_merge_that_came_between_is_met_and_another_hand_is_not_overrun() {
    let Some(mut team) = Team::new() else { return };
    team.clone("mine");
    team.clone("yours");
    let mine = team.pull("mine", "shorter", "ttl: 100d", "ttl: 50d");
    let yours = team.pull("yours", "words", "somebody who drives", "a driver");
    for pull in [&mine, &yours] {
        let ran = team.plan(pull);
        team.expect(&ran, &BOTH_PLANNED);
    }
    let ran = team.merge(&mine);
    team.expect(&ran, &BOTH_APPLIED);
    // The plan of the other one is stale now. The main branch changes what was reviewed, and nothing else.
    let ran = team.merge(&yours);
    team.expect(&ran, &BOTH_APPLIED);
    assert_eq!(ran.log.matches("has changed since the plan in").count(), 2, "{}", ran.log);
    for environment in ["staging", "production"] {
        team.backsight(environment, "plan --detailed-exitcode").expect(0);
    }

    // Somebody applies something by hand that is on no branch. The merge would take it back, which nobody has reviewed.
    let pull = team.pull("mine", "shorter-still", "ttl: 50d", "ttl: 10d");
    let ran = team.plan(&pull);
    team.expect(&ran, &BOTH_PLANNED);
    team.world.edit("taxi/features/features.yaml", "description: a driver", "description: by hand");
    team.backsight("staging", "apply --yes").expect(0);
    team.world.edit("taxi/features/features.yaml", "description: by hand", "description: a driver");
    let ran = team.merge(&pull);
    team.expect(&ran, &[("staging", "failure"), ("production", "skipped")]);
    assert!(ran.log.contains("the definitions would change something else than the plan in"), "{}", ran.log);
    assert_eq!((team.ttl("staging"), team.ttl("production")), ("4320000s".into(), "4320000s".into()));
    let comments = team.hub.comments(pull.number);
    let said = comments.last().unwrap();
    assert!(comments.len() == 3 && said.starts_with("**Not applied to staging** (status 9). "), "{said}");
    assert!(
        said.contains("~   description  by hand -> a driver") && said.contains("~   ttl  50d -> 10d"),
        "{said}"
    );
    // Who has looked at it runs the workflow by hand.
    let ran = team.hub.run("apply.yml", "main", Event::ByHand);
    team.expect(&ran, &BOTH_APPLIED);
    assert_eq!((team.ttl("staging"), team.ttl("production")), ("864000s".into(), "864000s".into()));
}

#[test]
fn a_fork_gets_a_check_without_secrets_and_no_plan() {
    let Some(mut team) = Team::new() else { return };
    team.clone("theirs");
    let pull = team.pull("theirs", "stranger", "ttl: 100d", "ttl: 1d");
    let ran =
        team.hub.run("plan.yml", &pull.branch, Event::PullRequest { number: pull.number, is_fork: true });
    team.expect(&ran, &[("check", "success"), ("plan staging", "skipped"), ("plan production", "skipped")]);
    assert_eq!(team.hub.comments(pull.number), Vec::<String>::new());
}

#[test]
fn a_project_of_ones_own_sees_the_same_sources_and_writes_nothing_of_the_others() {
    let Some(mut team) = Team::new() else { return };
    team.clone("mine");
    let shared = team.world.files("s3/features");
    let registry = fs::read(team.path("s3/features/registry.pb")).unwrap();
    // Whoever works on the cluster all day has this set; a local project does not go there.
    let set = vec![("BACKSIGHT_SCHEDULER".to_owned(), "http://127.0.0.1:1".to_owned())];
    team.world = std::mem::replace(&mut team.world, World::empty()).with_environment(set);
    let local = "-c mine/features -f mine/local/feature_store.yaml";
    team.world.edit("mine/features/features.yaml", "ttl: 100d", "ttl: 3d");
    team.world.run(&format!("{local} apply --yes")).expect(0);
    let retrieved = team.world.run(&format!(
        "{local} retrieve --feature-service model_v2 --spine mine/features/data/spine.parquet --output mine/out/a \
         --save-as tried --output-format json"
    ));
    let manifest = retrieved.expect(0).json()["manifest"].clone();
    assert_eq!(manifest["report"]["views"][0]["matched"], 18, "{manifest}");
    assert_eq!(manifest["project"], "taxi_local");
    team.world.run(&format!("{local} --scheduler http://127.0.0.1:1 apply --yes")).expect(2).says(
        team.world.path(),
        "error: `--scheduler` and `backsight.local_only` of the configuration do not go together\n\
         hint: name the configuration of a shared project with `--feature-store-yaml`\n",
    );
    assert_eq!(team.world.files("s3/features"), shared, "nothing was added or removed");
    assert_eq!(fs::read(team.path("s3/features/registry.pb")).unwrap(), registry);
    assert_eq!(git(&team.path("mine"), &["status", "--porcelain"]), " M features/features.yaml");
    // The settings say who keeps the scheduler away.
    let shown = team.world.run(&format!("{local} config show")).expect(0).out;
    let line = shown.lines().find(|line| line.starts_with("backsight.local_only")).unwrap();
    assert!(line.contains("true") && line.contains("mine/local/feature_store.yaml:9:15"), "{line}");
    // With the server gone it still works on what is here.
    team.server.deny_bucket("features");
    team.world.run(&format!("{local} feature-views list")).expect(0);
}

#[test]
fn the_template_says_what_it_needs() {
    let world = World::empty();
    world.run("init taxi --template team").expect(2).says(
        world.path(),
        "error: `--template team` needs `--registry`: the one that all share\n\
         hint: for example `--registry s3://features/registry.pb`; it need not exist yet\n",
    );
    world.run("init taxi --registry s3://features/registry.pb").expect(2);
    world.run("init taxi --template team --registry registry.pb").expect(2);
    assert_eq!(world.files("."), Vec::<String>::new());
    let made =
        world.run("init taxi --template team --registry s3://features/registry.pb --output-format json");
    let files = made.expect(0).json()["files"].clone();
    let mut listed: Vec<&str> = files.as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(world.files("taxi"), listed);
    // Without a team it is one person's repo.
    world.run("-c taxi/features -f taxi/local/feature_store.yaml plan").expect(0);
}
