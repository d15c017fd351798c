//! What feature services and on-demand views store of the views they use.

use std::collections::BTreeMap;

use backsight_proto::feast::core;
use backsight_proto::feast::core::on_demand_source::Source;
use prost::Message;
use prost_types::Timestamp;

use crate::document::ApplyError;
use crate::document::catalog::ProjectObjects;
use crate::document::history::VersionHistory;
use crate::document::lower::{SourcePlace, data_source};
use crate::document::registry_document::Record;
use crate::model::{FeatureService, OnDemandFeatureView, OnDemandInput, Projection};

/// The value that Feast writes for every kind of view.
const VIEW_TYPE: &str = "featureView";

/// The views of a project, as far as they can be used by others.
#[derive(Debug)]
pub(crate) struct Views<'a> {
    project: &'a str,
    by_name: BTreeMap<String, Columns>,
    history: VersionHistory,
}

#[derive(Debug, Clone, Default)]
struct Columns {
    features: Vec<core::FeatureSpecV2>,
    batch_source: Option<core::DataSource>,
    /// `latest` or `vN`.
    version: String,
    current_version: i32,
}

impl<'a> Views<'a> {
    /// The views as they stand in the records now.
    pub(crate) fn read(records: &[Record], project: &'a str, history: VersionHistory) -> Self {
        let objects = ProjectObjects::read(records, project);
        let versions = objects.current_versions();
        let mut by_name = BTreeMap::new();
        for spec in objects.feature_views.into_iter().filter_map(|view| view.spec) {
            by_name.insert(spec.name.clone(), Columns::of_feature_view(spec));
        }
        for spec in objects.stream_feature_views.into_iter().filter_map(|view| view.spec) {
            by_name.insert(spec.name.clone(), Columns::of_stream_view(spec));
        }
        for spec in objects.label_views.into_iter().filter_map(|view| view.spec) {
            let columns =
                Columns { features: spec.features, batch_source: spec.source, ..Default::default() };
            by_name.insert(spec.name, columns);
        }
        for spec in objects.on_demand_feature_views.into_iter().filter_map(|view| view.spec) {
            by_name.insert(spec.name.clone(), Columns::of_on_demand_view(spec));
        }
        for (name, columns) in &mut by_name {
            columns.current_version = versions.get(name).copied().unwrap_or_default();
        }
        Self { project, by_name, history }
    }

    /// A service as Feast writes it.
    pub(crate) fn feature_service(
        &self,
        service: &FeatureService,
        old: Option<core::FeatureService>,
        now: Timestamp,
    ) -> Result<core::FeatureService, ApplyError> {
        let mut message = old.unwrap_or_default();
        let meta = message.meta.get_or_insert_default();
        meta.created_timestamp.get_or_insert(now);
        meta.last_updated_timestamp = Some(now);
        let old = message.spec.take().unwrap_or_default();
        let user = || format!("feature service `{}`", service.name);
        let features = service.projections.iter().map(|part| self.projection(part, &old.features, &user));
        message.spec = Some(core::FeatureServiceSpec {
            name: service.name.clone(),
            project: self.project.to_owned(),
            features: features.collect::<Result<_, _>>()?,
            tags: service.tags.clone(),
            description: service.description.clone(),
            owner: service.owner.clone(),
            logging_config: old.logging_config,
            precompute_online: old.precompute_online,
        });
        Ok(message)
    }

    /// The inputs of an on-demand view as Feast writes them.
    pub(crate) fn on_demand_sources(
        &self,
        view: &OnDemandFeatureView,
        old: Option<&core::OnDemandFeatureViewSpec>,
        now: Timestamp,
    ) -> Result<BTreeMap<String, core::OnDemandSource>, ApplyError> {
        let mut sources = BTreeMap::new();
        for (name, input) in &view.inputs {
            let old = old.and_then(|old| old.sources.get(name)?.source.clone());
            let source = match input {
                OnDemandInput::View(projection) => {
                    let old = match old {
                        Some(Source::FeatureViewProjection(old)) => vec![old],
                        _ => Vec::new(),
                    };
                    let user = || format!("on-demand feature view `{}`", view.name);
                    Source::FeatureViewProjection(self.projection(projection, &old, &user)?)
                }
                OnDemandInput::Request(source) => {
                    let old = match old {
                        Some(Source::RequestDataSource(old)) => Some(old),
                        _ => None,
                    };
                    Source::RequestDataSource(data_source(source, SourcePlace::InProjection, old, now)?)
                }
            };
            sources.insert(name.clone(), core::OnDemandSource { source: Some(source) });
        }
        Ok(sources)
    }

