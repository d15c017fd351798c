//! Which kind of trouble is it that a database driver reports?

use backsight_proto::ErrorCode;

/// How a database failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFailure {
    /// Others write or lock all the time.
    Busy,
    /// Nobody answers.
    Unreachable,
    /// The connection broke while a call was under way.
    ConnectionLost,
    /// All connections were in use, or none could be made in time.
    NoConnection,
    /// A statement or a connection attempt took too long.
    Overdue,
    /// The store was closed.
    Closed,
    /// PostgreSQL refuses user or password.
    BadCredentials,
    /// PostgreSQL has no such database.
    DatabaseMissing,
    /// A right on the file or the tables is missing.
    AccessDenied,
    /// The file or its disk cannot be written.
    ReadOnlyFile,
    /// The server takes no writes at the moment.
    ReadOnlyServer,
    /// The file is no SQLite database.
    NotADatabase,
    /// What is stored is damaged.
    Damaged,
    /// The tables are not those that the schema's version promises.
    WrongTables,
    /// The disk, a quota or memory is used up.
    Full,
    /// The disk failed.
    DiskFailed,
    /// A connection cannot be encrypted as was asked for.
    Encryption,
    /// The URL asks for something that the driver does not know.
    Settings,
    /// Anything else, which should not happen.
    Unexpected,
}

impl StoreFailure {
    /// What happened, to follow the name of the store.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Busy => "is kept busy by others",
            Self::Unreachable => "cannot be reached",
            Self::ConnectionLost => "broke off the connection",
            Self::NoConnection => "had no free connection in time",
            Self::Overdue => "did not answer in time",
            Self::Closed => "was closed",
            Self::BadCredentials => "refuses the user or the password",
            Self::DatabaseMissing => "does not exist",
            Self::AccessDenied => "does not allow what is needed",
            Self::ReadOnlyFile => "cannot be written",
            Self::ReadOnlyServer => "takes no writes at the moment",
            Self::NotADatabase => "is not an SQLite database",
            Self::Damaged => "is damaged",
            Self::WrongTables => "does not hold the tables that it should",
            Self::Full => "has no room left",
            Self::DiskFailed => "cannot read or write its disk",
            Self::Encryption => "cannot be reached over an encrypted connection",
            Self::Settings => "is described by a URL that cannot be used",
            Self::Unexpected => "failed in an unexpected way",
        }
    }

    /// The class of failure.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Busy
            | Self::Unreachable
            | Self::ConnectionLost
            | Self::NoConnection
            | Self::Overdue
            | Self::Closed
            | Self::ReadOnlyServer
            | Self::DiskFailed => ErrorCode::Unreachable,
            Self::BadCredentials | Self::AccessDenied | Self::ReadOnlyFile => ErrorCode::AccessDenied,
            Self::DatabaseMissing => ErrorCode::NotFound,
            Self::NotADatabase | Self::Damaged | Self::WrongTables => ErrorCode::Invalid,
            Self::Full => ErrorCode::Limit,
            Self::Encryption | Self::Settings => ErrorCode::Usage,
            Self::Unexpected => ErrorCode::Bug,
        }
    }

    /// What to do about it.
    pub(super) fn hint(self) -> Option<&'static str> {
        let hint = match self {
            Self::Busy => "see which other process uses the store; a later try may succeed",
            Self::Unreachable => "check that host, port and network are right and the server is up",
            Self::ConnectionLost => "a later try may succeed; see the server's log for the reason",
            Self::NoConnection | Self::Overdue => {
                "check that the database is up and not overloaded; a later try may succeed"
            }
            Self::Closed | Self::Unexpected => return None,
            Self::BadCredentials => {
                "check the user in the URL, and the password there or in `PGPASSWORD`; retrying will not help"
            }
            Self::DatabaseMissing => {
                "create it, for example with `createdb`; its tables are made by themselves"
            }
            Self::AccessDenied => {
                "a file needs a folder that can be written, a PostgreSQL user the right to create tables at the first \
                 start and to read and write them later; retrying will not help"
            }
            Self::ReadOnlyFile => {
                "check the owner and mode of the file, of its neighbours in `-wal` and `-shm`, and of the folder, and whether \
                 the disk is mounted read-only"
            }
            Self::ReadOnlyServer => "connect to the primary server, not to a standby",
            Self::NotADatabase => "check the path; if the file was overwritten, restore it or move it away",
            Self::Damaged => {
                "stop the schedulers and restore the store from a backup; `sqlite3 FILE .recover` saves what can be read"
            }
            Self::WrongTables => {
                "give Backsight a database or a schema of its own; if tables were dropped by hand, restore them"
            }
            Self::Full => "free some space or raise the quota, then try again; nothing that was kept is lost",
            Self::DiskFailed => "see the system's log for errors of the disk",
            Self::Encryption => "check `sslmode` and `sslrootcert` in the URL and the server's certificate",
            Self::Settings => "check the part after `?`",
        };
        Some(hint)
    }
}

/// Whether a failed statement may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The database has certainly not carried it out, and may do so the next time.
    Surely,
    /// It may have been carried out: only if repeating is harmless.
    IfHarmless,
    /// It would fail again.
    No,
}

