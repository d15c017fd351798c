//! The commit on files and in object stores: what is visible when, what a repeated request gets, what faults leave behind.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampSecondArray};
use backsight_asof::JoinForm;
use backsight_retrieval::{Claimant, OpenRequest, Opened, Output, RetrievalError, StagingLog};
use backsight_s3_server::{Fault, Rule};
use backsight_storage::{StorageOptions, Stores};
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::clouds::Cloud;
use crate::world::{ViewSpec, World};

const DATASET: [&str; 4] = ["_SUCCESS", "_backsight/manifest.json", "_backsight/registry.pb", "part"];

/// A world with one view and a spine of 100 rows, all local.
fn small(stores: Stores) -> World {
    let mut world = World::with_stores(stores);
    let ints = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let seconds = |values: Vec<i64>| Arc::new(TimestampSecondArray::from(values)) as ArrayRef;
    world.write(
        "spine.parquet",
        vec![("id", ints((0..100).collect())), ("event_timestamp", seconds(vec![10; 100]))],
    );
    world.write(
        "view.parquet",
        vec![("id", ints((0..50).collect())), ("t", seconds(vec![5; 50])), ("x", ints((0..50).collect()))],
    );
    world.add_view(&ViewSpec::default());
    world
}

/// A world on local files, and one with its outputs in each object store.
fn worlds() -> Vec<(World, String, Option<Cloud>)> {
    let local = small(Stores::new(StorageOptions::default()));
    let clouds = Cloud::all().into_iter().map(in_cloud).map(|(world, url, cloud)| (world, url, Some(cloud)));
    std::iter::once((local, "out".to_owned(), None)).chain(clouds).collect()
}

fn in_cloud(cloud: Cloud) -> (World, String, Cloud) {
    (small(cloud.stores.clone()), format!("{}/dataset", cloud.base), cloud)
}

fn pending(cloud: Option<&Cloud>) -> usize {
    cloud.map_or(0, Cloud::pending_uploads)
}

#[tokio::test]
async fn a_dataset_is_exactly_its_parts_manifest_registry_and_marker() {
    for (world, output, cloud) in &worlds() {
        let engine = world.embedded(JoinForm::SlotFold, 1);
        let request = world.request(&["view:x"], output);
        let finished = world.run(&engine, &request, "one", false).await.unwrap();
        assert_eq!(world.listing(output).await, DATASET);
        assert_eq!(finished.manifest.rows, 100);
        assert_eq!(finished.manifest.report.views[0].matched, 50);

        let again = world.run(&engine, &request, "one", false).await.unwrap();
        assert!(again.repeated);
        assert_eq!(again.manifest, finished.manifest);

        let mut other = request.clone();
        other.full_feature_names = true;
        let error = world.run(&engine, &other, "one", true).await.unwrap_err();
        assert!(error.to_string().contains("has already been used for another request"), "{error}");
        assert_eq!(error.code().exit_status(), 9);

        let error = world.run(&engine, &other, "two", false).await.unwrap_err();
        assert!(error.to_string().contains("holds a dataset of 100 rows"), "{error}");
        assert_eq!(error.code().exit_status(), 9);

        let replaced = world.run(&engine, &other, "two", true).await.unwrap();
        assert_eq!(world.listing(output).await, DATASET, "the old parts are gone");
        assert_eq!(replaced.manifest.schema[2].name, "view__x");
        assert_eq!(pending(cloud.as_ref()), 0);
    }
}

#[tokio::test]
async fn what_is_not_ours_is_never_overwritten() {
    let world = small(Stores::new(StorageOptions::default()));
    std::fs::create_dir_all(world.path("out")).unwrap();
    std::fs::write(world.path("out/precious.csv"), "1").unwrap();
    let engine = world.embedded(JoinForm::SlotFold, 1);
    for overwrite in [false, true] {
        let error =
            world.run(&engine, &world.request(&["view:x"], "out"), "id", overwrite).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is not empty and holds no dataset of backsight, for example `precious.csv`"),
            "{error}"
        );
    }
    assert_eq!(world.listing("out").await, ["precious.csv"]);
}

#[tokio::test]
async fn a_cancelled_run_leaves_nothing() {
    for (world, output, cloud) in &worlds() {
        let engine = world.embedded(JoinForm::SlotFold, 2);
        let request = world.request(&["view:x"], output);
        let error =
            world.run_until(&engine, &request, "id", false, std::future::ready(())).await.unwrap_err();
        assert_eq!(error.code().exit_status(), 7);
        assert_eq!(world.listing(output).await, Vec::<String>::new());
        assert!(!world.path("out").exists());
        assert_eq!(pending(cloud.as_ref()), 0);
    }
}

