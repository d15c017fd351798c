//! Definitions and configurations that are wrong: the exact words, the status, nothing written.

use crate::support::World;

/// (what is wrong, text in `features.yaml`, its replacement, what is said)
const CASES: &[(&str, &str, &str, &str)] = &[
    (
        "unknown key",
        "ttl: 100d",
        "tll: 100d",
        r#"error: features.yaml:19:1: unknown key `tll` in FeatureView `driver_hourly_stats`; allowed: `kind`, `name`, `entities`, `ttl`, `schema`, `source`, `online`, `offline`, `enabled`, `version`, `description`, `tags`, `owner`
  hint: did you mean `ttl`?
"#,
    ),
    (
        "unknown kind",
        "kind: FeatureView\n",
        "kind: FeatureVew\n",
        r#"error: features.yaml:15:7: unknown kind `FeatureVew`; allowed: `Entity`, `FileSource`, `RequestSource`, `FeatureView`, `OnDemandFeatureView`, `FeatureService`, `Project`
  hint: did you mean `FeatureView`?
"#,
    ),
    (
        "unknown reference",
        "source: driver_stats_source",
        "source: driver_stat_source",
        r#"error: features.yaml:23:9: FeatureView `driver_hourly_stats` refers to data source `driver_stat_source`, which is not defined
  hint: did you mean `driver_stats_source`?
"#,
    ),
    (
        "unknown feature of a service",
        "features: [conv_rate]",
        "features: [conv_rat]",
        r#"error: features.yaml:30:44: FeatureService `model_v1` selects `conv_rat`, but view `driver_hourly_stats` has no such feature
  hint: did you mean `conv_rate`?
"#,
    ),
    (
        "unknown dtype",
        "name: conv_rate, dtype: Float32",
        "name: conv_rate, dtype: Flaot32",
        r#"error: features.yaml:21:30: field `conv_rate` of FeatureView `driver_hourly_stats`: unknown type `Flaot32`; allowed: `Bytes`, `String`, `Int32`, `Int64`, `Float32`, `Float64`, `Bool`, `UnixTimestamp`, `Map`, `Json`, `Uuid`, `TimeUuid`, `Decimal`, `Array(…)`, `Set(…)`, `Struct({name: type})`, or a value type such as `INT64`
  hint: did you mean `Float32`?
"#,
    ),
    (
        "two objects with one name",
        "name: model_v2",
        "name: model_v1",
        r#"error: features.yaml:33:7: FeatureService `model_v1` is defined twice; it is already at features.yaml:28:7
"#,
    ),
    (
        "negative ttl",
        "ttl: 100d",
        "ttl: -1h",
        r#"error: features.yaml:19:6: FeatureView `driver_hourly_stats`: ttl `-1h` is negative
  hint: a ttl says how old a feature row may be; 0 or no ttl means unlimited
"#,
    ),
];

#[test]
fn each_mistake_has_its_words() {
    for (what, from, to, expected) in CASES {
        let world = World::with_repo();
        world.edit("taxi/features.yaml", from, to);
        for command in ["plan", "apply --yes"] {
            let run = world.run(&format!("-c taxi {command}"));
            assert_eq!(run.status, 3, "{what}: {}", run.err);
            run.says(world.path(), expected);
        }
        assert!(!world.path().join("taxi/data/registry.db").exists(), "{what}");
    }
}

#[test]
fn all_mistakes_are_said_together() {
    let world = World::with_repo();
    world.edit("taxi/features.yaml", "ttl: 100d", "ttl: -1h");
    world.edit("taxi/features.yaml", "name: model_v2", "name: model_v1");
    let run = world.run("-c taxi plan --output-format json").expect(3);
    let value: serde_json::Value = serde_json::from_str(&run.err).unwrap();
    let problems = value["error"]["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{value:#}");
    assert!(problems.iter().all(|problem| problem["file"] == "features.yaml" && problem["line"].is_number()));
}

#[test]
fn a_configuration_is_checked_whole() {
    let world = World::with_repo();
    for (text, expected) in [
        (
            "project: taxi\n",
            r#"error: taxi/feature_store.yaml:1:1: `registry` is not set, but is required
  hint: it says where the registry is, for example `data/registry.db` or `s3://bucket/registry.pb`
"#,
        ),
        (
            "project: ta-xi\nregistry: r.db\n",
            r#"error: taxi/feature_store.yaml:1:10: `ta-xi` is not a project name; allowed: letters, digits and `_`, not starting with `_`
  hint: Feast refuses `-` as well; write `_`
"#,
        ),
        (
            "project: taxi\nregistry: hdfs://b/r.pb\n",
            r#"error: taxi/feature_store.yaml:2:11: a registry at `hdfs://` is not supported; allowed: a path, `s3://`, `gs://`, `az://`, `abfss://`, `file://`
"#,
        ),
        (
            "project: taxi\nregistry: {registry_type: sql, path: postgresql://u@h/db}\n",
            r#"error: taxi/feature_store.yaml:2:27: registry type `sql` is not supported; allowed: `file`
  hint: Backsight reads and writes Feast's registry file, local or in an object store
"#,
        ),
        (
            "project: taxi\nregistry: r.db\nbacksight: {s3: {endpiont: x}}\n",
            r#"error: taxi/feature_store.yaml:3:18: unknown key `endpiont` in `backsight.s3`; allowed: `endpoint`, `region`, `allow_http`, `virtual_hosted_style`
  hint: did you mean `endpoint`?
"#,
        ),
    ] {
        world.write("taxi/feature_store.yaml", text);
        world.run("-c taxi plan").expect(2).says(world.path(), expected);
    }
    std::fs::remove_file(world.path().join("taxi/feature_store.yaml")).unwrap();
    world.run("-c taxi plan").expect(2).says(
        world.path(),
        r#"error: taxi/feature_store.yaml: there is no such configuration file
  hint: run in a folder that has a `feature_store.yaml`, or name one with `--chdir` or `--feature-store-yaml`
"#,
    );
}

#[test]
fn a_registry_that_is_not_one_is_3_and_stays_as_it_is() {
    for text in ["<!DOCTYPE html><html></html>", "{\"a\": 1}", "PAR1....", "\u{0}\u{1}\u{2}"] {
        let world = World::with_repo();
        let path = world.write("taxi/data/registry.db", text);
        for command in ["plan", "apply --yes", "entities list", "registry show"] {
            let run = world.run(&format!("-c taxi {command}")).expect(3);
            assert!(run.err.starts_with("error: cannot use `"), "{}", run.err);
            assert!(run.err.contains("hint: "), "{}", run.err);
        }
        assert_eq!(std::fs::read(&path).unwrap(), text.as_bytes());
    }
}

#[test]
fn a_missing_registry_is_4_and_is_not_created_by_reading() {
    let world = World::with_repo();
    let expected = "error: there is no registry at `DIR/taxi/data/registry.db`\n\
                    hint: `backsight apply` creates it; if it should exist, check `registry` in feature_store.yaml\n";
    for command in
        ["entities list", "registry show", "teardown --yes", "retrieve --features a:b --spine s --output o"]
    {
        world.run(&format!("-c taxi {command}")).expect(4).says(world.path(), expected);
    }
    assert!(!world.path().join("taxi/data/registry.db").exists());
}
