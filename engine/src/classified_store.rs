//! Names the location in every failure of a store, so that it survives the way through the query engine.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use backsight_retrieval::MarkedFault;
use backsight_storage::{Location, StorageError};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

/// A store whose errors carry a [`StorageError`], see [`MarkedFault`].
#[derive(Debug)]
pub(crate) struct ClassifiedStore {
    inner: Arc<dyn ObjectStore>,
    url: Url,
}

impl ClassifiedStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, url: Url) -> Self {
        Self { inner, url }
    }

    fn classify(&self, path: &Path, error: Error) -> Error {
        classify(&self.url, path, error)
    }
}

/// Absence and unmet conditions keep their kind: callers decide by them.
fn classify(url: &Url, path: &Path, error: Error) -> Error {
    let keeps_kind =
        matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. });
    match Location::from_store(url, path) {
        Ok(location) if !keeps_kind => Error::Generic {
            store: "backsight",
            source: Box::new(MarkedFault(Arc::new(StorageError::classify(&location, error)))),
        },
        _ => error,
    }
}

impl fmt::Display for ClassifiedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for ClassifiedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await.map_err(|e| self.classify(location, e))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await.map_err(|e| self.classify(location, e))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await.map_err(|e| self.classify(location, e))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await.map_err(|e| self.classify(location, e))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (url, path) = (self.url.clone(), prefix.cloned().unwrap_or_default());
        self.inner.list(prefix).map(move |item| item.map_err(|e| classify(&url, &path, e))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        self.inner.list_with_delimiter(prefix).await.map_err(|e| self.classify(&path, e))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await.map_err(|e| self.classify(from, e))
    }
}