    /// A projection. Its columns are the view's own fields in all attributes: Feast refuses any other.
    fn projection(
        &self,
        projection: &Projection,
        old: &[core::FeatureViewProjection],
        user: &dyn Fn() -> String,
    ) -> Result<core::FeatureViewProjection, ApplyError> {
        let (name, pinned, columns) = self.columns(projection, user)?;
        let alias = projection.alias.clone().unwrap_or_default();
        let old =
            old.iter().find(|old| old.feature_view_name == name && old.feature_view_name_alias == alias);
        let own_pin = columns.version.strip_prefix('v').and_then(|number| number.parse().ok());
        let old_pin = old.and_then(|old| old.version_tag).filter(|tag| *tag == columns.current_version);
        let feature_columns = if projection.features.is_empty() {
            columns.features
        } else {
            let column = |name: &str| columns.features.iter().find(|column| column.name == name).cloned();
            let unknown = |feature: &str| ApplyError::UnknownFeature {
                user: user(),
                view: projection.view.clone(),
                feature: feature.to_owned(),
                known: columns.features.iter().map(|column| column.name.clone()).collect(),
            };
            let names = projection.features.iter().map(|field| field.name.as_str());
            names.map(|name| column(name).ok_or_else(|| unknown(name))).collect::<Result<_, _>>()?
        };
        let source = columns.batch_source.unwrap_or_default();
        Ok(core::FeatureViewProjection {
            feature_view_name: name,
            feature_view_name_alias: alias,
            feature_columns,
            join_key_map: projection.join_key_map.clone(),
            // Feast writes the created column into both fields, and reads neither.
            timestamp_field: source.created_timestamp_column.clone(),
            date_partition_column: source.date_partition_column.clone(),
            created_timestamp_column: source.created_timestamp_column.clone(),
            batch_source: (source.r#type != 0).then(|| core::DataSource {
                data_source_class_type: String::new(),
                project: String::new(),
                ..source
            }),
            stream_source: None,
            version_tag: pinned.or(own_pin).or(old_pin),
            view_type: VIEW_TYPE.to_owned(),
        })
    }

    /// The view that a projection names, or the version of it that `view@vN` names.
    fn columns(
        &self,
        projection: &Projection,
        user: &dyn Fn() -> String,
    ) -> Result<(String, Option<i32>, Columns), ApplyError> {
        if let Some(columns) = self.by_name.get(&projection.view) {
            return Ok((projection.view.clone(), None, columns.clone()));
        }
        let pinned = projection.view.rsplit_once("@v").and_then(|(name, number)| {
            let number = number.parse().ok()?;
            let record = self.history.get(self.project, name, number)?;
            let columns = snapshot(&record.feature_view_type, &record.feature_view_proto)?;
            Some((name.to_owned(), Some(number), Columns { current_version: number, ..columns }))
        });
        pinned.ok_or_else(|| ApplyError::UnknownView {
            user: user(),
            view: projection.view.clone(),
            known: self.by_name.keys().cloned().collect(),
        })
    }
}

impl Columns {
    fn of_feature_view(spec: core::FeatureViewSpec) -> Self {
        Self {
            features: spec.features,
            batch_source: spec.batch_source,
            version: spec.version,
            current_version: 0,
        }
    }

    fn of_stream_view(spec: core::StreamFeatureViewSpec) -> Self {
        let is_key =
            |column: &core::FeatureSpecV2| spec.entity_columns.iter().any(|key| key.name == column.name);
        Self {
            features: spec.features.iter().filter(|column| !is_key(column)).cloned().collect(),
            batch_source: spec.batch_source,
            version: spec.version,
            current_version: 0,
        }
    }

    fn of_on_demand_view(spec: core::OnDemandFeatureViewSpec) -> Self {
        Self { features: spec.features, batch_source: None, version: spec.version, current_version: 0 }
    }
}

/// A view out of the version history.
fn snapshot(view_type: &str, bytes: &[u8]) -> Option<Columns> {
    match view_type {
        "stream_feature_view" => {
            core::StreamFeatureView::decode(bytes).ok()?.spec.map(Columns::of_stream_view)
        }
        "on_demand_feature_view" => {
            core::OnDemandFeatureView::decode(bytes).ok()?.spec.map(Columns::of_on_demand_view)
        }
        _ => core::FeatureView::decode(bytes).ok()?.spec.map(Columns::of_feature_view),
    }
}
