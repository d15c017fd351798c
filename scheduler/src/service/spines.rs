//! Uploaded spines: kept under the hash of their contents, bounded in size and in time.

use std::time::Duration;

use backsight_proto::ErrorCode;
use backsight_proto::control::spine_chunk::Content;
use backsight_proto::control::{SpineChunk, StoredSpine};
use backsight_registry::size::show_size;
use backsight_storage::{Location, StorageError, Stores};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use object_store::buffered::BufWriter;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tonic::Status;

use super::failures::refuse;
use crate::driver::now;

/// The one kind of file that a spine can be.
const EXTENSION: &str = ".parquet";

/// The place of uploaded spines.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    pub(crate) stores: Stores,
    pub(crate) root: Location,
    pub(crate) bytes_max: u64,
    pub(crate) kept: Duration,
    /// Uploads that nobody goes on with, see [`abort_uploads`].
    pub(crate) given_up: mpsc::UnboundedSender<BufWriter>,
}

/// Aborts the uploads that it is sent, for ever.
pub(crate) async fn abort_uploads(mut given_up: mpsc::UnboundedReceiver<BufWriter>) {
    while let Some(mut writer) = given_up.recv().await {
        // An upload that was not begun cannot be aborted, and need not be.
        if let Err(error) = writer.abort().await {
            tracing::debug!(%error, "an upload could not be aborted");
        }
    }
}

/// An upload; unless it is finished it is aborted, also when its client vanishes and nobody polls it any more.
struct Upload {
    writer: Option<BufWriter>,
    given_up: mpsc::UnboundedSender<BufWriter>,
}

