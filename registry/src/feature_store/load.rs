//! Reads the file: the edge where configuration meets the file system.

use std::fs;
use std::io;
use std::path::Path;

use super::config::FeatureStoreConfig;
use super::error::ConfigErrors;
use super::expand::Environment;
use super::read::parse_feature_store;
use crate::problem::{Position, Problem};

/// Reads and checks the configuration at `path`. `environment` is what `$VAR` expands to.
pub fn load_feature_store(
    path: &Path,
    environment: &Environment,
) -> Result<FeatureStoreConfig, ConfigErrors> {
    let shown = path.display().to_string();
    let fail = |message: String, hint: Option<&str>| ConfigErrors {
        problems: vec![Problem {
            position: Position::whole_file(shown.as_str()),
            message,
            hint: hint.map(str::to_owned),
        }],
    };
    match fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => parse_feature_store(&shown, &text, environment),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                Err(fail(
                    format!("the file is not UTF-8 text: byte {at} does not belong to a character"),
                    None,
                ))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(fail(
            "there is no such configuration file".to_owned(),
            Some(
                "run in a folder that has a `feature_store.yaml`, or name one with `--chdir` or `--feature-store-yaml`",
            ),
        )),
        Err(error) => Err(fail(format!("failed to read the file: {error}"), None)),
    }
}
