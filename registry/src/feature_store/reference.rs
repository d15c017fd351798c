//! Every setting of a configuration that has an effect here: what it is called, what it may be, what it means.
//!
//! The reader notes what it reads under these entries and takes its own keys from them, so there is none without one.

/// One setting of `feature_store.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingEntry {
    /// Its place in the file: `backsight.s3.region`.
    pub key: &'static str,
    /// What its value is: `text`, `size`, `URL`, …
    pub kind: &'static str,
    /// What counts when nobody says anything; `None` where it must be given, empty where it is then unset.
    pub default: Option<&'static str>,
    /// What it decides, as one line.
    pub meaning: &'static str,
    /// The environment variable that wins over the file.
    pub variable: Option<&'static str>,
    /// The option of the command line that wins over both.
    pub option: Option<&'static str>,
    /// Whether it can be written in the file.
    pub is_in_file: bool,
}

const fn entry(key: &'static str, kind: &'static str, meaning: &'static str) -> SettingEntry {
    SettingEntry { key, kind, default: Some(""), meaning, variable: None, option: None, is_in_file: true }
}

impl SettingEntry {
    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn required(self) -> Self {
        Self { default: None, ..self }
    }

    const fn variable(self, variable: &'static str) -> Self {
        Self { variable: Some(variable), ..self }
    }

    const fn option(self, option: &'static str) -> Self {
        Self { option: Some(option), ..self }
    }
}

/// All of them, in the order in which a configuration is read and shown.
pub const SETTINGS: [SettingEntry; 18] = [
    entry("project", "name", "Whose objects of the registry are meant").required(),
    entry("project_description", "text", "Description of the project, unless a definition gives one"),
    entry("provider", "text", "Feast's provider; without effect here").or("local"),
    entry(
        "registry.path",
        "path or URI",
        "Where the registry is; also written as `registry: PATH`. A relative path starts at the repo",
    )
    .required(),
    entry(
        "registry.cache_ttl_seconds",
        "number",
        "How long Feast may keep what it read; Backsight reads the registry anew for each command",
    )
    .or("600"),
    SettingEntry {
        is_in_file: false,
        ..entry("registry.s3_endpoint", "URL", "Endpoint for a registry on S3, where it has one of its own")
            .variable("FEAST_S3_ENDPOINT_URL")
    },
    entry(
        "offline_store.type",
        "`dask`, `file`, `duckdb`",
        "Feast's offline store; a retrieval refuses one that does not read files",
    )
    .or("dask"),
    entry("backsight.scheduler", "URL", "Scheduler that commands go through, as `http://host:50050`; `none` for none")
        .variable("BACKSIGHT_SCHEDULER")
        .option("--scheduler"),
    entry(
        "backsight.local_only",
        "`true` or `false`",
        "Whether commands keep off every scheduler, whatever the variable says, and off registries that are no local file",
    )
    .or("false"),
    entry("backsight.state", "URL", "Where `backsight scheduler` of this repo keeps its jobs")
        .variable("BACKSIGHT_SCHEDULER__STATE")
        .option("scheduler --state"),
    entry("backsight.s3.endpoint", "URL", "Endpoint of every S3 location that does not bring its own")
        .variable("BACKSIGHT_S3__ENDPOINT"),
    entry("backsight.s3.region", "text", "Region of S3").variable("BACKSIGHT_S3__REGION"),
    entry(
        "backsight.s3.allow_http",
        "`true` or `false`",
        "Whether plain HTTP may be used; an `http://` endpoint allows it unless this says no",
    )
    .variable("BACKSIGHT_S3__ALLOW_HTTP"),
    entry(
        "backsight.s3.virtual_hosted_style",
        "`true` or `false`",
        "Whether the bucket is part of the host name; unset: not with an endpoint of one's own, yes with Amazon's",
    )
    .variable("BACKSIGHT_S3__VIRTUAL_HOSTED_STYLE"),
    entry("backsight.memory_limit", "size", "Memory that a retrieval in this process keeps within; unset: 60 % of what is available")
        .variable("BACKSIGHT_MEMORY_LIMIT")
        .option("retrieve --memory-limit"),
    entry(
        "backsight.spill_dir",
        "folder",
        "Where a retrieval in this process puts what memory does not hold; unset: the system's temporary folder",
    )
    .variable("BACKSIGHT_SPILL_DIR")
    .option("retrieve --spill-dir"),
    entry("backsight.spill_limit", "size", "Bytes that a retrieval in this process may put there; unset: 100 GiB")
        .variable("BACKSIGHT_SPILL_LIMIT")
        .option("retrieve --spill-limit"),
    entry(
        "backsight.target_partitions",
        "number",
        "Partitions that a retrieval in this process works on at the same time; unset: one a core",
    )
    .variable("BACKSIGHT_TARGET_PARTITIONS")
    .option("retrieve --partitions"),
];

/// The entry of a key.
pub fn setting_entry(key: &str) -> Option<&'static SettingEntry> {
    SETTINGS.iter().find(|entry| entry.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature_store::backsight::{BACKSIGHT_KEYS, S3_KEYS};
    use crate::feature_store::{Environment, Origin, parse_feature_store};

    const LEAST: &str = "project: p\nregistry: r.db\n";

    #[test]
    fn what_is_read_is_what_has_an_entry() {
        let config = parse_feature_store("f.yaml", LEAST, &Environment::new()).unwrap();
        let read: Vec<&str> = config.settings.iter().map(|setting| setting.key).collect();
        assert_eq!(read, SETTINGS.map(|entry| entry.key));
    }

    #[test]
    fn defaults_are_those_of_the_reader() {
        let config = parse_feature_store("f.yaml", LEAST, &Environment::new()).unwrap();
        for (setting, entry) in config.settings.iter().zip(&SETTINGS) {
            match entry.default {
                None => assert_ne!(setting.origin, Origin::Default, "{}", entry.key),
                Some(default) => assert_eq!(setting.value, default, "{}", entry.key),
            }
        }
    }

    #[test]
    fn a_key_that_is_allowed_has_an_entry() {
        let of_section = |section: &str, keys: &[&str]| -> Vec<String> {
            keys.iter().map(|key| format!("{section}.{key}")).collect()
        };
        let mut allowed = of_section("backsight.s3", S3_KEYS);
        let sections = of_section("backsight", BACKSIGHT_KEYS);
        allowed.extend(sections.into_iter().filter(|key| key != "backsight.s3"));
        let mut ours: Vec<&str> =
            SETTINGS.iter().map(|entry| entry.key).filter(|key| key.starts_with("backsight.")).collect();
        allowed.sort();
        ours.sort_unstable();
        assert_eq!(allowed, ours);
    }
}
