//! What becomes of a stored registry when many write, answers get lost, others interfere, and stores misbehave.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: what fails here fails the test")]

use std::path::Path;
use std::sync::Arc;

use backsight_proto::ErrorCode;
use backsight_registry::document::{ApplyError, RegistryDocument, SavedDataset, Stamp};
use backsight_registry::model::Definitions;
use backsight_registry::store::{PrunePolicy, RegistryStore, StoreError, StoreOptions, Written};
use backsight_s3_server::{Fault, Rule, S3Server};
use backsight_storage::{Location, StorageOptions, Stores};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::apply::small;
use crate::support::{empty, feast, now};

/// A place for a registry, and what must live as long.
struct Place {
    server: Option<S3Server>,
    folder: TempDir,
}

impl Place {
    fn local() -> Self {
        Self { server: None, folder: tempfile::tempdir().unwrap() }
    }

    fn s3() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = S3Server::start(folder.path());
        server.create_bucket("bucket");
        Self { server: Some(server), folder }
    }

    fn server(&self) -> &S3Server {
        self.server.as_ref().unwrap()
    }

    fn location(&self) -> Location {
        let text = if self.server.is_some() { "s3://bucket/team/registry.pb" } else { "registry.pb" };
        Location::parse(text, self.folder.path(), None).unwrap()
    }

    /// A client of its own, as another process has it.
    fn stores(&self) -> Stores {
        self.server.as_ref().map_or_else(|| Stores::new(StorageOptions::default()), client_of)
    }

    fn store(&self) -> RegistryStore {
        RegistryStore::open(self.stores(), self.location())
    }
}

fn client_of(server: &S3Server) -> Stores {
    Stores::new(StorageOptions { environment: server.environment(), ..Default::default() })
}

fn add_project(project: &str) -> impl FnMut(&RegistryDocument) -> Result<RegistryDocument, ApplyError> {
    describe_project(project, "")
}

fn describe_project(
    project: &str,
    description: &str,
) -> impl FnMut(&RegistryDocument) -> Result<RegistryDocument, ApplyError> {
    let mut definitions = empty(project);
    definitions.project.description = description.to_owned();
    move |document| document.apply(&definitions, &mut Stamp { now: now(), next_id: &mut Uuid::new_v4 })
}

async fn update(store: &RegistryStore, project: &str, description: &str) -> Result<Written, StoreError> {
    let before = store.read_if_exists().await?;
    let nothing = RegistryDocument::parse(b"").unwrap();
    let document = before.map_or(nothing, |before| before.document);
    let expected = document.project_fingerprint(project);
    store.update(project, &expected, describe_project(project, description)).await
}

async fn reading_never_creates(place: Place) {
    let store = place.store();
    let error = store.read().await.unwrap_err();
    assert_eq!(error.to_string(), format!("there is no registry at `{}`", place.location()));
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.hint().unwrap().contains("backsight apply"));
    assert!(store.read_if_exists().await.unwrap().is_none());
    assert!(store.history().await.unwrap().is_empty());
}

#[tokio::test]
async fn reading_never_creates_a_local_registry() {
    reading_never_creates(Place::local()).await;
}

#[tokio::test]
async fn reading_never_creates_an_s3_registry() {
    reading_never_creates(Place::s3()).await;
}

