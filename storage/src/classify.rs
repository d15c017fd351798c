//! Which failure a client's error is: reads the chain of causes and finds the class.
//!
//! `object_store` keeps the type of its HTTP failures private, so status and code of an answer are read from its text;
//! failures of the network and the file system are found by type.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use crate::error::Cause;
use crate::place::Place;
use crate::{Location, StorageError};

impl StorageError {
    /// The failure that `error`, met at `location`, means to a user.
    pub fn classify(location: &Location, error: object_store::Error) -> Self {
        let evidence = Evidence::gather(&error);
        evidence.judge(location, &error)
    }

    /// The failure that an operation of the file system, met at `location`, means to a user.
    ///
    /// Writers of the client hand its own errors on inside of those.
    pub fn classify_io(location: &Location, error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<object_store::Error>());
        if let Some(inner) = inner {
            return Evidence::gather(inner).judge(location, inner);
        }
        Evidence { io: Some(IoEvidence::of(error)), ..Evidence::default() }.of_io(location)
    }
}

/// Codes by which a store says that it does not accept who we are or what we want.
const DENIED: [&str; 21] = [
    "AccessDenied",
    "AccessForbidden",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnauthorizedAccess",
    "InvalidClientTokenId",
    // Google's.
    "UserProjectMissing",
    // Azure's, where the status does not say it.
    "BlobImmutableDueToPolicy",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
    "PublicAccessNotPermitted",
];

/// Where machines of the clouds get credentials.
const METADATA_SERVICES: [&str; 3] = ["169.254.169.254", "fd00:ec2::254", "metadata.google.internal"];

/// A cause longer than this is cut.
const CAUSE_LENGTH_MAX: usize = 500;

/// What a chain of causes says.
#[derive(Debug, Default)]
struct Evidence {
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    host: Option<String>,
    transport: Option<HttpErrorKind>,
    io: Option<IoEvidence>,
    /// What the causes say, outermost first, each once.
    story: String,
    /// What the innermost cause says.
    deepest: String,
    is_bare_redirect: bool,
    is_metadata_service: bool,
    /// A service that gives out tokens was asked, not the store.
    is_token_request: bool,
}

#[derive(Debug)]
struct IoEvidence {
    kind: io::ErrorKind,
    text: String,
}

impl IoEvidence {
    fn of(error: &io::Error) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }
}

impl Evidence {
    fn gather(error: &object_store::Error) -> Self {
        let mut evidence = Self::default();
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(cause) = next {
            evidence.add(cause);
            next = cause.source();
        }
        evidence
    }

    fn add(&mut self, cause: &(dyn Error + 'static)) {
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            self.transport = Some(http.kind());
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            self.io = Some(IoEvidence::of(io));
        }
        let text = cause.to_string();
        if let Some(answer) = text.split_once("status code: ").map(|(_, answer)| answer) {
            self.status = answer.get(..3).and_then(|digits| digits.parse().ok()).or(self.status);
        }
        self.code = element(&text, "Code").or(self.code.take());
        // Azure's goes on with an id and a time.
        let message = element(&text, "Message").and_then(|message| message.lines().next().map(str::to_owned));
        self.message = message.or(self.message.take());
        self.host = self.host.take().or_else(|| host_in(&text));
        self.is_bare_redirect |= text.contains("redirect without LOCATION");
        self.is_metadata_service |= METADATA_SERVICES.iter().any(|service| text.contains(service));
        self.is_token_request |= text.contains("Error performing token request");
        // Most causes repeat in their text the one below.
        if !self.story.contains(&text) {
            let separator = if self.story.is_empty() { "" } else { ": " };
            self.story = format!("{}{separator}{text}", self.story);
        }
        self.deepest = text;
    }

