//! Collects the objects of one project into a catalog and says which of them are not managed here.

use std::collections::{BTreeMap, BTreeSet};

use backsight_proto::feast::core;
use backsight_proto::feast::core::feature_transformation_v2::Transformation;
use prost::Message;

use crate::document::kind::ObjectKind;
use crate::document::lift;
use crate::document::registry_document::Record;
use crate::model::{Catalog, DataSource, SourceKind};

/// The objects of one project, decoded and in the registry's order.
#[derive(Debug, Default)]
pub(crate) struct ProjectObjects {
    pub(crate) project: Option<core::Project>,
    pub(crate) entities: Vec<core::Entity>,
    pub(crate) data_sources: Vec<core::DataSource>,
    pub(crate) feature_views: Vec<core::FeatureView>,
    pub(crate) stream_feature_views: Vec<core::StreamFeatureView>,
    pub(crate) label_views: Vec<core::LabelView>,
    pub(crate) on_demand_feature_views: Vec<core::OnDemandFeatureView>,
    pub(crate) feature_services: Vec<core::FeatureService>,
    pub(crate) saved_datasets: Vec<core::SavedDataset>,
    /// Kinds that are only named: (kind, name).
    pub(crate) others: Vec<(ObjectKind, String)>,
}

impl ProjectObjects {
    /// Decodes what belongs to `project`.
    pub(crate) fn read(records: &[Record], project: &str) -> Self {
        let mut objects = Self::default();
        for record in records {
            if let Some(id) = record.id.as_ref().filter(|id| id.project == project) {
                let payload = record.payload();
                match id.kind {
                    ObjectKind::Project => objects.project = decoded(payload),
                    ObjectKind::Entity => objects.entities.extend(decoded(payload)),
                    ObjectKind::DataSource => objects.data_sources.extend(decoded(payload)),
                    ObjectKind::FeatureView => objects.feature_views.extend(decoded(payload)),
                    ObjectKind::StreamFeatureView => objects.stream_feature_views.extend(decoded(payload)),
                    ObjectKind::LabelView => objects.label_views.extend(decoded(payload)),
                    ObjectKind::OnDemandFeatureView => {
                        objects.on_demand_feature_views.extend(decoded(payload))
                    }
                    ObjectKind::FeatureService => objects.feature_services.extend(decoded(payload)),
                    ObjectKind::SavedDataset => {
                        objects.saved_datasets.extend(decoded::<core::SavedDataset>(payload));
                        objects.others.push((id.kind, id.name.clone()));
                    }
                    ObjectKind::FeatureTable | ObjectKind::ValidationReference | ObjectKind::Permission => {
                        objects.others.push((id.kind, id.name.clone()))
                    }
                    ObjectKind::ProjectMetadata => {}
                }
            }
        }
        objects
    }

    /// The version number of the current definition of each view that has one.
    pub(crate) fn current_versions(&self) -> BTreeMap<String, i32> {
        let of_views = self.feature_views.iter().filter_map(|view| {
            Some((view.spec.as_ref()?.name.clone(), view.meta.as_ref()?.current_version_number))
        });
        let of_stream_views = self.stream_feature_views.iter().filter_map(|view| {
            Some((view.spec.as_ref()?.name.clone(), view.meta.as_ref()?.current_version_number))
        });
        let of_on_demand_views = self.on_demand_feature_views.iter().filter_map(|view| {
            Some((view.spec.as_ref()?.name.clone(), view.meta.as_ref()?.current_version_number))
        });
        of_views.chain(of_stream_views).chain(of_on_demand_views).collect()
    }