async fn every_version_is_kept(place: Place) {
    let store = place.store();
    let first = update(&store, "a", "one").await.unwrap();
    let second = update(&store, "a", "two").await.unwrap();
    assert!(first.is_changed && second.is_changed);
    assert_eq!(store.read().await.unwrap().bytes, second.snapshot.bytes);
    assert_eq!(store.read().await.unwrap().version, second.snapshot.version);
    let history = store.history().await.unwrap();
    let ids: Vec<_> = history.iter().map(|entry| Some(entry.version_id.clone())).collect();
    assert_eq!(ids, [first.snapshot.document.version_id(), second.snapshot.document.version_id()]);
    assert_eq!(history.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(store.read_kept(&history[0]).await.unwrap(), first.snapshot.document);

    let third = update(&store, "a", "two").await.unwrap();
    assert!(!third.is_changed, "nothing to write");
    assert_eq!(store.history().await.unwrap().len(), 2);
}

#[tokio::test]
async fn every_version_of_a_local_registry_is_kept() {
    every_version_is_kept(Place::local()).await;
}

#[tokio::test]
async fn every_version_of_an_s3_registry_is_kept() {
    every_version_is_kept(Place::s3()).await;
}

/// Each writer is a client of its own, and all start at once.
async fn writers_of_projects_lose_nothing(place: Place) {
    const WRITERS: usize = 16;
    let barrier = Arc::new(Barrier::new(WRITERS));
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (store, barrier) = (place.store(), Arc::clone(&barrier));
        writers.spawn(async move {
            let project = format!("project_{number}");
            let expected = RegistryDocument::parse(b"").unwrap().project_fingerprint(&project);
            barrier.wait().await;
            store.update(&project, &expected, add_project(&project)).await.unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let store = place.store();
    let document = store.read().await.unwrap().document;
    let mut names: Vec<_> = (0..WRITERS).map(|number| format!("project_{number}")).collect();
    names.sort();
    assert_eq!(document.projects(), names);
    for name in names {
        let catalog = document.catalog(&name).unwrap();
        assert_eq!(catalog.project_object.unwrap().name, name);
    }
    let history = store.history().await.unwrap();
    assert_eq!(history.len(), WRITERS, "those that were not first left nothing behind");
    assert_eq!(history.last().map(|entry| Some(entry.version_id.clone())), Some(document.version_id()));
    assert_eq!(store.foreign_write(&store.read().await.unwrap()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_of_sixteen_projects_lose_nothing_on_a_file_system() {
    writers_of_projects_lose_nothing(Place::local()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_of_sixteen_projects_lose_nothing_on_s3() {
    writers_of_projects_lose_nothing(Place::s3()).await;
}

async fn two_writers_of_one_project(place: Place) {
    update(&place.store(), "a", "start").await.unwrap();
    let expected = place.store().read().await.unwrap().document.project_fingerprint("a");
    let barrier = Arc::new(Barrier::new(2));
    let mut writers = JoinSet::new();
    for words in ["left", "right"] {
        let (store, barrier) = (place.store(), Arc::clone(&barrier));
        writers.spawn(async move {
            barrier.wait().await;
            (words, store.update("a", &expected, describe_project("a", words)).await)
        });
    }
    let mut outcomes = Vec::new();
    while let Some(done) = writers.join_next().await {
        outcomes.push(done.unwrap());
    }
    outcomes.sort_by_key(|(_, outcome)| outcome.is_err());
    let [(winner, Ok(_)), (_, Err(error))] = &outcomes[..] else {
        panic!("one wins, one loses: {outcomes:?}")
    };
    let description =
        |document: &RegistryDocument| document.catalog("a").unwrap().project_object.unwrap().description;
    assert_eq!(description(&place.store().read().await.unwrap().document), *winner);
    assert_eq!(error.code().exit_status(), 9);
    assert!(error.to_string().contains("project `a`"), "{error}");
    let StoreError::ProjectMoved { now, .. } = error else { panic!("{error}") };
    assert_eq!(description(&now.document), *winner, "the other change can be shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_project_have_one_winner_on_a_file_system() {
    two_writers_of_one_project(Place::local()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_project_have_one_winner_on_s3() {
    two_writers_of_one_project(Place::s3()).await;
}

#[tokio::test]
async fn a_change_decided_on_an_older_state_of_the_project_is_refused() {
    let place = Place::local();
    let store = place.store();
    update(&store, "a", "one").await.unwrap();
    let expected = store.read().await.unwrap().document.project_fingerprint("a");
    update(&store, "b", "another project may move").await.unwrap();
    store.update("a", &expected, describe_project("a", "two")).await.unwrap();
    let error = store.update("a", &expected, describe_project("a", "three")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Conflict);
    assert_eq!(store.history().await.unwrap().len(), 3);
}

/// Lets puts of kept versions pass, so that the next rule meets the registry itself.
fn spare_history(server: &S3Server) {
    server.inject(Rule::new(Fault::IgnoreConditions).method("PUT").path_contains(".history/"));
}

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_read_back_and_counts() {
    for fault in [Fault::DropAnswer, Fault::UnavailableAfter] {
        let place = Place::s3();
        let store = place.store();
        update(&store, "a", "one").await.unwrap();
        spare_history(place.server());
        place.server().inject(Rule::new(fault).method("PUT").path_contains("registry.pb").times(1));
        let written = update(&store, "a", "two").await.unwrap();
        assert!(written.is_changed);
        assert_eq!(written.attempts, 1, "{fault:?}: no second version");
        assert_eq!(store.history().await.unwrap().len(), 2);
        assert_eq!(store.read().await.unwrap().bytes, written.snapshot.bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_and_that_another_writer_followed_counts_too() {
    let place = Place::s3();
    update(&place.store(), "a", "one").await.unwrap();
    let second_door = S3Server::start(place.folder.path());
    let other = RegistryStore::open(client_of(&second_door), place.location());
    spare_history(place.server());
    // Every put through the first door is carried out and answered with 503, until the door is healed.
    place.server().inject(Rule::new(Fault::UnavailableAfter).method("PUT").path_contains("registry.pb"));
    let store = place.store();
    let mut writers = JoinSet::new();
    writers.spawn(async move { update(&store, "a", "two").await });
    let is_written = |document: &RegistryDocument| {
        document.catalog("a").unwrap().project_object.unwrap().description == "two"
    };
    while !is_written(&other.read().await.unwrap().document) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    update(&other, "b", "in between").await.unwrap();
    place.server().heal();
    let written = writers.join_next().await.unwrap().unwrap().unwrap();
    assert!(written.is_changed);
    assert_eq!(written.attempts, 2, "the first was refused, although it had been carried out");
    assert_eq!(written.snapshot.document.projects(), ["a", "b"]);
    let history = other.history().await.unwrap();
    assert_eq!(history.len(), 3, "the version in between is kept: {history:?}");
}

async fn a_foreign_write_is_noticed(place: Place) {
    let store = place.store();
    let ours = update(&store, "a", "ours").await.unwrap();
    // Another program replaces the object whole, as Feast does.
    let foreign = feast();
    place.stores().put(&place.location(), Bytes::from(foreign.to_bytes())).await.unwrap();

    let snapshot = store.read().await.unwrap();
    let warning = store.foreign_write(&snapshot).await.unwrap().unwrap();
    assert_eq!(Some(warning.version_id.clone()), foreign.version_id());
    assert_eq!(Some(warning.newest_known.version_id.clone()), ours.snapshot.document.version_id());
    assert_eq!(warning.written_at, foreign.last_updated());

    let written = update(&store, "b", "next").await.unwrap();
    assert_eq!(written.foreign_write, Some(warning));
    let history = store.history().await.unwrap();
    assert_eq!(history.len(), 3, "the foreign version is kept before it is replaced");
    assert_eq!(store.read_kept(&history[1]).await.unwrap(), foreign);
    let after = store.read().await.unwrap();
    assert_eq!(store.foreign_write(&after).await.unwrap(), None);
    assert_eq!(after.document.projects(), ["b", "first", "second"]);
}

#[tokio::test]
async fn a_foreign_write_is_noticed_on_a_file_system() {
    a_foreign_write_is_noticed(Place::local()).await;
}

#[tokio::test]
async fn a_foreign_write_is_noticed_on_s3() {
    a_foreign_write_is_noticed(Place::s3()).await;
}

#[tokio::test]
async fn the_first_write_onto_a_registry_of_feast_is_no_warning() {
    let place = Place::local();
    place.stores().put(&place.location(), Bytes::from(feast().to_bytes())).await.unwrap();
    let written = update(&place.store(), "b", "").await.unwrap();
    assert_eq!(written.foreign_write, None);
    assert_eq!(place.store().history().await.unwrap().len(), 2, "what Feast wrote is kept");
}

#[tokio::test]
async fn an_empty_file_is_an_empty_registry() {
    let place = Place::local();
    place.stores().put(&place.location(), Bytes::new()).await.unwrap();
    assert!(place.store().read().await.unwrap().document.projects().is_empty());
    update(&place.store(), "a", "").await.unwrap();
    assert_eq!(place.store().read().await.unwrap().document.projects(), ["a"]);
}

#[tokio::test]
async fn what_is_not_a_registry_is_named_and_never_overwritten() {
    let place = Place::local();
    place.stores().put(&place.location(), Bytes::from_static(b"project: demo\n")).await.unwrap();
    let error = update(&place.store(), "a", "").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert_eq!(error.to_string(), format!("cannot use `{}` as a registry", place.location()));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("not a Feast registry"), "{cause}");
    let kept = place.stores().read(&place.location()).await.unwrap().unwrap().bytes;
    assert_eq!(&kept[..], b"project: demo\n");
}

#[tokio::test]
async fn a_change_that_fails_writes_nothing() {
    let place = Place::local();
    let store = place.store();
    update(&store, "a", "one").await.unwrap();
    let expected = store.read().await.unwrap().document.project_fingerprint("a");
    let error = store
        .update("a", &expected, |_| Err(ApplyError::Protected { project: "a".to_owned() }))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Usage);
    assert_eq!(store.history().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused_before_the_first_write() {
    let place = Place::s3();
    place.server().ignore_conditions();
    let error = update(&place.store(), "a", "").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Usage);
    assert!(error.to_string().contains("cannot hold a registry safely"), "{error}");
    assert!(place.store().read_if_exists().await.unwrap().is_none());
}

#[tokio::test]
async fn a_denied_bucket_says_that_retrying_will_not_help() {
    let place = Place::s3();
    place.server().deny_bucket("bucket");
    let error = place.store().read().await.unwrap_err();
    assert_eq!(error.code().exit_status(), 6);
    assert!(error.hint().unwrap().contains("retrying will not help"));
}

#[tokio::test]
async fn a_writer_that_is_never_first_gives_up_without_a_trace() {
    let place = Place::local();
    update(&place.store(), "a", "start").await.unwrap();
    let folder = place.folder.path().to_owned();
    let options = StoreOptions {
        attempts_max: 3.try_into().unwrap(),
        delay_max: std::time::Duration::from_millis(1),
        ..Default::default()
    };
    let store = RegistryStore::with_options(place.stores(), place.location(), options);
    let expected = store.read().await.unwrap().document.project_fingerprint("b");
    let mut change = add_project("b");
    let mut round = 0;
    let error = store
        .update("b", &expected, |document| {
            // Somebody of another project is always faster.
            round += 1;
            overwrite(&folder, &describe_project("a", &format!("round {round}"))(document)?);
            change(document)
        })
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unreachable);
    assert!(error.to_string().contains("3 attempts"), "{error}");
    assert!(!store.read().await.unwrap().document.has_project("b"));
}

fn overwrite(folder: &Path, document: &RegistryDocument) {
    std::fs::write(folder.join("registry.pb"), document.to_bytes()).unwrap();
}

async fn versions_are_listed_read_and_pruned(place: Place) {
    let store = place.store();
    assert_eq!(store.versions().await.unwrap_err().code(), ErrorCode::NotFound);
    update(&store, "a", "one").await.unwrap();
    update(&store, "a", "two").await.unwrap();
    let foreign = feast();
    place.stores().put(&place.location(), Bytes::from(foreign.to_bytes())).await.unwrap();

    let listed = |versions: Vec<backsight_registry::store::VersionEntry>| -> Vec<String> {
        let mark = |is_so: bool, mark: &'static str| if is_so { mark } else { "" };
        let line = |it: backsight_registry::store::VersionEntry| {
            format!("{:?}{}{}", it.number, mark(it.is_current, " current"), mark(it.is_foreign, " foreign"))
        };
        versions.into_iter().map(line).collect()
    };
    let before = listed(store.versions().await.unwrap());
    assert_eq!(before, ["None current foreign", "Some(2)", "Some(1)"]);
    update(&store, "b", "next").await.unwrap();
    let after = listed(store.versions().await.unwrap());
    assert_eq!(after, ["Some(4) current", "Some(3) foreign", "Some(2)", "Some(1)"]);
    let third = store.read_version("3").await.unwrap();
    assert_eq!((&third.document, third.bytes), (&foreign, Bytes::from(foreign.to_bytes())));
    assert_eq!(Some(third.entry.version_id.clone()), foreign.version_id());
    assert_eq!(store.read_version("current").await.unwrap().entry.number, Some(4));
    assert_eq!(store.read_version("9").await.unwrap_err().code(), ErrorCode::NotFound);

    let policy = PrunePolicy { keep: Some(1), older_than: None };
    let soon = chrono::Utc::now();
    assert!(store.prunable(&policy, soon).await.unwrap().versions.is_empty(), "all are young");
    let later = soon + chrono::TimeDelta::hours(2);
    let found = store.prunable(&policy, later).await.unwrap();
    assert_eq!((found.versions.len(), found.kept), (3, 1));
    let agreed = found.versions[0].location.file_name().unwrap().to_owned();
    let pruned = store.prune(&policy, later, |name| name == agreed).await.unwrap();
    assert_eq!((pruned.versions.len(), pruned.kept), (1, 3), "only what was agreed to");
    assert_eq!(listed(store.versions().await.unwrap()), ["Some(4) current", "Some(3) foreign", "Some(2)"]);
    store.prune(&policy, later, |_| true).await.unwrap();
    assert_eq!(listed(store.versions().await.unwrap()), ["Some(4) current"]);

    // A registry that was deleted by accident is not out of reach.
    place.stores().delete(&place.location()).await.unwrap();
    assert_eq!(listed(store.versions().await.unwrap()), ["Some(4)"]);
    assert!(store.read_version("4").await.unwrap().document.has_project("b"));
}

#[tokio::test]
async fn versions_are_listed_read_and_pruned_on_a_file_system() {
    versions_are_listed_read_and_pruned(Place::local()).await;
}

#[tokio::test]
async fn versions_are_listed_read_and_pruned_on_s3() {
    versions_are_listed_read_and_pruned(Place::s3()).await;
}

#[tokio::test]
async fn what_dead_writers_left_is_found_beside_the_registry_and_in_its_history() {
    let place = Place::local();
    let store = place.store();
    update(&store, "a", "one").await.unwrap();
    let root = place.folder.path();
    let deep = root.join("data");
    std::fs::create_dir_all(&deep).unwrap();
    for path in [
        "x.parquet",
        ".backsight-tmp-1",
        "registry.pb.history/.backsight-tmp-2",
        "data/.backsight-tmp-3",
        ".backsight-lock",
    ] {
        std::fs::write(root.join(path), "x").unwrap();
    }
    let policy = PrunePolicy { keep: Some(100), older_than: None };
    assert!(store.prunable(&policy, chrono::Utc::now()).await.unwrap().leftovers.is_empty(), "all are young");
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(2);
    let removed = store.prune(&policy, later, |_| true).await.unwrap();
    let names: Vec<_> = removed.leftovers.iter().filter_map(|file| file.location.file_name()).collect();
    assert_eq!(names, [".backsight-tmp-1", ".backsight-tmp-2"]);
    assert!(!root.join(".backsight-tmp-1").exists() && root.join("data/.backsight-tmp-3").exists());
    assert!(root.join(".backsight-lock").exists(), "a lock that is removed locks nobody out");
}

/// Puts a dataset into project `a`, as a retrieval does at any hour.
async fn save(store: &RegistryStore, name: &str, feature: &str) {
    let dataset = SavedDataset {
        name: name.to_owned(),
        features: vec![feature.to_owned()],
        join_keys: vec!["user_id".to_owned()],
        full_feature_names: false,
        feature_service: None,
        uri: format!("/data/{name}"),
        s3_endpoint: None,
        instants: None,
    };
    store.save_dataset("third", &dataset, now, &mut Uuid::new_v4).await.unwrap();
}

#[tokio::test]
async fn a_dataset_that_is_saved_meanwhile_is_in_the_way_of_what_breaks_it_only() {
    let place = Place::local();
    let store = place.store();
    let apply = |wanted: &Definitions| {
        let wanted = wanted.clone();
        move |document: &RegistryDocument| {
            document.apply(&wanted, &mut Stamp { now: now(), next_id: &mut Uuid::new_v4 })
        }
    };
    let nothing = RegistryDocument::parse(b"").unwrap().project_fingerprint("third");
    let mut wanted = small();
    store.update_to(&wanted, &nothing, apply(&wanted)).await.unwrap();
    let version = store.read().await.unwrap().document;
    let seen = version.project_fingerprint("third");
    save(&store, "nightly", "clicks:f").await;
    let now_there = store.read().await.unwrap().document.project_fingerprint("third");
    assert!(now_there != seen && now_there.is_same_but_saved_datasets(&seen));

    // A rollback would take the dataset away again: nobody was asked that.
    let back = |document: &RegistryDocument| {
        document.rollback(&version, "third", &mut Stamp { now: now(), next_id: &mut Uuid::new_v4 })
    };
    let refused = store.update("third", &seen, back).await.unwrap_err();
    assert!(matches!(refused, StoreError::ProjectMoved { .. }), "{refused}");

    // Words do nothing to a dataset.
    wanted.feature_views[0].description = "another".to_owned();
    let written = store.update_to(&wanted, &seen, apply(&wanted)).await.unwrap();
    assert!(written.is_changed);
    let held = written.snapshot.document.catalog("third").unwrap();
    assert_eq!((held.saved_datasets.len(), held.feature_views[0].description.as_str()), (1, "another"));

    // A change that takes away what a new dataset was made of is looked at again.
    let seen = written.snapshot.document.project_fingerprint("third");
    save(&store, "nightly_2", "clicks:g").await;
    wanted.feature_views[0].features.retain(|feature| feature.name != "g");
    wanted.feature_services.clear();
    let refused = store.update_to(&wanted, &seen, apply(&wanted)).await.unwrap_err();
    assert!(matches!(refused, StoreError::ProjectMoved { .. }), "{refused}");
    let seen = store.read().await.unwrap().document.project_fingerprint("third");
    store.update_to(&wanted, &seen, apply(&wanted)).await.unwrap();

    // Whatever else changes is a change.
    let seen = store.read().await.unwrap().document.project_fingerprint("third");
    let mut other = wanted.clone();
    other.entities[0].description = "theirs".to_owned();
    store.update_to(&other, &seen, apply(&other)).await.unwrap();
    save(&store, "nightly_3", "clicks:f").await;
    let refused = store.update_to(&wanted, &seen, apply(&wanted)).await.unwrap_err();
    assert!(matches!(refused, StoreError::ProjectMoved { .. }), "{refused}");
}

/// Our swap is made, its answer is lost, and before we look again a retrieval has saved its dataset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_counts_although_a_dataset_was_saved_right_after_it() {
    let place = Place::s3();
    let store = place.store();
    update(&store, "third", "one").await.unwrap();
    let wanted = small();
    let seen = store.read().await.unwrap().document.project_fingerprint("third");
    let (send, mut made) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let (done, wait) = std::sync::mpsc::channel();
    let (other, stores, location) = (place.store(), place.stores(), place.location());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let ours = made.recv().await.unwrap();
        let current = other.read().await.unwrap();
        stores.replace(&location, Bytes::from(ours), &current.version).await.unwrap();
        save(&other, "nightly", "clicks:f").await;
        done.send(()).unwrap();
    });
    let mut is_first = true;
    let change = |document: &RegistryDocument| {
        let changed = document.apply(&wanted, &mut Stamp { now: now(), next_id: &mut Uuid::new_v4 })?;
        if std::mem::take(&mut is_first) {
            send.send(changed.to_bytes()).unwrap();
            wait.recv().unwrap();
        }
        Ok(changed)
    };
    let written = store.update_to(&wanted, &seen, change).await.unwrap();
    assert!(written.is_changed && written.attempts == 2, "{written:?}");
    tasks.join_next().await.unwrap().unwrap();
    let catalog = store.read().await.unwrap().document.catalog("third").unwrap();
    assert_eq!((catalog.saved_datasets.len(), catalog.feature_views.len()), (1, wanted.feature_views.len()));
}
