//! Sound repos: what each kind becomes.

use std::collections::BTreeMap;

use super::{BASE, check};
use crate::kind::Kind;
use crate::model::*;

fn field(name: &str, value_type: i32) -> Field {
    Field {
        name: name.to_owned(),
        value_type: ValueType(value_type),
        description: String::new(),
        tags: Tags::new(),
    }
}

fn tags<const N: usize>(pairs: [(&str, &str); N]) -> Tags {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn every_kind_is_read() {
    let text = r#"--- all.yaml
kind: Project
name: rides
tags: {team: ml}
owner: ml@example.com
---
kind: Entity
name: driver
value_type: STRING
description: who drives
tags: {production: "True"}
owner: ops
---
kind: FileSource
path: s3://bucket/stats/*.parquet
s3_endpoint_override: http://127.0.0.1:9000
timestamp_field: ts
created_timestamp_column: created
date_partition_column: ds
field_mapping: {raw: clean}
---
kind: FeatureView
name: stats
entities: [driver]
ttl: 90m
schema:
  - {name: clean, dtype: Float64, description: d, tags: {a: b}}
  - {name: driver, dtype: String, description: key}
  - {name: list, dtype: Array(Int64)}
source: s3://bucket/stats/*.parquet
online: false
enabled: no
tags: {production: "True"}
---
kind: RequestSource
name: ask
schema: [{name: amount, dtype: Int64}]
---
kind: OnDemandFeatureView
name: derived
sources: [{view: stats, name: s, features: [clean]}, ask]
schema: [{name: sum, dtype: Float64}]
mode: Python
udf: |
  import math

  def add(inputs):
      return {"sum": inputs["clean"]}
---
kind: FeatureService
name: model
features:
  - stats
  - {view: stats, name: origin, features: [list, clean], join_key_map: {driver: origin_id}}
  - derived:sum
description: all
"#;
    let repo = check(text).unwrap();
    assert_eq!(repo.warnings.len(), 1, "{:?}", repo.warnings);
    assert_eq!(
        repo.warnings[0].to_string(),
        "all.yaml:52:5: FeatureService `model` has view `stats` with and without a `name`\n  hint: Backsight serves \
         it, Feast's own retrieval fails on it; give each a `name`"
    );
    let production = tags([("production", "True")]);
    let source = DataSource {
        name: "s3://bucket/stats/*.parquet".to_owned(),
        kind: SourceKind::File {
            path: "s3://bucket/stats/*.parquet".to_owned(),
            s3_endpoint_override: Some("http://127.0.0.1:9000".to_owned()),
            delta: false,
        },
        timestamp_field: "ts".to_owned(),
        created_timestamp_column: Some("created".to_owned()),
        date_partition_column: Some("ds".to_owned()),
        field_mapping: tags([("raw", "clean")]),
        description: String::new(),
        tags: Tags::new(),
        owner: String::new(),
    };
    let ask = DataSource {
        name: "ask".to_owned(),
        kind: SourceKind::Request { schema: vec![field("amount", 4)] },
        timestamp_field: String::new(),
        created_timestamp_column: None,
        date_partition_column: None,
        field_mapping: BTreeMap::new(),
        ..source.clone()
    };
    let clean = Field { description: "d".to_owned(), tags: tags([("a", "b")]), ..field("clean", 5) };
    let expected = Definitions {
        project: Project {
            name: "rides".to_owned(),
            description: "from the configuration".to_owned(),
            tags: tags([("team", "ml")]),
            owner: "ml@example.com".to_owned(),
        },
        entities: vec![Entity {
            name: "driver".to_owned(),
            join_key: "driver".to_owned(),
            value_type: ValueType(2),
            description: "who drives".to_owned(),
            tags: production.clone(),
            owner: "ops".to_owned(),
        }],
        data_sources: vec![source.clone(), ask.clone()],
        feature_views: vec![FeatureView {
            name: "stats".to_owned(),
            kind: ViewKind::Feature,
            entities: vec!["driver".to_owned()],
            join_keys: vec![Field { description: "key".to_owned(), ..field("driver", 2) }],
            features: vec![clean.clone(), field("list", 14)],
            ttl: Ttl::from_nanos(90 * 60 * 1_000_000_000),
            source,
            online: false,
            disabled: true,
            state: 0,
            description: String::new(),
            tags: production,
            owner: String::new(),
        }],
        on_demand_feature_views: vec![OnDemandFeatureView {
            name: "derived".to_owned(),
            features: vec![field("sum", 5)],
            inputs: BTreeMap::from([
                ("ask".to_owned(), OnDemandInput::Request(ask)),
                (
                    "s".to_owned(),
                    OnDemandInput::View(Projection {
                        view: "stats".to_owned(),
                        alias: Some("s".to_owned()),
                        features: vec![clean.clone()],
                        join_key_map: BTreeMap::new(),
                    }),
                ),
            ]),
            mode: "python".to_owned(),
            transformation: Some((
                "add".to_owned(),
                "import math\n\ndef add(inputs):\n    return {\"sum\": inputs[\"clean\"]}\n".to_owned(),
            )),
            description: String::new(),
            tags: Tags::new(),
            owner: String::new(),
        }],
        feature_services: vec![FeatureService {
            name: "model".to_owned(),
            projections: vec![
                Projection {
                    view: "stats".to_owned(),
                    alias: None,
                    features: vec![clean.clone(), field("list", 14)],
                    join_key_map: BTreeMap::new(),
                },
                Projection {
                    view: "stats".to_owned(),
                    alias: Some("origin".to_owned()),
                    features: vec![field("list", 14), clean],
                    join_key_map: tags([("driver", "origin_id")]),
                },
                Projection {
                    view: "derived".to_owned(),
                    alias: None,
                    features: vec![field("sum", 5)],
                    join_key_map: BTreeMap::new(),
                },
            ],
            description: "all".to_owned(),
            tags: Tags::new(),
            owner: String::new(),
        }],
    };
    assert_eq!(repo.definitions, expected);
    let places: Vec<String> =
        repo.positions.iter().map(|((kind, name), place)| format!("{kind} {name} {place}")).collect();
    assert_eq!(
        places,
        [
            "project rides all.yaml:2:7",
            "entity driver all.yaml:7:7",
            "data source ask all.yaml:35:7",
            "data source s3://bucket/stats/*.parquet all.yaml:14:7",
            "feature view stats all.yaml:22:7",
            "on-demand feature view derived all.yaml:39:7",
            "feature service model all.yaml:50:7",
        ]
    );
}

#[test]
fn join_keys_stand_in_feasts_order_and_entity_less_views_have_none() {
    let text = format!(
        "{BASE}--- a.yaml
kind: Entity
name: rider
join_keys: [rider_id]
value_type: STRING
---
kind: FeatureView
name: trips
entities: [driver, rider]
schema: [{{name: rider_id, dtype: String}}, {{name: fare, dtype: Float64}}]
source: stats
---
kind: FeatureView
name: weather
ttl: 0
schema: [{{name: rain, dtype: Float64}}]
source: stats
"
    );
    let definitions = check(&text).unwrap().definitions;
    let views = &definitions.feature_views;
    let trips = views.iter().find(|view| view.name == "trips").unwrap();
    assert_eq!(trips.join_keys, [field("rider_id", 2), field("driver_id", 4)]);
    assert_eq!(trips.features, [field("fare", 5)]);
    let weather = views.iter().find(|view| view.name == "weather").unwrap();
    assert!(weather.entities.is_empty() && weather.join_keys.is_empty());
    assert_eq!((weather.ttl, weather.online, weather.disabled), (None, true, false));
}

#[test]
fn definitions_do_not_depend_on_the_order_of_files() {
    let backwards = "--- a.yaml
kind: FeatureService
name: m
features: [driver_stats]
";
    let repo = check(&format!("{backwards}{BASE}")).unwrap();
    assert_eq!(repo.definitions.feature_services[0].projections[0].features.len(), 2);
    assert_eq!(repo.positions[&(Kind::FeatureService, "m".to_owned())].to_string(), "a.yaml:2:7");
}

#[test]
fn an_empty_repo_is_a_warning() {
    for text in ["", "--- a.yaml\n# nothing\n", "--- a.yaml\n---\n---\n"] {
        let repo = check(text).unwrap();
        assert_eq!(
            repo.warnings[0].to_string(),
            ".: the repo defines nothing\n  hint: apply would leave project `rides` empty; definitions are `*.yaml` \
             files below the repo"
        );
    }
}

#[test]
fn offline_is_a_warning() {
    let text = format!(
        "{BASE}--- a.yaml\nkind: FeatureView\nname: v\noffline: true\nschema: [{{name: a, dtype: Int64}}]\nsource: stats\n"
    );
    let repo = check(&text).unwrap();
    assert_eq!(
        repo.warnings[0].to_string(),
        "a.yaml:3:10: `offline: true` of FeatureView `v` has no effect: Backsight does not write sources"
    );
}
