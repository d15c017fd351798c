//! What apply and teardown do to a registry that Feast wrote.

use std::collections::BTreeMap;

use backsight_proto::feast::core;
use backsight_proto::feast::core::data_source::{Options, SourceType};
use backsight_registry::document::{RegistryDocument, Stamp};
use backsight_registry::model::{
    DataSource, Definitions, Entity, FeatureService, FeatureView, Field, OnDemandFeatureView, OnDemandInput,
    Projection, SourceKind, Ttl, ValueType, ViewKind,
};
use prost::Message;

use crate::support::{apply, definitions_of, empty, feast, ids, now, registry};

const NOW_SECONDS: i64 = 1_800_000_000;

fn field(name: &str, value_type: i32) -> Field {
    Field {
        name: name.to_owned(),
        value_type: ValueType(value_type),
        description: String::new(),
        tags: BTreeMap::new(),
    }
}

fn file_source(name: &str) -> DataSource {
    DataSource {
        name: name.to_owned(),
        kind: SourceKind::File { path: format!("data/{name}"), s3_endpoint_override: None, delta: false },
        timestamp_field: "ts".to_owned(),
        created_timestamp_column: Some("created".to_owned()),
        date_partition_column: None,
        field_mapping: [("raw".to_owned(), "f".to_owned())].into(),
        description: "rows".to_owned(),
        tags: BTreeMap::new(),
        owner: "o".to_owned(),
    }
}

fn view(name: &str, entities: &[&str], features: &[&str]) -> FeatureView {
    FeatureView {
        name: name.to_owned(),
        kind: ViewKind::Feature,
        entities: entities.iter().map(|name| (*name).to_owned()).collect(),
        join_keys: entities.iter().map(|name| field(&format!("{name}_id"), 4)).collect(),
        features: features.iter().map(|name| field(name, 5)).collect(),
        ttl: None,
        source: file_source("rows"),
        online: true,
        disabled: false,
        state: 0,
        description: String::new(),
        tags: BTreeMap::new(),
        owner: String::new(),
    }
}

pub(crate) fn projection(view: &str, features: &[&str]) -> Projection {
    Projection {
        view: view.to_owned(),
        alias: None,
        features: features.iter().map(|name| field(name, 5)).collect(),
        join_key_map: BTreeMap::new(),
    }
}

pub(crate) fn service(name: &str, projections: Vec<Projection>) -> FeatureService {
    FeatureService {
        name: name.to_owned(),
        projections,
        description: String::new(),
        tags: BTreeMap::new(),
        owner: String::new(),
    }
}

pub(crate) fn small() -> Definitions {
    let entity = Entity {
        name: "user".to_owned(),
        join_key: "user_id".to_owned(),
        value_type: ValueType(4),
        description: String::new(),
        tags: BTreeMap::new(),
        owner: String::new(),
    };
    let request = DataSource {
        name: "vals".to_owned(),
        kind: SourceKind::Request { schema: vec![field("x", 4)] },
        timestamp_field: String::new(),
        created_timestamp_column: None,
        field_mapping: BTreeMap::new(),
        ..file_source("vals")
    };
    let on_demand = OnDemandFeatureView {
        name: "sum".to_owned(),
        features: vec![field("total", 5)],
        inputs: [
            ("clicks".to_owned(), OnDemandInput::View(projection("clicks", &["f"]))),
            ("vals".to_owned(), OnDemandInput::Request(request.clone())),
        ]
        .into(),
        mode: "pandas".to_owned(),
        transformation: Some(("total".to_owned(), "def total(df):\n    return df\n".to_owned())),
        description: String::new(),
        tags: BTreeMap::new(),
        owner: String::new(),
    };
    let mut aliased = projection("clicks", &["f"]);
    aliased.alias = Some("seller".to_owned());
    aliased.join_key_map = [("user_id".to_owned(), "seller_id".to_owned())].into();
    let mut all = empty("third");
    all.entities = vec![entity];
    all.data_sources = vec![file_source("rows"), request];
    let mut clicks = view("clicks", &["user"], &["f", "g"]);
    clicks.ttl = Ttl::from_nanos(1_500_000_000);
    all.feature_views = vec![clicks, view("weather", &[], &["rain"])];
    all.on_demand_feature_views = vec![on_demand];
    all.feature_services = vec![service("m", vec![projection("clicks", &[]), aliased])];
    all
}

