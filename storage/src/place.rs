//! Which store a location is in: what a user writes before the path, and the URL that names the store to others.
//!
//! The name alone lets any process build the client again, so it holds what belongs to the location itself: an own
//! endpoint of S3, the account of Azure. What comes from settings (credentials, an emulator) is each process's own.

use std::fmt;

use url::Url;

/// A store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// The file system.
    Local,
    /// S3, or a store that speaks like it.
    S3 { endpoint: Option<String>, bucket: String },
    /// Google Cloud Storage.
    Google { bucket: String },
    /// Azure Blob Storage, also with the hierarchical names of Data Lake Storage.
    Azure { account: Option<AzureAccount>, container: String },
}

/// A storage account of Azure that a location names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AzureAccount {
    /// `account` of `account.blob.core.windows.net`.
    pub(crate) name: String,
    /// `core.windows.net` of it.
    pub(crate) domain: String,
}

/// The domains of Azure's clouds. No other is taken from a location: a token that we send is good for every account
/// that we may read, so it must not go to a host of somebody's choice.
const AZURE_DOMAINS: [&str; 5] = [
    AZURE_PUBLIC_DOMAIN,
    "core.chinacloudapi.cn",
    "core.usgovcloudapi.net",
    "core.cloudapi.de",
    "fabric.microsoft.com",
];

/// The domain of accounts that settings name.
pub(crate) const AZURE_PUBLIC_DOMAIN: &str = "core.windows.net";

/// How locations of an object store may start, as shown to users.
pub const OBJECT_STORE_SCHEMES: &str = "`s3://`, `gs://`, `az://`, `abfss://`";

/// The schemes of Google's buckets: Google's own and that of its Python file system.
pub(crate) const GOOGLE_SCHEMES: [&str; 2] = ["gs", "gcs"];

/// The schemes of Azure's containers: those of its Python file system, of Hadoop, old and new, and of DuckDB.
pub(crate) const AZURE_SCHEMES: [&str; 6] = ["az", "abfs", "abfss", "wasb", "wasbs", "azure"];

const NO_SECRETS: &str = "credentials do not belong into a location; give them in the environment";

impl AzureAccount {
    /// Reads `account.blob.core.windows.net`, `account.dfs.…`; `None` for any other host.
    pub(crate) fn of_host(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        let (name, rest) = host.split_once('.')?;
        let domain = rest.strip_prefix("blob.").or_else(|| rest.strip_prefix("dfs."))?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let is_known = AZURE_DOMAINS.contains(&domain);
        (is_name && is_known).then(|| Self { name: name.to_owned(), domain: domain.to_owned() })
    }

    /// Where its blobs are reached.
    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}.blob.{}", self.name, self.domain)
    }

    /// How it is written after `container@`.
    fn host(&self) -> String {
        format!("{}.dfs.{}", self.name, self.domain)
    }
}

