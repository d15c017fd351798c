//! How to reach one bucket of Google Cloud Storage: decides endpoint and identity from the options, builds the client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::{MultipartId, PutPayload, PutResult, RetryConfig, StaticCredentialProvider};
use serde::Deserialize;

use crate::classify::is_unanswered;
use crate::client::{client_options, flag, not_built, retry_config};
use crate::place::normal_endpoint;
use crate::{Location, StorageError, StorageOptions};

/// What one client needs.
pub(crate) struct GoogleSettings {
    /// `None` is Google's own.
    endpoint: Option<String>,
    identity: Identity,
}

/// Who we are to the store.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// Requests carry no credentials: a public bucket, or an emulator.
    Anonymous,
    /// A file that a setting names, or that `gcloud auth application-default login` wrote.
    File { path: PathBuf, named_by: &'static str },
    /// What the machine, pod or function is.
    MetadataService,
}

/// The part of a credentials file that says what it is.
#[derive(Deserialize)]
struct CredentialsFile {
    #[serde(rename = "type")]
    kind: String,
}

/// The name of the file that gcloud writes.
const LOGIN_FILE: &str = "application_default_credentials.json";

impl GoogleSettings {
    /// Decides for the bucket of `location`. Reads the options, and whether gcloud's file exists.
    ///
    /// Identity: none for an emulator, the file of `GOOGLE_APPLICATION_CREDENTIALS`, gcloud's, the machine's.
    pub(crate) fn decide(location: &Location, options: &StorageOptions) -> Result<Self, StorageError> {
        let endpoint = Self::endpoint(options)?;
        let identity = Self::identity(location, endpoint.is_some(), options)?;
        Ok(Self { endpoint, identity })
    }

    fn endpoint(options: &StorageOptions) -> Result<Option<String>, StorageError> {
        const NAME: &str = "STORAGE_EMULATOR_HOST";
        let Some(given) = options.setting(NAME) else { return Ok(None) };
        // As Google's own libraries read it: a host alone is reached by plain HTTP.
        let with_scheme = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
        let endpoint = normal_endpoint(&with_scheme);
        let invalid = |reason| StorageError::InvalidSetting { setting: format!("`{NAME}`"), reason };
        endpoint.map(Some).map_err(invalid)
    }

    fn identity(
        location: &Location,
        is_emulator: bool,
        options: &StorageOptions,
    ) -> Result<Identity, StorageError> {
        if is_emulator || flag(options, "GOOGLE_SKIP_SIGNATURE")? {
            return Ok(Identity::Anonymous);
        }
        let named_by = "GOOGLE_APPLICATION_CREDENTIALS";
        if let Some(path) = options.setting(named_by) {
            return Ok(Identity::File { path: PathBuf::from(path), named_by });
        }
        let folder = match options.setting("CLOUDSDK_CONFIG") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => options.home.as_ref().map(|home| home.join(".config/gcloud")),
        };
        let login = folder.map(|folder| folder.join(LOGIN_FILE));
        if let Some(path) = login.clone().filter(|path| path.exists()) {
            return Ok(Identity::File { path, named_by: "gcloud" });
        }
        if flag(options, "NO_GCE_CHECK")? {
            let file = match login {
                Some(path) => format!("`{}`", path.display()),
                None => "no folder of gcloud (no home folder is known)".to_owned(),
            };
            let looked_in = format!("the environment and {file}");
            return Err(StorageError::NoCredentials { location: location.clone(), looked_in });
        }
        Ok(Identity::MetadataService)
    }

    /// Builds the client for `bucket`.
    pub(crate) fn build(
        self,
        bucket: &str,
        options: &StorageOptions,
    ) -> Result<GoogleCloudStorage, StorageError> {
        // Google takes about one write a second to one object and answers 429 to more: more patience than elsewhere.
        let allow_http = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket)
            .with_client_options(client_options(options, allow_http))
            .with_retry(RetryConfig { max_retries: options.retries_max * 2, ..retry_config(options) });
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        builder = match self.identity {
            Identity::Anonymous => {
                let nobody = StaticCredentialProvider::new(GcpCredential { bearer: String::new() });
                builder.with_skip_signature(true).with_credentials(Arc::new(nobody))
            }
            Identity::File { path, named_by } => {
                check_file(&path, named_by)?;
                builder.with_application_credentials(path.to_string_lossy())
            }
            Identity::MetadataService => builder,
        };
        builder.build().map_err(not_built(bucket))
    }
}

/// Uploads in parts, begun and aborted again where there was no answer: the client itself repeats neither. An upload that
/// was begun twice has one that nobody knows; it ends as those of killed processes do.
#[derive(Debug)]
pub(crate) struct GoogleUploads(pub(crate) Arc<GoogleCloudStorage>);

/// How often a request without an answer is made.
const ATTEMPTS_MAX: u32 = 4;

async fn repeated<'a, T>(
    ask: impl Fn() -> BoxFuture<'a, object_store::Result<T>>,
) -> object_store::Result<T> {
    let mut attempt = 1;
    loop {
        match ask().await {
            Err(error) if is_unanswered(&error) && attempt < ATTEMPTS_MAX => {
                tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                attempt += 1;
            }
            settled => return settled,
        }
    }
}

