//! What a change touches, what it breaks, and what is no change at all.

use super::{REPO, applied, catalog, definitions, edited, nothing, plan};
use crate::diff::{Action, Plan, diff};
use crate::document::RegistryDocument;
use crate::kind::Kind;
use crate::model::{DataSource, SourceKind, Tags, ValueType};

/// (claim, edits of the repo, the outline of the plan)
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

/// Every change as one line, and what it breaks.
fn outline(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &plan.changes {
        let fields: Vec<String> = change
            .fields
            .iter()
            .map(|field| {
                let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
                format!("{} {} > {}", field.path(), text(&field.old), text(&field.new))
            })
            .collect();
        lines.push(format!(
            "{} {} {}: {}",
            change.action.key(),
            change.object.kind,
            change.object.name,
            fields.join("; ")
        ));
        lines.extend(change.breaks.iter().map(|found| format!("  {} {}", found.user.name, found.reason)));
    }
    lines
}

#[test]
fn breaks_are_found_where_they_come_from() {
    let table: &[Case] = &[
        (
            "a feature that is renamed",
            &[
                ("{name: conv_rate, dtype: Float32}", "{name: rate, dtype: Float32}"),
                ("driver_stats:conv_rate", "driver_stats:rate"),
            ],
            &[
                "update feature view driver_stats: features.conv_rate Float32 > none; features.rate none > Float32",
                "  derived feature `driver_stats:conv_rate` is gone",
                "  model_v1 feature `driver_stats:conv_rate` is gone",
                "  model_v2 feature `driver_stats:conv_rate` is gone",
                "update on-demand feature view derived: inputs.driver_stats:conv_rate Float32 > none; \
                 inputs.driver_stats:rate none > Float32",
                "update feature service model_v1: features.driver_stats:conv_rate Float32 > none; \
                 features.driver_stats:rate none > Float32",
                "update feature service model_v2: features.driver_stats:conv_rate Float32 > none; \
                 features.driver_stats:rate none > Float32",
            ],
        ),
        (
            "a type that changes is the view's change alone",
            &[("{name: conv_rate, dtype: Float32}", "{name: conv_rate, dtype: Float64}")],
            &[
                "update feature view driver_stats: features.conv_rate Float32 > Float64",
                "  derived feature `driver_stats:conv_rate` becomes Float64, it was Float32",
                "  model_v1 feature `driver_stats:conv_rate` becomes Float64, it was Float32",
                "  model_v2 feature `driver_stats:conv_rate` becomes Float64, it was Float32",
            ],
        ),
        (
            "an output of an on-demand view",
            &[("{name: sum, dtype: Float64}", "{name: total, dtype: Float64}")],
            &[
                "update on-demand feature view derived: features.sum Float64 > none; features.total none > Float64",
                "  model_v2 feature `derived:sum` is gone",
                "update feature service model_v2: features.derived:sum Float64 > none; features.derived:total none > Float64",
            ],
        ),
        (
            "a join key that another column holds now",
            &[("join_keys: [driver_id]", "join_keys: [id]")],
            &[
                "update entity driver: join_key driver_id > id",
                "  derived `driver_stats` needs the spine column `id`",
                "  model_v1 `driver_stats` needs the spine column `id`",
                "  model_v2 `driver_stats` needs the spine column `id`",
                "update feature view driver_stats: join_keys.driver_id Int64 > none; join_keys.id none > Int64",
            ],
        ),
        (
            "the type of a join key",
            &[("value_type: INT64", "value_type: STRING")],
            &[
                "update entity driver: value_type Int64 > String",
                "  derived spine column `driver_id` becomes String, it was Int64",
                "  model_v1 spine column `driver_id` becomes String, it was Int64",
                "  model_v2 spine column `driver_id` becomes String, it was Int64",
                "update feature view driver_stats: join_keys.driver_id Int64 > String",
            ],
        ),
        (
            "a request value",
            &[("[{name: amount, dtype: Float64}]", "[{name: fare, dtype: Float64}]")],
            &[
                "update data source ask: schema.amount Float64 > none; schema.fare none > Float64",
                "  derived needs the request value `fare`",
                "  derived request value `amount` is gone",
                "  model_v2 through on-demand feature view `derived`: needs the request value `fare`",
                "  model_v2 through on-demand feature view `derived`: request value `amount` is gone",
                "update on-demand feature view derived: inputs.ask:amount Float64 > none; inputs.ask:fare none > Float64",
            ],
        ),
        (
            "a service that drops a feature by itself breaks nothing",
            &[("features: [driver_stats, derived]", "features: ['driver_stats:conv_rate']")],
            &["update feature service model_v2: features.driver_stats:acc_rate Float32 > none; \
               features.derived:sum Float64 > none"],
        ),
        (
            "texts and times to live break nothing",
            &[
                ("ttl: 1d\n", ""),
                ("description: accepted", "description: taken"),
                ("created_timestamp_column: created\n", ""),
            ],
            &[
                "update data source stats: created_timestamp_column created > none",
                "update feature view driver_stats: features.acc_rate.description accepted > taken; ttl 1d > unlimited",
            ],
        ),
        (
            "another order of features is another order of columns",
            &[
                ("  - {name: conv_rate, dtype: Float32}\n", ""),
                (
                    "description: accepted}\n",
                    "description: accepted}\n  - {name: conv_rate, dtype: Float32}\n",
                ),
            ],
            &[
                "update feature view driver_stats: feature_order conv_rate, acc_rate > acc_rate, conv_rate",
                "update feature service model_v2: feature_order driver_stats:conv_rate, driver_stats:acc_rate, derived:sum \
                 > driver_stats:acc_rate, driver_stats:conv_rate, derived:sum",
            ],
        ),
    ];
    for (claim, edits, expected) in table {
        assert_eq!(outline(&plan(REPO, &edited(edits))), *expected, "{claim}");
    }
}

