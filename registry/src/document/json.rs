//! Objects and whole registries in the JSON form of protobuf: lowerCamelCase, RFC 3339, durations in seconds.

use backsight_proto::feast::core::FeatureViewState;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value};

use crate::document::message;
use crate::document::{DocumentError, ObjectKind, RegistryDocument};

impl RegistryDocument {
    /// One object as Feast describes it: its JSON form without the project, and for views whether they are enabled
    /// and in which state.
    pub fn describe(
        &self,
        kind: ObjectKind,
        project: &str,
        name: &str,
    ) -> Result<Option<Value>, DocumentError> {
        let is_it = |id: &super::kind::ObjectId| id.kind == kind && id.project == project && id.name == name;
        let Some(record) = self.records.iter().find(|record| record.id.as_ref().is_some_and(is_it)) else {
            return Ok(None);
        };
        let mut value = message_json(kind.message_name(), record.payload())
            .map_err(|source| DocumentError::NotJson { what: format!("{kind} `{name}`"), source })?;
        if let Value::Object(object) = &mut value {
            remove_project(object);
            if matches!(
                kind,
                ObjectKind::FeatureView | ObjectKind::StreamFeatureView | ObjectKind::OnDemandFeatureView
            ) {
                add_gate(object);
            }
        }
        Ok(Some(value))
    }

    /// The whole registry: every project, every object, the version history.
    pub fn to_json(&self) -> Result<Value, DocumentError> {
        message_json("feast.core.Registry", &self.to_bytes())
            .map_err(|source| DocumentError::NotJson { what: "the registry".to_owned(), source })
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn message_json(full_name: &str, bytes: &[u8]) -> Result<Value, BoxError> {
    let descriptor = message::descriptor(full_name).ok_or("the message is not known")?;
    let message = DynamicMessage::decode(descriptor.clone(), bytes)?;
    let mut value =
        message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())?;
    sort_maps(&descriptor, &mut value);
    Ok(value)
}

/// Puts the entries of maps in order, so that the same object is always the same text; fields keep theirs.
fn sort_maps(descriptor: &MessageDescriptor, value: &mut Value) {
    let Value::Object(object) = value else { return };
    for field in descriptor.fields() {
        let Some(value) = object.get_mut(field.json_name()) else { continue };
        match (field.kind(), value) {
            (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
                entries.sort_keys();
                if let Kind::Message(inner) = entry.map_entry_value_field().kind() {
                    entries.values_mut().for_each(|value| sort_maps(&inner, value));
                }
            }
            (Kind::Message(inner), Value::Array(items)) => {
                items.iter_mut().for_each(|item| sort_maps(&inner, item));
            }
            (Kind::Message(inner), value) => sort_maps(&inner, value),
            _ => {}
        }
    }
}

/// The project is what was asked for, so saying it again is noise.
fn remove_project(object: &mut Map<String, Value>) {
    match object.get_mut("spec") {
        Some(Value::Object(spec)) => spec.shift_remove("project"),
        _ => object.shift_remove("project"),
    };
}

/// Whether the view serves features, said even at its default.
fn add_gate(object: &mut Map<String, Value>) {
    let flag = |message: Option<&Value>, field: &str| message.and_then(|message| message.get(field)).cloned();
    let disabled = flag(object.get("spec"), "disabled") == Some(Value::Bool(true));
    let unspecified = || Value::from(FeatureViewState::StateUnspecified.as_str_name());
    let state = flag(object.get("meta"), "state").unwrap_or_else(unspecified);
    object.insert("enabled".to_owned(), Value::Bool(!disabled));
    object.insert("state".to_owned(), state);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::document::{ObjectKind, RegistryDocument};

    fn feast() -> RegistryDocument {
        RegistryDocument::parse(include_bytes!("../../testdata/feast-0.67.pb")).unwrap()
    }

    #[test]
    fn a_view_is_described_as_feast_does() {
        let mut view = feast().describe(ObjectKind::FeatureView, "first", "mapped_stats").unwrap().unwrap();
        let created = view["meta"]["createdTimestamp"].take();
        assert!(
            created.as_str().is_some_and(|time| time.starts_with("2026-") && time.ends_with('Z')),
            "{created}"
        );
        view["meta"] = json!({});
        view["spec"]["batchSource"]["meta"] = json!({});
        assert_eq!(
            view,
            json!({
                "spec": {
                    "name": "mapped_stats",
                    "entities": ["driver", "customer"],
                    "features": [{"name": "score", "valueType": "DOUBLE"}],
                    "ttl": "1.500s",
                    "batchSource": {
                        "type": "BATCH_FILE",
                        "fieldMapping": {"drv": "driver_id", "event": "ts"},
                        "timestampField": "ts",
                        "fileOptions": {
                            "fileFormat": {"parquetFormat": {}},
                            "uri": "s3://bucket/stats/",
                            "s3EndpointOverride": "http://127.0.0.1:9000",
                        },
                        "dataSourceClassType": "feast.infra.offline_stores.file_source.FileSource",
                        "name": "s3_stats",
                        "meta": {},
                    },
                    "entityColumns": [
                        {"name": "customer_id", "valueType": "STRING"},
                        {"name": "driver_id", "valueType": "INT64"},
                    ],
                    "version": "latest",
                },
                "meta": {},
                "enabled": true,
                "state": "STATE_UNSPECIFIED",
            })
        );
    }

    #[test]
    fn the_same_object_is_always_the_same_text() {
        use backsight_proto::feast::core::{Registry, data_source::Options};
        use prost::Message;

        let mut registry = Registry::default();
        let mut source =
            backsight_proto::feast::core::DataSource { name: "s".to_owned(), ..Default::default() };
        source.tags = (10..40).map(|n| (format!("t{n}"), n.to_string())).collect();
        source.options = Some(Options::FileOptions(Default::default()));
        registry.data_sources.push(source);
        let document = RegistryDocument::parse(&registry.encode_to_vec()).unwrap();
        let value = document.to_json().unwrap();
        let keys: Vec<_> = value["dataSources"][0]["tags"].as_object().unwrap().keys().cloned().collect();
        let sorted: Vec<_> = (10..40).map(|n| format!("t{n}")).collect();
        assert_eq!(keys, sorted);
    }

    #[test]
    fn what_is_not_there_is_none() {
        let document = feast();
        assert_eq!(document.describe(ObjectKind::Entity, "second", "customer").unwrap(), None);
        assert!(document.describe(ObjectKind::Entity, "first", "customer").unwrap().is_some());
        assert_eq!(document.describe(ObjectKind::FeatureView, "first", "streamed").unwrap(), None);
    }

    #[test]
    fn a_source_and_a_project_lose_their_project_too() {
        let document = feast();
        let source = document.describe(ObjectKind::DataSource, "first", "vals").unwrap().unwrap();
        assert_eq!(source.get("project"), None);
        assert_eq!(source["requestDataOptions"]["schema"][0]["name"], "val_to_add");
        let project = document.describe(ObjectKind::Project, "first", "first").unwrap().unwrap();
        assert_eq!(project["spec"]["name"], "first");
    }

    #[test]
    fn the_whole_registry_has_every_list() {
        let value = feast().to_json().unwrap();
        assert_eq!(value["registrySchemaVersion"], "1");
        assert_eq!(value["entities"].as_array().map(Vec::len), Some(5));
        assert_eq!(value["featureViewVersionHistory"]["records"].as_array().map(Vec::len), Some(8));
        assert_eq!(value["permissions"][0]["spec"]["types"][0], "FEATURE_VIEW");
    }
}