    fn judge(self, location: &Location, error: &object_store::Error) -> StorageError {
        use object_store::Error as E;
        let location = location.clone();
        if self.is_metadata_service {
            let looked_in = match location.place() {
                Place::Google { .. } => "the environment, gcloud's folder, and the metadata service",
                Place::Azure { .. } => "the environment, and the managed identity of this machine",
                Place::S3 { .. } | Place::Local => {
                    "the environment, the profile files, and the instance metadata service"
                }
            };
            return StorageError::NoCredentials { location, looked_in: looked_in.to_owned() };
        }
        if location.is_local() && self.io.is_some() {
            return self.of_io(&location);
        }
        let source = self.cause();
        let code = self.code.as_deref().unwrap_or_default();
        if matches!(code, "PermanentRedirect" | "IllegalLocationConstraintException")
            || self.is_bare_redirect
            || matches!(self.status, Some(301 | 307))
            || (code == "AuthorizationHeaderMalformed"
                && self.message.as_ref().is_some_and(|m| m.contains("region")))
        {
            return StorageError::WrongRegion { location, source };
        }
        match (code, self.status) {
            ("NoSuchBucket", _) => return StorageError::NotFound { kind: "bucket of", location },
            ("ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled", _) => {
                return StorageError::NotFound { kind: "container of", location };
            }
            // Google says the second with no other sign; Azure the first of blocks that are committed, or were dropped.
            ("InvalidBlockList" | "NoSuchUpload", _) => {
                return StorageError::NotFound { kind: "upload of", location };
            }
            (_, Some(400..=499)) if self.is_token_request && !matches!(self.status, Some(408 | 429)) => {
                return StorageError::AccessDenied { location, source };
            }
            ("QuotaExceeded" | "XMinioStorageFull" | "EntityTooLarge" | "InsufficientStorage", _)
            | (_, Some(507)) => {
                return StorageError::Full { location, source };
            }
            (code, status) if DENIED.contains(&code) || matches!(status, Some(401 | 403)) => {
                return StorageError::AccessDenied { location, source };
            }
            _ => {}
        }
        match error {
            E::NotFound { .. } => StorageError::NotFound { kind: kind_of(&location), location },
            E::AlreadyExists { .. } => StorageError::Conflict { location, what: "exists already" },
            E::Precondition { .. } | E::NotModified { .. } => {
                StorageError::Conflict { location, what: "was changed by somebody else" }
            }
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                StorageError::AccessDenied { location, source }
            }
            E::InvalidPath { .. } | E::NotSupported { .. } | E::NotImplemented { .. } => {
                StorageError::Refused { location, source }
            }
            _ => match self.status {
                Some(400..=499) if !matches!(self.status, Some(408 | 429)) => {
                    StorageError::Refused { location, source }
                }
                Some(_) => StorageError::Unreachable { location, source },
                None if self.transport.is_some() => StorageError::Unreachable { location, source },
                // Not `of_io`: a missing file here is one that the client wanted, such as a token, and not the object.
                None => StorageError::Io { location, source },
            },
        }
    }

    fn of_io(self, location: &Location) -> StorageError {
        let location = location.clone();
        let Some(io) = self.io else {
            return StorageError::Io { location, source: Cause(self.story) };
        };
        let source = Cause(io.text);
        match io.kind {
            io::ErrorKind::NotFound => StorageError::NotFound { kind: kind_of(&location), location },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StorageError::AccessDenied { location, source }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StorageError::Full { location, source }
            }
            io::ErrorKind::AlreadyExists => StorageError::Conflict { location, what: "exists already" },
            io::ErrorKind::TimedOut
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::StaleNetworkFileHandle => StorageError::Unreachable { location, source },
            io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidFilename => {
                StorageError::Refused { location, source }
            }
            _ => StorageError::Io { location, source },
        }
    }

    /// One line that says what the store or the network said.
    fn cause(&self) -> Cause {
        let mut text = match (&self.code, &self.message, self.status) {
            (Some(code), Some(message), _) => format!("{code}: {message}"),
            (Some(code), None, _) => code.clone(),
            (None, _, Some(status)) => format!("the server answered with status {status}"),
            (None, _, None) if self.transport.is_some() => self.deepest.clone(),
            (None, _, None) => self.story.chars().take(CAUSE_LENGTH_MAX).collect(),
        };
        if self.is_token_request {
            text = format!("no token is given: {text}");
        }
        if let Some(host) = &self.host {
            text = format!("{host}: {text}");
        }
        Cause(text)
    }
}

/// Whether a request was sent, or may have been, and got no answer at all.
pub(crate) fn is_unanswered(error: &object_store::Error) -> bool {
    let evidence = Evidence::gather(error);
    evidence.status.is_none() && evidence.transport.is_some()
}

fn kind_of(location: &Location) -> &'static str {
    if location.is_local() { "file" } else { "object" }
}

/// The text of an XML element, if it is there and plain.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let is_plain = !text.is_empty() && !text.contains('<') && text.len() < 400;
    is_plain.then(|| text.trim().to_owned())
}

