//! The registry's versions: listed, shown, compared, gone back to, pruned; and its definitions as YAML.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::fake::Fake;
use crate::support::{Run, World};

/// A registry that Feast 0.67 wrote, with two projects and every kind of object.
const FEAST: &[u8] = include_bytes!("../../../registry/testdata/feast-0.67.pb");

/// A repo with three versions: as `init` made it, with another description, and with a shorter ttl.
fn three_versions(world: &World) {
    world.run("-c taxi apply --yes").expect(0);
    world.edit("taxi/features.yaml", "somebody who drives", "a person who drives");
    world.run("-c taxi apply --yes").expect(0);
    world.edit("taxi/features.yaml", "100d", "50d");
    world.run("-c taxi apply --yes").expect(0);
}

fn numbers(history: &Value) -> Vec<Option<u64>> {
    history["versions"].as_array().unwrap().iter().map(|version| version["number"].as_u64()).collect()
}

fn history(world: &World) -> Value {
    world.run("-c taxi registry history --output-format json").expect(0).json()
}

/// The kept versions of a registry, oldest first.
fn kept(world: &World, registry: &str) -> Vec<PathBuf> {
    let folder = format!("{registry}.history");
    world.files(&folder).iter().map(|name| world.path().join(&folder).join(name)).collect()
}

fn make_older(path: &PathBuf, hours: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
}

#[test]
fn versions_are_listed_newest_first_and_each_can_be_shown() {
    let world = World::with_repo();
    let missing = world.run("-c taxi registry history").expect(4);
    missing.says(
        world.path(),
        "error: there is no registry at `DIR/taxi/data/registry.db`\nhint: `backsight apply` creates it; if it should \
         exist, check `registry` in feature_store.yaml\n",
    );
    three_versions(&world);
    let found = history(&world);
    assert_eq!(numbers(&found), [Some(3), Some(2), Some(1)]);
    assert_eq!((&found["versions"][0]["is_current"], &found["has_more"]), (&json!(true), &json!(false)));
    assert!(found["history_folder"].as_str().unwrap().ends_with("taxi/data/registry.db.history"));
    let table = world.run("-c taxi registry history --limit 2").expect(0);
    let lines: Vec<&str> = table.out.lines().skip(3).collect();
    assert!(
        lines[0].starts_with("VERSION  WRITTEN (UTC)") && lines[1].ends_with("  current"),
        "{}",
        table.out
    );
    assert_eq!((lines.len(), table.err.as_str()), (3, "1 older version; `--limit` shows more.\n"));

    let first = found["versions"][2]["version_id"].as_str().unwrap();
    for name in ["1", first, &first[..6]] {
        let shown = world.run(&format!("-c taxi registry show --version {name}")).expect(0);
        assert!(shown.out.contains(&format!("version   {first}\n")), "{}", shown.out);
        assert!(shown.out.contains("taxi (this)"), "{}", shown.out);
    }
    let whole = world.run("-c taxi registry show --version 1 --output-format json").expect(0).json();
    assert!(whole["entities"].to_string().contains("somebody who drives"));
    let unknown = world.run("-c taxi registry show --version 9").expect(4);
    unknown.says(
        world.path(),
        "error: `DIR/taxi/data/registry.db` has no version `9`; kept are 1 to 3\nhint: `backsight registry history` \
         lists the versions that are kept\n",
    );
}

