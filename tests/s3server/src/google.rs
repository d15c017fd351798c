//! The server of Google Cloud Storage as tests hold it.

use std::ops::Deref;
use std::sync::Arc;

use crate::faults::Faults;
use crate::google_objects::GoogleObjects;
use crate::running::{Backend, Running};

/// A running server, an emulator in the sense of `STORAGE_EMULATOR_HOST`; it stops when dropped, and all is gone.
#[derive(Debug)]
pub struct GoogleServer {
    running: Running,
    objects: Arc<GoogleObjects>,
}

impl GoogleServer {
    /// Serves no bucket yet.
    pub fn start() -> Self {
        let objects = Arc::new(GoogleObjects::default());
        Self { running: Running::start(Backend::Google(Arc::clone(&objects))), objects }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        self.running.endpoint()
    }

    /// What the environment of a process that uses this server holds.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("STORAGE_EMULATOR_HOST".to_owned(), self.endpoint())]
    }

    /// Creates an empty bucket; one that exists stays.
    pub fn create_bucket(&self, name: &str) {
        self.objects.create_bucket(name);
    }

    /// Puts an object there; the bucket must exist.
    pub fn put(&self, bucket: &str, key: &str, bytes: Vec<u8>) {
        self.objects.put(bucket, key, bytes.into());
    }

    /// The keys of a bucket, sorted.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.objects.keys(bucket)
    }

    /// How many uploads in parts are neither completed nor aborted.
    pub fn pending_uploads(&self) -> usize {
        self.objects.pending_uploads()
    }
}

impl Deref for GoogleServer {
    type Target = Faults;

    fn deref(&self) -> &Faults {
        &self.running.faults
    }
}
