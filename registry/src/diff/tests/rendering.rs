//! What a plan looks like.

use serde_json::json;

use super::{REPO, definitions, edited, nothing, plan};
use crate::diff::{Plan, diff, plan_json, plan_text};
use crate::model::Catalog;

/// A plan with every kind of line.
pub(super) fn mixed() -> Plan {
    plan(
        REPO,
        &edited(&[
            ("ttl: 1d", "ttl: 36h"),
            ("{name: conv_rate, dtype: Float32}", "{name: conv_rate, dtype: Float64}"),
            ("{name: acc_rate, dtype: Float32, description: accepted}", "{name: trips, dtype: Int64}"),
            ("production: \"True\", team: a", "production: \"False\", level: \"1\""),
            ("name: ask\n", "name: ask\ndescription: of the caller\n"),
            (
                "['driver_stats:conv_rate']",
                "[{view: driver_stats, name: origin, features: [conv_rate], join_key_map: {driver_id: from_id}}]",
            ),
            ("      return out\n", "      # done\n      return out\n"),
        ]),
    )
}

#[test]
fn a_first_plan_shows_what_comes() {
    let plan = diff(&nothing().catalog_or_empty("rides"), &definitions(REPO));
    let expected = r#"+ project rides
+ entity driver
    join_key     driver_id
    value_type   Int64
    description  driver id
+ data source ask
    type           RequestSource
    schema.amount  Float64
+ data source stats
    type                      FileSource
    path                      data/stats.parquet
    timestamp_field           event_timestamp
    created_timestamp_column  created
+ feature view driver_stats
    entities.driver                driver
    join_keys.driver_id            Int64
    features.conv_rate             Float32
    features.acc_rate              Float32
    features.acc_rate.description  accepted
    ttl                            1d
    source                         stats
    online                         true
    enabled                        true
    tags.production                True
    tags.team                      a
+ on-demand feature view derived
    sources.ask                    request source
    sources.driver_stats           feature view driver_stats
    inputs.ask:amount              Float64
    inputs.driver_stats:conv_rate  Float32
    inputs.driver_stats:acc_rate   Float32
    features.sum                   Float64
    mode                           pandas
    udf_name                       derived
    udf
      + def derived(inputs):
      +     out = inputs[[]]
      +     out['sum'] = inputs['conv_rate'] + inputs['amount']
      +     return out
+ feature service model_v1
    features.driver_stats:conv_rate  Float32
+ feature service model_v2
    features.driver_stats:conv_rate  Float32
    features.driver_stats:acc_rate   Float32
    features.derived:sum             Float64

Plan for project `rides`: 8 to create, 0 to update, 0 to delete, 0 unchanged.
"#;
    assert_eq!(plan_text(&plan, false), expected);
}

#[test]
fn a_mixed_plan_is_shown_field_by_field() {
    let expected = r#"~ data source ask
  + description  of the caller
    used by on-demand feature view derived, feature service model_v2
~ feature view driver_stats
  ~ features.conv_rate             Float32 -> Float64
  - features.acc_rate              Float32
  - features.acc_rate.description  accepted
  + features.trips                 Int64
  ~ ttl                            1d -> 1d12h
  ~ tags.production                True -> False
  - tags.team                      a
  + tags.level                     1
  ! breaks on-demand feature view derived: feature `driver_stats:acc_rate` is gone
  ! breaks on-demand feature view derived: feature `driver_stats:conv_rate` becomes Float64, it was Float32
  ! breaks feature service model_v2: feature `driver_stats:acc_rate` is gone
  ! breaks feature service model_v2: feature `driver_stats:conv_rate` becomes Float64, it was Float32
    changes feature service model_v1
~ on-demand feature view derived
  - inputs.driver_stats:acc_rate  Float32
  + inputs.driver_stats:trips     Int64
  ~ udf
            out = inputs[[]]
            out['sum'] = inputs['conv_rate'] + inputs['amount']
      +     # done
            return out
    changes feature service model_v2
~ feature service model_v1
  + views.origin                     driver_stats
  - features.driver_stats:conv_rate  Float32
  + features.origin:conv_rate        Float64
  + join_key_map.origin.driver_id    from_id
~ feature service model_v2
  - features.driver_stats:acc_rate  Float32
  + features.driver_stats:trips     Int64

Plan for project `rides`: 0 to create, 5 to update, 0 to delete, 3 unchanged. 1 change breaks 2 objects.
"#;
    assert_eq!(plan_text(&mixed(), false), expected);
}

