//! Each kind of object as a document: the keys that definitions have, without those that say what holds anyway.

use std::collections::{BTreeMap, BTreeSet};

use super::emit::Node;
use crate::dtype::{dtype_name, parse_dtype, value_type_enum_name};
use crate::model::{
    Catalog, DataSource, Entity, FeatureService, FeatureView, Field, OnDemandFeatureView, OnDemandInput,
    Project, Projection, SourceKind, Tags,
};

/// The mode of an on-demand view that does not say one.
const DEFAULT_MODE: &str = "pandas";

/// The keys of one document, in order.
pub(super) type Document = Vec<(String, Node)>;

/// What a document needs to know of others.
pub(super) struct Context<'a> {
    entities: BTreeMap<&'a str, &'a Entity>,
    /// Names of the features of each view that can be written, in order.
    features: BTreeMap<&'a str, Vec<&'a str>>,
    sources: BTreeSet<&'a str>,
}

impl<'a> Context<'a> {
    /// The context of one project.
    pub(super) fn of(catalog: &'a Catalog) -> Self {
        let names = |fields: &'a [Field]| fields.iter().map(|field| field.name.as_str()).collect();
        let views = catalog.feature_views.iter().map(|view| (view.name.as_str(), names(&view.features)));
        let on_demand =
            catalog.on_demand_feature_views.iter().map(|view| (view.name.as_str(), names(&view.features)));
        Self {
            entities: catalog.entities.iter().map(|entity| (entity.name.as_str(), entity)).collect(),
            features: views.chain(on_demand).collect(),
            sources: catalog.data_sources.iter().map(|source| source.name.as_str()).collect(),
        }
    }
}

/// A document that is being put together.
struct Keys(Document);

impl Keys {
    fn new(kind: &str, name: &str) -> Self {
        Self(vec![("kind".to_owned(), Node::text(kind)), ("name".to_owned(), Node::text(name))])
    }

    fn put(&mut self, key: &str, value: Node) {
        self.0.push((key.to_owned(), value));
    }

    /// An empty text is a key that is not given.
    fn put_text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, Node::text(text));
        }
    }

    fn put_map(&mut self, key: &str, map: &BTreeMap<String, String>) {
        if !map.is_empty() {
            self.put(key, text_map(map));
        }
    }

    fn with_common(mut self, description: &str, owner: &str, tags: &Tags) -> Document {
        self.put_text("description", description);
        self.put_map("tags", tags);
        self.put_text("owner", owner);
        self.0
    }
}

/// The project, if there is more to say of it than its name.
pub(super) fn project(project: &Project) -> Option<Document> {
    let document =
        Keys::new("Project", &project.name).with_common(&project.description, &project.owner, &project.tags);
    (document.len() > 2).then_some(document)
}

pub(super) fn entity(entity: &Entity) -> Document {
    let mut keys = Keys::new("Entity", &entity.name);
    keys.put("join_keys", Node::List(vec![Node::text(&entity.join_key)]));
    if entity.value_type.0 != 0 {
        keys.put("value_type", Node::Text(value_type_enum_name(entity.value_type)));
    }
    keys.with_common(&entity.description, &entity.owner, &entity.tags)
}

pub(super) fn source(source: &DataSource) -> Document {
    let mut keys = match &source.kind {
        SourceKind::File { path, s3_endpoint_override, delta } => {
            let mut keys = Keys::new("FileSource", &source.name);
            keys.put("path", Node::text(path));
            keys.put_text("s3_endpoint_override", s3_endpoint_override.as_deref().unwrap_or_default());
            keys.put_text("file_format", if *delta { "delta" } else { "" });
            keys.put("timestamp_field", Node::text(&source.timestamp_field));
            keys
        }
        SourceKind::Request { schema } => {
            let mut keys = Keys::new("RequestSource", &source.name);
            keys.put("schema", Node::List(schema.iter().map(field).collect()));
            keys
        }
        SourceKind::Other { kind } => Keys::new(kind, &source.name),
    };
    keys.put_text("created_timestamp_column", source.created_timestamp_column.as_deref().unwrap_or_default());
    keys.put_text("date_partition_column", source.date_partition_column.as_deref().unwrap_or_default());
    keys.put_map("field_mapping", &source.field_mapping);
    keys.with_common(&source.description, &source.owner, &source.tags)
}

pub(super) fn feature_view(view: &FeatureView, context: &Context<'_>) -> Document {
    let mut keys = Keys::new("FeatureView", &view.name);
    if !view.entities.is_empty() {
        keys.put("entities", text_list(view.entities.iter().map(String::as_str)));
    }
    if let Some(ttl) = view.ttl {
        keys.put("ttl", Node::Word(ttl.to_string()));
    }
    let declared = view.join_keys.iter().filter(|key| !is_said_by_entity(key, view, context));
    keys.put("schema", Node::List(declared.chain(&view.features).map(field).collect()));
    keys.put("source", Node::text(&view.source.name));
    for (key, is_default, value) in
        [("online", view.online, view.online), ("enabled", !view.disabled, !view.disabled)]
    {
        if !is_default {
            keys.put(key, Node::Word(value.to_string()));
        }
    }
    keys.with_common(&view.description, &view.owner, &view.tags)
}

