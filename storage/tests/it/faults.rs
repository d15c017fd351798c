//! Stores when one is denied, gone, overloaded, silent or careless.

use std::path::Path;
use std::time::{Duration, Instant};

use backsight_proto::ErrorCode;
use backsight_s3_server::{Fault, Rule};
use backsight_storage::{Location, StorageError, StorageOptions, Stores};
use bytes::Bytes;

use crate::support::{Fixture, at, options};

const ONE: Bytes = Bytes::from_static(b"one");
const TWO: Bytes = Bytes::from_static(b"two");

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_done() {
    let f = Fixture::s3();
    for fault in [Fault::DropAnswer, Fault::UnavailableAfter] {
        let object = f.folder.join(&format!("{fault:?}"));
        f.server().inject(Rule::new(fault).method("PUT").times(1));
        let version = f.stores.create(&object, ONE).await.unwrap();
        assert_eq!(f.stores.read(&object).await.unwrap().unwrap().version, version);
        let puts = f
            .server()
            .requests()
            .iter()
            .filter(|r| r.method == "PUT" && r.path.ends_with(&format!("{fault:?}")))
            .count();
        assert_eq!(puts, 2, "the client repeated it, and met its own write");
    }
}

#[tokio::test]
async fn a_replace_whose_answer_is_lost_is_done_and_no_conflict() {
    let f = Fixture::s3();
    let object = f.folder.join("registry.pb");
    let first = f.stores.create(&object, ONE).await.unwrap();
    f.server().drop_answer_of_next_put();
    let second = f.stores.replace(&object, TWO, &first).await.unwrap();
    let read = f.stores.read(&object).await.unwrap().unwrap();
    assert_eq!((read.bytes, read.version), (TWO, second));
}

#[tokio::test]
async fn a_lost_answer_does_not_hide_a_real_conflict() {
    let f = Fixture::s3();
    let object = f.folder.join("registry.pb");
    let first = f.stores.create(&object, ONE).await.unwrap();
    f.stores.replace(&object, TWO, &first).await.unwrap();
    f.server().drop_answer_of_next_put();
    let error = f.stores.replace(&object, Bytes::from_static(b"three"), &first).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Conflict, "{error:?}");
    assert_eq!(f.stores.read(&object).await.unwrap().unwrap().bytes, TWO);
}

#[tokio::test]
async fn a_put_that_never_gets_an_answer_is_done_if_the_object_says_so() {
    let f = Fixture::s3();
    let object = f.folder.join("registry.pb");
    let first = f.stores.create(&object, ONE).await.unwrap();
    f.server().inject(Rule::new(Fault::UnavailableAfter).method("PUT"));
    f.stores.replace(&object, TWO, &first).await.unwrap();
    assert_eq!(f.stores.read(&object).await.unwrap().unwrap().bytes, TWO);
}

#[tokio::test]
async fn a_short_overload_is_waited_out_and_a_long_one_reported() {
    let f = Fixture::s3();
    let object = f.folder.join("x");
    f.server().answer_503(3);
    f.stores.put(&object, ONE).await.unwrap();
    f.server().answer_503(usize::MAX);
    let started = Instant::now();
    for error in [
        f.stores.read(&object).await.unwrap_err(),
        f.stores.create(&f.folder.join("y"), ONE).await.unwrap_err(),
        f.stores.list(&f.folder).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::Unreachable, "{error:?}");
        assert!(error.code().is_retryable());
    }
    assert!(started.elapsed() < Duration::from_secs(60), "retries are bounded");
}

#[tokio::test]
async fn a_denied_bucket_is_access_denied_at_once() {
    let f = Fixture::s3();
    let object = f.folder.join("x");
    f.stores.put(&object, ONE).await.unwrap();
    f.server().deny_bucket("bucket");
    let started = Instant::now();
    for error in [
        f.stores.read(&object).await.unwrap_err(),
        f.stores.create(&object, TWO).await.unwrap_err(),
        f.stores.head(&object).await.unwrap_err(),
        f.stores.expand(&f.folder).await.unwrap_err(),
        f.stores.delete(&object).await.unwrap_err(),
        f.stores.require_conditional_writes(&object).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::AccessDenied, "{error:?}");
        assert!(error.hint().unwrap().contains("retrying will not help"));
        assert!(error.to_string().contains("s3://bucket/some/folder"), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(5), "a denial is not retried");
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_never_shown() {
    let f = Fixture::s3();
    let object = f.folder.join("x");
    f.stores.put(&object, ONE).await.unwrap();
    for setting in ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"] {
        let mut options = options(f.server());
        options.environment.insert(0, (setting.to_owned(), "hush-hush".to_owned()));
        let error = Stores::new(options).read(&object).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::AccessDenied, "{setting}: {error:?}");
        let shown = format!("{error} {error:?} {:?}", error.hint());
        assert!(!shown.contains("hush") && !shown.contains("backsight-test"), "{shown}");
    }
}

