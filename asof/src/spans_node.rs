//! The spans of a lookup's rows in a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::spans::SpansSpec;

/// A lookup's rows with their spans. The specification names columns by position, so the input keeps all its columns in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpansNode {
    spec: Arc<SpansSpec>,
    lookup: LogicalPlan,
    schema: DFSchemaRef,
}

impl SpansNode {
    /// The rows of `lookup` with their spans.
    ///
    /// # Errors
    /// When the specification does not fit the input.
    pub fn try_new(spec: Arc<SpansSpec>, lookup: LogicalPlan) -> Result<Self> {
        let schema = spec.output_schema(lookup.schema().inner())?;
        Ok(Self { schema: Arc::new(DFSchema::try_from(schema)?), spec, lookup })
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    pub(crate) fn spec(&self) -> &Arc<SpansSpec> {
        &self.spec
    }
}

impl PartialOrd for SpansNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.spec, &self.lookup).partial_cmp(&(&other.spec, &other.lookup))
    }
}

impl UserDefinedLogicalNodeCore for SpansNode {
    fn name(&self) -> &'static str {
        "Spans"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.lookup]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spans: {}", self.spec.lookup.name)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[_; 1]>::try_from(inputs) {
            Ok([lookup]) => Self::try_new(Arc::clone(&self.spec), lookup),
            Err(_) => Err(DataFusionError::Internal("spans have one input".into())),
        }
    }
}
