//! What views, on-demand views and services there are, before and after a change, and who uses whom.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::ObjectRef;
use crate::kind::Kind;
use crate::model::{
    Catalog, Definitions, FeatureService, FeatureView, Field, OnDemandFeatureView, OnDemandInput, Projection,
};

/// One side of a difference.
pub(super) struct State<'a> {
    pub(super) views: BTreeMap<&'a str, &'a FeatureView>,
    pub(super) on_demand: BTreeMap<&'a str, &'a OnDemandFeatureView>,
    pub(super) services: BTreeMap<&'a str, &'a FeatureService>,
}

impl<'a> State<'a> {
    /// What the registry holds.
    pub(super) fn before(current: &'a Catalog) -> Self {
        Self {
            views: current.feature_views.iter().map(|view| (view.name.as_str(), view)).collect(),
            on_demand: current
                .on_demand_feature_views
                .iter()
                .map(|view| (view.name.as_str(), view))
                .collect(),
            services: current.feature_services.iter().map(|it| (it.name.as_str(), it)).collect(),
        }
    }

    /// What it will hold: what is defined, and what is kept because it is not managed.
    pub(super) fn after(current: &'a Catalog, desired: &'a Definitions) -> Self {
        let kept = current.feature_views.iter().filter(|view| current.keeps_view(&view.name));
        let mut views: BTreeMap<_, _> = kept.map(|view| (view.name.as_str(), view)).collect();
        views.extend(desired.feature_views.iter().map(|view| (view.name.as_str(), view)));
        let kept = current.on_demand_feature_views.iter().filter(|view| current.keeps_view(&view.name));
        let mut on_demand: BTreeMap<_, _> = kept.map(|view| (view.name.as_str(), view)).collect();
        on_demand.extend(desired.on_demand_feature_views.iter().map(|view| (view.name.as_str(), view)));
        let services = desired.feature_services.iter().map(|it| (it.name.as_str(), it)).collect();
        Self { views, on_demand, services }
    }

    /// A feature of a view of either kind.
    pub(super) fn feature(&self, view: &str, feature: &str) -> Option<&'a Field> {
        let of_view = self.views.get(view).map(|view| view.features.as_slice());
        let features = of_view.or_else(|| self.on_demand.get(view).map(|view| view.features.as_slice()))?;
        features.iter().find(|field| field.name == feature)
    }

    /// The join keys of a view; none for an on-demand view.
    pub(super) fn join_keys(&self, view: &str) -> &'a [Field] {
        self.views.get(view).map_or(&[], |view| &view.join_keys)
    }

    /// Whether there is such an object among those that use others.
    pub(super) fn has(&self, object: &ObjectRef) -> bool {
        let name = object.name.as_str();
        match object.kind {
            Kind::FeatureView => self.views.contains_key(name),
            Kind::OnDemandFeatureView => self.on_demand.contains_key(name),
            Kind::FeatureService => self.services.contains_key(name),
            Kind::Project | Kind::Entity | Kind::DataSource => false,
        }
    }

    /// Everything that uses an object, directly or through others.
    pub(super) fn users_of(&self, object: &ObjectRef) -> BTreeSet<ObjectRef> {
        let mut users = BTreeSet::new();
        let name = object.name.as_str();
        match object.kind {
            Kind::Project | Kind::FeatureService => {}
            Kind::Entity => {
                self.add_views(|view| view.entities.iter().any(|entity| entity == name), &mut users)
            }
            Kind::DataSource => {
                self.add_views(|view| view.source.name == name, &mut users);
                self.add_on_demand(
                    |input| matches!(input, OnDemandInput::Request(source) if source.name == name),
                    &mut users,
                );
            }
            Kind::FeatureView => {
                self.add_on_demand(
                    |input| matches!(input, OnDemandInput::View(projection) if is_of(projection, name)),
                    &mut users,
                );
                self.add_services(name, &mut users);
            }
            Kind::OnDemandFeatureView => self.add_services(name, &mut users),
        }
        users
    }

    fn add_views(&self, uses: impl Fn(&FeatureView) -> bool, users: &mut BTreeSet<ObjectRef>) {
        for (name, _) in self.views.iter().filter(|(_, view)| uses(view)) {
            self.add(Kind::FeatureView, name, users);
        }
    }

    fn add_on_demand(&self, uses: impl Fn(&OnDemandInput) -> bool, users: &mut BTreeSet<ObjectRef>) {
        for (name, _) in self.on_demand.iter().filter(|(_, view)| view.inputs.values().any(&uses)) {
            self.add(Kind::OnDemandFeatureView, name, users);
        }
    }

    fn add_services(&self, view: &str, users: &mut BTreeSet<ObjectRef>) {
        let uses =
            |service: &FeatureService| service.projections.iter().any(|projection| is_of(projection, view));
        for (name, _) in self.services.iter().filter(|(_, service)| uses(service)) {
            self.add(Kind::FeatureService, name, users);
        }
    }

    fn add(&self, kind: Kind, name: &str, users: &mut BTreeSet<ObjectRef>) {
        let user = ObjectRef { kind, name: name.to_owned() };
        users.extend(self.users_of(&user));
        users.insert(user);
    }
}

/// Whether a projection is of that view; a registry may pin a version (`view@v3`).
fn is_of(projection: &Projection, view: &str) -> bool {
    projection.view == view || projection.view.split_once('@').is_some_and(|(name, _)| name == view)
}
