//! What a registry says exists in one project, as plain values: what plan, apply, list and retrieval work on.

use std::collections::BTreeMap;

use crate::kept::Kept;
use crate::kind::Kind;

/// Feast's value types by their wire number (`feast.types.ValueType.Enum`); unknown numbers survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueType(pub i32);

/// Key-value labels, ordered by key.
pub type Tags = BTreeMap<String, String>;

/// A time to live in nanoseconds, always positive: "no ttl" is the absence of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(i128);

impl Ttl {
    /// A ttl of so many nanoseconds; `None` when it is not positive (Feast: 0 means unlimited).
    pub fn from_nanos(nanos: i128) -> Option<Self> {
        (nanos > 0).then_some(Self(nanos))
    }

    /// The length in nanoseconds.
    pub fn nanos(self) -> i128 {
        self.0
    }
}

/// A typed name: a feature, an entity column or a request field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Column name after field mapping.
    pub name: String,
    /// Declared type.
    pub value_type: ValueType,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Tags,
}

/// Something features are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Unique in the project.
    pub name: String,
    /// The one column that identifies it.
    pub join_key: String,
    /// Declared type of the join key.
    pub value_type: ValueType,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Tags,
    /// Who answers for it.
    pub owner: String,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSource {
    /// Unique in the project, case-insensitively.
    pub name: String,
    /// Which kind, and what only that kind has.
    pub kind: SourceKind,
    /// Event time column, a name after field mapping; empty when the kind has none.
    pub timestamp_field: String,
    /// Created time column, a name after field mapping.
    pub created_timestamp_column: Option<String>,
    /// Column of folders that hold a day's rows each, a name after field mapping: a promise that reading leans on.
    pub date_partition_column: Option<String>,
    /// Source column to the name Feast uses.
    pub field_mapping: BTreeMap<String, String>,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Tags,
    /// Who answers for it.
    pub owner: String,
}

/// The kinds of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// Parquet files, or a Delta table of them.
    File {
        /// As written: file, directory or glob; a URI, absolute, or relative to the repo.
        path: String,
        /// Endpoint for this source only.
        s3_endpoint_override: Option<String>,
        /// Whether it is a Delta table: what its log says is read, not what lies in its folder.
        delta: bool,
    },
    /// Values that come with the request, for on-demand views.
    Request {
        /// Fields in order.
        schema: Vec<Field>,
    },
    /// A kind that is not managed here, by its display name (`PushSource`, `SnowflakeSource`, …).
    Other {
        /// Display name.
        kind: String,
    },
}

/// Which message a view was stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ViewKind {
    /// `feature_views`.
    Feature,
    /// `stream_feature_views`: retrieved from its batch source as Feast does.
    Stream,
    /// `label_views`: retrieved from its source as Feast does.
    Label,
}

/// Features of some entities from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureView {
    /// Unique among views of the project, case-insensitively.
    pub name: String,
    /// Which message it was stored as.
    pub kind: ViewKind,
    /// Entity names in order; empty for an entity-less view.
    pub entities: Vec<String>,
    /// Join key columns in order (Feast's `entity_columns`); empty for an entity-less view.
    pub join_keys: Vec<Field>,
    /// Declared features in order, join keys excluded.
    pub features: Vec<Field>,
    /// How old a feature row may be; `None` is unlimited.
    pub ttl: Option<Ttl>,
    /// The batch source to read.
    pub source: DataSource,
    /// Served online.
    pub online: bool,
    /// Feast's `disabled`: cannot serve features.
    pub disabled: bool,
    /// Feast's state, as its wire number (0 unspecified, 4 available online).
    pub state: i32,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Tags,
    /// Who answers for it.
    pub owner: String,
}

/// A view's part in a feature service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Real name of the view.
    pub view: String,
    /// `with_name`: output prefix and reference prefix.
    pub alias: Option<String>,
    /// Selected features in order.
    pub features: Vec<Field>,
    /// View join key to spine column; keys that are not listed keep their name.
    pub join_key_map: BTreeMap<String, String>,
}

/// The features of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureService {
    /// Unique in the project.
    pub name: String,
    /// In declaration order.
    pub projections: Vec<Projection>,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Tags,
    /// Who answers for it.
    pub owner: String,
}

/// What one source of an on-demand view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDemandInput {
    /// Features of a view.
    View(Projection),
    /// A request source.
    Request(DataSource),
}

/// A view computed from other views and request values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemandFeatureView {
    /// Unique among views of the project, case-insensitively.
    pub name: String,
    /// Outputs in order.
    pub features: Vec<Field>,
    /// Inputs by source name.
    pub inputs: BTreeMap<String, OnDemandInput>,
    /// `pandas`, `python`, `sql`, …
    pub mode: String,
    /// Name of the function and its text, when there is one.
    pub transformation: Option<(String, String)>,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Tags,
    /// Who answers for it.
    pub owner: String,
}

