//! Reads a workload from YAML or JSON; every problem is found, each with its place.

use std::sync::Arc;

use backsight_registry::nearest::{did_you_mean, quoted_list};
use backsight_registry::problem::{Position, Problem, Problems};
use backsight_registry::yaml::{Keys, Limits, Node, Reader, Value, parse};

use super::{EntitySpec, FeatureType, KeyType, Layout, ROW_GROUP_ROWS, Skew, Spec, SpineSpec, ViewSpec};

const SPEC: Keys = Keys { allowed: &["name", "seed", "spine", "entities", "views"], refused: &[] };
const SPINE: Keys = Keys {
    allowed: &["rows", "days", "files", "null_keys", "null_instants", "ties", "row_group_rows"],
    refused: &[],
};
const ENTITY: Keys = Keys { allowed: &["name", "keys", "columns", "key_type", "skew"], refused: &[] };
const VIEW: Keys = Keys {
    allowed: &[
        "name",
        "entity",
        "rows",
        "keys",
        "skew",
        "features",
        "types",
        "ttl_hours",
        "files",
        "layout",
        "disorder",
        "late",
        "late_hours",
        "ties",
        "null_keys",
        "null_values",
        "row_group_rows",
        "page_rows",
    ],
    refused: &[],
};
const SKEW: Keys = Keys { allowed: &["zipf", "hot"], refused: &[] };

/// Reads the text of a file.
///
/// # Errors
/// All problems, by place.
pub(crate) fn read(file: &str, text: &str) -> Result<Spec, Vec<Problem>> {
    let file: Arc<str> = file.into();
    let parsed = parse(&file, text, &Limits::default());
    let mut problems = Problems::default();
    problems.extend(parsed.problems);
    let place = Position::whole_file(Arc::clone(&file));
    let spec = match parsed.documents.as_slice() {
        [node] => spec_of(node, &mut problems),
        documents => {
            problems.push(&place, format!("a workload is one document, got {}", documents.len()));
            None
        }
    };
    if let Some(spec) = &spec {
        spec.problems().into_iter().for_each(|problem| problems.push(&place, problem));
    }
    match (spec, problems.count()) {
        (Some(spec), 0) => Ok(spec),
        (_, _) => Err(problems.into_sorted()),
    }
}

/// Reads what [`Spec::json`] wrote.
///
/// # Errors
/// All problems, by place.
pub(crate) fn read_value(file: &str, value: &serde_json::Value) -> Result<Spec, Vec<Problem>> {
    read(file, &value.to_string())
}

fn spec_of(node: &Node, problems: &mut Problems) -> Option<Spec> {
    let reader = Reader::open(node, "the workload".to_owned(), &SPEC, problems)?;
    let name = reader.required_text("name", problems).map(|name| name.value);
    let seed = reader.count("seed", problems).map_or(7, |seed| seed.value);
    let spine = reader.require("spine", problems).and_then(|pair| spine_of(&pair.value, problems));
    let entities = match reader.get("entities") {
        None => vec![default_entity()],
        Some(_) => items(&reader, "entities", problems, entity_of),
    };
    let views = reader
        .require("views", problems)
        .map(|_| items(&reader, "views", problems, |node, problems| view_of(node, &entities, problems)));
    Some(Spec { name: name?, seed, spine: spine?, views: views?, entities })
}

