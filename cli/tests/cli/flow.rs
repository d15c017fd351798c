//! The main job: definitions, registry, discovery, dataset.

use serde_json::json;

use crate::support::{INSTANT, World, write_parquet};

const RETRIEVE: &str = "-c taxi retrieve --feature-service model_v2 --spine taxi/data/spine.parquet";

#[test]
fn from_definitions_to_a_dataset_and_back_to_no_changes() {
    let world = World::with_repo();
    let plan = world.run("-c taxi plan --detailed-exitcode").expect(8);
    assert!(plan.out.contains("+ feature view driver_hourly_stats\n"), "{}", plan.out);
    assert!(plan.out.contains("6 to create, 0 to update, 0 to delete"), "{}", plan.out);
    assert!(plan.err.contains("There is no registry at"), "{}", plan.err);
    assert!(!world.path().join("taxi/data/registry.db").exists(), "plan writes nothing");

    let apply = world.run("-c taxi apply --yes").expect(0);
    assert!(apply.out.contains("Applied to `"), "{}", apply.out);
    let again = world.run("-c taxi plan --detailed-exitcode").expect(0);
    assert_eq!(again.out, "No changes: the registry holds project `taxi` as it is defined (6 objects).\n");

    let entities = world.run("-c taxi entities list").expect(0);
    assert_eq!(
        entities.out,
        "NAME    JOIN KEY   TYPE   DESCRIPTION\ndriver  driver_id  INT64  somebody who drives\n"
    );
    let services = world.run("-c taxi feature-services list").expect(0);
    let expected = "NAME      FEATURES\nmodel_v1  driver_hourly_stats: conv_rate\nmodel_v2  driver_hourly_stats: conv_rate, acc_rate\n";
    assert_eq!(services.out, expected);

    let dataset = world.run(&format!("{RETRIEVE} --output out/train")).expect(0);
    assert!(dataset.out.contains("rows     20\n"), "{}", dataset.out);
    assert!(dataset.out.contains("driver_hourly_stats       18  90.0 %              2"), "{}", dataset.out);
    let files = world.files("out/train");
    assert!(files.contains(&"_SUCCESS".to_owned()) && files.contains(&"_backsight/manifest.json".to_owned()));
    assert!(
        files.iter().any(|file| file.starts_with("part-00000-") && file.ends_with(".parquet")),
        "{files:?}"
    );
}

#[test]
fn json_of_every_command_is_json() {
    let world = World::with_repo();
    let init = world.run("init other --output-format json").expect(0).json();
    assert_eq!(init["project"], "other");
    let plan = world.run("-c taxi plan --output-format json").expect(0).json();
    assert_eq!((&plan["has_changes"], &plan["summary"]["created"]), (&json!(true), &json!(6)));
    let apply = world.run("-c taxi apply --yes --output-format json").expect(0).json();
    assert_eq!(apply["applied"], true);
    assert!(apply["version_id"].is_string());
    let again = world.run("-c taxi apply --yes --output-format json").expect(0).json();
    assert_eq!((&again["applied"], &again["version_id"]), (&json!(false), &json!(null)));
    for (kind, key, count) in [
        ("entities", "entities", 1),
        ("data-sources", "data_sources", 1),
        ("feature-views", "feature_views", 1),
        ("on-demand-feature-views", "on_demand_feature_views", 0),
        ("feature-services", "feature_services", 2),
        ("projects", "projects", 1),
        ("saved-datasets", "saved_datasets", 0),
    ] {
        let list = world.run(&format!("-c taxi {kind} list --output-format json")).expect(0).json();
        assert_eq!(list[key].as_array().unwrap().len(), count, "{kind}");
    }
    let view =
        world.run("-c taxi feature-views describe driver_hourly_stats --output-format json").expect(0).json();
    assert_eq!(
        (&view["spec"]["name"], &view["spec"]["ttl"]),
        (&json!("driver_hourly_stats"), &json!("8640000s"))
    );
    let registry = world.run("-c taxi registry show --output-format json").expect(0).json();
    assert_eq!(registry["projects"][0]["spec"]["name"], "taxi");
    let config = world.run("-c taxi config show --output-format json").expect(0).json();
    let settings = config["settings"].as_array().unwrap();
    assert!(settings.iter().any(|setting| setting["key"] == "project" && setting["value"] == "taxi"));

    let preview = world.run(&format!("{RETRIEVE} --output - --output-format json")).expect(0).json();
    assert_eq!(preview["rows"].as_array().unwrap().len(), 20);
    assert_eq!(preview["report"]["views"][0]["matched"], 18);
    let explained =
        world.run(&format!("{RETRIEVE} --output - --explain --output-format json")).expect(0).json();
    assert_eq!(explained["form"], "late slot fold");
    let dataset = world.run(&format!("{RETRIEVE} --output out --output-format json")).expect(0).json();
    assert_eq!((&dataset["repeated"], &dataset["manifest"]["rows"]), (&json!(false), &json!(20)));
    let teardown = world.run("-c taxi teardown --yes --output-format json").expect(0).json();
    assert_eq!(teardown["removed"], true);
    let failure = world.run("-c taxi entities list --output-format json").expect(4);
    let failure: serde_json::Value = serde_json::from_str(&failure.err).unwrap();
    assert_eq!(
        (&failure["error"]["code"], &failure["error"]["exit_status"]),
        (&json!("not_found"), &json!(4))
    );
}

