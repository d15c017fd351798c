//! `plan --save F`, `apply F`: exactly what was shown, or nothing.

use serde_json::{Value, json};

use crate::support::World;

const SAVE: &str = "-c taxi plan --save plan.json";

#[test]
fn what_was_saved_is_applied_whatever_the_repo_says_meanwhile() {
    let world = World::with_repo();
    let saved = world.run(SAVE).expect(0);
    assert!(
        saved.err.contains("Saved to `plan.json`: `backsight apply plan.json` does exactly this."),
        "{}",
        saved.err
    );
    world.edit("taxi/features.yaml", "ttl: 100d", "ttl: 50d");
    let applied = world.run("-c taxi apply plan.json --yes").expect(0);
    assert!(applied.out.contains("+ feature view driver_hourly_stats\n"), "{}", applied.out);
    let view =
        world.run("-c taxi feature-views describe driver_hourly_stats --output-format json").expect(0).json();
    assert_eq!(view["spec"]["ttl"], "8640000s");

    let json = world.run(&format!("{SAVE} --output-format json -q")).expect(0);
    assert_eq!((&json.json()["saved_to"], json.err.as_str()), (&json!("plan.json"), ""));
    let applied = world.run("-c taxi/client apply plan.json --yes --output-format json").expect(0).json();
    assert_eq!((&applied["applied"], &applied["plan"]["summary"]["updated"]), (&json!(true), &json!(1)));
    world.run("-c taxi plan --detailed-exitcode").expect(0);

    // A plan of no changes can be saved and applied, too.
    world.run(SAVE).expect(0);
    let nothing = world.run("-c taxi apply plan.json --yes --output-format json").expect(0).json();
    assert_eq!(nothing["applied"], false);
}

#[test]
fn a_project_that_moved_is_9_and_shows_both_changes() {
    let world = World::applied();
    world.edit("taxi/features.yaml", "ttl: 100d", "ttl: 50d");
    world.run(SAVE).expect(0);
    world.edit("taxi/features.yaml", "ttl: 50d", "ttl: 100d");
    world.edit("taxi/features.yaml", "somebody who drives", "a driver");
    world.run("-c taxi apply --yes").expect(0);
    let registry = std::fs::read(world.path().join("taxi/data/registry.db")).unwrap();
    let refused = world.run("-c taxi apply plan.json --yes").expect(9);
    for part in [
        "Your change, which was not written:\n\n~ feature view driver_hourly_stats\n  ~ ttl  100d -> 50d\n",
        "The change that was made meanwhile:\n\n~ entity driver\n  ~ description  somebody who drives -> a driver\n",
        " has changed since the plan in `plan.json` was saved (",
        "); nothing was written\nhint: look at both changes, then run `backsight plan --save plan.json` again\n",
    ] {
        assert!(refused.err.contains(part), "`{part}` is not in\n{}", refused.err);
    }
    let json = world.run("-c taxi apply plan.json --yes --output-format json").expect(9);
    let json: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(json["error"]["details"]["own_change"]["changes"][0]["name"], "driver_hourly_stats");
    assert_eq!(json["error"]["details"]["other_change"]["changes"][0]["name"], "driver");
    assert_eq!(std::fs::read(world.path().join("taxi/data/registry.db")).unwrap(), registry);

    // Another project of the registry is not in the way.
    world.run(SAVE).expect(0);
    world.write("other/feature_store.yaml", "project: other\nregistry: ../taxi/data/registry.db\n");
    world.write("other/e.yaml", "kind: Entity\nname: rider\n");
    world.run("-c other apply --yes").expect(0);
    world.run("-c taxi apply plan.json --yes").expect(0);
}

#[test]
fn what_is_no_plan_of_this_project_and_registry_is_3() {
    let world = World::with_repo();
    world.run(SAVE).expect(0);
    let text = std::fs::read_to_string(world.path().join("plan.json")).unwrap();
    assert!(!text.contains("AWS") && text.contains("\"project\": \"taxi\""));
    for (name, bad) in [
        ("damaged", text.replace("\"project\": \"taxi\"", "\"project\": \"taxo\"")),
        ("cut", text[..text.len() - 40].to_owned()),
        ("other", "{}".to_owned()),
    ] {
        world.write("bad.json", bad);
        let refused = world.run("-c taxi apply bad.json --yes").expect(3);
        assert!(
            refused.err.starts_with("error: cannot use `bad.json` as a saved plan: "),
            "{name}: {}",
            refused.err
        );
    }
    world.run("-c taxi apply nothing.json --yes").expect(4);
    world.write("other/feature_store.yaml", "project: other\nregistry: ../taxi/data/registry.db\n");
    world.run("-c other apply plan.json --yes").expect(3).says(
        world.path(),
        "error: the plan in `plan.json` is about project `taxi`, this is `other`\n\
         hint: apply it where it was made, or make one here with `backsight plan --save FILE`\n",
    );
    world.write("elsewhere/feature_store.yaml", "project: taxi\nregistry: registry.db\n");
    world.run("-c elsewhere apply plan.json --yes").expect(3).says(
        world.path(),
        "error: the plan in `plan.json` is about the registry `DIR/taxi/data/registry.db`, this is `DIR/elsewhere/registry.db`\n\
         hint: apply it where it was made, or make one here with `backsight plan --save FILE`\n",
    );
    assert!(!world.path().join("taxi/data/registry.db").exists());
}