#[test]
fn the_difference_of_two_versions_has_the_form_of_a_plan() {
    let world = World::with_repo();
    three_versions(&world);
    let text = world.run("-c taxi registry diff 1").expect(0).out;
    let expected = "\
~ entity driver
  ~ description  somebody who drives -> a person who drives
    used by feature view driver_hourly_stats, feature service model_v1, feature service model_v2
~ feature view driver_hourly_stats
  ~ ttl  100d -> 50d
    changes feature service model_v1, feature service model_v2

Project `taxi`: 0 created, 2 updated, 0 deleted, 4 unchanged.
";
    let (head, body) = text.split_once("\n\n").unwrap();
    assert!(head.starts_with("From version 1 (") && head.contains(") to version 3 ("), "{head}");
    assert_eq!(body, expected);
    let json = world.run("-c taxi registry diff 3 1 --output-format json").expect(0).json();
    assert_eq!((&json["from"]["number"], &json["to"]["number"]), (&json!(3), &json!(1)));
    assert_eq!((&json["has_changes"], &json["summary"]["updated"]), (&json!(true), &json!(2)));
    assert_eq!(json["changes"][1]["fields"][0]["new"], "100d");
    assert_eq!(json["other_changes"], json!([]));
    let markdown = world.run("-c taxi registry diff 2 --output-format markdown").expect(0).out;
    assert!(markdown.contains("### Project `taxi`\n\nProject `taxi`: 0 created, 1 updated"), "{markdown}");
    assert!(
        markdown.contains("```diff\n~ feature view driver_hourly_stats\n~   ttl  100d -> 50d\n"),
        "{markdown}"
    );
    let same = world.run("-c taxi registry diff 3").expect(0).out;
    assert!(same.ends_with(":\n\nNo changes of project `taxi`.\n"), "{same}");

    world.write("other/feature_store.yaml", "project: other\nregistry: ../taxi/data/registry.db\n");
    let nowhere = world.run("-c other registry diff 1").expect(4);
    assert!(nowhere.err.contains("the registry has no project `other`; it has `taxi`"), "{}", nowhere.err);
    world.write("other/e.yaml", "kind: Entity\nname: e\njoin_keys: [k]\n");
    world.run("-c other apply --yes").expect(0);
    let all = world.run("-c taxi registry diff 3 --all-projects --output-format json").expect(0).json();
    let changed: Vec<_> =
        all["projects"].as_array().unwrap().iter().map(|it| (&it["project"], &it["has_changes"])).collect();
    assert_eq!(changed, [(&json!("other"), &json!(true)), (&json!("taxi"), &json!(false))]);
    world.run("-c taxi registry history --output-format markdown").expect(2);
}

#[test]
fn a_rollback_is_a_new_version_of_this_project_only() {
    let world = World::with_repo();
    three_versions(&world);
    world.write("other/feature_store.yaml", "project: other\nregistry: ../taxi/data/registry.db\n");
    world.write("other/e.yaml", "kind: Entity\nname: e\njoin_keys: [k]\n");
    world.run("-c other apply --yes").expect(0);
    let asked = world.run("-c taxi registry rollback 1").expect(2);
    asked.says(
        world.path(),
        "error: `registry rollback 1` asks before it writes, and nobody can be asked here\nhint: `backsight registry \
         diff current 1` shows the changes, `backsight registry rollback 1 --yes` makes them\n",
    );
    let back = world.run("-c taxi registry rollback 1 --yes").expect(0);
    assert!(back.out.contains("  ~ ttl  50d -> 100d\n"), "{}", back.out);
    assert!(back.out.contains("\nPut project `taxi` in `"), "{}", back.out);
    assert!(back.err.contains("`backsight plan` shows what they would change"), "{}", back.err);
    assert_eq!(numbers(&history(&world)), [5, 4, 3, 2, 1].map(Some));
    world.run("-c other entities describe e").expect(0);
    let same = world.run("-c taxi registry diff 1 --output-format json").expect(0).json();
    assert_eq!(same["has_changes"], false);

    let again = world.run("-c taxi registry rollback 1 --yes --output-format json").expect(0).json();
    assert_eq!((&again["rolled_back"], &again["version_id"]), (&json!(false), &json!(null)));
    assert_eq!(numbers(&history(&world)).len(), 5, "nothing was written");
    let forward = world.run("-c taxi registry rollback 3 --yes --output-format json").expect(0).json();
    assert_eq!((&forward["rolled_back"], &forward["to"]["number"]), (&json!(true), &json!(3)));
    assert_eq!(forward["plan"]["changes"][1]["fields"][0]["new"], "50d");
    world.run("-c taxi plan --detailed-exitcode").expect(0);

    let absent = world.run("-c other registry rollback 2 --yes").expect(4);
    assert!(absent.err.contains("that version of the registry has no project `other`"), "{}", absent.err);
    // A registry that was deleted can be brought back, too.
    std::fs::remove_file(world.path().join("taxi/data/registry.db")).unwrap();
    let gone = world.run("-c taxi registry history").expect(0);
    assert!(gone.err.contains("warning: there is no registry at"), "{}", gone.err);
    world.run("-c taxi registry rollback 3 --yes").expect(0);
    world.run("-c taxi plan --detailed-exitcode").expect(0);
}

