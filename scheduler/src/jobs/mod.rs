//! What becomes of a submitted retrieval, decided without I/O, clock or randomness.
//!
//! A [`Job`] is a durable record. [`on_event`] changes it and says what to do next; whoever drives the job persists the
//! record first and performs the [`Action`]s afterwards, so a crash between the two loses actions and never decisions:
//! [`Event::Recovered`] asks for them again.

mod admission;
mod attempts;
mod ending;
mod error;
mod history;
mod machine;
mod model;
mod options;
mod record;
mod resubmit;
mod shard_work;

#[cfg(test)]
mod admission_tables;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tables;

pub use admission::{AdmissionLimits, Waiting, admit, check_queue, queue_positions};
pub use error::JobError;
pub use machine::{Action, Event, on_event};
pub use model::{Job, JobFailure, JobId, JobState, Shard, ShardPlan, ShardState, Submission, Transition};
pub use options::JobOptions;
pub use record::FORMAT;
pub use resubmit::{Resubmission, resubmit};
