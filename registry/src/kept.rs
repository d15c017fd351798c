//! What apply keeps of a project although definitions do not name it. Pure.
//!
//! Two things are never deleted because YAML is silent about them: objects of kinds that YAML does not express
//! (`Catalog::unmanaged`), and objects of managed kinds that YAML cannot say as they are, such as a feature service that
//! uses a stream view. Nobody can have left those out on purpose. The judge of the second is the reader of definitions
//! itself, by way of the export: it is asked only where something would be deleted. What a kept object needs is kept with
//! it, until definitions name it.

use std::collections::{BTreeMap, BTreeSet};

use crate::export::not_expressed;
use crate::kind::Kind;
use crate::model::{
    Catalog, DataSource, Definitions, FeatureService, FeatureView, OnDemandFeatureView, OnDemandInput,
    SourceKind, ViewKind,
};

/// The objects that stay, whatever definitions say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// (Kind as Feast names it, name), each once, in the order in which plans list them.
    list: Vec<(String, String)>,
    names: BTreeMap<Kind, BTreeSet<String>>,
}

impl Kept {
    /// What an apply of `desired` keeps of `current`.
    ///
    /// An object must be refused among its neighbours of now: else somebody can have left it out on purpose. And among
    /// those that will be there: else the next apply of the same definitions would find it sayable, and delete it.
    pub fn of(current: &Catalog, desired: &Definitions) -> Self {
        let of_other_kinds = Self::of_other_kinds(current);
        let named = names(desired);
        let all = managed(current);
        let is_open =
            |object: &&(Kind, &str)| !named.contains(*object) && !of_other_kinds.has(object.0, object.1);
        let mut open: BTreeSet<(Kind, &str)> = all.iter().filter(is_open).copied().collect();
        if open.is_empty() {
            return of_other_kinds;
        }
        let index = Index::of(current, &named);
        let mut refused = refused(current, &open);
        loop {
            let mut kept = of_other_kinds.clone();
            refused.iter().for_each(|(kind, name)| kept.keep(*kind, name, &index));
            open.retain(|(kind, name)| kept.has(*kind, name));
            if refused.is_empty() {
                return kept;
            }
            let before = refused.len();
            refused = {
                let still = self::refused(&after(current, desired, &named, &open), &open);
                refused.intersection(&still).cloned().collect()
            };
            if refused.len() == before {
                return kept;
            }
        }
    }

    /// Only what is of a kind that definitions do not manage, with what that needs.
    pub fn of_other_kinds(current: &Catalog) -> Self {
        let mut names: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
        for (class, name) in &current.unmanaged {
            if let Some(kind) = kind_of(class) {
                names.entry(kind).or_default().insert(name.clone());
            }
        }
        Self { list: current.unmanaged.clone(), names }
    }

    /// Whether this object stays. Views of all kinds share their names, so a view's name is enough.
    pub fn has(&self, kind: Kind, name: &str) -> bool {
        let has = |kind| self.names.get(&kind).is_some_and(|names| names.contains(name));
        match kind {
            Kind::FeatureView | Kind::OnDemandFeatureView => {
                has(Kind::FeatureView) || has(Kind::OnDemandFeatureView)
            }
            kind => has(kind),
        }
    }

    /// (Kind as Feast names it, name).
    pub fn list(&self) -> &[(String, String)] {
        &self.list
    }

    /// The views that stay, by their names in lower case: Feast finds views of all kinds by one name whatever its case.
    pub(crate) fn views_in_lower_case(&self) -> BTreeMap<String, Vec<(&str, &str)>> {
        let mut views: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
        for (class, name) in self.list.iter().filter(|(class, _)| class.ends_with("View")) {
            views.entry(name.to_ascii_lowercase()).or_default().push((class, name));
        }
        views
    }

