//! Small files that several processes change: atomic, durable, and never a lost update.
//!
//! A new content is written to a hidden file beside the old one, synced, and renamed over it; then the folder is
//! synced. Writers that depend on what is there hold an advisory lock on the *folder*, so that no lock file stays
//! behind. Where folders cannot be locked (some network file systems) a hidden lock file in the folder takes its place.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::stores::folder_of;
use crate::{Location, StorageError, Version, Versioned};

/// How the names of half-written files start; listings leave them out.
pub(crate) const TEMPORARY_PREFIX: &str = ".backsight-tmp-";

/// The lock of a folder that cannot be locked itself.
pub(crate) const LOCK_FILE: &str = ".backsight-lock";

/// Reads a file whole; `None` when it does not exist.
pub(crate) async fn read(location: Location, path: PathBuf) -> Result<Option<Versioned>, StorageError> {
    blocking(location, move |location| match read_whole(&path) {
        Ok(bytes) => Ok(Some(versioned(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::classify_io(location, &error)),
    })
    .await
}

/// Writes a file that must not exist yet.
pub(crate) async fn create(location: Location, path: PathBuf, bytes: Bytes) -> Result<Version, StorageError> {
    blocking(location, move |location| {
        let fail = |error: io::Error| StorageError::classify_io(location, &error);
        let folder = folder_of(&path);
        create_folder(folder).map_err(fail)?;
        let file = write_beside(folder, &bytes, None).map_err(fail)?;
        match file.persist_noclobber(&path) {
            Ok(_) => {
                sync_folder(folder).map_err(fail)?;
                Ok(version_of(&bytes))
            }
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => match read_whole(&path) {
                Ok(found) if found == bytes => Ok(version_of(&bytes)),
                _ => Err(StorageError::Conflict { location: location.clone(), what: "exists already" }),
            },
            Err(error) => Err(fail(error.error)),
        }
    })
    .await
}

/// Writes a file whose content must still be `expected`.
pub(crate) async fn replace(
    location: Location,
    path: PathBuf,
    bytes: Bytes,
    expected: Version,
    timeout: Duration,
) -> Result<Version, StorageError> {
    blocking(location, move |location| {
        let fail = |error: io::Error| StorageError::classify_io(location, &error);
        let conflict = |what| Err(StorageError::Conflict { location: location.clone(), what });
        let path = follow_link(path);
        let folder = folder_of(&path);
        if !folder.is_dir() {
            return conflict("was deleted by somebody else");
        }
        let _lock = lock_folder(location, folder, timeout)?;
        let found = match read_whole(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return conflict("was deleted by somebody else");
            }
            Err(error) => return Err(fail(error)),
        };
        let version = version_of(&bytes);
        if found == bytes {
            return Ok(version);
        }
        if version_of(&found) != expected {
            return conflict("was changed by somebody else");
        }
        write_over(folder, &path, &bytes).map_err(fail)?;
        Ok(version)
    })
    .await
}

/// Writes a file whatever was there before.
pub(crate) async fn put(
    location: Location,
    path: PathBuf,
    bytes: Bytes,
    timeout: Duration,
) -> Result<(), StorageError> {
    blocking(location, move |location| {
        let fail = |error: io::Error| StorageError::classify_io(location, &error);
        let path = follow_link(path);
        let folder = folder_of(&path);
        create_folder(folder).map_err(fail)?;
        // Without the lock this could come between the comparison and the rename of a `replace`, and be lost.
        let _lock = lock_folder(location, folder, timeout)?;
        write_over(folder, &path, &bytes).map_err(fail)
    })
    .await
}

/// Deletes a file; one that does not exist is fine.
pub(crate) async fn delete(location: Location, path: PathBuf) -> Result<(), StorageError> {
    blocking(location, move |location| match std::fs::remove_file(&path) {
        Ok(()) => sync_folder(folder_of(&path)).map_err(|error| StorageError::classify_io(location, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StorageError::classify_io(location, &error)),
    })
    .await
}

/// Gives a finished file its final name: content first, then the name, each durable.
pub(crate) async fn publish(location: Location, from: PathBuf, to: PathBuf) -> Result<(), StorageError> {
    blocking(location, move |location| {
        let fail = |error: io::Error| StorageError::classify_io(location, &error);
        let folder = folder_of(&to);
        match File::open(&from) {
            Ok(file) => file.sync_all().map_err(fail)?,
            // An earlier try came this far.
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.is_file() => {
                return sync_folder(folder).map_err(fail);
            }
            Err(error) => return Err(fail(error)),
        }
        create_folder(folder).map_err(fail)?;
        std::fs::rename(&from, &to).map_err(fail)?;
        sync_folder(folder).map_err(fail)
    })
    .await
}

/// Removes a folder that has nothing in it.
pub(crate) async fn remove_empty_folder(location: Location, path: PathBuf) -> Result<(), StorageError> {
    blocking(location, move |location| match std::fs::remove_dir(&path) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Ok(())
        }
        Err(error) => Err(StorageError::classify_io(location, &error)),
    })
    .await
}

