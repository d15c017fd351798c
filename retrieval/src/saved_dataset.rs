//! What the registry remembers of a dataset, from its manifest. Pure.

use std::collections::BTreeSet;

use backsight_registry::document::SavedDataset;
use backsight_storage::Location;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::error::RetrievalError;
use crate::manifest::Manifest;
use crate::prepare::Prepared;
use crate::request::FeatureSelection;

/// Feast reads a saved dataset by this column, whatever its spine called the instant.
const FEAST_INSTANT: &str = "event_timestamp";

/// What a manifest says besides, where the dataset is to be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSaved {
    /// Its name in the registry.
    pub name: String,
    /// `view:feature`, in order.
    pub features: Vec<String>,
    /// Columns that are join keys.
    pub join_keys: Vec<String>,
    /// Least and greatest instant, RFC 3339.
    pub instants: Option<[String; 2]>,
}

/// What a manifest says of a dataset that is to be remembered.
pub(crate) fn manifest_saved(prepared: &Prepared) -> Option<ManifestSaved> {
    let name = prepared.request.save_as.clone()?;
    let mut features = Vec::new();
    let mut join_keys = BTreeSet::new();
    for view in &prepared.views {
        let resolved = &view.resolved;
        features.extend(
            resolved.features.iter().map(|feature| format!("{}:{}", resolved.label, feature.feature)),
        );
        join_keys.extend(resolved.keys.iter().map(|key| key.spine_column.clone()));
    }
    let text = |nanos: i128| {
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        let rest = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?;
        Some(DateTime::from_timestamp(seconds, rest)?.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    };
    let instants =
        prepared.profile.instants.and_then(|(least, greatest)| Some([text(least)?, text(greatest)?]));
    Some(ManifestSaved { name, features, join_keys: join_keys.into_iter().collect(), instants })
}

/// Refuses a dataset that could not be read back by its name.
pub(crate) fn check_savable(prepared: &Prepared) -> Result<(), RetrievalError> {
    let Some(name) = &prepared.request.save_as else { return Ok(()) };
    let usage = |message: String, hint: &str| RetrievalError::Usage { message, hint: Some(hint.to_owned()) };
    if name.is_empty() || !name.chars().all(|letter| letter.is_alphanumeric() || "_-.".contains(letter)) {
        return Err(usage(
            format!("`{name}` cannot be the name of a saved dataset"),
            "a name has letters, digits, `_`, `-` and `.`",
        ));
    }
    let instant = &prepared.plan.instant_column;
    if instant != FEAST_INSTANT {
        return Err(usage(
            format!("`--save-as` needs the instant in a column `{FEAST_INSTANT}`, here it is `{instant}`"),
            "Feast reads a saved dataset by that column: rename it, for example with `--spine-sql`",
        ));
    }
    Ok(())
}

/// What the registry is to remember of a committed dataset, if it was asked to.
pub fn saved_dataset(manifest: &Manifest, output: &Location) -> Option<SavedDataset> {
    let saved = manifest.saved_as.as_ref()?;
    let instant = |text: &String| Some(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc));
    Some(SavedDataset {
        name: saved.name.clone(),
        features: saved.features.clone(),
        join_keys: saved.join_keys.clone(),
        full_feature_names: manifest.request.full_feature_names,
        feature_service: match &manifest.request.features {
            FeatureSelection::Service(name) => Some(name.clone()),
            FeatureSelection::References(_) => None,
        },
        uri: output.to_string(),
        s3_endpoint: output.endpoint().map(str::to_owned),
        instants: saved
            .instants
            .as_ref()
            .and_then(|[least, greatest]| Some((instant(least)?, instant(greatest)?))),
    })
}

/// Refuses to take the name of another dataset; `held` is the folder of the one that has it.
///
/// # Errors
/// [`RetrievalError::OutputConflict`] unless it is the same folder, or `overwrite`.
pub fn check_name_free(
    name: &str,
    held: Option<&str>,
    output: &Location,
    overwrite: bool,
) -> Result<(), RetrievalError> {
    match held {
        Some(held) if held != output.to_string() && !overwrite => Err(RetrievalError::OutputConflict {
            message: format!("the project has a saved dataset `{name}` already, in `{held}`"),
            hint: Some("give this one another name, or replace it with `--overwrite`".to_owned()),
        }),
        _ => Ok(()),
    }
}