#[test]
fn a_client_folder_needs_only_its_configuration() {
    let world = World::applied();
    assert_eq!(world.files("taxi/client"), ["feature_store.yaml"]);
    world.run("-c taxi/client feature-views list").expect(0);
    let line = "-c taxi/client retrieve --features driver_hourly_stats:acc_rate --spine taxi/data/spine.parquet \
                --output out --full-feature-names --output-format json";
    let manifest = world.run(line).expect(0).json()["manifest"].clone();
    assert_eq!(manifest["schema"][3]["name"], "driver_hourly_stats__acc_rate");
}

#[test]
fn the_preview_shows_the_latest_known_values_in_spine_order() {
    let world = World::applied();
    // The hour of the statistics themselves, a moment before, and one that is created too late to be known.
    let spine = [
        ("driver_id", vec![Some(1003), Some(1003), Some(7), None]),
        ("event_timestamp", vec![Some(INSTANT), Some(INSTANT - 1), Some(INSTANT), Some(INSTANT)]),
    ];
    write_parquet(&world.path().join("spine.parquet"), &spine);
    let line =
        "-c taxi retrieve --feature-service model_v2 --spine spine.parquet --output - --output-format json";
    let value = world.run(line).expect(0).json();
    let rows = value["rows"].as_array().unwrap();
    assert_eq!(rows[0]["event_timestamp"], "2026-03-05T00:00:00Z");
    assert!(rows[0]["conv_rate"].is_number() && rows[1]["conv_rate"].is_number());
    assert_ne!(rows[0]["conv_rate"], rows[1]["conv_rate"]);
    assert!(rows[2]["conv_rate"].is_null() && rows[3]["acc_rate"].is_null());
    let view = &value["report"]["views"][0];
    assert_eq!(
        (&view["matched"], &view["none_in_reach"], &view["null_key"]),
        (&json!(2), &json!(1), &json!(1))
    );

    let cut = world.run(&format!("{line} --filter-by-created-timestamp")).expect(0).json();
    assert_eq!(
        cut["rows"][0]["conv_rate"], rows[1]["conv_rate"],
        "the hour's row was created ten minutes later"
    );
    assert_eq!(world.files("-"), Vec::<String>::new(), "a preview writes nothing");
}

#[test]
fn engines_give_the_same_rows() {
    let world = World::applied();
    let rows = |engine: &str| {
        let line = format!("{RETRIEVE} --output - --output-format json --engine {engine}");
        world.run(&line).expect(0).json()
    };
    let embedded = rows("embedded");
    assert_eq!(rows("naive"), embedded);
    assert_eq!(rows("ballista"), embedded);
}

#[test]
fn the_same_request_id_returns_the_same_dataset() {
    let world = World::applied();
    let line = format!("{RETRIEVE} --output out --request-id nightly-1 --output-format json");
    let first = world.run(&line).expect(0).json();
    let second = world.run(&line).expect(0).json();
    assert_eq!((&first["repeated"], &second["repeated"]), (&json!(false), &json!(true)));
    assert_eq!(first["manifest"], second["manifest"]);
    let other = line.replace("model_v2", "model_v1");
    world.run(&other).expect(9);
}

