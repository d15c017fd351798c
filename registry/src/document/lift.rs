//! From Feast's messages to plain values: how each message is read, and which of its parts are believed.

use backsight_proto::feast::core;
use backsight_proto::feast::core::data_source::{Options, SourceType};
use backsight_proto::feast::core::feature_transformation_v2::Transformation;
use backsight_proto::feast::core::file_format::Format;
use backsight_proto::feast::core::on_demand_source::Source;

use crate::model::{
    DataSource, DatasetRecipe, Entity, FeatureService, FeatureView, Field, OnDemandFeatureView,
    OnDemandInput, Project, Projection, SourceKind, Ttl, ValueType, ViewKind,
};

/// Feast's internal entity, which stands in every project and in every entity-less view.
pub(crate) const DUMMY_ENTITY: &str = "__dummy";
/// The join key of [`DUMMY_ENTITY`].
pub(crate) const DUMMY_JOIN_KEY: &str = "__dummy_id";

const NANOS_PER_SECOND: i128 = 1_000_000_000;

pub(crate) fn project(message: core::Project) -> Project {
    let spec = message.spec.unwrap_or_default();
    Project { name: spec.name, description: spec.description, tags: spec.tags, owner: spec.owner }
}

pub(crate) fn entity(message: core::Entity) -> Entity {
    let spec = message.spec.unwrap_or_default();
    Entity {
        join_key: if spec.join_key.is_empty() { spec.name.clone() } else { spec.join_key },
        name: spec.name,
        value_type: ValueType(spec.value_type),
        description: spec.description,
        tags: spec.tags,
        owner: spec.owner,
    }
}

pub(crate) fn field(message: core::FeatureSpecV2) -> Field {
    Field {
        name: message.name,
        value_type: ValueType(message.value_type),
        description: message.description,
        tags: message.tags,
    }
}

pub(crate) fn fields(messages: Vec<core::FeatureSpecV2>) -> Vec<Field> {
    messages.into_iter().map(field).collect()
}

/// A source; the kind is decided by its type, since Feast drops the class name on some paths.
pub(crate) fn data_source(message: core::DataSource) -> DataSource {
    let kind = source_kind(&message);
    let name = match &kind {
        // Feast names an unnamed file source after its path.
        SourceKind::File { path, .. } if message.name.is_empty() => path.clone(),
        _ => message.name,
    };
    DataSource {
        name,
        kind,
        timestamp_field: message.timestamp_field,
        created_timestamp_column: non_empty(message.created_timestamp_column),
        date_partition_column: non_empty(message.date_partition_column),
        field_mapping: message.field_mapping,
        description: message.description,
        tags: message.tags,
        owner: message.owner,
    }
}

