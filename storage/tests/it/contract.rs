//! What every store promises: the same functions run against files, S3, Google Cloud Storage and Azure.

use backsight_proto::ErrorCode;
use backsight_storage::{Location, StorageError, Stores};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use tokio::task::JoinSet;

use crate::support::{Fixture, at};

/// Runs each function on a fresh fixture of every kind.
macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {
        mod on_files {
            $(#[tokio::test] async fn $name() { super::$name(super::Fixture::local()).await; })*
        }
        mod on_s3 {
            $(#[tokio::test] async fn $name() { super::$name(super::Fixture::s3()).await; })*
        }
        mod on_google {
            $(#[tokio::test] async fn $name() { super::$name(super::Fixture::google()).await; })*
        }
        mod on_azure {
            $(#[tokio::test] async fn $name() {
                if let Some(fixture) = super::Fixture::azure() {
                    super::$name(fixture).await;
                }
            })*
        }
    };
}

on_every_store! {
    what_is_written_is_read_with_its_version,
    what_is_not_there_is_none_and_deletes_fine,
    creating_twice_is_a_conflict_and_the_first_stays,
    replacing_a_stale_or_deleted_version_is_a_conflict,
    a_repeated_write_of_the_same_bytes_is_done,
    one_of_many_creators_wins,
    sixteen_writers_lose_nothing,
    the_store_passes_the_probe_and_keeps_nothing_of_it,
    lists_are_recursive_sorted_and_whole_named,
    a_file_a_folder_and_a_pattern_expand,
    nothing_to_expand_is_not_found_by_name,
    odd_names_survive,
    the_opened_store_sees_the_same_objects,
    an_upload_in_parts_is_unseen_until_completed,
    a_missing_bucket_is_not_found_by_name,
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

async fn what_is_written_is_read_with_its_version(f: Fixture) {
    let object = f.folder.join("a/b/registry.pb");
    let created = f.stores.create(&object, bytes("one")).await.unwrap();
    let read = f.stores.read(&object).await.unwrap().unwrap();
    assert_eq!((read.bytes, &read.version), (bytes("one"), &created));
    let replaced = f.stores.replace(&object, bytes("two"), &created).await.unwrap();
    assert_ne!(replaced, created);
    f.stores.put(&object, bytes("three")).await.unwrap();
    assert_eq!(f.stores.read(&object).await.unwrap().unwrap().bytes, bytes("three"));
    f.stores.put(&object, Bytes::new()).await.unwrap();
    assert_eq!(f.stores.read(&object).await.unwrap().unwrap().bytes, Bytes::new(), "empty is not absent");
    f.stores.delete(&object).await.unwrap();
    assert_eq!(f.stores.read(&object).await.unwrap(), None);
}

async fn what_is_not_there_is_none_and_deletes_fine(f: Fixture) {
    f.fill(&["folder/x"]).await;
    for name in ["x", "no/such/thing", "folder"] {
        let object = f.folder.join(name);
        assert_eq!(f.stores.head(&object).await.unwrap(), None, "{object}");
        if name != "folder" {
            assert_eq!(f.stores.read(&object).await.unwrap(), None, "{object}");
            f.stores.delete(&object).await.unwrap();
        }
    }
    assert_eq!(f.stores.list(&f.folder.join("no")).await.unwrap(), []);
}

async fn creating_twice_is_a_conflict_and_the_first_stays(f: Fixture) {
    let object = f.folder.join("manifest.json");
    f.stores.create(&object, bytes("first")).await.unwrap();
    let error = f.stores.create(&object, bytes("second")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Conflict, "{error:?}");
    assert_eq!(error.to_string(), format!("`{object}` exists already"));
    assert_eq!(f.stores.read(&object).await.unwrap().unwrap().bytes, bytes("first"));
}

async fn replacing_a_stale_or_deleted_version_is_a_conflict(f: Fixture) {
    let object = f.folder.join("registry.pb");
    let first = f.stores.create(&object, bytes("1")).await.unwrap();
    let second = f.stores.replace(&object, bytes("2"), &first).await.unwrap();
    let error = f.stores.replace(&object, bytes("3"), &first).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Conflict, "{error:?}");
    assert_eq!(f.stores.read(&object).await.unwrap().unwrap().bytes, bytes("2"));
    f.stores.delete(&object).await.unwrap();
    let error = f.stores.replace(&object, bytes("3"), &second).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Conflict, "{error:?}");
    let never = f.folder.join("no/such/registry.pb");
    assert_eq!(f.stores.replace(&never, bytes("3"), &second).await.unwrap_err().code(), ErrorCode::Conflict);
    assert_eq!(f.stores.read(&object).await.unwrap(), None, "a refused write wrote");
}

