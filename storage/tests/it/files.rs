//! What only a file system has: modes, links, locks of other processes, allowed folders.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use backsight_proto::ErrorCode;
use backsight_storage::{Location, StorageOptions, Stores};
use bytes::Bytes;
use object_store::ObjectStoreExt;

use crate::support::Fixture;

const ONE: Bytes = Bytes::from_static(b"one");
const TWO: Bytes = Bytes::from_static(b"two");

#[tokio::test]
async fn a_new_file_has_a_usual_mode_and_a_replaced_one_keeps_its_own() {
    let f = Fixture::local();
    let object = f.folder.join("registry.pb");
    let path = object.local_path().unwrap();
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let usual = f.disk.path().join("usual");
    File::create(&usual).unwrap();
    let version = f.stores.create(&object, ONE).await.unwrap();
    assert_eq!(mode(), std::fs::metadata(&usual).unwrap().permissions().mode() & 0o777);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    f.stores.replace(&object, TWO, &version).await.unwrap();
    assert_eq!(mode(), 0o640);
    f.stores.put(&object, ONE).await.unwrap();
    assert_eq!(mode(), 0o640);
}

#[tokio::test]
async fn a_link_stays_a_link() {
    let f = Fixture::local();
    let version = f.stores.create(&f.folder.join("real/registry.pb"), ONE).await.unwrap();
    let link = f.disk.path().join("registry.pb");
    symlink(f.disk.path().join("real/registry.pb"), &link).unwrap();
    let object = f.folder.join("registry.pb");
    let version = f.stores.replace(&object, TWO, &version).await.unwrap();
    f.stores.replace(&object, ONE, &version).await.unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read(f.disk.path().join("real/registry.pb")).unwrap(), b"one");
}

#[tokio::test]
async fn the_lock_of_another_process_is_waited_for_and_then_reported() {
    let f = Fixture::local();
    let object = f.folder.join("registry.pb");
    let version = f.stores.create(&object, ONE).await.unwrap();
    let lock = File::open(f.disk.path()).unwrap();
    lock.lock().unwrap();
    let options = StorageOptions { lock_timeout: Duration::from_millis(100), ..StorageOptions::default() };
    let error = Stores::new(options).replace(&object, TWO, &version).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unreachable, "{error:?}");
    assert!(error.to_string().contains("another process"), "{error}");
    let stores = f.stores.clone();
    let waiting = {
        let object = object.clone();
        async move { stores.replace(&object, TWO, &version).await }
    };
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(lock);
    };
    let (replaced, ()) = tokio::join!(waiting, release);
    replaced.unwrap();
}

#[tokio::test]
async fn publishing_is_repeatable_and_names_what_is_missing() {
    let f = Fixture::local();
    let (from, to) = (f.folder.join("staging/part.tmp"), f.folder.join("out/part.parquet"));
    let error = f.stores.publish(&from, &to).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound, "{error:?}");
    f.stores.put(&from, ONE).await.unwrap();
    f.stores.remove_empty_folder(&f.folder.join("staging")).await.unwrap();
    for _ in 0..2 {
        f.stores.publish(&from, &to).await.unwrap();
        assert_eq!(f.stores.read(&to).await.unwrap().unwrap().bytes, ONE);
        assert_eq!(f.stores.read(&from).await.unwrap(), None);
    }
    for _ in 0..2 {
        f.stores.remove_empty_folder(&f.folder.join("staging")).await.unwrap();
        assert!(!f.disk.path().join("staging").exists());
    }
}

#[tokio::test]
async fn a_folder_or_a_file_in_the_way_is_an_error_and_nothing_is_left() {
    let f = Fixture::local();
    f.fill(&["file", "folder/x"]).await;
    let under_a_file = f.stores.create(&f.folder.join("file/x"), ONE).await.unwrap_err();
    assert_eq!(under_a_file.code(), ErrorCode::Usage, "{under_a_file:?}");
    for object in [f.folder.join("folder"), f.folder.join("file/x")] {
        assert!(f.stores.put(&object, ONE).await.is_err(), "{object}");
    }
    assert!(f.stores.read(&f.folder.join("folder")).await.is_err());
    let names: Vec<_> =
        std::fs::read_dir(f.disk.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn a_name_with_brackets_above_a_pattern_is_no_pattern() {
    let f = Fixture::local();
    f.fill(&["a[1]/x.parquet", "a1/y.parquet"]).await;
    let files = f.stores.expand(&f.folder.join("a[1]/*.parquet")).await.unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].location.file_name(), Some("x.parquet"));
}

#[tokio::test]
async fn only_allowed_folders_are_touched_also_through_links_and_dots() {
    let f = Fixture::local();
    f.fill(&["in/x", "out/secret"]).await;
    symlink(f.disk.path().join("out"), f.disk.path().join("in/link")).unwrap();
    let allowed = StorageOptions {
        allowed_local_roots: Some(vec![f.disk.path().join("in")]),
        ..StorageOptions::default()
    };
    let stores = Stores::new(allowed);
    let inside = f.folder.join("in");
    stores.put(&inside.join("new/y"), ONE).await.unwrap();
    assert!(stores.read(&inside.join("x")).await.unwrap().is_some());
    let dots = Location::parse("../out/secret", &inside.local_path().unwrap(), None).unwrap();
    for object in [f.folder.join("out/secret"), inside.join("link/secret"), inside.join("link/new"), dots] {
        for error in [
            stores.read(&object).await.unwrap_err(),
            stores.put(&object, ONE).await.unwrap_err(),
            stores.create(&object, ONE).await.unwrap_err(),
            stores.delete(&object).await.unwrap_err(),
            stores.expand(&object).await.unwrap_err(),
            stores.open(&object).unwrap_err(),
        ] {
            assert_eq!(error.code(), ErrorCode::Usage, "{object}: {error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("`--allow-dir`")), "{object}: {error:?}");
        }
        let whole = stores.open_url(&object.store_url()).unwrap();
        assert!(whole.get(&object.path()).await.is_err(), "{object}");
    }
    let whole = stores.open_url(&inside.store_url()).unwrap();
    assert_eq!(whole.get(&inside.join("x").path()).await.unwrap().bytes().await.unwrap().len(), 1);
    assert!(f.stores.read(&f.folder.join("out/secret")).await.unwrap().is_some(), "it is still there");
    let listed = stores.expand(&inside.join("**")).await;
    assert!(listed.is_err(), "a listing must not lead outside: {listed:?}");
}
