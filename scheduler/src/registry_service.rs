//! What clients read of the registry and how they change it: the scheduler's side of `ReadRegistry`, `ChangeRegistry`
//! and `CheckSources`.

use std::path::Path;

use backsight_proto::ErrorCode;
use backsight_proto::control::change_registry_request::Change;
use backsight_proto::control::change_registry_response::Outcome;
use backsight_proto::control::{
    ChangeRegistryRequest, ChangeRegistryResponse, CheckSourcesRequest, CheckSourcesResponse, Failure,
    ForeignWrite, RegistryState, WrittenRegistry,
};
use backsight_registry::document::{ProjectFingerprint, RegistryDocument, Stamp};
use backsight_registry::model::Definitions;
use backsight_registry::store::{self, RegistrySnapshot, RegistryStore, StoreError};
use backsight_retrieval::{SourceCheck, WireFailure, check_sources as check};
use backsight_storage::Stores;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::service::failure_message;

/// The registry as it is; one that is missing is a state, too.
///
/// # Errors
/// The store cannot be read, or holds something else than a registry.
pub async fn read(store: &RegistryStore) -> Result<RegistryState, Failure> {
    let snapshot = store.read_if_exists().await.map_err(|error| failure_of(&error))?;
    let foreign = match &snapshot {
        Some(snapshot) => store.foreign_write(snapshot).await.map_err(|error| failure_of(&error))?,
        None => None,
    };
    Ok(state(store, snapshot.as_ref(), foreign))
}

/// Applies definitions, removes a project or puts it back, if the project is still as the client saw it.
///
/// `now` and `next_id` are asked for each attempt: a write that another one was faster than is made anew.
///
/// # Errors
/// The request makes no sense, the change cannot be made, the store failed. After a failure of the store the change
/// may have been written all the same.
pub async fn change(
    store: &RegistryStore,
    request: ChangeRegistryRequest,
    now: fn() -> DateTime<Utc>,
    next_id: &mut (dyn FnMut() -> Uuid + Send),
) -> Result<ChangeRegistryResponse, Failure> {
    let expected: ProjectFingerprint = request
        .expected_fingerprint
        .parse()
        .map_err(|error| refused(format!("the request has no fingerprint of the project: {error}")))?;
    if request.project.is_empty() {
        return Err(refused("the request names no project".to_owned()));
    }
    let wanted = wanted(store, &request).await?;
    let project = request.project.as_str();
    let changed = |document: &RegistryDocument| {
        let mut stamp = Stamp { now: now(), next_id: &mut *next_id };
        match &wanted {
            Wanted::Defined(definitions) => document.apply(definitions, &mut stamp),
            Wanted::Nothing => document.teardown(project, &mut stamp),
            Wanted::AsIn(version) => document.rollback(version, project, &mut stamp),
        }
    };
    let written = match &wanted {
        Wanted::Defined(definitions) => store.update_to(definitions, &expected, changed).await,
        Wanted::Nothing | Wanted::AsIn(_) => store.update(project, &expected, changed).await,
    };
    let outcome = match written {
        Ok(written) => {
            let foreign = written.foreign_write;
            let state = state(store, Some(&written.snapshot), foreign);
            Outcome::Written(WrittenRegistry { state: Some(state), is_changed: written.is_changed })
        }
        Err(StoreError::ProjectMoved { now, .. }) => Outcome::Moved(state(store, Some(now.as_ref()), None)),
        Err(error) => return Err(failure_of(&error)),
    };
    Ok(ChangeRegistryResponse { outcome: Some(outcome) })
}

/// Looks at the source files of definitions; relative paths start at `repo`.
///
/// # Errors
/// The request makes no sense. Whatever is wrong with the sources is in the answer.
pub async fn check_sources(
    stores: &Stores,
    repo: &Path,
    request: CheckSourcesRequest,
) -> Result<CheckSourcesResponse, Failure> {
    let definitions = definitions(&request.definitions, &request.project)?;
    let how = SourceCheck { repo, allow_type_drift: request.allow_type_drift };
    let report = check(stores, &definitions.feature_views, how).await;
    let report_json = serde_json::to_string(&report)
        .map_err(|error| failure_message(WireFailure::new(ErrorCode::Bug, error.to_string(), None)))?;
    Ok(CheckSourcesResponse { report_json })
}

/// A failure of the registry's store as it travels.
pub fn failure_of(error: &StoreError) -> Failure {
    failure_message(WireFailure::of(error, error.code(), error.hint()))
}

/// What a change makes of a project.
enum Wanted {
    Defined(Definitions),
    Nothing,
    AsIn(RegistryDocument),
}

async fn wanted(store: &RegistryStore, request: &ChangeRegistryRequest) -> Result<Wanted, Failure> {
    match &request.change {
        Some(Change::Definitions(bytes)) => definitions(bytes, &request.project).map(Wanted::Defined),
        Some(Change::Teardown(true)) => Ok(Wanted::Nothing),
        Some(Change::Rollback(version)) => {
            let version = store.read_version(version).await.map_err(|error| failure_of(&error))?;
            Ok(Wanted::AsIn(version.document))
        }
        Some(Change::Teardown(false)) | None => Err(refused("the request says no change".to_owned())),
    }
}