#[test]
fn an_output_that_holds_a_dataset_is_kept_unless_told() {
    let world = World::applied();
    let line = format!("{RETRIEVE} --output out");
    world.run(&line).expect(0);
    let before = world.files("out");
    let refused = world.run(&line).expect(9);
    assert!(refused.err.starts_with("error: ") && refused.err.contains("--overwrite"), "{}", refused.err);
    assert_eq!(world.files("out"), before);
    world.run(&format!("{line} --overwrite")).expect(0);
    assert_ne!(world.files("out"), before, "parts have new names");
    assert_eq!(world.files("out").len(), before.len(), "old parts are gone");
    world.write("foreign/notes.txt", "mine");
    world.run(&format!("{RETRIEVE} --output foreign --overwrite")).expect(9);
    assert_eq!(world.files("foreign"), ["notes.txt"]);
}

#[test]
fn apply_deletes_loudly_and_only_in_its_project() {
    let world = World::applied();
    world.write("other/feature_store.yaml", "project: other\nregistry: ../taxi/data/registry.db\n");
    world.write("other/entity.yaml", "kind: Entity\nname: rider\njoin_keys: [rider_id]\n");
    world.run("-c other apply --yes").expect(0);
    let text = std::fs::read_to_string(world.path().join("taxi/features.yaml")).unwrap();
    let without = text.split("---\nkind: FeatureService\nname: model_v1").next().unwrap();
    world.write("taxi/features.yaml", without);
    let applied = world.run("-c taxi apply --yes").expect(0);
    assert!(applied.out.contains("- feature service model_v1"), "{}", applied.out);
    let expected = "warning: 2 objects are deleted: feature service `model_v1`, feature service `model_v2`\n";
    assert_eq!(applied.err, expected);
    let projects = world.run("-c taxi registry show").expect(0).out;
    let other = projects.lines().find(|line| line.starts_with("other")).unwrap();
    assert_eq!(other.split_whitespace().collect::<Vec<_>>(), ["other", "1", "0", "0", "0", "0", "0"]);
    assert!(projects.contains("taxi (this)"), "{projects}");
    world.run("-c taxi teardown --yes").expect(0);
    let gone = world.run("-c taxi entities list").expect(4);
    assert!(
        gone.err.starts_with("error: the registry has no project `taxi`; it has `other`\nhint:"),
        "{}",
        gone.err
    );
    world.run("-c other entities describe rider").expect(0);
}

#[test]
fn nobody_is_asked_where_nobody_answers() {
    let world = World::with_repo();
    let expected = "error: `apply` asks before it writes, and nobody can be asked here\n\
                    hint: `backsight plan` shows the changes, `backsight apply --yes` makes them\n";
    world.run("-c taxi apply").expect(2).says(world.path(), expected);
    assert!(!world.path().join("taxi/data/registry.db").exists());
    world.run("-c taxi teardown").expect(2);
}

#[test]
fn lists_filter_by_tags_and_describe_names_the_nearest() {
    let world = World::applied();
    let found = world.run("-c taxi feature-views list --tags team:drivers").expect(0);
    assert_eq!(found.out.lines().count(), 2, "{}", found.out);
    let none = world.run("-c taxi feature-views list --tags team:drivers --tags x:y").expect(0);
    assert_eq!(none.out.lines().count(), 1, "{}", none.out);
    let described = world.run("-c taxi entities describe driver").expect(0).out;
    assert!(described.starts_with("spec:\n  name: driver\n  valueType: INT64\n"), "{described}");
    world
        .run("-c taxi entities describe drivr")
        .expect(4)
        .says(world.path(), "error: project `taxi` has no entity `drivr`\nhint: did you mean `driver`?\n");
}

#[test]
fn init_never_overwrites() {
    let world = World::with_repo();
    let before = std::fs::read(world.path().join("taxi/data/spine.parquet")).unwrap();
    let refused = world.run("init taxi").expect(9);
    assert!(
        refused.err.starts_with("error: nothing was written: `taxi/feature_store.yaml`, "),
        "{}",
        refused.err
    );
    assert_eq!(std::fs::read(world.path().join("taxi/data/spine.parquet")).unwrap(), before);
    world.write("half/README.md", "mine");
    world.run("init half").expect(9);
    assert_eq!(world.files("half"), ["README.md"]);
}

