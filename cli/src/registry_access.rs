//! The registry as commands reach it: directly in its store, or through a scheduler. Both answer the same.

use backsight_proto::ErrorCode;
use backsight_proto::control::change_registry_request::Change as WireChange;
use backsight_proto::control::change_registry_response::Outcome;
use backsight_proto::control::{self, ChangeRegistryRequest, RegistryState};
use backsight_registry::document::{ProjectFingerprint, RegistryDocument, Stamp};
use backsight_registry::model::Definitions;
use backsight_registry::store::{self, RegistrySnapshot, RegistryStore, StoreError};
use bytes::Bytes;
use chrono::Utc;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::errors::Failure;
use crate::registry_versions::VersionRead;

/// One registry.
#[derive(Debug)]
pub(crate) enum RegistryAccess {
    /// In its store.
    Direct(RegistryStore),
    /// Behind a scheduler, which owns it.
    Remote(Box<Cluster>),
}

/// A registry as it was read.
#[derive(Debug, Clone)]
pub(crate) struct RegistryRead {
    /// What it says; nothing when it is missing.
    pub(crate) document: RegistryDocument,
    /// The bytes as stored.
    pub(crate) bytes: Bytes,
    /// Whether there is one.
    pub(crate) exists: bool,
    /// Where it is, for people.
    pub(crate) location: String,
    /// Known already when a scheduler answered.
    foreign_write: Option<ForeignWrite>,
    snapshot: Option<RegistrySnapshot>,
}

/// Somebody else wrote over versions of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignWrite {
    /// The foreign version.
    pub(crate) version_id: String,
    /// The newest version that we know of.
    pub(crate) newest_known_version_id: String,
}

/// A change of one project.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    /// Make it as defined.
    Apply(&'a Definitions),
    /// Remove it.
    Teardown,
    /// Put it back to what a version held of it.
    Rollback(&'a VersionRead),
}

/// A change that was made.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The registry's version now.
    pub(crate) version_id: Option<String>,
    /// Whether anything was written.
    pub(crate) is_changed: bool,
    /// Where the registry is.
    pub(crate) location: String,
    /// Where its versions are kept.
    pub(crate) history_folder: String,
    /// A warning: somebody else had written over versions of ours.
    pub(crate) foreign_write: Option<ForeignWrite>,
}

/// A change that was not made.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// The project is not as it was looked at; here is the registry as it is now.
    Moved(Box<RegistryDocument>, Failure),
    /// Anything else.
    Failed(Failure),
}

impl RegistryAccess {
    /// Reads a registry that must be there.
    pub(crate) async fn read(&self) -> Result<RegistryRead, Failure> {
        let read = self.read_if_exists().await?;
        if read.exists {
            return Ok(read);
        }
        let hint = match self {
            Self::Direct(_) => "check `registry` in feature_store.yaml".to_owned(),
            Self::Remote(cluster) => format!("check `registry` of the scheduler at `{}`", cluster.url()),
        };
        let message = format!("there is no registry at `{}`", read.location);
        Err(Failure::new(ErrorCode::NotFound, message)
            .with_hint(format!("`backsight apply` creates it; if it should exist, {hint}")))
    }

    /// Reads the registry; one that is missing is an empty one.
    pub(crate) async fn read_if_exists(&self) -> Result<RegistryRead, Failure> {
        match self {
            Self::Direct(store) => {
                let location = store.location().to_string();
                let snapshot = store.read_if_exists().await?;
                let document = match &snapshot {
                    Some(snapshot) => snapshot.document.clone(),
                    None => RegistryDocument::parse(&[])?,
                };
                Ok(RegistryRead {
                    document,
                    bytes: snapshot.as_ref().map(|snapshot| snapshot.bytes.clone()).unwrap_or_default(),
                    exists: snapshot.is_some(),
                    location,
                    foreign_write: None,
                    snapshot,
                })
            }
            Self::Remote(cluster) => {
                let state = cluster.read_registry().await?;
                Ok(RegistryRead {
                    document: parse(&state)?,
                    bytes: Bytes::from(state.registry),
                    exists: state.exists,
                    location: state.location,
                    foreign_write: state.foreign_write.map(ForeignWrite::from),
                    snapshot: None,
                })
            }
        }
    }

    /// Whether somebody else wrote this version over versions of ours.
    pub(crate) async fn foreign_write(&self, read: &RegistryRead) -> Result<Option<ForeignWrite>, Failure> {
        match (self, &read.snapshot) {
            (Self::Direct(store), Some(snapshot)) => {
                Ok(store.foreign_write(snapshot).await?.map(ForeignWrite::from))
            }
            _ => Ok(read.foreign_write.clone()),
        }
    }

