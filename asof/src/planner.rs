//! Plans the logical nodes as physical operators.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use crate::candidates_exec::CandidatesExec;
use crate::candidates_node::CandidatesNode;
use crate::exec::AsofJoinExec;
use crate::logical::AsofJoinNode;
use crate::spans_exec::SpansExec;
use crate::spans_node::SpansNode;

/// To be given to a `DefaultPhysicalPlanner`.
#[derive(Debug, Default)]
pub struct AsofPlanner;

#[async_trait]
impl ExtensionPlanner for AsofPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(node) = node.as_any().downcast_ref::<AsofJoinNode>() {
            let join = AsofJoinExec::try_new(Arc::clone(node.spec()), inputs.to_vec(), node.late())?;
            return Ok(Some(Arc::new(join)));
        }
        if let (Some(node), [lookup]) = (node.as_any().downcast_ref::<SpansNode>(), inputs) {
            return Ok(Some(Arc::new(SpansExec::try_new(Arc::clone(node.spec()), Arc::clone(lookup))?)));
        }
        let (Some(node), [lookup, spine]) = (node.as_any().downcast_ref::<CandidatesNode>(), inputs) else {
            return Ok(None);
        };
        let (spec, late) = (Arc::clone(node.spec()), Arc::clone(node.late()));
        Ok(Some(Arc::new(CandidatesExec::try_new(spec, Arc::clone(lookup), Arc::clone(spine), late)?)))
    }
}
