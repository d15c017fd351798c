//! Which files a source means: one file, all Parquet files of a folder, or those that a pattern names.

use crate::pattern::{Match, Pattern, is_hidden, is_pattern};
use crate::{FileEntry, Location, StorageError, Stores};

impl Stores {
    /// The files that `location` means, sorted by path and never none.
    ///
    /// A file is itself, whatever its name. A folder is every `*.parquet` below it. A pattern (`*`, `?`, `[..]`,
    /// `**`, `{a,b}`) is every file that it names, and every `*.parquet` below a folder that it names. Names that
    /// start with `_` or `.` are passed over unless written out: other tools keep their bookkeeping there.
    pub async fn expand(&self, location: &Location) -> Result<Vec<FileEntry>, StorageError> {
        self.expand_data(location, &["parquet"]).await
    }

    /// The same where data files are those whose names end in one of `extensions`, in small letters and without a dot.
    pub async fn expand_data(
        &self,
        location: &Location,
        extensions: &[&str],
    ) -> Result<Vec<FileEntry>, StorageError> {
        if let Some(file) = self.head(location).await? {
            return Ok(vec![file]);
        }
        let path = location.path();
        let folder = self.list(location).await?;
        let files: Vec<FileEntry> = if !folder.is_empty() || !is_pattern(path.as_ref()) {
            let below = |file: &FileEntry| names_below(location, &file.location);
            folder.into_iter().filter(|file| is_data(&below(file), extensions)).collect()
        } else {
            self.expand_pattern(location, extensions).await?
        };
        if files.is_empty() {
            return Err(self.nothing_found(location, extensions).await?);
        }
        Ok(files)
    }

    async fn expand_pattern(
        &self,
        location: &Location,
        extensions: &[&str],
    ) -> Result<Vec<FileEntry>, StorageError> {
        let base = self.literal_part(location);
        let names = names_below(&base, location);
        let pattern = Pattern::parse(&names.join("/"))
            .map_err(|reason| StorageError::InvalidLocation { given: location.to_string(), reason })?;
        let is_named = |file: &FileEntry| {
            let names = names_below(&base, &file.location);
            match pattern.matches(&names.join("/")) {
                Match::File => true,
                Match::Below => names.last().is_some_and(|name| has_extension(name, extensions)),
                Match::No => false,
            }
        };
        Ok(self.list(&base).await?.into_iter().filter(is_named).collect())
    }

    /// The folder above the first wildcard. On a file system a name such as `a[1]` that exists is no wildcard.
    fn literal_part(&self, location: &Location) -> Location {
        let mut base = location.sibling(&object_store::path::Path::ROOT);
        for name in names_below(&base, location) {
            let next = base.join(&name);
            let exists = || next.local_path().is_some_and(|path| path.is_dir());
            if is_pattern(&name) && !exists() {
                break;
            }
            base = next;
        }
        base
    }

    /// Says what was looked for, and tells an empty folder from one that is not there.
    async fn nothing_found(
        &self,
        location: &Location,
        extensions: &[&str],
    ) -> Result<StorageError, StorageError> {
        let location = location.clone();
        let looked_for = if is_pattern(location.path().as_ref()) {
            "no file matches the pattern".to_owned()
        } else if location.local_path().is_some_and(|path| path.is_dir())
            || !self.list(&location).await?.is_empty()
        {
            let names: Vec<String> = extensions.iter().map(|extension| format!("`*.{extension}`")).collect();
            format!("the folder has no {} file", names.join(" or "))
        } else {
            "there is no such file or folder".to_owned()
        };
        Ok(StorageError::NothingFound { location, looked_for })
    }
}

/// The names between `folder` and `location`.
pub(crate) fn names_below(folder: &Location, location: &Location) -> Vec<String> {
    let path = location.path();
    let folder = folder.path();
    let below = path.as_ref().strip_prefix(folder.as_ref()).unwrap_or(path.as_ref());
    below.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

pub(crate) fn is_data(names: &[String], extensions: &[&str]) -> bool {
    !names.iter().any(|name| is_hidden(name))
        && names.last().is_some_and(|name| has_extension(name, extensions))
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty() && extensions.contains(&extension.to_ascii_lowercase().as_str())
    })
}
