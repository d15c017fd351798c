//! Objects of a project as rows of a table and as JSON. Pure.

use std::collections::BTreeMap;

use backsight_registry::document::RegistryDocument;
use backsight_registry::dtype::{dtype_name, value_type_enum_name};
use backsight_registry::model::{
    Catalog, DataSource, Entity, FeatureService, FeatureView, Field, OnDemandFeatureView, OnDemandInput,
    Projection, SourceKind, Tags, ViewKind,
};
use backsight_registry::ttl::ttl_text;
use serde_json::{Value, json};

use crate::commands::catalog::Listed;
use crate::errors::Failure;
use crate::render::table::Table;

/// A longer list of names in a cell is cut.
const NAMES_WIDTH_MAX: usize = 60;

/// Objects of one kind, as a list shows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    columns: &'static [&'static str],
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// The first is the name.
    cells: Vec<String>,
    json: Value,
    tags: Tags,
}

impl Listing {
    /// Those that have all these tags.
    pub(crate) fn with_tags(mut self, tags: &[(String, String)]) -> Self {
        self.entries.retain(|entry| tags.iter().all(|(key, value)| entry.tags.get(key) == Some(value)));
        self
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.entries.iter().filter_map(|entry| entry.cells.first().cloned()).collect()
    }

    /// As a table.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::of_text(self.columns);
        for entry in &self.entries {
            table.row(entry.cells.iter().cloned());
        }
        table
    }

    /// As JSON objects, whose keys are a stable contract.
    pub(crate) fn json(self) -> Vec<Value> {
        self.entries.into_iter().map(|entry| entry.json).collect()
    }
}

/// The objects of one kind, by name. `saved_tags` looks up what the catalog does not hold.
pub(crate) fn listing(
    listed: Listed,
    catalog: &Catalog,
    saved_tags: impl Fn(&str) -> Result<BTreeMap<String, String>, Failure>,
) -> Result<Listing, Failure> {
    let (columns, mut entries): (&'static [&'static str], Vec<Entry>) = match listed {
        Listed::Entities => {
            (&["NAME", "JOIN KEY", "TYPE", "DESCRIPTION"], catalog.entities.iter().map(entity).collect())
        }
        Listed::DataSources => (
            &["NAME", "TYPE", "PATH", "TIMESTAMP", "CREATED"],
            catalog.data_sources.iter().map(source).collect(),
        ),
        Listed::FeatureViews => (
            &["NAME", "ENTITIES", "FEATURES", "TTL", "SOURCE", "TYPE", "ENABLED"],
            catalog.feature_views.iter().map(view).collect(),
        ),
        Listed::OnDemandFeatureViews => (
            &["NAME", "MODE", "INPUTS", "FEATURES"],
            catalog.on_demand_feature_views.iter().map(on_demand).collect(),
        ),
        Listed::FeatureServices => {
            (&["NAME", "FEATURES"], catalog.feature_services.iter().map(service).collect())
        }
        Listed::SavedDatasets => {
            let mut entries = Vec::new();
            for name in catalog.saved_datasets.iter().map(|dataset| &dataset.name) {
                let tags = saved_tags(name)?;
                entries.push(Entry {
                    cells: vec![name.clone()],
                    json: json!({"name": name, "tags": tags}),
                    tags,
                });
            }
            (&["NAME"], entries)
        }
        Listed::Projects => (&[], Vec::new()),
    };
    entries.sort_by(|left, right| left.cells.first().cmp(&right.cells.first()));
    Ok(Listing { columns, entries })
}

/// The projects of a registry.
pub(crate) fn projects(document: &RegistryDocument, current: &str) -> Listing {
    let entry = |name: String| {
        let object = document.catalog_or_empty(&name).project_object;
        let (description, tags, owner) =
            object.map(|project| (project.description, project.tags, project.owner)).unwrap_or_default();
        let is_current = name == current;
        let json = json!({
            "name": name,
            "description": description,
            "tags": tags,
            "owner": owner,
            "is_current": is_current,
        });
        let shown_tags: Vec<String> = tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let mark = if is_current { "*" } else { "" };
        let cells = vec![name, mark.to_owned(), description, cut(&shown_tags), owner];
        Entry { cells, json, tags }
    };
    let columns = &["NAME", "CURRENT", "DESCRIPTION", "TAGS", "OWNER"];
    Listing { columns, entries: document.projects().into_iter().map(entry).collect() }
}

fn entity(entity: &Entity) -> Entry {
    let value_type = value_type_enum_name(entity.value_type);
    Entry {
        cells: vec![
            entity.name.clone(),
            entity.join_key.clone(),
            value_type.clone(),
            entity.description.clone(),
        ],
        json: json!({
            "name": entity.name,
            "join_key": entity.join_key,
            "value_type": value_type,
            "description": entity.description,
            "tags": entity.tags,
            "owner": entity.owner,
        }),
        tags: entity.tags.clone(),
    }
}