    /// Changes a project, if it is still in the state that `expected` tells.
    pub(crate) async fn update(
        &self,
        project: &str,
        expected: &ProjectFingerprint,
        change: Change<'_>,
    ) -> Result<Written, NotWritten> {
        match self {
            Self::Direct(store) => update_direct(store, project, expected, change).await,
            Self::Remote(cluster) => update_remote(cluster, project, expected, change).await,
        }
    }

    /// Where the registry is, for people, without reading it.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Direct(store) => store.location().to_string(),
            Self::Remote(cluster) => format!("the scheduler's, at {}", cluster.url()),
        }
    }
}

async fn update_direct(
    store: &RegistryStore,
    project: &str,
    expected: &ProjectFingerprint,
    change: Change<'_>,
) -> Result<Written, NotWritten> {
    let changed = |document: &RegistryDocument| {
        let mut stamp = Stamp { now: Utc::now(), next_id: &mut Uuid::new_v4 };
        match change {
            Change::Apply(definitions) => document.apply(definitions, &mut stamp),
            Change::Teardown => document.teardown(project, &mut stamp),
            Change::Rollback(version) => document.rollback(&version.document, project, &mut stamp),
        }
    };
    let written = match change {
        Change::Apply(definitions) => store.update_to(definitions, expected, changed).await,
        Change::Teardown | Change::Rollback(_) => store.update(project, expected, changed).await,
    };
    match written {
        Ok(written) => Ok(Written {
            version_id: written.snapshot.document.version_id(),
            is_changed: written.is_changed,
            location: store.location().to_string(),
            history_folder: store.history_folder().to_string(),
            foreign_write: written.foreign_write.map(ForeignWrite::from),
        }),
        Err(StoreError::ProjectMoved { project, location, now }) => {
            Err(NotWritten::Moved(Box::new(now.document), moved(&project, &location.to_string())))
        }
        Err(error) => Err(NotWritten::Failed(error.into())),
    }
}

async fn update_remote(
    cluster: &Cluster,
    project: &str,
    expected: &ProjectFingerprint,
    change: Change<'_>,
) -> Result<Written, NotWritten> {
    let change = match change {
        Change::Apply(definitions) => WireChange::Definitions(as_registry(definitions)?),
        Change::Teardown => WireChange::Teardown(true),
        Change::Rollback(version) => WireChange::Rollback(version.entry.version_id.clone()),
    };
    let request = ChangeRegistryRequest {
        project: project.to_owned(),
        expected_fingerprint: expected.to_string(),
        change: Some(change),
        requested_by: cluster.who().to_owned(),
    };
    let response = cluster.change_registry(request).await.map_err(|failure| match failure.code() {
        ErrorCode::Unreachable => failure.with_hint(
            "the change may have been made all the same: run `backsight plan` to see what is left of it",
        ),
        _ => failure,
    })?;
    match response.outcome {
        Some(Outcome::Written(written)) => {
            let state = written.state.unwrap_or_default();
            Ok(Written {
                version_id: parse(&state)?.version_id(),
                is_changed: written.is_changed,
                location: state.location,
                history_folder: state.history_folder,
                foreign_write: state.foreign_write.map(ForeignWrite::from),
            })
        }
        Some(Outcome::Moved(state)) => {
            Err(NotWritten::Moved(Box::new(parse(&state)?), moved(project, &state.location)))
        }
        None => Err(NotWritten::Failed(Failure::bug("the scheduler did not say what became of the change"))),
    }
}

/// Definitions as they travel: a registry that holds them and nothing else.
pub(crate) fn as_registry(definitions: &Definitions) -> Result<Vec<u8>, Failure> {
    let nothing = RegistryDocument::parse(&[])?;
    let mut stamp = Stamp { now: Utc::now(), next_id: &mut Uuid::new_v4 };
    Ok(nothing.apply(definitions, &mut stamp).map_err(StoreError::from)?.to_bytes())
}

fn parse(state: &RegistryState) -> Result<RegistryDocument, Failure> {
    Ok(RegistryDocument::parse(&state.registry)?)
}

/// In the words of the store, so that both ways say the same.
fn moved(project: &str, location: &str) -> Failure {
    let message = format!(
        "project `{project}` in `{location}` has changed since it was looked at; nothing was written"
    );
    Failure::new(ErrorCode::Conflict, message)
        .with_hint("run `backsight plan` again and look at both changes")
}

impl From<store::ForeignWrite> for ForeignWrite {
    fn from(foreign: store::ForeignWrite) -> Self {
        Self { version_id: foreign.version_id, newest_known_version_id: foreign.newest_known.version_id }
    }
}

impl From<control::ForeignWrite> for ForeignWrite {
    fn from(foreign: control::ForeignWrite) -> Self {
        Self { version_id: foreign.version_id, newest_known_version_id: foreign.newest_known_version_id }
    }
}

impl From<Failure> for NotWritten {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