impl Place {
    /// Reads the bucket of `s3://…`; returns the key after it, too.
    pub(crate) fn s3<'a>(rest: &'a str, endpoint: Option<&str>) -> Result<(Self, &'a str), String> {
        let (bucket, key) = authority(rest);
        if bucket.contains('@') {
            return Err(NO_SECRETS.to_owned());
        }
        check_name(bucket, "bucket", "s3://bucket/key")?;
        let endpoint = endpoint.map(str::trim).filter(|endpoint| !endpoint.is_empty());
        let endpoint = endpoint.map(normal_endpoint).transpose()?;
        Ok((Self::S3 { endpoint, bucket: bucket.to_owned() }, key))
    }

    /// Reads the bucket of `gs://…`.
    pub(crate) fn google(rest: &str) -> Result<(Self, &str), String> {
        let (bucket, key) = authority(rest);
        if bucket.contains('@') {
            return Err(NO_SECRETS.to_owned());
        }
        check_name(bucket, "bucket", "gs://bucket/key")?;
        Ok((Self::Google { bucket: bucket.to_owned() }, key))
    }

    /// Reads account and container of `az://container/…`, `abfss://container@account.dfs.core.windows.net/…`, and
    /// `abfss://account.dfs.core.windows.net/container/…`.
    pub(crate) fn azure(rest: &str) -> Result<(Self, &str), String> {
        const EXAMPLE: &str = "az://container/key` or `abfss://container@account.dfs.core.windows.net/key";
        let (first, key) = authority(rest);
        let (account, container, key) = match first.rsplit_once('@') {
            Some((container, _)) if container.contains(':') => return Err(NO_SECRETS.to_owned()),
            Some((container, host)) => {
                let account = AzureAccount::of_host(host).ok_or_else(|| {
                    format!("`{host}` is no host of an Azure storage account, expected `{EXAMPLE}`")
                })?;
                (Some(account), container, key)
            }
            None => match AzureAccount::of_host(first) {
                Some(account) => {
                    let (container, key) = authority(key);
                    (Some(account), container, key)
                }
                None => (None, first, key),
            },
        };
        check_name(container, "container", EXAMPLE)?;
        Ok((Self::Azure { account, container: container.to_owned() }, key))
    }

    /// The bucket or container.
    pub(crate) fn bucket(&self) -> Option<&str> {
        match self {
            Self::Local => None,
            Self::S3 { bucket, .. } | Self::Google { bucket } => Some(bucket),
            Self::Azure { container, .. } => Some(container),
        }
    }

    /// The name of the store as a URL: `s3://bucket`, `gs://bucket`, `az://container`; an own endpoint or account is
    /// in the scheme as hexadecimal digits, since users of such names look at scheme and host only.
    pub(crate) fn url(&self) -> Result<Url, String> {
        let text = match self {
            Self::Local => "file:///".to_owned(),
            Self::S3 { endpoint: None, bucket } => format!("s3://{bucket}"),
            Self::S3 { endpoint: Some(endpoint), bucket } => format!("s3-{}://{bucket}", to_hex(endpoint)),
            Self::Google { bucket } => format!("gs://{bucket}"),
            Self::Azure { account: None, container } => format!("az://{container}"),
            Self::Azure { account: Some(account), container } => {
                format!("az-{}://{container}", to_hex(&account.host()))
            }
        };
        Url::parse(&text).map_err(|error| format!("it cannot be named by a URL: {error}"))
    }

    /// The inverse of [`Place::url`]; `None` for a scheme that names no store.
    pub(crate) fn of_url(url: &Url) -> Option<Result<Self, String>> {
        let host = url.host_str().unwrap_or_default();
        let own = |hex: &str| from_hex(hex).ok_or("its endpoint is not hexadecimal UTF-8".to_owned());
        let place = match url.scheme() {
            "file" => return Some(Ok(Self::Local)),
            "s3" => Self::s3(host, None),
            "gs" => Self::google(host),
            "az" => Self::azure(host),
            scheme => {
                if let Some(hex) = scheme.strip_prefix("s3-") {
                    return Some(own(hex).and_then(|endpoint| Ok(Self::s3(host, Some(&endpoint))?.0)));
                }
                let hex = scheme.strip_prefix("az-")?;
                return Some(own(hex).and_then(|account| Ok(Self::azure(&format!("{host}@{account}"))?.0)));
            }
        };
        Some(place.map(|(place, _)| place))
    }
}

/// What a user would write before the path.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => Ok(()),
            Self::S3 { bucket, .. } => write!(f, "s3://{bucket}"),
            Self::Google { bucket } => write!(f, "gs://{bucket}"),
            Self::Azure { account: None, container } => write!(f, "az://{container}"),
            Self::Azure { account: Some(account), container } => {
                write!(f, "abfss://{container}@{}", account.host())
            }
        }
    }
}

