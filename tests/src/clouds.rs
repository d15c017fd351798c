//! The object stores that tests run on: S3 and Google Cloud Storage in this process, and an Azure that the environment
//! names (`tests/ci/azure.py` does), each with faults on demand.

use backsight_s3_server::{FaultProxy, Faults, GoogleServer, S3Server};
use backsight_storage::{StorageOptions, Stores};

/// A store with an empty place in it.
pub(crate) struct Cloud {
    pub(crate) name: &'static str,
    pub(crate) stores: Stores,
    /// A bucket, container or folder of one that is empty: `s3://out`.
    pub(crate) base: String,
    server: Server,
    /// The files of a server that has them.
    _folder: Option<tempfile::TempDir>,
}

enum Server {
    S3(S3Server),
    Google(GoogleServer),
    Azure(FaultProxy),
}

const CONNECTION: &str = "AZURE_STORAGE_CONNECTION_STRING";

#[expect(clippy::disallowed_methods, reason = "the one place of the tests that looks for a real Azure")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Cloud {
    /// All that there are.
    pub(crate) fn all() -> Vec<Self> {
        let mut clouds = vec![Self::s3(), Self::google()];
        clouds.extend(Self::azure());
        clouds
    }

    pub(crate) fn s3() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = S3Server::start(folder.path());
        server.create_bucket("out");
        let stores = stores(server.environment());
        let server = Server::S3(server);
        Self { name: "S3", stores, base: "s3://out".to_owned(), server, _folder: Some(folder) }
    }

    pub(crate) fn google() -> Self {
        let server = GoogleServer::start();
        server.create_bucket("out");
        let stores = stores(server.environment());
        let server = Server::Google(server);
        Self { name: "Google", stores, base: "gs://out".to_owned(), server, _folder: None }
    }

    /// `None`, said aloud, where the environment names no server.
    pub(crate) fn azure() -> Option<Self> {
        let Some(container) = variable("BACKSIGHT_TEST_AZURE_CONTAINER") else {
            eprintln!(
                "SKIPPED on Azure: BACKSIGHT_TEST_AZURE_CONTAINER is not set; tests/ci/azure.py sets it"
            );
            return None;
        };
        let connection = variable(CONNECTION).unwrap();
        let (before, endpoint) = connection.split_once("BlobEndpoint=http://").unwrap();
        let (address, after) = endpoint.split_once('/').unwrap();
        let proxy = FaultProxy::start(address.parse().unwrap());
        let proxied = format!("{before}BlobEndpoint={}/{after}", proxy.endpoint());
        let stores = stores(vec![(CONNECTION.to_owned(), proxied)]);
        let base = format!("az://{container}/{}", uuid::Uuid::new_v4());
        Some(Self { name: "Azure", stores, base, server: Server::Azure(proxy), _folder: None })
    }

    /// What goes wrong, and what was asked.
    pub(crate) fn faults(&self) -> &Faults {
        match &self.server {
            Server::S3(server) => server,
            Server::Google(server) => server,
            Server::Azure(proxy) => proxy,
        }
    }

    /// Uploads that are neither completed nor aborted. Azure knows no uploads: blocks that nobody commits end by
    /// themselves.
    pub(crate) fn pending_uploads(&self) -> usize {
        match &self.server {
            Server::S3(server) => server.pending_uploads(),
            Server::Google(server) => server.pending_uploads(),
            Server::Azure(_) => 0,
        }
    }
}

fn stores(environment: Vec<(String, String)>) -> Stores {
    Stores::new(StorageOptions { environment, ..StorageOptions::default() })
}
