//! Writes parts unseen: an open multipart upload on an object store, a staged file on a file system.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backsight_proto::ErrorCode;
use backsight_storage::{Location, StorageError, Stores};
use bytes::Bytes;
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::RetrievalError;

/// Bytes of one part of an upload; stores ask for at least 5 MiB.
const UPLOAD_PART_BYTES: usize = 8 << 20;
/// Parts of one upload on their way at the same time.
const UPLOADS_AT_ONCE: usize = 4;
/// Stores take at most 10,000 parts: after each thousand the part size doubles.
const PARTS_PER_SIZE: usize = 1_000;

/// The folder of claim, manifest and staged files.
pub(crate) const OWN_FOLDER: &str = "_backsight";

/// What completes a staged part; durable in the intent before anything becomes visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Staged {
    /// A file below the output's own folder, to be renamed.
    File {
        /// Path relative to the output.
        path: String,
    },
    /// An open upload to the part's final name, to be completed.
    Upload {
        /// The store's id of the upload.
        upload_id: String,
        /// The store's ids of its parts, in order.
        parts: Vec<String>,
    },
}

/// Uploads and files of one attempt, so that an abandoned one can be cleared away. Once discarded it takes no more: what
/// a writer begins later, one that nobody could stop in time, would belong to nobody.
#[derive(Debug, Clone, Default)]
pub struct StagingLog {
    own: Entries,
    /// An attempt's and a run's, when this is a task's.
    parents: Vec<Entries>,
}

#[derive(Debug, Clone, Default)]
struct Entries(Arc<Mutex<Started>>);

#[derive(Debug, Default)]
struct Started {
    entries: Vec<(Location, Staged)>,
    is_discarded: bool,
}

impl StagingLog {
    /// A log of one attempt or task of a run: what it records is the run's, too, but it discards only its own.
    #[must_use]
    pub fn child(&self) -> Self {
        let parents = self.parents.iter().chain(std::iter::once(&self.own)).cloned().collect();
        Self { own: Entries::default(), parents }
    }

    /// Notes what is started; `false` when the log, or the run's, was discarded: the caller clears it away itself.
    #[must_use]
    pub(crate) fn record(&self, location: &Location, staged: &Staged) -> bool {
        self.parents.iter().all(|parent| parent.push(location, staged)) && self.own.push(location, staged)
    }

    /// What was started, in order; nothing once it was discarded.
    pub fn entries(&self) -> Vec<(Location, Staged)> {
        self.own.lock().entries.clone()
    }

    /// Aborts the uploads and removes the files of everything that was started: it belongs to nobody any more.
    ///
    /// # Errors
    /// The first storage fault; what could be removed is removed all the same.
    pub async fn discard(&self, stores: &Stores) -> Result<(), RetrievalError> {
        let started = self.own.lock().discard();
        let mut result = Ok(());
        for (part, staged) in started {
            if let Err(error) = discard(stores, &part, &staged).await {
                result = result.and(Err(error));
            }
        }
        result
    }
}

impl FromIterator<(Location, Staged)> for StagingLog {
    fn from_iter<I: IntoIterator<Item = (Location, Staged)>>(started: I) -> Self {
        let started = Started { entries: started.into_iter().collect(), is_discarded: false };
        let own = Entries(Arc::new(Mutex::new(started)));
        Self { own, parents: Vec::new() }
    }
}

impl Entries {
    fn lock(&self) -> MutexGuard<'_, Started> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, location: &Location, staged: &Staged) -> bool {
        let mut started = self.lock();
        if !started.is_discarded {
            started.entries.push((location.clone(), staged.clone()));
        }
        !started.is_discarded
    }
}

impl Started {
    fn discard(&mut self) -> Vec<(Location, Staged)> {
        self.is_discarded = true;
        std::mem::take(&mut self.entries)
    }
}

