//! How to reach one bucket: decides endpoint, region and identity from the options, then builds the client.

use std::path::PathBuf;

use object_store::Certificate;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use url::Url;

use crate::client::{client_options, flag, not_built, retry_config};
use crate::place::normal_endpoint;
use crate::profile::Profile;
use crate::{Location, StorageError, StorageOptions};

/// What one client needs. Not `Debug`: it holds secrets.
pub(crate) struct S3Settings {
    /// `None` is Amazon's own for the region.
    endpoint: Option<String>,
    region: String,
    allow_http: bool,
    virtual_hosted: bool,
    identity: Identity,
}

/// Who we are to the store.
#[derive(PartialEq, Eq)]
enum Identity {
    Keys {
        access_key: String,
        secret_key: String,
        session_token: Option<String>,
    },
    /// Requests are not signed: a public bucket.
    Anonymous,
    WebToken {
        token_file: String,
        role: String,
    },
    ContainerRelative {
        uri: String,
    },
    ContainerFull {
        uri: String,
        token_file: String,
    },
    InstanceMetadata,
}

/// Settings that go to the client as they are.
const PASSED_ON: [(&str, &str); 6] = [
    ("AWS_SERVER_SIDE_ENCRYPTION", "aws_server_side_encryption"),
    ("AWS_SSE_KMS_KEY_ID", "aws_sse_kms_key_id"),
    ("AWS_SSE_BUCKET_KEY_ENABLED", "aws_sse_bucket_key_enabled"),
    ("AWS_REQUEST_PAYER", "aws_request_payer"),
    ("AWS_UNSIGNED_PAYLOAD", "aws_unsigned_payload"),
    ("AWS_CHECKSUM_ALGORITHM", "aws_checksum_algorithm"),
];

