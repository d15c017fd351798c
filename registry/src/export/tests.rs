//! What is exported reads back as what the registry holds.

use std::collections::BTreeMap;

use chrono::DateTime;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use crate::diff::diff;
use crate::document::{RegistryDocument, Stamp};
use crate::dtype::parse_dtype;
use crate::export::export;
use crate::export::odd_texts::any_text;
use crate::model::{
    Catalog, DataSource, Definitions, Entity, FeatureService, FeatureView, Field, OnDemandFeatureView,
    OnDemandInput, Project, Projection, SourceKind, Tags, Ttl, ValueType, ViewKind,
};

/// A text that is not blank: what a name may be.
fn word() -> impl Strategy<Value = String> {
    any_text().prop_filter("a name says something", |text| !text.trim().is_empty())
}

fn tags() -> impl Strategy<Value = Tags> {
    btree_map(any_text(), any_text(), 0..3)
}

fn field(name: String) -> impl Strategy<Value = Field> {
    let dtype = select(vec![
        "Int64",
        "String",
        "Array(Float32)",
        "Array(Set(Int32))",
        "Struct({a: Int64, b: Array(Bool)})",
    ]);
    (dtype, any_text(), tags()).prop_map(move |(dtype, description, mut tags)| {
        let dtype = parse_dtype(dtype).unwrap();
        tags.extend(dtype.tags);
        Field { name: name.clone(), value_type: dtype.value_type, description, tags }
    })
}

fn fields(kind: &'static str) -> impl Strategy<Value = Vec<Field>> {
    vec(word(), 1..4).prop_flat_map(move |words| {
        let named = words.iter().enumerate().map(|(index, word)| format!("{kind}{index} {word}"));
        named.map(field).collect::<Vec<_>>()
    })
}

fn file_source(index: usize) -> impl Strategy<Value = DataSource> {
    let path = select(vec!["data/a.parquet", "s3://b/k/*.parquet", "/a b/c", "2024", "s3://b/#x", "no"]);
    let optional = || prop::option::of(word());
    let columns = (word(), optional(), optional(), btree_map(word(), word(), 0..2));
    (word(), path, any::<[bool; 2]>(), columns, (any_text(), any_text(), tags())).prop_map(
        move |(name, path, [has_endpoint, delta], columns, (description, owner, tags))| {
            let (time, created, day, mapping) = columns;
            DataSource {
                name: format!("source{index} {name}"),
                kind: SourceKind::File {
                    path: path.to_owned(),
                    s3_endpoint_override: has_endpoint.then(|| "http://127.0.0.1:9000".to_owned()),
                    delta: delta && !path.contains('*'),
                },
                timestamp_field: format!("t {time}"),
                created_timestamp_column: created.map(|created| format!("c {created}")),
                date_partition_column: day.map(|day| format!("d {day}")),
                field_mapping: mapping
                    .into_iter()
                    .map(|(from, to)| (format!("from {from}"), format!("to {to}")))
                    .collect(),
                description,
                tags,
                owner,
            }
        },
    )
}

fn entity(index: usize) -> impl Strategy<Value = Entity> {
    let value_type = select(vec![0, 2, 4]);
    (word(), word(), value_type, any_text(), any_text(), tags()).prop_map(
        move |(name, key, value_type, description, owner, tags)| Entity {
            name: format!("{name}{index}"),
            join_key: format!("key{index} {key}"),
            value_type: ValueType(value_type),
            description,
            tags,
            owner,
        },
    )
}

fn feature_view(
    index: usize,
    entities: Vec<Entity>,
    sources: Vec<DataSource>,
) -> impl Strategy<Value = FeatureView> {
    let some = proptest::sample::subsequence(entities.clone(), 0..=entities.len());
    let name = "[ -9;-?A-~]{0,8}";
    let flags = (any::<bool>(), any::<bool>(), prop::option::of(1_i128..1_000_000_000_000_000_000));
    (name, some, select(sources), fields("f"), flags, (any_text(), any_text(), tags()), (any_text(), tags()))
        .prop_map(
            move |(
                name,
                entities,
                source,
                features,
                (online, disabled, ttl),
                (description, owner, tags),
                key,
            )| {
                let join_keys = entities.iter().map(|entity| Field {
                    name: entity.join_key.clone(),
                    value_type: if entity.value_type.0 == 0 { ValueType(4) } else { entity.value_type },
                    description: key.0.clone(),
                    tags: key.1.clone(),
                });
                FeatureView {
                    name: format!("view{index}{name}"),
                    kind: ViewKind::Feature,
                    entities: entities.iter().map(|entity| entity.name.clone()).collect(),
                    join_keys: join_keys.collect(),
                    features,
                    ttl: ttl.and_then(Ttl::from_nanos),
                    source,
                    online,
                    disabled,
                    state: 0,
                    description,
                    tags,
                    owner,
                }
            },
        )
}

