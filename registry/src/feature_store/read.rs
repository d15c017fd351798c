//! From text to configuration: the keys of Feast that matter here, with Feast's defaults and rules.

use std::path::Path;
use std::sync::Arc;

use backsight_storage::{Location, OBJECT_STORE_SCHEMES, StorageError, holds_credentials};

use super::backsight::read_backsight;
use super::config::{FILE_STORES, FeatureStoreConfig, Origin, RegistryConfig, Setting};
use super::error::ConfigErrors;
use super::expand::{Environment, expand_variables, variables_in};
use crate::nearest::{did_you_mean, quoted_list};
use crate::problem::{Position, Problems};
use crate::yaml::{Keys, Limits, Node, Reader, Spanned, Value, parse, text_of};

/// Feast's defaults.
const DEFAULT_PROVIDER: &str = "local";
const DEFAULT_OFFLINE_STORE: &str = "dask";
const DEFAULT_CACHE_TTL_SECONDS: u64 = 600;
const REGISTRY_ENDPOINT_VARIABLE: &str = "FEAST_S3_ENDPOINT_URL";
/// Feast's names of the stores that we have; the path alone decides.
const REGISTRY_STORES: [&str; 4] =
    ["FileRegistryStore", "S3RegistryStore", "GCSRegistryStore", "AzureRegistryStore"];

/// Stores of Feast that do not read files: known, and refused by a retrieval.
const OTHER_STORES: [&str; 16] = [
    "athena",
    "bigquery",
    "chronon",
    "clickhouse",
    "couchbase.offline",
    "hybrid",
    "mongodb",
    "mssql",
    "oracle",
    "postgres",
    "ray",
    "redshift",
    "remote",
    "snowflake.offline",
    "spark",
    "trino",
];

/// Notes each setting as it is read.
#[derive(Default)]
pub(super) struct Settings {
    list: Vec<Setting>,
    pub(super) warnings: Problems,
}

impl Settings {
    /// Notes a value of the file; a variable in it that was not set is a warning.
    pub(super) fn given(&mut self, key: &'static str, value: &str, position: &Position) {
        for name in variables_in(value) {
            let message = format!("variable `{name}` in `{key}` is not set and stays as it is written");
            self.warnings.push(position, message);
        }
        self.list.push(Setting { key, value: value.to_owned(), origin: Origin::File(position.clone()) });
    }

    /// Notes a value that nobody gave.
    pub(super) fn unset(&mut self, key: &'static str, value: &str) {
        self.list.push(Setting { key, value: value.to_owned(), origin: Origin::Default });
    }

    /// Notes a value of the file, or the default.
    pub(super) fn either(&mut self, key: &'static str, given: Option<(&str, &Position)>, default: &str) {
        match given {
            Some((value, position)) => self.given(key, value, position),
            None => self.unset(key, default),
        }
    }
}

/// Reads a configuration. `file` is how it is called in messages; `environment` is what `$VAR` expands to.
pub fn parse_feature_store(
    file: &str,
    text: &str,
    environment: &Environment,
) -> Result<FeatureStoreConfig, ConfigErrors> {
    let mut problems = Problems::default();
    let config = read(&Arc::from(file), &expand_variables(text, environment), environment, &mut problems);
    let problems = problems.into_sorted();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigErrors { problems }),
    }
}

fn read(
    file: &Arc<str>,
    text: &str,
    environment: &Environment,
    problems: &mut Problems,
) -> Option<FeatureStoreConfig> {
    let parsed = parse(file, text, &Limits::default());
    problems.extend(parsed.problems);
    let mut documents = parsed.documents.iter().filter(|document| !document.is_null());
    let Some(document) = documents.next() else {
        if parsed.complete {
            problems.push(
                &Position::whole_file(Arc::clone(file)),
                "the file is empty; `project` and `registry` are required",
            );
        }
        return None;
    };
    if let Some(second) = documents.next() {
        problems.push(&second.position, "a configuration is one document; a second one starts here");
    }
    let reader = Reader::open_any(document, "the configuration".to_owned(), problems)?;
    let mut settings = Settings::default();
    let project = read_project(&reader, &mut settings, problems);
    let description = reader.text("project_description", problems);
    settings.either("project_description", as_given(&description), "");
    let provider = reader.text("provider", problems);
    settings.either("provider", as_given(&provider), DEFAULT_PROVIDER);
    let registry = read_registry(&reader, environment, &mut settings, problems);
    let (offline_store_type, offline_store_position) = read_offline_store(&reader, &mut settings, problems);
    // Feast checks these two strictly; they have no effect on a retrieval.
    reader.count("entity_key_serialization_version", problems);
    reader.boolean("coerce_tz_aware", problems);
    let backsight = read_backsight(&reader, &mut settings, problems);
    warn_of_misspelt_section(&reader, &mut settings);
    Some(FeatureStoreConfig {
        project: project?.value,
        project_description: description.map(|text| text.value).unwrap_or_default(),
        provider: provider.map_or_else(|| DEFAULT_PROVIDER.to_owned(), |text| text.value),
        registry: registry?,
        offline_store_type,
        offline_store_position,
        backsight,
        settings: settings.list,
        warnings: settings.warnings.into_sorted(),
    })
}