#[tokio::test]
async fn no_credentials_fail_before_any_request() {
    let f = Fixture::s3();
    let options = StorageOptions {
        environment: vec![("AWS_ENDPOINT_URL".to_owned(), f.server().endpoint())],
        home: Some(f.disk.path().join("nobody")),
        ..StorageOptions::default()
    };
    let error = Stores::new(options).read(&f.folder.join("x")).await.unwrap_err();
    assert!(matches!(error, StorageError::NoCredentials { .. }), "{error:?}");
    assert_eq!(f.server().requests(), []);
}

#[tokio::test]
async fn the_profile_of_the_home_folder_is_found() {
    let f = Fixture::s3();
    let home = f.disk.path().join("home");
    std::fs::create_dir_all(home.join(".aws")).unwrap();
    let (key, secret) = (backsight_s3_server::ACCESS_KEY, backsight_s3_server::SECRET_KEY);
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
    std::fs::write(home.join(".aws/credentials"), text).unwrap();
    let config = format!("[default]\nregion = us-east-1\nendpoint_url = {}\n", f.server().endpoint());
    std::fs::write(home.join(".aws/config"), config).unwrap();
    let stores = Stores::new(StorageOptions { home: Some(home), ..StorageOptions::default() });
    stores.put(&f.folder.join("x"), ONE).await.unwrap();
    assert_eq!(f.stores.read(&f.folder.join("x")).await.unwrap().unwrap().bytes, ONE);
}

