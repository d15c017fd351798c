//! What can go wrong with bytes, in words for a user, with a class and an advice.

use std::fmt;
use std::path::PathBuf;

use backsight_proto::ErrorCode;

use crate::Location;
use crate::place::{OBJECT_STORE_SCHEMES, Place};

/// A failure of storage. Its message names the location; it never holds a secret, nor what a server echoes of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A scheme that nothing here knows.
    #[error(
        "location `{given}` has the scheme `{scheme}`, allowed are {}, `file://` and local paths",
        OBJECT_STORE_SCHEMES
    )]
    UnknownScheme {
        /// The location as given.
        given: String,
        /// Its scheme.
        scheme: String,
    },
    /// Text that is no location.
    #[error("location `{given}` is not valid: {reason}")]
    InvalidLocation {
        /// The location as given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Settings of storage that contradict each other or cannot be read.
    #[error("storage setting {setting} is not valid: {reason}")]
    InvalidSetting {
        /// Which setting, and where it comes from.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A local location that the service may not touch.
    #[error("`{location}` is outside of the allowed folders {}", quoted(roots))]
    NotAllowed {
        /// The location.
        location: Location,
        /// What is allowed.
        roots: Vec<PathBuf>,
    },
    /// A file, object or bucket that does not exist.
    #[error("{kind} `{location}` does not exist")]
    NotFound {
        /// `file`, `object`, `upload of`, `bucket of` or `container of`.
        kind: &'static str,
        /// The location.
        location: Location,
    },
    /// A folder or pattern below which nothing is.
    #[error("nothing to read at `{location}`: {looked_for}")]
    NothingFound {
        /// The file, folder or pattern.
        location: Location,
        /// What was looked for.
        looked_for: String,
    },
    /// No credentials, although the store wants some.
    #[error("no credentials for `{location}`")]
    NoCredentials {
        /// The location.
        location: Location,
        /// Where we looked.
        looked_in: String,
    },
    /// The store or file system knows us, and says no.
    #[error("access to `{location}` is denied")]
    AccessDenied {
        /// The location.
        location: Location,
        /// What the store said.
        source: Cause,
    },
    /// The bucket lives somewhere else.
    #[error("the bucket of `{location}` is not in the configured region or at the configured endpoint")]
    WrongRegion {
        /// The location.
        location: Location,
        /// What the store said.
        source: Cause,
    },
    /// The store could not be reached, or failed on its side, after all retries.
    #[error("cannot reach `{location}`")]
    Unreachable {
        /// The location.
        location: Location,
        /// What happened.
        source: Cause,
    },
    /// Another process holds the lock for too long.
    #[error(
        "cannot write `{location}`: another process has been writing in its folder for {waited_seconds} s"
    )]
    Locked {
        /// The location.
        location: Location,
        /// How long we waited.
        waited_seconds: u64,
    },
    /// Somebody else wrote first.
    #[error("`{location}` {what}")]
    Conflict {
        /// The location.
        location: Location,
        /// What was found instead of what was expected.
        what: &'static str,
    },
    /// No space, a quota, or a size limit.
    #[error("no room to write `{location}`")]
    Full {
        /// The location.
        location: Location,
        /// What the store said.
        source: Cause,
    },
    /// A store that does not do conditional writes right: two writers would lose updates.
    #[error("the store of `{location}` cannot hold a registry safely: {finding}")]
    ConditionsIgnored {
        /// Where it was tried.
        location: Location,
        /// Which condition it got wrong.
        finding: &'static str,
    },
    /// A request that the store does not understand or refuses as malformed.
    #[error("the store refuses a request for `{location}`")]
    Refused {
        /// The location.
        location: Location,
        /// What the store said.
        source: Cause,
    },
    /// A failure of reading or writing that has no name of its own.
    #[error("cannot read or write `{location}`")]
    Io {
        /// The location.
        location: Location,
        /// What the system said.
        source: Cause,
    },
}