/// Runs `work` where blocking is fine.
async fn blocking<T: Send + 'static>(
    location: Location,
    work: impl FnOnce(&Location) -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let inside = location.clone();
    match tokio::task::spawn_blocking(move || work(&inside)).await {
        Ok(result) => result,
        Err(error) => Err(StorageError::classify_io(&location, &io::Error::other(error))),
    }
}

fn read_whole(path: &Path) -> io::Result<Bytes> {
    std::fs::read(path).map(Bytes::from)
}

fn versioned(bytes: Bytes) -> Versioned {
    let version = version_of(&bytes);
    Versioned { bytes, version }
}

fn version_of(bytes: &[u8]) -> Version {
    let digest = Sha256::digest(bytes);
    Version(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A link stays a link: what is replaced is the file that it leads to.
fn follow_link(path: PathBuf) -> PathBuf {
    let is_link = std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link { std::fs::canonicalize(&path).unwrap_or(path) } else { path }
}

/// Creates missing folders and makes their names durable.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut missing = vec![folder];
    while let Some(parent) = missing.last().and_then(|last| last.parent()).filter(|parent| !parent.exists()) {
        missing.push(parent);
    }
    if let Err(error) = std::fs::create_dir_all(folder) {
        // "Exists already" would be told about the file that was to be written, and is about one above it.
        let is_in_the_way = error.kind() == io::ErrorKind::AlreadyExists;
        return Err(if is_in_the_way { io::ErrorKind::NotADirectory.into() } else { error });
    }
    missing.iter().try_for_each(|made| sync_folder(folder_of(made)))
}

/// Writes and syncs a hidden file in `folder`, with the mode that `like` has or a new file gets.
fn write_beside(folder: &Path, bytes: &[u8], like: Option<Permissions>) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    if let Some(permissions) = like {
        file.as_file().set_permissions(permissions)?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn write_over(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let like = std::fs::metadata(path).ok().map(|metadata| metadata.permissions());
    let file = write_beside(folder, bytes, like)?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes renames and removals in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems have no sync for folders; there is nothing more that could be done.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        result => result,
    }
}

/// Waits for the lock of `folder`; it is released when the file is dropped, or the process ends.
fn lock_folder(location: &Location, folder: &Path, timeout: Duration) -> Result<File, StorageError> {
    let fail = |error: io::Error| StorageError::classify_io(location, &error);
    let started = Instant::now();
    let mut file = File::open(folder).map_err(fail)?;
    let mut is_lock_file = false;
    let mut pause = Duration::from_millis(1);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() >= timeout => {
                return Err(StorageError::Locked {
                    location: location.clone(),
                    waited_seconds: timeout.as_secs(),
                });
            }
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Err(TryLockError::Error(error)) if is_lock_file => return Err(fail(error)),
            Err(TryLockError::Error(_)) => {
                let options =
                    OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK_FILE));
                file = options.map_err(fail)?;
                is_lock_file = true;
            }
        }
    }
}