#[tokio::test]
async fn the_endpoint_of_a_location_is_used_for_it_alone() {
    let (here, there) = (Fixture::s3(), Fixture::s3());
    let endpoint = there.server().endpoint();
    let object = Location::parse("s3://bucket/x", Path::new("/"), Some(&endpoint)).unwrap();
    here.stores.put(&object, ONE).await.unwrap();
    assert_eq!(there.stores.read(&at("s3://bucket/x")).await.unwrap().unwrap().bytes, ONE);
    assert_eq!(here.stores.read(&at("s3://bucket/x")).await.unwrap(), None);
    let store = here.stores.open_url(&object.store_url()).unwrap();
    assert_eq!(object_store::ObjectStoreExt::head(&store, &object.path()).await.unwrap().size, 3);
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable_in_bounded_time() {
    let f = Fixture::s3();
    let Fixture { stores, folder, server, google: _, disk: _disk } = f;
    drop(server);
    let started = Instant::now();
    let error = stores.read(&folder).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unreachable, "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("127.0.0.1") && cause.contains("refused"), "{cause}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out() {
    let f = Fixture::s3();
    f.server().ignore_conditions();
    let registry = f.folder.join("registry.pb");
    let error = f.stores.require_conditional_writes(&registry).await.unwrap_err();
    assert!(matches!(error, StorageError::ConditionsIgnored { .. }), "{error:?}");
    assert_eq!(error.code(), ErrorCode::Usage);
    assert!(error.to_string().contains("created an object that exists already"), "{error}");
    assert_eq!(f.stores.list(&f.folder).await.unwrap(), [], "the probe is gone");
    f.server().heal();
    f.stores.require_conditional_writes(&registry).await.unwrap();
}

#[tokio::test]
async fn google_counts_uploads_that_are_neither_completed_nor_aborted() {
    let f = Fixture::google();
    let object = f.folder.join("part.parquet");
    let store = f.stores.multipart(&object).unwrap().unwrap();
    f.google_server().inject(Rule::new(Fault::DropAnswer).method("POST").times(1));
    let id = store.create_multipart(&object.path()).await.unwrap();
    assert_eq!(f.google_server().pending_uploads(), 2, "one that nobody heard of");
    f.google_server().inject(Rule::new(Fault::Unavailable).method("DELETE").times(1));
    store.abort_multipart(&object.path(), &id).await.unwrap();
    assert_eq!(f.google_server().pending_uploads(), 1);
}

#[tokio::test]
async fn writes_to_google_whose_answer_is_lost_are_done() {
    let f = Fixture::google();
    for fault in [Fault::DropAnswer, Fault::UnavailableAfter] {
        let object = f.folder.join(&format!("{fault:?}"));
        f.google_server().inject(Rule::new(fault).method("PUT").times(1));
        let first = f.stores.create(&object, ONE).await.unwrap();
        f.google_server().inject(Rule::new(fault).method("PUT").times(1));
        let second = f.stores.replace(&object, TWO, &first).await.unwrap();
        let read = f.stores.read(&object).await.unwrap().unwrap();
        assert_eq!((read.bytes, read.version), (TWO, second));
        f.google_server().inject(Rule::new(fault).method("PUT").times(1));
        let error = f.stores.replace(&object, Bytes::from_static(b"three"), &first).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Conflict, "a lost answer hides no real conflict: {error:?}");
        f.google_server().inject(Rule::new(fault).method("DELETE").times(1));
        f.stores.delete(&object).await.unwrap();
        assert_eq!(f.stores.read(&object).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_denied_bucket_of_google_is_access_denied_with_a_hint_that_fits() {
    let f = Fixture::google();
    let object = f.folder.join("x");
    f.google_server().deny_bucket("bucket");
    for error in [
        f.stores.read(&object).await.unwrap_err(),
        f.stores.create(&object, TWO).await.unwrap_err(),
        f.stores.expand(&f.folder).await.unwrap_err(),
        f.stores.require_conditional_writes(&object).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::AccessDenied, "{error:?}");
        assert!(error.hint().unwrap().contains("retrying will not help"));
    }
}

#[tokio::test]
async fn a_google_that_ignores_conditions_is_found_out() {
    let f = Fixture::google();
    f.google_server().ignore_conditions();
    let registry = f.folder.join("registry.pb");
    let error = f.stores.require_conditional_writes(&registry).await.unwrap_err();
    assert!(matches!(error, StorageError::ConditionsIgnored { .. }), "{error:?}");
    assert_eq!(f.stores.list(&f.folder).await.unwrap(), [], "the probe is gone");
    f.google_server().heal();
    f.stores.require_conditional_writes(&registry).await.unwrap();
}

#[tokio::test]
async fn an_overload_of_google_is_waited_out() {
    let f = Fixture::google();
    let object = f.folder.join("x");
    let mut expected = f.stores.create(&object, ONE).await.unwrap();
    for (method, round) in [("GET", 0_u8), ("PUT", 1), ("POST", 2)] {
        f.google_server().inject(Rule::new(Fault::Unavailable).method(method).times(2));
        f.stores.read(&object).await.unwrap().unwrap();
        expected = f.stores.replace(&object, Bytes::from(vec![round]), &expected).await.unwrap();
    }
}

#[tokio::test]
async fn wrong_credentials_for_azure_are_denied_and_never_shown() {
    let Some(f) = Fixture::azure() else { return };
    let object = f.folder.join("x");
    f.stores.put(&object, ONE).await.unwrap();
    let good = f.stores.options().setting("AZURE_STORAGE_CONNECTION_STRING").unwrap().to_owned();
    let (before, rest) = good.split_once("AccountKey=").unwrap();
    let rest = rest.split_once(';').map_or("", |(_, rest)| rest);
    for bad in ["AccountKey=aHVzaC1odXNo", "SharedAccessSignature=sv=2022-11-02&sr=c&sp=rl&sig=aHVzaC1odXNo"]
    {
        let mut options = f.stores.options().clone();
        let text = format!("{before}{bad};{rest}");
        options.environment.insert(0, ("AZURE_STORAGE_CONNECTION_STRING".to_owned(), text));
        let stores = Stores::new(options);
        for error in [
            stores.read(&object).await.unwrap_err(),
            stores.create(&f.folder.join("y"), TWO).await.unwrap_err(),
            stores.list(&f.folder).await.unwrap_err(),
            stores.delete(&object).await.unwrap_err(),
        ] {
            assert_eq!(error.code(), ErrorCode::AccessDenied, "{error:?}");
            let shown = format!("{error} {error:?} {:?}", error.hint());
            assert!(!shown.contains("aHVzaC1odXNo"), "{shown}");
        }
    }
}