async fn a_repeated_write_of_the_same_bytes_is_done(f: Fixture) {
    let object = f.folder.join("registry.pb");
    let first = f.stores.create(&object, bytes("id 1")).await.unwrap();
    assert_eq!(f.stores.create(&object, bytes("id 1")).await.unwrap(), first);
    let second = f.stores.replace(&object, bytes("id 2"), &first).await.unwrap();
    assert_eq!(f.stores.replace(&object, bytes("id 2"), &first).await.unwrap(), second);
}

async fn one_of_many_creators_wins(f: Fixture) {
    for round in 0..5 {
        let object = f.folder.join(&format!("claim-{round}"));
        let mut creators = JoinSet::new();
        for creator in 0..8 {
            let (stores, object) = (f.other_stores(), object.clone());
            creators.spawn(async move {
                (creator, stores.create(&object, bytes(&format!("by {creator}"))).await)
            });
        }
        let results = creators.join_all().await;
        let winners: Vec<i32> =
            results.iter().filter(|(_, result)| result.is_ok()).map(|(who, _)| *who).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        for (_, result) in &results {
            assert!(
                result.as_ref().err().is_none_or(|error| error.code() == ErrorCode::Conflict),
                "{result:?}"
            );
        }
        let read = f.stores.read(&object).await.unwrap().unwrap();
        assert_eq!(read.bytes, bytes(&format!("by {}", winners[0])));
    }
}

async fn append(stores: &Stores, object: &Location, line: &str) {
    loop {
        let old = stores.read(object).await.unwrap().unwrap();
        let new = [old.bytes.as_ref(), line.as_bytes()].concat();
        match stores.replace(object, new.into(), &old.version).await {
            Ok(_) => return,
            Err(error) => assert_eq!(error.code(), ErrorCode::Conflict, "{error:?}"),
        }
    }
}

async fn sixteen_writers_lose_nothing(f: Fixture) {
    const WRITERS: usize = 16;
    const LINES: usize = 6;
    let object = f.folder.join("registry.pb");
    f.stores.create(&object, Bytes::new()).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (stores, object) = (f.other_stores(), object.clone());
        writers.spawn(async move {
            for line in 0..LINES {
                append(&stores, &object, &format!("{writer}-{line}\n")).await;
            }
        });
    }
    writers.join_all().await;
    let read = f.stores.read(&object).await.unwrap().unwrap();
    let mut lines: Vec<&str> = std::str::from_utf8(&read.bytes).unwrap().lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> =
        (0..WRITERS).flat_map(|writer| (0..LINES).map(move |line| format!("{writer}-{line}"))).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected, "each line once");
    assert_eq!(f.stores.list(&f.folder).await.unwrap().len(), 1, "nothing else is left behind");
}

async fn the_store_passes_the_probe_and_keeps_nothing_of_it(f: Fixture) {
    let registry = f.folder.join("registry.pb");
    f.stores.require_conditional_writes(&registry).await.unwrap();
    assert_eq!(f.stores.list(&f.folder).await.unwrap(), []);
    let requests = || f.requests();
    let asked = requests();
    f.stores.require_conditional_writes(&registry).await.unwrap();
    f.stores.clone().require_conditional_writes(&f.folder.join("other")).await.unwrap();
    assert_eq!(requests(), asked, "once for each store and process");
}

