//! Where bytes are: parsing what users write, walking up and down, and naming the store for DataFusion.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use object_store::path::Path as ObjectPath;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::StorageError;

/// Where bytes are: a file system path, or a bucket and key at an endpoint.
///
/// Two locations are equal when they name the same bytes; `.` and `..`, doubled and trailing slashes of a local path
/// are gone after parsing.
///
/// ```
/// use backsight_storage::Location;
/// let base = std::path::Path::new("/repo");
/// let location = Location::parse("data/../registry.pb", base, None)?;
/// assert_eq!(location.to_string(), "/repo/registry.pb");
/// # Ok::<(), backsight_storage::StorageError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    store: Arc<Store>,
    path: ObjectPath,
}

/// Which store a location is in, and the name that DataFusion knows it by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Store {
    kind: Kind,
    url: Url,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Local,
    S3 { endpoint: Option<String>, bucket: String },
}

impl Store {
    fn new(kind: Kind) -> Result<Arc<Self>, String> {
        let text = match &kind {
            Kind::Local => "file:///".to_owned(),
            Kind::S3 { endpoint: None, bucket } => format!("s3://{bucket}"),
            Kind::S3 { endpoint: Some(endpoint), bucket } => format!("s3-{}://{bucket}", to_hex(endpoint)),
        };
        let url = Url::parse(&text).map_err(|error| format!("it cannot be named by a URL: {error}"))?;
        Ok(Arc::new(Self { kind, url }))
    }
}

/// Schemes that Feast users may have and that we will serve later.
const SCHEMES_LATER: [&str; 9] = ["gs", "gcs", "az", "azure", "abfs", "abfss", "adl", "wasb", "wasbs"];

impl Location {
    /// Reads `s3://bucket/key`, `file:///x`, `/x`, or a path relative to `base`, which is an absolute local folder.
    ///
    /// A `file:` URI is percent-decoded, as every tool does; an `s3:` one is taken as it is. `endpoint` is the
    /// `s3_endpoint_override` of a source and counts for `s3:` only; empty is the same as none.
    pub fn parse(text: &str, base: &Path, endpoint: Option<&str>) -> Result<Self, StorageError> {
        let invalid = |reason: &str| StorageError::InvalidLocation {
            given: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return Self::local(&base.join(text));
        };
        match scheme.as_str() {
            "s3" => Self::s3(rest, endpoint)
                .map_err(|reason| StorageError::InvalidLocation { given: without_user_info(text), reason }),
            "file" => {
                let rest = rest.strip_prefix("localhost").unwrap_or(rest);
                if !rest.starts_with('/') {
                    return Err(invalid("a file URI needs an absolute path, as in `file:///data/x.parquet`"));
                }
                let decoded = percent_decode_str(rest).decode_utf8();
                let decoded = decoded.map_err(|_| invalid("its escapes are not UTF-8"))?;
                Self::local(Path::new(decoded.as_ref()))
            }
            later if SCHEMES_LATER.contains(&later) => {
                Err(StorageError::SchemeLater { given: without_user_info(text), scheme })
            }
            _ => Err(StorageError::UnknownScheme { given: without_user_info(text), scheme }),
        }
    }

    /// The location of an absolute local path.
    pub fn local(path: &Path) -> Result<Self, StorageError> {
        let invalid = |reason: &str| StorageError::InvalidLocation {
            given: path.display().to_string(),
            reason: reason.to_owned(),
        };
        if !path.is_absolute() {
            return Err(invalid("a local path must be absolute here"));
        }
        let mut segments: Vec<&str> = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(segment) => {
                    let segment = segment.to_str().ok_or_else(|| invalid("it is not UTF-8"))?;
                    segments.push(segment);
                }
                Component::ParentDir => {
                    segments.pop();
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Self::checked(Kind::Local, &segments.join("/")).map_err(|reason| invalid(&reason))
    }

    /// `rest` is what follows `s3://`.
    fn s3(rest: &str, endpoint: Option<&str>) -> Result<Self, String> {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return Err("credentials do not belong into a location; give them in the environment".to_owned());
        }
        check_bucket(bucket)?;
        let endpoint = endpoint.map(str::trim).filter(|endpoint| !endpoint.is_empty());
        let endpoint = endpoint.map(normal_endpoint).transpose()?;
        let key = key.strip_suffix('/').unwrap_or(key);
        Self::checked(Kind::S3 { endpoint, bucket: bucket.to_owned() }, key)
    }

