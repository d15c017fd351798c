//! Makes one project of a registry equal to its definitions, or takes it away.

use std::collections::{BTreeMap, BTreeSet};

use backsight_proto::feast::core;

use crate::document::ApplyError;
use crate::document::RegistryDocument;
use crate::document::edit::{Edit, Stamp};
use crate::document::kind::{ObjectId, ObjectKind};
use crate::document::lift::DUMMY_ENTITY;
use crate::document::lower::{self, SourcePlace};
use crate::document::views::Views;
use crate::kept::Kept;
use crate::kind::Kind;
use crate::model::{Catalog, Definitions, Project};

/// Projects with this tag set to `true` are not torn down, neither by Feast nor by us.
const PROTECTED_TAG: &str = "feast.dev/protected-project";

impl RegistryDocument {
    /// The registry with one project made equal to `definitions`, over the kinds that definitions express.
    ///
    /// Objects of other projects, other kinds, those that definitions cannot say, and all that stays the same keep their
    /// bytes; what an object holds beyond its definition stays in it. When nothing changes, the document comes back as it is, version id and all.
    pub fn apply(&self, definitions: &Definitions, stamp: &mut Stamp<'_>) -> Result<Self, ApplyError> {
        let project = definitions.project.name.as_str();
        let current = self.catalog_or_empty(project);
        let kept = Kept::of(&current, definitions);
        check_names(&current, &kept, definitions)?;
        let desired = Names::of(definitions);
        let mut edit = Edit::new(self, project, stamp);
        edit.remove(|id| is_managed(&kept, id) && !desired.has(id));

        let now = edit.now;
        edit.upsert(ObjectKind::Project, project, |old| Ok(lower::project(&definitions.project, old, now)))?;
        if !edit.has(ObjectKind::Entity, DUMMY_ENTITY) {
            edit.upsert(ObjectKind::Entity, DUMMY_ENTITY, |_| Ok(lower::dummy_entity(project, now)))?;
        }
        for entity in &definitions.entities {
            let lower = |old| Ok(lower::entity(entity, project, old, now));
            edit.upsert(ObjectKind::Entity, &entity.name, lower)?;
        }
        for source in &definitions.data_sources {
            let lower = |old| lower::data_source(source, SourcePlace::TopLevel(project), old, now);
            edit.upsert(ObjectKind::DataSource, &source.name, lower)?;
        }
        for view in &definitions.feature_views {
            let lower = |old| lower::feature_view(view, project, old, now);
            edit.upsert_view(ObjectKind::FeatureView, &view.name, lower)?;
        }
        let history = edit.history.clone();
        let views = Views::read(edit.settled(), project, history);
        for view in &definitions.on_demand_feature_views {
            let lower = |old: Option<core::OnDemandFeatureView>| {
                let old_spec = old.as_ref().and_then(|old| old.spec.as_ref());
                let sources = views.on_demand_sources(view, old_spec, now)?;
                Ok(lower::on_demand_feature_view(view, project, sources, old, now))
            };
            edit.upsert_view(ObjectKind::OnDemandFeatureView, &view.name, lower)?;
        }
        let history = edit.history.clone();
        let views = Views::read(edit.settled(), project, history);
        for service in &definitions.feature_services {
            let lower = |old| views.feature_service(service, old, now);
            edit.upsert(ObjectKind::FeatureService, &service.name, lower)?;
        }
        Ok(edit.finish())
    }

    /// The registry without the managed objects of one project. What is not managed here stays, and the project with
    /// it; otherwise nothing of the project is left.
    pub fn teardown(&self, project: &str, stamp: &mut Stamp<'_>) -> Result<Self, ApplyError> {
        let current = self.catalog_or_empty(project);
        let tags = current.project_object.as_ref().map(|project| &project.tags);
        if tags
            .and_then(|tags| tags.get(PROTECTED_TAG))
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return Err(ApplyError::Protected { project: project.to_owned() });
        }
        let kept = Kept::of(&current, &Definitions::empty(Project::named(project)));
        let is_all = kept.list().is_empty();
        let mut edit = Edit::new(self, project, stamp);
        edit.remove(|id| is_all || is_managed(&kept, id));
        Ok(edit.finish())
    }
}

