//! Which kind of file is this, by its name? Pure.

use backsight_storage::FileEntry;

use crate::error::RetrievalError;

/// Extensions of the files that a folder of spine rows can hold.
pub(crate) const EXTENSIONS: [&str; 8] =
    ["parquet", "csv", "tsv", "jsonl", "ndjson", "arrow", "arrows", "feather"];

/// Extensions of files that are compressed as a whole, which nothing can be read from in pieces.
const COMPRESSED: [&str; 6] = ["gz", "zst", "bz2", "xz", "zip", "lz4"];

/// A kind of file that holds the rows of a spine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpineFormat {
    Parquet,
    /// Text with a header line; fields end at this byte.
    Delimited(u8),
    /// An object a line.
    JsonLines,
    /// Arrow IPC, the file format or the streaming format.
    ArrowIpc,
}

impl SpineFormat {
    /// The kind of a file with this name; one that says nothing is taken for Parquet, as Feast does.
    fn of_name(name: &str) -> Result<Self, String> {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("csv") => Ok(Self::Delimited(b',')),
            Some("tsv") => Ok(Self::Delimited(b'\t')),
            // Written out it is meant, in a folder it may be anything: see `EXTENSIONS`.
            Some("jsonl" | "ndjson" | "json") => Ok(Self::JsonLines),
            Some("arrow" | "arrows" | "feather" | "ipc") => Ok(Self::ArrowIpc),
            Some(packed) if COMPRESSED.contains(&packed) => Err(packed.to_owned()),
            _ => Ok(Self::Parquet),
        }
    }

    /// What messages call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Delimited(b'\t') => "TSV",
            Self::Delimited(_) => "CSV",
            Self::JsonLines => "JSON lines",
            Self::ArrowIpc => "Arrow IPC",
        }
    }

    /// The one kind of all files.
    pub(crate) fn of_files(files: &[FileEntry]) -> Result<Self, RetrievalError> {
        let mut first: Option<(Self, &FileEntry)> = None;
        for file in files {
            let name = file.location.file_name().unwrap_or_default();
            let format = Self::of_name(name).map_err(|packed| RetrievalError::BadSpine {
                file: file.location.to_string(),
                detail: format!("`.{packed}` files are not unpacked"),
                hint: "unpack it, or write Parquet, which is compressed inside".to_owned(),
            })?;
            match first {
                None => first = Some((format, file)),
                Some((held, held_file)) if held != format => {
                    return Err(RetrievalError::BadSpine {
                        file: file.location.to_string(),
                        detail: format!(
                            "it is {}, but `{}` is {}",
                            format.name(),
                            held_file.location,
                            held.name()
                        ),
                        hint: "a spine has files of one kind: name those that are meant, as `folder/*.csv`"
                            .to_owned(),
                    });
                }
                Some(_) => {}
            }
        }
        Ok(first.map_or(Self::Parquet, |(format, _)| format))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use backsight_storage::Location;
    use chrono::DateTime;

    use super::*;

    fn files(names: &str) -> Vec<FileEntry> {
        let entry = |name: &str| FileEntry {
            location: Location::parse(name, Path::new("/"), None).unwrap(),
            size: 1,
            etag: None,
            modified: DateTime::UNIX_EPOCH,
        };
        names.split(' ').map(entry).collect()
    }

    #[test]
    fn names_tell_the_kind() {
        let table = [
            ("a.parquet b.PARQUET", "Parquet"),
            ("spine", "Parquet"),
            ("a.CSV b.csv", "CSV"),
            ("a.tsv", "TSV"),
            ("a.json b.jsonl c.ndjson", "JSON lines"),
            ("a.feather b.arrow c.arrows d.ipc", "Arrow IPC"),
        ];
        for (names, kind) in table {
            assert_eq!(SpineFormat::of_files(&files(names)).unwrap().name(), kind, "{names}");
        }
    }

    #[test]
    fn kinds_do_not_mix_and_packed_files_are_refused() {
        let mixed = SpineFormat::of_files(&files("a.csv b.parquet")).unwrap_err();
        assert!(mixed.to_string().contains("it is Parquet, but `/a.csv` is CSV"), "{mixed}");
        let packed = SpineFormat::of_files(&files("a.csv.gz")).unwrap_err();
        assert!(packed.to_string().contains("`.gz` files are not unpacked"), "{packed}");
    }
}
