//! Where bytes are: parsing what users write, walking up and down, and naming the store for DataFusion.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use object_store::path::Path as ObjectPath;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::StorageError;
use crate::place::{AZURE_SCHEMES, AzureAccount, GOOGLE_SCHEMES, Place, without_user_info};

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
    place: Place,
    url: Url,
}

impl Location {
    /// Reads `s3://bucket/key`, `gs://bucket/key`, `az://container/key`,
    /// `abfss://container@account.dfs.core.windows.net/key`, `file:///x`, `/x`, or a path relative to `base`, which is
    /// an absolute local folder. `docs/settings.md` has all spellings.
    ///
    /// Web addresses and `file:` URIs are percent-decoded, as every tool does; others are taken as they are. `endpoint`
    /// is the `s3_endpoint_override` of a source and counts for `s3:` only; empty is the same as none.
    pub fn parse(text: &str, base: &Path, endpoint: Option<&str>) -> Result<Self, StorageError> {
        let invalid =
            |reason: String| StorageError::InvalidLocation { given: without_user_info(text), reason };
        if text.is_empty() {
            return Err(invalid("it is empty".to_owned()));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return Self::local(&base.join(text));
        };
        let place = match scheme.as_str() {
            "s3" => Place::s3(rest, endpoint),
            google if GOOGLE_SCHEMES.contains(&google) => Place::google(rest),
            azure if AZURE_SCHEMES.contains(&azure) => Place::azure(rest),
            "https" if is_at_azure(rest) => return Self::azure_address(rest).map_err(invalid),
            "file" => {
                let rest = rest.strip_prefix("localhost").unwrap_or(rest);
                if !rest.starts_with('/') {
                    let reason = "a file URI needs an absolute path, as in `file:///data/x.parquet`";
                    return Err(invalid(reason.to_owned()));
                }
                return Self::local(Path::new(&decoded(rest).map_err(invalid)?));
            }
            _ => return Err(StorageError::UnknownScheme { given: without_user_info(text), scheme }),
        };
        place.and_then(|(place, key)| Self::checked(place, without_last_slash(key))).map_err(invalid)
    }

    /// The web address of a blob, as the Azure portal and Feast's own Azure registry have it.
    fn azure_address(rest: &str) -> Result<Self, String> {
        if rest.contains(['?', '#']) {
            return Err("a signature does not belong into a location; give it in the environment".to_owned());
        }
        let rest = decoded(rest)?;
        let (place, key) = Place::azure(&rest)?;
        Self::checked(place, without_last_slash(key))
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
        Self::checked(Place::Local, &segments.join("/")).map_err(|reason| invalid(&reason))
    }

