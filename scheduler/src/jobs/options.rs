//! The bounds of a job, and how long it waits between attempts.

use serde::{Deserialize, Serialize};

/// Bounds of one job. Every count below 1 is taken for 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobOptions {
    /// How many attempts of one shard may fail before the job does; 4 by default.
    pub shard_attempts_max: u32,
    /// How many plannings may fail before the job does; 3 by default.
    pub plan_attempts_max: u32,
    /// How many commits may fail before the job does; 10 by default.
    pub commit_attempts_max: u32,
    /// How often schedulers may be lost without a shard done in between, before the job fails; 20 by default.
    /// It ends jobs that take their scheduler down each time, and is large because restarts are not a job's fault.
    pub interruptions_max: u32,
    /// The wait after a first failure in milliseconds; it doubles with each further one. 500 by default.
    pub backoff_min_ms: u32,
    /// The longest wait in milliseconds; 30 000 by default.
    pub backoff_max_ms: u32,
    /// How many shards of a job run side by side; 2 by default.
    pub shards_at_once: u32,
    /// How many entries a job's history keeps; 200 by default, at least 2.
    pub history_max: u32,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            shard_attempts_max: 4,
            plan_attempts_max: 3,
            commit_attempts_max: 10,
            interruptions_max: 20,
            backoff_min_ms: 500,
            backoff_max_ms: 30_000,
            shards_at_once: 2,
            history_max: 200,
        }
    }
}

impl JobOptions {
    /// How long to wait after so many failures. Without jitter: jobs do not share what they wait for, and a wait that is
    /// known can be tested and shown.
    pub fn backoff_ms(&self, failures: u32) -> i64 {
        let doublings = failures.saturating_sub(1).min(31);
        let wait = u64::from(self.backoff_min_ms) << doublings;
        i64::try_from(wait.min(u64::from(self.backoff_max_ms))).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::JobOptions;

    #[test]
    fn waits_double_up_to_their_bound() {
        let options = JobOptions::default();
        let waits: Vec<i64> = [0, 1, 2, 3, 6, 7, 8, 40, u32::MAX].map(|n| options.backoff_ms(n)).to_vec();
        assert_eq!(waits, [500, 500, 1000, 2000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn a_misspelt_option_is_refused() {
        assert!(serde_json::from_str::<JobOptions>(r#"{"shards_at_once": 3}"#).is_ok());
        assert!(serde_json::from_str::<JobOptions>(r#"{"shard_at_once": 3}"#).is_err());
    }
}