/// Splits what follows `://` into host and path.
fn authority(rest: &str) -> (&str, &str) {
    rest.split_once('/').unwrap_or((rest, ""))
}

fn check_name(name: &str, what: &str, example: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("it has no {what}, expected `{example}`"));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))) {
        Some(c) => Err(format!("a {what} name has letters, digits, `.`, `-` and `_` only, not `{c}`")),
        None => Ok(()),
    }
}

/// A location as given, for messages, without what may be a password before `@`, and of a web address without its query.
pub(crate) fn without_user_info(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let rest = if is_web { rest.split(['?', '#']).next().unwrap_or(rest) } else { rest };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => format!("{scheme}://{rest}"),
    }
}

/// Whether a location that a user wrote holds what may be a secret: a user before `@`, other than the container of an
/// Azure account, or the query of a web address.
pub fn holds_credentials(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let scheme = scheme.to_ascii_lowercase();
    if matches!(scheme.as_str(), "http" | "https") && rest.contains('?') {
        return true;
    }
    match authority(rest).0.rsplit_once('@') {
        None => false,
        Some((user, host)) => {
            let is_container = AZURE_SCHEMES.contains(&scheme.as_str())
                && !user.contains(':')
                && AzureAccount::of_host(host).is_some();
            !is_container
        }
    }
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
    use super::{AzureAccount, Place, holds_credentials, without_user_info};

    #[test]
    fn only_hosts_of_azure_are_accounts() {
        let table = [
            ("acc.blob.core.windows.net", Some("https://acc.blob.core.windows.net")),
            ("ACC.dfs.core.windows.net", Some("https://acc.blob.core.windows.net")),
            ("acc.dfs.core.chinacloudapi.cn", Some("https://acc.blob.core.chinacloudapi.cn")),
            ("onelake.dfs.fabric.microsoft.com", Some("https://onelake.blob.fabric.microsoft.com")),
            ("acc.blob.core.windows.net.evil.example", None),
            ("acc.queue.core.windows.net", None),
            ("acc.core.windows.net", None),
            ("a_c.blob.core.windows.net", None),
            ("acc.blob.core.windows.net:8080", None),
            ("blob.core.windows.net", None),
        ];
        for (host, endpoint) in table {
            let found = AzureAccount::of_host(host).map(|account| account.endpoint());
            assert_eq!(found.as_deref(), endpoint, "{host}");
        }
    }

    #[test]
    fn a_store_is_found_again_by_its_url() {
        for rest in ["c/k", "c@acc.dfs.core.windows.net/k", "acc.blob.core.windows.net/c/k"] {
            let (place, key) = Place::azure(rest).unwrap();
            assert_eq!((place.bucket(), key), (Some("c"), "k"), "{rest}");
            assert_eq!(Place::of_url(&place.url().unwrap()).unwrap().unwrap(), place, "{rest}");
        }
        let one = Place::azure("c@one.dfs.core.windows.net").unwrap().0.url().unwrap();
        let other = Place::azure("c@other.dfs.core.windows.net").unwrap().0.url().unwrap();
        assert_ne!(
            (one.scheme(), one.host_str()),
            (other.scheme(), other.host_str()),
            "all that is looked at"
        );
    }

    #[test]
    fn what_may_be_a_secret_is_known() {
        let table = [
            ("s3://b/k@x", false),
            ("s3://id:key@b/k", true),
            ("abfss://c@acc.dfs.core.windows.net/k", false),
            ("abfss://c:key@acc.dfs.core.windows.net/k", true),
            ("abfss://hush@b/k", true),
            ("gs://hush@b/k", true),
            ("https://acc.blob.core.windows.net/c/k?sig=hush", true),
            ("https://acc.blob.core.windows.net/c/k", false),
            ("data/a@b", false),
        ];
        for (text, expected) in table {
            assert_eq!(holds_credentials(text), expected, "{text}");
            assert!(!without_user_info(text).contains("hush"), "{text}");
        }
    }
}
