//! What lies directly below a folder, and the data files of some of its folders: a listing in two steps, for those who
//! can tell by their names which folders they need.

use object_store::ListResult;

use crate::expand::{is_data, names_below};
use crate::listing::{entry, is_ours};
use crate::pattern::is_hidden;
use crate::{FileEntry, Location, StorageError, Stores};

/// What lies directly below a folder, sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// Folders that listings do not pass over.
    pub folders: Vec<Location>,
    /// Data files.
    pub files: Vec<FileEntry>,
}

impl Stores {
    /// What lies directly below `folder`, of the files only those whose names end in one of `extensions`; a folder that
    /// does not exist has nothing.
    pub async fn folder(&self, folder: &Location, extensions: &[&str]) -> Result<Folder, StorageError> {
        let store = self.open(folder)?;
        let path = folder.path();
        let prefix = (!folder.is_root()).then_some(&path);
        let listed = store.list_with_delimiter(prefix).await;
        let ListResult { common_prefixes, objects, .. } =
            match listed.map_err(|error| StorageError::classify(folder, error)) {
                Ok(listed) => listed,
                Err(StorageError::NotFound { .. }) => return Ok(Folder::default()),
                Err(error) => return Err(error),
            };
        let folders = common_prefixes.iter().filter(|path| !path.filename().is_some_and(is_hidden));
        let mut folders: Vec<Location> = folders.map(|path| folder.sibling(path)).collect();
        folders.sort_unstable();
        let files = objects.into_iter().filter(|object| !object.location.filename().is_some_and(is_ours));
        let mut files: Vec<FileEntry> = files
            .map(|object| entry(folder, object))
            .filter(|file| is_data(&names_below(folder, &file.location), extensions))
            .collect();
        files.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        // A link inside of an allowed folder may lead out of it.
        files.iter().try_for_each(|file| self.check_allowed(&file.location))?;
        Ok(Folder { folders, files })
    }

    /// The data files below `folder`, sorted by path, as [`Stores::expand_data`] finds them; there may be none.
    pub async fn data_below(
        &self,
        folder: &Location,
        extensions: &[&str],
    ) -> Result<Vec<FileEntry>, StorageError> {
        let mut files = self.list(folder).await?;
        files.retain(|file| is_data(&names_below(folder, &file.location), extensions));
        Ok(files)
    }
}
