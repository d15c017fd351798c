//! The repo of one person: definitions, sample data, a registry in a file, a client folder.

use std::path::Path;

use super::repo::{NewFile, features, sample_data};
use crate::errors::Failure;

const FEATURE_STORE: &str = include_str!("../../../templates/feature_store.yaml");
const CLIENT_FEATURE_STORE: &str = include_str!("../../../templates/client_feature_store.yaml");
const README: &str = include_str!("../../../templates/README.md");

/// Its files, in the order in which they are listed.
pub(super) fn files(folder: &Path, project: &str) -> Result<Vec<NewFile>, Failure> {
    // Sources are named by their whole path, so that they are found from the client folder, too.
    let absolute = std::path::absolute(folder).map_err(|error| Failure::io("find the folder", &error))?;
    let stats = absolute.join("data/driver_stats.parquet").display().to_string();
    let fill = |template: &str| template.replace("{project}", project).into_bytes();
    let note = "It is written whole here, so that the client folder finds it, too.";
    let mut files = vec![
        ("feature_store.yaml".to_owned(), fill(FEATURE_STORE)),
        ("features.yaml".to_owned(), features(&stats, note)),
    ];
    files.extend(sample_data("data")?);
    files.push(("client/feature_store.yaml".to_owned(), fill(CLIENT_FEATURE_STORE)));
    files.push(("README.md".to_owned(), fill(README)));
    Ok(files)
}