fn source_kind(message: &core::DataSource) -> SourceKind {
    let other = |kind: &str| SourceKind::Other { kind: kind.to_owned() };
    match SourceType::try_from(message.r#type) {
        Ok(SourceType::BatchFile) => match &message.options {
            Some(Options::FileOptions(options)) => SourceKind::File {
                path: options.uri.clone(),
                s3_endpoint_override: non_empty(options.s3_endpoint_override.clone()),
                delta: matches!(
                    options.file_format.as_ref().and_then(|format| format.format.as_ref()),
                    Some(Format::DeltaFormat(_))
                ),
            },
            _ => other("FileSource without a path"),
        },
        Ok(SourceType::RequestSource) => match &message.options {
            Some(Options::RequestDataOptions(options)) if !options.schema.is_empty() => {
                SourceKind::Request { schema: fields(options.schema.clone()) }
            }
            Some(Options::RequestDataOptions(options)) => SourceKind::Request {
                schema: options
                    .deprecated_schema
                    .iter()
                    .map(|(name, value_type)| Field {
                        name: name.clone(),
                        value_type: ValueType(*value_type),
                        description: String::new(),
                        tags: Default::default(),
                    })
                    .collect(),
            },
            _ => SourceKind::Request { schema: Vec::new() },
        },
        Ok(SourceType::BatchSnowflake) => other("SnowflakeSource"),
        Ok(SourceType::BatchBigquery) => other("BigQuerySource"),
        Ok(SourceType::BatchRedshift) => other("RedshiftSource"),
        Ok(SourceType::StreamKafka) => other("KafkaSource"),
        Ok(SourceType::StreamKinesis) => other("KinesisSource"),
        Ok(SourceType::PushSource) => other("PushSource"),
        Ok(SourceType::BatchTrino) => other("TrinoSource"),
        Ok(SourceType::BatchSpark) => other("SparkSource"),
        Ok(SourceType::BatchAthena) => other("AthenaSource"),
        Ok(SourceType::BatchIceberg) => other("IcebergSource"),
        Ok(SourceType::CustomSource) => {
            let class = message.data_source_class_type.rsplit('.').next().unwrap_or_default();
            other(if class.is_empty() { "CustomSource" } else { class })
        }
        Ok(SourceType::Invalid) => other("source without a type"),
        Err(_) => SourceKind::Other { kind: format!("source of the unknown type {}", message.r#type) },
    }
}

/// The source that a batch retrieval reads: a push or stream source stands for its batch source.
fn batch_source(message: Option<core::DataSource>) -> DataSource {
    let Some(mut message) = message else {
        return DataSource {
            name: String::new(),
            kind: SourceKind::Other { kind: "missing source".to_owned() },
            timestamp_field: String::new(),
            created_timestamp_column: None,
            date_partition_column: None,
            field_mapping: Default::default(),
            description: String::new(),
            tags: Default::default(),
            owner: String::new(),
        };
    };
    let streams =
        [SourceType::PushSource, SourceType::StreamKafka, SourceType::StreamKinesis].map(|kind| kind as i32);
    if streams.contains(&message.r#type)
        && let Some(inner) = message.batch_source.take()
    {
        return data_source(*inner);
    }
    data_source(message)
}

pub(crate) fn ttl(message: Option<prost_types::Duration>) -> Option<Ttl> {
    let duration = message?;
    Ttl::from_nanos(i128::from(duration.seconds) * NANOS_PER_SECOND + i128::from(duration.nanos))
}

pub(crate) fn feature_view(message: core::FeatureView) -> FeatureView {
    let spec = message.spec.unwrap_or_default();
    FeatureView {
        name: spec.name,
        kind: ViewKind::Feature,
        entities: without_dummy(spec.entities),
        join_keys: join_keys(spec.entity_columns),
        features: fields(spec.features),
        ttl: ttl(spec.ttl),
        source: batch_source(spec.batch_source),
        online: spec.online,
        disabled: spec.disabled,
        state: message.meta.unwrap_or_default().state,
        description: spec.description,
        tags: spec.tags,
        owner: spec.owner,
    }
}

pub(crate) fn stream_feature_view(message: core::StreamFeatureView) -> FeatureView {
    let spec = message.spec.unwrap_or_default();
    let join_keys = join_keys(spec.entity_columns);
    // Feast lists the join keys of a stream view among its features too.
    let is_feature = |field: &Field| join_keys.iter().all(|key| key.name != field.name);
    FeatureView {
        name: spec.name,
        kind: ViewKind::Stream,
        entities: without_dummy(spec.entities),
        features: fields(spec.features).into_iter().filter(is_feature).collect(),
        join_keys,
        ttl: ttl(spec.ttl),
        source: batch_source(spec.batch_source),
        online: spec.online,
        disabled: spec.disabled,
        state: message.meta.unwrap_or_default().state,
        description: spec.description,
        tags: spec.tags,
        owner: spec.owner,
    }
}

pub(crate) fn label_view(message: core::LabelView) -> FeatureView {
    let spec = message.spec.unwrap_or_default();
    FeatureView {
        name: spec.name,
        kind: ViewKind::Label,
        entities: without_dummy(spec.entities),
        join_keys: join_keys(spec.entity_columns),
        features: fields(spec.features),
        ttl: ttl(spec.ttl),
        source: batch_source(spec.source),
        online: spec.online,
        disabled: false,
        state: 0,
        description: spec.description,
        tags: spec.tags,
        owner: spec.owner,
    }
}

fn without_dummy(entities: Vec<String>) -> Vec<String> {
    entities.into_iter().filter(|name| name != DUMMY_ENTITY).collect()
}

fn join_keys(columns: Vec<core::FeatureSpecV2>) -> Vec<Field> {
    columns.into_iter().filter(|column| column.name != DUMMY_JOIN_KEY).map(field).collect()
}

pub(crate) fn saved_dataset(message: core::SavedDataset) -> DatasetRecipe {
    let spec = message.spec.unwrap_or_default();
    DatasetRecipe {
        name: spec.name,
        features: spec.features,
        feature_service: non_empty(spec.feature_service_name),
    }
}

/// A projection; only these parts are believed, everything else is resolved through the view.
///
/// A pinned version that is not the view's current one stays visible as `view@vN`, so that nobody takes the current
/// definition for it.
pub(crate) fn projection(message: core::FeatureViewProjection, current_version: Option<i32>) -> Projection {
    let view = match message.version_tag {
        Some(pinned) if current_version != Some(pinned) => format!("{}@v{pinned}", message.feature_view_name),
        _ => message.feature_view_name,
    };
    Projection {
        view,
        alias: non_empty(message.feature_view_name_alias),
        features: fields(message.feature_columns),
        join_key_map: message.join_key_map,
    }
}

/// A service; `current_version` gives the version number of a view's current definition.
pub(crate) fn feature_service(
    message: core::FeatureService,
    current_version: impl Fn(&str) -> Option<i32>,
) -> FeatureService {
    let spec = message.spec.unwrap_or_default();
    let projections = spec
        .features
        .into_iter()
        .map(|message| {
            let current = current_version(&message.feature_view_name);
            projection(message, current)
        })
        .collect();
    FeatureService {
        name: spec.name,
        projections,
        description: spec.description,
        tags: spec.tags,
        owner: spec.owner,
    }
}

pub(crate) fn on_demand_feature_view(
    message: core::OnDemandFeatureView,
    current_version: impl Fn(&str) -> Option<i32>,
) -> OnDemandFeatureView {
    let spec = message.spec.unwrap_or_default();
    let transformation = on_demand_function(&spec);
    let mode = match (&transformation, spec.mode.is_empty()) {
        (_, false) => spec.mode,
        (Some(function), true) if !function.mode.is_empty() => function.mode.clone(),
        _ => "pandas".to_owned(),
    };
    let inputs = spec
        .sources
        .into_iter()
        .filter_map(|(name, source)| {
            let input = match source.source? {
                Source::FeatureViewProjection(message) => {
                    let current = current_version(&message.feature_view_name);
                    OnDemandInput::View(projection(message, current))
                }
                // Old Feast: the whole view.
                Source::FeatureView(message) => {
                    let view = feature_view(message);
                    OnDemandInput::View(Projection {
                        view: view.name,
                        alias: None,
                        features: view.features,
                        join_key_map: Default::default(),
                    })
                }
                Source::RequestDataSource(message) => OnDemandInput::Request(data_source(message)),
            };
            Some((name, input))
        })
        .collect();
    OnDemandFeatureView {
        name: spec.name,
        features: fields(spec.features),
        inputs,
        mode,
        transformation: transformation.map(|function| (function.name, function.body_text)),
        description: spec.description,
        tags: spec.tags,
        owner: spec.owner,
    }
}

/// The function of an on-demand view, from the field of today or the one of old Feast.
pub(crate) fn on_demand_function(
    spec: &core::OnDemandFeatureViewSpec,
) -> Option<core::UserDefinedFunctionV2> {
    let today = spec.feature_transformation.as_ref().and_then(|message| message.transformation.as_ref());
    if let Some(Transformation::UserDefinedFunction(function)) = today {
        return Some(function.clone());
    }
    // Registries of old Feast hold the function there.
    spec.user_defined_function.as_ref().map(|function| core::UserDefinedFunctionV2 {
        name: function.name.clone(),
        body: function.body.clone(),
        body_text: function.body_text.clone(),
        mode: String::new(),
    })
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The column that an entity joins by.
pub(crate) fn join_key_of(entity: &Entity) -> Field {
    Field {
        name: entity.join_key.clone(),
        value_type: entity.value_type,
        description: String::new(),
        tags: Default::default(),
    }
}