async fn names(f: &Fixture, location: &Location) -> Vec<String> {
    let files = f.stores.expand(location).await.unwrap();
    let prefix = format!("{}/", f.folder);
    files.iter().map(|file| file.location.to_string().trim_start_matches(&prefix).to_owned()).collect()
}

async fn lists_are_recursive_sorted_and_whole_named(f: Fixture) {
    f.fill(&["a/2", "a/10", "a/b/1", "ab", ".hidden"]).await;
    let all = f.stores.list(&f.folder).await.unwrap();
    let prefix = format!("{}/", f.folder);
    let found: Vec<String> = all.iter().map(|file| file.location.to_string().replace(&prefix, "")).collect();
    assert_eq!(found, [".hidden", "a/10", "a/2", "a/b/1", "ab"]);
    assert!(all.iter().all(|file| file.size == 1 && file.etag.is_some()), "{all:?}");
    let below_a = f.stores.list(&f.folder.join("a")).await.unwrap();
    assert_eq!(below_a.len(), 3, "`ab` is not in `a`");
    let head = f.stores.head(&f.folder.join("ab")).await.unwrap().unwrap();
    let listed = all.last().unwrap();
    assert_eq!((&head.location, head.size, &head.etag), (&listed.location, listed.size, &listed.etag));
}

async fn a_file_a_folder_and_a_pattern_expand(f: Fixture) {
    f.fill(&["d/x.parquet", "d/day=2/b.parquet", "d/day=1/a.PARQUET", "d/readme.md", "d/_SUCCESS"]).await;
    f.fill(&["d/_backsight/p.parquet", "d/.tmp/q.parquet", "d/_r.parquet", "d/.parquet", "single.bin"]).await;
    let at = |name: &str| f.folder.join(name);
    assert_eq!(names(&f, &at("single.bin")).await, ["single.bin"], "a file is itself");
    assert_eq!(names(&f, &at("d")).await, ["d/day=1/a.PARQUET", "d/day=2/b.parquet", "d/x.parquet"]);
    assert_eq!(names(&f, &at("d/*.parquet")).await, ["d/x.parquet"]);
    assert_eq!(names(&f, &at("d/**/*.parquet")).await, ["d/day=2/b.parquet", "d/x.parquet"]);
    assert_eq!(names(&f, &at("d/day=*")).await, ["d/day=1/a.PARQUET", "d/day=2/b.parquet"]);
    assert_eq!(names(&f, &at("d/day={1,3}/?.*")).await, ["d/day=1/a.PARQUET"]);
    assert_eq!(names(&f, &at("d/_[a-z].parquet")).await, ["d/_r.parquet"], "written out");
    assert_eq!(names(&f, &at("d/*.md")).await, ["d/readme.md"], "a pattern decides by itself");
}

async fn nothing_to_expand_is_not_found_by_name(f: Fixture) {
    f.fill(&["d/readme.md"]).await;
    let table = [
        ("missing.parquet", "there is no such file or folder"),
        ("d", "the folder has no `*.parquet` file"),
        ("d/*.parquet", "no file matches the pattern"),
    ];
    for (name, reason) in table {
        let error = f.stores.expand(&f.folder.join(name)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound, "{error:?}");
        assert_eq!(error.to_string(), format!("nothing to read at `{}`: {reason}", f.folder.join(name)));
    }
    let error = f.stores.expand(&f.folder.join("d/{a")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Usage, "{error:?}");
}

