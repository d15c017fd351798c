//! Why a retrieval failed: the thing, where it is, what would be allowed.

use std::io::ErrorKind;
use std::sync::Arc;

use arrow::error::ArrowError;
use backsight_proto::ErrorCode;
use backsight_storage::{Location, StorageError};
use datafusion::common::DataFusionError;

use crate::resolve::ResolveError;
use crate::wire_failure::{MarkedFault, WireFailure};

/// How a message begins that says that memory ran out: by that it is known when it comes from another process.
const MEMORY_REACHED: &str = "the memory limit was reached";

/// Why a retrieval failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RetrievalError {
    /// The request names what is not there.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Storage did not do what was asked.
    #[error("{0}")]
    Storage(Arc<StorageError>),
    /// A Parquet file cannot be read.
    #[error("{role} `{file}` cannot be read as Parquet{}: {detail}", place(row_group))]
    Corrupt {
        /// `spine` or `source … of view …`.
        role: String,
        /// The file.
        file: Box<Location>,
        /// Row group, when the file's footer is sound.
        row_group: Option<usize>,
        /// What the reader said.
        detail: String,
    },
    /// A Delta table that cannot be read as it is meant.
    #[error("Delta table `{table}` {reason}")]
    UnsupportedTable {
        /// Where it is.
        table: Box<Location>,
        /// What is in use.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The log of a Delta table cannot be read, or is not of its files.
    #[error("the log of Delta table `{table}` cannot be used: {detail}")]
    DamagedTable {
        /// Where it is.
        table: Box<Location>,
        /// What was met.
        detail: String,
    },
    /// A file that the log of a Delta table names is not as it says.
    #[error("`{file}`, a file of version {version} of its Delta table, {detail}")]
    TableFile {
        /// The file.
        file: Box<Location>,
        /// The version.
        version: u64,
        /// How it is instead.
        detail: String,
    },
    /// A spine's file, or the SELECT that makes one, cannot be used.
    #[error("the spine `{file}`: {detail}")]
    BadSpine {
        /// The file, or what was asked for.
        file: String,
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// A column is missing.
    #[error("{role} has no column `{column}`")]
    MissingColumn {
        /// `spine …` or `source … of view …`, with its location.
        role: String,
        /// The column.
        column: String,
        /// What it is needed for, and what there is.
        hint: String,
    },
    /// Files of one table disagree beyond lossless widening.
    #[error(transparent)]
    FilesDisagree(Box<FileContradiction>),
    /// A column has a type that its role cannot have.
    #[error("{role}: column `{column}` is {given}, expected {expected}")]
    WrongType {
        /// Whose column.
        role: String,
        /// The column.
        column: String,
        /// Its type.
        given: String,
        /// What would do.
        expected: String,
        /// What to do.
        hint: String,
    },
    /// Key columns of the two sides cannot be compared.
    #[error(transparent)]
    KeyTypes(Box<KeyMismatch>),
    /// The spine's instant cannot be found.
    #[error("the spine `{spine}` has no column that can be its instant")]
    NoInstant {
        /// Where the spine is.
        spine: String,
        /// What there is.
        hint: String,
    },
    /// The request cannot be as it is.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The output holds something that this request must not touch.
    #[error("{message}")]
    OutputConflict {
        /// What is there.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A source or spine file changed while it was read.
    #[error("`{file}` changed while it was read: {change}")]
    SourceChanged {
        /// The file.
        file: Box<Location>,
        /// Size or version, before and after.
        change: String,
    },
    /// Values that cannot be used, met while running.
    #[error("{message}")]
    Data {
        /// What was met.
        message: String,
    },
    /// The memory limit was reached.
    #[error("{MEMORY_REACHED}: {detail}")]
    Memory {
        /// Which part asked for how much.
        detail: String,
    },
    /// The limit of what may be spilled was reached, the disk limit of an executor, or a disk is full.
    #[error("no room is left on disk: {detail}")]
    Disk {
        /// Whose disk, how much.
        detail: String,
    },
    /// A spine that has to be made is larger than whoever makes it keeps.
    #[error("the spine that has to be written is larger than {} bytes", .bytes_max)]
    SpineTooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// The accounts of a run do not balance: nothing is committed.
    #[error("the result was not committed, its accounts do not balance: {detail}")]
    Unbalanced {
        /// Which account, both sides.
        detail: String,
    },
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The cluster lost a part of the work: an executor, its files, or the way to it.
    #[error("{message}")]
    Lost {
        /// What was lost, and where.
        message: String,
    },
    /// A failure of another process, as it was there.
    #[error("{}", .0.message)]
    Remote(Box<WireFailure>),
    /// Our own mistake.
    #[error("{message}")]
    Bug {
        /// What was met.
        message: String,
    },
}

/// Two files of one table whose columns cannot be one.
#[derive(Debug, Clone, thiserror::Error)]
#[error("column `{column}` is {first} in `{first_file}` but {second} in `{second_file}`")]
pub struct FileContradiction {
    /// The column.
    pub column: String,
    /// A type.
    pub first: String,
    /// A file that has it.
    pub first_file: Location,
    /// The other type.
    pub second: String,
    /// A file that has that.
    pub second_file: Location,
}

/// A join key whose two sides cannot be compared.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "join key `{spine_column}` is {spine_type} in the spine `{spine}` but `{view_column}` is {view_type} in \
     `{source_uri}` (feature view `{view}`)"
)]
pub struct KeyMismatch {
    /// Spine column.
    pub spine_column: String,
    /// Its type.
    pub spine_type: String,
    /// Where the spine is.
    pub spine: String,
    /// View's column.
    pub view_column: String,
    /// Its type.
    pub view_type: String,
    /// Where the source is.
    pub source_uri: String,
    /// The view.
    pub view: String,
    /// What to do.
    pub hint: String,
}