    /// Admits only a `path` that object stores take as it is.
    fn checked(place: Place, path: &str) -> Result<Self, String> {
        match ObjectPath::parse(path) {
            Ok(same) if same.as_ref() == path => {
                let url = place.url()?;
                Ok(Self { store: Arc::new(Store { place, url }), path: same })
            }
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
        self.store.place == Place::Local
    }

    /// The path on the file system, if it is there.
    pub fn local_path(&self) -> Option<PathBuf> {
        self.is_local().then(|| Path::new("/").join(self.path.as_ref()))
    }

    /// The bucket, or container, if this is in one.
    pub fn bucket(&self) -> Option<&str> {
        self.store.place.bucket()
    }

    /// The endpoint that this location itself asks for.
    pub fn endpoint(&self) -> Option<&str> {
        match &self.store.place {
            Place::S3 { endpoint, .. } => endpoint.as_deref(),
            Place::Local | Place::Google { .. } | Place::Azure { .. } => None,
        }
    }

    /// The store that this is in.
    pub(crate) fn place(&self) -> &Place {
        &self.store.place
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

    /// Names the store for DataFusion's object store registry: `file:///`, `s3://bucket`, `gs://bucket`,
    /// `az://container`; with its own endpoint or account `s3-<hex of the endpoint>://bucket`, so that the name alone lets
    /// any process build the client again.
    pub fn store_url(&self) -> Url {
        self.store.url.clone()
    }

    /// The path inside the store that [`Location::store_url`] names.
    pub fn path(&self) -> ObjectPath {
        self.path.clone()
    }

    /// The location of `path` in the store that `store_url` names; the inverse of the two methods above.
    pub fn from_store(store_url: &Url, path: &ObjectPath) -> Result<Self, StorageError> {
        let given = || without_user_info(store_url.as_str());
        let Some(place) = Place::of_url(store_url) else {
            let scheme = store_url.scheme().to_owned();
            return Err(StorageError::UnknownScheme { given: given(), scheme });
        };
        let location = place.and_then(|place| Self::checked(place, path.as_ref()));
        location.map_err(|reason| StorageError::InvalidLocation { given: given(), reason })
    }
}

/// What a user would write: `s3://bucket/key`, `gs://…`, `az://…`, `abfss://…`, or an absolute local path.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.store.place {
            Place::Local => write!(f, "/{}", self.path),
            place if self.path.is_root() => write!(f, "{place}"),
            place => write!(f, "{place}/{}", self.path),
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

/// Whether what follows `https://` is at an Azure storage account.
fn is_at_azure(rest: &str) -> bool {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    AzureAccount::of_host(host).is_some()
}

fn without_last_slash(key: &str) -> &str {
    key.strip_suffix('/').unwrap_or(key)
}

fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "its escapes are not UTF-8".to_owned())
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
            ("gs://b/k", "gs://b/k"),
            ("gcs://b/a/k/", "gs://b/a/k"),
            ("az://c/k", "az://c/k"),
            ("abfs://c/k", "az://c/k"),
            ("abfss://c", "az://c"),
            ("azure://c/k", "az://c/k"),
            ("abfss://c@acc.dfs.core.windows.net/a/k", "abfss://c@acc.dfs.core.windows.net/a/k"),
            ("az://c@acc.blob.core.windows.net/k", "abfss://c@acc.dfs.core.windows.net/k"),
            ("wasbs://c@ACC.blob.core.windows.net/k/", "abfss://c@acc.dfs.core.windows.net/k"),
            ("abfss://acc.dfs.core.windows.net/c/a/k", "abfss://c@acc.dfs.core.windows.net/a/k"),
            ("https://acc.blob.core.windows.net/c/a%20k", "abfss://c@acc.dfs.core.windows.net/a k"),
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
            ("gs:///k", "it has no bucket"),
            ("gs://hush@b/k", "credentials do not belong"),
            ("az://", "it has no container"),
            ("abfss://acc.dfs.core.windows.net", "it has no container"),
            ("abfss://c@account/k", "`account` is no host of an Azure storage account"),
            ("abfss://c@acc.dfs.core.windows.net.evil.example/k", "is no host of an Azure storage account"),
            ("abfss://acc:hush@c/k", "credentials do not belong"),
            ("https://acc.blob.core.windows.net/c/k?sv=1&sig=hush", "a signature does not belong"),
            ("https://acc.blob.core.windows.net/c/%ff", "not UTF-8"),
            ("https://host/x?sig=hush", "scheme `https`"),
            ("http://acc.blob.core.windows.net/c/k", "scheme `http`"),
            ("adl://acc/k", "scheme `adl`"),
            ("http://host/x", "allowed are `s3://`, `gs://`, `az://`, `abfss://`, `file://` and local paths"),
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
            (parse("gs://My_bucket/k"), "gs://My_bucket"),
            (parse("abfs://c/k"), "az://c"),
            (
                parse("abfss://c@a.dfs.core.windows.net/k"),
                "az-612e6466732e636f72652e77696e646f77732e6e6574://c",
            ),
        ];
        for (location, name) in table {
            assert_eq!(location.store_url().as_str(), name);
            assert_eq!(Location::from_store(&location.store_url(), &location.path()).unwrap(), location);
        }
        for name in ["s3-zz://b", "s3-6://b", "gs2://b", "s3-67733a2f2f78://b", "az-6576696c://c", "gs://"] {
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