/// Aborts an upload or removes a staged file; one that is not there any more is no failure.
pub(crate) async fn discard(stores: &Stores, part: &Location, staged: &Staged) -> Result<(), RetrievalError> {
    let gone = |error: StorageError| match error.code() {
        ErrorCode::NotFound => Ok(()),
        _ => Err(error.into()),
    };
    match staged {
        Staged::File { path } => {
            let Some(folder) = part.parent() else { return Ok(()) };
            let path = local_path(&folder.join(path))?;
            let removed = tokio::fs::remove_file(&path).await;
            removed.or_else(|error| gone(StorageError::classify_io(part, &error)))
        }
        Staged::Upload { upload_id, .. } => {
            let Some(store) = stores.multipart(part)? else { return Ok(()) };
            let aborted = store.abort_multipart(&part.path(), upload_id).await;
            aborted.or_else(|error| gone(StorageError::classify(part, error)))
        }
    }
}

/// A part that is being written.
pub(crate) struct PartSink {
    location: Location,
    target: Target,
    bytes: u64,
}

enum Target {
    File(LocalPart),
    Upload(Box<Upload>),
}

struct LocalPart {
    file: Arc<File>,
    relative: String,
    /// Brings what was written so far to the disk, so that little is left to wait for at the end.
    flushing: Option<JoinHandle<std::io::Result<()>>>,
}