#[test]
fn only_saved_plans_are_written_over() {
    let world = World::with_repo();
    let before = std::fs::read(world.path().join("taxi/features.yaml")).unwrap();
    let refused = world.run("-c taxi plan --save taxi/features.yaml").expect(9);
    refused.says(
        world.path(),
        "error: `taxi/features.yaml` is there and is no saved plan\nhint: name another file; only saved plans are written over\n",
    );
    assert_eq!(std::fs::read(world.path().join("taxi/features.yaml")).unwrap(), before);
    world.run(SAVE).expect(0);
    world.run(SAVE).expect(0);
    world.run("-c taxi plan --save nowhere/plan.json").expect(4);
}

#[test]
fn sources_are_looked_at_again_as_they_were_when_it_was_saved() {
    let world = World::with_repo();
    world.edit("taxi/features.yaml", "name: acc_rate, dtype: Float32", "name: acc_rate, dtype: Int64");
    world.run(SAVE).expect(3);
    assert!(!world.path().join("plan.json").exists());
    world.run(&format!("{SAVE} --allow-type-drift")).expect(0);
    let source = world.path().join("taxi/data/driver_stats.parquet");
    let bytes = std::fs::read(&source).unwrap();
    std::fs::remove_file(&source).unwrap();
    world.run("-c taxi apply plan.json --yes").expect(4);
    std::fs::write(&source, bytes).unwrap();
    let applied = world.run("-c taxi apply plan.json --yes").expect(0);
    assert!(
        applied.out.contains("  warning: feature view `driver_hourly_stats`: column `acc_rate`"),
        "{}",
        applied.out
    );
}

const RETRIEVE: &str = "-c taxi retrieve --feature-service model_v2 --spine taxi/data/spine.parquet";

#[test]
fn a_dataset_that_is_saved_meanwhile_makes_a_plan_stale_only_if_the_plan_breaks_it() {
    let world = World::applied();
    world.edit("taxi/features.yaml", "ttl: 100d", "ttl: 50d");
    world.run(SAVE).expect(0);
    world.run(&format!("{RETRIEVE} --output out/a --save-as nightly")).expect(0);
    world.run("-c taxi apply plan.json --yes").expect(0);
    let listed = world.run("-c taxi saved-datasets list --output-format json").expect(0).out;
    assert!(listed.contains("nightly"), "{listed}");

    let feature = "  - {name: acc_rate, dtype: Float32, description: trips accepted of trips offered}\n";
    world.edit("taxi/features.yaml", feature, "");
    world.run(SAVE).expect(0);
    world.run(&format!("{RETRIEVE} --output out/b --save-as nightly_2")).expect(0);
    let registry = std::fs::read(world.path().join("taxi/data/registry.db")).unwrap();
    let refused = world.run("-c taxi apply plan.json --yes").expect(9);
    for part in [
        "  ! breaks saved dataset nightly: feature `driver_hourly_stats:acc_rate` is gone\n",
        "nothing that definitions express (times, states, saved datasets, or objects not managed here)\n",
    ] {
        assert!(refused.err.contains(part), "`{part}` is not in\n{}", refused.err);
    }
    assert_eq!(std::fs::read(world.path().join("taxi/data/registry.db")).unwrap(), registry);
    // Planned again it names both, and goes.
    let again = world.run(SAVE).expect(0).out;
    assert!(again.contains("! breaks saved dataset nightly_2: "), "{again}");
    world.run("-c taxi apply plan.json --yes").expect(0);
}

#[test]
fn what_was_reviewed_is_applied_from_other_definitions_if_they_change_the_same() {
    let world = World::applied();
    let reviewed = "-c taxi apply --reviewed plan.json --yes";
    world.edit("taxi/features.yaml", "ttl: 100d", "ttl: 50d");
    world.run(SAVE).expect(0);
    // Another change is made and applied meanwhile: the plan is stale, what it changes is not.
    world.edit("taxi/features.yaml", "ttl: 50d", "ttl: 100d");
    world.edit("taxi/features.yaml", "somebody who drives", "a driver");
    world.run("-c taxi apply --yes").expect(0);
    world.edit("taxi/features.yaml", "ttl: 100d", "ttl: 50d");
    world.run("-c taxi apply plan.json --yes").expect(9);
    // Not if the definitions say more, or less.
    world.edit("taxi/features.yaml", "owner: drivers@example.com", "owner: others@example.com");
    let registry = std::fs::read(world.path().join("taxi/data/registry.db")).unwrap();
    let refused = world.run(reviewed).expect(9);
    for part in [
        "The change that was reviewed:\n\n~ feature view driver_hourly_stats\n  ~ ttl  100d -> 50d\n",
        "The change now, which was not written:\n\n~ feature view driver_hourly_stats\n",
        "  ~ owner  drivers@example.com -> others@example.com\n",
        "error: the definitions would change something else than the plan in `plan.json`; nothing was written\n\
         hint: the project or the definitions have changed since: look at the change now, and plan again\n",
    ] {
        assert!(refused.err.contains(part), "`{part}` is not in\n{}", refused.err);
    }
    let json = world.run(&format!("{reviewed} --output-format json")).expect(9);
    let json: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(json["error"]["details"]["own_change"]["summary"]["updated"], 1);
    assert_eq!(
        json["error"]["details"]["reviewed_change"]["changes"][0]["fields"].as_array().unwrap().len(),
        1
    );
    assert_eq!(std::fs::read(world.path().join("taxi/data/registry.db")).unwrap(), registry);
    world.edit("taxi/features.yaml", "owner: others@example.com", "owner: drivers@example.com");
    assert_eq!(world.run(&format!("{reviewed} --output-format json")).expect(0).json()["applied"], true);
    // Where nothing is left to do, nothing is refused.
    assert_eq!(world.run(&format!("{reviewed} --output-format json")).expect(0).json()["applied"], false);
    world.run("-c taxi apply plan.json --reviewed plan.json --yes").expect(2);
}