pub(super) fn as_given(text: &Option<Spanned<String>>) -> Option<(&str, &Position)> {
    text.as_ref().map(|text| (text.value.as_str(), &text.position))
}

/// A key that must be there, with the nearest key that is.
fn require<'a>(reader: &Reader<'a>, key: &str, why: &str, problems: &mut Problems) -> Option<&'a Node> {
    if let Some(pair) = reader.get(key) {
        return Some(&pair.value);
    }
    let empty = reader.pairs().iter().find(|pair| pair.key.text == key);
    let position = empty.map_or(reader.position, |pair| &pair.key.position);
    let given = reader.pairs().iter().map(|pair| pair.key.text.as_str()).filter(|given| *given != key);
    let near = crate::nearest::nearest(key, given);
    let hint =
        near.map_or_else(|| why.to_owned(), |near| format!("did you mean `{key}` instead of `{near}`?"));
    problems.push_hint(position, format!("`{key}` is not set, but is required"), hint);
    None
}

fn read_project(
    reader: &Reader<'_>,
    settings: &mut Settings,
    problems: &mut Problems,
) -> Option<Spanned<String>> {
    let node = require(reader, "project", "it names whose objects of the registry are meant", problems)?;
    let project = text_of(node, "`project`", problems)?;
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let rule = "letters, digits and `_`, not starting with `_`";
    if project.value.is_empty() || project.value.starts_with('_') || !project.value.chars().all(is_word) {
        let message = format!("`{}` is not a project name; allowed: {rule}", project.value);
        let hint = project.value.contains('-').then(|| "Feast refuses `-` as well; write `_`".to_owned());
        problems.add(&project.position, message, hint);
    }
    settings.given("project", &project.value, &project.position);
    Some(project)
}

fn read_registry(
    reader: &Reader<'_>,
    environment: &Environment,
    settings: &mut Settings,
    problems: &mut Problems,
) -> Option<RegistryConfig> {
    let why = "it says where the registry is, for example `data/registry.db` or `s3://bucket/registry.pb`";
    let node = require(reader, "registry", why, problems)?;
    let mut cache_ttl = None;
    let path = match &node.value {
        Value::Mapping(_) => {
            let inner = Reader::open_any(node, "`registry`".to_owned(), problems)?;
            let is_file = check_registry_type(&inner, problems);
            check_store_type(&inner, problems);
            cache_ttl = inner.count("cache_ttl_seconds", problems);
            if let Some(pair) = inner.get("s3_additional_kwargs") {
                // Their values may be keys of encryption: they are not even looked at.
                let message =
                    "`s3_additional_kwargs` of `registry` is not passed on to S3 by Backsight's writes";
                settings.warnings.push(&pair.key.position, message);
            }
            if !is_file {
                return None;
            }
            inner.required_text("path", problems)
        }
        Value::Scalar(_) => text_of(node, "`registry`", problems),
        Value::Sequence(_) => {
            problems.push(&node.position, "`registry` must be a path, a URI or a mapping, got a list");
            None
        }
    }?;
    if !check_registry_path(&path, problems) {
        return None;
    }
    settings.given("registry.path", &path.value, &path.position);
    let ttl = cache_ttl.as_ref().map(|ttl| (ttl.value.to_string(), &ttl.position));
    let given = ttl.as_ref().map(|(ttl, position)| (ttl.as_str(), *position));
    settings.either("registry.cache_ttl_seconds", given, &DEFAULT_CACHE_TTL_SECONDS.to_string());
    let s3_endpoint =
        environment.get(REGISTRY_ENDPOINT_VARIABLE).filter(|endpoint| !endpoint.is_empty()).cloned();
    settings.list.push(Setting {
        key: "registry.s3_endpoint",
        value: s3_endpoint.clone().unwrap_or_default(),
        origin: match s3_endpoint {
            Some(_) => Origin::Environment(REGISTRY_ENDPOINT_VARIABLE.to_owned()),
            None => Origin::Default,
        },
    });
    Some(RegistryConfig {
        path: path.value,
        s3_endpoint,
        cache_ttl_seconds: cache_ttl.map_or(DEFAULT_CACHE_TTL_SECONDS, |ttl| ttl.value),
        position: path.position,
    })
}