fn projection(view: &FeatureView) -> impl Strategy<Value = Projection> + use<> {
    let features = proptest::sample::subsequence(view.features.clone(), 1..=view.features.len());
    let name = view.name.clone();
    let keys = view.join_keys.clone();
    (features, any::<bool>(), word()).prop_map(move |(features, is_mapped, column)| Projection {
        view: name.clone(),
        alias: None,
        features,
        join_key_map: keys
            .iter()
            .filter(|_| is_mapped)
            .map(|key| (key.name.clone(), column.clone()))
            .collect(),
    })
}

fn rest(
    entities: Vec<Entity>,
    sources: Vec<DataSource>,
    views: Vec<FeatureView>,
) -> impl Strategy<Value = Definitions> {
    let parts: Vec<_> = views.iter().map(projection).collect();
    let on_demand = (vec((fields("o"), any_text(), any::<bool>()), 0..2), fields("r"), select(views.clone()));
    let aliases = vec("[ -9;-?A-~]{1,6}", views.len());
    (parts, on_demand, aliases, (any_text(), any_text(), tags())).prop_map(
        move |(parts, (outputs, schema, view), aliases, (description, owner, tags))| {
            let request = DataSource {
                name: "asked: for".to_owned(),
                kind: SourceKind::Request { schema },
                timestamp_field: String::new(),
                created_timestamp_column: None,
                date_partition_column: None,
                field_mapping: BTreeMap::new(),
                description: description.clone(),
                tags: tags.clone(),
                owner: owner.clone(),
            };
            let whole = Projection {
                view: view.name.clone(),
                alias: None,
                features: view.features.clone(),
                join_key_map: BTreeMap::new(),
            };
            let on_demand = outputs.into_iter().enumerate().map(|(index, (features, body, is_named))| {
                let function = if is_named { "second" } else { "first" };
                let text = format!(
                    "def first(x):\n    # {}\n    return x\ndef second(x): pass\n",
                    body.replace('\n', " ")
                );
                OnDemandFeatureView {
                    name: format!("computed{index}"),
                    features,
                    inputs: [
                        (view.name.clone(), OnDemandInput::View(whole.clone())),
                        (request.name.clone(), OnDemandInput::Request(request.clone())),
                    ]
                    .into(),
                    mode: if is_named { "python" } else { "pandas" }.to_owned(),
                    transformation: Some((function.to_owned(), text)),
                    description: description.clone(),
                    tags: tags.clone(),
                    owner: owner.clone(),
                }
            });
            let service = |name: &str, projections: Vec<Projection>| FeatureService {
                name: name.to_owned(),
                projections,
                description: description.clone(),
                tags: tags.clone(),
                owner: owner.clone(),
            };
            let renamed = parts.iter().zip(&aliases).enumerate().map(|(index, (part, alias))| Projection {
                alias: Some(format!("{index}{alias}")),
                ..part.clone()
            });
            Definitions {
                project: Project {
                    name: "taxi".to_owned(),
                    description: description.clone(),
                    tags: tags.clone(),
                    owner: owner.clone(),
                },
                entities: entities.clone(),
                data_sources: sources.iter().cloned().chain([request.clone()]).collect(),
                feature_views: views.clone(),
                on_demand_feature_views: on_demand.collect(),
                feature_services: vec![
                    service("plain", parts.clone()),
                    service("re: named", renamed.collect()),
                ],
            }
        },
    )
}

fn definitions() -> impl Strategy<Value = Definitions> {
    ([entity(0), entity(1)], [file_source(0), file_source(1)]).prop_flat_map(|(entities, sources)| {
        let (entities, sources) = (entities.to_vec(), sources.to_vec());
        let views = [0, 1].map(|index| feature_view(index, entities.clone(), sources.clone()));
        views.prop_flat_map(move |views| rest(entities.clone(), sources.clone(), views.to_vec()))
    })
}

fn applied(definitions: &Definitions) -> Catalog {
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let mut stamp = Stamp { now, next_id: &mut || Uuid::from_u128(7) };
    let document = RegistryDocument::parse(&[]).unwrap().apply(definitions, &mut stamp).unwrap();
    RegistryDocument::parse(&document.to_bytes()).unwrap().catalog(&definitions.project.name).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_applied_exports_to_definitions_of_the_same(definitions in definitions()) {
        let catalog = applied(&definitions);
        prop_assert!(!diff(&catalog, &definitions).has_changes());
        let exported = export(&catalog).unwrap();
        prop_assert_eq!(&exported.not_expressed, &[]);
        let texts: Vec<&str> = exported.files.iter().map(|file| file.text.as_str()).collect();
        prop_assert!(!exported.plan.has_changes(), "{:#?}\n{}", exported.plan.changes, texts.join("---\n"));
        // The plan was made from what was read back, without a description from elsewhere.
        prop_assert_eq!(exported.plan.unchanged.len(), definitions_count(&definitions));
    }
}

/// All objects, the project included.
fn definitions_count(definitions: &Definitions) -> usize {
    1 + definitions.entities.len()
        + definitions.data_sources.len()
        + definitions.feature_views.len()
        + definitions.on_demand_feature_views.len()
        + definitions.feature_services.len()
}

