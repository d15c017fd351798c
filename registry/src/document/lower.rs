//! From plain values to Feast's messages: every field as Feast's Python SDK writes it.
//!
//! Each function takes the old message, when there is one, and overwrites what definitions express; what they do not
//! express (logging, materialization, vector settings, a pickled function whose text is the same) stays.

use backsight_proto::feast::core;
use backsight_proto::feast::core::data_source::{
    FileOptions, Options, RequestDataOptions, SourceMeta, SourceType,
};
use backsight_proto::feast::core::feature_transformation_v2::Transformation;
use backsight_proto::feast::core::file_format::{Format, ParquetFormat};
use backsight_proto::feast::core::table_format::DeltaFormat;
use backsight_proto::feast::types::value_type;
use prost_types::{Duration, Timestamp};

use crate::document::ApplyError;
use crate::document::lift::{self, DUMMY_ENTITY, DUMMY_JOIN_KEY};
use crate::model::{DataSource, Entity, FeatureView, Field, OnDemandFeatureView, Project, SourceKind, Ttl};

const FILE_SOURCE_CLASS: &str = "feast.infra.offline_stores.file_source.FileSource";
const REQUEST_SOURCE_CLASS: &str = "feast.data_source.RequestSource";
/// The version of a view that is not pinned.
pub(crate) const LATEST: &str = "latest";
/// Protobuf ends durations at 10,000 years, and so do its readers.
const DURATION_SECONDS_MAX: i128 = 315_576_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

pub(crate) fn project(project: &Project, old: Option<core::Project>, now: Timestamp) -> core::Project {
    let mut message = old.unwrap_or_default();
    let meta = message.meta.get_or_insert_default();
    meta.created_timestamp.get_or_insert(now);
    meta.last_updated_timestamp = Some(now);
    message.spec = Some(core::ProjectSpec {
        name: project.name.clone(),
        description: project.description.clone(),
        tags: project.tags.clone(),
        owner: project.owner.clone(),
    });
    message
}

pub(crate) fn entity(
    entity: &Entity,
    project: &str,
    old: Option<core::Entity>,
    now: Timestamp,
) -> core::Entity {
    let mut message = old.unwrap_or_default();
    let meta = message.meta.get_or_insert_default();
    meta.created_timestamp.get_or_insert(now);
    meta.last_updated_timestamp = Some(now);
    message.spec = Some(core::EntitySpecV2 {
        name: entity.name.clone(),
        project: project.to_owned(),
        value_type: entity.value_type.0,
        description: entity.description.clone(),
        join_key: entity.join_key.clone(),
        tags: entity.tags.clone(),
        owner: entity.owner.clone(),
    });
    message
}

/// Feast's internal entity, which every project has.
pub(crate) fn dummy_entity(project: &str, now: Timestamp) -> core::Entity {
    core::Entity {
        spec: Some(core::EntitySpecV2 {
            name: DUMMY_ENTITY.to_owned(),
            project: project.to_owned(),
            join_key: DUMMY_JOIN_KEY.to_owned(),
            ..Default::default()
        }),
        meta: Some(core::EntityMeta { created_timestamp: Some(now), last_updated_timestamp: Some(now) }),
    }
}

/// Where a source stands decides which of its fields Feast writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourcePlace<'a> {
    /// In `data_sources`, with the project.
    TopLevel(&'a str),
    /// In a view or an on-demand view.
    InView,
    /// In a projection, without the class.
    InProjection,
}