/// Definitions of one project as they travel: a registry that holds them and nothing else.
fn definitions(bytes: &[u8], project: &str) -> Result<Definitions, Failure> {
    let document = RegistryDocument::parse(bytes)
        .map_err(|error| refused(format!("the definitions of the request cannot be read: {error}")))?;
    let found = document.projects();
    if found != [project] {
        let found: Vec<String> = found.iter().map(|project| format!("`{project}`")).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        return Err(refused(format!(
            "the request is about project `{project}`, its definitions are of {found}"
        )));
    }
    let catalog = document.catalog_or_empty(project);
    if let Some((kind, name)) = catalog.unmanaged.first() {
        return Err(refused(format!("the request defines the {kind} `{name}`, which is not managed here")));
    }
    Ok(catalog.as_definitions())
}

fn state(
    store: &RegistryStore,
    snapshot: Option<&RegistrySnapshot>,
    foreign: Option<store::ForeignWrite>,
) -> RegistryState {
    RegistryState {
        location: store.location().to_string(),
        exists: snapshot.is_some(),
        registry: snapshot.map(|snapshot| snapshot.bytes.to_vec()).unwrap_or_default(),
        foreign_write: foreign.map(|foreign| ForeignWrite {
            version_id: foreign.version_id,
            newest_known_version_id: foreign.newest_known.version_id,
        }),
        history_folder: store.history_folder().to_string(),
    }
}

/// A request that no client of ours sends.
fn refused(message: String) -> Failure {
    let hint = "client and scheduler may be of different versions";
    failure_message(WireFailure::new(ErrorCode::Usage, message, Some(hint.to_owned())))
}

#[cfg(test)]
mod tests {
    use backsight_registry::definitions::{SourceFile, check_definitions};
    use backsight_registry::diff::diff;
    use backsight_registry::model::{Entity, Project, Tags, ValueType};
    use backsight_retrieval::SourceReport;
    use backsight_storage::{Location, StorageOptions};
    use tempfile::TempDir;

    use super::*;

    fn store(folder: &TempDir) -> RegistryStore {
        let location = Location::parse("registry.pb", folder.path(), None).unwrap();
        RegistryStore::open(Stores::new(StorageOptions::default()), location)
    }

    fn definitions(project: &str, description: &str) -> Definitions {
        let mut definitions = Definitions::empty(Project::named(project));
        definitions.entities.push(Entity {
            name: "driver".to_owned(),
            join_key: "driver_id".to_owned(),
            value_type: ValueType(4),
            description: description.to_owned(),
            tags: Tags::new(),
            owner: String::new(),
        });
        definitions
    }

    fn as_registry(definitions: &Definitions) -> Vec<u8> {
        let mut stamp = Stamp { now: Utc::now(), next_id: &mut Uuid::new_v4 };
        RegistryDocument::parse(&[]).unwrap().apply(definitions, &mut stamp).unwrap().to_bytes()
    }

    fn request(project: &str, seen: &RegistryState, change: Change) -> ChangeRegistryRequest {
        let document = RegistryDocument::parse(&seen.registry).unwrap();
        ChangeRegistryRequest {
            project: project.to_owned(),
            expected_fingerprint: document.project_fingerprint(project).to_string(),
            change: Some(change),
            requested_by: "me@here".to_owned(),
        }
    }

    fn apply(project: &str, seen: &RegistryState, description: &str) -> ChangeRegistryRequest {
        let bytes = as_registry(&definitions(project, description));
        request(project, seen, Change::Definitions(bytes))
    }

    async fn changed(store: &RegistryStore, request: ChangeRegistryRequest) -> Result<Outcome, Failure> {
        let response = change(store, request, Utc::now, &mut Uuid::new_v4).await?;
        Ok(response.outcome.unwrap())
    }

    fn written(outcome: Outcome) -> WrittenRegistry {
        match outcome {
            Outcome::Written(written) => written,
            Outcome::Moved(_) => panic!("moved"),
        }
    }

    #[tokio::test]
    async fn a_registry_is_created_changed_and_torn_down() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let missing = read(&store).await.unwrap();
        assert!(!missing.exists && missing.registry.is_empty());
        assert!(missing.location.ends_with("/registry.pb"));
        assert!(missing.history_folder.ends_with("/registry.pb.history"));

        let first = written(changed(&store, apply("taxi", &missing, "a")).await.unwrap());
        assert!(first.is_changed);
        let now = read(&store).await.unwrap();
        assert_eq!(first.state.as_ref(), Some(&now));
        let catalog = RegistryDocument::parse(&now.registry).unwrap().catalog("taxi").unwrap();
        assert!(!diff(&catalog, &definitions("taxi", "a")).has_changes());

