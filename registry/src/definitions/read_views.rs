//! What feature views, on-demand views and feature services say.

use super::draft::{FieldDraft, InputDraft, OnDemandDraft, ProjectionDraft, ServiceDraft, ViewDraft};
use super::read::{open, read_common, read_schema};
use crate::model::Ttl;
use crate::nearest::did_you_mean;
use crate::problem::Problems;
use crate::ttl::parse_ttl;
use crate::yaml::{Keys, Node, Reader, Resolved, Spanned, Value, text_of};

const ONLY_LATEST: &str = "definitions describe the latest version";

pub(super) fn read_feature_view(document: &Node, problems: &mut Problems) -> Option<ViewDraft> {
    let keys = Keys {
        allowed: &[
            "kind",
            "name",
            "entities",
            "ttl",
            "schema",
            "source",
            "online",
            "offline",
            "enabled",
            "version",
            "description",
            "tags",
            "owner",
        ],
        refused: &[
            ("features", "write `schema`"),
            ("batch_source", "write `source`"),
            ("stream_source", "views on streams are not managed by definitions"),
            ("sink_source", "derived views are not managed by definitions"),
            ("mode", "batch transformations are not managed by definitions"),
            ("org", "Backsight does not keep it"),
            ("enable_validation", "Backsight does not keep it"),
        ],
    };
    let reader = open(document, "FeatureView", &keys, problems)?;
    let name = read_view_name(&reader, problems);
    let entities = read_entities(&reader, problems);
    let ttl = read_ttl(&reader, problems);
    reader.require("schema", problems);
    let schema = read_schema(&reader, problems);
    let source = reader.required_text("source", problems);
    let online = reader.boolean("online", problems).is_none_or(|online| online.value);
    let disabled = reader.boolean("enabled", problems).is_some_and(|enabled| !enabled.value);
    let offline = reader.boolean("offline", problems).filter(|offline| offline.value);
    read_version(&reader, problems);
    let common = read_common(&reader, problems);
    Some(ViewDraft {
        name: name?,
        entities,
        ttl,
        has_schema: schema.is_some(),
        schema: schema.unwrap_or_default(),
        source,
        online,
        offline_at: offline.map(|offline| offline.position),
        disabled,
        common,
    })
}

/// A view's name stands before `:` and `@` in references.
fn read_view_name(reader: &Reader<'_>, problems: &mut Problems) -> Option<Spanned<String>> {
    let name = reader.required_text("name", problems)?;
    check_reference_name(&name, "the name of a view", problems);
    Some(name)
}

fn check_reference_name(name: &Spanned<String>, what: &str, problems: &mut Problems) {
    if let Some(sign) = name.value.chars().find(|letter| matches!(letter, '@' | ':')) {
        let message = format!("{what} must not contain `{sign}`, got `{}`", name.value);
        problems.push_hint(
            &name.position,
            message,
            "references are written `view:feature` and `view@version:feature`",
        );
    }
}

fn read_entities(reader: &Reader<'_>, problems: &mut Problems) -> Vec<Spanned<String>> {
    let mut entities: Vec<Spanned<String>> = Vec::new();
    for entity in reader.texts("entities", problems).unwrap_or_default() {
        if entities.iter().any(|other| other.value == entity.value) {
            let message = format!("entity `{}` is listed twice in {}", entity.value, reader.what);
            problems.push(&entity.position, message);
        } else {
            entities.push(entity);
        }
    }
    entities
}

fn read_ttl(reader: &Reader<'_>, problems: &mut Problems) -> Option<Ttl> {
    let node = &reader.get("ttl")?.value;
    let parsed = match &node.value {
        // Seconds are plain numbers, so the text is taken whatever it resolves to.
        Value::Scalar(scalar) if !matches!(scalar.resolve(), Resolved::Boolean(_)) => parse_ttl(&scalar.text),
        _ => {
            let message =
                format!("`ttl` of {} must be a duration such as `90m`, got {}", reader.what, node.describe());
            problems.push(&node.position, message);
            return None;
        }
    };
    parsed.unwrap_or_else(|error| {
        problems.add(&node.position, format!("{}: {}", reader.what, error.message), error.hint);
        None
    })
}

fn read_version(reader: &Reader<'_>, problems: &mut Problems) {
    if let Some(version) = reader.text("version", problems).filter(|version| version.value != "latest") {
        let message =
            format!("`version: {}` of {} is not supported: {ONLY_LATEST}", version.value, reader.what);
        problems.push(&version.position, message);
    }
}

