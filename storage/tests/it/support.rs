//! The two kinds of store, each empty and fresh for one test.

use std::path::Path;
use std::time::Duration;

use backsight_s3_server::S3Server;
use backsight_storage::{Location, StorageOptions, Stores};
use bytes::Bytes;
use tempfile::TempDir;

/// A store and a folder in it, both gone when dropped.
pub(crate) struct Fixture {
    pub(crate) stores: Stores,
    pub(crate) folder: Location,
    pub(crate) server: Option<S3Server>,
    pub(crate) disk: TempDir,
}

impl Fixture {
    pub(crate) fn local() -> Self {
        let disk = TempDir::new().unwrap();
        let folder = Location::local(&disk.path().canonicalize().unwrap()).unwrap();
        Self { stores: Stores::new(StorageOptions::default()), folder, server: None, disk }
    }

    pub(crate) fn s3() -> Self {
        let disk = TempDir::new().unwrap();
        let server = S3Server::start(disk.path());
        server.create_bucket("bucket");
        let stores = Stores::new(options(&server));
        Self { stores, folder: s3("s3://bucket/some/folder"), server: Some(server), disk }
    }

    pub(crate) fn server(&self) -> &S3Server {
        self.server.as_ref().unwrap()
    }

    /// Other clients of the same store, as another process has.
    pub(crate) fn other_stores(&self) -> Stores {
        Stores::new(self.stores.options().clone())
    }

    /// Fills the folder with one-byte files.
    pub(crate) async fn fill(&self, names: &[&str]) {
        for name in names {
            self.stores.put(&self.folder.join(name), Bytes::from_static(b"x")).await.unwrap();
        }
    }
}

pub(crate) fn options(server: &S3Server) -> StorageOptions {
    StorageOptions {
        environment: server.environment(),
        connect_timeout: Duration::from_secs(2),
        retry_timeout: Duration::from_secs(5),
        ..StorageOptions::default()
    }
}

pub(crate) fn s3(text: &str) -> Location {
    Location::parse(text, Path::new("/"), None).unwrap()
}