#[test]
fn feast_variables_name_repo_and_configuration() {
    let world = World::applied().with_environment(vec![("FEATURE_REPO_DIR_ENV_VAR".into(), "taxi".into())]);
    world.run("entities list").expect(0);
    world.run("-c nowhere entities list").expect(2);
    let world = world.with_environment(vec![("FEAST_FS_YAML_FILE_PATH".into(), "taxi/odd.yaml".into())]);
    world.run("entities list").expect(2);
    world.write("taxi/odd.yaml", "project: $WHO\nregistry: data/registry.db\n");
    let world = world.with_environment(vec![("WHO".into(), "taxi".into())]);
    world.run("entities list").expect(0);
}

#[test]
fn settings_say_where_they_come_from() {
    let variables =
        [("BACKSIGHT_MEMORY_LIMIT", "3GiB"), ("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_REGION", "eu-west-1")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let world = World::with_repo().with_environment(variables);
    let shown = world.run("-c taxi config show").expect(0).out;
    let line = |key: &str| {
        let line =
            shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {shown}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("project "), "project taxi taxi/feature_store.yaml:2:10");
    assert_eq!(
        line("backsight.memory_limit"),
        "backsight.memory_limit 3GiB environment variable `BACKSIGHT_MEMORY_LIMIT`"
    );
    assert_eq!(line("AWS_REGION"), "AWS_REGION eu-west-1 environment");
    assert!(!shown.contains("hush"));
    let broken = World::with_repo().with_environment(vec![("BACKSIGHT_MEMORY_LIMIT".into(), "lots".into())]);
    let expected =
        "error: environment variable `BACKSIGHT_MEMORY_LIMIT` is `lots`, expected a size such as `8GiB`\n";
    broken.run("-c taxi plan").expect(2).says(broken.path(), expected);
}

#[test]
fn a_join_that_spills_says_so_before_and_after() {
    let world = World::applied();
    let spilling = format!("{RETRIEVE} --form spill --spill-dir spill");
    let shown = world.run(&format!("{spilling} --output out --explain")).expect(0).out;
    for part in ["join     spilling fold\n", "\nspill    about ", "spilling fold because it was asked for"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let in_memory = world.run(&format!("{RETRIEVE} --output memory --output-format json")).expect(0).json();
    assert_eq!(in_memory["manifest"]["work"]["bytes_spilled"], 0);
    let text = world.run(&format!("{spilling} --output out")).expect(0).out;
    assert!(text.contains("\nspilled  "), "{text}");
    let again = world.run(&format!("{spilling} --output again --output-format json")).expect(0).json();
    assert!(again["manifest"]["work"]["bytes_spilled"].as_u64().unwrap() > 100, "{again}");
    assert_eq!(again["manifest"]["report"], in_memory["manifest"]["report"]);
    assert_eq!(world.files("spill"), Vec::<String>::new());
}

#[test]
fn explain_shows_scans_and_plan_and_writes_nothing() {
    let world = World::applied();
    let shown = world
        .run(&format!("{RETRIEVE} --output out --explain --memory-limit 1GiB --partitions 3"))
        .expect(0)
        .out;
    for part in [
        "engine   embedded, 3 partitions, 1 key set\n",
        "join     late slot fold\n",
        "shuffle  about 0 B\n",
        "memory   limit 1.0 GiB; the join of one shard",
        "driver_hourly_stats  driver_id  100d",
        "driver_hourly_stats  1 of 1",
        "AsofJoin",
    ] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    assert!(!world.path().join("out").exists());
}

#[test]
fn the_demo_does_the_whole_job() {
    let world = World::empty();
    let shown = world.run("demo").expect(0);
    for part in [
        "$ backsight -c taxi apply --yes\n",
        "\nmodel_v2  driver",
        "18  90.0 %",
        "No changes: the registry holds",
    ] {
        assert!(shown.out.contains(part), "`{part}` is not in\n{}", shown.out);
    }
    assert_eq!(shown.err, "");
    assert_eq!(world.files("."), Vec::<String>::new());
}

#[test]
fn usage_is_status_2_and_help_is_data() {
    let world = World::empty();
    world.run("--help").expect(0);
    world.run("retrieve --help").expect(0);
    world.run("frobnicate").expect(2);
    world.run("plan --scheduler http://h:1").expect(2);
    let json = world.run("retrieve --output-format json").expect(2);
    let json: serde_json::Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(json["error"]["code"], "usage");
    world.run("entities list --output-format markdown").expect(2);
    let script = world.run("completions bash").expect(0);
    assert!(script.out.contains("feature-services"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::applied();
    let line = "-c taxi registry show --output-format json";
    let mut child = world.command(line).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