#[test]
fn users_are_found_through_others() {
    let plan = plan(REPO, &edited(&[("path: data/stats.parquet", "path: elsewhere")]));
    let users: Vec<&str> = plan.changes[0].used_by.iter().map(|user| user.object.name.as_str()).collect();
    assert_eq!(users, ["driver_stats", "derived", "model_v1", "model_v2"]);
}

#[test]
fn a_deleted_view_breaks_the_services_that_had_it_and_stay() {
    let after = "\
kind: Entity
name: driver
join_keys: [driver_id]
value_type: INT64
description: driver id
---
kind: FileSource
name: stats
path: data/stats.parquet
timestamp_field: event_timestamp
created_timestamp_column: created
---
kind: FeatureView
name: other
entities: [driver]
schema: [{name: conv_rate, dtype: Float32}]
source: stats
---
kind: FeatureService
name: model_v1
features: [other]
";
    let plan = plan(REPO, after);
    let deleted = plan.changes.iter().find(|change| change.object.name == "driver_stats").unwrap();
    assert_eq!(deleted.action, Action::Delete);
    let reasons: Vec<&str> = deleted.breaks.iter().map(|found| found.reason.as_str()).collect();
    assert_eq!(reasons, ["feature view `driver_stats` is gone"]);
    let users: Vec<&str> = deleted.used_by.iter().map(|user| user.object.name.as_str()).collect();
    assert_eq!(users, ["model_v1"]);
}

#[test]
fn copies_that_differ_in_words_are_no_change_of_theirs() {
    let mut current = catalog(REPO);
    for service in &mut current.feature_services {
        for field in service.projections.iter_mut().flat_map(|projection| &mut projection.features) {
            field.description = "older words".to_owned();
            field.tags = Tags::from([("a".to_owned(), "b".to_owned())]);
        }
    }
    current.feature_views[0].state = 4;
    assert!(!diff(&current, &definitions(REPO)).has_changes());
}

#[test]
fn a_copy_of_a_type_that_is_behind_its_view_is_a_change() {
    let mut current = catalog(REPO);
    let service = current.feature_services.iter_mut().find(|service| service.name == "model_v1").unwrap();
    service.projections[0].features[0].value_type = ValueType(4);
    assert_eq!(
        outline(&diff(&current, &definitions(REPO))),
        ["update feature service model_v1: features.driver_stats:conv_rate Int64 > Float32"]
    );
}

#[test]
fn a_copy_of_a_source_that_is_behind_is_a_change_of_the_view() {
    let mut current = catalog(REPO);
    current.feature_views[0].source.timestamp_field = "old".to_owned();
    assert_eq!(
        outline(&diff(&current, &definitions(REPO))),
        ["update feature view driver_stats: source.timestamp_field old > event_timestamp"]
    );
}

#[test]
fn what_is_not_managed_is_kept_and_names_it_has_are_refused() {
    let mut current = catalog(REPO);
    current.unmanaged = vec![
        ("StreamFeatureView".to_owned(), "Driver_Stats".to_owned()),
        ("PushSource".to_owned(), "STATS".to_owned()),
        ("Entity".to_owned(), "kept".to_owned()),
        ("Permission".to_owned(), "driver_stats".to_owned()),
    ];
    let mut kept = current.entities[0].clone();
    kept.name = "kept".to_owned();
    current.entities.push(kept);
    let push = DataSource {
        name: "STATS".to_owned(),
        kind: SourceKind::Other { kind: "PushSource".to_owned() },
        ..current.data_sources[0].clone()
    };
    current.data_sources.push(push);
    let plan = diff(&current, &definitions(REPO));
    assert!(!plan.has_changes(), "{:?}", plan.changes);
    assert_eq!(
        plan.conflicts,
        [
            "feature view `driver_stats` has the name of StreamFeatureView `Driver_Stats`, which is kept",
            "data source `stats` has the name of data source `STATS`, which is kept",
        ]
    );
}

/// A registry of Feast's own, and definitions that mention nothing: what Feast alone expresses stays.
#[test]
fn a_registry_of_feast_loses_only_what_definitions_express() {
    let feast = RegistryDocument::parse(include_bytes!("../../../testdata/feast-0.67.pb")).unwrap();
    let mut wanted = definitions("");
    wanted.project.name = "first".to_owned();
    let current = feast.catalog("first").unwrap();
    let plan = diff(&current, &wanted);
    for change in plan.changes.iter().filter(|change| change.action == Action::Delete) {
        let name = change.object.name.as_str();
        let is_kept = match change.object.kind {
            Kind::Entity => current.keeps_entity(name),
            Kind::DataSource => current.keeps_data_source(name),
            Kind::FeatureView | Kind::OnDemandFeatureView => current.keeps_view(name),
            Kind::Project | Kind::FeatureService | Kind::SavedDataset => false,
        };
        assert!(!is_kept, "{:?}", change.object);
    }
    let after = applied(&feast, &wanted).catalog("first").unwrap();
    // A service that uses a push view stays, and with it the view that it uses beside.
    assert!(plan.not_managed.contains(&("FeatureService".to_owned(), "routes".to_owned())));
    assert_eq!(plan.counts().deleted, 7);
    assert!(!diff(&after, &wanted).has_changes());
    assert!(nothing().projects().is_empty());
}