pub(super) fn read_on_demand_view(document: &Node, problems: &mut Problems) -> Option<OnDemandDraft> {
    let keys = Keys {
        allowed: &[
            "kind",
            "name",
            "sources",
            "schema",
            "mode",
            "udf",
            "udf_name",
            "version",
            "description",
            "tags",
            "owner",
        ],
        refused: &[
            ("entities", "its entities are those of its sources"),
            ("input_schema", "define a RequestSource and list it under `sources`"),
            ("aggregations", "Backsight does not compute them"),
            ("singleton", "it only concerns online serving"),
            ("write_to_online_store", "it only concerns online serving"),
            ("track_metrics", "it only concerns online serving"),
            ("enabled", "leave the definition out instead"),
            ("org", "Backsight does not keep it"),
            ("feature_transformation", "write `udf` and `mode`"),
            ("udf_string", "write `udf`"),
        ],
    };
    let reader = open(document, "OnDemandFeatureView", &keys, problems)?;
    let name = read_view_name(&reader, problems);
    let inputs = read_inputs(&reader, problems);
    reader.require("schema", problems);
    let schema: Vec<FieldDraft> = read_schema(&reader, problems).unwrap_or_default();
    let mode = read_mode(&reader, problems);
    let transformation = read_transformation(&reader, problems);
    read_version(&reader, problems);
    let common = read_common(&reader, problems);
    Some(OnDemandDraft { name: name?, inputs, schema, mode, transformation, common })
}

fn read_mode(reader: &Reader<'_>, problems: &mut Problems) -> String {
    const MODES: [&str; 2] = ["pandas", "python"];
    let Some(mode) = reader.text("mode", problems) else { return MODES[0].to_owned() };
    let lowered = mode.value.to_lowercase();
    if !MODES.contains(&lowered.as_str()) {
        let message = format!("`mode` of {} is `{}`; allowed: `pandas`, `python`", reader.what, mode.value);
        let hint = match lowered.as_str() {
            "sql" | "spark" | "spark_sql" | "trino_sql" | "ray" | "flink" | "substrait" => {
                Some("Feast reads no other mode of an on-demand view from source text".to_owned())
            }
            _ => did_you_mean(&lowered, MODES),
        };
        problems.add(&mode.position, message, hint);
    }
    lowered
}

/// The function's name and text. The name is that of the first `def`, unless it is given.
fn read_transformation(reader: &Reader<'_>, problems: &mut Problems) -> Option<(String, String)> {
    let text = reader.required_text("udf", problems)?;
    let given = reader.text("udf_name", problems);
    let defined: Vec<&str> = text.value.lines().filter_map(function_name).collect();
    match &given {
        Some(name) if !defined.contains(&name.value.as_str()) => {
            let message = format!("the `udf` of {} defines no function `{}`", reader.what, name.value);
            problems.add(&name.position, message, did_you_mean(&name.value, defined));
            None
        }
        Some(name) => Some((name.value.clone(), text.value)),
        None => {
            let Some(name) = defined.first().map(|name| (*name).to_owned()) else {
                let message = format!("the `udf` of {} defines no function", reader.what);
                problems.push_hint(&text.position, message, "write it as `def name(inputs): …`");
                return None;
            };
            Some((name, text.value))
        }
    }
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("def ")?.trim_start();
    let (name, _) = rest.split_once('(')?;
    Some(name.trim_end()).filter(|name| !name.is_empty())
}

fn read_inputs(reader: &Reader<'_>, problems: &mut Problems) -> Vec<InputDraft> {
    reader.require("sources", problems);
    let items = reader.list("sources", problems);
    if items.is_some_and(<[Node]>::is_empty) {
        let message = format!("`sources` of {} must list at least one view or request source", reader.what);
        problems.push(reader.get("sources").map_or(reader.position, |pair| &pair.value.position), message);
    }
    let mut inputs = Vec::new();
    for item in items.unwrap_or_default() {
        let Value::Mapping(pairs) = &item.value else {
            let what = format!("an item of `sources` of {}", reader.what);
            inputs.extend(text_of(item, &what, problems).map(InputDraft::Named));
            continue;
        };
        let what = format!("a source of {}", reader.what);
        if pairs.iter().any(|pair| pair.key.text == "source") {
            let keys = Keys { allowed: &["source"], refused: &[] };
            let inner = Reader::open(item, what, &keys, problems);
            inputs.extend(
                inner.and_then(|inner| inner.required_text("source", problems)).map(InputDraft::Source),
            );
        } else {
            let keys = Keys {
                allowed: &["view", "name", "features", "source"],
                refused: &[("join_key_map", "an on-demand view takes its sources by their own keys")],
            };
            let inner = Reader::open(item, what, &keys, problems);
            inputs.extend(inner.and_then(|inner| read_projection(&inner, problems)).map(InputDraft::View));
        }
    }
    inputs
}

