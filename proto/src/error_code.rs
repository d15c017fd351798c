//! Which class of failure this is: one code decides exit status, gRPC status and retry policy.

/// The class of a failure. Every error type of every room maps to exactly one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// A broken promise of our own code.
    Bug,
    /// The command line or the configuration asks for something that cannot be.
    Usage,
    /// Definitions, a registry or a spine are not valid.
    Invalid,
    /// A named thing does not exist.
    NotFound,
    /// A retrieval met data that it cannot use (corrupt, changed while read, wrong type).
    Data,
    /// Storage or cluster cannot be reached; a later try may succeed.
    Unreachable,
    /// Storage refuses these credentials; a later try will not succeed.
    AccessDenied,
    /// The user asked to stop.
    Cancelled,
    /// Somebody else was first: the registry moved, the output exists.
    Conflict,
    /// Memory, disk or a size reached its limit.
    Limit,
}

impl ErrorCode {
    /// The process exit status of the `backsight` command for this class of failure.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::NotFound => 4,
            Self::Data => 5,
            Self::Unreachable | Self::AccessDenied => 6,
            Self::Cancelled => 7,
            Self::Conflict => 9,
            Self::Limit => 10,
        }
    }

    /// Every class.
    const ALL: [Self; 10] = [
        Self::Bug,
        Self::Usage,
        Self::Invalid,
        Self::NotFound,
        Self::Data,
        Self::Unreachable,
        Self::AccessDenied,
        Self::Cancelled,
        Self::Conflict,
        Self::Limit,
    ];

    /// Its name in JSON and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bug => "bug",
            Self::Usage => "usage",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Data => "data",
            Self::Unreachable => "unreachable",
            Self::AccessDenied => "access_denied",
            Self::Cancelled => "cancelled",
            Self::Conflict => "conflict",
            Self::Limit => "limit",
        }
    }

    /// The class of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// Whether the same call may succeed later without a change by the user.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unreachable)
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn exit_statuses_are_the_pinned_ones() {
        let table = [
            (ErrorCode::Bug, 1),
            (ErrorCode::Usage, 2),
            (ErrorCode::Invalid, 3),
            (ErrorCode::NotFound, 4),
            (ErrorCode::Data, 5),
            (ErrorCode::Unreachable, 6),
            (ErrorCode::AccessDenied, 6),
            (ErrorCode::Cancelled, 7),
            (ErrorCode::Conflict, 9),
            (ErrorCode::Limit, 10),
        ];
        for (code, status) in table {
            assert_eq!(code.exit_status(), status, "{code:?}");
            assert_eq!(ErrorCode::from_name(code.name()), Some(code));
        }
        assert_eq!(table.map(|(code, _)| code), ErrorCode::ALL);
    }
}
