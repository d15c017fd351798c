//! `plan` for reviewers: whom a change breaks, whether sources are as declared, a comment for a pull request.

use serde_json::{Value, json};

use crate::support::{World, write_parquet};

#[test]
fn a_status_tells_no_changes_changes_and_failures_apart() {
    let world = World::with_repo();
    world.run("-c taxi plan").expect(0);
    world.run("-c taxi plan --detailed-exitcode").expect(8);
    world.run("-c taxi apply --yes").expect(0);
    for format in ["text", "json", "markdown"] {
        world.run(&format!("-c taxi plan --detailed-exitcode --output-format {format}")).expect(0);
    }
    world.edit("taxi/features.yaml", "ttl: 100d", "ttl: 50d");
    for format in ["text", "json", "markdown"] {
        world.run(&format!("-c taxi plan --detailed-exitcode --output-format {format}")).expect(8);
    }
    // A failure is a failure, whether there are changes or not.
    std::fs::remove_file(world.path().join("taxi/data/driver_stats.parquet")).unwrap();
    world.run("-c taxi plan --detailed-exitcode").expect(4);
    world.edit("taxi/features.yaml", "ttl: 50d", "ttl: ever");
    world.run("-c taxi plan --detailed-exitcode").expect(3);
    world.run("-c taxi/data plan --detailed-exitcode").expect(2);
}

#[test]
fn whom_a_change_breaks_is_said_in_every_form() {
    let world = World::applied();
    let view = "  - {name: acc_rate, dtype: Float32, description: trips accepted of trips offered}\n";
    world.edit("taxi/features.yaml", view, "");
    let text = world.run("-c taxi plan").expect(0).out;
    let line = "  ! breaks feature service model_v2: feature `driver_hourly_stats:acc_rate` is gone\n";
    assert!(text.contains(line) && text.contains("    used by feature service model_v1\n"), "{text}");
    assert!(text.ends_with("4 unchanged. 1 change breaks 1 object.\n"), "{text}");

    let json = world.run("-c taxi plan --output-format json").expect(0).json();
    assert_eq!((&json["summary"]["breaking"], &json["summary"]["broken"]), (&json!(1), &json!(1)));
    let users = json!([
        {"kind": "feature_service", "name": "model_v1", "effect": "nothing"},
        {"kind": "feature_service", "name": "model_v2", "effect": "breaks"},
    ]);
    assert_eq!(json["changes"][0]["used_by"], users);

    let markdown = world.run("-c taxi plan --output-format markdown").expect(0).out;
    let row = "| feature service `model_v2` | feature `driver_hourly_stats:acc_rate` is gone | update feature view \
               `driver_hourly_stats` |\n";
    assert!(markdown.contains(row), "{markdown}");
    assert!(
        markdown.contains("Source files: 1 file of 1 source looked at, all as declared.\n"),
        "{markdown}"
    );
}

/// (what is wrong, text in `features.yaml`, its replacement, status, what is said)
const CASES: &[(&str, &str, &str, i32, &str)] = &[
    (
        "a feature that the file lacks",
        "name: acc_rate",
        "name: acc_rat",
        3,
        "error: feature view `driver_hourly_stats`: `DIR/taxi/data/driver_stats.parquet` has no column `acc_rat`, which is a feature\n\
         hint: did you mean `acc_rate`?; `--no-source-check` goes without a look at source files\n",
    ),
    (
        "another family of types",
        "name: acc_rate, dtype: Float32",
        "name: acc_rate, dtype: Int64",
        3,
        "error: feature view `driver_hourly_stats`: column `acc_rate` is Float32 in `DIR/taxi/data/driver_stats.parquet`, but \
         feature `acc_rate` is declared Int64\n\
         hint: declare the type of the files, or write the files in the declared one; `--allow-type-drift` lets it pass; \
         `--no-source-check` goes without a look at source files\n",
    ),
    (
        "a key of another family",
        "value_type: INT64",
        "value_type: STRING",
        3,
        "error: feature view `driver_hourly_stats`: column `driver_id` is Int64 in `DIR/taxi/data/driver_stats.parquet`, but \
         join key `driver_id` is declared String\n\
         hint: declare the type of the files, or write the files in the declared one; `--allow-type-drift` lets it pass; \
         `--no-source-check` goes without a look at source files\n",
    ),
    (
        "several columns",
        "timestamp_field: event_timestamp\ncreated_timestamp_column: created",
        "timestamp_field: event_timestam\ncreated_timestamp_column: creatd",
        3,
        "error: 2 problems in source files\n\
         feature view `driver_hourly_stats`: `DIR/taxi/data/driver_stats.parquet` has no column `creatd`, which is the created timestamp column\n  \
         hint: did you mean `created`?\n\
         feature view `driver_hourly_stats`: `DIR/taxi/data/driver_stats.parquet` has no column `event_timestam`, which is the timestamp field\n  \
         hint: did you mean `event_timestamp`?\n\
         hint: `--no-source-check` goes without a look at source files\n",
    ),
    (
        "a source that is not there",
        "driver_stats.parquet",
        "nothing.parquet",
        4,
        "error: feature view `driver_hourly_stats`: nothing to read at `DIR/taxi/data/nothing.parquet`: there is no such file or folder\n\
         hint: names that start with `_` or `.` are skipped, and a folder is searched at any depth; `--no-source-check` goes without a look at source files\n",
    ),
];