    /// What apply keeps when definitions do not mention it: kinds that YAML does not express, and the entities and
    /// batch sources which those need.
    pub(crate) fn unmanaged(&self) -> Vec<(String, String)> {
        let mut list = Vec::new();
        let mut entities = BTreeSet::new();
        let mut sources = BTreeSet::new();
        for source in &self.data_sources {
            if let SourceKind::Other { kind } = lift::data_source(source.clone()).kind {
                list.push((kind, source.name.clone()));
                sources.extend(inner_source_name(source));
            }
        }
        for view in &self.feature_views {
            let Some(spec) = &view.spec else { continue };
            if let Some(kind) = unmanaged_view_kind(spec) {
                list.push((kind.to_owned(), spec.name.clone()));
                entities.extend(spec.entities.iter().cloned());
                sources.extend(source_names([&spec.batch_source, &spec.stream_source]));
            }
        }
        for spec in self.stream_feature_views.iter().filter_map(|view| view.spec.as_ref()) {
            list.push(("StreamFeatureView".to_owned(), spec.name.clone()));
            entities.extend(spec.entities.iter().cloned());
            sources.extend(source_names([&spec.batch_source, &spec.stream_source]));
        }
        for spec in self.label_views.iter().filter_map(|view| view.spec.as_ref()) {
            list.push(("LabelView".to_owned(), spec.name.clone()));
            entities.extend(spec.entities.iter().cloned());
            sources.extend(source_names([&spec.source]));
        }
        for spec in self.on_demand_feature_views.iter().filter_map(|view| view.spec.as_ref()) {
            if is_unmanaged_on_demand(spec) {
                list.push(("OnDemandFeatureView".to_owned(), spec.name.clone()));
            }
        }
        for entity in self.entities.iter().filter_map(|entity| entity.spec.as_ref()) {
            if entities.contains(&entity.name) && entity.name != lift::DUMMY_ENTITY {
                list.push(("Entity".to_owned(), entity.name.clone()));
            }
        }
        for source in &self.data_sources {
            let kind = lift::data_source(source.clone()).kind;
            if sources.contains(&source.name) && matches!(kind, SourceKind::File { .. }) {
                list.push(("FileSource".to_owned(), source.name.clone()));
            }
        }
        for (kind, name) in &self.others {
            let kind = match kind {
                ObjectKind::FeatureTable => "FeatureTable",
                ObjectKind::SavedDataset => "SavedDataset",
                ObjectKind::ValidationReference => "ValidationReference",
                _ => "Permission",
            };
            list.push((kind.to_owned(), name.clone()));
        }
        list
    }

    /// The plain values.
    pub(crate) fn into_catalog(self, project: &str) -> Catalog {
        let unmanaged = self.unmanaged();
        let versions = self.current_versions();
        let current_version = |view: &str| versions.get(view).copied();
        let entities: Vec<_> = self.entities.into_iter().map(lift::entity).collect();
        let mut feature_views: Vec<_> = self.feature_views.into_iter().map(lift::feature_view).collect();
        feature_views.extend(self.stream_feature_views.into_iter().map(lift::stream_feature_view));
        feature_views.extend(self.label_views.into_iter().map(lift::label_view));
        for view in feature_views.iter_mut().filter(|view| view.join_keys.is_empty()) {
            // A view that was applied without its entity has no columns; Feast then joins without a key in silence.
            let keys =
                view.entities.iter().filter_map(|name| entities.iter().find(|entity| entity.name == *name));
            view.join_keys = keys.map(lift::join_key_of).collect();
        }
        Catalog {
            project: project.to_owned(),
            project_object: self.project.map(lift::project),
            entities: entities.into_iter().filter(|entity| entity.name != lift::DUMMY_ENTITY).collect(),
            data_sources: self.data_sources.into_iter().map(lift::data_source).collect::<Vec<DataSource>>(),
            feature_views,
            on_demand_feature_views: self
                .on_demand_feature_views
                .into_iter()
                .map(|view| lift::on_demand_feature_view(view, current_version))
                .collect(),
            feature_services: self
                .feature_services
                .into_iter()
                .map(|service| lift::feature_service(service, current_version))
                .collect(),
            saved_datasets: self.saved_datasets.into_iter().map(lift::saved_dataset).collect(),
            unmanaged,
        }
    }
}