fn place(row_group: &Option<usize>) -> String {
    row_group.map(|number| format!(" (row group {number})")).unwrap_or_default()
}

impl From<StorageError> for RetrievalError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

impl RetrievalError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Resolve(error) => error.code(),
            Self::Storage(error) => error.code(),
            Self::Corrupt { .. }
            | Self::DamagedTable { .. }
            | Self::TableFile { .. }
            | Self::FilesDisagree(_)
            | Self::SourceChanged { .. }
            | Self::Data { .. } => ErrorCode::Data,
            Self::MissingColumn { role, .. } | Self::WrongType { role, .. } => {
                if role.starts_with("spine") {
                    ErrorCode::Invalid
                } else {
                    ErrorCode::Data
                }
            }
            Self::KeyTypes(_) | Self::NoInstant { .. } | Self::BadSpine { .. } => ErrorCode::Invalid,
            Self::Usage { .. } | Self::UnsupportedTable { .. } => ErrorCode::Usage,
            Self::OutputConflict { .. } => ErrorCode::Conflict,
            Self::Memory { .. } | Self::Disk { .. } | Self::SpineTooLarge { .. } => ErrorCode::Limit,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::Lost { .. } => ErrorCode::Unreachable,
            Self::Remote(failure) => failure.error_code(),
            Self::Unbalanced { .. } | Self::Bug { .. } => ErrorCode::Bug,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Resolve(error) => error.hint(),
            Self::Storage(error) => error.hint(),
            Self::MissingColumn { hint, .. }
            | Self::WrongType { hint, .. }
            | Self::NoInstant { hint, .. }
            | Self::BadSpine { hint, .. } => Some(hint.clone()).filter(|hint| !hint.is_empty()),
            Self::UnsupportedTable { hint, .. } => Some(hint.clone()),
            Self::DamagedTable { .. } => {
                Some("look whether other readers of Delta tables can read it".into())
            }
            Self::TableFile { .. } => {
                Some("`VACUUM` removes files that only old versions have: ask for a newer version".into())
            }
            Self::KeyTypes(mismatch) => Some(mismatch.hint.clone()),
            Self::Usage { hint, .. } | Self::OutputConflict { hint, .. } => hint.clone(),
            Self::Memory { .. } => Some(
                "give it more with `--memory-limit`, or ask for fewer views or spine rows at a time".into(),
            ),
            Self::Disk { .. } => Some(
                "give it more room with `--spill-limit`, or another disk with `--spill-dir` (executors: `--disk-limit` and \
                 `--work-dir`), or more memory with `--memory-limit`, so that less is spilled"
                    .into(),
            ),
            Self::SpineTooLarge { .. } => Some(
                "write it as Parquet into an object store and name it there, or start the scheduler with a greater `--spine-upload-max`".into(),
            ),
            Self::SourceChanged { .. } => {
                Some("run it again once the writer of that file has finished".into())
            }
            Self::FilesDisagree(_) => Some("rewrite one of the files with the other's type".into()),
            Self::Corrupt { .. } => Some("write the file again; nothing was committed".into()),
            Self::Unbalanced { .. } | Self::Bug { .. } => {
                Some("this is a bug in backsight, please report it; nothing was committed".into())
            }
            Self::Lost { .. } => Some("nothing was committed; run it again".into()),
            Self::Remote(failure) => failure.hint.clone(),
            Self::Data { .. } | Self::Cancelled => None,
        }
    }

    /// Whether memory ran out, here or where the work was done: a form that spills may succeed.
    pub fn is_memory(&self) -> bool {
        match self {
            Self::Memory { .. } => true,
            Self::Remote(failure) => {
                failure.error_code() == ErrorCode::Limit && failure.message.starts_with(MEMORY_REACHED)
            }
            _ => false,
        }
    }

    /// Whether the same work done again may succeed: what was lost is made anew, accounts that did not balance
    /// are taken for a loss that nobody reported.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage(error) => error.code().is_retryable(),
            Self::Lost { .. } | Self::Unbalanced { .. } => true,
            Self::Remote(failure) => failure.is_retryable,
            _ => false,
        }
    }

    /// The failure behind an error of the query engine.
    pub fn from_engine(error: DataFusionError) -> Self {
        Self::of_engine(&error)
    }

    /// The same, of an error that others look at, too.
    pub fn of_engine(error: &DataFusionError) -> Self {
        if let Some(own) = find_own(error) {
            return own;
        }
        if let Some(failure) = WireFailure::find(&error.to_string()) {
            return Self::Remote(Box::new(failure));
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(detail) => Self::Memory { detail: detail.clone() },
            DataFusionError::ObjectStore(cause) => Self::Data { message: cause.to_string() },
            DataFusionError::ParquetError(cause) => {
                Self::Data { message: format!("a Parquet file cannot be read: {cause}") }
            }
            DataFusionError::ArrowError(cause, _) => match cause.as_ref() {
                // A shuffle or spill file that found no room.
                ArrowError::IoError(_, cause) if is_full(cause) => Self::Disk { detail: cause.to_string() },
                cause => Self::Data { message: cause.to_string() },
            },
            DataFusionError::IoError(cause) if is_full(cause) => Self::Disk { detail: cause.to_string() },
            DataFusionError::IoError(cause) => Self::Data { message: cause.to_string() },
            DataFusionError::Execution(message) => Self::Data { message: message.clone() },
            other => Self::Bug { message: other.to_string() },
        }
    }
}

/// A full disk, or a limit of what may be spilled: that is known by the setting which it names.
fn is_full(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        || cause.to_string().contains("max_temp_directory_size")
}

/// An error of ours that travelled through the engine.
fn find_own(error: &DataFusionError) -> Option<RetrievalError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(own) = current.downcast_ref::<RetrievalError>() {
            return Some(own.clone());
        }
        if let Some(storage) = current.downcast_ref::<Arc<StorageError>>() {
            return Some(RetrievalError::Storage(Arc::clone(storage)));
        }
        if let Some(MarkedFault(storage)) = current.downcast_ref() {
            return Some(RetrievalError::Storage(Arc::clone(storage)));
        }
        cause = match current.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Context(_, inner)) => Some(inner.as_ref()),
            Some(DataFusionError::ArrowError(inner, _)) => match inner.as_ref() {
                ArrowError::ExternalError(inner) => Some(inner.as_ref()),
                other => std::error::Error::source(other),
            },
            _ => current.source(),
        };
    }
    None
}

impl From<RetrievalError> for DataFusionError {
    fn from(error: RetrievalError) -> Self {
        Self::External(Box::new(error))
    }
}