/// Whether definitions decide about this object: its kind is one of theirs, and it is not kept.
fn is_managed(kept: &Kept, id: &ObjectId) -> bool {
    match id.kind {
        ObjectKind::Entity => id.name != DUMMY_ENTITY && !kept.has(Kind::Entity, &id.name),
        ObjectKind::DataSource => !kept.has(Kind::DataSource, &id.name),
        ObjectKind::FeatureView | ObjectKind::OnDemandFeatureView => !kept.has(Kind::FeatureView, &id.name),
        ObjectKind::FeatureService => !kept.has(Kind::FeatureService, &id.name),
        ObjectKind::Project
        | ObjectKind::ProjectMetadata
        | ObjectKind::FeatureTable
        | ObjectKind::StreamFeatureView
        | ObjectKind::LabelView
        | ObjectKind::SavedDataset
        | ObjectKind::ValidationReference
        | ObjectKind::Permission => false,
    }
}

/// The names that definitions want, by kind.
struct Names<'a>(BTreeSet<(ObjectKind, &'a str)>);

impl<'a> Names<'a> {
    fn of(definitions: &'a Definitions) -> Self {
        let mut names = BTreeSet::new();
        names.extend(definitions.entities.iter().map(|it| (ObjectKind::Entity, it.name.as_str())));
        names.extend(definitions.data_sources.iter().map(|it| (ObjectKind::DataSource, it.name.as_str())));
        names.extend(definitions.feature_views.iter().map(|it| (ObjectKind::FeatureView, it.name.as_str())));
        names.extend(
            definitions
                .on_demand_feature_views
                .iter()
                .map(|it| (ObjectKind::OnDemandFeatureView, it.name.as_str())),
        );
        names.extend(
            definitions.feature_services.iter().map(|it| (ObjectKind::FeatureService, it.name.as_str())),
        );
        Self(names)
    }

    fn has(&self, id: &ObjectId) -> bool {
        self.0.contains(&(id.kind, id.name.as_str()))
    }
}

/// Refuses a name that an object which stays already has: Feast finds views of all kinds, and sources, by one name
/// whatever its case.
fn check_names(current: &Catalog, kept: &Kept, definitions: &Definitions) -> Result<(), ApplyError> {
    let feature_views = definitions.feature_views.iter().map(|view| ("FeatureView", view.name.as_str()));
    let on_demand =
        definitions.on_demand_feature_views.iter().map(|view| ("OnDemandFeatureView", view.name.as_str()));
    let kept_views = kept.views_in_lower_case();
    for (kind, name) in feature_views.chain(on_demand) {
        let is_taken = |(taken_by, taken): &&(&str, &str)| {
            // A view of the same list and name is taken over, not in the way.
            let same_list = *taken_by == kind || (kind == "FeatureView" && *taken_by == "BatchFeatureView");
            !(same_list && *taken == name)
        };
        let of_that_name = kept_views.get(&name.to_ascii_lowercase()).into_iter().flatten();
        if let Some((taken_by, taken)) = of_that_name.into_iter().find(is_taken) {
            let kind = if kind == "FeatureView" { "feature view" } else { "on-demand feature view" };
            return Err(name_taken(kind, name, taken_by, taken));
        }
    }
    let mut kept_sources: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in current.data_sources.iter().filter(|source| kept.has(Kind::DataSource, &source.name)) {
        kept_sources.entry(source.name.to_ascii_lowercase()).or_default().push(&source.name);
    }
    for source in &definitions.data_sources {
        let mut of_that_name = kept_sources.get(&source.name.to_ascii_lowercase()).into_iter().flatten();
        if let Some(taken) = of_that_name.find(|taken| **taken != source.name) {
            return Err(name_taken("data source", &source.name, "data source", taken));
        }
    }
    Ok(())
}

fn name_taken(kind: &'static str, name: &str, taken_by: &str, taken_name: &str) -> ApplyError {
    ApplyError::NameTaken {
        kind,
        name: name.to_owned(),
        taken_by: taken_by.to_owned(),
        taken_name: taken_name.to_owned(),
    }
}