impl StorageError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownScheme { .. }
            | Self::InvalidLocation { .. }
            | Self::InvalidSetting { .. }
            | Self::NotAllowed { .. }
            | Self::WrongRegion { .. }
            | Self::ConditionsIgnored { .. }
            | Self::Refused { .. } => ErrorCode::Usage,
            Self::NotFound { .. } | Self::NothingFound { .. } => ErrorCode::NotFound,
            Self::NoCredentials { .. } | Self::AccessDenied { .. } => ErrorCode::AccessDenied,
            Self::Unreachable { .. } | Self::Locked { .. } | Self::Io { .. } => ErrorCode::Unreachable,
            Self::Conflict { .. } => ErrorCode::Conflict,
            Self::Full { .. } => ErrorCode::Limit,
        }
    }

    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownScheme { scheme, .. } if scheme == "s3a" || scheme == "s3n" => {
                "write `s3://` instead".to_owned()
            }
            Self::UnknownScheme { scheme, .. } if scheme == "adl" => {
                "this first kind of Data Lake Storage has ended; write `abfss://container@account.dfs.core.windows.net/…`"
                    .to_owned()
            }
            Self::UnknownScheme { scheme, .. } if scheme == "http" || scheme == "https" => {
                "of web addresses only `https://account.blob.core.windows.net/container/…` is a location".to_owned()
            }
            Self::UnknownScheme { .. } => return None,
            Self::InvalidLocation { .. } | Self::InvalidSetting { .. } => return None,
            Self::NotAllowed { .. } => {
                "name an object store, or start scheduler and executors with `--allow-dir` for a folder that holds it"
                    .to_owned()
            }
            Self::NotFound { kind: "bucket of", .. } => {
                "check the bucket's name and the endpoint; buckets are never created".to_owned()
            }
            Self::NotFound { kind: "container of", .. } => {
                "check the names of account and container; containers are never created".to_owned()
            }
            Self::NotFound { kind: "upload of", .. } => {
                "what is not committed within a week is gone: run it again with another output".to_owned()
            }
            Self::NotFound { .. } => return None,
            Self::NothingFound { .. } => {
                "names that start with `_` or `.` are skipped, and a folder is searched at any depth".to_owned()
            }
            Self::NoCredentials { location, looked_in } => {
                format!("looked in {looked_in}; {}; retrying will not help", how_to_identify(location))
            }
            Self::AccessDenied { location, .. } if location.is_local() => {
                "check the owner and mode of the file and its folder; retrying will not help".to_owned()
            }
            Self::AccessDenied { location, .. } => {
                let whole = if matches!(location.place(), Place::Azure { .. }) { "container" } else { "bucket" };
                format!("check the credentials and their rights on the {whole}; retrying will not help")
            }
            Self::WrongRegion { .. } => {
                "set `AWS_REGION`, or `region` under `backsight.s3` in feature_store.yaml, to the bucket's region".to_owned()
            }
            Self::Unreachable { location, .. } if location.is_local() => "a later try may succeed".to_owned(),
            Self::Unreachable { location, .. } => match location.place() {
                Place::Azure { .. } => {
                    "check the account's name and the network; a later try may succeed".to_owned()
                }
                Place::Google { .. } => "check the network; a later try may succeed".to_owned(),
                Place::S3 { .. } | Place::Local => {
                    "check that the endpoint is right and up; a later try may succeed".to_owned()
                }
            },
            Self::Locked { .. } => "wait until the other process is done, then try again".to_owned(),
            Self::Conflict { .. } => "read it again and decide anew".to_owned(),
            Self::Full { .. } => "free some space or raise the quota, then try again".to_owned(),
            Self::ConditionsIgnored { .. } => {
                "keep the registry on Amazon S3, Google Cloud Storage, Azure, another store with conditional puts, or a \
                 file system"
                    .to_owned()
            }
            Self::Refused { .. } | Self::Io { .. } => return None,
        };
        Some(hint)
    }

    /// The location that the failure is about, if the text given was one at all.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::UnknownScheme { .. } | Self::InvalidLocation { .. } | Self::InvalidSetting { .. } => None,
            Self::NotAllowed { location, .. }
            | Self::NotFound { location, .. }
            | Self::NothingFound { location, .. }
            | Self::NoCredentials { location, .. }
            | Self::AccessDenied { location, .. }
            | Self::WrongRegion { location, .. }
            | Self::Unreachable { location, .. }
            | Self::Locked { location, .. }
            | Self::Conflict { location, .. }
            | Self::Full { location, .. }
            | Self::ConditionsIgnored { location, .. }
            | Self::Refused { location, .. }
            | Self::Io { location, .. } => Some(location),
        }
    }
}

/// What lies under a [`StorageError`], in one line: the store's error code and message, or the system's.
///
/// It is text made by us and not the client's error: that one carries the server's whole answer, and servers echo
/// key ids and signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(pub(crate) String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// Which settings say who we are.
fn how_to_identify(location: &Location) -> &'static str {
    match location.place() {
        Place::S3 { .. } | Place::Local => {
            "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_SKIP_SIGNATURE=true` for a public bucket"
        }
        Place::Google { .. } => {
            "set `GOOGLE_APPLICATION_CREDENTIALS` to the file of a key, run `gcloud auth application-default login`, or \
             set `GOOGLE_SKIP_SIGNATURE=true` for a public bucket"
        }
        Place::Azure { .. } => {
            "set `AZURE_STORAGE_CONNECTION_STRING`, `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`; or `AZURE_TENANT_ID`, \
             `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET`; or `AZURE_TOKEN_CREDENTIALS=AzureCliCredential` after \
             `az login`; or `AZURE_SKIP_SIGNATURE=true` for a public container"
        }
    }
}

fn quoted(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    quoted.join(", ")
}