#[test]
fn a_foreign_write_is_marked_before_and_after_it_is_kept() {
    let world = World::with_repo();
    three_versions(&world);
    world.write("taxi/data/registry.db", FEAST);
    let found = history(&world);
    assert_eq!(numbers(&found), [None, Some(3), Some(2), Some(1)]);
    assert_eq!(
        (&found["versions"][0]["is_foreign"], &found["versions"][0]["is_current"]),
        (&json!(true), &json!(true))
    );
    let back = world.run("-c taxi registry rollback 3 --yes").expect(0);
    assert!(
        back.err.contains("warning: somebody who does not write through backsight had written"),
        "{}",
        back.err
    );
    let found = history(&world);
    assert_eq!(numbers(&found), [5, 4, 3, 2, 1].map(Some));
    let foreign: Vec<bool> =
        found["versions"].as_array().unwrap().iter().map(|it| it["is_foreign"] == true).collect();
    assert_eq!(foreign, [false, true, false, false, false]);
    let table = world.run("-c taxi registry history").expect(0).out;
    assert!(table.contains("  foreign: not written through backsight\n"), "{table}");
    let projects = world.run("-c taxi projects list --output-format json").expect(0).json();
    assert_eq!(projects["projects"].as_array().unwrap().len(), 3, "Feast's projects stay");
}

#[test]
fn gc_removes_what_no_rule_keeps_and_never_what_is_current_or_young() {
    let world = World::with_repo();
    three_versions(&world);
    let registry = "taxi/data/registry.db";
    let none = world.run("-c taxi registry gc --yes").expect(2);
    assert!(none.err.contains("was not told which versions may go"), "{}", none.err);
    let young = world.run("-c taxi registry gc --keep 1 --yes").expect(0);
    assert_eq!(
        young.out,
        "Nothing to remove: 3 versions are kept. (What is younger than 1 h is never removed.)\n"
    );
    for path in kept(&world, registry) {
        make_older(&path, 48);
    }
    make_older(&world.write("taxi/data/.backsight-tmp-x", "half"), 48);
    let dry = world.run("-c taxi registry gc --keep 2 --dry-run").expect(0);
    assert!(dry.out.contains("left by a writer that died: .backsight-tmp-x (4 B)\n"), "{}", dry.out);
    assert!(
        dry.out.contains("2 files to remove, ") && dry.out.ends_with("; 2 versions stay.\n"),
        "{}",
        dry.out
    );
    assert_eq!(kept(&world, registry).len(), 3);
    world.run("-c taxi registry gc --keep 1 --older-than 3d --yes").expect(0);
    assert_eq!(kept(&world, registry).len(), 3, "younger than three days");
    assert!(!world.path().join("taxi/data/.backsight-tmp-x").exists());
    world.run("-c taxi registry gc --keep 1").expect(2);
    let done = world.run("-c taxi registry gc --keep 1 --yes --output-format json").expect(0).json();
    let removed: Vec<_> =
        done["removed"].as_array().unwrap().iter().map(|it| it["number"].as_u64()).collect();
    assert_eq!(
        (removed, &done["kept"], &done["dry_run"]),
        (vec![Some(1), Some(2)], &json!(1), &json!(false))
    );
    assert_eq!(numbers(&history(&world)), [Some(3)]);
    world.run("-c taxi plan --detailed-exitcode").expect(0);
    assert_eq!(history(&world)["versions"][0]["is_foreign"], false);
}