impl Upload {
    async fn write(&mut self, data: &[u8]) -> std::io::Result<()> {
        match &mut self.writer {
            Some(writer) => writer.write_all(data).await,
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> std::io::Result<()> {
        // One that cannot be finished aborts itself; it must not be aborted again.
        match self.writer.take() {
            Some(mut writer) => writer.shutdown().await,
            None => Ok(()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // Without anybody to abort it the process ends.
            let _ = self.given_up.send(writer);
        }
    }
}

impl Spool {
    fn place(&self, sha256: &str) -> Result<Location, Status> {
        let is_hash =
            sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if is_hash {
            return Ok(self.root.join(&format!("spine-{sha256}{EXTENSION}")));
        }
        Err(refuse(ErrorCode::Usage, "a spine is named by the SHA-256 of its contents in lower case", None))
    }

    /// What is held under a hash.
    pub(crate) async fn find(&self, sha256: &str) -> Result<StoredSpine, Status> {
        let place = self.place(sha256)?;
        let held = self.stores.head(&place).await.map_err(|error| of_storage(&error))?;
        // One that may be removed before it is used is uploaded again.
        let is_young = |modified: DateTime<Utc>| {
            let age = now().signed_duration_since(modified).to_std().unwrap_or_default();
            age < self.kept / 2
        };
        let held = held.filter(|held| is_young(held.modified));
        Ok(held.map_or_else(StoredSpine::default, |held| StoredSpine {
            uri: place.to_string(),
            bytes: held.size,
        }))
    }

    /// Takes an upload in. Nothing is kept of one that is too large, is cut short or is not what it says.
    pub(crate) async fn take(
        &self,
        mut chunks: impl Stream<Item = Result<SpineChunk, Status>> + Unpin,
    ) -> Result<StoredSpine, Status> {
        let Some(Content::Header(header)) = chunks.next().await.transpose()?.and_then(|chunk| chunk.content)
        else {
            return Err(refuse(ErrorCode::Usage, "an upload begins with its header", None));
        };
        if header.extension != EXTENSION {
            let message = format!("a spine is a `{EXTENSION}` file, got `{}`", header.extension);
            return Err(refuse(ErrorCode::Usage, message, None));
        }
        if header.bytes > self.bytes_max {
            return Err(self.too_large(header.bytes));
        }
        let place = self.place(&header.sha256)?;
        let store = self.stores.open(&place).map_err(|error| of_storage(&error))?;
        let writer = Some(BufWriter::new(store, place.path()));
        let mut upload = Upload { writer, given_up: self.given_up.clone() };
        let failed = |error: std::io::Error| of_storage(&StorageError::classify_io(&place, &error));
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        while let Some(chunk) = chunks.next().await {
            let Some(Content::Data(data)) = chunk?.content else {
                return Err(refuse(ErrorCode::Usage, "an upload has one header, then data", None));
            };
            bytes += data.len() as u64;
            if bytes > header.bytes {
                return Err(self.too_large(bytes));
            }
            hash.update(&data);
            upload.write(&data).await.map_err(failed)?;
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found != header.sha256 || bytes != header.bytes {
            let message = format!("the upload of {bytes} bytes is not the spine that it was announced as");
            return Err(refuse(ErrorCode::Unreachable, message, Some("upload it again".into())));
        }
        upload.finish().await.map_err(failed)?;
        Ok(StoredSpine { uri: place.to_string(), bytes })
    }

    fn too_large(&self, bytes: u64) -> Status {
        let message = format!(
            "the spine has {}, this scheduler takes up to {}",
            show_size(bytes),
            show_size(self.bytes_max)
        );
        let hint =
            "put it on an object store and name it there, or raise `--spine-upload-max` of the scheduler";
        refuse(ErrorCode::Limit, message, Some(hint.into()))
    }

    /// Removes spines that are older than `kept`, but those in `used`.
    pub(crate) async fn clean(&self, used: &[String], now: DateTime<Utc>) {
        let listed = match self.stores.list(&self.root).await {
            Ok(listed) => listed,
            Err(error) if error.code() == ErrorCode::NotFound => return,
            Err(error) => {
                tracing::warn!(%error, "uploaded spines could not be listed");
                return;
            }
        };
        for entry in listed {
            let age = now.signed_duration_since(entry.modified).to_std().unwrap_or_default();
            let name = entry.location.file_name().unwrap_or_default();
            let is_ours = name.starts_with("spine-") && name.ends_with(EXTENSION);
            if !is_ours || age < self.kept || used.iter().any(|uri| uri.ends_with(name)) {
                continue;
            }
            if let Err(error) = self.stores.delete(&entry.location).await {
                tracing::warn!(%error, "an old spine could not be removed");
            }
        }
    }
}

fn of_storage(error: &StorageError) -> Status {
    refuse(error.code(), error.to_string(), error.hint())
}

#[cfg(test)]
mod tests {
    use backsight_proto::control::SpineHeader;
    use backsight_storage::StorageOptions;
    use futures::FutureExt;

    use super::*;

    fn chunk(content: Content) -> Result<SpineChunk, Status> {
        Ok(SpineChunk { content: Some(content) })
    }

    #[tokio::test]
    async fn an_upload_whose_client_vanishes_is_aborted_and_a_whole_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut given_up) = mpsc::unbounded_channel();
        let root = Location::parse(folder.path().to_str().unwrap(), folder.path(), None).unwrap();
        let spool = Spool {
            stores: Stores::new(StorageOptions::default()),
            root,
            bytes_max: 1 << 20,
            kept: Duration::from_secs(3600),
            given_up: sender,
        };
        let sha256: String = Sha256::digest(b"rows").iter().map(|byte| format!("{byte:02x}")).collect();
        let header = SpineHeader { sha256, bytes: 4, extension: EXTENSION.into() };
        let begun =
            || vec![chunk(Content::Header(header.clone())), chunk(Content::Data(b"rows".as_slice().into()))];
        // Nothing more comes, and then nobody polls it any more.
        let silent = futures::stream::iter(begun()).chain(futures::stream::pending());
        {
            let mut taken = Box::pin(spool.take(Box::pin(silent)));
            assert!((&mut taken).now_or_never().is_none());
            assert!(given_up.try_recv().is_err());
        }
        assert!(given_up.try_recv().is_ok(), "it was left as it was");
        let stored = spool.take(futures::stream::iter(begun())).await.unwrap();
        assert!(given_up.try_recv().is_err() && stored.bytes == 4);
        // One that cannot be finished: a folder is in its way. To abort it as well would be a panic.
        let path = Location::parse(&stored.uri, folder.path(), None).unwrap().local_path().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir_all(path.join("in the way")).unwrap();
        assert!(spool.take(futures::stream::iter(begun())).await.is_err());
        assert!(given_up.try_recv().is_err());
    }
}
