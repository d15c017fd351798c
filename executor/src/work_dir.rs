//! The executor's folder: held by a lock, empty at the start, measured while it runs.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::ExecutorError;

/// A work folder that this process holds until the value is dropped.
#[derive(Debug)]
pub(crate) struct WorkDir {
    root: PathBuf,
    /// Keeps the lock.
    _lock: File,
}

impl WorkDir {
    /// Takes the folder, making it when it is missing, and empties what an earlier executor left.
    pub(crate) fn take(root: &Path) -> Result<Self, ExecutorError> {
        let refused = |source| ExecutorError::WorkDir { folder: root.to_owned(), source };
        fs::create_dir_all(root).map_err(refused)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("executor.lock"))
            .map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ExecutorError::WorkDirInUse { folder: root.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
        let taken = Self { root: root.to_owned(), _lock: lock };
        for folder in [taken.shuffle(), taken.spill()] {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(refused(error)),
                _ => fs::create_dir_all(&folder).map_err(refused)?,
            }
        }
        Ok(taken)
    }

    /// Where shuffle files lie, a folder for each query job.
    pub(crate) fn shuffle(&self) -> PathBuf {
        self.root.join("shuffle")
    }

    /// Where operators spill.
    pub(crate) fn spill(&self) -> PathBuf {
        self.root.join("spill")
    }

    /// Query jobs that have files here.
    pub(crate) fn jobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.shuffle()).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Removes the files of a job; what cannot be removed now is tried again with the next call.
    pub(crate) fn remove_job(&self, job: &str) {
        // A name from the network must stay inside.
        if Path::new(job).components().count() == 1 && job != ".." {
            let _ = fs::remove_dir_all(self.shuffle().join(job));
        }
    }

    /// Bytes of everything in the folder.
    pub(crate) fn bytes(&self) -> u64 {
        bytes_below(&self.root)
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_executor_has_the_folder_and_finds_it_empty() {
        let root = tempfile::tempdir().unwrap();
        let first = WorkDir::take(root.path()).unwrap();
        fs::create_dir_all(first.shuffle().join("job-1")).unwrap();
        fs::write(first.shuffle().join("job-1/data"), [0; 10]).unwrap();
        assert_eq!((first.jobs(), first.bytes()), (vec!["job-1".to_owned()], 10));
        assert!(matches!(WorkDir::take(root.path()), Err(ExecutorError::WorkDirInUse { .. })));
        first.remove_job("..");
        first.remove_job("a/b");
        assert_eq!(first.bytes(), 10);
        drop(first);
        assert_eq!(WorkDir::take(root.path()).unwrap().bytes(), 0);
    }
}