/// The scheme, host and port of the first URL in a message, without its path and query.
fn host_in(text: &str) -> Option<String> {
    let start = text.find("http://").or_else(|| text.find("https://"))?;
    let url = url::Url::parse(text.get(start..)?.split_whitespace().next()?).ok()?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", url.scheme(), url.host_str()?))
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io;
    use std::path::Path;

    use backsight_proto::ErrorCode;

    use crate::{Location, StorageError};

    fn generic(source: impl Into<Box<dyn Error + Send + Sync>>) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: source.into() }
    }

    fn classify(text: &str, error: object_store::Error) -> StorageError {
        StorageError::classify(&Location::parse(text, Path::new("/"), None).unwrap(), error)
    }

    fn answer(status: &str, code: &str) -> object_store::Error {
        generic(format!(
            "Error performing PUT http://h:9000/b/k?x=1 in 3ms - Server returned non-2xx status code: {status}: \
             <Error><Code>{code}</Code><Message>words</Message><AWSAccessKeyId>hush</AWSAccessKeyId></Error>"
        ))
    }

    #[test]
    fn system_errors_have_their_class() {
        // 28 is ENOSPC, 122 EDQUOT, 13 EACCES, 30 EROFS, 2 ENOENT, 5 EIO, 21 EISDIR.
        let table = [
            (28, ErrorCode::Limit),
            (122, ErrorCode::Limit),
            (13, ErrorCode::AccessDenied),
            (30, ErrorCode::AccessDenied),
            (2, ErrorCode::NotFound),
            (5, ErrorCode::Unreachable),
            (21, ErrorCode::Usage),
        ];
        for (number, code) in table {
            let error = classify("/x", generic(io::Error::from_raw_os_error(number)));
            assert_eq!(error.code(), code, "{error:?}");
            let nested = io::Error::other(generic(io::Error::from_raw_os_error(number)));
            assert_eq!(classify("/x", generic(nested)).code(), code, "deeper down");
            let written = io::Error::other(generic(io::Error::from_raw_os_error(number)));
            let place = Location::parse("/x", Path::new("/"), None).unwrap();
            assert_eq!(StorageError::classify_io(&place, &written).code(), code, "through a writer");
        }
    }

    #[test]
    fn answers_of_a_server_have_their_class_and_show_nothing_it_echoes() {
        let table = [
            ("403 Forbidden", "InvalidAccessKeyId", ErrorCode::AccessDenied),
            ("403 Forbidden", "SignatureDoesNotMatch", ErrorCode::AccessDenied),
            ("400 Bad Request", "ExpiredToken", ErrorCode::AccessDenied),
            ("401 Unauthorized", "Whatever", ErrorCode::AccessDenied),
            ("404 Not Found", "NoSuchBucket", ErrorCode::NotFound),
            ("503 Service Unavailable", "SlowDown", ErrorCode::Unreachable),
            ("429 Too Many Requests", "TooMany", ErrorCode::Unreachable),
            ("507 Insufficient Storage", "Whatever", ErrorCode::Limit),
            ("400 Bad Request", "QuotaExceeded", ErrorCode::Limit),
            ("301 Moved Permanently", "PermanentRedirect", ErrorCode::Usage),
            ("400 Bad Request", "InvalidArgument", ErrorCode::Usage),
        ];
        for (status, name, code) in table {
            let error = classify("s3://b/k", answer(status, name));
            assert_eq!(error.code(), code, "{status} {name}: {error:?}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
            assert!(error.to_string().contains("`s3://b/k`"), "{error}");
        }
        let error = classify("s3://b/k", answer("403 Forbidden", "SignatureDoesNotMatch"));
        assert_eq!(error.source().unwrap().to_string(), "http://h:9000: SignatureDoesNotMatch: words");
        assert!(error.hint().unwrap().contains("retrying will not help"));
    }

    #[test]
    fn azure_and_google_are_understood() {
        let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>CODE</Code><Message>Words.\n\
                    RequestId:1\nTime:2</Message><AuthenticationErrorDetail>hush</AuthenticationErrorDetail></Error>";
        let table = [
            ("az://c/k", "403 Forbidden", "AuthenticationFailed", ErrorCode::AccessDenied),
            ("az://c/k", "409 Conflict", "PublicAccessNotPermitted", ErrorCode::AccessDenied),
            ("az://c/k", "404 Not Found", "ContainerNotFound", ErrorCode::NotFound),
            ("az://c/k", "400 Bad Request", "InvalidBlockList", ErrorCode::NotFound),
            ("az://c/k", "503 Service Unavailable", "ServerBusy", ErrorCode::Unreachable),
            ("gs://b/k", "400 Bad Request", "UserProjectMissing", ErrorCode::AccessDenied),
            ("gs://b/k", "429 Too Many Requests", "SlowDown", ErrorCode::Unreachable),
        ];
        for (place, status, code, expected) in table {
            let text =
                format!("Server returned non-2xx status code: {status}: {}", body.replace("CODE", code));
            let error = classify(place, generic(text));
            assert_eq!(error.code(), expected, "{code}: {error:?}");
            let shown = format!("{error:?} {:?}", error.hint());
            assert!(!shown.contains("hush") && !shown.contains("RequestId"), "{shown}");
            assert!(!shown.contains("AWS_"), "hints fit the cloud: {shown}");
        }
        let refused = "Error performing token request: Error performing POST https://login.example/t in 1ms - Server \
                       returned non-2xx status code: 400 Bad Request: {\"error\":\"invalid_grant\"}";
        let error = classify("gs://b/k", generic(refused));
        assert_eq!(error.code(), ErrorCode::AccessDenied, "{error:?}");
        let alone = generic("Error performing GET http://metadata.google.internal/x in 1s");
        let error = classify("gs://b/k", alone);
        assert!(error.hint().unwrap().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error:?}");
    }

    #[test]
    fn a_file_that_the_client_lacks_is_not_a_missing_object() {
        let error =
            classify("s3://b/k", generic(io::Error::new(io::ErrorKind::NotFound, "no token at `/t`")));
        assert_ne!(error.code(), ErrorCode::NotFound, "else a registry behind it counts as absent");
        assert!(error.source().unwrap().to_string().contains("no token at `/t`"), "{error:?}");
    }

    #[test]
    fn the_metadata_service_means_that_there_are_no_credentials() {
        let error = classify(
            "s3://b/k",
            generic("Error performing PUT http://169.254.169.254/latest/api/token in 5s"),
        );
        assert!(matches!(error, StorageError::NoCredentials { .. }), "{error:?}");
    }
}
