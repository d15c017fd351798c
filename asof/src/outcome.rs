//! How a lookup ended for one spine row: matched, or why not.

/// How a lookup ended for one spine row.
///
/// Exact on every form and layout, decided in this order: the first that holds is the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The spine row has no instant.
    NullInstant,
    /// One of the spine row's keys is null.
    NullKey,
    /// A row in `[instant − ttl, instant]` exists but was created after the instant.
    Hidden,
    /// No row in `[instant − ttl, instant]`.
    NoneInReach,
    /// A row matched.
    Matched,
    /// A row matched that shared event and created time with different rows: the tie columns decided.
    MatchedByTie,
}

impl Outcome {
    /// The value in the outcome column.
    pub fn code(self) -> u8 {
        match self {
            Self::Matched => 0,
            Self::MatchedByTie => 1,
            Self::NullInstant => 2,
            Self::NullKey => 3,
            Self::Hidden => 4,
            Self::NoneInReach => 5,
        }
    }

    /// The outcome behind a value of the outcome column.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Matched,
            1 => Self::MatchedByTie,
            2 => Self::NullInstant,
            3 => Self::NullKey,
            4 => Self::Hidden,
            5 => Self::NoneInReach,
            _ => return None,
        })
    }

    /// Whether a row matched.
    pub fn is_match(self) -> bool {
        matches!(self, Self::Matched | Self::MatchedByTie)
    }
}