fn feast() -> Catalog {
    RegistryDocument::parse(include_bytes!("../../testdata/feast-0.67.pb")).unwrap().catalog("first").unwrap()
}

#[test]
fn what_definitions_cannot_say_is_left_out_and_named() {
    let exported = export(&feast()).unwrap();
    let names: Vec<String> =
        exported.not_managed.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    assert_eq!(
        names,
        [
            "BigQuerySource bq",
            "PushSource driver_push",
            "KafkaSource kf",
            "FeatureView pushed",
            "FeatureView in_warehouse",
            "BatchFeatureView batched",
            "StreamFeatureView streamed",
            "Permission reader",
        ]
    );
    let left: Vec<String> =
        exported.not_expressed.iter().map(|left| format!("{}: {}", left.object.name, left.reason)).collect();
    assert_eq!(left, ["routes: FeatureService `routes` refers to view `pushed`, which is not defined"]);
    assert!(!exported.plan.has_changes(), "apply keeps what is left out: {:#?}", exported.plan.changes);
    assert!(exported.inexact().is_empty());
    let comments: Vec<&str> = exported.files[0].text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(comments.len(), 11, "{comments:?}");
    assert!(comments.contains(&"#   Permission reader"));
}

#[test]
fn a_refusal_takes_along_what_needs_it_and_nothing_else() {
    let mut catalog = feast();
    let source = catalog.data_sources.iter_mut().find(|source| source.name == "s3_stats").unwrap();
    source.timestamp_field = String::new();
    catalog.feature_services.retain(|service| service.name != "routes");
    let view = catalog.feature_views.iter_mut().find(|view| view.name == "mapped_stats").unwrap();
    view.source.timestamp_field = String::new();
    let exported = export(&catalog).unwrap();
    let left: Vec<String> =
        exported.not_expressed.iter().map(|left| format!("{}: {}", left.object.name, left.reason)).collect();
    assert_eq!(
        left,
        [
            "s3_stats: `timestamp_field` of FileSource `s3_stats` must not be empty",
            "mapped_stats: FeatureView `mapped_stats` refers to data source `s3_stats`, which is not defined",
        ]
    );
    assert!(!exported.plan.has_changes(), "{:#?}", exported.plan.changes);
    let kept: Vec<&str> = exported.plan.not_managed.iter().map(|(_, name)| name.as_str()).collect();
    assert!(kept.contains(&"s3_stats") && kept.contains(&"mapped_stats"), "{kept:?}");
}

#[test]
fn a_part_that_has_no_key_is_told_as_a_difference() {
    let mut catalog = feast();
    catalog.feature_services.retain(|service| service.name != "routes");
    let is_request = |source: &&mut DataSource| matches!(source.kind, SourceKind::Request { .. });
    let source = catalog.data_sources.iter_mut().find(is_request).unwrap();
    source.timestamp_field = "asked_at".to_owned();
    let name = source.name.clone();
    let exported = export(&catalog).unwrap();
    let inexact: Vec<_> =
        exported.inexact().into_iter().map(|(object, paths)| (object.name, paths)).collect();
    assert_eq!(inexact, [(name, vec!["timestamp_field".to_owned()])]);
}

#[test]
fn a_delta_table_in_folders_of_days_is_exported_as_one() {
    let mut catalog = feast();
    let is_file = |source: &&mut DataSource| matches!(source.kind, SourceKind::File { .. });
    let source = catalog.data_sources.iter_mut().find(is_file).unwrap();
    source.kind = SourceKind::File { path: "data/table".to_owned(), s3_endpoint_override: None, delta: true };
    source.date_partition_column = Some("day".to_owned());
    let source = source.clone();
    for view in catalog.feature_views.iter_mut().filter(|view| view.source.name == source.name) {
        view.source = source.clone();
    }
    let exported = export(&catalog).unwrap();
    assert!(exported.inexact().is_empty(), "{:?}", exported.inexact());
    let text: String = exported.files.iter().map(|file| file.text.as_str()).collect();
    for line in ["file_format: delta", "date_partition_column: day"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn many_objects_are_several_files_that_are_always_the_same() {
    let mut catalog = feast();
    catalog.feature_services.clear();
    let view = catalog.feature_views.iter().find(|view| view.name == "driver_hourly_stats").unwrap().clone();
    for number in 0..2_000 {
        let description = "x".repeat(1_000);
        catalog.feature_views.push(FeatureView {
            name: format!("v{number:04}"),
            description,
            ..view.clone()
        });
    }
    let exported = export(&catalog).unwrap();
    let names: Vec<&str> = exported.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        names,
        [
            "project.yaml",
            "entities.yaml",
            "data_sources.yaml",
            "feature_views.yaml",
            "feature_views_2.yaml",
            "feature_views_3.yaml",
            "on_demand_feature_views.yaml",
        ]
    );
    catalog.feature_views.reverse();
    let again = export(&catalog).unwrap();
    let texts = |files: &[crate::definitions::SourceFile]| -> Vec<String> {
        files.iter().map(|file| file.text.clone()).collect()
    };
    assert_eq!(texts(&again.files), texts(&exported.files));
}
