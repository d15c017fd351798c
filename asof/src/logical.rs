//! The logical node: a specification over a spine and its lookups.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::late::{LateColumns, LateHandle};
use crate::spec::AsofSpec;

/// The point-in-time join in a logical plan.
///
/// The specification names columns by position, so every input keeps all its columns in order: project the
/// inputs to what the join needs.
#[derive(Debug, Clone)]
pub struct AsofJoinNode {
    spec: Arc<AsofSpec>,
    inputs: Vec<LogicalPlan>,
    late: Vec<LateHandle>,
    schema: DFSchemaRef,
}

impl AsofJoinNode {
    /// A join of `spine` with `lookups`.
    ///
    /// # Errors
    /// When the specification does not fit the inputs' schemas.
    pub fn try_new(spec: Arc<AsofSpec>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        Self::try_new_late(spec, inputs, Vec::new())
    }

    /// The same for a form that reads columns late: `late` holds a reader for each lookup.
    ///
    /// # Errors
    /// When the specification does not fit the inputs' and the readers' schemas.
    pub fn try_new_late(
        spec: Arc<AsofSpec>,
        inputs: Vec<LogicalPlan>,
        late: Vec<Arc<dyn LateColumns>>,
    ) -> Result<Self> {
        let late_schemas: Vec<SchemaRef> = late.iter().map(|late| late.schema()).collect();
        let schemas: Vec<SchemaRef> = inputs.iter().map(|input| Arc::clone(input.schema().inner())).collect();
        let (spine, lookups) = schemas
            .split_first()
            .ok_or_else(|| datafusion::common::DataFusionError::Plan("a join needs a spine".into()))?;
        let schema = spec.output_schema(spine, lookups, &late_schemas)?;
        let late = late.into_iter().map(LateHandle).collect();
        Ok(Self { schema: Arc::new(DFSchema::try_from(schema)?), spec, inputs, late })
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    pub(crate) fn spec(&self) -> &Arc<AsofSpec> {
        &self.spec
    }

    pub(crate) fn late(&self) -> Vec<Arc<dyn LateColumns>> {
        self.late.iter().map(|handle| Arc::clone(&handle.0)).collect()
    }
}

impl PartialEq for AsofJoinNode {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec && self.inputs == other.inputs && self.late == other.late
    }
}

impl Eq for AsofJoinNode {}

impl Hash for AsofJoinNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.hash(state);
        self.inputs.hash(state);
        self.late.hash(state);
    }
}

impl PartialOrd for AsofJoinNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.spec.partial_cmp(&other.spec) {
            Some(Ordering::Equal) => self.inputs.partial_cmp(&other.inputs),
            unequal => unequal,
        }
    }
}

impl UserDefinedLogicalNodeCore for AsofJoinNode {
    fn name(&self) -> &'static str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lookups: Vec<&str> = self.spec.lookups.iter().map(|lookup| lookup.name.as_str()).collect();
        write!(f, "AsofJoin: form={}, lookups={}", self.spec.form.name(), lookups.join(", "))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        Self::try_new_late(Arc::clone(&self.spec), inputs, self.late())
    }
}