#[test]
fn what_is_exported_plans_to_no_changes() {
    let world = World::applied();
    world.write("moved/feature_store.yaml", "project: taxi\nregistry: ../taxi/data/registry.db\n");
    let run = world.run("-c taxi registry export --output moved").expect(0);
    assert_eq!(
        run.out,
        "Wrote 5 objects of project `taxi` to `moved`:\n  entities.yaml\n  data_sources.yaml\n  \
         feature_views.yaml\n  feature_services.yaml\n"
    );
    assert_eq!(run.err, "");
    let plan = world.run("-c moved plan --detailed-exitcode").expect(0);
    assert!(plan.out.starts_with("No changes: "), "{}", plan.out);
    let refused = world.run("-c taxi registry export --output moved").expect(9);
    refused.says(
        world.path(),
        "error: nothing was written: `moved` is not empty, it holds `data_sources.yaml`\nhint: name a new folder, or one \
         that holds nothing but `feature_store.yaml`; existing files are never overwritten\n",
    );
    let file = world.write("file", "x");
    world.run("-c taxi registry export --output file").expect(9);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "x");
    let fresh = world.run("-c taxi registry export --output deep/new").expect(0);
    assert!(fresh.err.contains("put a `feature_store.yaml` of project `taxi` beside them"), "{}", fresh.err);

    let stream = world.run("-c taxi registry export").expect(0);
    assert!(stream.out.contains("---\nkind: FeatureView\nname: driver_hourly_stats\n"), "{}", stream.out);
    world.write("one/feature_store.yaml", "project: taxi\nregistry: ../taxi/data/registry.db\n");
    world.write("one/all.yaml", &stream.out);
    world.run("-c one plan --detailed-exitcode").expect(0);
    world.run("-c taxi registry export --project nothing").expect(4);
}

#[test]
fn what_cannot_be_exported_is_said_and_stands_in_a_comment() {
    let world = World::empty();
    world.write("registry.pb", FEAST);
    world.write("f/feature_store.yaml", "project: first\nregistry: ../registry.pb\n");
    let run = world.run("-c f registry export --output g").expect(0);
    assert!(
        run.err.contains("Not managed by definitions, apply keeps them: BigQuerySource bq, "),
        "{}",
        run.err
    );
    assert!(
        run.err.contains(
            "warning: feature service `routes` cannot be said by definitions, so apply keeps it as it is: FeatureService \
             `routes` refers to view `pushed`, which is not defined\n"
        ),
        "{}",
        run.err
    );
    let text = std::fs::read_to_string(world.path().join("g/project.yaml")).unwrap();
    assert!(
        text.starts_with(
            "# Not managed by definitions; apply keeps them in the registry:\n#   BigQuerySource bq\n"
        ),
        "{text}"
    );
    std::fs::copy(world.path().join("f/feature_store.yaml"), world.path().join("g/feature_store.yaml"))
        .unwrap();
    let plan =
        world.run("-c g plan --detailed-exitcode --no-source-check --output-format json").expect(0).json();
    let kept = plan["not_managed"].as_array().unwrap();
    assert!(kept.contains(&json!({"kind": "FeatureService", "name": "routes"})), "{kept:?}");
    let text = world.run("-c g plan --no-source-check").expect(0).out;
    assert!(
        text.contains("Not managed here, kept as they are: ") && text.contains(", FeatureService routes\n"),
        "{text}"
    );
    world.run("-c g apply --yes --no-source-check").expect(0);
    assert_eq!(std::fs::read(world.path().join("registry.pb")).unwrap(), FEAST, "not a byte is another");
    let json = world.run("-c f registry export --project second --output-format json").expect(0).json();
    assert_eq!((&json["project"], &json["objects"]), (&json!("second"), &json!(1)));
    assert_eq!(
        json["files"][0]["text"],
        "kind: Entity\nname: driver\njoin_keys: [driver_id]\nvalue_type: STRING\n"
    );
}

