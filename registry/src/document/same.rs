//! Whether two messages mean the same, whatever times and copies Feast stamps on them.

use backsight_proto::feast::core;
use backsight_proto::feast::core::on_demand_source::Source;
use prost::Message;

/// A message that can be stripped of what says nothing about its definition.
pub(crate) trait Definition: Message + Default + Clone + PartialEq {
    /// Removes times, process-local copies and meaningless order.
    fn strip(&mut self);

    /// Whether both define the same.
    fn is_same(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self.clone(), other.clone());
        left.strip();
        right.strip();
        left == right
    }
}

/// A view whose schema has versions.
pub(crate) trait Versioned: Definition {
    /// What `feature_view_type` of the version history says.
    const VIEW_TYPE: &'static str;

    /// Whether Feast would store `self` as a new version after `old`: schema, entities or function differ.
    fn is_new_version_of(&self, old: &Self) -> bool;

    /// Makes this the definition of that number.
    fn set_version(&mut self, number: i32, version: &str);
}

impl Definition for core::Project {
    fn strip(&mut self) {
        self.meta = None;
    }
}

impl Definition for core::SavedDataset {
    fn strip(&mut self) {
        if let Some(meta) = &mut self.meta {
            meta.created_timestamp = None;
            meta.last_updated_timestamp = None;
        }
    }
}

impl Definition for core::Entity {
    fn strip(&mut self) {
        self.meta = None;
    }
}

impl Definition for core::DataSource {
    fn strip(&mut self) {
        self.meta = None;
        self.data_source_class_type.clear();
        if let Some(inner) = &mut self.batch_source {
            inner.strip();
        }
    }
}

impl Definition for core::FeatureView {
    fn strip(&mut self) {
        if let Some(meta) = &mut self.meta {
            meta.created_timestamp = None;
            meta.last_updated_timestamp = None;
        }
        let Some(spec) = &mut self.spec else { return };
        for source in spec.batch_source.iter_mut().chain(&mut spec.stream_source) {
            source.strip();
        }
        spec.entities.sort();
        sort(&mut spec.entity_columns);
        // No ttl and a ttl of zero are both "for ever"; an unnamed version is the latest.
        spec.ttl = spec.ttl.filter(|ttl| ttl.seconds != 0 || ttl.nanos != 0);
        if spec.version.is_empty() {
            spec.version = super::lower::LATEST.to_owned();
        }
    }
}

impl Versioned for core::FeatureView {
    const VIEW_TYPE: &'static str = "feature_view";

    fn is_new_version_of(&self, old: &Self) -> bool {
        let schema = |view: &Self| {
            let spec = view.spec.clone().unwrap_or_default();
            let (mut features, mut columns, mut entities) =
                (spec.features, spec.entity_columns, spec.entities);
            sort(&mut features);
            sort(&mut columns);
            entities.sort();
            (features, columns, entities, spec.source_views)
        };
        schema(self) != schema(old)
    }

    fn set_version(&mut self, number: i32, version: &str) {
        self.meta.get_or_insert_default().current_version_number = number;
        self.spec.get_or_insert_default().version = version.to_owned();
    }
}

impl Definition for core::OnDemandFeatureView {
    fn strip(&mut self) {
        if let Some(meta) = &mut self.meta {
            meta.created_timestamp = None;
            meta.last_updated_timestamp = None;
        }
        let Some(spec) = &mut self.spec else { return };
        for source in spec.sources.values_mut().filter_map(|source| source.source.as_mut()) {
            strip_on_demand_source(source);
        }
        if spec.version.is_empty() {
            spec.version = super::lower::LATEST.to_owned();
        }
    }
}

impl Versioned for core::OnDemandFeatureView {
    const VIEW_TYPE: &'static str = "on_demand_feature_view";

    fn is_new_version_of(&self, old: &Self) -> bool {
        let schema = |view: &Self| {
            let mut view = view.clone();
            view.strip();
            let spec = view.spec.unwrap_or_default();
            let mut features = spec.features;
            sort(&mut features);
            (features, spec.feature_transformation, spec.mode, spec.sources, spec.aggregations)
        };
        schema(self) != schema(old)
    }

    fn set_version(&mut self, number: i32, version: &str) {
        self.meta.get_or_insert_default().current_version_number = number;
        self.spec.get_or_insert_default().version = version.to_owned();
    }
}

impl Definition for core::FeatureService {
    fn strip(&mut self) {
        self.meta = None;
        if let Some(spec) = &mut self.spec {
            spec.features.iter_mut().for_each(strip_projection);
        }
    }
}

fn strip_on_demand_source(source: &mut Source) {
    match source {
        Source::FeatureViewProjection(projection) => strip_projection(projection),
        Source::RequestDataSource(source) => source.strip(),
        Source::FeatureView(view) => view.strip(),
    }
}

/// Of a projection only the columns, the names, the map and the version are ever read.
fn strip_projection(projection: &mut core::FeatureViewProjection) {
    projection.timestamp_field.clear();
    projection.view_type.clear();
    for source in projection.batch_source.iter_mut().chain(&mut projection.stream_source) {
        source.strip();
    }
}

fn sort(fields: &mut [core::FeatureSpecV2]) {
    fields.sort_by(|left, right| left.name.cmp(&right.name));
}