        let same = written(changed(&store, apply("taxi", &now, "a")).await.unwrap());
        assert!(!same.is_changed);
        let gone = written(changed(&store, request("taxi", &now, Change::Teardown(true))).await.unwrap());
        let registry = gone.state.unwrap().registry;
        assert!(RegistryDocument::parse(&registry).unwrap().projects().is_empty());
    }

    #[tokio::test]
    async fn a_project_that_moved_comes_back_as_it_is_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let missing = read(&store).await.unwrap();
        changed(&store, apply("taxi", &missing, "theirs")).await.unwrap();
        let before = read(&store).await.unwrap();
        let Outcome::Moved(now) = changed(&store, apply("taxi", &missing, "ours")).await.unwrap() else {
            panic!("written over another change");
        };
        assert_eq!((&now.registry, &now.location), (&before.registry, &before.location));
        assert_eq!(read(&store).await.unwrap(), before);

        // Another project is not in the way.
        written(changed(&store, apply("rides", &missing, "ours")).await.unwrap());
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let missing = read(&store).await.unwrap();
        let good = || apply("taxi", &missing, "a");
        let of_another = Change::Definitions(as_registry(&definitions("rides", "a")));
        let with = |change: Option<Change>| ChangeRegistryRequest { change, ..good() };
        let feast = include_bytes!("../../registry/testdata/feast-0.67.pb").to_vec();
        let unmanaged = ChangeRegistryRequest {
            project: "first".to_owned(),
            ..with(Some(Change::Definitions(feast.clone())))
        };
        for (bad, expected) in [
            (with(Some(of_another)), "about project `taxi`, its definitions are of `rides`"),
            (with(Some(Change::Definitions(Vec::new()))), "its definitions are of none"),
            (with(Some(Change::Definitions(b"{}".to_vec()))), "cannot be read: not a Feast registry"),
            (unmanaged, "its definitions are of `first`, `second`"),
            (with(Some(Change::Teardown(false))), "says no change"),
            (with(None), "says no change"),
            (
                ChangeRegistryRequest { expected_fingerprint: "x".to_owned(), ..good() },
                "has no fingerprint of the project",
            ),
            (ChangeRegistryRequest { project: String::new(), ..good() }, "names no project"),
        ] {
            let failure = changed(&store, bad).await.unwrap_err();
            assert!(failure.message.contains(expected), "{failure:?}");
            assert_eq!((failure.code.as_str(), failure.is_retryable), ("usage", false));
        }
        assert_eq!(read(&store).await.unwrap(), missing);
    }

    #[tokio::test]
    async fn sources_are_looked_for_where_the_scheduler_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut wanted = definitions("taxi", "a");
        let file = SourceFile {
            path: "repo.yaml".to_owned(),
            text: "kind: FileSource\nname: s\npath: data/s.parquet\ntimestamp_field: t\n---\nkind: FeatureView\nname: v\n\
                   schema: [{name: x, dtype: Int64}]\nsource: s\n"
                .to_owned(),
        };
        let repo = check_definitions(&[file], Project::named("taxi")).unwrap();
        wanted.data_sources = repo.definitions.data_sources;
        wanted.feature_views = repo.definitions.feature_views;
        let request = |bytes: Vec<u8>| CheckSourcesRequest {
            project: "taxi".to_owned(),
            definitions: bytes,
            allow_type_drift: false,
        };
        let stores = Stores::new(StorageOptions::default());
        let look = async |bytes: Vec<u8>| check_sources(&stores, folder.path(), request(bytes)).await;
        let answer = look(as_registry(&wanted)).await.unwrap();
        let report: SourceReport = serde_json::from_str(&answer.report_json).unwrap();
        assert_eq!((report.views, report.sources, report.error_code()), (1, 1, Some(ErrorCode::NotFound)));
        let place = folder.path().join("data/s.parquet").display().to_string();
        assert!(report.findings[0].message.contains(&place), "{report:?}");

        let failure = look(as_registry(&definitions("rides", "a"))).await.unwrap_err();
        assert!(failure.message.contains("its definitions are of `rides`"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_foreign_write_is_told_and_a_bad_registry_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let missing = read(&store).await.unwrap();
        changed(&store, apply("taxi", &missing, "a")).await.unwrap();
        let ours = read(&store).await.unwrap();
        assert_eq!(ours.foreign_write, None);
        let path = folder.path().join("registry.pb");
        std::fs::write(&path, as_registry(&definitions("taxi", "theirs"))).unwrap();
        let foreign = read(&store).await.unwrap();
        let known = RegistryDocument::parse(&ours.registry).unwrap().version_id().unwrap();
        assert_eq!(foreign.foreign_write.as_ref().unwrap().newest_known_version_id, known);
        let over = written(changed(&store, apply("taxi", &foreign, "b")).await.unwrap());
        assert!(over.state.unwrap().foreign_write.is_some());

        std::fs::write(&path, "<html>").unwrap();
        let failure = read(&store).await.unwrap_err();
        assert_eq!(failure.code, "invalid");
        assert!(failure.message.contains("as a registry") && !failure.hint.is_empty());
        assert!(failure.causes[0].contains("HTML"), "{:?}", failure.causes);
    }
}
