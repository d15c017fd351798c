//! The kinds of object a registry holds, where each stands, and how an object says whose it is.

use std::fmt;

use backsight_proto::feast::core;
use prost::{DecodeError, Message};

use crate::kind::Kind;

/// A kind of object of a registry, one for each list of the `Registry` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// `projects`.
    Project,
    /// `project_metadata`, which old Feast wrote instead of projects.
    ProjectMetadata,
    /// `entities`.
    Entity,
    /// `data_sources`.
    DataSource,
    /// `feature_tables`, which old Feast wrote instead of feature views.
    FeatureTable,
    /// `feature_views`.
    FeatureView,
    /// `stream_feature_views`.
    StreamFeatureView,
    /// `label_views`.
    LabelView,
    /// `on_demand_feature_views`.
    OnDemandFeatureView,
    /// `feature_services`.
    FeatureService,
    /// `saved_datasets`.
    SavedDataset,
    /// `validation_references`.
    ValidationReference,
    /// `permissions`.
    Permission,
}

impl ObjectKind {
    /// All kinds, in the order in which people think of them.
    pub const ALL: [Self; 13] = [
        Self::Project,
        Self::ProjectMetadata,
        Self::Entity,
        Self::DataSource,
        Self::FeatureTable,
        Self::FeatureView,
        Self::StreamFeatureView,
        Self::LabelView,
        Self::OnDemandFeatureView,
        Self::FeatureService,
        Self::SavedDataset,
        Self::ValidationReference,
        Self::Permission,
    ];

    /// The field of `Registry` that lists this kind.
    pub(crate) fn field_number(self) -> u32 {
        match self {
            Self::Entity => 1,
            Self::FeatureTable => 2,
            Self::FeatureView => 6,
            Self::FeatureService => 7,
            Self::OnDemandFeatureView => 8,
            Self::SavedDataset => 11,
            Self::DataSource => 12,
            Self::ValidationReference => 13,
            Self::StreamFeatureView => 14,
            Self::ProjectMetadata => 15,
            Self::Permission => 16,
            Self::Project => 17,
            Self::LabelView => 19,
        }
    }

    /// The kind that this field of `Registry` lists.
    pub(crate) fn of_field(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.field_number() == number)
    }

    /// Full name of the message.
    pub(crate) fn message_name(self) -> &'static str {
        match self {
            Self::Entity => "feast.core.Entity",
            Self::FeatureTable => "feast.core.FeatureTable",
            Self::FeatureView => "feast.core.FeatureView",
            Self::FeatureService => "feast.core.FeatureService",
            Self::OnDemandFeatureView => "feast.core.OnDemandFeatureView",
            Self::SavedDataset => "feast.core.SavedDataset",
            Self::DataSource => "feast.core.DataSource",
            Self::ValidationReference => "feast.core.ValidationReference",
            Self::StreamFeatureView => "feast.core.StreamFeatureView",
            Self::ProjectMetadata => "feast.core.ProjectMetadata",
            Self::Permission => "feast.core.Permission",
            Self::Project => "feast.core.Project",
            Self::LabelView => "feast.core.LabelView",
        }
    }

    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::FeatureTable => "feature table",
            Self::FeatureView => "feature view",
            Self::FeatureService => "feature service",
            Self::OnDemandFeatureView => "on-demand feature view",
            Self::SavedDataset => "saved dataset",
            Self::DataSource => "data source",
            Self::ValidationReference => "validation reference",
            Self::StreamFeatureView => "stream feature view",
            Self::ProjectMetadata => "project metadata",
            Self::Permission => "permission",
            Self::Project => "project",
            Self::LabelView => "label view",
        }
    }

    /// Whether an object of this kind may be of a class of Feast's Python.
    pub(crate) fn is_called(self, class: &str) -> bool {
        match self {
            Self::Project => class == "Project",
            Self::ProjectMetadata => class == "ProjectMetadata",
            Self::Entity => class == "Entity",
            Self::FeatureTable => class == "FeatureTable",
            Self::FeatureView => matches!(class, "FeatureView" | "BatchFeatureView"),
            Self::StreamFeatureView => class == "StreamFeatureView",
            Self::LabelView => class == "LabelView",
            Self::OnDemandFeatureView => class == "OnDemandFeatureView",
            Self::FeatureService => class == "FeatureService",
            Self::SavedDataset => class == "SavedDataset",
            Self::ValidationReference => class == "ValidationReference",
            Self::Permission => class == "Permission",
            // A class for each kind of source, and one for each that people write themselves.
            Self::DataSource => {
                !Self::ALL.iter().any(|kind| *kind != Self::DataSource && kind.is_called(class))
            }
        }
    }

    /// Reads whose object this is; fails when the bytes are not such an object.
    pub(crate) fn identify(self, payload: &[u8]) -> Result<ObjectId, DecodeError> {
        let (project, name) = match self {
            Self::Entity => spec_id!(core::Entity, payload),
            Self::FeatureTable => spec_id!(core::FeatureTable, payload),
            Self::FeatureView => spec_id!(core::FeatureView, payload),
            Self::FeatureService => spec_id!(core::FeatureService, payload),
            Self::OnDemandFeatureView => spec_id!(core::OnDemandFeatureView, payload),
            Self::SavedDataset => spec_id!(core::SavedDataset, payload),
            Self::StreamFeatureView => spec_id!(core::StreamFeatureView, payload),
            Self::LabelView => spec_id!(core::LabelView, payload),
            Self::Permission => spec_id!(core::Permission, payload),
            Self::DataSource => {
                let source = core::DataSource::decode(payload)?;
                (source.project, source.name)
            }
            Self::ValidationReference => {
                let reference = core::ValidationReference::decode(payload)?;
                (reference.project, reference.name)
            }
            Self::ProjectMetadata => {
                let metadata = core::ProjectMetadata::decode(payload)?;
                (metadata.project.clone(), metadata.project)
            }
            Self::Project => {
                let spec = core::Project::decode(payload)?.spec.unwrap_or_default();
                (spec.name.clone(), spec.name)
            }
        };
        Ok(ObjectId { kind: self, project, name })
    }
}

impl From<Kind> for ObjectKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Project => Self::Project,
            Kind::Entity => Self::Entity,
            Kind::DataSource => Self::DataSource,
            Kind::FeatureView => Self::FeatureView,
            Kind::OnDemandFeatureView => Self::OnDemandFeatureView,
            Kind::FeatureService => Self::FeatureService,
            Kind::SavedDataset => Self::SavedDataset,
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Which object this is; unique in a sound registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    /// Which list it stands in.
    pub(crate) kind: ObjectKind,
    /// Whose it is.
    pub(crate) project: String,
    /// Unique in kind and project.
    pub(crate) name: String,
}

/// Decodes a message whose `spec` has a project and a name.
macro_rules! spec_id {
    ($message:ty, $payload:expr) => {{
        let spec = <$message>::decode($payload)?.spec.unwrap_or_default();
        (spec.project, spec.name)
    }};
}
use spec_id;