/// Whether the registry is a file, as far as its type says.
fn check_registry_type(registry: &Reader<'_>, problems: &mut Problems) -> bool {
    let Some(kind) = registry.text("registry_type", problems) else { return true };
    let message = match kind.value.as_str() {
        "file" => return true,
        "sql" | "snowflake.registry" | "remote" => {
            format!("registry type `{}` is not supported; allowed: `file`", kind.value)
        }
        other => format!("unknown registry type `{other}`; allowed: `file`"),
    };
    let hint = "Backsight reads and writes Feast's registry file, local or in an object store";
    problems.push_hint(&kind.position, message, hint);
    false
}

fn check_store_type(registry: &Reader<'_>, problems: &mut Problems) {
    let Some(kind) = registry.text("registry_store_type", problems) else { return };
    if REGISTRY_STORES.contains(&kind.value.as_str()) {
        return;
    }
    let allowed: Vec<String> = REGISTRY_STORES.iter().map(|store| format!("`{store}`")).collect();
    let message =
        format!("registry store `{}` is not supported; allowed: {}", kind.value, allowed.join(", "));
    problems.push(&kind.position, message);
}

/// Whether the path is one we can open. The message shows no more of a URI than its scheme: it may hold a password.
fn check_registry_path(path: &Spanned<String>, problems: &mut Problems) -> bool {
    if path.value.trim().is_empty() {
        problems.push(&path.position, "the path of the registry must not be empty");
        return false;
    }
    let Some((scheme, _)) = path.value.split_once("://") else { return true };
    // The folder plays no part where there is a scheme.
    let parsed = Location::parse(&path.value, Path::new("/"), None);
    if let Err(StorageError::UnknownScheme { .. }) = parsed {
        let message = format!(
            "a registry at `{scheme}://` is not supported; allowed: a path, {OBJECT_STORE_SCHEMES}, `file://`"
        );
        problems.push(&path.position, message);
    } else if holds_credentials(&path.value) {
        let message = "the URI of the registry must not hold a user, a password or a signature";
        problems.push_hint(&path.position, message, "credentials come from the environment");
    } else if let Err(error) = parsed {
        problems.push(&path.position, error.to_string());
    } else {
        return true;
    }
    false
}

fn read_offline_store(
    reader: &Reader<'_>,
    settings: &mut Settings,
    problems: &mut Problems,
) -> (String, Position) {
    let default = |settings: &mut Settings| {
        settings.unset("offline_store.type", DEFAULT_OFFLINE_STORE);
        (DEFAULT_OFFLINE_STORE.to_owned(), reader.position.clone())
    };
    let Some(pair) = reader.get("offline_store") else { return default(settings) };
    let node = &pair.value;
    let kind = match &node.value {
        Value::Mapping(_) => match Reader::open_any(node, "`offline_store`".to_owned(), problems) {
            Some(inner) => inner.text("type", problems),
            None => None,
        },
        Value::Scalar(_) => text_of(node, "`offline_store`", problems),
        Value::Sequence(_) => {
            problems.push(&node.position, "`offline_store` must be a type or a mapping, got a list");
            None
        }
    };
    let Some(kind) = kind else { return default(settings) };
    check_offline_store(node, &kind, problems);
    settings.given("offline_store.type", &kind.value, &kind.position);
    (kind.value, kind.position)
}

/// Feast refuses unknown types, and unknown keys of the types it knows.
fn check_offline_store(node: &Node, kind: &Spanned<String>, problems: &mut Problems) {
    let name = kind.value.as_str();
    let what = format!("`offline_store` of type `{name}`");
    if matches!(node.value, Value::Mapping(_)) && FILE_STORES.contains(&name) {
        const DUCKDB: Keys = Keys {
            allowed: &["type", "staging_location", "staging_location_endpoint_override"],
            refused: &[],
        };
        const FILE: Keys = Keys { allowed: &["type"], refused: &[] };
        let keys = if name == "duckdb" { &DUCKDB } else { &FILE };
        Reader::open(node, what, keys, problems);
    }
    let is_class = name.contains('.') && name.ends_with("OfflineStore");
    if !FILE_STORES.contains(&name) && !OTHER_STORES.contains(&name) && !is_class {
        let known = || FILE_STORES.iter().chain(&OTHER_STORES).copied();
        let message = format!("unknown offline store `{name}`; Feast knows {}", quoted_list(known()));
        problems.add(&kind.position, message, did_you_mean(name, known()));
    }
}

/// A top-level key that is nearly ours would be ignored in silence.
fn warn_of_misspelt_section(reader: &Reader<'_>, settings: &mut Settings) {
    if reader.get("backsight").is_some() {
        return;
    }
    for pair in reader.pairs() {
        if pair.key.text != "backsight" && did_you_mean(&pair.key.text, ["backsight"]).is_some() {
            let message = format!("key `{}` has no effect", pair.key.text);
            settings.warnings.push_hint(&pair.key.position, message, "did you mean `backsight`?");
        }
    }
}
