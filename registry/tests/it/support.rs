//! A registry that Feast wrote, definitions of it, and fixed times and ids.

#![expect(clippy::unwrap_used, reason = "helpers of tests: what fails here fails the test")]

use backsight_proto::feast::core::Registry;
use backsight_registry::document::{ApplyError, RegistryDocument, Stamp};
use backsight_registry::model::{Catalog, Definitions, Project, ViewKind};
use chrono::{DateTime, Utc};
use prost::Message;
use uuid::Uuid;

/// Two projects with every kind of object, written by Feast 0.67.
pub(crate) fn feast() -> RegistryDocument {
    RegistryDocument::parse(include_bytes!("../../testdata/feast-0.67.pb")).unwrap()
}

/// The message as any protobuf reader sees it.
pub(crate) fn registry(document: &RegistryDocument) -> Registry {
    Registry::decode(&document.to_bytes()[..]).unwrap()
}

/// What a repo would say to get the managed part of this catalog.
pub(crate) fn definitions_of(catalog: Catalog) -> Definitions {
    let kept_views: Vec<_> =
        catalog.feature_views.iter().map(|view| catalog.keeps_view(&view.name)).collect();
    let mut kept_views = kept_views.into_iter();
    let is_file_or_request = |source: &backsight_registry::model::DataSource| {
        !matches!(source.kind, backsight_registry::model::SourceKind::Other { .. })
    };
    Definitions {
        project: catalog.project_object.unwrap_or(Project {
            name: catalog.project,
            description: String::new(),
            tags: Default::default(),
            owner: String::new(),
        }),
        entities: catalog.entities,
        data_sources: catalog.data_sources.into_iter().filter(is_file_or_request).collect(),
        feature_views: catalog
            .feature_views
            .into_iter()
            .filter(|view| !kept_views.next().unwrap() && view.kind == ViewKind::Feature)
            .collect(),
        on_demand_feature_views: catalog.on_demand_feature_views,
        feature_services: catalog.feature_services,
    }
}

/// Definitions of nothing.
pub(crate) fn empty(project: &str) -> Definitions {
    definitions_of(Catalog { project: project.to_owned(), ..Default::default() })
}

/// The second of the write.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 123_456_789).unwrap()
}

/// Ids 1, 2, 3 … above `base`.
pub(crate) fn ids(base: u128) -> impl FnMut() -> Uuid + Send {
    let mut last = base;
    move || {
        last += 1;
        Uuid::from_u128(last)
    }
}

/// Applies at [`now`] with the ids 1, 2, 3 ….
pub(crate) fn apply(
    document: &RegistryDocument,
    definitions: &Definitions,
) -> Result<RegistryDocument, ApplyError> {
    document.apply(definitions, &mut Stamp { now: now(), next_id: &mut ids(0) })
}
