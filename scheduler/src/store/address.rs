//! Which database does a URL mean, and what may be said of it in messages?

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::any::AnyConnectOptions;

use super::error::JobStoreError;
use super::options::StoreOptions;

/// What stays as it is in the path of a URL.
const PATH_KEPT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Parameters of a PostgreSQL URL that the driver knows; it would ignore others, and log their values, silently.
const POSTGRES_PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The kind of database behind a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Backend {
    /// A file, named absolutely.
    SqliteFile(PathBuf),
    /// Gone with its connection; for tests.
    SqliteMemory,
    /// A server.
    Postgres,
}

/// Where a store is.
#[derive(Clone)]
pub(super) struct Address {
    /// For messages: without a password.
    pub(super) name: String,
    pub(super) backend: Backend,
    /// For the driver: with the password.
    pub(super) connect: AnyConnectOptions,
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Address")
            .field("name", &self.name)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl Address {
    /// Reads a URL of `sqlite` or `postgres`.
    pub(super) fn parse(url: &str, options: &StoreOptions) -> Result<Self, JobStoreError> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(refused("it has no scheme"));
        };
        match scheme {
            "sqlite" => sqlite(rest),
            "postgres" | "postgresql" => postgres(url, options),
            _ => Err(refused(format!("the scheme is `{scheme}`"))),
        }
    }
}

fn refused(reason: impl Into<String>) -> JobStoreError {
    JobStoreError::Url { reason: reason.into() }
}

/// The driver's own reading of the URL, once ours is done.
fn connect_options(url: &str) -> Result<AnyConnectOptions, JobStoreError> {
    url.parse().map_err(|error| match error {
        // The cause says what is wrong in general words and quotes nothing.
        sqlx::Error::Configuration(cause) => refused(cause.to_string()),
        _ => refused("it cannot be read"),
    })
}

fn sqlite(rest: &str) -> Result<Address, JobStoreError> {
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    // The one parameter that is common in the wild says what we do anyway.
    if !matches!(parameters, "" | "mode=rwc") {
        return Err(refused("an SQLite URL takes no parameters"));
    }
    if path == ":memory:" || path == "//:memory:" {
        return Ok(Address {
            name: "sqlite::memory:".to_owned(),
            backend: Backend::SqliteMemory,
            connect: connect_options("sqlite::memory:")?,
        });
    }
    let path = percent_decode_str(path.strip_prefix("//").unwrap_or(path))
        .decode_utf8()
        .map_err(|_| refused("its path is not UTF-8"))?;
    if path.is_empty() || path.contains('\0') {
        return Err(refused("it names no file"));
    }
    // Absolute, so that a later change of the working folder does not move the store.
    let file = std::path::absolute(Path::new(&*path))
        .map_err(|error| refused(format!("the path `{path}` cannot be made absolute: {error}")))?;
    let text = file.to_string_lossy();
    let connect = connect_options(&format!("sqlite://{}?mode=rwc", utf8_percent_encode(&text, PATH_KEPT)))?;
    Ok(Address { name: format!("sqlite://{text}"), backend: Backend::SqliteFile(file), connect })
}

