//! What a point-in-time join is asked for: positions in its inputs, bounds, and the columns it adds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};

/// Which algorithm runs the join. All give the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JoinForm {
    /// Index the spine as slots, stream the lookups unsorted, keep one candidate a slot.
    SlotFold,
    /// The slot fold in one process: all partitions share one index of the spine, nothing is exchanged, and columns are
    /// read late, for winners only.
    LateFold,
    /// The slot fold whose scan tasks fold their own rows first, against a broadcast of the spine's keys and instants, so
    /// that only candidates are exchanged ([`crate::CandidatesSpec`]).
    CandidateFold,
    /// Hold the lookups whole, as steps of each key, and let the spine stream past: for a spine much larger than they are.
    Broadcast,
    /// The slot fold that keeps within its memory: everything goes to buckets on disk, which are folded one after the other.
    SpilledFold,
    /// Compare every spine row with every lookup row: the oracle, for small data only.
    NaiveLoop,
}

impl JoinForm {
    /// The name shown by `explain` and recorded in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlotFold => "slot fold",
            Self::LateFold => "late slot fold",
            Self::CandidateFold => "candidate fold",
            Self::Broadcast => "broadcast features",
            Self::SpilledFold => "spilling fold",
            Self::NaiveLoop => "naive loop",
        }
    }
}

/// One column taken from a lookup into the output.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayloadColumn {
    /// Position in the lookup's input, or among its late columns where the form reads late.
    pub column: usize,
    /// Name in the join's output.
    pub output: String,
}

/// One right side of the join: where its keys and times are, and what it adds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LookupSpec {
    /// What messages call this lookup.
    pub name: String,
    /// Positions of the keys, in the order of the spine's keys.
    pub keys: Vec<usize>,
    /// Position of the event time, a timestamp of any unit and zone.
    pub time: usize,
    /// Position of the created time, a timestamp of any unit and zone.
    pub created: Option<usize>,
    /// Where the form reads late: position of the column that names each row.
    pub ordinal: Option<usize>,
    /// Where the form reads late and no cut needs it sooner: the created time among the late columns.
    pub late_created: Option<usize>,
    /// Where the input is a partial fold's ([`crate::CandidatesSpec`]): position of its accounts.
    pub account: Option<usize>,
    /// Columns that decide between rows of equal event and created time, most significant first; late columns where the
    /// form reads late.
    pub ties: Vec<usize>,
    /// Columns to add to the output.
    pub payload: Vec<PayloadColumn>,
    /// Greatest age of a row that may match, in nanoseconds, inclusive; `None` is unbounded.
    pub ttl_nanos: Option<i128>,
    /// Whether a row must also be created at or before the spine's instant.
    pub created_cut: bool,
}

/// A whole join: one spine and the lookups that share its keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AsofSpec {
    /// The algorithm.
    pub form: JoinForm,
    /// Positions of the keys in the spine; none for lookups that match on time alone.
    pub spine_keys: Vec<usize>,
    /// Position of the spine's instant, a timestamp of any unit and zone.
    pub spine_instant: usize,
    /// The lookups, in output order.
    pub lookups: Vec<LookupSpec>,
    /// First number used in the names of the outcome columns, so that joins can be chained.
    pub first_outcome: usize,
    /// Whether rows may come in another order than the spine's: near those of the same key, where that makes them easier to
    /// write.
    pub clusters: bool,
}

/// Name of the column that says how lookup number `lookup` ended for a row (see [`crate::Outcome`]).
pub fn outcome_column(lookup: usize) -> String {
    format!("__outcome_{lookup}")
}

/// Name of the column that holds the winner's age in nanoseconds, saturated, null where nothing matched.
pub fn age_column(lookup: usize) -> String {
    format!("__age_{lookup}")
}

