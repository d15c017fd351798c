//! How a job is written down, and how records of every earlier version are read.
//!
//! Within a format, fields are only added, each with a default; whoever needs more than that raises [`FORMAT`] and
//! turns older records into the new shape in [`Job::from_json`]. The tests hold one record of each format.

use serde_json::Value;

use super::error::JobError;
use super::model::Job;

/// The format of records written by this version.
pub const FORMAT: u32 = 1;

/// The format of a record that does not say.
pub(super) fn first_format() -> u32 {
    1
}

impl Job {
    /// The record of this job.
    pub fn to_json(&self) -> Result<String, JobError> {
        serde_json::to_string(self).map_err(|source| JobError::Unwritable { id: self.id.clone(), source })
    }

    /// Reads a record; one of a later format is refused, as a guess at it could lose what it says.
    pub fn from_json(text: &str) -> Result<Self, JobError> {
        let unreadable = |source| JobError::Unreadable { source };
        let record: Value = serde_json::from_str(text).map_err(unreadable)?;
        let format = record.get("format").and_then(Value::as_u64).unwrap_or_else(|| first_format().into());
        if format > u64::from(FORMAT) {
            let id = record.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            return Err(JobError::NewerFormat { id, format, format_max: FORMAT });
        }
        let job: Self = serde_json::from_value(record).map_err(unreadable)?;
        Ok(Self { format: FORMAT, ..job })
    }
}

#[cfg(test)]
mod tests {
    use backsight_proto::ErrorCode;
    use serde_json::{Value, json};

    use super::super::model::{JobState, ShardState};
    use super::*;

    /// Written by the first version; never change it, add another.
    const FULL: &str = include_str!("testdata/job_format_1.json");

    #[test]
    fn a_record_of_format_1_loads_and_is_written_the_same() {
        let job = Job::from_json(FULL).unwrap();
        assert_eq!(job.state, JobState::Running);
        assert_eq!(job.shards.len(), 3);
        assert!(matches!(job.shards[0].state, ShardState::Done { attempt: 1, .. }));
        let written: Value = serde_json::from_str(&job.to_json().unwrap()).unwrap();
        let stored: Value = serde_json::from_str(FULL).unwrap();
        for (name, value) in stored.as_object().unwrap() {
            assert_eq!(written.get(name), Some(value), "field `{name}`");
        }
    }

    #[test]
    fn a_record_with_the_least_fields_loads() {
        let text = r#"{"id": "r-1", "project": "p", "request": null, "state": "queued", "from_the_future": 1,
            "shards": [{"number": 0, "plan": {"label": "a"}, "state": {"pending": {}}}]}"#;
        let job = Job::from_json(text).unwrap();
        assert_eq!((job.format, job.state, job.shards.len()), (1, JobState::Queued, 1));
        assert_eq!(Job::from_json(&job.to_json().unwrap()).unwrap(), job);
    }

    #[test]
    fn a_record_of_a_later_format_is_refused() {
        let text = json!({"format": 2, "id": "r-1", "anything": "else"}).to_string();
        let error = Job::from_json(&text).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Usage);
        assert_eq!(error.to_string(), "the record of job `r-1` has format 2, this version reads up to 1");
        assert!(error.hint().unwrap().contains("newer scheduler"));
        assert_eq!(Job::from_json("{}").unwrap_err().code(), ErrorCode::Data);
    }

    #[test]
    fn states_are_stored_under_their_names() {
        for state in JobState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), Value::from(state.name()));
        }
    }
}
