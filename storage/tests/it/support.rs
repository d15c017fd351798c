//! Every kind of store, each empty and fresh for one test.

use std::path::Path;
use std::time::Duration;

use backsight_s3_server::{GoogleServer, S3Server};
use backsight_storage::{Location, StorageOptions, Stores};
use bytes::Bytes;
use tempfile::TempDir;

/// A store and a folder in it, both gone when dropped.
pub(crate) struct Fixture {
    pub(crate) stores: Stores,
    pub(crate) folder: Location,
    pub(crate) server: Option<S3Server>,
    pub(crate) google: Option<GoogleServer>,
    pub(crate) disk: TempDir,
}

impl Fixture {
    pub(crate) fn local() -> Self {
        let disk = TempDir::new().unwrap();
        let folder = Location::local(&disk.path().canonicalize().unwrap()).unwrap();
        Self { stores: Stores::new(StorageOptions::default()), folder, server: None, google: None, disk }
    }

    pub(crate) fn s3() -> Self {
        let disk = TempDir::new().unwrap();
        let server = S3Server::start(disk.path());
        server.create_bucket("bucket");
        let stores = Stores::new(options(&server));
        Self { stores, folder: at("s3://bucket/some/folder"), server: Some(server), google: None, disk }
    }

    pub(crate) fn google() -> Self {
        let server = GoogleServer::start();
        server.create_bucket("bucket");
        let stores = Stores::new(quick(server.environment()));
        let folder = at("gs://bucket/some/folder");
        Self { stores, folder, server: None, google: Some(server), disk: TempDir::new().unwrap() }
    }

    /// A folder of its own in the container that the environment names; `None`, said aloud, where it names none.
    #[expect(clippy::print_stderr, reason = "what is skipped is said")]
    pub(crate) fn azure() -> Option<Self> {
        let Some((environment, container)) = azure_of_environment() else {
            eprintln!("SKIPPED: BACKSIGHT_TEST_AZURE_CONTAINER is not set; tests/ci/azure.py sets it");
            return None;
        };
        let stores = Stores::new(quick(environment));
        let folder = at(&format!("az://{container}/{}/folder", uuid::Uuid::new_v4()));
        Some(Self { stores, folder, server: None, google: None, disk: TempDir::new().unwrap() })
    }

    pub(crate) fn server(&self) -> &S3Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn google_server(&self) -> &GoogleServer {
        self.google.as_ref().unwrap()
    }

    /// Requests that a server in this process has had.
    pub(crate) fn requests(&self) -> usize {
        let s3 = self.server.as_ref().map(|server| server.requests().len());
        s3.or_else(|| self.google.as_ref().map(|server| server.requests().len())).unwrap_or_default()
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
    quick(server.environment())
}

/// Options that wait for nothing long.
fn quick(environment: Vec<(String, String)>) -> StorageOptions {
    StorageOptions {
        environment,
        connect_timeout: Duration::from_secs(2),
        retry_timeout: Duration::from_secs(5),
        ..StorageOptions::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place of these tests that looks for a real server")]
fn azure_of_environment() -> Option<(Vec<(String, String)>, String)> {
    let container = std::env::var("BACKSIGHT_TEST_AZURE_CONTAINER").ok()?;
    let name = "AZURE_STORAGE_CONNECTION_STRING";
    Some((vec![(name.to_owned(), std::env::var(name).unwrap())], container))
}

pub(crate) fn at(text: &str) -> Location {
    Location::parse(text, Path::new("/"), None).unwrap()
}
