//! Configurations as text: what sound ones become, and every word that broken ones are answered with.

use super::*;

fn environment<const N: usize>(pairs: [(&str, &str); N]) -> Environment {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn read(text: &str) -> Result<FeatureStoreConfig, String> {
    parse_feature_store("feature_store.yaml", text, &Environment::new()).map_err(|errors| {
        assert_eq!(errors.code().exit_status(), 2);
        errors.problems.iter().map(|problem| format!("{problem}\n")).collect()
    })
}

/// (claim, the file, the answer)
const CASES: &[(&str, &str, &str)] = &[
    (
        "empty",
        r#""#,
        r#"feature_store.yaml: the file is empty; `project` and `registry` are required
"#,
    ),
    (
        "only comments",
        r#"# nothing
"#,
        r#"feature_store.yaml: the file is empty; `project` and `registry` are required
"#,
    ),
    (
        "not a mapping",
        r#"- a
"#,
        r#"feature_store.yaml:1:1: the configuration must be a mapping of keys, got a list
"#,
    ),
    (
        "nothing required",
        r#"provider: local
"#,
        r#"feature_store.yaml:1:1: `project` is not set, but is required
  hint: it names whose objects of the registry are meant
feature_store.yaml:1:1: `registry` is not set, but is required
  hint: it says where the registry is, for example `data/registry.db` or `s3://bucket/registry.pb`
"#,
    ),
    (
        "misspelt",
        r#"projct: a
registy: b
"#,
        r#"feature_store.yaml:1:1: `project` is not set, but is required
  hint: did you mean `project` instead of `projct`?
feature_store.yaml:1:1: `registry` is not set, but is required
  hint: did you mean `registry` instead of `registy`?
"#,
    ),
    (
        "empty values",
        r#"project:
registry:
"#,
        r#"feature_store.yaml:1:1: `project` is not set, but is required
  hint: it names whose objects of the registry are meant
feature_store.yaml:2:1: `registry` is not set, but is required
  hint: it says where the registry is, for example `data/registry.db` or `s3://bucket/registry.pb`
"#,
    ),
    (
        "not YAML",
        r#"project: a
  registry: b
"#,
        r#"feature_store.yaml:2:11: not valid YAML: mapping values are not allowed in this context
"#,
    ),
    (
        "two documents",
        r#"project: a
registry: b
---
project: c
"#,
        r#"feature_store.yaml:4:1: a configuration is one document; a second one starts here
"#,
    ),
    (
        "a key twice",
        r#"project: a
registry: b
project: c
"#,
        r#"feature_store.yaml:3:1: key `project` is given twice; it is already at feature_store.yaml:1:1
"#,
    ),
    (
        "project names",
        r#"project: my-project
registry: b
"#,
        r#"feature_store.yaml:1:10: `my-project` is not a project name; allowed: letters, digits and `_`, not starting with `_`
  hint: Feast refuses `-` as well; write `_`
"#,
    ),
    (
        "project that is a number",
        r#"project: 12
registry: b
"#,
        r#"feature_store.yaml:1:10: `project` must be a text, got the integer `12`
  hint: put it in quotes: `"12"`
"#,
    ),
    (
        "project with an underscore first",
        r#"project: _a
registry: b
"#,
        r#"feature_store.yaml:1:10: `_a` is not a project name; allowed: letters, digits and `_`, not starting with `_`
"#,
    ),
    (
        "registry types",
        r#"project: a
registry: {registry_type: sql, path: 'postgresql://u:secret@h/db'}
"#,
        r#"feature_store.yaml:2:27: registry type `sql` is not supported; allowed: `file`
  hint: Backsight reads and writes Feast's registry file, local or in an object store
"#,
    ),
    (
        "unknown registry type",
        r#"project: a
registry: {registry_type: files, path: x}
"#,
        r#"feature_store.yaml:2:27: unknown registry type `files`; allowed: `file`
  hint: Backsight reads and writes Feast's registry file, local or in an object store
"#,
    ),
    (
        "registry of another cloud",
        r#"project: a
registry: hdfs://host/registry.pb
"#,
        r#"feature_store.yaml:2:11: a registry at `hdfs://` is not supported; allowed: a path, `s3://`, `gs://`, `az://`, `abfss://`, `file://`
"#,
    ),
    (
        "registry of a database",
        r#"project: a
registry: postgresql://u:secret@h/db
"#,
        r#"feature_store.yaml:2:11: a registry at `postgresql://` is not supported; allowed: a path, `s3://`, `gs://`, `az://`, `abfss://`, `file://`
"#,
    ),
    (
        "registry with a password",
        r#"project: a
registry: s3://key:secret@bucket/registry.pb
"#,
        r#"feature_store.yaml:2:11: the URI of the registry must not hold a user, a password or a signature
  hint: credentials come from the environment
"#,
    ),
    (
        "registry stores",
        r#"project: a
registry: {path: x, registry_store_type: HDFSRegistryStore}
"#,
        r#"feature_store.yaml:2:42: registry store `HDFSRegistryStore` is not supported; allowed: `FileRegistryStore`, `S3RegistryStore`, `GCSRegistryStore`, `AzureRegistryStore`
"#,
    ),
    (
        "own registry store",
        r#"project: a
registry: {path: x, registry_store_type: my.Store}
"#,
        r#"feature_store.yaml:2:42: registry store `my.Store` is not supported; allowed: `FileRegistryStore`, `S3RegistryStore`, `GCSRegistryStore`, `AzureRegistryStore`
"#,
    ),
    (
        "registry without a path",
        r#"project: a
registry: {cache_ttl_seconds: soon}
"#,
        r#"feature_store.yaml:2:11: `registry` lacks the required key `path`
feature_store.yaml:2:31: `cache_ttl_seconds` of `registry` must be a whole number from 0, got the text `soon`
"#,
    ),
    (
        "registry that is a list",
        r#"project: a
registry: [x]
"#,
        r#"feature_store.yaml:2:11: `registry` must be a path, a URI or a mapping, got a list
"#,
    ),
    (
        "offline store types",
        r#"project: a
registry: b
offline_store: {type: duckbd, x: 1}
"#,
        r#"feature_store.yaml:3:23: unknown offline store `duckbd`; Feast knows `dask`, `file`, `duckdb`, `athena`, `bigquery`, `chronon`, `clickhouse`, `couchbase.offline`, `hybrid`, `mongodb`, `mssql`, `oracle`, `postgres`, `ray`, `redshift`, `remote` and 3 more
  hint: did you mean `duckdb`?
"#,
    ),
    (
        "offline store keys",
        r#"project: a
registry: b
offline_store: {type: file, path: x}
"#,
        r#"feature_store.yaml:3:29: unknown key `path` in `offline_store` of type `file`; allowed: `type`
"#,
    ),
    (
        "strict values",
        r#"project: a
registry: b
entity_key_serialization_version: '3'
coerce_tz_aware: maybe
"#,
        r#"feature_store.yaml:3:35: `entity_key_serialization_version` of the configuration must be a whole number from 0, got the text `3`
feature_store.yaml:4:18: `coerce_tz_aware` of the configuration must be `true` or `false`, got the text `maybe`
"#,
    ),
    (
        "unknown keys of ours",
        r#"project: a
registry: b
backsight: {schedular: 'http://h:1', s3: {endpiont: x, buckets: y}}
"#,
        r#"feature_store.yaml:3:13: unknown key `schedular` in `backsight`; allowed: `scheduler`, `state`, `s3`, `memory_limit`, `target_partitions`
  hint: did you mean `scheduler`?
feature_store.yaml:3:43: unknown key `endpiont` in `backsight.s3`; allowed: `endpoint`, `region`, `allow_http`, `virtual_hosted_style`
  hint: did you mean `endpoint`?
feature_store.yaml:3:56: unknown key `buckets` in `backsight.s3`; allowed: `endpoint`, `region`, `allow_http`, `virtual_hosted_style`
"#,
    ),
    (
        "secrets",
        r#"project: a
registry: b
backsight:
  state: postgres://me:hunter2@h/db
  scheduler: http://me@h:1
  s3: {secret_access_key: hunter2, endpoint: 'https://k:hunter2@h'}
"#,
        r#"feature_store.yaml:4:10: `backsight.state` must not hold a password
  hint: secrets come from the environment or the provider's usual chain, never from a file
feature_store.yaml:5:14: `backsight.scheduler` must not hold a password
  hint: secrets come from the environment or the provider's usual chain, never from a file
feature_store.yaml:6:8: `secret_access_key` of `backsight.s3` is not supported: secrets come from the environment or the provider's usual chain, never from a file
feature_store.yaml:6:46: `backsight.s3.endpoint` must not hold a password
  hint: secrets come from the environment or the provider's usual chain, never from a file
"#,
    ),
    (
        "values of ours",
        r#"project: a
registry: b
backsight: {scheduler: 'host:50050', state: mysql://h/db, memory_limit: 8G, target_partitions: 0, s3: {allow_http: 3}}
"#,
        r#"feature_store.yaml:3:24: `backsight.scheduler` must be a URL that starts with `http://`, `https://`
  hint: for example `http://host:50050`
feature_store.yaml:3:45: `backsight.state` has the scheme `mysql://`; allowed: `sqlite://`, `postgres://`, `postgresql://`
  hint: for example `sqlite://backsight.db`
feature_store.yaml:3:73: `memory_limit` of `backsight` must be a size above zero, got the text `8G`
  hint: write `8GiB`, `512MB`, or a number of bytes
feature_store.yaml:3:96: `target_partitions` of `backsight` must be at least 1, got 0
feature_store.yaml:3:116: `allow_http` of `backsight.s3` must be `true` or `false`, got the integer `3`
"#,
    ),
    (
        "ours as a text",
        r#"project: a
registry: b
backsight: http://h:1
"#,
        r#"feature_store.yaml:3:12: `backsight` must be a mapping of keys, got a text
"#,
    ),
];

#[test]
fn broken_configurations_are_answered() {
    for (claim, text, expected) in CASES {
        let answer = read(text).map(|_| "sound".to_owned()).unwrap_or_else(|answer| answer);
        assert_eq!(&answer, expected, "{claim}");
        assert!(!answer.contains("hunter2") && !answer.contains("secret@"), "{claim}");
    }
}

#[test]
fn the_least_configuration_has_feasts_defaults() {
    for text in [
        "project: rides\nregistry: data/registry.db\n",
        "registry: {path: data/registry.db}\nproject: rides\nonline_store: null\noffline_store:\n",
    ] {
        let config = read(text).unwrap();
        assert_eq!(config.project, "rides");
        assert_eq!(config.project_description, "");
        assert_eq!(config.provider, "local");
        assert_eq!(config.registry.path, "data/registry.db");
        assert_eq!(config.registry.cache_ttl_seconds, 600);
        assert_eq!(config.registry.s3_endpoint, None);
        assert_eq!(config.offline_store_type, "dask");
        assert_eq!(config.backsight, BacksightConfig::default());
        assert!(config.require_file_store().is_ok());
        assert!(config.warnings.is_empty());
    }
}

/// All that Feast accepts besides, and all of ours.
const WHOLE: &str = "\
project: feast_demo_aws
project_description: rides
provider: aws
registry:
  registry_type: file
  registry_store_type: S3RegistryStore
  path: s3://${BUCKET}/registry.pb
  cache_ttl_seconds: 60
  cache_mode: thread
  s3_additional_kwargs: {ServerSideEncryption: aws:kms, SSECustomerKey: hunter2}
  enable_online_feature_view_versioning: true
  anything: else
online_store: null
offline_store: duckdb
batch_engine: local
auth: {type: oidc, client_secret: hunter2}
flags: {alpha: true}
entity_key_serialization_version: 2
coerce_tz_aware: yes
anything: [else]
backsight:
  scheduler: http://127.0.0.1:50050
  state: postgres://me@host/db
  memory_limit: 8GiB
  target_partitions: 4
  s3: {endpoint: 'http://127.0.0.1:9000', region: $REGION, allow_http: true, virtual_hosted_style: no}
";

#[test]
fn every_key_of_feast_is_accepted_and_ours_are_read() {
    let environment =
        environment([("BUCKET", "features"), ("FEAST_S3_ENDPOINT_URL", "http://127.0.0.1:8333")]);
    let config = parse_feature_store("fs.yaml", WHOLE, &environment).unwrap();
    assert_eq!(config.project_description, "rides");
    assert_eq!(config.registry.path, "s3://features/registry.pb");
    assert_eq!(config.registry.cache_ttl_seconds, 60);
    assert_eq!(config.registry.s3_endpoint.as_deref(), Some("http://127.0.0.1:8333"));
    assert_eq!(config.registry.position.to_string(), "fs.yaml:7:9");
    assert_eq!(config.offline_store_type, "duckdb");
    assert_eq!(
        config.backsight,
        BacksightConfig {
            scheduler: Some("http://127.0.0.1:50050".to_owned()),
            state: Some("postgres://me@host/db".to_owned()),
            s3: backsight_storage::S3Options {
                endpoint: Some("http://127.0.0.1:9000".to_owned()),
                region: Some("$REGION".to_owned()),
                allow_http: Some(true),
                virtual_hosted_style: Some(false),
            },
            memory_limit: Some(8 << 30),
            target_partitions: Some(4),
        }
    );
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "fs.yaml:10:3: `s3_additional_kwargs` of `registry` is not passed on to S3 by Backsight's writes",
            "fs.yaml:26:51: variable `REGION` in `backsight.s3.region` is not set and stays as it is written",
        ]
    );
    let settings: Vec<String> = config
        .settings
        .iter()
        .map(|setting| format!("{} = {} ({})", setting.key, setting.value, setting.origin))
        .collect();
    assert_eq!(
        settings,
        [
            "project = feast_demo_aws (fs.yaml:1:10)",
            "project_description = rides (fs.yaml:2:22)",
            "provider = aws (fs.yaml:3:11)",
            "registry.path = s3://features/registry.pb (fs.yaml:7:9)",
            "registry.cache_ttl_seconds = 60 (fs.yaml:8:22)",
            "registry.s3_endpoint = http://127.0.0.1:8333 (environment variable `FEAST_S3_ENDPOINT_URL`)",
            "offline_store.type = duckdb (fs.yaml:14:16)",
            "backsight.scheduler = http://127.0.0.1:50050 (fs.yaml:22:14)",
            "backsight.state = postgres://me@host/db (fs.yaml:23:10)",
            "backsight.s3.endpoint = http://127.0.0.1:9000 (fs.yaml:26:18)",
            "backsight.s3.region = $REGION (fs.yaml:26:51)",
            "backsight.s3.allow_http = true (fs.yaml:26:72)",
            "backsight.s3.virtual_hosted_style = false (fs.yaml:26:100)",
            "backsight.memory_limit = 8589934592 (fs.yaml:24:17)",
            "backsight.target_partitions = 4 (fs.yaml:25:22)",
        ]
    );
    assert!(!format!("{config:?}").contains("hunter2"), "secrets are never kept");
}

