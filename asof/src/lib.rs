//! How rows meet: the point-in-time join as a DataFusion extension.
//!
//! For each row of a *spine* (keys and an instant) and each *lookup* (keys, event time, maybe a created time,
//! columns) the join finds the lookup row that was known at that instant: equal keys, `time <= instant`,
//! `time >= instant - ttl`, and of these the latest. It knows nothing of features or registries.

mod account;
mod broadcast_index;
mod broadcast_join;
mod candidates;
mod candidates_exec;
mod candidates_node;
mod clustered_runs;
mod codec;
mod exec;
mod fetched;
mod fold;
mod fold_metrics;
mod instants;
mod key_cuts;
mod key_index;
mod key_values;
mod late;
mod late_fold;
mod locate;
mod locate_end;
mod locate_rows;
mod logical;
mod naive;
mod operator;
mod outcome;
mod packed_rows;
mod partial_fold;
mod places;
mod planner;
mod retained;
mod row_set;
mod search;
mod settle;
mod slot_fold;
mod slot_index;
mod slot_values;
mod spans;
mod spans_exec;
mod spans_node;
mod spec;
mod spill_file;
mod spilled_fold;
mod spine_rows;
#[cfg(test)]
mod tests;
mod ties;
mod tuple_keys;

pub use candidates::CandidatesSpec;
pub use candidates_node::CandidatesNode;
pub use codec::{AsofPhysicalCodec, LateDecoder};
pub use exec::AsofJoinExec;
pub use fold_metrics::FoldAccount;
pub use instants::nanos_per;
pub use key_cuts::KeyCuts;
pub use late::{ColumnPieces, LateColumns};
pub use logical::AsofJoinNode;
pub use operator::operator_inputs;
pub use outcome::Outcome;
pub use planner::AsofPlanner;
pub use spans::SpansSpec;
pub use spans_node::SpansNode;
pub use spec::{AsofSpec, JoinForm, LookupSpec, PayloadColumn, age_column, outcome_column};