/// Whether an entity of the view says all of this join key.
fn is_said_by_entity(key: &Field, view: &FeatureView, context: &Context<'_>) -> bool {
    let mut entities = view.entities.iter().filter_map(|name| context.entities.get(name.as_str()));
    let entity = entities.find(|entity| entity.join_key == key.name);
    entity.is_some_and(|entity| entity.value_type == key.value_type && entity.value_type.0 != 0)
        && key.description.is_empty()
        && key.tags.is_empty()
}

pub(super) fn on_demand_view(view: &OnDemandFeatureView, context: &Context<'_>) -> Document {
    let mut keys = Keys::new("OnDemandFeatureView", &view.name);
    let sources = view.inputs.iter().map(|(name, input)| match input {
        OnDemandInput::Request(source) if context.features.contains_key(source.name.as_str()) => {
            Node::Map(vec![("source".to_owned(), Node::text(&source.name))])
        }
        OnDemandInput::Request(source) => Node::text(&source.name),
        OnDemandInput::View(projection) => {
            // An input goes by the name under which the view has it.
            let alias = (*name != projection.view).then_some(name.as_str());
            let is_ambiguous = context.sources.contains(projection.view.as_str());
            selection(projection, alias, is_ambiguous, context)
        }
    });
    keys.put("sources", Node::List(sources.collect()));
    keys.put("schema", Node::List(view.features.iter().map(field).collect()));
    if view.mode != DEFAULT_MODE {
        keys.put_text("mode", &view.mode);
    }
    if let Some((name, text)) = &view.transformation {
        keys.put("udf", Node::text(text));
        let first = text.lines().find(|line| line.starts_with("def "));
        if !first.is_some_and(|line| line.starts_with(&format!("def {name}("))) {
            keys.put_text("udf_name", name);
        }
    }
    keys.with_common(&view.description, &view.owner, &view.tags)
}

pub(super) fn feature_service(service: &FeatureService, context: &Context<'_>) -> Document {
    let mut keys = Keys::new("FeatureService", &service.name);
    let parts = service.projections.iter().map(|part| selection(part, part.alias.as_deref(), false, context));
    keys.put("features", Node::List(parts.collect()));
    keys.with_common(&service.description, &service.owner, &service.tags)
}

/// A part of a view: its name alone when it is the whole view under its own name.
fn selection(
    projection: &Projection,
    alias: Option<&str>,
    is_ambiguous: bool,
    context: &Context<'_>,
) -> Node {
    let selected = || projection.features.iter().map(|feature| feature.name.as_str());
    let whole = context.features.get(projection.view.as_str());
    let is_whole =
        projection.features.is_empty() || whole.is_some_and(|whole| selected().eq(whole.iter().copied()));
    if is_whole && alias.is_none() && projection.join_key_map.is_empty() && !is_ambiguous {
        return Node::text(&projection.view);
    }
    let mut pairs = vec![("view".to_owned(), Node::text(&projection.view))];
    if let Some(alias) = alias {
        pairs.push(("name".to_owned(), Node::text(alias)));
    }
    if !is_whole {
        pairs.push(("features".to_owned(), text_list(selected())));
    }
    if !projection.join_key_map.is_empty() {
        pairs.push(("join_key_map".to_owned(), text_map(&projection.join_key_map)));
    }
    Node::Map(pairs)
}

fn field(field: &Field) -> Node {
    let dtype = dtype_name(field);
    // Feast's own tags hold a part of the type, which the type says already.
    let said = parse_dtype(&dtype).map(|dtype| dtype.tags).unwrap_or_default();
    let tags: Tags = field
        .tags
        .iter()
        .filter(|(key, _)| !said.contains_key(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut pairs =
        vec![("name".to_owned(), Node::text(&field.name)), ("dtype".to_owned(), Node::Text(dtype))];
    if !field.description.is_empty() {
        pairs.push(("description".to_owned(), Node::text(&field.description)));
    }
    if !tags.is_empty() {
        pairs.push(("tags".to_owned(), text_map(&tags)));
    }
    Node::Map(pairs)
}

fn text_list<'a>(texts: impl Iterator<Item = &'a str>) -> Node {
    Node::List(texts.map(Node::text).collect())
}

fn text_map(map: &BTreeMap<String, String>) -> Node {
    Node::Map(map.iter().map(|(key, value)| (key.clone(), Node::text(value))).collect())
}