fn items<T>(
    reader: &Reader<'_>,
    key: &str,
    problems: &mut Problems,
    mut each: impl FnMut(&Node, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let nodes = reader.list(key, problems).unwrap_or_default();
    nodes.iter().filter_map(|node| each(node, problems)).collect()
}

fn default_entity() -> EntitySpec {
    EntitySpec {
        name: "entity".to_owned(),
        keys: 100_000,
        columns: 1,
        key_type: KeyType::Int64,
        skew: Skew::Uniform,
    }
}

fn spine_of(node: &Node, problems: &mut Problems) -> Option<SpineSpec> {
    let reader = Reader::open(node, "the spine".to_owned(), &SPINE, problems)?;
    reader.require("rows", problems);
    Some(SpineSpec {
        rows: reader.count("rows", problems)?.value,
        days: count(&reader, "days", 30, problems),
        files: count(&reader, "files", 1, problems),
        null_keys: share(&reader, "null_keys", 0.0, problems),
        null_instants: share(&reader, "null_instants", 0.0, problems),
        ties: share(&reader, "ties", 0.0, problems),
        row_group_rows: count(&reader, "row_group_rows", ROW_GROUP_ROWS, problems),
    })
}

fn entity_of(node: &Node, problems: &mut Problems) -> Option<EntitySpec> {
    let reader = Reader::open(node, "an entity".to_owned(), &ENTITY, problems)?;
    let name = reader.required_text("name", problems);
    let default = default_entity();
    let key_type = choice(&reader, "key_type", default.key_type, &KeyType::NAMES, KeyType::of, problems);
    let spec = EntitySpec {
        keys: count(&reader, "keys", default.keys, problems),
        columns: count(&reader, "columns", default.columns, problems),
        key_type,
        skew: skew(&reader, default.skew, problems),
        ..default
    };
    Some(EntitySpec { name: name?.value, ..spec })
}

fn view_of(node: &Node, entities: &[EntitySpec], problems: &mut Problems) -> Option<ViewSpec> {
    let reader = Reader::open(node, "a view".to_owned(), &VIEW, problems)?;
    let name = reader.required_text("name", problems);
    let entity = match reader.text("entity", problems) {
        None => 0,
        Some(given) => entities.iter().position(|entity| entity.name == given.value).unwrap_or_else(|| {
            let names = entities.iter().map(|entity| entity.name.as_str());
            let message =
                format!("there is no entity `{}`; there are: {}", given.value, quoted_list(names.clone()));
            problems.add(&given.position, message, did_you_mean(&given.value, names));
            0
        }),
    };
    let of = entities.get(entity).cloned().unwrap_or_else(default_entity);
    let default = ViewSpec::new("", entity, &of);
    let types = types(&reader, problems).unwrap_or_else(|| default.types.clone());
    let layouts = [Layout::Slices.name(), Layout::Hive.name()];
    let spec = ViewSpec {
        rows: count(&reader, "rows", default.rows, problems),
        keys: count(&reader, "keys", default.keys, problems),
        skew: skew(&reader, default.skew, problems),
        features: count(&reader, "features", default.features, problems),
        types,
        ttl_hours: count(&reader, "ttl_hours", default.ttl_hours, problems),
        files: count(&reader, "files", default.files, problems),
        layout: choice(&reader, "layout", default.layout, &layouts, Layout::of, problems),
        disorder: share(&reader, "disorder", default.disorder, problems),
        late: share(&reader, "late", default.late, problems),
        late_hours: count(&reader, "late_hours", default.late_hours, problems),
        ties: share(&reader, "ties", default.ties, problems),
        null_keys: share(&reader, "null_keys", default.null_keys, problems),
        null_values: share(&reader, "null_values", default.null_values, problems),
        row_group_rows: count(&reader, "row_group_rows", default.row_group_rows, problems),
        page_rows: count(&reader, "page_rows", default.page_rows, problems),
        ..default
    };
    Some(ViewSpec { name: name?.value, ..spec })
}

fn count(reader: &Reader<'_>, key: &str, default: u64, problems: &mut Problems) -> u64 {
    reader.count(key, problems).map_or(default, |count| count.value)
}

fn share(reader: &Reader<'_>, key: &str, default: f64, problems: &mut Problems) -> f64 {
    reader.number(key, problems).map_or(default, |share| share.value)
}

fn choice<T>(
    reader: &Reader<'_>,
    key: &str,
    default: T,
    names: &[&str],
    of: impl Fn(&str) -> Option<T>,
    problems: &mut Problems,
) -> T {
    let Some(given) = reader.text(key, problems) else { return default };
    of(&given.value).unwrap_or_else(|| {
        let allowed = quoted_list(names.iter().copied());
        let message = format!("`{key}` of {} must be one of {allowed}, got `{}`", reader.what, given.value);
        problems.add(&given.position, message, did_you_mean(&given.value, names.iter().copied()));
        default
    })
}

fn types(reader: &Reader<'_>, problems: &mut Problems) -> Option<Vec<FeatureType>> {
    let names = FeatureType::ALL.map(FeatureType::name);
    let given = reader.get("types").and_then(|_| reader.texts("types", problems))?;
    let mut types = Vec::new();
    for name in given {
        match FeatureType::of(&name.value) {
            Some(kind) => types.push(kind),
            None => {
                let message = format!("unknown type `{}`; allowed: {}", name.value, quoted_list(names));
                problems.add(&name.position, message, did_you_mean(&name.value, names));
            }
        }
    }
    Some(types)
}

/// `uniform`, `{zipf: 1.2}` or `{hot: 0.5}`.
fn skew(reader: &Reader<'_>, default: Skew, problems: &mut Problems) -> Skew {
    let Some(pair) = reader.get("skew") else { return default };
    if let Value::Scalar(scalar) = &pair.value.value {
        if scalar.text != "uniform" {
            let message = format!(
                "`skew` of {} must be `uniform`, `{{zipf: EXPONENT}}` or `{{hot: SHARE}}`, got {}",
                reader.what,
                pair.value.describe()
            );
            problems.push(&pair.value.position, message);
        }
        return Skew::Uniform;
    }
    let what = format!("`skew` of {}", reader.what);
    let Some(inner) = Reader::open(&pair.value, what.clone(), &SKEW, problems) else { return default };
    match (inner.number("zipf", problems), inner.number("hot", problems)) {
        (Some(exponent), None) => Skew::Zipf(exponent.value),
        (None, Some(share)) => Skew::Hot(share.value),
        _ => {
            problems.push(&pair.value.position, format!("{what} has either `zipf` or `hot`, as a number"));
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::spec::{PRESETS, preset};

    #[test]
    fn what_is_not_said_has_a_default() {
        let spec =
            read("w.yaml", "name: mine\nspine: {rows: 10}\nviews: [{name: a, skew: {hot: 0.5}}]\n").unwrap();
        assert_eq!((spec.seed, spec.spine.days, spec.entities.len()), (7, 30, 1));
        let view = &spec.views[0];
        assert_eq!((view.keys, view.ttl_hours, view.skew), (100_000, 168, Skew::Hot(0.5)));
        let columns: Vec<_> = view.feature_columns().take(2).collect();
        assert_eq!(columns, [("a_f0".into(), FeatureType::Float64), ("a_f1".into(), FeatureType::Float32)]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for name in PRESETS {
            let spec = preset(name).unwrap();
            assert_eq!(read_value("bench.json", &spec.json()).unwrap(), spec, "{name}");
        }
    }

    #[test]
    fn all_problems_come_together_with_their_places() {
        let text = "name: mine
spine: {rows: 0, days: many}
entities:
  - {name: user, key_type: int}
views:
  - {name: a, entity: usr, layout: hives, ties: 0.9}
  - {name: a, types: [float32, text], skew: {zipf: -1}, colour: red}
";
        let found: Vec<String> = read("w.yaml", text).unwrap_err().iter().map(ToString::to_string).collect();
        let expected = [
            "w.yaml: `rows` of the spine must be 1 to 4398046511104, got 0",
            "w.yaml: `skew` of view `a`: `zipf` must be greater than 0, got -1",
            "w.yaml: `ties` of view `a` must be a share from 0 to 0.5, got 0.9",
            "w.yaml: view `a` is there twice, or the name is taken",
            "w.yaml:2:24: `days` of the spine must be a whole number from 0, got the text `many`",
            "w.yaml:4:28: `key_type` of an entity must be one of `int64`, `string`, got `int`",
            "w.yaml:6:23: there is no entity `usr`; there are: `user`",
            "w.yaml:6:36: `layout` of a view must be one of `slices`, `hive`, got `hives`",
            "w.yaml:7:32: unknown type `text`; allowed:",
            "w.yaml:7:57: unknown key `colour` in a view; allowed:",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
        }
    }

    #[test]
    fn what_is_no_workload_is_said_to_be_none() {
        for (text, expected) in [
            ("", "a workload is one document, got 0"),
            ("- 1", "the workload must be a mapping of keys, got a list"),
            ("name: x", "the workload lacks the required key `spine`"),
        ] {
            let found = read("w.yaml", text).unwrap_err();
            assert!(found[0].to_string().contains(expected), "{found:?}");
        }
    }
}
