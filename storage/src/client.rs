//! What the clients of all clouds have in common: limits of time, repeats, and how a setting of two values is read.

use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use crate::{StorageError, StorageOptions};

/// Time limits, and whether plain HTTP may be used.
pub(crate) fn client_options(options: &StorageOptions, allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_timeout(options.request_timeout)
        .with_connect_timeout(options.connect_timeout)
        .with_allow_http(allow_http)
}

/// How requests are repeated.
pub(crate) fn retry_config(options: &StorageOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: options.retries_max,
        retry_timeout: options.retry_timeout,
    }
}

/// A client that could not be made, for the bucket called so.
pub(crate) fn not_built(bucket: &str) -> impl Fn(object_store::Error) -> StorageError {
    move |error| StorageError::InvalidSetting {
        setting: format!("for bucket `{bucket}`"),
        reason: error.to_string(),
    }
}

/// A setting that is `true` or `false`.
pub(crate) fn flag(options: &StorageOptions, name: &str) -> Result<bool, StorageError> {
    match options.setting(name).map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0" | "no" | "off") => Ok(false),
        Some("true" | "1" | "yes" | "on") => Ok(true),
        Some(other) => Err(StorageError::InvalidSetting {
            setting: format!("`{name}`"),
            reason: format!("it is `{other}`, allowed are `true` and `false`"),
        }),
    }
}