/// A mapping that selects a view, or a part of it.
fn read_projection(reader: &Reader<'_>, problems: &mut Problems) -> Option<ProjectionDraft> {
    let view = reader.required_text("view", problems);
    let alias = reader.text("name", problems).filter(|alias| !alias.value.is_empty());
    if let Some(alias) = &alias {
        check_reference_name(alias, "the name of a projection", problems);
    }
    let features = reader.texts("features", problems);
    if features.as_ref().is_some_and(Vec::is_empty)
        && reader.list("features", problems).is_some_and(<[Node]>::is_empty)
    {
        let place = reader.get("features").map_or(reader.position, |pair| &pair.value.position);
        let message = format!("`features` of {} selects nothing", reader.what);
        problems.push_hint(place, message, "leave it out to take the whole view");
    }
    let features = features.map(|features| without_repeats(features, &reader.what, problems));
    let join_key_map = reader.text_pairs("join_key_map", problems);
    Some(ProjectionDraft { view: view?, alias, features, join_key_map })
}

fn without_repeats(
    features: Vec<Spanned<String>>,
    what: &str,
    problems: &mut Problems,
) -> Vec<Spanned<String>> {
    let mut unique: Vec<Spanned<String>> = Vec::new();
    for feature in features {
        if unique.iter().any(|other| other.value == feature.value) {
            problems
                .push(&feature.position, format!("feature `{}` is listed twice in {what}", feature.value));
        } else {
            unique.push(feature);
        }
    }
    unique
}

pub(super) fn read_feature_service(document: &Node, problems: &mut Problems) -> Option<ServiceDraft> {
    let keys = Keys {
        allowed: &["kind", "name", "features", "description", "tags", "owner"],
        refused: &[
            ("logging_config", "logging belongs to the feature server"),
            ("precompute_online", "it only concerns online serving"),
        ],
    };
    let reader = open(document, "FeatureService", &keys, problems)?;
    let name = reader.required_text("name", problems);
    reader.require("features", problems);
    let items = reader.list("features", problems);
    if items.is_some_and(<[Node]>::is_empty) {
        let place = reader.get("features").map_or(reader.position, |pair| &pair.value.position);
        problems.push(place, format!("`features` of {} must list at least one view", reader.what));
    }
    let mut projections = Vec::new();
    for item in items.unwrap_or_default() {
        projections.extend(read_service_item(item, &reader.what, problems));
    }
    let common = read_common(&reader, problems);
    Some(ServiceDraft { name: name?, projections, common })
}

/// `view`, `view:feature`, or a mapping.
fn read_service_item(item: &Node, owner: &str, problems: &mut Problems) -> Option<ProjectionDraft> {
    if let Value::Mapping(_) = &item.value {
        let keys = Keys {
            allowed: &["view", "name", "features", "join_key_map"],
            refused: &[("with_name", "write `name`"), ("alias", "write `name`")],
        };
        let reader = Reader::open(item, format!("an item of `features` of {owner}"), &keys, problems)?;
        return read_projection(&reader, problems);
    }
    let reference = text_of(item, &format!("an item of `features` of {owner}"), problems)?;
    let (view, feature) = match reference.value.split_once(':') {
        Some((view, feature)) => (view.trim(), Some(feature.trim())),
        None => (reference.value.as_str(), None),
    };
    if view.is_empty() || feature.is_some_and(str::is_empty) {
        let message =
            format!("`{}` in {owner} is not a reference; allowed: `view`, `view:feature`", reference.value);
        problems.push(&reference.position, message);
        return None;
    }
    let spanned = |text: &str| Spanned { value: text.to_owned(), position: reference.position.clone() };
    Some(ProjectionDraft {
        view: spanned(view),
        alias: None,
        features: feature.map(|feature| vec![spanned(feature)]),
        join_key_map: Vec::new(),
    })
}
