//! The partial fold: a part of a lookup folds its own rows against the whole spine and hands on its candidates only.
//!
//! What comes out is an input for the slot fold, which merges the parts' candidates as it would fold the rows themselves:
//! folding is a maximum. For each slot a part hands on its best row; where the tie columns chose that one, also a row that
//! it was chosen over; and under a created cut also the greatest event time seen, if no candidate is as late.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};

use crate::account::ACCOUNT_TYPE;
use crate::key_cuts::{KeyCuts, SPAN_TYPE};
use crate::spec::{LookupSpec, PayloadColumn};

/// What a partial fold is asked for. Its inputs are the lookup's narrow rows and the spine's keys and instants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CandidatesSpec {
    /// The lookup as a form that reads late wants it; its payload and ties are late columns.
    pub lookup: LookupSpec,
    /// Positions of the keys in the spine's input.
    pub spine_keys: Vec<usize>,
    /// Position of the instant in the spine's input.
    pub spine_instant: usize,
    /// Heavy keys that are cut: the span is then one more key of what comes out.
    pub cuts: Option<KeyCuts>,
}

impl CandidatesSpec {
    /// Columns: the keys, the span where keys are cut, the event time, the created time if there is one, the late columns that are
    /// asked for or decide between ties, the account. All may be null.
    ///
    /// # Errors
    /// Positions beyond the inputs, keys of unequal types, a lookup without ordinals.
    pub fn output_schema(&self, lookup: &Schema, spine: &Schema, late: &Schema) -> Result<SchemaRef> {
        let field = |schema: &Schema, position: usize| match schema.fields().get(position) {
            Some(field) => Ok(Arc::clone(field)),
            None => invalid(format!("column {position} is beyond {} columns", schema.fields().len())),
        };
        let spec = &self.lookup;
        if spec.ordinal.is_none() {
            return invalid(format!("lookup `{}` has no ordinals", spec.name));
        }
        if spec.keys.len() != self.spine_keys.len() {
            return invalid(format!("lookup `{}` has another number of keys than the spine", spec.name));
        }
        let mut fields = Vec::new();
        let mut add = |name: String, data_type: &DataType| {
            fields.push(Field::new(name, data_type.clone(), true));
        };
        for (number, (&left, &right)) in self.spine_keys.iter().zip(&spec.keys).enumerate() {
            let (left, right) = (field(spine, left)?, field(lookup, right)?);
            if left.data_type() != right.data_type() {
                return invalid(format!(
                    "key {number} is {} in the spine but {} in `{}`",
                    left.data_type(),
                    right.data_type(),
                    spec.name
                ));
            }
            add(format!("__key_{number}"), left.data_type());
        }
        if self.cuts.is_some() {
            add("__span".into(), &SPAN_TYPE);
        }
        add("__time".into(), field(lookup, spec.time)?.data_type());
        match (spec.created, spec.late_created) {
            (Some(created), _) => add("__created".into(), field(lookup, created)?.data_type()),
            (None, Some(created)) => add("__created".into(), field(late, created)?.data_type()),
            (None, None) => {}
        }
        for (number, column) in self.late_columns().into_iter().enumerate() {
            // Metadata goes with a column into the dataset.
            let column = field(late, column)?;
            fields.push(
                Field::new(format!("__late_{number}"), column.data_type().clone(), true)
                    .with_metadata(column.metadata().clone()),
            );
        }
        fields.push(Field::new("__account", ACCOUNT_TYPE, true));
        Ok(Arc::new(Schema::new(fields)))
    }

    /// The lookup that a slot fold joins; its positions are those of [`Self::output_schema`].
    pub fn merged_lookup(&self) -> LookupSpec {
        let keys = self.spine_keys.len() + usize::from(self.cuts.is_some());
        let has_created = self.lookup.created.or(self.lookup.late_created).is_some();
        let first_late = keys + 1 + usize::from(has_created);
        let late = self.late_columns();
        let place = |column: usize| first_late + late.partition_point(|&c| c < column);
        LookupSpec {
            name: self.lookup.name.clone(),
            keys: (0..keys).collect(),
            time: keys,
            created: has_created.then_some(keys + 1),
            ordinal: None,
            late_created: None,
            account: Some(first_late + late.len()),
            ties: self.lookup.ties.iter().map(|&column| place(column)).collect(),
            payload: self
                .lookup
                .payload
                .iter()
                .map(|payload| PayloadColumn {
                    column: place(payload.column),
                    output: payload.output.clone(),
                })
                .collect(),
            ttl_nanos: self.lookup.ttl_nanos,
            created_cut: self.lookup.created_cut,
        }
    }

    /// The late columns that are handed on, ascending.
    pub(crate) fn late_columns(&self) -> Vec<usize> {
        let payload = self.lookup.payload.iter().map(|payload| payload.column);
        let mut columns: Vec<usize> = self.lookup.ties.iter().copied().chain(payload).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

impl fmt::Display for CandidatesSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[keys={}", self.lookup.name, self.lookup.keys.len())?;
        if let Some(ttl) = self.lookup.ttl_nanos {
            write!(f, " ttl={ttl}ns")?;
        }
        if self.lookup.created_cut {
            write!(f, " created_cut")?;
        }
        if self.cuts.is_some() {
            write!(f, " cut")?;
        }
        write!(f, "]")
    }
}

fn invalid<T>(what: String) -> Result<T> {
    Err(DataFusionError::Plan(format!("partial fold: {what}")))
}
