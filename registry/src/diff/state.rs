//! What entities, views, services and saved datasets there are, before and after a change, and who uses whom.

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::name_to_use;
use super::plan::ObjectRef;
use crate::kept::Kept;
use crate::kind::Kind;
use crate::model::{
    Catalog, DatasetRecipe, Definitions, Entity, FeatureService, FeatureView, Field, OnDemandFeatureView,
    OnDemandInput, Projection,
};

/// One side of a difference.
#[derive(Default)]
pub(super) struct State<'a> {
    pub(super) entities: BTreeMap<&'a str, &'a Entity>,
    pub(super) views: BTreeMap<&'a str, &'a FeatureView>,
    pub(super) on_demand: BTreeMap<&'a str, &'a OnDemandFeatureView>,
    pub(super) services: BTreeMap<&'a str, &'a FeatureService>,
    /// They are never defined, so they are the same on both sides.
    pub(super) datasets: BTreeMap<&'a str, &'a DatasetRecipe>,
    /// Who uses whom, directly.
    users: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
}

impl<'a> State<'a> {
    /// What the registry holds.
    pub(super) fn before(current: &'a Catalog) -> Self {
        let mut state = Self {
            entities: current.entities.iter().map(|it| (it.name.as_str(), it)).collect(),
            views: current.feature_views.iter().map(|it| (it.name.as_str(), it)).collect(),
            on_demand: current.on_demand_feature_views.iter().map(|it| (it.name.as_str(), it)).collect(),
            services: current.feature_services.iter().map(|it| (it.name.as_str(), it)).collect(),
            datasets: current.saved_datasets.iter().map(|it| (it.name.as_str(), it)).collect(),
            users: BTreeMap::new(),
        };
        state.note_users();
        state
    }

    /// What it will hold: what is defined, and what is kept because it is not managed.
    pub(super) fn after(current: &'a Catalog, desired: &'a Definitions, kept: &Kept) -> Self {
        let mut state = Self {
            datasets: current.saved_datasets.iter().map(|it| (it.name.as_str(), it)).collect(),
            ..Self::default()
        };
        // What is defined stands for what was kept under its name.
        let stays = current.entities.iter().filter(|it| kept.has(Kind::Entity, &it.name));
        state.entities.extend(stays.chain(&desired.entities).map(|it| (it.name.as_str(), it)));
        let stays = current.feature_views.iter().filter(|it| kept.has(Kind::FeatureView, &it.name));
        state.views.extend(stays.chain(&desired.feature_views).map(|it| (it.name.as_str(), it)));
        let on_demand = &current.on_demand_feature_views;
        let stays = on_demand.iter().filter(|it| kept.has(Kind::OnDemandFeatureView, &it.name));
        let all = stays.chain(&desired.on_demand_feature_views);
        state.on_demand.extend(all.map(|it| (it.name.as_str(), it)));
        let stays = current.feature_services.iter().filter(|it| kept.has(Kind::FeatureService, &it.name));
        state.services.extend(stays.chain(&desired.feature_services).map(|it| (it.name.as_str(), it)));
        state.note_users();
        state
    }

    /// A feature of a view of either kind.
    pub(super) fn feature(&self, view: &str, feature: &str) -> Option<&'a Field> {
        let of_view = self.views.get(view).map(|view| view.features.as_slice());
        let features = of_view.or_else(|| self.on_demand.get(view).map(|view| view.features.as_slice()))?;
        features.iter().find(|field| field.name == feature)
    }

    /// Whether there is a view of either kind.
    pub(super) fn has_view(&self, view: &str) -> bool {
        self.views.contains_key(view) || self.on_demand.contains_key(view)
    }

    /// Whether features of this view can be asked for.
    pub(super) fn serves(&self, view: &str) -> bool {
        self.views.get(view).is_none_or(|view| !view.disabled)
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
            Kind::SavedDataset => self.datasets.contains_key(name),
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

    /// What uses an object directly.
    pub(super) fn direct_users_of(&self, object: &ObjectRef) -> impl Iterator<Item = &ObjectRef> {
        self.users.get(object).into_iter().flatten()
    }

    /// What a saved dataset was made of: its references by view, with the names and keys that its service gave them.
    pub(super) fn parts_of(&self, dataset: &DatasetRecipe) -> Vec<Projection> {
        let service = dataset.feature_service.as_deref().and_then(|name| self.services.get(name));
        let mut parts: Vec<Projection> = Vec::new();
        for (prefix, feature) in dataset.features.iter().filter_map(|reference| reference.split_once(':')) {
            let of_service = service.and_then(|service| {
                service.projections.iter().find(|projection| name_to_use(projection) == prefix)
            });
            let view = of_service.map_or(prefix, |projection| projection.view.as_str());
            let Some(field) = self.feature(view, feature) else { continue };
            match parts.iter_mut().find(|part| name_to_use(part) == prefix) {
                Some(part) => part.features.push(field.clone()),
                None => parts.push(Projection {
                    view: view.to_owned(),
                    alias: (view != prefix).then(|| prefix.to_owned()),
                    features: vec![field.clone()],
                    join_key_map: of_service.map(|it| it.join_key_map.clone()).unwrap_or_default(),
                }),
            }
        }
        parts
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
        for (name, dataset) in &self.datasets {
            let user = object(Kind::SavedDataset, name);
            self.parts_of(dataset).iter().for_each(|part| note(self.view_of(part), &user));
            dataset.feature_service.iter().for_each(|it| note(object(Kind::FeatureService, it), &user));
        }
        self.users = users;
    }

    /// The view of a projection; a registry may pin a version of it (`view@v3`).
    pub(super) fn view_of(&self, projection: &Projection) -> ObjectRef {
        let name = projection.view.as_str();
        let is_known = self.views.contains_key(name) || self.on_demand.contains_key(name);
        let name = if is_known { name } else { name.split_once('@').map_or(name, |(view, _)| view) };
        let kind =
            if self.on_demand.contains_key(name) { Kind::OnDemandFeatureView } else { Kind::FeatureView };
        ObjectRef { kind, name: name.to_owned() }
    }
}