/// What a saved dataset was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetRecipe {
    /// Unique in the project.
    pub name: String,
    /// References `view:feature`, where `view` may be the alias that the service gave it.
    pub features: Vec<String>,
    /// The service that it was made with, when it was one.
    pub feature_service: Option<String>,
}

/// The project itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Unique in the registry.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: Tags,
    /// Who answers for it.
    pub owner: String,
}

impl Project {
    /// A project that has only a name.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), description: String::new(), tags: Tags::new(), owner: String::new() }
    }
}

/// Everything one project holds. Objects are in the registry's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    /// Project name.
    pub project: String,
    /// The project object, when the registry has one.
    pub project_object: Option<Project>,
    /// Entities without Feast's internal dummy.
    pub entities: Vec<Entity>,
    /// Top-level data sources.
    pub data_sources: Vec<DataSource>,
    /// Feature, stream and label views.
    pub feature_views: Vec<FeatureView>,
    /// On-demand views.
    pub on_demand_feature_views: Vec<OnDemandFeatureView>,
    /// Feature services.
    pub feature_services: Vec<FeatureService>,
    /// Saved datasets.
    pub saved_datasets: Vec<DatasetRecipe>,
    /// Objects that apply keeps when definitions do not mention them, as (Feast class, name): kinds that YAML does
    /// not express, and the entities and file sources which those need. Definitions of the same name take them over.
    pub unmanaged: Vec<(String, String)>,
}

impl Catalog {
    /// Whether apply keeps this entity when definitions do not mention it.
    pub fn keeps_entity(&self, name: &str) -> bool {
        self.unmanaged.iter().any(|(kind, kept)| kind == "Entity" && kept == name)
    }

    /// Whether apply keeps this data source when definitions do not mention it.
    pub fn keeps_data_source(&self, name: &str) -> bool {
        const OTHERS: [&str; 5] =
            ["Entity", "Permission", "SavedDataset", "ValidationReference", "FeatureTable"];
        let is_source = |kind: &str| !kind.ends_with("View") && !OTHERS.contains(&kind);
        self.unmanaged.iter().any(|(kind, kept)| kept == name && is_source(kind))
    }

    /// Whether apply keeps this view (of whatever kind) when definitions do not mention it.
    pub fn keeps_view(&self, name: &str) -> bool {
        self.unmanaged.iter().any(|(kind, kept)| kept == name && kind.ends_with("View"))
    }

    /// The state as if somebody had defined it: what definitions express, without what apply keeps by itself.
    pub fn as_definitions(&self) -> Definitions {
        let kept = Kept::of_other_kinds(self);
        let is_own_source = |source: &&DataSource| {
            !matches!(source.kind, SourceKind::Other { .. }) && !kept.has(Kind::DataSource, &source.name)
        };
        let is_own_view =
            |view: &&FeatureView| view.kind == ViewKind::Feature && !kept.has(Kind::FeatureView, &view.name);
        Definitions {
            project: self.project_object.clone().unwrap_or_else(|| Project::named(&self.project)),
            entities: self
                .entities
                .iter()
                .filter(|entity| !kept.has(Kind::Entity, &entity.name))
                .cloned()
                .collect(),
            data_sources: self.data_sources.iter().filter(is_own_source).cloned().collect(),
            feature_views: self.feature_views.iter().filter(is_own_view).cloned().collect(),
            on_demand_feature_views: self
                .on_demand_feature_views
                .iter()
                .filter(|view| !kept.has(Kind::OnDemandFeatureView, &view.name))
                .cloned()
                .collect(),
            feature_services: self.feature_services.clone(),
        }
    }
}

impl Definitions {
    /// Definitions of a project without objects.
    pub fn empty(project: Project) -> Self {
        Self {
            project,
            entities: Vec::new(),
            data_sources: Vec::new(),
            feature_views: Vec::new(),
            on_demand_feature_views: Vec::new(),
            feature_services: Vec::new(),
        }
    }
}

/// What one project shall hold, as its repo defines it: the whole desired set of the kinds managed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definitions {
    /// The project; its name decides which objects of a registry are meant.
    pub project: Project,
    /// Entities in definition order.
    pub entities: Vec<Entity>,
    /// File and request sources in definition order.
    pub data_sources: Vec<DataSource>,
    /// Feature views in definition order, each with the source that it reads.
    pub feature_views: Vec<FeatureView>,
    /// On-demand views in definition order.
    pub on_demand_feature_views: Vec<OnDemandFeatureView>,
    /// Feature services in definition order.
    pub feature_services: Vec<FeatureService>,
}
