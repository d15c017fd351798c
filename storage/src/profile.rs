//! The files that the AWS tools share: `~/.aws/credentials` and `~/.aws/config`, and the profile chosen in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::StorageOptions;

/// What the chosen profile says. Not `Debug`: it holds secrets.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) access_key: Option<String>,
    pub(crate) secret_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    /// A way to credentials that the profile asks for and that we do not go: its setting's name.
    pub(crate) unsupported: Option<&'static str>,
    /// Whether either file has the profile.
    pub(crate) exists: bool,
}

/// Ways to credentials that need other programs or services.
const UNSUPPORTED: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "role_arn", "source_profile"];

type Sections = BTreeMap<String, BTreeMap<String, String>>;

impl Profile {
    /// Finds profile `name` in the text of the two files; what the credentials file says wins.
    pub(crate) fn find(name: &str, credentials: &str, config: &str) -> Self {
        let credentials = parse_ini(credentials);
        let config = parse_ini(config);
        let in_config = match config.get(&format!("profile {name}")) {
            None if name == "default" => config.get(name),
            section => section,
        };
        let in_credentials = credentials.get(name);
        let get = |key: &str| {
            let value = in_credentials.and_then(|section| section.get(key));
            value
                .or_else(|| in_config.and_then(|section| section.get(key)))
                .filter(|value| !value.is_empty())
                .cloned()
        };
        // The two halves of a key must come from one file.
        let has_key = |section: &&BTreeMap<String, String>| section.contains_key("aws_access_key_id");
        let keys = in_credentials.filter(has_key).or_else(|| in_config.filter(has_key));
        let key = |name: &str| {
            keys.and_then(|section| section.get(name)).filter(|value| !value.is_empty()).cloned()
        };
        Self {
            access_key: key("aws_access_key_id"),
            secret_key: key("aws_secret_access_key"),
            session_token: key("aws_session_token"),
            region: get("region"),
            endpoint: get("endpoint_url"),
            unsupported: UNSUPPORTED.into_iter().find(|key| get(key).is_some()),
            exists: in_credentials.is_some() || in_config.is_some(),
        }
    }

    /// Reads the files that `options` name; a file that cannot be read counts as empty.
    pub(crate) fn read(options: &StorageOptions) -> Self {
        let (credentials, config) = Self::files(options);
        let text = |path: Option<PathBuf>| {
            path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
        };
        Self::find(Self::name(options), &text(credentials), &text(config))
    }

    /// The name of the chosen profile.
    pub(crate) fn name(options: &StorageOptions) -> &str {
        options.setting("AWS_PROFILE").or_else(|| options.setting("AWS_DEFAULT_PROFILE")).unwrap_or("default")
    }

    /// The credentials and the config file.
    pub(crate) fn files(options: &StorageOptions) -> (Option<PathBuf>, Option<PathBuf>) {
        let home = options.home.as_deref();
        let file = |setting: &str, name: &str| match options.setting(setting) {
            Some(given) => Some(expand_home(given, home)),
            None => home.map(|home| home.join(".aws").join(name)),
        };
        (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config"))
    }
}

fn expand_home(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Sections with their settings. An indented line belongs to the setting above it (`s3 =` has such) and is skipped.
fn parse_ini(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) =
            trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name)
        {
            // `[profile "my name"]` and `[profile   name]` are both in use.
            let words: Vec<&str> = name.split_whitespace().collect();
            let name = words.join(" ").replace(['"', '\''], "");
            sections.entry(name.clone()).or_default();
            current = Some(name);
            continue;
        }
        let is_indented = line.starts_with([' ', '\t']);
        if let (false, Some(section), Some((key, value))) = (is_indented, &current, trimmed.split_once('=')) {
            let settings = sections.entry(section.clone()).or_default();
            settings.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::Profile;

    const CREDENTIALS: &str = "\u{feff}# comment\n[default]\naws_access_key_id = AK1\naws_secret_access_key=a=b/c+\n\n\
        [work]\r\nAWS_ACCESS_KEY_ID = AK2\r\naws_secret_access_key = s2\r\naws_session_token = t2\r\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  region = wrong\n  max_concurrent_requests = 3\n\
        ; comment\n[profile  work]\nregion=us-west-2\nendpoint_url = http://localhost:9000\n\
        [profile sso]\nsso_session = corp\n[profile half]\naws_access_key_id = AK3\naws_secret_access_key = s3\n\
        [half]\nregion = nowhere\n";

    #[test]
    fn the_default_profile_joins_both_files() {
        let profile = Profile::find("default", CREDENTIALS, CONFIG);
        assert_eq!(profile.access_key.as_deref(), Some("AK1"));
        assert_eq!(profile.secret_key.as_deref(), Some("a=b/c+"), "a value may contain `=`");
        assert_eq!(profile.session_token, None);
        assert_eq!(profile.region.as_deref(), Some("eu-west-1"), "nested settings are not the profile's");
    }

    #[test]
    fn a_named_profile_has_its_prefix_in_config_only() {
        let profile = Profile::find("work", CREDENTIALS, CONFIG);
        assert_eq!(profile.access_key.as_deref(), Some("AK2"));
        assert_eq!(profile.session_token.as_deref(), Some("t2"));
        assert_eq!(profile.region.as_deref(), Some("us-west-2"));
        assert_eq!(profile.endpoint.as_deref(), Some("http://localhost:9000"));
        let half = Profile::find("half", CREDENTIALS, CONFIG);
        assert_eq!((half.access_key.as_deref(), half.region), (Some("AK3"), None), "config may hold keys");
    }

    #[test]
    fn the_halves_of_a_key_never_come_from_two_files() {
        let profile =
            Profile::find("p", "[p]\naws_access_key_id = A\n", "[profile p]\naws_secret_access_key = B\n");
        assert_eq!((profile.access_key.as_deref(), profile.secret_key), (Some("A"), None));
    }

    #[test]
    fn what_we_cannot_follow_is_named() {
        assert_eq!(Profile::find("sso", CREDENTIALS, CONFIG).unsupported, Some("sso_session"));
        assert!(!Profile::find("absent", CREDENTIALS, CONFIG).exists);
    }
}