/// The raw top-level fields of both, as multisets: what is in one but not in the other.
fn difference(left: &RegistryDocument, right: &RegistryDocument) -> Vec<u32> {
    let fields = |document: &RegistryDocument| -> Vec<(u32, Vec<u8>)> {
        let message = registry(document);
        let mut all: Vec<(u32, Vec<u8>)> = Vec::new();
        all.extend(message.entities.iter().map(|it| (1, it.encode_to_vec())));
        all.extend(message.feature_views.iter().map(|it| (6, it.encode_to_vec())));
        all.extend(message.feature_services.iter().map(|it| (7, it.encode_to_vec())));
        all.extend(message.on_demand_feature_views.iter().map(|it| (8, it.encode_to_vec())));
        all.extend(message.data_sources.iter().map(|it| (12, it.encode_to_vec())));
        all.extend(message.stream_feature_views.iter().map(|it| (14, it.encode_to_vec())));
        all.extend(message.permissions.iter().map(|it| (16, it.encode_to_vec())));
        all.extend(message.projects.iter().map(|it| (17, it.encode_to_vec())));
        let history = message.feature_view_version_history.unwrap_or_default();
        all.extend(history.records.iter().map(|it| (18, it.encode_to_vec())));
        all
    };
    let right = fields(right);
    fields(left).into_iter().filter(|field| !right.contains(field)).map(|(number, _)| number).collect()
}

#[test]
fn definitions_that_say_what_is_there_change_not_a_byte() {
    let document = feast();
    for project in ["first", "second"] {
        let definitions = definitions_of(document.catalog(project).unwrap());
        let after = apply(&document, &definitions).unwrap();
        assert_eq!(after.to_bytes(), document.to_bytes(), "{project}");
    }
}

#[test]
fn a_written_project_reads_back_as_its_definitions_and_stays() {
    let document = apply(&feast(), &small()).unwrap();
    let catalog = document.catalog("third").unwrap();
    assert_eq!(catalog.unmanaged, []);
    let mut want = small();
    // An empty selection means the whole view.
    want.feature_services[0].projections[0].features = want.feature_views[0].features.clone();
    assert_eq!(definitions_of(catalog), want);
    let again = apply(&document, &want).unwrap();
    assert_eq!(again.to_bytes(), document.to_bytes(), "nothing to do");
}

#[test]
fn other_projects_keep_every_object() {
    let before = feast();
    let after = apply(&before, &small()).unwrap();
    assert_eq!(difference(&before, &after), [] as [u32; 0]);
    for project in ["first", "second"] {
        assert_eq!(after.project_fingerprint(project), before.project_fingerprint(project));
        assert_eq!(after.catalog(project).unwrap(), before.catalog(project).unwrap());
    }
    assert_eq!(after.version_id().as_deref(), Some("00000000-0000-0000-0000-000000000004"));
    assert_eq!(after.last_updated().map(|time| time.timestamp_micros()), Some(now().timestamp_micros()));
}

