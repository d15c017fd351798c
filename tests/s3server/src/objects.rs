//! What the file system server lacks to behave like S3: one writer of a key at a time, conditions on reads, ETags in
//! listings, and the right error where a bucket, an upload or an object is missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::RwLock;

/// Marks a request whose conditions are to be ignored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unconditional;

/// The file system server behind a lock for each key.
///
/// It checks the conditions of a put itself, but another put may come between its check and its write, and a reader
/// may see the content of one put with the ETag of another. The lock makes both one step.
#[derive(Debug)]
pub(crate) struct Objects {
    files: FileSystem,
    root: PathBuf,
    locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
}

impl Objects {
    pub(crate) fn new(root: &Path) -> Self {
        let files = FileSystem::new(root).expect("the server's folder can be opened");
        Self { files, root: root.to_owned(), locks: Mutex::default() }
    }

    fn lock(&self, bucket: &str, key: &str) -> Arc<RwLock<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(format!("{bucket}/{key}")).or_default())
    }

    fn require_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.root.join(bucket).is_dir() { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    /// A folder of the file system is no object.
    fn require_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        self.require_bucket(bucket)?;
        let path = self.root.join(bucket).join(key);
        if path.is_dir() || key.ends_with('/') { Err(s3_error!(NoSuchKey)) } else { Ok(()) }
    }

    fn require_upload(&self, upload_id: &str) -> S3Result<()> {
        let is_plain = upload_id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        let exists = is_plain && self.root.join(format!(".upload-{upload_id}.json")).is_file();
        if exists { Ok(()) } else { Err(s3_error!(NoSuchUpload)) }
    }
}

/// The same request about something else.
fn about<T, U>(request: &S3Request<T>, input: U) -> S3Request<U> {
    S3Request {
        input,
        method: request.method.clone(),
        uri: request.uri.clone(),
        headers: request.headers.clone(),
        extensions: request.extensions.clone(),
        credentials: request.credentials.clone(),
        region: request.region.clone(),
        service: request.service.clone(),
        trailing_headers: None,
    }
}

/// Whether the conditions of a read hold for an object with this ETag.
fn check_read(
    etag: Option<&ETag>,
    if_match: Option<&IfMatch>,
    if_none_match: Option<&IfNoneMatch>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => etag.is_some_and(|etag| etag.weak_cmp(wanted)),
    };
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

#[async_trait::async_trait]
impl S3 for Objects {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(req).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(req).await
    }

    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(req).await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(req).await
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.require_object(&req.input.bucket, &req.input.key)?;
        let lock = self.lock(&req.input.bucket, &req.input.key);
        // The body is an open file: what is renamed over it later does not change it.
        let _reading = lock.read().await;
        let (if_match, if_none_match) = (req.input.if_match.clone(), req.input.if_none_match.clone());
        let answer = self.files.get_object(req).await?;
        check_read(answer.output.e_tag.as_ref(), if_match.as_ref(), if_none_match.as_ref())?;
        Ok(answer)
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.require_object(&req.input.bucket, &req.input.key)?;
        let lock = self.lock(&req.input.bucket, &req.input.key);
        let _reading = lock.read().await;
        let (if_match, if_none_match) = (req.input.if_match.clone(), req.input.if_none_match.clone());
        let answer = self.files.head_object(req).await?;
        check_read(answer.output.e_tag.as_ref(), if_match.as_ref(), if_none_match.as_ref())?;
        Ok(answer)
    }

    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.require_bucket(&req.input.bucket)?;
        if req.extensions.get::<Unconditional>().is_some() {
            req.input.if_match = None;
            req.input.if_none_match = None;
        }
        let lock = self.lock(&req.input.bucket, &req.input.key);
        let _writing = lock.write().await;
        self.files.put_object(req).await
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        self.require_bucket(&req.input.bucket)?;
        let lock = self.lock(&req.input.bucket, &req.input.key);
        let _writing = lock.write().await;
        self.files.copy_object(req).await
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.require_bucket(&req.input.bucket)?;
        let lock = self.lock(&req.input.bucket, &req.input.key);
        let _writing = lock.write().await;
        self.files.delete_object(req).await
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.require_bucket(&req.input.bucket)?;
        // One by one, so that each deletion is one step for the readers and writers of its key.
        let mut deleted = Vec::new();
        for object in &req.input.delete.objects {
            let one =
                DeleteObjectInput::builder().bucket(req.input.bucket.clone()).key(object.key.clone()).build();
            let one = one.map_err(|error| s3_error!(error, InvalidRequest))?;
            self.delete_object(about(&req, one)).await?;
            deleted.push(DeletedObject { key: Some(object.key.clone()), ..DeletedObject::default() });
        }
        let output = DeleteObjectsOutput { deleted: Some(deleted), ..DeleteObjectsOutput::default() };
        Ok(S3Response::new(output))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        self.files.list_objects(req).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let template = about(&req, ());
        let bucket = req.input.bucket.clone();
        let mut answer = self.files.list_objects_v2(req).await?;
        for object in answer.output.contents.iter_mut().flatten() {
            let key = object.key.clone().unwrap_or_default();
            let head = HeadObjectInput::builder().bucket(bucket.clone()).key(key).build();
            let head = head.map_err(|error| s3_error!(error, InvalidRequest))?;
            // An object that was deleted since the listing has no ETag.
            if let Ok(head) = self.head_object(about(&template, head)).await {
                object.e_tag = head.output.e_tag;
            }
        }
        Ok(answer)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.require_bucket(&req.input.bucket)?;
        self.files.create_multipart_upload(req).await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.require_upload(&req.input.upload_id)?;
        self.files.upload_part(req).await
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.require_upload(&req.input.upload_id)?;
        self.files.upload_part_copy(req).await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.require_upload(&req.input.upload_id)?;
        self.files.list_parts(req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let lock = self.lock(&req.input.bucket, &req.input.key);
        let _writing = lock.write().await;
        self.require_upload(&req.input.upload_id)?;
        self.files.complete_multipart_upload(req).await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.require_upload(&req.input.upload_id)?;
        self.files.abort_multipart_upload(req).await
    }
}
