//! Why definitions cannot be written into a registry.

use backsight_proto::ErrorCode;
use thiserror::Error;

/// A change that a registry cannot take. Definitions that passed validation meet few of these.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A source of a kind that is only read.
    #[error("data source `{source_name}` is a {kind}, which is not written here")]
    UnwritableSource {
        /// The source.
        source_name: String,
        /// Its kind.
        kind: String,
    },
    /// A ttl beyond what protobuf can say.
    #[error("the ttl of feature view `{view}` is longer than 10,000 years")]
    TtlTooLong {
        /// The view.
        view: String,
    },
    /// Another object, which stays, has the name.
    #[error("{kind} `{name}` cannot be created: {taken_by} `{taken_name}` of this project has that name")]
    NameTaken {
        /// What should be created.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The kind of the object that has it.
        taken_by: String,
        /// Its name, which may differ in case.
        taken_name: String,
    },
    /// A service or an on-demand view uses a view that is not there.
    #[error("{user} uses the view `{view}`, which the project does not have{}", list(.known))]
    UnknownView {
        /// Who uses it.
        user: String,
        /// The view.
        view: String,
        /// The views that are there.
        known: Vec<String>,
    },
    /// A service or an on-demand view uses a feature that the view does not have.
    #[error("{user} uses the feature `{feature}`, which view `{view}` does not have{}", list(.known))]
    UnknownFeature {
        /// Who uses it.
        user: String,
        /// The view.
        view: String,
        /// The feature.
        feature: String,
        /// The features of the view.
        known: Vec<String>,
    },
    /// The project asks not to be removed.
    #[error("project `{project}` is protected from teardown by its tag `feast.dev/protected-project`")]
    Protected {
        /// The project.
        project: String,
    },
    /// An older version of the registry has nothing of the project.
    #[error("that version of the registry has no project `{project}`")]
    NotInVersion {
        /// The project.
        project: String,
    },
    /// Our own messages are not what our code thinks.
    #[error("the message `{message}` is not among the compiled ones")]
    NoMessage {
        /// The message.
        message: &'static str,
    },
}

impl ApplyError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnwritableSource { .. }
            | Self::TtlTooLong { .. }
            | Self::NameTaken { .. }
            | Self::UnknownView { .. }
            | Self::UnknownFeature { .. } => ErrorCode::Invalid,
            Self::Protected { .. } => ErrorCode::Usage,
            Self::NotInVersion { .. } => ErrorCode::NotFound,
            Self::NoMessage { .. } => ErrorCode::Bug,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnwritableSource { .. } => Some(
                "definitions hold file and request sources; other kinds are kept as Feast wrote them"
                    .to_owned(),
            ),
            Self::TtlTooLong { .. } => Some("leave `ttl` out for features that never expire".to_owned()),
            Self::NameTaken { taken_by, .. } => {
                Some(format!("choose another name, or remove the {taken_by} with the tool that made it"))
            }
            Self::Protected { .. } => Some("remove the tag and apply, then tear down".to_owned()),
            Self::NotInVersion { .. } => Some(
                "`backsight registry show --version N` lists the projects of a version; `backsight teardown` removes one"
                    .to_owned(),
            ),
            Self::UnknownView { .. } | Self::UnknownFeature { .. } | Self::NoMessage { .. } => None,
        }
    }
}

fn list(known: &[String]) -> String {
    if known.is_empty() {
        return String::new();
    }
    let names: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("; it has {}", names.join(", "))
}