#[test]
fn sources_that_are_not_as_declared_are_refused_by_plan_and_apply() {
    for (what, from, to, status, expected) in CASES {
        let world = World::with_repo();
        world.edit("taxi/features.yaml", from, to);
        for command in ["plan -q --save plan.json", "apply --yes"] {
            let run = world.run(&format!("-c taxi {command}"));
            assert_eq!(run.status, *status, "{what}: {}", run.err);
            let said = run.err.replace(&world.path().display().to_string(), "DIR");
            assert_eq!(said, *expected, "{what}");
            assert!(run.out.contains("+ feature view driver_hourly_stats\n"), "{what}: the plan is shown");
        }
        assert_eq!(
            world.files(".").iter().filter(|it| it.contains("registry.db") || it.contains("plan")).count(),
            0
        );
        world.run("-c taxi apply --yes --no-source-check").expect(0);
    }
}

#[test]
fn what_the_user_lets_pass_is_a_warning_and_widths_are_notes() {
    let world = World::with_repo();
    world.edit("taxi/features.yaml", "name: acc_rate, dtype: Float32", "name: acc_rate, dtype: Int64");
    world.edit("taxi/features.yaml", "name: conv_rate, dtype: Float32", "name: conv_rate, dtype: Float64");
    let refused = world.run("-c taxi plan --output-format json").expect(3);
    let plan = refused.json();
    let sources = &plan["sources"];
    assert_eq!(
        (&sources["errors"], &sources["warnings"], &sources["notes"]),
        (&json!(1), &json!(0), &json!(1))
    );
    let finding = &sources["findings"][0];
    for (key, value) in [
        ("severity", json!("error")),
        ("kind", json!("type_family")),
        ("views", json!(["driver_hourly_stats"])),
        ("source", json!("driver_stats_source")),
        ("column", json!("acc_rate")),
        ("code", json!("invalid")),
    ] {
        assert_eq!(finding[key], value, "{finding:#}");
    }
    let error: Value = serde_json::from_str(&refused.err[refused.err.find('{').unwrap()..]).unwrap();
    assert_eq!(error["error"]["details"]["sources"], *sources);

    let let_pass = world.run("-c taxi plan --allow-type-drift").expect(0).out;
    assert!(let_pass.contains(
        "\nSources: 1 file of 1 source looked at\n  warning: feature view `driver_hourly_stats`: "
    ));
    assert!(
        let_pass.contains("\n  note: feature view `driver_hourly_stats`: column `conv_rate` is Float32 and"),
        "{let_pass}"
    );
    let markdown = world.run("-c taxi plan --output-format markdown").expect(3).out;
    assert!(
        markdown.contains("\n- **error** feature view `driver_hourly_stats`: column `acc_rate`"),
        "{markdown}"
    );
    assert!(markdown.contains("<details><summary>1 note</summary>"), "{markdown}");
    let skipped = world.run("-c taxi plan --no-source-check --output-format json").expect(0).json();
    assert_eq!(skipped["sources"], Value::Null);
    world.run("-c taxi plan --no-source-check --allow-type-drift").expect(2);
    world.run("-c taxi apply --yes --allow-type-drift").expect(0);
}

#[test]
fn five_hundred_views_are_planned_at_once() {
    let world = World::empty();
    world.write("big/feature_store.yaml", "project: big\nregistry: registry.db\n");
    let mut text = "kind: Entity\nname: k\nvalue_type: INT64\n".to_owned();
    for number in 0..500 {
        text = format!(
            "{text}---\nkind: FileSource\nname: s{number}\npath: data/s{number}.parquet\ntimestamp_field: event_timestamp\n---\n\
             kind: FeatureView\nname: v{number}\nentities: [k]\nschema: [{{name: f, dtype: Int64}}]\nsource: s{number}\n"
        );
        let columns = [("k", vec![Some(1)]), ("event_timestamp", vec![Some(0)]), ("f", vec![None])];
        write_parquet(&world.path().join(format!("big/data/s{number}.parquet")), &columns);
    }
    world.write("big/features.yaml", text);
    let start = std::time::Instant::now();
    let plan = world.run("-c big plan --output-format json").expect(0).json();
    // Two seconds are the promise for a release build on an idle machine; see docs/reviews.md.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    assert_eq!((&plan["sources"]["files"], &plan["sources"]["findings"]), (&json!(500), &json!([])));
}
