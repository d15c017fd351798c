//! The files of a new repo: all of them are written, or none.

use std::fs;
use std::path::Path;

use backsight_proto::ErrorCode;

use crate::errors::Failure;
use crate::sample;

const FEATURES: &str = include_str!("../../../templates/features.yaml");

/// A file of a new repo: its path below the folder, with `/`, and its content.
pub(super) type NewFile = (String, Vec<u8>);

/// The definitions; `path` is where their source lies, `note` says why it is written so.
pub(super) fn features(path: &str, note: &str) -> Vec<u8> {
    FEATURES.replace("{driver_stats}", &quoted(path)).replace("{source_note}", note).into_bytes()
}

/// The feature rows and the spine, below this folder.
pub(super) fn sample_data(folder: &str) -> Result<[NewFile; 2], Failure> {
    let made = |error: &dyn std::fmt::Display| Failure::bug(format!("sample data cannot be made: {error}"));
    let parquet = |rows: Result<_, arrow::error::ArrowError>| {
        rows.map_err(|error| made(&error))
            .and_then(|rows| sample::parquet_bytes(&rows).map_err(|error| made(&error)))
    };
    Ok([
        (format!("{folder}/driver_stats.parquet"), parquet(sample::driver_stats())?),
        (format!("{folder}/spine.parquet"), parquet(sample::trips())?),
    ])
}

/// A text as YAML takes it, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes the files; `shown` is how messages name the folder. Nothing is written when one of them is there already.
pub(super) fn write(folder: &Path, shown: &Path, files: &[NewFile]) -> Result<(), Failure> {
    if folder.exists() && !folder.is_dir() {
        return Err(Failure::new(
            ErrorCode::Conflict,
            format!("`{}` is there and is no folder", shown.display()),
        ));
    }
    let there: Vec<String> = files
        .iter()
        .filter(|(name, _)| folder.join(name).exists())
        .map(|(name, _)| format!("`{}`", shown.join(name).display()))
        .collect();
    if !there.is_empty() {
        let failure =
            Failure::new(ErrorCode::Conflict, format!("nothing was written: {} exists", there.join(", ")));
        return Err(failure.with_hint("name another folder; existing files are never overwritten"));
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .map_err(|error| Failure::io(&format!("create folder `{}`", shown.display()), &error))?;
        let mut options = fs::File::options();
        let written = options
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, bytes));
        written.map_err(|error| Failure::io(&format!("write `{}`", shown.join(name).display()), &error))?;
    }
    Ok(())
}
