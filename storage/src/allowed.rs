//! Which local folders a service may touch, and a file system that refuses all others.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use crate::{Location, StorageError};

/// The folders that may be touched; `None` allows everything.
#[derive(Clone, Debug)]
pub(crate) struct AllowedRoots(Option<Arc<[PathBuf]>>);

impl AllowedRoots {
    pub(crate) fn new(roots: Option<Vec<PathBuf>>) -> Self {
        Self(roots.map(|roots| roots.iter().map(|root| real_path(root)).collect()))
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_none()
    }

    /// Refuses a local location that is, or leads through symbolic links, outside.
    pub(crate) fn check(&self, location: &Location) -> Result<(), StorageError> {
        let (Some(roots), Some(path)) = (&self.0, location.local_path()) else { return Ok(()) };
        let real = real_path(&path);
        if roots.iter().any(|root| real.starts_with(root)) {
            return Ok(());
        }
        Err(StorageError::NotAllowed { location: location.clone(), roots: roots.to_vec() })
    }
}

/// `path` with the links of its existing part resolved.
fn real_path(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(mut real) = std::fs::canonicalize(existing) {
            real.extend(missing.iter().rev());
            return real;
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
            return path.to_owned();
        };
        missing.push(name);
        existing = parent;
    }
}

/// The local file system with every path checked.
#[derive(Debug)]
pub(crate) struct AllowedFiles {
    files: LocalFileSystem,
    roots: AllowedRoots,
}

impl AllowedFiles {
    pub(crate) fn new(roots: AllowedRoots) -> Self {
        Self { files: LocalFileSystem::new(), roots }
    }

    fn check(&self, path: &ObjectPath) -> StoreResult<()> {
        let location = Location::local(&Path::new("/").join(path.as_ref()));
        location.and_then(|location| self.roots.check(&location)).map_err(|error| {
            object_store::Error::PermissionDenied { path: path.to_string(), source: Box::new(error) }
        })
    }

    fn check_folder(&self, folder: Option<&ObjectPath>) -> StoreResult<()> {
        self.check(folder.unwrap_or(&ObjectPath::ROOT))
    }
}

impl fmt::Display for AllowedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllowedFiles")
    }
}

#[async_trait]
impl ObjectStore for AllowedFiles {
    async fn put_opts(
        &self,
        path: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.check(path)?;
        self.files.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &ObjectPath,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.check(path)?;
        self.files.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &ObjectPath, options: GetOptions) -> StoreResult<GetResult> {
        self.check(path)?;
        self.files.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<ObjectPath>>,
    ) -> BoxStream<'static, StoreResult<ObjectPath>> {
        let guard = Self::new(self.roots.clone());
        let checked = paths.map(move |path| {
            let path = path?;
            guard.check(&path).map(|()| path)
        });
        self.files.delete_stream(checked.boxed())
    }

    fn list(&self, folder: Option<&ObjectPath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        match self.check_folder(folder) {
            Ok(()) => self.files.list(folder),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, folder: Option<&ObjectPath>) -> StoreResult<ListResult> {
        self.check_folder(folder)?;
        self.files.list_with_delimiter(folder).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> StoreResult<()> {
        self.check(from)?;
        self.check(to)?;
        self.files.copy_opts(from, to, options).await
    }
}