fn source(source: &DataSource) -> Entry {
    let (kind, path, endpoint, format) = match &source.kind {
        SourceKind::File { path, s3_endpoint_override, delta } => {
            let format = if *delta { "delta" } else { "parquet" };
            ("FileSource", Some(path.clone()), s3_endpoint_override.clone(), Some(format))
        }
        SourceKind::Request { .. } => ("RequestSource", None, None, None),
        SourceKind::Other { kind } => (kind.as_str(), None, None, None),
    };
    let created = source.created_timestamp_column.clone();
    Entry {
        cells: vec![
            source.name.clone(),
            kind.to_owned(),
            path.clone().unwrap_or_default(),
            source.timestamp_field.clone(),
            created.clone().unwrap_or_default(),
        ],
        json: json!({
            "name": source.name,
            "type": kind,
            "path": path,
            "s3_endpoint_override": endpoint,
            "file_format": format,
            "timestamp_field": source.timestamp_field,
            "created_timestamp_column": created,
            "date_partition_column": source.date_partition_column,
            "field_mapping": source.field_mapping,
            "description": source.description,
            "tags": source.tags,
            "owner": source.owner,
        }),
        tags: source.tags.clone(),
    }
}

fn view(view: &FeatureView) -> Entry {
    let kind = match view.kind {
        ViewKind::Feature => "FeatureView",
        ViewKind::Stream => "StreamFeatureView",
        ViewKind::Label => "LabelView",
    };
    let ttl = view.ttl.map(|ttl| ttl_text(Some(ttl)));
    Entry {
        cells: vec![
            view.name.clone(),
            cut(&view.entities),
            cut(&names(&view.features)),
            ttl.clone().unwrap_or_else(|| "-".to_owned()),
            view.source.name.clone(),
            kind.to_owned(),
            if view.disabled { "no" } else { "yes" }.to_owned(),
        ],
        json: json!({
            "name": view.name,
            "type": kind,
            "entities": view.entities,
            "join_keys": fields(&view.join_keys),
            "features": fields(&view.features),
            "ttl": ttl,
            "source": view.source.name,
            "online": view.online,
            "enabled": !view.disabled,
            "description": view.description,
            "tags": view.tags,
            "owner": view.owner,
        }),
        tags: view.tags.clone(),
    }
}

fn on_demand(view: &OnDemandFeatureView) -> Entry {
    let inputs: Vec<String> = view
        .inputs
        .iter()
        .map(|(name, input)| match input {
            OnDemandInput::View(projection) => label(projection),
            OnDemandInput::Request(_) => name.clone(),
        })
        .collect();
    Entry {
        cells: vec![view.name.clone(), view.mode.clone(), cut(&inputs), cut(&names(&view.features))],
        json: json!({
            "name": view.name,
            "mode": view.mode,
            "inputs": inputs,
            "features": fields(&view.features),
            "description": view.description,
            "tags": view.tags,
            "owner": view.owner,
        }),
        tags: view.tags.clone(),
    }
}

fn service(service: &FeatureService) -> Entry {
    let shown: Vec<String> = service
        .projections
        .iter()
        .map(|projection| format!("{}: {}", label(projection), cut(&names(&projection.features))))
        .collect();
    let projection = |projection: &Projection| {
        json!({
            "view": projection.view,
            "name": projection.alias,
            "features": names(&projection.features),
            "join_key_map": projection.join_key_map,
        })
    };
    Entry {
        cells: vec![service.name.clone(), shown.join("; ")],
        json: json!({
            "name": service.name,
            "features": service.projections.iter().map(projection).collect::<Vec<_>>(),
            "description": service.description,
            "tags": service.tags,
            "owner": service.owner,
        }),
        tags: service.tags.clone(),
    }
}

/// A view, and the name it goes by.
fn label(projection: &Projection) -> String {
    match &projection.alias {
        Some(alias) if *alias != projection.view => format!("{alias} ({})", projection.view),
        _ => projection.view.clone(),
    }
}

fn names(fields: &[Field]) -> Vec<String> {
    fields.iter().map(|field| field.name.clone()).collect()
}

fn fields(fields: &[Field]) -> Vec<Value> {
    fields.iter().map(|field| json!({"name": field.name, "dtype": dtype_name(field)})).collect()
}

/// As many names as fit into a cell, and how many more there are.
fn cut(names: &[String]) -> String {
    let mut text = String::new();
    for (position, name) in names.iter().enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        if position > 0 && text.chars().count() + separator.len() + name.chars().count() > NAMES_WIDTH_MAX {
            return format!("{text} and {} more", names.len() - position);
        }
        text.push_str(separator);
        text.push_str(name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_names_is_cut_with_its_rest_counted() {
        let names: Vec<String> = (0..100).map(|number| format!("feature_{number}")).collect();
        let shown = cut(&names);
        assert!(shown.starts_with("feature_0, feature_1, ") && shown.ends_with(" more"), "{shown}");
        assert!(shown.chars().count() <= NAMES_WIDTH_MAX + 16, "{shown}");
        assert_eq!(cut(&names[..2]), "feature_0, feature_1");
        assert_eq!(cut(&[]), "");
    }
}