async fn odd_names_survive(f: Fixture) {
    let odd = ["sp ace.parquet", "per%20cent.parquet", "é+&=.parquet", "a:b@c.parquet", "brack[1].parquet"];
    f.fill(&odd.map(|name| format!("odd/{name}")).each_ref().map(String::as_str)).await;
    assert_eq!(f.stores.expand(&f.folder.join("odd")).await.unwrap().len(), odd.len());
    for name in odd {
        let object = f.folder.join("odd").join(name);
        assert_eq!(f.stores.read(&object).await.unwrap().unwrap().bytes, bytes("x"), "{name}");
        assert_eq!(f.stores.expand(&object).await.unwrap()[0].location, object, "{name}");
    }
}

async fn the_opened_store_sees_the_same_objects(f: Fixture) {
    f.fill(&["x"]).await;
    let object = f.folder.join("x");
    let again = Location::from_store(&object.store_url(), &object.path()).unwrap();
    assert_eq!(again, object);
    let store = f.other_stores().open_url(&object.store_url()).unwrap();
    assert_eq!(store.head(&object.path()).await.unwrap().size, 1);
    assert_eq!(f.stores.multipart(&object).unwrap().is_none(), object.is_local());
}

async fn an_upload_in_parts_is_unseen_until_completed(f: Fixture) {
    let object = f.folder.join("part.parquet");
    let Some(store) = f.stores.multipart(&object).unwrap() else { return };
    let path = object.path();
    let id = store.create_multipart(&path).await.unwrap();
    let big = bytes(&"x".repeat(5 << 20));
    let (one, two) = tokio::join!(
        store.put_part(&path, &id, 1, bytes("end").into()),
        store.put_part(&path, &id, 0, big.clone().into())
    );
    let parts = vec![two.unwrap(), one.unwrap()];
    assert_eq!(f.stores.list(&f.folder).await.unwrap(), []);
    assert_eq!(f.stores.head(&object).await.unwrap(), None);
    assert_eq!(f.stores.read(&object).await.unwrap(), None);
    store.complete_multipart(&path, &id, parts.clone()).await.unwrap();
    let whole = [big.as_ref(), b"end"].concat();
    assert_eq!(f.stores.read(&object).await.unwrap().unwrap().bytes, whole);
    let again = store.complete_multipart(&path, &id, parts).await.unwrap_err();
    let again = StorageError::classify(&object, again);
    assert_eq!(again.code(), ErrorCode::NotFound, "look before failing: {again:?}");
    assert_eq!(
        f.stores.read(&object).await.unwrap().unwrap().bytes,
        whole,
        "a repeated completion harms nothing"
    );
    let other = f.folder.join("other.parquet");
    let id = store.create_multipart(&other.path()).await.unwrap();
    store.put_part(&other.path(), &id, 0, bytes("x").into()).await.unwrap();
    store.abort_multipart(&other.path(), &id).await.unwrap();
    assert_eq!(f.stores.list(&f.folder).await.unwrap().len(), 1);
}

async fn a_missing_bucket_is_not_found_by_name(f: Fixture) {
    let (object, what) = match f.folder.to_string().split_once("://") {
        None => return,
        Some(("az", _)) => ("az://nowhere/x", "container of"),
        Some((scheme, _)) => (if scheme == "s3" { "s3://nowhere/x" } else { "gs://nowhere/x" }, "bucket of"),
    };
    let object = at(object);
    for error in [
        f.stores.read(&object).await.unwrap_err(),
        f.stores.create(&object, bytes("x")).await.unwrap_err(),
        f.stores.put(&object, bytes("x")).await.unwrap_err(),
        f.stores.list(&object).await.unwrap_err(),
        f.stores.expand(&object).await.unwrap_err(),
        f.stores.require_conditional_writes(&object).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::NotFound, "{error:?}");
        let suffix = format!("`{object}` does not exist");
        assert!(error.to_string().starts_with(what) && error.to_string().ends_with(&suffix), "{error}");
    }
    // A batch of deletions on Azure answers for each blob, and does not say why one is not there.
    if let Err(error) = f.stores.delete(&object).await {
        assert_eq!(error.code(), ErrorCode::NotFound, "{error:?}");
    } else {
        assert_eq!(what, "container of", "only Azure cannot tell");
    }
}