/// Who is told right before the intent that the job is another's has written nothing that anybody would finish.
#[tokio::test]
async fn a_commit_that_its_fence_refuses_leaves_nothing_durable() {
    let (world, output, server) = in_cloud(Cloud::s3());
    let engine = world.embedded(JoinForm::SlotFold, 1);
    let request = world.request(&["view:x"], "s3://out/elsewhere");
    let manifest = world.run(&engine, &request, "id", false).await.unwrap().manifest;
    let claimant = Claimant { host: "here".to_owned(), process: 1 };
    let ask = OpenRequest {
        request_id: "id",
        request: &request,
        overwrite: false,
        claimant: &claimant,
        attempt: "a",
        now: chrono::Utc::now(),
        is_gone: |_| false,
        resumes: true,
    };
    let place = Output::new(world.stores.clone(), world.location(&output));
    let Opened::Writing(attempt) = place.open(&ask).await.unwrap() else { panic!("it is free") };
    let message = "another has it".to_owned();
    let fence = || -> BoxFuture<'_, Result<(), RetrievalError>> {
        Box::pin(std::future::ready(Err(RetrievalError::Lost { message: message.clone() })))
    };
    let refused = attempt.commit(manifest, vec![], Bytes::new(), ask.now, Some(&fence)).await.unwrap_err();
    assert_eq!(refused.to_string(), "another has it");
    assert!(refused.is_retryable() && !attempt.may_be_durable());
    assert!(!world.listing(&output).await.contains(&"_backsight/intent.json".to_owned()));
    attempt.abandon(&StagingLog::default()).await.unwrap();
    assert_eq!(world.listing(&output).await, Vec::<String>::new());
    assert_eq!(server.pending_uploads(), 0);
}

/// Each object of a commit fails for good once; the same request then finishes or starts again, and the
/// dataset is the one that an undisturbed run makes.
#[tokio::test]
async fn a_commit_that_fails_anywhere_is_finished_by_the_same_request() {
    let expected = {
        let world = small(Stores::new(StorageOptions::default()));
        let finished = world
            .run(&world.embedded(JoinForm::SlotFold, 1), &world.request(&["view:x"], "o"), "id", false)
            .await;
        finished.unwrap().manifest
    };
    let objects =
        ["claim", "part-", "registry.pb.next", "intent.json", "registry.pb", "manifest.json", "_SUCCESS"];
    for (object, cloud) in
        objects.into_iter().flat_map(|object| Cloud::all().into_iter().map(move |c| (object, c)))
    {
        let (world, output, server) = in_cloud(cloud);
        let object_of = format!("{object} on {}", server.name);
        let engine = world.embedded(JoinForm::SlotFold, 1);
        let request = world.request(&["view:x"], &output);
        for method in ["PUT", "POST"] {
            server.faults().inject(Rule::new(Fault::Denied).method(method).path_contains(object));
        }
        let failed = world.run(&engine, &request, "id", false).await.expect_err(&object_of);
        assert_eq!(failed.code().exit_status(), 6, "{object_of}: {failed}");
        assert!(!world.listing(&output).await.contains(&"_SUCCESS".to_owned()), "{object_of}");
        server.faults().heal();
        // The claim of the failed run is ours: another process would wait until it is dead.
        world.stores.delete(&world.location(&output).join("_backsight/claim")).await.unwrap();
        let finished = world.run(&engine, &request, "id", false).await.unwrap();
        assert_eq!(world.listing(&output).await, DATASET, "{object_of}");
        assert_eq!(finished.manifest.rows, expected.rows, "{object_of}");
        assert_eq!(finished.manifest.report, expected.report, "{object_of}");
        let checksums = |m: &backsight_retrieval::Manifest| {
            m.parts.iter().map(|p| p.checksum.clone()).collect::<Vec<_>>()
        };
        assert_eq!(checksums(&finished.manifest), checksums(&expected), "{object_of}");
        assert_eq!(server.pending_uploads(), 0, "{object_of}");
    }
}

/// Answers that are lost after the store has done what was asked: every step looks before it fails.
#[tokio::test]
async fn lost_answers_change_nothing() {
    let objects = ["claim", "intent.json", "manifest.json", "part-"];
    for (object, cloud) in
        objects.into_iter().flat_map(|object| Cloud::all().into_iter().map(move |c| (object, c)))
    {
        let (world, output, server) = in_cloud(cloud);
        let object_of = format!("{object} on {}", server.name);
        let engine = world.embedded(JoinForm::SlotFold, 1);
        for method in ["PUT", "POST"] {
            server
                .faults()
                .inject(Rule::new(Fault::DropAnswer).method(method).path_contains(object).times(1));
        }
        let request = world.request(&["view:x"], &output);
        let finished = world.run(&engine, &request, "id", false).await;
        finished.unwrap_or_else(|error| panic!("{object_of}: {error}"));
        assert_eq!(world.listing(&output).await, DATASET, "{object_of}");
    }
}

#[tokio::test]
async fn a_source_that_changes_while_it_is_read_is_not_committed() {
    let world = small(Stores::new(StorageOptions::default()));
    let request = world.request(&["view:x"], "out");
    let folder = world.folder.path();
    let bases = backsight_retrieval::Bases::new(folder, folder);
    let prepared = backsight_retrieval::prepare(
        &world.stores,
        &world.catalog,
        &request,
        bases,
        JoinForm::SlotFold.into(),
    )
    .await
    .unwrap();
    let longer: ArrayRef = Arc::new(Int64Array::from((0..60).collect::<Vec<i64>>()));
    let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![5; 60]));
    world.write("view.parquet", vec![("id", Arc::clone(&longer)), ("t", times), ("x", longer)]);
    let error = prepared.check_unchanged(&world.stores).await.unwrap_err();
    assert!(error.to_string().contains("view.parquet` changed while it was read"), "{error}");
    assert_eq!(error.code().exit_status(), 5);
}
