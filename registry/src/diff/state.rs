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
    /// Who uses whom, directly.
    users: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
}

impl<'a> State<'a> {
    /// What the registry holds.
    pub(super) fn before(current: &'a Catalog) -> Self {
        let views = current.feature_views.iter().map(|view| (view.name.as_str(), view)).collect();
        let on_demand =
            current.on_demand_feature_views.iter().map(|view| (view.name.as_str(), view)).collect();
        let services = current.feature_services.iter().map(|it| (it.name.as_str(), it)).collect();
        Self::of(views, on_demand, services)
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
        Self::of(views, on_demand, services)
    }

    fn of(
        views: BTreeMap<&'a str, &'a FeatureView>,
        on_demand: BTreeMap<&'a str, &'a OnDemandFeatureView>,
        services: BTreeMap<&'a str, &'a FeatureService>,
    ) -> Self {
        let mut state = Self { views, on_demand, services, users: BTreeMap::new() };
        state.note_users();
        state
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
        let mut found = BTreeSet::new();
        let mut open = vec![object];
        while let Some(used) = open.pop() {
            for user in self.users.get(used).into_iter().flatten() {
                if found.insert(user.clone()) {
                    open.push(user);
                }
            }
        }
        found
    }

    fn note_users(&mut self) {
        let object = |kind, name: &str| ObjectRef { kind, name: name.to_owned() };
        let mut users: BTreeMap<ObjectRef, BTreeSet<ObjectRef>> = BTreeMap::new();
        let mut note = |used: ObjectRef, user: &ObjectRef| {
            users.entry(used).or_default().insert(user.clone());
        };
        for (name, view) in &self.views {
            let user = object(Kind::FeatureView, name);
            note(object(Kind::DataSource, &view.source.name), &user);
            view.entities.iter().for_each(|entity| note(object(Kind::Entity, entity), &user));
        }
        for (name, view) in &self.on_demand {
            let user = object(Kind::OnDemandFeatureView, name);
            for input in view.inputs.values() {
                match input {
                    OnDemandInput::View(projection) => note(self.view_of(projection), &user),
                    OnDemandInput::Request(source) => note(object(Kind::DataSource, &source.name), &user),
                }
            }
        }
        for (name, service) in &self.services {
            let user = object(Kind::FeatureService, name);
            service.projections.iter().for_each(|projection| note(self.view_of(projection), &user));
        }
        self.users = users;
    }

    /// The view of a projection; a registry may pin a version of it (`view@v3`).
    fn view_of(&self, projection: &Projection) -> ObjectRef {
        let name = projection.view.as_str();
        let is_known = self.views.contains_key(name) || self.on_demand.contains_key(name);
        let name = if is_known { name } else { name.split_once('@').map_or(name, |(view, _)| view) };
        let kind =
            if self.on_demand.contains_key(name) { Kind::OnDemandFeatureView } else { Kind::FeatureView };
        ObjectRef { kind, name: name.to_owned() }
    }
}