impl S3Settings {
    /// Decides for the bucket of `location`. Pure: reads options and profile only.
    ///
    /// Endpoint: the location's own, `backsight.s3`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the profile's.
    /// Identity: keys in the environment, web identity, the profile's keys, the container's, the machine's.
    pub(crate) fn decide(
        location: &Location,
        options: &StorageOptions,
        profile: &Profile,
    ) -> Result<Self, StorageError> {
        let endpoint = Self::endpoint(location, options, profile)?;
        let region = options.s3.region.clone().filter(|region| !region.is_empty());
        let region = region
            .or_else(|| options.setting("AWS_REGION").map(str::to_owned))
            .or_else(|| options.setting("AWS_DEFAULT_REGION").map(str::to_owned))
            .or_else(|| profile.region.clone())
            .unwrap_or_else(|| "us-east-1".to_owned());
        let is_http = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        if let (true, Some(false), Some(endpoint)) = (is_http, options.s3.allow_http, &endpoint) {
            return Err(StorageError::InvalidSetting {
                setting: "`backsight.s3.allow_http: false`".to_owned(),
                reason: format!("the endpoint `{endpoint}` of `{location}` is plain HTTP"),
            });
        }
        let allow_http = is_http || options.s3.allow_http == Some(true) || flag(options, "AWS_ALLOW_HTTP")?;
        let virtual_hosted = match options.s3.virtual_hosted_style {
            Some(choice) => choice,
            None if options.setting("AWS_VIRTUAL_HOSTED_STYLE_REQUEST").is_some() => {
                flag(options, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST")?
            }
            // A dot in the bucket's name breaks Amazon's certificate for the host name.
            None => endpoint.is_none() && !location.bucket().unwrap_or_default().contains('.'),
        };
        let identity = Self::identity(location, endpoint.is_some(), options, profile)?;
        Ok(Self { endpoint, region, allow_http, virtual_hosted, identity })
    }

    fn endpoint(
        location: &Location,
        options: &StorageOptions,
        profile: &Profile,
    ) -> Result<Option<String>, StorageError> {
        if let Some(own) = location.endpoint() {
            return Ok(Some(own.to_owned()));
        }
        let configured = [
            ("`backsight.s3.endpoint`", options.s3.endpoint.as_deref()),
            ("`AWS_ENDPOINT_URL_S3`", options.setting("AWS_ENDPOINT_URL_S3")),
            ("`AWS_ENDPOINT_URL`", options.setting("AWS_ENDPOINT_URL")),
            ("`endpoint_url` of the AWS profile", profile.endpoint.as_deref()),
        ];
        let first = configured.into_iter().find_map(|(name, value)| {
            value.map(str::trim).filter(|value| !value.is_empty()).map(|value| (name, value))
        });
        let Some((name, value)) = first else { return Ok(None) };
        let endpoint = normal_endpoint(value);
        endpoint.map(Some).map_err(|reason| StorageError::InvalidSetting { setting: name.to_owned(), reason })
    }

    fn identity(
        location: &Location,
        has_endpoint: bool,
        options: &StorageOptions,
        profile: &Profile,
    ) -> Result<Identity, StorageError> {
        let setting = |name: &str| options.setting(name).map(str::to_owned);
        if flag(options, "AWS_SKIP_SIGNATURE")? {
            return Ok(Identity::Anonymous);
        }
        match (setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY")) {
            (Some(access_key), Some(secret_key)) => {
                let session_token = setting("AWS_SESSION_TOKEN");
                return Ok(Identity::Keys { access_key, secret_key, session_token });
            }
            (Some(_), None) => return Err(half_a_key("`AWS_ACCESS_KEY_ID`", "`AWS_SECRET_ACCESS_KEY`")),
            (None, Some(_)) => return Err(half_a_key("`AWS_SECRET_ACCESS_KEY`", "`AWS_ACCESS_KEY_ID`")),
            (None, None) => {}
        }
        if let (Some(token_file), Some(role)) =
            (setting("AWS_WEB_IDENTITY_TOKEN_FILE"), setting("AWS_ROLE_ARN"))
        {
            return Ok(Identity::WebToken { token_file, role });
        }
        match (&profile.access_key, &profile.secret_key) {
            (Some(access_key), Some(secret_key)) => {
                return Ok(Identity::Keys {
                    access_key: access_key.clone(),
                    secret_key: secret_key.clone(),
                    session_token: profile.session_token.clone(),
                });
            }
            (Some(_), None) => return Err(half_a_key("`aws_access_key_id`", "`aws_secret_access_key`")),
            _ => {}
        }
        let name = Profile::name(options);
        if let Some(key) = profile.unsupported {
            return Err(StorageError::InvalidSetting {
                setting: format!("AWS profile `{name}`"),
                reason: format!(
                    "it gets its credentials by `{key}`, which is not supported; export them as variables"
                ),
            });
        }
        if !profile.exists && name != "default" {
            return Err(StorageError::InvalidSetting {
                setting: "`AWS_PROFILE`".to_owned(),
                reason: format!("no profile `{name}` in {}", file_names(options)),
            });
        }
        if let Some(uri) = setting("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return Ok(Identity::ContainerRelative { uri });
        }
        let full = (
            setting("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
            setting("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        );
        if let (Some(uri), Some(token_file)) = full {
            return Ok(Identity::ContainerFull { uri, token_file });
        }
        // Behind an own endpoint there is hardly a machine of Amazon's: asking its metadata service would only hang.
        if has_endpoint || flag(options, "AWS_EC2_METADATA_DISABLED")? {
            return Err(StorageError::NoCredentials {
                location: location.clone(),
                looked_in: format!("the environment and {}", file_names(options)),
            });
        }
        Ok(Identity::InstanceMetadata)
    }

    /// Builds the client for `bucket`.
    pub(crate) fn build(self, bucket: &str, options: &StorageOptions) -> Result<AmazonS3, StorageError> {
        let invalid = not_built(bucket);
        let mut client = client_options(options, self.allow_http);
        if let Some(path) = options.setting("AWS_CA_BUNDLE") {
            let unreadable = |reason: String| StorageError::InvalidSetting {
                setting: format!("`AWS_CA_BUNDLE={path}`"),
                reason,
            };
            let pem = std::fs::read(PathBuf::from(path)).map_err(|error| unreadable(error.to_string()))?;
            for certificate in
                Certificate::from_pem_bundle(&pem).map_err(|error| unreadable(error.to_string()))?
            {
                client = client.with_root_certificate(certificate);
            }
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(self.region)
            .with_client_options(client)
            .with_retry(retry_config(options))
            .with_virtual_hosted_style_request(self.virtual_hosted);
        if let Some(endpoint) = self.endpoint {
            let endpoint = if self.virtual_hosted { host_with_bucket(&endpoint, bucket) } else { endpoint };
            builder = builder.with_endpoint(endpoint);
        }
        for (setting, key) in PASSED_ON {
            if let Some(value) = options.setting(setting) {
                let key: AmazonS3ConfigKey = key.parse().map_err(&invalid)?;
                builder = builder.with_config(key, value);
            }
        }
        let with =
            |builder: AmazonS3Builder, key: AmazonS3ConfigKey, value: String| builder.with_config(key, value);
        builder = match self.identity {
            Identity::Keys { access_key, secret_key, session_token } => {
                let builder = builder.with_access_key_id(access_key).with_secret_access_key(secret_key);
                match session_token {
                    Some(token) => builder.with_token(token),
                    None => builder,
                }
            }
            Identity::Anonymous => builder.with_skip_signature(true),
            Identity::WebToken { token_file, role } => {
                let mut builder = with(builder, AmazonS3ConfigKey::WebIdentityTokenFile, token_file);
                builder = with(builder, AmazonS3ConfigKey::RoleArn, role);
                if let Some(name) = options.setting("AWS_ROLE_SESSION_NAME") {
                    builder = with(builder, AmazonS3ConfigKey::RoleSessionName, name.to_owned());
                }
                match options.setting("AWS_ENDPOINT_URL_STS") {
                    Some(sts) => with(builder, AmazonS3ConfigKey::StsEndpoint, sts.to_owned()),
                    None => builder,
                }
            }
            Identity::ContainerRelative { uri } => {
                with(builder, AmazonS3ConfigKey::ContainerCredentialsRelativeUri, uri)
            }
            Identity::ContainerFull { uri, token_file } => {
                let builder = with(builder, AmazonS3ConfigKey::ContainerCredentialsFullUri, uri);
                with(builder, AmazonS3ConfigKey::ContainerAuthorizationTokenFile, token_file)
            }
            Identity::InstanceMetadata => builder,
        };
        builder.build().map_err(invalid)
    }
}

fn half_a_key(has: &str, lacks: &str) -> StorageError {
    StorageError::InvalidSetting { setting: has.to_owned(), reason: format!("it is set without {lacks}") }
}

/// The names of the profile files, for messages.
fn file_names(options: &StorageOptions) -> String {
    let (credentials, config) = Profile::files(options);
    let names: Vec<String> =
        [credentials, config].iter().flatten().map(|path| format!("`{}`", path.display())).collect();
    if names.is_empty() { "no profile file (no home folder is known)".to_owned() } else { names.join(", ") }
}

/// `http://host:9000` becomes `http://bucket.host:9000`, unless it has the bucket already.
fn host_with_bucket(endpoint: &str, bucket: &str) -> String {
    let Ok(mut url) = Url::parse(endpoint) else { return endpoint.to_owned() };
    let host = url.host_str().unwrap_or_default().to_owned();
    if host.starts_with(&format!("{bucket}.")) || url.set_host(Some(&format!("{bucket}.{host}"))).is_err() {
        return endpoint.to_owned();
    }
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use backsight_proto::ErrorCode;

    use super::{Identity, S3Settings, host_with_bucket};
    use crate::profile::Profile;
    use crate::{Location, S3Options, StorageError, StorageOptions};

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    fn options(environment: &[(&str, &str)]) -> StorageOptions {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        StorageOptions { environment, ..StorageOptions::default() }
    }

    fn decide(
        options: &StorageOptions,
        own: Option<&str>,
        profile: &Profile,
    ) -> Result<S3Settings, StorageError> {
        S3Settings::decide(&Location::parse("s3://b/k", Path::new("/"), own).unwrap(), options, profile)
    }

    fn failure(result: Result<S3Settings, StorageError>) -> StorageError {
        result.err().unwrap()
    }

    #[test]
    fn the_nearest_endpoint_wins() {
        let mut options = options(&KEYS);
        let profile = Profile { endpoint: Some("http://profile".to_owned()), ..Profile::default() };
        let endpoint =
            |options: &StorageOptions, own| decide(options, own, &profile).unwrap().endpoint.unwrap();
        assert_eq!(endpoint(&options, None), "http://profile");
        options.environment.push(("AWS_ENDPOINT_URL".to_owned(), "http://all/".to_owned()));
        assert_eq!(endpoint(&options, None), "http://all");
        options.environment.push(("AWS_ENDPOINT_URL_S3".to_owned(), "http://s3".to_owned()));
        assert_eq!(endpoint(&options, None), "http://s3");
        options.s3.endpoint = Some("http://yaml".to_owned());
        assert_eq!(endpoint(&options, None), "http://yaml");
        assert_eq!(endpoint(&options, Some("http://own")), "http://own");
        assert!(decide(&super::tests::options(&KEYS), None, &Profile::default()).unwrap().endpoint.is_none());
    }

    #[test]
    fn plain_http_follows_the_endpoint_unless_forbidden() {
        let mut options = options(&KEYS);
        assert!(!decide(&options, None, &Profile::default()).unwrap().allow_http);
        assert!(decide(&options, Some("http://h"), &Profile::default()).unwrap().allow_http);
        options.s3.allow_http = Some(false);
        let error = failure(decide(&options, Some("http://h"), &Profile::default()));
        assert_eq!(error.code(), ErrorCode::Usage);
        assert!(error.to_string().contains("plain HTTP"), "{error}");
    }

    #[test]
    fn own_endpoints_take_the_bucket_in_the_path_and_amazon_in_the_host() {
        let mut options = options(&KEYS);
        assert!(decide(&options, None, &Profile::default()).unwrap().virtual_hosted);
        assert!(!decide(&options, Some("http://h"), &Profile::default()).unwrap().virtual_hosted);
        options.s3 = S3Options { virtual_hosted_style: Some(true), ..S3Options::default() };
        assert!(decide(&options, Some("http://h"), &Profile::default()).unwrap().virtual_hosted);
        assert_eq!(host_with_bucket("http://h:9000", "b"), "http://b.h:9000");
        assert_eq!(host_with_bucket("http://b.h:9000", "b"), "http://b.h:9000");
    }

    #[test]
    fn the_environment_wins_over_the_profile() {
        let profile = Profile {
            access_key: Some("p".to_owned()),
            secret_key: Some("q".to_owned()),
            region: Some("eu-west-1".to_owned()),
            exists: true,
            ..Profile::default()
        };
        let both = decide(&options(&KEYS), None, &profile).unwrap();
        assert!(matches!(both.identity, Identity::Keys { access_key, .. } if access_key == "id"));
        assert_eq!(both.region, "eu-west-1");
        let settings = decide(&options(&[("AWS_REGION", "us-west-2")]), None, &profile).unwrap();
        assert!(matches!(settings.identity, Identity::Keys { access_key, .. } if access_key == "p"));
        assert_eq!(settings.region, "us-west-2");
    }

    #[test]
    fn nothing_waits_for_a_metadata_service_that_cannot_be_there() {
        let none = Profile::default();
        for (environment, own) in
            [(options(&[]), Some("http://h")), (options(&[("AWS_EC2_METADATA_DISABLED", "true")]), None)]
        {
            let error = failure(decide(&environment, own, &none));
            assert_eq!(error.code(), ErrorCode::AccessDenied, "{error:?}");
            assert!(error.hint().unwrap().contains("AWS_ACCESS_KEY_ID"));
        }
        let on_amazon = decide(&options(&[]), None, &none).unwrap();
        assert!(on_amazon.identity == Identity::InstanceMetadata);
        let public = decide(&options(&[("AWS_SKIP_SIGNATURE", "true")]), Some("http://h"), &none).unwrap();
        assert!(public.identity == Identity::Anonymous);
        let hinted = options(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn")]);
        let hinted = decide(&hinted, Some("http://h"), &none).unwrap();
        assert!(matches!(hinted.identity, Identity::WebToken { .. }));
    }

    #[test]
    fn half_a_key_an_unknown_profile_and_an_odd_flag_are_refused_by_name() {
        let table = [
            (options(&KEYS[..1]), "`AWS_SECRET_ACCESS_KEY`"),
            (options(&[("AWS_PROFILE", "nobody")]), "no profile `nobody`"),
            (options(&[KEYS[0], KEYS[1], ("AWS_ALLOW_HTTP", "maybe")]), "`maybe`"),
            (options(&[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", "ftp://h")]), "`AWS_ENDPOINT_URL`"),
        ];
        for (options, part) in table {
            let error = failure(decide(&options, None, &Profile::default()));
            assert!(error.to_string().contains(part), "{error}");
            assert!(!format!("{error:?}").contains("secret\""), "{error:?}");
        }
    }
}
