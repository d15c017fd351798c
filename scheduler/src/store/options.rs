//! How much may the store take, and how long may it wait?

use std::time::Duration;

/// The bounds of a job store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Connections to PostgreSQL at most. SQLite always has one: it has one writer anyway. Default 8.
    pub connections_max: u32,
    /// How long a call waits for a connection, new or free. Default 10 s.
    pub acquire_timeout: Duration,
    /// How long PostgreSQL may work on one statement, waits for locks included, unless the URL's `options` set
    /// `statement_timeout` themselves. Default 15 s.
    pub statement_timeout: Duration,
    /// How long SQLite waits, at each attempt, while another process writes the file. Default 5 s.
    pub busy_timeout: Duration,
    /// How often a call is tried when it lost against others or its connection broke. Default 4.
    pub attempts_max: u32,
    /// How large the record of one job may be. Default 32 MiB: more means that something grows without end.
    pub record_bytes_max: usize,
    /// How many jobs one list may hold. Default 1,000.
    pub list_jobs_max: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections_max: 8,
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(15),
            busy_timeout: Duration::from_secs(5),
            attempts_max: 4,
            record_bytes_max: 32 << 20,
            list_jobs_max: 1_000,
        }
    }
}

impl StoreOptions {
    /// How long to wait before attempt `attempt`, the first one being 1: short, and doubled each time.
    pub(super) fn pause_before(attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(2).min(5);
        Duration::from_millis(20 << doublings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_bounded() {
        let pauses: Vec<u128> =
            (2..9).map(|attempt| StoreOptions::pause_before(attempt).as_millis()).collect();
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 640]);
    }
}
