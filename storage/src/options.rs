//! What a user may set about storage: credentials and endpoints, limits of time and of place.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::variables::is_shown;

/// Everything that [`crate::Stores`] needs to know; `Debug` shows names of settings, never a secret's value.
#[derive(Clone)]
pub struct StorageOptions {
    /// Settings named as the clouds' own tools name them (`AWS_REGION`, `GOOGLE_APPLICATION_CREDENTIALS`,
    /// `AZURE_STORAGE_ACCOUNT_NAME`, …; all are in [`crate::VARIABLES`]), which the command line reads from the process
    /// environment. The first of two equal names wins; empty values count as unset.
    pub environment: Vec<(String, String)>,
    /// `backsight.s3` of `feature_store.yaml`.
    pub s3: S3Options,
    /// The home folder, for `~/.aws/credentials`, `~/.aws/config` and `~/.config/gcloud`.
    pub home: Option<PathBuf>,
    /// When given, local locations outside of these folders are refused.
    pub allowed_local_roots: Option<Vec<PathBuf>>,
    /// How long one request may take, body included. Conditional puts under contention take seconds on some servers.
    pub request_timeout: Duration,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How often a request is repeated after a fault of the server or network.
    pub retries_max: usize,
    /// How long after its start a request may still be repeated.
    pub retry_timeout: Duration,
    /// How long a local write waits for another process that writes in the same folder.
    pub lock_timeout: Duration,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self {
            environment: Vec::new(),
            s3: S3Options::default(),
            home: None,
            allowed_local_roots: None,
            request_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            retries_max: 5,
            retry_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(30),
        }
    }
}

impl StorageOptions {
    /// The value of one environment setting, if it is set and not empty.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

/// `backsight.s3` of `feature_store.yaml`: how to reach S3, never a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Options {
    /// The endpoint of every S3 location that does not bring its own.
    pub endpoint: Option<String>,
    /// The region; else `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, `us-east-1`.
    pub region: Option<String>,
    /// Whether plain HTTP may be used; an `http://` endpoint allows it unless this says no.
    pub allow_http: Option<bool>,
    /// Whether the bucket is part of the host name; the default is no for own endpoints, yes for AWS.
    pub virtual_hosted_style: Option<bool>,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.as_deref().map(shown);
        f.debug_struct("S3Options")
            .field("endpoint", &endpoint)
            .field("region", &self.region)
            .field("allow_http", &self.allow_http)
            .field("virtual_hosted_style", &self.virtual_hosted_style)
            .finish()
    }
}

/// A value that is no secret, unless somebody put a password into a URL.
fn shown(value: &str) -> &str {
    if value.contains('@') { "…" } else { value }
}

/// Environment settings with the values of secrets left out.
struct Redacted<'a>(&'a [(String, String)]);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str, value| {
            if is_shown(name) && !str::contains(value, '@') { value } else { "…" }
        };
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

impl fmt::Debug for StorageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageOptions")
            .field("environment", &Redacted(&self.environment))
            .field("s3", &self.s3)
            .field("home", &self.home)
            .field("allowed_local_roots", &self.allowed_local_roots)
            .field("request_timeout", &self.request_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("retries_max", &self.retries_max)
            .field("retry_timeout", &self.retry_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{S3Options, StorageOptions};

    #[test]
    fn debug_shows_no_secret() {
        let environment = [
            ("AWS_ACCESS_KEY_ID", "hush-id"),
            ("AWS_SECRET_ACCESS_KEY", "hush-key"),
            ("AWS_SESSION_TOKEN", "hush-token"),
            ("AWS_ENDPOINT_URL", "http://user:hush@host"),
            ("AWS_SOMETHING_NEW", "hush"),
            ("AWS_REGION", "eu-west-1"),
            ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=acc;AccountKey=hush"),
            ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=hush"),
            ("AZURE_STORAGE_KEY", "hush"),
            ("AZURE_CLIENT_SECRET", "hush"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let s3 = S3Options { endpoint: Some("http://user:hush@host".to_owned()), ..S3Options::default() };
        let shown = format!("{:?}", StorageOptions { environment, s3, ..StorageOptions::default() });
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("eu-west-1") && shown.contains("AWS_SESSION_TOKEN"), "{shown}");
    }

    #[test]
    fn an_empty_setting_is_unset() {
        let environment = vec![("A".to_owned(), String::new()), ("A".to_owned(), "1".to_owned())];
        let options = StorageOptions { environment, ..StorageOptions::default() };
        assert_eq!((options.setting("A"), options.setting("B")), (Some("1"), None));
    }
}