/// What differs from run to run: ids, times, places, sizes.
fn masked(run: &Run, world: &World, registry: &str) -> [String; 2] {
    let is_id = |word: &str| word.len() == 36 && word.chars().all(|it| it.is_ascii_hexdigit() || it == '-');
    let mask = |text: &str| -> String {
        let text = text.replace(&world.path().join(registry).display().to_string(), "REGISTRY");
        let text = text.replace(&world.path().display().to_string(), "DIR");
        let words = text.split_inclusive([' ', '\n', '(', ')', '`']).map(|word| {
            let end = word.len() - word.chars().next_back().map_or(0, char::len_utf8);
            let is_time =
                word.starts_with("20") && word.contains('-') || word.contains(':') && word.len() == 9;
            if is_id(&word[..end]) || is_time { format!("X{}", &word[end..]) } else { word.to_owned() }
        });
        // The name of a kept version has its id.
        let cut = |line: &str| line.split_once(".history/").map_or(line, |(before, _)| before).to_owned();
        let lines: Vec<String> = words.collect::<String>().lines().map(cut).collect();
        lines.into_iter().filter(|line| !line.starts_with("size ")).collect::<Vec<_>>().join("\n")
    };
    [mask(&run.out), mask(&run.err)]
}

#[test]
fn all_of_it_says_the_same_through_a_scheduler() {
    let remote = World::with_repo();
    let fake = Fake::start(remote.path());
    let remote = remote.with_environment(vec![("BACKSIGHT_SCHEDULER".to_owned(), fake.url())]);
    let plain = World::with_repo();
    let places = [(&remote, "registry.pb"), (&plain, "taxi/data/registry.db")];
    let both = |line: &str, status: i32| {
        let [there, here] = places.map(|(world, registry)| {
            let run = world.run(line).expect(status);
            masked(&run, world, registry)
        });
        assert_eq!(there, here, "{line}");
    };
    both("-c taxi registry history", 4);
    both("-c taxi registry rollback 1 --yes", 4);
    for (world, _) in places {
        three_versions(world);
    }
    for (line, status) in [
        ("-c taxi registry history", 0),
        ("-c taxi registry history --limit 1", 0),
        ("-c taxi registry show --version 2", 0),
        ("-c taxi registry show --version 9", 4),
        ("-c taxi registry diff 1", 0),
        ("-c taxi registry diff 1 2 --all-projects --output-format markdown", 0),
        ("-c taxi registry rollback 1 --yes", 0),
        ("-c taxi registry rollback 1 --yes", 0),
        ("-c taxi registry history", 0),
        ("-c taxi registry gc --keep 1 --yes", 0),
        ("-c taxi registry export", 0),
    ] {
        both(line, status);
    }
    for (world, registry) in places {
        kept(world, registry).iter().for_each(|path| make_older(path, 48));
    }
    both("-c taxi registry gc --keep 3 --dry-run", 0);
    both("-c taxi registry gc --keep 3 --yes", 0);
    both("-c taxi registry history", 0);
    for (world, registry) in places {
        assert_eq!(kept(world, registry).len(), 3);
        world.write(registry, FEAST);
    }
    both("-c taxi registry history", 0);

    // As if somebody had changed the project between look and write.
    let changes = std::mem::take(&mut fake.state().changes);
    fake.state().stale_fingerprint = Some(changes[1].expected_fingerprint.clone());
    let conflict = remote.run("-c taxi registry rollback 4 --yes").expect(9);
    assert!(
        conflict.err.contains("has changed since it was looked at; nothing was written"),
        "{}",
        conflict.err
    );
    assert!(conflict.err.contains("Your change, which was not written:"), "{}", conflict.err);
}