impl LocalPart {
    async fn write(&mut self, pieces: Vec<Bytes>) -> std::io::Result<()> {
        let file = Arc::clone(&self.file);
        let written = blocking(move || {
            let mut file: &File = &file;
            pieces.iter().try_for_each(|piece| file.write_all(piece))
        });
        written.await?;
        if self.flushing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.flushed().await?;
            let file = Arc::clone(&self.file);
            self.flushing = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        }
        Ok(())
    }

    /// Waits for the flush that is under way. The system tells of a fault once, so that none may be passed over.
    async fn flushed(&mut self) -> std::io::Result<()> {
        match self.flushing.take() {
            Some(flushing) => flushing.await.unwrap_or_else(|ended| Err(std::io::Error::other(ended))),
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> std::io::Result<String> {
        self.flushed().await?;
        let (file, relative) = (self.file, self.relative);
        blocking(move || file.sync_all()).await?;
        Ok(relative)
    }
}

struct Upload {
    store: Arc<dyn MultipartStore>,
    path: object_store::path::Path,
    id: String,
    waiting: Waiting,
    next: usize,
    running: JoinSet<(usize, object_store::Result<PartId>)>,
    done: Vec<(usize, String)>,
}

impl PartSink {
    /// Starts a part called `name` of the dataset at `output`, by the attempt `attempt`.
    pub(crate) async fn create(
        stores: &Stores,
        log: &StagingLog,
        output: &Location,
        attempt: &str,
        name: &str,
    ) -> Result<Self, RetrievalError> {
        let location = output.join(name);
        let target = match stores.multipart(output)? {
            None => {
                let relative = format!("{OWN_FOLDER}/staging/{attempt}/{name}.staged");
                let staged = output.join(&relative);
                if !log.record(&location, &Staged::File { path: relative.clone() }) {
                    return Err(RetrievalError::Cancelled);
                }
                let path = local_path(&staged)?;
                let file = create_file(path).await.map_err(|e| StorageError::classify_io(&staged, &e))?;
                Target::File(LocalPart { file, relative, flushing: None })
            }
            Some(store) => {
                let path = location.path();
                let begun = begin_upload(&store, log, &location)
                    .await
                    .map_err(|e| StorageError::classify(&location, e))?;
                let Some(id) = begun else { return Err(RetrievalError::Cancelled) };
                Target::Upload(Box::new(Upload {
                    store,
                    path,
                    id,
                    waiting: Waiting::default(),
                    next: 0,
                    running: JoinSet::new(),
                    done: Vec::new(),
                }))
            }
        };
        Ok(Self { location, target, bytes: 0 })
    }

    /// Writes more bytes.
    pub(crate) async fn push(&mut self, pieces: Vec<Bytes>) -> Result<(), RetrievalError> {
        self.bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        match &mut self.target {
            Target::File(part) => {
                part.write(pieces).await.map_err(|e| StorageError::classify_io(&self.location, &e).into())
            }
            Target::Upload(upload) => {
                for piece in pieces {
                    upload.waiting.push(piece);
                    let size = UPLOAD_PART_BYTES << (upload.next / PARTS_PER_SIZE).min(8);
                    while upload.waiting.bytes >= size {
                        let part = upload.waiting.take(size);
                        upload.start(part).await.map_err(|e| StorageError::classify(&self.location, e))?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Makes all bytes durable; what is returned completes the part. Returns the bytes written, too.
    pub(crate) async fn finish(self) -> Result<(Staged, u64), RetrievalError> {
        let staged = match self.target {
            Target::File(part) => {
                let path = part.finish().await.map_err(|e| StorageError::classify_io(&self.location, &e))?;
                Staged::File { path }
            }
            Target::Upload(mut upload) => {
                let rest = upload.waiting.take(upload.waiting.bytes);
                let parts =
                    upload.finish(rest).await.map_err(|e| StorageError::classify(&self.location, e))?;
                Staged::Upload { upload_id: upload.id, parts }
            }
        };
        Ok((staged, self.bytes))
    }
}

/// Begins an upload and records it. Who asked may be gone when the store answers, a cancelled task for one, or may be a
/// writer that goes on after its log was discarded (`None`). Nobody else knows the upload's id, so it is then aborted at
/// once.
async fn begin_upload(
    store: &Arc<dyn MultipartStore>,
    log: &StagingLog,
    location: &Location,
) -> object_store::Result<Option<String>> {
    let (answer, waiting) = oneshot::channel();
    let (store, log, location) = (Arc::clone(store), log.clone(), location.clone());
    #[expect(clippy::disallowed_methods, reason = "it must outlive the task that asks, and ends by itself")]
    tokio::spawn(async move {
        let path = location.path();
        let id = match store.create_multipart(&path).await {
            Ok(id) => id,
            Err(error) => {
                // Nothing was begun, as far as the store says: nothing is lost when nobody hears of it.
                let _ = answer.send(Err(error));
                return;
            }
        };
        // Before the answer: whoever has it can rely on the log.
        let is_ours = log.record(&location, &Staged::Upload { upload_id: id.clone(), parts: vec![] });
        let is_heard = answer.send(Ok(is_ours.then(|| id.clone()))).is_ok();
        if (!is_ours || !is_heard)
            && let Err(error) = store.abort_multipart(&path, &id).await
        {
            tracing::warn!(part = %location, %error, "an upload that nobody waits for could not be aborted");
        }
    });
    let unanswered = |gone| Err(object_store::Error::Generic { store: "upload", source: Box::new(gone) });
    waiting.await.unwrap_or_else(unanswered)
}

impl Upload {
    async fn start(&mut self, part: PutPayload) -> object_store::Result<()> {
        while self.running.len() >= UPLOADS_AT_ONCE {
            self.settle_one().await?;
        }
        let (store, path, id, number) =
            (Arc::clone(&self.store), self.path.clone(), self.id.clone(), self.next);
        self.next += 1;
        self.running.spawn(async move { (number, store.put_part(&path, &id, number, part).await) });
        Ok(())
    }

    async fn settle_one(&mut self) -> object_store::Result<()> {
        match self.running.join_next().await {
            None => Ok(()),
            Some(Ok((number, result))) => {
                self.done.push((number, result?.content_id));
                Ok(())
            }
            Some(Err(cause)) => Err(object_store::Error::JoinError { source: cause }),
        }
    }

    async fn finish(&mut self, rest: PutPayload) -> object_store::Result<Vec<String>> {
        if rest.content_length() > 0 || self.next == 0 {
            self.start(rest).await?;
        }
        while !self.running.is_empty() {
            self.settle_one().await?;
        }
        self.done.sort();
        Ok(self.done.drain(..).map(|(_, id)| id).collect())
    }
}

/// Bytes in order that no part of an upload has yet.
#[derive(Default)]
struct Waiting {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// The first bytes, so many of them.
    fn take(&mut self, bytes: usize) -> PutPayload {
        let mut taken = Vec::new();
        let mut wanted = bytes;
        while wanted > 0
            && let Some(mut piece) = self.pieces.pop_front()
        {
            if piece.len() > wanted {
                self.pieces.push_front(piece.split_off(wanted));
            }
            wanted -= piece.len();
            self.bytes -= piece.len();
            taken.push(piece);
        }
        taken.into_iter().collect()
    }
}

/// Work on files that waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
}

async fn create_file(path: PathBuf) -> std::io::Result<Arc<File>> {
    blocking(move || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Arc::new(File::create_new(path)?))
    })
    .await
}

pub(crate) fn local_path(location: &Location) -> Result<PathBuf, RetrievalError> {
    location
        .local_path()
        .ok_or_else(|| RetrievalError::Bug { message: format!("`{location}` is not on a file system") })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use async_trait::async_trait;
    use backsight_storage::StorageOptions;
    use object_store::path::Path as ObjectPath;
    use object_store::{MultipartId, PutResult};
    use tokio::sync::Notify;

    use super::*;

    /// A store that answers the beginning of an upload when it is told to, and says when one was aborted.
    #[derive(Debug, Default)]
    struct SlowStore {
        may_answer: Notify,
        aborted: Notify,
    }

    #[async_trait]
    impl MultipartStore for SlowStore {
        async fn create_multipart(&self, _: &ObjectPath) -> object_store::Result<MultipartId> {
            self.may_answer.notified().await;
            Ok("upload-1".into())
        }

        async fn put_part(
            &self,
            _: &ObjectPath,
            _: &MultipartId,
            _: usize,
            _: PutPayload,
        ) -> object_store::Result<PartId> {
            unreachable!("no part is sent")
        }

        async fn complete_multipart(
            &self,
            _: &ObjectPath,
            _: &MultipartId,
            _: Vec<PartId>,
        ) -> object_store::Result<PutResult> {
            unreachable!("nothing is completed")
        }

        async fn abort_multipart(&self, _: &ObjectPath, id: &MultipartId) -> object_store::Result<()> {
            assert_eq!(id, "upload-1");
            self.aborted.notify_one();
            Ok(())
        }
    }

    fn place() -> Location {
        Location::parse("s3://bucket/out/part", Path::new("/"), None).unwrap()
    }

    #[test]
    fn parts_of_an_upload_are_cut_at_their_size() {
        let mut waiting = Waiting::default();
        for piece in ["abc", "", "defgh", "i"] {
            waiting.push(Bytes::from_static(piece.as_bytes()));
        }
        let texts: Vec<Vec<u8>> = [4, 4, 0, 7].map(|bytes| Bytes::from(waiting.take(bytes)).to_vec()).into();
        assert_eq!(texts, [b"abcd".to_vec(), b"efgh".to_vec(), vec![], b"i".to_vec()]);
        assert_eq!((waiting.bytes, waiting.pieces.len()), (0, 0));
    }

    #[tokio::test]
    async fn an_upload_that_begins_after_its_task_was_cancelled_is_aborted() {
        let slow = Arc::new(SlowStore::default());
        let store: Arc<dyn MultipartStore> = Arc::clone(&slow) as _;
        let log = StagingLog::default();
        let place = place();
        tokio::select! {
            biased;
            _ = begin_upload(&store, &log, &place) => unreachable!("the store was not told to answer"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(log.entries(), []);
        slow.may_answer.notify_one();
        slow.aborted.notified().await;
    }

    #[tokio::test]
    async fn an_upload_is_in_the_log_as_soon_as_it_is_known() {
        let slow = Arc::new(SlowStore::default());
        slow.may_answer.notify_one();
        let store: Arc<dyn MultipartStore> = Arc::clone(&slow) as _;
        let log = StagingLog::default();
        assert_eq!(begin_upload(&store, &log, &place()).await.unwrap().unwrap(), "upload-1");
        let recorded = Staged::Upload { upload_id: "upload-1".into(), parts: vec![] };
        assert_eq!(log.entries(), [(place(), recorded)]);
    }
    #[tokio::test]
    async fn an_upload_that_begins_after_its_log_was_discarded_is_aborted_though_its_writer_waits() {
        for is_of_a_run in [false, true] {
            let slow = Arc::new(SlowStore::default());
            let store: Arc<dyn MultipartStore> = Arc::clone(&slow) as _;
            let run = StagingLog::default();
            let log = if is_of_a_run { run.child() } else { run.clone() };
            let (place, stores) = (place(), Stores::new(StorageOptions::default()));
            let discard = async {
                tokio::task::yield_now().await;
                run.discard(&stores).await.unwrap();
                slow.may_answer.notify_one();
            };
            let (begun, ()) = tokio::join!(begin_upload(&store, &log, &place), discard);
            assert_eq!(begun.unwrap(), None, "child of a run: {is_of_a_run}");
            assert_eq!(log.entries(), []);
            slow.aborted.notified().await;
        }
    }
}