#[test]
fn a_first_registry_has_what_feast_writes() {
    let nothing = RegistryDocument::parse(b"").unwrap();
    let registry = registry(&apply(&nothing, &small()).unwrap());
    assert_eq!(registry.registry_schema_version, "1");
    let names: Vec<_> = registry.entities.iter().map(|it| it.spec.clone().unwrap().name).collect();
    assert_eq!(names, ["__dummy", "user"]);
    assert_eq!(registry.projects[0].spec.as_ref().unwrap().name, "third");

    let clicks = registry.feature_views[0].spec.clone().unwrap();
    assert_eq!((clicks.version.as_str(), clicks.entities.join(",")), ("latest", "user".to_owned()));
    assert_eq!(clicks.ttl.map(|ttl| (ttl.seconds, ttl.nanos)), Some((1, 500_000_000)));
    assert_eq!(clicks.entity_columns[0].name, "user_id");
    let source = clicks.batch_source.unwrap();
    assert_eq!(source.r#type, SourceType::BatchFile as i32);
    assert_eq!(source.data_source_class_type, "feast.infra.offline_stores.file_source.FileSource");
    assert_eq!((source.project.as_str(), source.name.as_str()), ("", "rows"));
    assert_eq!(source.meta.unwrap().created_timestamp.unwrap().seconds, NOW_SECONDS);
    assert_eq!(source.meta.unwrap().created_timestamp.unwrap().nanos, 123_456_000, "microseconds");

    let weather = registry.feature_views[1].spec.clone().unwrap();
    assert_eq!(weather.entities, ["__dummy"]);
    assert_eq!(
        (weather.entity_columns[0].name.as_str(), weather.entity_columns[0].value_type),
        ("__dummy_id", 2)
    );

    let top = &registry.data_sources[0];
    assert_eq!((top.project.as_str(), top.name.as_str()), ("third", "rows"));
    assert!(matches!(&top.options, Some(Options::FileOptions(options)) if options.uri == "data/rows"));
    assert_eq!(registry.data_sources[1].data_source_class_type, "feast.data_source.RequestSource");

    let parts = registry.feature_services[0].spec.clone().unwrap().features;
    assert_eq!(parts[0].feature_columns, clicks.features, "the view's own fields");
    assert_eq!(parts[0].view_type, "featureView");
    assert_eq!(parts[0].timestamp_field, "created", "as Feast writes it");
    assert_eq!(parts[0].batch_source.as_ref().unwrap().data_source_class_type, "");
    assert_eq!(
        (parts[1].feature_view_name_alias.as_str(), &parts[1].join_key_map["user_id"][..]),
        ("seller", "seller_id")
    );

    let records = registry.feature_view_version_history.unwrap().records;
    let versions: Vec<_> = records
        .iter()
        .map(|it| (it.feature_view_name.as_str(), it.version_number, it.feature_view_type.as_str()))
        .collect();
    assert_eq!(
        versions,
        [("clicks", 0, "feature_view"), ("weather", 0, "feature_view"), ("sum", 0, "on_demand_feature_view")]
    );
    let snapshot = core::FeatureView::decode(&records[0].feature_view_proto[..]).unwrap();
    assert_eq!(snapshot, registry.feature_views[0]);
}

#[test]
fn a_field_that_changes_only_its_description_is_projected_again() {
    let before = feast();
    let mut definitions = definitions_of(before.catalog("first").unwrap());
    definitions.feature_views[0].features[1].description = "new words".to_owned();
    let after = apply(&before, &definitions).unwrap();
    let message = registry(&after);
    let column = |service: usize, part: usize| {
        let columns =
            &message.feature_services[service].spec.as_ref().unwrap().features[part].feature_columns;
        columns.iter().find(|column| column.name == "acc_rate").unwrap().clone()
    };
    let field = message.feature_views[0].spec.as_ref().unwrap().features[1].clone();
    assert_eq!(field.description, "new words");
    assert_eq!(column(1, 0), field);
    assert_eq!(column(2, 0), field);
    assert_eq!(column(2, 1), field);
    // One view, the two services and the on-demand view that use the feature; `model_v1` does not.
    let mut changed = difference(&before, &after);
    changed.sort_unstable();
    assert_eq!(changed, [6, 7, 7, 8]);
}

#[test]
fn a_new_schema_is_a_new_version_and_a_new_ttl_is_not() {
    let before = feast();
    let mut definitions = definitions_of(before.catalog("first").unwrap());
    definitions.feature_views[0].ttl = Ttl::from_nanos(1_000_000_000);
    let with_ttl = apply(&before, &definitions).unwrap();
    assert_eq!(
        registry(&with_ttl).feature_view_version_history,
        registry(&before).feature_view_version_history
    );

    definitions.feature_views[0].features.push(field("extra", 5));
    let with_field = apply(&with_ttl, &definitions).unwrap();
    let message = registry(&with_field);
    let record = message.feature_view_version_history.clone().unwrap().records.pop().unwrap();
    assert_eq!((record.feature_view_name.as_str(), record.version_number), ("driver_hourly_stats", 1));
    assert_eq!(message.feature_views[0].meta.as_ref().unwrap().current_version_number, 1);
    let old = registry(&before).feature_views[0].meta.clone().unwrap();
    let new = message.feature_views[0].meta.clone().unwrap();
    assert_eq!(new.created_timestamp, old.created_timestamp);
    assert_eq!(new.last_updated_timestamp.unwrap().seconds, NOW_SECONDS);
    let history = message.feature_view_version_history.unwrap().records;
    assert_eq!(history.len(), 9, "those of the others stay");
}

#[test]
fn a_schema_change_without_history_keeps_the_old_definition_as_version_0() {
    let mut message = registry(&apply(&RegistryDocument::parse(b"").unwrap(), &small()).unwrap());
    message.feature_view_version_history = None;
    let before = RegistryDocument::parse(&message.encode_to_vec()).unwrap();
    let mut definitions = small();
    definitions.feature_views[1].features.push(field("snow", 5));
    let records =
        registry(&apply(&before, &definitions).unwrap()).feature_view_version_history.unwrap().records;
    let versions: Vec<_> =
        records.iter().map(|it| (it.feature_view_name.as_str(), it.version_number)).collect();
    assert_eq!(versions, [("weather", 0), ("weather", 1)]);
    let zero = core::FeatureView::decode(&records[0].feature_view_proto[..]).unwrap();
    assert_eq!(zero.spec.unwrap().features.len(), 1);
}

#[test]
fn what_definitions_do_not_express_stays_in_a_changed_object() {
    let mut message = registry(&feast());
    let view = &mut message.feature_views[0];
    let meta = view.meta.as_mut().unwrap();
    meta.state = 4;
    meta.materialization_intervals.push(Default::default());
    let spec = view.spec.as_mut().unwrap();
    spec.offline = true;
    spec.features[0].vector_index = true;
    message.feature_services[0].spec.as_mut().unwrap().logging_config =
        Some(core::LoggingConfig { sample_rate: 0.5, destination: None });
    let before = RegistryDocument::parse(&message.encode_to_vec()).unwrap();
    let mut definitions = definitions_of(before.catalog("first").unwrap());
    definitions.feature_views[0].description = "new".to_owned();
    definitions.feature_views[0].state = 0;
    definitions.feature_services[0].description = "new".to_owned();
    let after = registry(&apply(&before, &definitions).unwrap());
    let view = &after.feature_views[0];
    assert_eq!(view.meta.as_ref().unwrap().state, 4);
    assert_eq!(view.meta.as_ref().unwrap().materialization_intervals.len(), 1);
    let spec = view.spec.as_ref().unwrap();
    assert!(spec.offline && spec.features[0].vector_index && spec.description == "new");
    let service = after.feature_services[0].spec.as_ref().unwrap();
    assert_eq!(service.logging_config.as_ref().unwrap().sample_rate, 0.5);
    assert!(service.features[0].feature_columns[0].vector_index);
}

#[test]
fn unknown_fields_of_a_changed_object_survive() {
    const UNKNOWN: &[u8] = &[0xfa, 0x3e, 4, b'k', b'e', b'p', b't'];
    let mut message = registry(&feast());
    let services = std::mem::take(&mut message.feature_services);
    let mut bytes = message.encode_to_vec();
    for service in services {
        let payload = [service.encode_to_vec(), UNKNOWN.to_vec()].concat();
        bytes.push((7 << 3) | 2);
        prost::encode_length_delimiter(payload.len(), &mut bytes).unwrap();
        bytes.extend(payload);
    }
    let before = RegistryDocument::parse(&bytes).unwrap();
    let mut definitions = definitions_of(before.catalog("first").unwrap());
    definitions.feature_services[1].description = "changed".to_owned();
    let after = apply(&before, &definitions).unwrap();
    let kept = after.to_bytes().windows(UNKNOWN.len()).filter(|window| *window == UNKNOWN).count();
    assert_eq!(kept, 3);
    assert_eq!(after.catalog("first").unwrap().feature_services[1].description, "changed");
}

#[test]
fn apply_is_total_over_what_it_manages_and_keeps_the_rest() {
    let before = feast();
    let after = apply(&before, &empty("first")).unwrap();
    let catalog = after.catalog("first").unwrap();
    let names = |list: Vec<&str>| list.join(" ");
    assert_eq!(names(catalog.entities.iter().map(|it| it.name.as_str()).collect()), "driver customer");
    assert_eq!(
        names(catalog.data_sources.iter().map(|it| it.name.as_str()).collect()),
        "bq push_batch driver_stats_source driver_push kf",
        "those of views that stay, stay"
    );
    assert_eq!(
        names(catalog.feature_views.iter().map(|it| it.name.as_str()).collect()),
        "driver_hourly_stats pushed in_warehouse batched streamed",
        "a service that uses a push view stays, and the view that it uses beside"
    );
    assert!(catalog.on_demand_feature_views.is_empty());
    assert_eq!(names(catalog.feature_services.iter().map(|it| it.name.as_str()).collect()), "routes");
    let message = registry(&after);
    assert_eq!(message.permissions.len(), 1);
    let records = message.feature_view_version_history.unwrap().records;
    let views: Vec<_> = records.iter().map(|it| it.feature_view_name.as_str()).collect();
    let expected = ["driver_hourly_stats", "pushed", "in_warehouse", "batched", "streamed"];
    assert_eq!(views, expected, "versions of removed views go");
    assert_eq!(after.project_fingerprint("second"), before.project_fingerprint("second"));
}

#[test]
fn a_push_view_can_be_taken_over_by_a_definition() {
    let before = feast();
    let mut definitions = definitions_of(before.catalog("first").unwrap());
    let mut pushed = view("pushed", &["driver"], &["miles"]);
    pushed.source = file_source("push_batch");
    definitions.feature_views.push(pushed);
    let after = apply(&before, &definitions).unwrap();
    let view = registry(&after).feature_views[3].spec.clone().unwrap();
    assert_eq!(view.name, "pushed");
    assert_eq!(view.stream_source, None);
    assert!(!after.catalog("first").unwrap().keeps_view("pushed"));
}

#[test]
fn a_name_that_stays_taken_is_refused() {
    let mut definitions = definitions_of(feast().catalog("first").unwrap());
    definitions.feature_views.push(view("Streamed", &["driver"], &["f"]));
    let error = apply(&feast(), &definitions).unwrap_err();
    assert_eq!(
        error.to_string(),
        "feature view `Streamed` cannot be created: StreamFeatureView `streamed` of this project has that name"
    );
    assert_eq!(error.code().exit_status(), 3);
}

#[test]
fn unknown_views_and_features_of_a_service_are_refused_with_what_there_is() {
    let mut definitions = small();
    definitions.feature_services = vec![service("m", vec![projection("click", &[])])];
    let error = apply(&feast(), &definitions).unwrap_err();
    assert_eq!(
        error.to_string(),
        "feature service `m` uses the view `click`, which the project does not have; it has `clicks`, `sum`, `weather`"
    );
    definitions.feature_services = vec![service("m", vec![projection("clicks", &["h"])])];
    let error = apply(&feast(), &definitions).unwrap_err();
    assert_eq!(
        error.to_string(),
        "feature service `m` uses the feature `h`, which view `clicks` does not have; it has `f`, `g`"
    );
}

#[test]
fn a_pinned_version_is_projected_from_the_history() {
    let mut definitions = small();
    let first = apply(&feast(), &definitions).unwrap();
    definitions.feature_views[0].features.remove(1);
    definitions.feature_services = vec![service("m", vec![projection("clicks@v0", &["g"])])];
    let second = apply(&first, &definitions).unwrap();
    let part = registry(&second).feature_services.pop().unwrap().spec.unwrap().features[0].clone();
    assert_eq!((part.feature_view_name.as_str(), part.version_tag), ("clicks", Some(0)));
    assert_eq!(part.feature_columns[0].name, "g");
    let catalog = second.catalog("third").unwrap();
    assert_eq!(catalog.feature_services[0].projections[0].view, "clicks@v0", "not the current definition");
}

#[test]
fn teardown_leaves_nothing_of_its_project_and_everything_of_others() {
    let before = feast();
    let with_third = apply(&before, &small()).unwrap();
    let after = with_third.teardown("third", &mut Stamp { now: now(), next_id: &mut ids(90) }).unwrap();
    assert_eq!(after.projects(), ["first", "second"]);
    assert_eq!(difference(&before, &after), [] as [u32; 0]);
    assert_eq!(difference(&after, &before), [] as [u32; 0]);
    assert_eq!(after.version_id().as_deref(), Some("00000000-0000-0000-0000-00000000005b"));
}

#[test]
fn teardown_keeps_what_is_not_managed_here_with_its_project() {
    let after = feast().teardown("first", &mut Stamp { now: now(), next_id: &mut ids(0) }).unwrap();
    let catalog = after.catalog("first").unwrap();
    assert!(catalog.project_object.is_some());
    assert_eq!(catalog.unmanaged, feast().catalog("first").unwrap().unmanaged);
    let services: Vec<&str> = catalog.feature_services.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(services, ["routes"]);
}

#[test]
fn a_protected_project_is_not_torn_down() {
    let mut definitions = small();
    definitions.project.tags = [("feast.dev/protected-project".to_owned(), "true".to_owned())].into();
    let document = apply(&feast(), &definitions).unwrap();
    let error = document.teardown("third", &mut Stamp { now: now(), next_id: &mut ids(0) }).unwrap_err();
    assert_eq!(error.code().exit_status(), 2);
    assert!(error.to_string().contains("protected"));
}

#[test]
fn tearing_down_what_is_not_there_changes_nothing() {
    let document = feast();
    let after = document.teardown("nope", &mut Stamp { now: now(), next_id: &mut ids(0) }).unwrap();
    assert_eq!(after.to_bytes(), document.to_bytes());
}