    /// Keeps an object and all that it needs.
    fn keep(&mut self, kind: Kind, name: &str, index: &Index<'_>) {
        if self.has(kind, name) || index.named.contains(&(kind, name)) {
            return;
        }
        self.list.push((index.class_of(kind, name).to_owned(), name.to_owned()));
        self.names.entry(kind).or_default().insert(name.to_owned());
        match kind {
            Kind::FeatureView => {
                let Some(view) = index.views.get(name) else { return };
                for entity in view.entities.iter().filter(|entity| index.entities.contains(entity.as_str())) {
                    self.keep(Kind::Entity, entity, index);
                }
                self.keep_source(&view.source.name, index);
            }
            Kind::OnDemandFeatureView => {
                let Some(view) = index.on_demand.get(name) else { return };
                for input in view.inputs.values() {
                    match input {
                        OnDemandInput::View(projection) => self.keep_view(&projection.view, index),
                        OnDemandInput::Request(source) => self.keep_source(&source.name, index),
                    }
                }
            }
            Kind::FeatureService => {
                let Some(service) = index.services.get(name) else { return };
                for projection in &service.projections {
                    self.keep_view(&projection.view, index);
                }
            }
            Kind::Project | Kind::Entity | Kind::DataSource | Kind::SavedDataset => {}
        }
    }

    /// `reference` may name a version: `view@v2`.
    fn keep_view(&mut self, reference: &str, index: &Index<'_>) {
        let name = reference.split_once("@v").map_or(reference, |(name, _)| name);
        if index.views.contains_key(name) {
            self.keep(Kind::FeatureView, name, index);
        } else if index.on_demand.contains_key(name) {
            self.keep(Kind::OnDemandFeatureView, name, index);
        }
    }

    fn keep_source(&mut self, name: &str, index: &Index<'_>) {
        if index.sources.contains_key(name) {
            self.keep(Kind::DataSource, name, index);
        }
    }
}

/// The objects of a project by name, and which of them definitions name.
struct Index<'a> {
    named: &'a BTreeSet<(Kind, &'a str)>,
    entities: BTreeSet<&'a str>,
    sources: BTreeMap<&'a str, &'a DataSource>,
    views: BTreeMap<&'a str, &'a FeatureView>,
    on_demand: BTreeMap<&'a str, &'a OnDemandFeatureView>,
    services: BTreeMap<&'a str, &'a FeatureService>,
}

impl<'a> Index<'a> {
    fn of(current: &'a Catalog, named: &'a BTreeSet<(Kind, &'a str)>) -> Self {
        Self {
            named,
            entities: current.entities.iter().map(|it| it.name.as_str()).collect(),
            sources: current.data_sources.iter().map(|it| (it.name.as_str(), it)).collect(),
            views: current.feature_views.iter().map(|it| (it.name.as_str(), it)).collect(),
            on_demand: current.on_demand_feature_views.iter().map(|it| (it.name.as_str(), it)).collect(),
            services: current.feature_services.iter().map(|it| (it.name.as_str(), it)).collect(),
        }
    }

    /// As Feast names what an object is.
    fn class_of(&self, kind: Kind, name: &str) -> &'a str {
        match kind {
            Kind::Project => "Project",
            Kind::Entity => "Entity",
            Kind::FeatureView => "FeatureView",
            Kind::OnDemandFeatureView => "OnDemandFeatureView",
            Kind::FeatureService => "FeatureService",
            Kind::SavedDataset => "SavedDataset",
            Kind::DataSource => match self.sources.get(name).map(|source| &source.kind) {
                Some(SourceKind::Other { kind }) => kind,
                Some(SourceKind::Request { .. }) => "RequestSource",
                Some(SourceKind::File { .. }) | None => "FileSource",
            },
        }
    }
}

/// The managed kind under which an object of this class of Feast is compared; `None` where there is none.
pub(crate) fn kind_of(class: &str) -> Option<Kind> {
    match class {
        "Permission" | "SavedDataset" | "ValidationReference" | "FeatureTable" => None,
        "Entity" => Some(Kind::Entity),
        "OnDemandFeatureView" => Some(Kind::OnDemandFeatureView),
        "FeatureService" => Some(Kind::FeatureService),
        view if view.ends_with("View") => Some(Kind::FeatureView),
        _ => Some(Kind::DataSource),
    }
}