#[test]
fn stores_that_read_no_files_are_refused_by_a_retrieval_only() {
    for (store, given) in [
        ("offline_store: {type: bigquery, dataset: x}", "bigquery"),
        ("offline_store: snowflake.offline", "snowflake.offline"),
        ("offline_store: my.module.OwnOfflineStore", "my.module.OwnOfflineStore"),
    ] {
        let config = read(&format!("project: a\nregistry: b\n{store}\n")).unwrap();
        let error = config.require_file_store().unwrap_err().to_string();
        assert!(error.contains(&format!("offline store `{given}` does not read files")), "{error}");
        assert!(error.starts_with("feature_store.yaml:3:"), "{error}");
    }
    assert!(
        read("project: a\nregistry: b\noffline_store: {type: file}\n").unwrap().require_file_store().is_ok()
    );
}

#[test]
fn a_section_that_is_nearly_ours_is_a_warning() {
    let config = read("project: a\nregistry: b\nbacksigth: {scheduler: x}\n").unwrap();
    assert_eq!(
        config.warnings[0].to_string(),
        "feature_store.yaml:3:1: key `backsigth` has no effect\n  hint: did you mean `backsight`?"
    );
}

#[test]
fn a_file_that_is_not_there_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        load_feature_store(&folder.path().join("feature_store.yaml"), &Environment::new()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("feature_store.yaml: there is no such configuration file\n  hint: run in a folder"),
        "{text}"
    );
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, "project: $P\nregistry: r\n").unwrap();
    let config = load_feature_store(&path, &environment([("P", "rides")])).unwrap();
    assert_eq!(config.project, "rides");
}