/// The kind of failure behind what the driver says.
pub(super) fn failure_of(error: &sqlx::Error) -> StoreFailure {
    match error {
        sqlx::Error::Database(database) => match database.code() {
            // Numbers of SQLite are short; SQLSTATE codes always have five characters.
            Some(code) if code.len() == 5 && is_postgres(&**database) => of_sqlstate(&code),
            Some(code) => code.parse().map_or(StoreFailure::Unexpected, of_sqlite),
            None => StoreFailure::Unexpected,
        },
        sqlx::Error::Io(io) => match io.kind() {
            std::io::ErrorKind::PermissionDenied => StoreFailure::AccessDenied,
            std::io::ErrorKind::TimedOut => StoreFailure::Overdue,
            std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::UnexpectedEof => StoreFailure::ConnectionLost,
            _ => StoreFailure::Unreachable,
        },
        sqlx::Error::Tls(_) => StoreFailure::Encryption,
        sqlx::Error::Configuration(_) => StoreFailure::Settings,
        sqlx::Error::PoolTimedOut => StoreFailure::NoConnection,
        sqlx::Error::PoolClosed => StoreFailure::Closed,
        sqlx::Error::WorkerCrashed => StoreFailure::ConnectionLost,
        // A value that is not what its column says: somebody wrote it by other means, or the file is damaged.
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreFailure::Damaged,
        sqlx::Error::ColumnNotFound(_) => StoreFailure::WrongTables,
        _ => StoreFailure::Unexpected,
    }
}

/// Whether the statement that failed like this may be sent again.
pub(super) fn again_after(failure: StoreFailure) -> Again {
    match failure {
        StoreFailure::Busy => Again::Surely,
        StoreFailure::ConnectionLost => Again::IfHarmless,
        _ => Again::No,
    }
}

fn is_postgres(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some()
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn of_sqlstate(code: &str) -> StoreFailure {
    match code {
        "40001" | "40P01" | "55P03" => StoreFailure::Busy,
        // 57014: the statement's time was up, or an administrator cancelled it.
        "57014" | "57P05" => StoreFailure::Overdue,
        "57P01" | "57P02" => StoreFailure::ConnectionLost,
        // 57P03: the server starts or stops; 53300: it has no free connection.
        "57P03" => StoreFailure::Unreachable,
        "53300" => StoreFailure::NoConnection,
        "53100" | "53200" | "53400" | "54000" => StoreFailure::Full,
        "28000" | "28P01" => StoreFailure::BadCredentials,
        "3D000" => StoreFailure::DatabaseMissing,
        "42501" => StoreFailure::AccessDenied,
        "25006" => StoreFailure::ReadOnlyServer,
        "XX001" | "XX002" => StoreFailure::Damaged,
        "42P01" | "42703" | "42P07" | "3F000" => StoreFailure::WrongTables,
        "58030" => StoreFailure::DiskFailed,
        _ if code.starts_with("08") => StoreFailure::ConnectionLost,
        _ => StoreFailure::Unexpected,
    }
}

/// <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn of_sqlite(code: i32) -> StoreFailure {
    const SHARED_MEMORY_SIZE: i32 = 4874;
    if code == SHARED_MEMORY_SIZE {
        // Growing the index of the write-ahead log fails like this on a full disk.
        return StoreFailure::Full;
    }
    match code & 0xff {
        // A generic SQL error; our statements are right, hence it is the tables.
        1 => StoreFailure::WrongTables,
        // 3: permission; 14: the file cannot be opened; 23: authorization.
        3 | 14 | 23 => StoreFailure::AccessDenied,
        // 5: another connection; 6: another statement; 15: the lock protocol of the log was too contended.
        5 | 6 | 15 => StoreFailure::Busy,
        7 | 13 | 18 => StoreFailure::Full,
        8 => StoreFailure::ReadOnlyFile,
        10 => StoreFailure::DiskFailed,
        11 => StoreFailure::Damaged,
        26 => StoreFailure::NotADatabase,
        _ => StoreFailure::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_have_their_class() {
        let table = [
            ("40001", ErrorCode::Unreachable, Again::Surely),
            ("40P01", ErrorCode::Unreachable, Again::Surely),
            ("57P01", ErrorCode::Unreachable, Again::IfHarmless),
            ("08006", ErrorCode::Unreachable, Again::IfHarmless),
            ("57014", ErrorCode::Unreachable, Again::No),
            ("53300", ErrorCode::Unreachable, Again::No),
            ("25006", ErrorCode::Unreachable, Again::No),
            ("53100", ErrorCode::Limit, Again::No),
            ("28P01", ErrorCode::AccessDenied, Again::No),
            ("42501", ErrorCode::AccessDenied, Again::No),
            ("3D000", ErrorCode::NotFound, Again::No),
            ("42P01", ErrorCode::Invalid, Again::No),
            ("XX001", ErrorCode::Invalid, Again::No),
            ("42601", ErrorCode::Bug, Again::No),
        ];
        for (sqlstate, code, again) in table {
            let failure = of_sqlstate(sqlstate);
            assert_eq!((failure.code(), again_after(failure)), (code, again), "{sqlstate}");
        }
    }

    #[test]
    fn sqlite_codes_have_their_class() {
        // 517: a snapshot grew old; 778: writing failed; 1032: the file was moved; 1544: its folder is read-only.
        let table = [
            (5, StoreFailure::Busy),
            (517, StoreFailure::Busy),
            (262, StoreFailure::Busy),
            (778, StoreFailure::DiskFailed),
            (4874, StoreFailure::Full),
            (13, StoreFailure::Full),
            (1032, StoreFailure::ReadOnlyFile),
            (1544, StoreFailure::ReadOnlyFile),
            (11, StoreFailure::Damaged),
            (26, StoreFailure::NotADatabase),
            (14, StoreFailure::AccessDenied),
            (1, StoreFailure::WrongTables),
            (21, StoreFailure::Unexpected),
        ];
        for (code, failure) in table {
            assert_eq!(of_sqlite(code), failure, "{code}");
        }
    }
}