/// A source at its place. The old one is kept whole when nothing that definitions express has changed.
pub(crate) fn data_source(
    source: &DataSource,
    place: SourcePlace<'_>,
    old: Option<core::DataSource>,
    now: Timestamp,
) -> Result<core::DataSource, ApplyError> {
    if let Some(old) = &old
        && place != SourcePlace::InProjection
        && lift::data_source(old.clone()) == *source
    {
        return Ok(old.clone());
    }
    let (kind, class) = match &source.kind {
        SourceKind::File { .. } => (SourceType::BatchFile, FILE_SOURCE_CLASS),
        SourceKind::Request { .. } => (SourceType::RequestSource, REQUEST_SOURCE_CLASS),
        SourceKind::Other { kind } => {
            return Err(ApplyError::UnwritableSource {
                source_name: source.name.clone(),
                kind: kind.clone(),
            });
        }
    };
    let old = old.filter(|old| old.r#type == kind as i32);
    let created = old.as_ref().and_then(|old| old.meta?.created_timestamp);
    let meta = SourceMeta {
        created_timestamp: Some(created.unwrap_or(now)),
        last_updated_timestamp: Some(now),
        ..Default::default()
    };
    let options = options(&source.kind, old.as_ref().and_then(|old| old.options.as_ref()));
    Ok(core::DataSource {
        r#type: kind as i32,
        name: source.name.clone(),
        project: match place {
            SourcePlace::TopLevel(project) => project.to_owned(),
            SourcePlace::InView | SourcePlace::InProjection => String::new(),
        },
        data_source_class_type: match place {
            SourcePlace::TopLevel(_) | SourcePlace::InView => class.to_owned(),
            SourcePlace::InProjection => String::new(),
        },
        field_mapping: source.field_mapping.clone(),
        timestamp_field: source.timestamp_field.clone(),
        created_timestamp_column: source.created_timestamp_column.clone().unwrap_or_default(),
        date_partition_column: source.date_partition_column.clone().unwrap_or_default(),
        description: source.description.clone(),
        tags: source.tags.clone(),
        owner: source.owner.clone(),
        timestamp_field_type: old.map(|old| old.timestamp_field_type).unwrap_or_default(),
        batch_source: None,
        meta: Some(meta),
        options,
    })
}

fn options(kind: &SourceKind, old: Option<&Options>) -> Option<Options> {
    match kind {
        SourceKind::File { path, s3_endpoint_override, delta } => {
            let format = if *delta {
                Format::DeltaFormat(DeltaFormat::default())
            } else {
                // Said, not left out: Feast's DuckDB store reads folders only when the format is there.
                Format::ParquetFormat(ParquetFormat {})
            };
            let kept = match old {
                Some(Options::FileOptions(old)) => old.file_format.clone(),
                _ => None,
            };
            let is_delta = |format: &core::FileFormat| matches!(format.format, Some(Format::DeltaFormat(_)));
            Some(Options::FileOptions(FileOptions {
                file_format: Some(
                    kept.filter(|kept| kept.format.is_some() && is_delta(kept) == *delta)
                        .unwrap_or(core::FileFormat { format: Some(format) }),
                ),
                uri: path.clone(),
                s3_endpoint_override: s3_endpoint_override.clone().unwrap_or_default(),
            }))
        }
        SourceKind::Request { schema } => {
            let old = match old {
                Some(Options::RequestDataOptions(old)) => &old.schema[..],
                _ => &[],
            };
            Some(Options::RequestDataOptions(RequestDataOptions {
                deprecated_schema: Default::default(),
                schema: fields(schema, old),
            }))
        }
        SourceKind::Other { .. } => None,
    }
}

/// Fields; a vector setting stays while the type does.
pub(crate) fn fields(fields: &[Field], old: &[core::FeatureSpecV2]) -> Vec<core::FeatureSpecV2> {
    let lower = |field: &Field| {
        let same =
            |old: &&core::FeatureSpecV2| old.name == field.name && old.value_type == field.value_type.0;
        let kept = old.iter().find(same).cloned().unwrap_or_default();
        core::FeatureSpecV2 {
            name: field.name.clone(),
            value_type: field.value_type.0,
            description: field.description.clone(),
            tags: field.tags.clone(),
            ..kept
        }
    };
    fields.iter().map(lower).collect()
}

pub(crate) fn feature_view(
    view: &FeatureView,
    project: &str,
    old: Option<core::FeatureView>,
    now: Timestamp,
) -> Result<core::FeatureView, ApplyError> {
    let mut message = old.unwrap_or_default();
    let meta = message.meta.get_or_insert_default();
    meta.created_timestamp.get_or_insert(now);
    meta.last_updated_timestamp = Some(now);
    if view.state != 0 {
        meta.state = view.state;
    }
    let old = message.spec.take().unwrap_or_default();
    message.spec = Some(core::FeatureViewSpec {
        name: view.name.clone(),
        project: project.to_owned(),
        entities: entity_names(&view.entities),
        features: fields(&view.features, &old.features),
        tags: view.tags.clone(),
        ttl: Some(ttl(view)?),
        batch_source: Some(data_source(&view.source, SourcePlace::InView, old.batch_source, now)?),
        online: view.online,
        stream_source: None,
        description: view.description.clone(),
        owner: view.owner.clone(),
        entity_columns: entity_columns(&view.join_keys, &old.entity_columns),
        source_views: Vec::new(),
        feature_transformation: None,
        mode: String::new(),
        version: if old.version.is_empty() { LATEST.to_owned() } else { old.version },
        disabled: view.disabled,
        offline: old.offline,
        enable_validation: old.enable_validation,
        org: old.org,
    });
    Ok(message)
}

fn ttl(view: &FeatureView) -> Result<Duration, ApplyError> {
    let nanos = view.ttl.map(Ttl::nanos).unwrap_or_default();
    let too_long = || ApplyError::TtlTooLong { view: view.name.clone() };
    if nanos / NANOS_PER_SECOND > DURATION_SECONDS_MAX {
        return Err(too_long());
    }
    Ok(Duration {
        seconds: i64::try_from(nanos / NANOS_PER_SECOND).map_err(|_| too_long())?,
        nanos: i32::try_from(nanos % NANOS_PER_SECOND).map_err(|_| too_long())?,
    })
}

fn entity_names(entities: &[String]) -> Vec<String> {
    if entities.is_empty() { vec![DUMMY_ENTITY.to_owned()] } else { entities.to_vec() }
}

/// The join keys in the old order as long as they are the same keys: Feast's order means nothing.
fn entity_columns(join_keys: &[Field], old: &[core::FeatureSpecV2]) -> Vec<core::FeatureSpecV2> {
    if join_keys.is_empty() {
        return vec![core::FeatureSpecV2 {
            name: DUMMY_JOIN_KEY.to_owned(),
            value_type: value_type::Enum::String as i32,
            ..Default::default()
        }];
    }
    let mut columns = fields(join_keys, old);
    let place = |column: &core::FeatureSpecV2| old.iter().position(|old| old.name == column.name);
    columns.sort_by_key(|column| place(column).unwrap_or(usize::MAX));
    columns
}

/// An on-demand view; `sources` are its lowered inputs.
pub(crate) fn on_demand_feature_view(
    view: &OnDemandFeatureView,
    project: &str,
    sources: std::collections::BTreeMap<String, core::OnDemandSource>,
    old: Option<core::OnDemandFeatureView>,
    now: Timestamp,
) -> core::OnDemandFeatureView {
    let mut message = old.unwrap_or_default();
    let meta = message.meta.get_or_insert_default();
    meta.created_timestamp.get_or_insert(now);
    meta.last_updated_timestamp = Some(now);
    let old = message.spec.take().unwrap_or_default();
    let function = on_demand_function(view, &old);
    message.spec = Some(core::OnDemandFeatureViewSpec {
        name: view.name.clone(),
        project: project.to_owned(),
        features: fields(&view.features, &old.features),
        sources,
        feature_transformation: function.map(|function| core::FeatureTransformationV2 {
            transformation: Some(Transformation::UserDefinedFunction(function)),
        }),
        user_defined_function: None,
        description: view.description.clone(),
        tags: view.tags.clone(),
        owner: view.owner.clone(),
        mode: view.mode.clone(),
        entities: if old.entities.is_empty() { entity_names(&[]) } else { old.entities },
        entity_columns: if old.entity_columns.is_empty() {
            entity_columns(&[], &[])
        } else {
            old.entity_columns
        },
        aggregations: Vec::new(),
        version: if old.version.is_empty() { LATEST.to_owned() } else { old.version },
        write_to_online_store: old.write_to_online_store,
        singleton: old.singleton,
        org: old.org,
        disabled: old.disabled,
    });
    message
}

/// The function; a pickled body stays while name and text do, else Feast makes it from the text.
fn on_demand_function(
    view: &OnDemandFeatureView,
    old: &core::OnDemandFeatureViewSpec,
) -> Option<core::UserDefinedFunctionV2> {
    let (name, text) = view.transformation.as_ref()?;
    let kept = lift::on_demand_function(old).filter(|old| old.name == *name && old.body_text == *text);
    Some(core::UserDefinedFunctionV2 {
        name: name.clone(),
        body: kept.map(|kept| kept.body).unwrap_or_default(),
        body_text: text.clone(),
        mode: view.mode.clone(),
    })
}
