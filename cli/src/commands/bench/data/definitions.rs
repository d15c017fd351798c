//! A workload as a feature repo: configuration and definitions as a user would write them, and the peers' description.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::commands::bench::spec::{FeatureType, KeyType, Layout, Skew, Spec, TYPES};

/// The service of all features.
pub(crate) const SERVICE: &str = "bench";

/// `feature_store.yaml`.
pub(crate) fn feature_store() -> String {
    "project: bench\nprovider: local\nregistry: registry.pb\noffline_store:\n  type: duckdb\nonline_store:\n  \
     type: sqlite\n  path: online.db\nentity_key_serialization_version: 3\n"
        .to_owned()
}

/// The definitions. `folder` is where the files are, as a URI that ends with a slash, or empty when they are in the
/// repo.
pub(crate) fn definitions(spec: &Spec, folder: &str) -> String {
    let mut text = format!("# Made by `backsight bench generate` for the workload {}.\n", spec.name);
    for entity in &spec.entities {
        for (number, (name, join_key)) in
            entity_names(&entity.name, entity.columns).zip(entity.join_keys()).enumerate()
        {
            let rule = if number == 0 && text.lines().count() == 1 { "" } else { "---\n" };
            let value_type = match entity.key_type {
                KeyType::Int64 => "INT64",
                KeyType::String => "STRING",
            };
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "{rule}kind: Entity\nname: {name}\njoin_keys: [{join_key}]\nvalue_type: {value_type}\n"
            );
        }
    }
    for view in &spec.views {
        let name = &view.name;
        let path = Value::String(format!("{folder}{name}"));
        let _ = write!(
            text,
            "---\nkind: FileSource\nname: {name}_source\npath: {path}\ntimestamp_field: event_timestamp\n\
             created_timestamp_column: created\n"
        );
        let entity = spec.entities.get(view.entity);
        let entities = entity.map(|entity| entity_names(&entity.name, entity.columns).collect::<Vec<_>>());
        let entities = entities.unwrap_or_default().join(", ");
        let ttl = if view.ttl_hours == 0 { String::new() } else { format!("ttl: {}h\n", view.ttl_hours) };
        let _ = write!(text, "---\nkind: FeatureView\nname: {name}\nentities: [{entities}]\n{ttl}schema:\n");
        for (feature, kind) in view.feature_columns() {
            let _ = writeln!(text, "  - {{name: {feature}, dtype: {}}}", dtype(kind));
        }
        let _ = write!(text, "source: {name}_source\nonline: false\n");
    }
    let views: Vec<&str> = spec.views.iter().map(|view| view.name.as_str()).collect();
    let _ = write!(text, "---\nkind: FeatureService\nname: {SERVICE}\nfeatures: [{}]\n", views.join(", "));
    text
}

/// Feast's entities have one join key each.
fn entity_names(name: &str, columns: u64) -> impl Iterator<Item = String> {
    (1..=columns).map(move |number| if number == 1 { name.to_owned() } else { format!("{name}_{number}") })
}

fn dtype(kind: FeatureType) -> &'static str {
    match kind {
        FeatureType::Float32 => "Float32",
        FeatureType::Float64 => "Float64",
        FeatureType::Int32 => "Int32",
        FeatureType::Int64 => "Int64",
        FeatureType::Bool => "Bool",
        FeatureType::String => "String",
    }
}

/// `workload.json` of the peers' drivers; they know one key column, numbers, and none of the rest.
pub(crate) fn peers_workload(spec: &Spec) -> Option<Value> {
    let [entity] = spec.entities.as_slice() else { return None };
    let is_plain = entity.name == "entity" && entity.columns == 1 && entity.key_type == KeyType::Int64;
    let spine = &spec.spine;
    let is_plain = is_plain && spine.null_keys == 0.0 && spine.null_instants == 0.0;
    let mut views = Vec::new();
    for view in &spec.views {
        let shares = [view.ties, view.null_keys, view.null_values];
        if view.types != TYPES || view.layout != Layout::Slices || shares.iter().any(|&share| share > 0.0) {
            return None;
        }
        let skew = match view.skew {
            Skew::Uniform => json!(0),
            Skew::Zipf(exponent) => json!(exponent),
            Skew::Hot(share) => json!(-share),
        };
        views.push(json!([view.name, view.rows, view.keys, view.features, view.ttl_hours, skew, view.files]));
    }
    is_plain.then(|| {
        json!({
            "name": spec.name,
            "seed": spec.seed,
            "spine": [spine.rows, entity.keys, spine.days],
            "views": views,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::spec::{preset, read};

    #[test]
    fn definitions_are_what_a_user_would_write() {
        let text = "name: x
spine: {rows: 1}
entities: [{name: user, columns: 2, key_type: string}]
views: [{name: a, features: 2, ttl_hours: 0}]";
        let spec = read("x.yaml", text).unwrap();
        let expected = "\
# Made by `backsight bench generate` for the workload x.
kind: Entity
name: user
join_keys: [user_id]
value_type: STRING
---
kind: Entity
name: user_2
join_keys: [user_id_2]
value_type: STRING
---
kind: FileSource
name: a_source
path: \"s3://b/x/a\"
timestamp_field: event_timestamp
created_timestamp_column: created
---
kind: FeatureView
name: a
entities: [user, user_2]
schema:
  - {name: a_f0, dtype: Float64}
  - {name: a_f1, dtype: Float32}
source: a_source
online: false
---
kind: FeatureService
name: bench
features: [a]
";
        assert_eq!(definitions(&spec, "s3://b/x/"), expected);
        assert_eq!(peers_workload(&spec), None, "the peers know one key column");
    }

    #[test]
    fn the_peers_can_run_the_named_workloads() {
        let peers = peers_workload(&preset("hotkey").unwrap()).unwrap();
        let expected = json!(["v0", 20_000_000, 100_000, 6, 168, -0.5, 16]);
        assert_eq!(peers["views"][0], expected);
    }
}