#[test]
fn colour_adds_nothing_but_colour() {
    let text = plan_text(&mixed(), true);
    assert!(
        text.contains("\u{1b}[33m~\u{1b}[0m feature view \u{1b}[1m\u{1b}[33mdriver_stats\u{1b}[0m\n"),
        "{text}"
    );
    let mut plain = text;
    for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, plan_text(&mixed(), false));
}

#[test]
fn no_changes_says_so() {
    assert_eq!(
        plan_text(&plan(REPO, REPO), true),
        "No changes: the registry holds project `rides` as it is defined (8 objects).\n"
    );
}

#[test]
fn deletions_are_named_and_the_project_stays() {
    let expected = r#"- entity driver
- data source ask
- data source stats
- feature view driver_stats
- on-demand feature view derived
- feature service model_v1
- feature service model_v2

Plan for project `rides`: 0 to create, 0 to update, 7 to delete, 1 unchanged.
"#;
    assert_eq!(plan_text(&plan(REPO, ""), false), expected);
}

#[test]
fn json_is_a_contract() {
    let after = edited(&[
        ("ttl: 1d", "ttl: 2d"),
        (
            "{name: acc_rate, dtype: Float32, description: accepted}",
            "{name: acc_rate, dtype: Float64, description: a}",
        ),
        ("kind: FeatureService\nname: model_v1\nfeatures: ['driver_stats:conv_rate']\n---\n", ""),
    ]);
    let expected = json!({
        "project": "rides",
        "has_changes": true,
        "summary": {"created": 0, "updated": 1, "deleted": 1, "unchanged": 6, "breaking": 1, "broken": 2},
        "changes": [
            {
                "action": "update",
                "kind": "feature_view",
                "name": "driver_stats",
                "fields": [
                    {"field": "features", "key": "acc_rate", "attribute": null, "old": "Float32", "new": "Float64"},
                    {
                        "field": "features",
                        "key": "acc_rate",
                        "attribute": "description",
                        "old": "accepted",
                        "new": "a",
                    },
                    {"field": "ttl", "key": null, "attribute": null, "old": "1d", "new": "2d"},
                ],
                "used_by": [
                    {"kind": "on_demand_feature_view", "name": "derived", "effect": "breaks"},
                    {"kind": "feature_service", "name": "model_v2", "effect": "breaks"},
                ],
                "breaks": [
                    {
                        "kind": "on_demand_feature_view",
                        "name": "derived",
                        "reason": "feature `driver_stats:acc_rate` becomes Float64, it was Float32",
                    },
                    {
                        "kind": "feature_service",
                        "name": "model_v2",
                        "reason": "feature `driver_stats:acc_rate` becomes Float64, it was Float32",
                    },
                ],
            },
            {
                "action": "delete",
                "kind": "feature_service",
                "name": "model_v1",
                "fields": [
                    {
                        "field": "features",
                        "key": "driver_stats:conv_rate",
                        "attribute": null,
                        "old": "Float32",
                        "new": null,
                    },
                ],
                "used_by": [],
                "breaks": [],
            },
        ],
        "unchanged": [
            {"kind": "project", "name": "rides"},
            {"kind": "entity", "name": "driver"},
            {"kind": "data_source", "name": "ask"},
            {"kind": "data_source", "name": "stats"},
            {"kind": "on_demand_feature_view", "name": "derived"},
            {"kind": "feature_service", "name": "model_v2"},
        ],
        "not_managed": [],
        "conflicts": [],
    });
    assert_eq!(plan_json(&plan(REPO, &after)), expected);
}

#[test]
fn control_characters_of_a_registry_do_not_reach_the_terminal() {
    let mut current = Catalog { project: "rides".to_owned(), ..Catalog::default() };
    current.unmanaged.push(("Permission".to_owned(), "bad\u{1b}[2J".to_owned()));
    let mut wanted = definitions(REPO);
    wanted.entities[0].description = "bell\u{7}".to_owned();
    let text = plan_text(&diff(&current, &wanted), false);
    assert!(!text.contains(['\u{1b}', '\u{7}']), "{text}");
    assert!(text.contains("Permission bad\\u{1b}[2J"), "{text}");
}
