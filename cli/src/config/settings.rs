//! Which setting wins (default, file, environment, flag) and what `config show` says about each.

use backsight_registry::feature_store::{FeatureStoreConfig, Origin, SETTINGS};
use backsight_registry::size::parse_size;
use backsight_storage::is_shown;

use crate::environment::Environment;
use crate::errors::Failure;

/// One line of `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its place: `registry.path`.
    pub(crate) key: String,
    /// Its value; `None` when nothing is set. A secret is never here.
    pub(crate) value: Option<String>,
    /// Where the value comes from.
    pub(crate) origin: String,
}

/// Lets `BACKSIGHT_…` variables win over the file.
pub(crate) fn override_from_environment(
    config: &mut FeatureStoreConfig,
    environment: &Environment,
) -> Result<(), Failure> {
    for entry in &SETTINGS {
        let Some(variable) = entry.variable else { continue };
        let Some(value) = environment.variable(variable) else { continue };
        let key = entry.key;
        let refuse = |allowed: &str| {
            Failure::usage(format!("environment variable `{variable}` is `{value}`, expected {allowed}"))
        };
        let flag = || match value {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(refuse("`true` or `false`")),
        };
        let ours = &mut config.backsight;
        match key {
            "backsight.memory_limit" => {
                ours.memory_limit = Some(parse_size(value).map_err(|_| refuse("a size such as `8GiB`"))?);
            }
            "backsight.target_partitions" => {
                let count = value.parse().ok().filter(|count| *count > 0);
                ours.target_partitions = Some(count.ok_or_else(|| refuse("a number above zero"))?);
            }
            "backsight.s3.endpoint" => ours.s3.endpoint = Some(value.to_owned()),
            "backsight.s3.region" => ours.s3.region = Some(value.to_owned()),
            "backsight.s3.allow_http" => ours.s3.allow_http = flag()?,
            "backsight.s3.virtual_hosted_style" => ours.s3.virtual_hosted_style = flag()?,
            // The registry's endpoint is known already; scheduler and state are asked for where they are used.
            _ => continue,
        }
        if let Some(setting) = config.settings.iter_mut().find(|setting| setting.key == key) {
            setting.value = value.to_owned();
            setting.origin = Origin::Environment(variable.to_owned());
        }
    }
    Ok(())
}

/// Every setting that has an effect, with its value and origin. `default_memory` is what counts without a limit.
pub(crate) fn setting_rows(
    config: &FeatureStoreConfig,
    environment: &Environment,
    default_memory: &str,
    default_partitions: &str,
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for setting in &config.settings {
        let is_unset = setting.value.is_empty();
        let default = match setting.key {
            "backsight.memory_limit" => Some(default_memory),
            "backsight.target_partitions" => Some(default_partitions),
            _ => None,
        };
        let value =
            if is_unset { default.map(str::to_owned) } else { Some(without_password(&setting.value)) };
        rows.push(Row { key: setting.key.to_owned(), value, origin: setting.origin.to_string() });
    }
    for (name, value) in environment.of_storage() {
        let value = if is_shown(&name) { without_password(&value) } else { "(set, not shown)".to_owned() };
        rows.push(Row { key: name.clone(), value: Some(value), origin: "environment".to_owned() });
    }
    rows
}

/// A URL without the user and password that somebody may have put into it.
fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(without_password("postgres://u:p@h/db"), "postgres://…@h/db");
        assert_eq!(without_password("http://h:1/a@b"), "http://h:1/a@b");
        assert_eq!(without_password("plain@text"), "plain@text");
    }
}
