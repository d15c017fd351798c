//! The partial fold in a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::candidates::CandidatesSpec;
use crate::late::{LateColumns, LateHandle};

/// A lookup's candidates. The specification names columns by position, so both inputs keep all their columns in order.
#[derive(Debug, Clone)]
pub struct CandidatesNode {
    spec: Arc<CandidatesSpec>,
    lookup: LogicalPlan,
    spine: LogicalPlan,
    late: LateHandle,
    schema: DFSchemaRef,
}

impl CandidatesNode {
    /// The candidates of `lookup` for `spine`; `late` reads the columns of the lookup's rows.
    ///
    /// # Errors
    /// When the specification does not fit the inputs.
    pub fn try_new(
        spec: Arc<CandidatesSpec>,
        lookup: LogicalPlan,
        spine: LogicalPlan,
        late: Arc<dyn LateColumns>,
    ) -> Result<Self> {
        let schema =
            spec.output_schema(lookup.schema().inner(), spine.schema().inner(), late.schema().as_ref())?;
        Ok(Self {
            schema: Arc::new(DFSchema::try_from(schema)?),
            spec,
            lookup,
            spine,
            late: LateHandle(late),
        })
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    pub(crate) fn spec(&self) -> &Arc<CandidatesSpec> {
        &self.spec
    }

    pub(crate) fn late(&self) -> &Arc<dyn LateColumns> {
        &self.late.0
    }

    fn parts(&self) -> (&CandidatesSpec, &LogicalPlan, &LogicalPlan, &LateHandle) {
        (&self.spec, &self.lookup, &self.spine, &self.late)
    }
}

impl PartialEq for CandidatesNode {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for CandidatesNode {}

impl Hash for CandidatesNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialOrd for CandidatesNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.spec.partial_cmp(&other.spec) {
            Some(Ordering::Equal) => self.lookup.partial_cmp(&other.lookup),
            unequal => unequal,
        }
    }
}

impl UserDefinedLogicalNodeCore for CandidatesNode {
    fn name(&self) -> &'static str {
        "Candidates"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.lookup, &self.spine]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidates: {}", self.spec)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[_; 2]>::try_from(inputs) {
            Ok([lookup, spine]) => {
                Self::try_new(Arc::clone(&self.spec), lookup, spine, Arc::clone(&self.late.0))
            }
            Err(_) => Err(DataFusionError::Internal("candidates have two inputs".into())),
        }
    }
}