fn postgres(url: &str, options: &StoreOptions) -> Result<Address, JobStoreError> {
    let mut connect = connect_options(url)?;
    let mut named = connect.database_url.clone();
    let (mut has_name, mut has_timeout) = (false, false);
    let mut told: Vec<(String, String)> = Vec::new();
    for (key, value) in connect.database_url.query_pairs() {
        let is_option = key.starts_with("options[") && key.ends_with(']');
        if !is_option && !POSTGRES_PARAMETERS.contains(&&*key) {
            return Err(refused(format!("there is no parameter `{key}` of PostgreSQL")));
        }
        has_name |= key == "application_name";
        has_timeout |= key.contains("statement_timeout") || value.contains("statement_timeout");
        if matches!(&*key, "host" | "hostaddr" | "port" | "dbname" | "user") {
            told.push((key.into_owned(), value.into_owned()));
        }
    }
    // Fails for URLs without a host, which can have no password either.
    named.set_password(None).ok();
    named.set_fragment(None);
    named.set_query(None);
    if !told.is_empty() {
        named.query_pairs_mut().extend_pairs(told);
    }
    if !has_name {
        connect.database_url.query_pairs_mut().append_pair("application_name", "backsight-scheduler");
    }
    if !has_timeout {
        let timeout_ms = options.statement_timeout.as_millis().to_string();
        connect.database_url.query_pairs_mut().append_pair("options[statement_timeout]", &timeout_ms);
    }
    Ok(Address { name: named.to_string(), backend: Backend::Postgres, connect })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, JobStoreError> {
        Address::parse(url, &StoreOptions::default())
    }

    #[test]
    fn sqlite_paths_become_absolute_and_survive_odd_characters() {
        let here = std::env::current_dir().unwrap();
        let table = [
            ("sqlite:///tmp/jobs.db", PathBuf::from("/tmp/jobs.db")),
            ("sqlite:///tmp/jobs.db?mode=rwc", PathBuf::from("/tmp/jobs.db")),
            ("sqlite://some/jobs.db", here.join("some/jobs.db")),
            ("sqlite:jobs.db", here.join("jobs.db")),
            ("sqlite:///tmp/my jobs#1.db", PathBuf::from("/tmp/my jobs#1.db")),
            ("sqlite:///tmp/a%3Fb%25.db", PathBuf::from("/tmp/a?b%.db")),
            ("sqlite:///tmp/größe.db", PathBuf::from("/tmp/größe.db")),
        ];
        for (url, path) in table {
            let address = parse(url).unwrap();
            assert_eq!(address.backend, Backend::SqliteFile(path.clone()), "{url}");
            let driver: sqlx::sqlite::SqliteConnectOptions =
                address.connect.database_url.as_str().parse().unwrap();
            assert_eq!(driver.get_filename(), path, "{url}");
        }
        assert_eq!(parse("sqlite::memory:").unwrap().backend, Backend::SqliteMemory);
    }

    #[test]
    fn passwords_are_in_no_message() {
        let urls = [
            "postgres://ada:s3cret@db.example:5433/jobs?sslmode=require",
            "postgresql://ada:s3cret@db.example/jobs?options[statement_timeout]=5",
            "postgres://ada@db.example/jobs?password=s3cret",
            "postgres:///jobs?host=/run/postgresql&user=ada&password=s3cret",
            "postgres://ada:s3cret@db.example/jobs?sslmod=require",
            "postgres://ada:s3cret@db.example:port/jobs",
            "postgres://ada:pass/s3cret@db.example/jobs",
            "sqlserver://ada:s3cret@db.example/jobs",
            "postgres://ada:s3cret@db.example/jobs?pasword=s3cret",
            "sqlite:///jobs.db?key=s3cret",
        ];
        for url in urls {
            let shown = match parse(url) {
                Ok(address) => format!("{address:?} {}", address.name),
                Err(error) => format!("{error:?} {error} {:?}", error.hint()),
            };
            assert!(!shown.contains("s3cret"), "{url}: {shown}");
        }
    }

    #[test]
    fn servers_are_named_by_what_tells_them_apart() {
        let table = [
            ("postgres://ada:p@db.example:5433/jobs?sslmode=require", "postgres://ada@db.example:5433/jobs"),
            ("postgres:///jobs?host=/run/postgresql&password=p", "postgres:///jobs?host=%2Frun%2Fpostgresql"),
        ];
        for (url, name) in table {
            assert_eq!(parse(url).unwrap().name, name);
        }
    }

    #[test]
    fn the_statement_timeout_of_the_url_wins() {
        let ours = parse("postgres://db/jobs").unwrap().connect.database_url.to_string();
        assert!(ours.contains("statement_timeout%5D=15000"), "{ours}");
        for url in [
            "postgres://db/jobs?options[statement_timeout]=7",
            "postgres://db/jobs?options=-c%20statement_timeout%3D7",
        ] {
            let theirs = parse(url).unwrap().connect.database_url.to_string();
            assert!(!theirs.contains("15000"), "{theirs}");
        }
    }
}