#[async_trait]
impl MultipartStore for GoogleUploads {
    async fn create_multipart(&self, path: &ObjectPath) -> object_store::Result<MultipartId> {
        repeated(|| self.0.create_multipart(path)).await
    }

    async fn put_part(
        &self,
        path: &ObjectPath,
        id: &MultipartId,
        part: usize,
        bytes: PutPayload,
    ) -> object_store::Result<PartId> {
        self.0.put_part(path, id, part, bytes).await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> object_store::Result<PutResult> {
        self.0.complete_multipart(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &ObjectPath, id: &MultipartId) -> object_store::Result<()> {
        repeated(|| self.0.abort_multipart(path, id)).await
    }
}

/// Refuses a file of credentials that the client could not use, in words that show nothing of it.
fn check_file(path: &Path, named_by: &str) -> Result<(), StorageError> {
    let invalid = |reason: String| StorageError::InvalidSetting {
        setting: format!("`{named_by}`, file `{}`,", path.display()),
        reason,
    };
    let text = std::fs::read(path).map_err(|error| invalid(format!("it cannot be read: {error}")))?;
    let Ok(file) = serde_json::from_slice::<CredentialsFile>(&text) else {
        return Err(invalid("it is no JSON with a `type`".to_owned()));
    };
    match file.kind.as_str() {
        "service_account" | "authorized_user" => Ok(()),
        other => Err(invalid(format!(
            "credentials of type `{other}` are not supported, allowed are `service_account` and `authorized_user`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use backsight_proto::ErrorCode;

    use super::{GoogleSettings, Identity};
    use crate::{Location, StorageError, StorageOptions};

    fn options(environment: &[(&str, &str)]) -> StorageOptions {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        StorageOptions { environment, ..StorageOptions::default() }
    }

    fn decide(options: &StorageOptions) -> Result<GoogleSettings, StorageError> {
        GoogleSettings::decide(&Location::parse("gs://b/k", Path::new("/"), None).unwrap(), options)
    }

    #[test]
    fn an_emulator_is_asked_without_credentials() {
        let table = [
            ("localhost:4443", "http://localhost:4443"),
            ("http://h:1/", "http://h:1"),
            ("https://h", "https://h"),
        ];
        for (given, endpoint) in table {
            let environment = [("STORAGE_EMULATOR_HOST", given), ("GOOGLE_APPLICATION_CREDENTIALS", "/key")];
            let settings = decide(&options(&environment)).unwrap();
            assert_eq!(settings.endpoint.as_deref(), Some(endpoint));
            assert_eq!(settings.identity, Identity::Anonymous);
        }
        let error = decide(&options(&[("STORAGE_EMULATOR_HOST", "http://u:hush@h")])).err().unwrap();
        assert!(error.to_string().contains("`STORAGE_EMULATOR_HOST`"), "{error}");
        assert!(!format!("{error:?}").contains("hush"));
    }

    #[test]
    fn who_we_are_is_looked_for_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_owned();
        let identity = |environment: &[(&str, &str)], home: &Path| {
            let options = StorageOptions { home: Some(home.to_owned()), ..options(environment) };
            decide(&options).map(|settings| settings.identity)
        };
        assert_eq!(identity(&[], &home).unwrap(), Identity::MetadataService);
        let error = identity(&[("NO_GCE_CHECK", "true")], &home).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AccessDenied);
        assert!(error.hint().unwrap().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error:?}");
        let gcloud = home.join(".config/gcloud");
        std::fs::create_dir_all(&gcloud).unwrap();
        let login = gcloud.join(super::LOGIN_FILE);
        std::fs::write(&login, "{}").unwrap();
        let by_login = Identity::File { path: login, named_by: "gcloud" };
        assert_eq!(identity(&[], &home).unwrap(), by_login);
        let elsewhere = [("CLOUDSDK_CONFIG", gcloud.to_str().unwrap())];
        assert_eq!(identity(&elsewhere, Path::new("/nowhere")).unwrap(), by_login);
        let key = [("GOOGLE_APPLICATION_CREDENTIALS", "/key.json")];
        let by_key =
            Identity::File { path: PathBuf::from("/key.json"), named_by: "GOOGLE_APPLICATION_CREDENTIALS" };
        assert_eq!(identity(&key, &home).unwrap(), by_key);
        let public = identity(&[("GOOGLE_SKIP_SIGNATURE", "true"), key[0]], &home).unwrap();
        assert_eq!(public, Identity::Anonymous);
    }

    #[test]
    fn a_file_that_is_of_no_use_is_refused_by_name_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        let table = [
            (None, "it cannot be read"),
            (Some("hush"), "it is no JSON with a `type`"),
            (
                Some(r#"{"type": "external_account", "token": "hush"}"#),
                "`external_account` are not supported",
            ),
            (Some(r#"{"type": "service_account", "private_key": "hush"}"#), "for bucket `b`"),
        ];
        for (content, reason) in table {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let options = options(&[("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())]);
            let error = decide(&options).unwrap().build("b", &options).err().unwrap();
            assert_eq!(error.code(), ErrorCode::Usage, "{error:?}");
            assert!(error.to_string().contains(reason), "{error}");
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }
}
