//! Objects as flat lists of named texts: what a person would call a difference, and nothing else.

use std::collections::BTreeMap;

use crate::dtype::{NESTED_TYPE_TAG, STRUCT_SCHEMA_TAG, dtype_name, value_type_name};
use crate::model::{
    DataSource, Entity, FeatureService, FeatureView, Field, OnDemandFeatureView, OnDemandInput, Project,
    Projection, SourceKind, Tags,
};
use crate::ttl::ttl_text;

/// One named text of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) field: &'static str,
    pub(super) key: Option<String>,
    pub(super) attribute: Option<String>,
    pub(super) value: String,
}

/// The attributes of an object, in the order in which people read them. An empty text is an attribute that is not
/// there.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) list: Vec<Attribute>,
}

impl Attributes {
    /// The attributes of one field, in order.
    pub(super) fn of_field(&self, field: &str) -> Vec<&Attribute> {
        self.list.iter().filter(|attribute| attribute.field == field).collect()
    }

    fn put(&mut self, field: &'static str, value: impl Into<String>) {
        self.put_all(field, None, None, value.into());
    }

    fn put_key(&mut self, field: &'static str, key: impl Into<String>, value: impl Into<String>) {
        self.put_all(field, Some(key.into()), None, value.into());
    }

    fn put_all(
        &mut self,
        field: &'static str,
        key: Option<String>,
        attribute: Option<String>,
        value: String,
    ) {
        if !value.is_empty() {
            self.list.push(Attribute { field, key, attribute, value });
        }
    }

    fn put_map(&mut self, field: &'static str, map: &BTreeMap<String, String>) {
        for (key, value) in map {
            // A key with an empty value is there; only texts without a key can be absent by being empty.
            let value = if value.is_empty() { "\"\"" } else { value };
            self.put_key(field, key, value);
        }
    }

    fn put_fields(&mut self, name: &'static str, fields: &[Field]) {
        for field in fields {
            let key = || Some(field.name.clone());
            self.put_key(name, &field.name, dtype_name(field));
            self.put_all(name, key(), Some("description".to_owned()), field.description.clone());
            for (tag, value) in &field.tags {
                // Feast's own tags hold a part of the type, which is shown already.
                if tag != STRUCT_SCHEMA_TAG && tag != NESTED_TYPE_TAG {
                    self.put_all(name, key(), Some(format!("tags.{tag}")), value.clone());
                }
            }
        }
    }

    fn put_common(&mut self, description: &str, owner: &str, tags: &Tags) {
        self.put("description", description);
        self.put("owner", owner);
        self.put_map("tags", tags);
    }

    fn put_projection(&mut self, field: &'static str, name: &str, projection: &Projection) {
        for feature in &projection.features {
            self.put_key(field, format!("{name}:{}", feature.name), dtype_name(feature));
        }
        for (key, column) in &projection.join_key_map {
            self.put_key("join_key_map", format!("{name}.{key}"), column);
        }
    }
}

pub(super) fn of_project(project: &Project) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.put_common(&project.description, &project.owner, &project.tags);
    attributes
}

pub(super) fn of_entity(entity: &Entity) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.put("join_key", &entity.join_key);
    if entity.value_type.0 != 0 {
        attributes.put("value_type", value_type_name(entity.value_type));
    }
    attributes.put_common(&entity.description, &entity.owner, &entity.tags);
    attributes
}

pub(super) fn of_source(source: &DataSource) -> Attributes {
    let mut attributes = Attributes::default();
    match &source.kind {
        SourceKind::File { path, s3_endpoint_override, delta } => {
            attributes.put("type", "FileSource");
            attributes.put("path", path);
            attributes.put("s3_endpoint_override", s3_endpoint_override.as_deref().unwrap_or_default());
            attributes.put("file_format", if *delta { "delta" } else { "" });
        }
        SourceKind::Request { .. } => attributes.put("type", "RequestSource"),
        SourceKind::Other { kind } => attributes.put("type", kind),
    }
    attributes.put("timestamp_field", &source.timestamp_field);
    attributes
        .put("created_timestamp_column", source.created_timestamp_column.as_deref().unwrap_or_default());
    attributes.put("date_partition_column", source.date_partition_column.as_deref().unwrap_or_default());
    attributes.put_map("field_mapping", &source.field_mapping);
    if let SourceKind::Request { schema } = &source.kind {
        attributes.put_fields("schema", schema);
    }
    attributes.put_common(&source.description, &source.owner, &source.tags);
    attributes
}

pub(super) fn of_view(view: &FeatureView) -> Attributes {
    let mut attributes = Attributes::default();
    for entity in &view.entities {
        attributes.put_key("entities", entity, entity);
    }
    attributes.put_fields("join_keys", &view.join_keys);
    attributes.put_fields("features", &view.features);
    attributes.put("ttl", ttl_text(view.ttl));
    attributes.put("source", &view.source.name);
    attributes.put("online", view.online.to_string());
    attributes.put("enabled", (!view.disabled).to_string());
    attributes.put_common(&view.description, &view.owner, &view.tags);
    attributes
}

pub(super) fn of_on_demand_view(view: &OnDemandFeatureView) -> Attributes {
    let mut attributes = Attributes::default();
    for (name, input) in &view.inputs {
        match input {
            OnDemandInput::View(projection) => {
                attributes.put_key("sources", name, format!("feature view {}", projection.view));
            }
            OnDemandInput::Request(_) => attributes.put_key("sources", name, "request source"),
        }
    }
    for (name, input) in &view.inputs {
        match input {
            OnDemandInput::View(projection) => attributes.put_projection("inputs", name, projection),
            OnDemandInput::Request(source) => {
                if let SourceKind::Request { schema } = &source.kind {
                    for field in schema {
                        attributes.put_key("inputs", format!("{name}:{}", field.name), dtype_name(field));
                    }
                }
            }
        }
    }
    attributes.put_fields("features", &view.features);
    attributes.put("mode", &view.mode);
    if let Some((name, text)) = &view.transformation {
        attributes.put("udf_name", name);
        attributes.put("udf", text);
    }
    attributes.put_common(&view.description, &view.owner, &view.tags);
    attributes
}

pub(super) fn of_service(service: &FeatureService) -> Attributes {
    let mut attributes = Attributes::default();
    for projection in &service.projections {
        if projection.alias.is_some() {
            attributes.put_key("views", name_to_use(projection), &projection.view);
        }
    }
    for projection in &service.projections {
        attributes.put_projection("features", name_to_use(projection), projection);
    }
    attributes.put_common(&service.description, &service.owner, &service.tags);
    attributes
}

/// The name under which a projection's features are asked for.
pub(super) fn name_to_use(projection: &Projection) -> &str {
    projection.alias.as_deref().unwrap_or(&projection.view)
}