/// The kind of a view that YAML does not express, `None` for one that it does.
fn unmanaged_view_kind(spec: &core::FeatureViewSpec) -> Option<&'static str> {
    if !spec.source_views.is_empty() || spec.feature_transformation.is_some() || !spec.mode.is_empty() {
        return Some("BatchFeatureView");
    }
    let from_files = spec
        .batch_source
        .as_ref()
        .is_some_and(|source| matches!(lift::data_source(source.clone()).kind, SourceKind::File { .. }));
    (spec.stream_source.is_some() || !from_files).then_some("FeatureView")
}

/// Whether YAML cannot express what the view computes.
fn is_unmanaged_on_demand(spec: &core::OnDemandFeatureViewSpec) -> bool {
    let transformation =
        spec.feature_transformation.as_ref().and_then(|message| message.transformation.as_ref());
    matches!(transformation, Some(Transformation::SubstraitTransformation(_)))
        || !spec.aggregations.is_empty()
}

fn inner_source_name(source: &core::DataSource) -> Option<String> {
    source.batch_source.as_ref().map(|inner| inner.name.clone())
}

fn source_names<const N: usize>(sources: [&Option<core::DataSource>; N]) -> Vec<String> {
    let mut names = Vec::new();
    for source in sources.into_iter().flatten() {
        names.push(source.name.clone());
        names.extend(inner_source_name(source));
    }
    names
}

/// Every record was decoded when the document was parsed, so this is never `None`.
fn decoded<M: Message + Default>(payload: &[u8]) -> Option<M> {
    M::decode(payload).ok()
}

#[cfg(test)]
mod tests {
    use backsight_proto::feast::core;
    use prost::Message;

    use crate::document::RegistryDocument;
    use crate::model::{Catalog, DatasetRecipe, OnDemandInput, SourceKind, ValueType, ViewKind};

    fn feast(project: &str) -> Catalog {
        let bytes = include_bytes!("../../testdata/feast-0.67.pb");
        RegistryDocument::parse(bytes).unwrap().catalog(project).unwrap()
    }

    fn names<T>(objects: &[T], name: impl Fn(&T) -> &str) -> Vec<String> {
        objects.iter().map(|object| name(object).to_owned()).collect()
    }

    #[test]
    fn a_project_holds_its_own_objects_only() {
        let second = feast("second");
        assert_eq!(names(&second.entities, |entity| &entity.name), ["driver"]);
        assert_eq!(second.entities[0].value_type, ValueType(2));
        assert!(second.feature_views.is_empty() && second.data_sources.is_empty());
        assert!(second.unmanaged.is_empty());
        assert_eq!(feast("first").entities[0].value_type, ValueType(4));
    }

    #[test]
    fn every_kind_is_listed_and_what_yaml_cannot_express_is_not_managed() {
        let first = feast("first");
        assert_eq!(names(&first.entities, |entity| &entity.name), ["driver", "customer"]);
        assert_eq!(
            names(&first.feature_views, |view| &view.name),
            [
                "driver_hourly_stats",
                "mapped_stats",
                "global_stats",
                "pushed",
                "in_warehouse",
                "batched",
                "streamed"
            ]
        );
        assert_eq!(
            names(&first.feature_services, |service| &service.name),
            ["model_v1", "model_v2", "routes"]
        );
        assert_eq!(names(&first.on_demand_feature_views, |view| &view.name), ["transformed"]);
        let mut unmanaged: Vec<_> =
            first.unmanaged.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        unmanaged.sort();
        assert_eq!(
            unmanaged,
            [
                "BatchFeatureView batched",
                "BigQuerySource bq",
                "Entity customer",
                "Entity driver",
                "FeatureView in_warehouse",
                "FeatureView pushed",
                "FileSource driver_stats_source",
                "FileSource push_batch",
                "KafkaSource kf",
                "Permission reader",
                "PushSource driver_push",
                "StreamFeatureView streamed",
            ]
        );
        assert!(first.keeps_entity("driver") && !first.keeps_entity("driver_push"));
        assert!(first.keeps_data_source("push_batch") && !first.keeps_data_source("s3_stats"));
        assert!(first.keeps_view("streamed") && !first.keeps_view("driver_hourly_stats"));
    }