/// Which of these objects the reader of definitions does not take.
fn refused(catalog: &Catalog, among: &BTreeSet<(Kind, &str)>) -> BTreeSet<(Kind, String)> {
    match not_expressed(catalog) {
        Ok(left) => {
            let objects = left.into_iter().map(|left| (left.object.kind, left.object.name));
            objects.filter(|(kind, name)| among.contains(&(*kind, name.as_str()))).collect()
        }
        // Where it gives up on all of it, nothing is known to be said.
        Err(_) => among.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect(),
    }
}

/// The project as it will be: what is defined, `open` objects, and what is of other kinds.
fn after(
    current: &Catalog,
    desired: &Definitions,
    named: &BTreeSet<(Kind, &str)>,
    open: &BTreeSet<(Kind, &str)>,
) -> Catalog {
    let is_taken_over = |(class, name): &&(String, String)| {
        kind_of(class).is_some_and(|kind| named.contains(&(kind, name.as_str())))
    };
    let unmanaged: Vec<_> =
        current.unmanaged.iter().filter(|object| !is_taken_over(object)).cloned().collect();
    let of_other_kinds =
        Kept::of_other_kinds(&Catalog { unmanaged: unmanaged.clone(), ..Catalog::default() });
    let stays = |kind: Kind, name: &str| {
        !named.contains(&(kind, name)) && (open.contains(&(kind, name)) || of_other_kinds.has(kind, name))
    };
    fn joined<T: Clone>(defined: &[T], held: &[T], stays: impl Fn(&T) -> bool) -> Vec<T> {
        defined.iter().chain(held.iter().filter(|it| stays(it))).cloned().collect()
    }
    Catalog {
        project: current.project.clone(),
        project_object: Some(desired.project.clone()),
        entities: joined(&desired.entities, &current.entities, |it| stays(Kind::Entity, &it.name)),
        data_sources: joined(&desired.data_sources, &current.data_sources, |it| {
            stays(Kind::DataSource, &it.name)
        }),
        feature_views: joined(&desired.feature_views, &current.feature_views, |it| {
            stays(Kind::FeatureView, &it.name)
        }),
        on_demand_feature_views: joined(
            &desired.on_demand_feature_views,
            &current.on_demand_feature_views,
            |it| stays(Kind::OnDemandFeatureView, &it.name),
        ),
        feature_services: joined(&desired.feature_services, &current.feature_services, |it| {
            stays(Kind::FeatureService, &it.name)
        }),
        saved_datasets: Vec::new(),
        unmanaged,
    }
}

/// Every object of a managed kind.
fn managed(current: &Catalog) -> Vec<(Kind, &str)> {
    let mut found = Vec::new();
    found.extend(current.entities.iter().map(|it| (Kind::Entity, it.name.as_str())));
    found.extend(current.data_sources.iter().map(|it| (Kind::DataSource, it.name.as_str())));
    let views = current.feature_views.iter().filter(|it| it.kind == ViewKind::Feature);
    found.extend(views.map(|it| (Kind::FeatureView, it.name.as_str())));
    let on_demand = current.on_demand_feature_views.iter();
    found.extend(on_demand.map(|it| (Kind::OnDemandFeatureView, it.name.as_str())));
    found.extend(current.feature_services.iter().map(|it| (Kind::FeatureService, it.name.as_str())));
    found
}

fn names(desired: &Definitions) -> BTreeSet<(Kind, &str)> {
    let mut names = BTreeSet::new();
    names.extend(desired.entities.iter().map(|it| (Kind::Entity, it.name.as_str())));
    names.extend(desired.data_sources.iter().map(|it| (Kind::DataSource, it.name.as_str())));
    names.extend(desired.feature_views.iter().map(|it| (Kind::FeatureView, it.name.as_str())));
    let on_demand = desired.on_demand_feature_views.iter();
    names.extend(on_demand.map(|it| (Kind::OnDemandFeatureView, it.name.as_str())));
    names.extend(desired.feature_services.iter().map(|it| (Kind::FeatureService, it.name.as_str())));
    names
}