impl AsofSpec {
    /// The join's output: the spine's columns, then for each lookup its payload, outcome and age. `late` are the schemas
    /// of the columns that are read late, one for each lookup or none at all.
    pub fn output_schema(
        &self,
        spine: &Schema,
        lookups: &[SchemaRef],
        late: &[SchemaRef],
    ) -> Result<SchemaRef> {
        let payload = match (self.form, late.len() == self.lookups.len()) {
            (JoinForm::LateFold, true) => late,
            (JoinForm::LateFold, false) => return invalid("late columns are missing".into()),
            _ => lookups,
        };
        self.check(spine, lookups, payload)?;
        let mut fields: Vec<Arc<Field>> = spine.fields().iter().cloned().collect();
        for (number, (spec, schema)) in self.lookups.iter().zip(payload).enumerate() {
            for payload in &spec.payload {
                let field = schema.field(payload.column);
                fields.push(Arc::new(
                    Field::new(&payload.output, field.data_type().clone(), true)
                        .with_metadata(field.metadata().clone()),
                ));
            }
            fields.extend(outcome_fields(self.first_outcome + number));
        }
        Ok(Arc::new(Schema::new_with_metadata(Fields::from(fields), spine.metadata().clone())))
    }

    /// Whether rows of such a spine come in an order of their own.
    pub(crate) fn may_cluster(&self, spine: &Schema) -> bool {
        // Dictionaries of many batches need not fit in one.
        self.clusters && !spine.fields().iter().any(|field| has_dictionary(field.data_type()))
    }

    /// Positions, types and counts that must hold before anything runs.
    fn check(&self, spine: &Schema, lookups: &[SchemaRef], payloads: &[SchemaRef]) -> Result<()> {
        if lookups.len() != self.lookups.len() {
            return invalid(format!("{} lookups are specified, {} given", self.lookups.len(), lookups.len()));
        }
        timestamp(spine, self.spine_instant, "the spine's instant")?;
        for ((spec, schema), payload) in self.lookups.iter().zip(lookups).zip(payloads) {
            if spec.keys.len() != self.spine_keys.len() {
                return invalid(format!("lookup `{}` has another number of keys than the spine", spec.name));
            }
            for (&left, &right) in self.spine_keys.iter().zip(&spec.keys) {
                let (left, right) = (column(spine, left)?, column(schema, right)?);
                if left.data_type() != right.data_type() {
                    return invalid(format!(
                        "key `{}` is {} in the spine but {} in `{}`",
                        left.name(),
                        left.data_type(),
                        right.data_type(),
                        spec.name
                    ));
                }
            }
            timestamp(schema, spec.time, "the event time")?;
            if let Some(created) = spec.created {
                timestamp(schema, created, "the created time")?;
            }
            for &position in spec.ties.iter().chain(spec.payload.iter().map(|p| &p.column)) {
                column(payload, position)?;
            }
            if let Some(ordinal) = spec.ordinal {
                let field = column(schema, ordinal)?;
                if field.data_type() != &DataType::UInt64 {
                    return invalid(format!("the ordinal `{}` is {}", field.name(), field.data_type()));
                }
            }
            if let Some(created) = spec.late_created {
                timestamp(payload, created, "the created time")?;
            }
            if let Some(account) = spec.account {
                column(schema, account)?;
            }
        }
        Ok(())
    }
}

fn has_dictionary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, _) | DataType::RunEndEncoded(_, _) | DataType::Union(_, _) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_dictionary(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_dictionary(field.data_type())),
        _ => false,
    }
}

fn outcome_fields(number: usize) -> [Arc<Field>; 2] {
    [
        Arc::new(Field::new(outcome_column(number), DataType::UInt8, false)),
        Arc::new(Field::new(age_column(number), DataType::Int64, true)),
    ]
}

fn column(schema: &Schema, position: usize) -> Result<&Field> {
    match schema.fields().get(position) {
        Some(field) => Ok(field),
        None => invalid(format!("column {position} is beyond an input of {} columns", schema.fields().len())),
    }
}

fn timestamp(schema: &Schema, position: usize, what: &str) -> Result<()> {
    let field = column(schema, position)?;
    match field.data_type() {
        DataType::Timestamp(_, _) => Ok(()),
        other => invalid(format!("{what} `{}` is {other}, expected a timestamp", field.name())),
    }
}

fn invalid<T>(what: String) -> Result<T> {
    Err(DataFusionError::Plan(format!("point-in-time join: {what}")))
}