    #[test]
    fn views_are_read_with_their_keys_ttl_and_source() {
        let first = feast("first");
        let view = |name: &str| first.feature_views.iter().find(|view| view.name == name).unwrap();
        let keys = |name: &str| names(&view(name).join_keys, |key| &key.name);
        assert_eq!(keys("driver_hourly_stats"), ["driver_id"]);
        assert_eq!(keys("mapped_stats"), ["customer_id", "driver_id"]);
        assert!(keys("global_stats").is_empty() && view("global_stats").entities.is_empty());
        assert_eq!(view("mapped_stats").ttl.map(|ttl| ttl.nanos()), Some(1_500_000_000));
        assert_eq!(view("pushed").ttl, None, "Feast's zero is no ttl");
        assert_eq!(view("pushed").source.name, "push_batch");
        assert_eq!(view("streamed").kind, ViewKind::Stream);
        assert_eq!(names(&view("streamed").features, |field| &field.name), ["conv_rate"]);
        let source = &view("mapped_stats").source;
        assert_eq!(
            source.kind,
            SourceKind::File {
                path: "s3://bucket/stats/".to_owned(),
                s3_endpoint_override: Some("http://127.0.0.1:9000".to_owned()),
                delta: false,
            }
        );
        assert_eq!(source.field_mapping["event"], "ts");
        assert_eq!(source.created_timestamp_column, None);
    }

    #[test]
    fn services_keep_aliases_key_maps_and_pinned_versions() {
        let first = feast("first");
        let routes = &first.feature_services[2].projections;
        assert_eq!(routes[0].alias.as_deref(), Some("origin"));
        assert_eq!(routes[0].join_key_map["driver_id"], "origin_id");
        assert_eq!(names(&routes[1].features, |field| &field.name), ["acc_rate"]);
        assert_eq!(routes[2].view, "pushed", "the pinned version is the current one");
    }

    #[test]
    fn a_saved_dataset_says_what_it_was_made_of() {
        let dataset = |name: &str, service: &str| core::SavedDataset {
            spec: Some(core::SavedDatasetSpec {
                name: name.to_owned(),
                project: "first".to_owned(),
                features: vec!["driver_hourly_stats:conv_rate".to_owned()],
                feature_service_name: service.to_owned(),
                ..core::SavedDatasetSpec::default()
            }),
            meta: None,
        };
        let registry = core::Registry {
            registry_schema_version: "1".to_owned(),
            saved_datasets: vec![dataset("june", "model_v1"), dataset("july", "")],
            ..core::Registry::default()
        };
        let catalog = RegistryDocument::parse(&registry.encode_to_vec()).unwrap().catalog("first").unwrap();
        let made = |name: &str, service: Option<&str>| DatasetRecipe {
            name: name.to_owned(),
            features: vec!["driver_hourly_stats:conv_rate".to_owned()],
            feature_service: service.map(str::to_owned),
        };
        assert_eq!(catalog.saved_datasets, [made("june", Some("model_v1")), made("july", None)]);
        assert_eq!(catalog.unmanaged.len(), 2, "they are kept");
    }

    #[test]
    fn an_on_demand_view_has_its_inputs_and_its_text() {
        let first = feast("first");
        let view = &first.on_demand_feature_views[0];
        assert!(matches!(&view.inputs["vals"], OnDemandInput::Request(source) if source.name == "vals"));
        assert!(
            matches!(&view.inputs["driver_hourly_stats"], OnDemandInput::View(part) if part.features.len() == 2)
        );
        let (name, text) = view.transformation.as_ref().unwrap();
        assert_eq!(name, "transformed");
        assert!(text.contains("def transformed(inputs"));
        assert_eq!(view.mode, "pandas");
    }
}
