//! The kinds of object that a plan speaks of, in the order in which people read them.

use std::fmt;

/// A kind that definitions express and `apply` manages, or one that uses those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The project itself.
    Project,
    /// Something features are about.
    Entity,
    /// A file or request source.
    DataSource,
    /// Features from one source.
    FeatureView,
    /// Features computed from features and request values.
    OnDemandFeatureView,
    /// The features of one model.
    FeatureService,
    /// The result of a retrieval under a name. Definitions do not express it: it is only met as a user of others.
    SavedDataset,
}

impl Kind {
    /// As a sentence says it: `feature view`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Entity => "entity",
            Self::DataSource => "data source",
            Self::FeatureView => "feature view",
            Self::OnDemandFeatureView => "on-demand feature view",
            Self::FeatureService => "feature service",
            Self::SavedDataset => "saved dataset",
        }
    }

    /// As JSON says it: `feature_view`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Entity => "entity",
            Self::DataSource => "data_source",
            Self::FeatureView => "feature_view",
            Self::OnDemandFeatureView => "on_demand_feature_view",
            Self::FeatureService => "feature_service",
            Self::SavedDataset => "saved_dataset",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