    /// Admits only a `path` that object stores take as it is.
    fn checked(kind: Kind, path: &str) -> Result<Self, String> {
        match ObjectPath::parse(path) {
            Ok(same) if same.as_ref() == path => Ok(Self { store: Store::new(kind)?, path: same }),
            Ok(_) | Err(object_store::path::Error::EmptySegment { .. }) => {
                Err("it has an empty part (`//`)".to_owned())
            }
            Err(_) => Err("it has a part `.` or `..`, or a control character".to_owned()),
        }
    }

    /// The child at `relative`; empty, `.` and `..` parts are skipped, so the result is never outside of `self`.
    pub fn join(&self, relative: &str) -> Self {
        let is_kept = |part: &&str| !matches!(*part, "" | "." | "..");
        let parts: Vec<&str> =
            self.path.as_ref().split('/').chain(relative.split('/')).filter(is_kept).collect();
        let joined = parts.join("/");
        // The second form escapes control characters, which no store takes.
        let path = ObjectPath::parse(&joined).unwrap_or_else(|_| ObjectPath::from(joined));
        Self { store: Arc::clone(&self.store), path }
    }

    /// The folder that holds this; `None` at the root of a file system or bucket.
    pub fn parent(&self) -> Option<Self> {
        Some(Self { store: Arc::clone(&self.store), path: self.path.parent()? })
    }

    /// The last part of the path; `None` at the root.
    pub fn file_name(&self) -> Option<&str> {
        self.path.filename()
    }

    /// Whether this is on the file system.
    pub fn is_local(&self) -> bool {
        self.store.kind == Kind::Local
    }

    /// The path on the file system, if it is there.
    pub fn local_path(&self) -> Option<PathBuf> {
        self.is_local().then(|| Path::new("/").join(self.path.as_ref()))
    }

    /// The bucket, if this is in one.
    pub fn bucket(&self) -> Option<&str> {
        match &self.store.kind {
            Kind::Local => None,
            Kind::S3 { bucket, .. } => Some(bucket),
        }
    }

    /// The endpoint that this location itself asks for.
    pub fn endpoint(&self) -> Option<&str> {
        match &self.store.kind {
            Kind::Local => None,
            Kind::S3 { endpoint, .. } => endpoint.as_deref(),
        }
    }

    /// Whether this is the root of a file system or bucket.
    pub fn is_root(&self) -> bool {
        self.path.is_root()
    }

    /// Whether `self` is `folder` or below it.
    pub fn is_within(&self, folder: &Self) -> bool {
        self.store == folder.store && self.path.prefix_matches(&folder.path)
    }

    /// The location of `path` in the same store.
    pub fn sibling(&self, path: &ObjectPath) -> Self {
        Self { store: Arc::clone(&self.store), path: path.clone() }
    }

    /// Names the store for DataFusion's object store registry: `file:///`, `s3://bucket`, and with its own endpoint
    /// `s3-<hex of the endpoint>://bucket`, so that the name alone lets any process build the client again.
    pub fn store_url(&self) -> Url {
        self.store.url.clone()
    }

    /// The path inside the store that [`Location::store_url`] names.
    pub fn path(&self) -> ObjectPath {
        self.path.clone()
    }

