//! The S3 server as tests hold it.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use crate::faults::Faults;
use crate::objects::Objects;
use crate::running::{Backend, Running};

/// The access key that every server accepts.
pub const ACCESS_KEY: &str = "backsight-test-key";

/// The secret that belongs to [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "backsight-test-secret-0123456789";

/// A running server; it stops when dropped.
///
/// It has its own thread and runtime, so it serves synchronous tests, and tests that block their runtime, as well.
#[derive(Debug)]
pub struct S3Server {
    running: Running,
    folder: PathBuf,
}

impl S3Server {
    /// Serves the buckets that are folders in `folder`, which is created if need be.
    pub fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the server's folder can be created");
        let folder = folder.canonicalize().expect("the server's folder exists");
        let mut builder = S3ServiceBuilder::new(Objects::new(&folder));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        Self { running: Running::start(Backend::S3(builder.build())), folder }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        self.running.endpoint()
    }

    /// What the environment of a process that uses this server holds.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Creates an empty bucket; one that exists stays.
    pub fn create_bucket(&self, name: &str) {
        std::fs::create_dir_all(self.folder.join(name)).expect("a bucket can be created");
    }

    /// The folder that holds the buckets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many multipart uploads are neither completed nor aborted.
    pub fn pending_uploads(&self) -> usize {
        let files = std::fs::read_dir(&self.folder).expect("the server's folder can be listed");
        let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload-") && name.ends_with(".json")).count()
    }
}

impl Deref for S3Server {
    type Target = Faults;

    fn deref(&self) -> &Faults {
        &self.running.faults
    }
}