    /// The location of `path` in the store that `store_url` names; the inverse of the two methods above.
    pub fn from_store(store_url: &Url, path: &ObjectPath) -> Result<Self, StorageError> {
        let invalid = |reason: &str| StorageError::InvalidLocation {
            given: without_user_info(store_url.as_str()),
            reason: reason.to_owned(),
        };
        let kind = match store_url.scheme() {
            "file" => Kind::Local,
            "s3" => {
                Kind::S3 { endpoint: None, bucket: bucket_of(store_url).map_err(|reason| invalid(&reason))? }
            }
            scheme => {
                let Some(hex) = scheme.strip_prefix("s3-") else {
                    return Err(StorageError::UnknownScheme {
                        given: without_user_info(store_url.as_str()),
                        scheme: scheme.to_owned(),
                    });
                };
                let endpoint =
                    from_hex(hex).ok_or_else(|| invalid("its endpoint is not hexadecimal UTF-8"))?;
                let endpoint = normal_endpoint(&endpoint).map_err(|reason| invalid(&reason))?;
                Kind::S3 {
                    endpoint: Some(endpoint),
                    bucket: bucket_of(store_url).map_err(|reason| invalid(&reason))?,
                }
            }
        };
        Self::checked(kind, path.as_ref()).map_err(|reason| invalid(&reason))
    }
}

/// What a user would write: `s3://bucket/key`, or an absolute local path.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store.kind {
            Kind::Local => write!(f, "/{}", self.path),
            Kind::S3 { bucket, .. } if self.path.is_root() => write!(f, "s3://{bucket}"),
            Kind::S3 { bucket, .. } => write!(f, "s3://{bucket}/{}", self.path),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.endpoint() {
            Some(endpoint) => write!(f, "Location({self} at {endpoint})"),
            None => write!(f, "Location({self})"),
        }
    }
}

/// Splits `scheme://rest`, and `file:/rest`; the scheme in lower case.
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = match text.split_once("://") {
        Some(parts) => parts,
        None => ("file", text.strip_prefix("file:").filter(|rest| rest.starts_with('/'))?),
    };
    let mut letters = scheme.chars();
    let is_scheme = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// A location as given, for messages, without what may be a password before `@`.
fn without_user_info(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => text.to_owned(),
    }
}

fn check_bucket(bucket: &str) -> Result<(), String> {
    if bucket.is_empty() {
        return Err("it has no bucket, expected `s3://bucket/key`".to_owned());
    }
    match bucket.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))) {
        Some(c) => Err(format!("a bucket name has letters, digits, `.`, `-` and `_` only, not `{c}`")),
        None => Ok(()),
    }
}

fn bucket_of(store_url: &Url) -> Result<String, String> {
    let bucket = store_url.host_str().unwrap_or_default();
    check_bucket(bucket)?;
    Ok(bucket.to_owned())
}

/// An endpoint in one spelling: with a scheme (`https` when none is given, as in pyarrow) and no slash at its end.
pub(crate) fn normal_endpoint(endpoint: &str) -> Result<String, String> {
    let with_scheme =
        if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
    let Ok(url) = Url::parse(&with_scheme) else {
        return Err("its endpoint is not a URL, expected one like `https://host:port`".to_owned());
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong into an endpoint; give them in the environment".to_owned());
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "its endpoint starts with `{}://`, allowed are `http://` and `https://`",
            url.scheme()
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("its endpoint has a query or fragment, expected one like `https://host:port`".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn to_hex(text: &str) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    text.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn from_hex(hex: &str) -> Option<String> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    String::from_utf8(pairs.iter().map(|[high, low]| high << 4 | low).collect()).ok()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use backsight_proto::ErrorCode;
    use url::Url;

    use super::Location;

    fn parse(text: &str) -> Location {
        Location::parse(text, Path::new("/repo"), None).unwrap()
    }

    #[test]
    fn every_spelling_of_a_location_is_shown_in_one_way() {
        let table = [
            ("s3://b/k", "s3://b/k"),
            ("S3://b/a/k/", "s3://b/a/k"),
            ("s3://b", "s3://b"),
            ("s3://b/", "s3://b"),
            ("s3://b/a%20b?c#d é", "s3://b/a%20b?c#d é"),
            ("file:///x/y", "/x/y"),
            ("file://localhost/x", "/x"),
            ("file:/x", "/x"),
            ("file:///a%20b", "/a b"),
            ("/x//y/./z/", "/x/y/z"),
            ("/", "/"),
            ("data/x.parquet", "/repo/data/x.parquet"),
            ("../x", "/x"),
            ("../../../x", "/x"),
            (".", "/repo"),
            ("a:b", "/repo/a:b"),
            ("data/*.parquet", "/repo/data/*.parquet"),
        ];
        for (given, shown) in table {
            assert_eq!(parse(given).to_string(), shown, "{given}");
        }
    }

    #[test]
    fn what_is_no_location_is_refused_with_its_reason() {
        let table = [
            ("", "it is empty"),
            ("gs://b/k", "not supported yet"),
            ("abfss://c@account/k", "not supported yet"),
            ("http://host/x", "allowed are `s3://`, `file://` and local paths"),
            ("s3a://b/k", "scheme `s3a`"),
            ("s3://", "it has no bucket"),
            ("s3:///k", "it has no bucket"),
            ("s3://b c/k", "not ` `"),
            ("s3://b//k", "empty part"),
            ("s3://b/a/../k", "a part `.` or `..`"),
            ("s3://key:hush@b/k", "credentials do not belong"),
            ("file://host/x", "absolute path"),
            ("/a\nb", "control character"),
        ];
        for (given, reason) in table {
            let error = Location::parse(given, Path::new("/repo"), None).unwrap_err();
            assert!(error.to_string().contains(reason), "{given}: {error}");
            assert!(!format!("{error:?}").contains("hush"), "a password was shown");
            assert_eq!(error.code(), ErrorCode::Usage, "{given}");
        }
    }

    #[test]
    fn the_name_of_a_store_is_enough_to_find_it_again() {
        let endpoint = Some("http://127.0.0.1:9000/");
        let table = [
            (parse("/x/y"), "file:///"),
            (parse("s3://My_bucket/k"), "s3://My_bucket"),
            (
                Location::parse("s3://b/a/k", Path::new("/"), endpoint).unwrap(),
                "s3-687474703a2f2f3132372e302e302e313a39303030://b",
            ),
        ];
        for (location, name) in table {
            assert_eq!(location.store_url().as_str(), name);
            assert_eq!(Location::from_store(&location.store_url(), &location.path()).unwrap(), location);
        }
        for name in ["s3-zz://b", "s3-6://b", "gs://b", "s3-67733a2f2f78://b"] {
            let url = Url::parse(name).unwrap();
            assert!(Location::from_store(&url, &"k".into()).is_err(), "{name}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_without_secrets_and_part_of_the_identity() {
        let at = |endpoint| Location::parse("s3://b/k", Path::new("/"), endpoint);
        assert_eq!(at(Some("")).unwrap(), at(None).unwrap());
        assert_ne!(at(Some("http://h:1")).unwrap(), at(None).unwrap());
        assert_eq!(at(Some("http://h:1/")).unwrap(), at(Some("http://h:1")).unwrap());
        assert_eq!(at(Some("h:1")).unwrap().endpoint(), Some("https://h:1"), "as pyarrow reads it");
        for bad in ["ftp://h", "http://u:hush@h", "http://", "http://h?x=1"] {
            let error = at(Some(bad)).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("hush"), "{error}");
        }
        assert!(Location::parse("/x", Path::new("/"), Some("ftp://ignored")).is_ok(), "for S3 only");
    }

    #[test]
    fn joining_never_leaves_the_folder() {
        let folder = parse("s3://b/a");
        assert_eq!(folder.join("x/y").to_string(), "s3://b/a/x/y");
        assert_eq!(folder.join("../../x//./y").to_string(), "s3://b/a/x/y");
        assert_eq!(folder.join("a%b é").to_string(), "s3://b/a/a%b é", "no escaping twice");
        assert_eq!(folder.join("").to_string(), "s3://b/a");
        assert_eq!(parse("/").join("x").local_path(), Some(PathBuf::from("/x")));
        assert_eq!(folder.parent().unwrap().join("c").to_string(), "s3://b/c");
        assert_eq!(folder.parent().unwrap().parent(), None);
        assert_eq!((folder.file_name(), parse("s3://b").file_name()), (Some("a"), None));
    }

    #[test]
    fn within_means_whole_names() {
        assert!(parse("/a/b").is_within(&parse("/a")) && parse("/a").is_within(&parse("/a")));
        assert!(parse("/a").is_within(&parse("/")));
        assert!(!parse("/ab").is_within(&parse("/a")) && !parse("s3://b/a/b").is_within(&parse("/a")));
    }
}
