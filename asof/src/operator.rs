//! What operators of ours answer alike, so that each says only what is its own.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;

/// Inside `impl ExecutionPlan for …`: the operator holds no expressions, and every change of its inputs goes through its
/// `replace_children`; where the number of inputs is fixed, `(1, |own, [input]| …)` gives that one, too.
#[macro_export]
macro_rules! operator_without_expressions {
    ($inputs:literal, $rebuild:expr) => {
        fn replace_children(
            self: ::std::sync::Arc<Self>,
            children: ::std::vec::Vec<::std::sync::Arc<dyn ::datafusion::physical_plan::ExecutionPlan>>,
            _: ::datafusion::physical_plan::ReplaceChildrenOptions,
        ) -> ::datafusion::common::Result<::std::sync::Arc<dyn ::datafusion::physical_plan::ExecutionPlan>> {
            type Inputs = [::std::sync::Arc<dyn ::datafusion::physical_plan::ExecutionPlan>; $inputs];
            let rebuild: fn(&Self, Inputs) -> ::datafusion::common::Result<Self> = $rebuild;
            let inputs = $crate::operator_inputs(self.name(), children)?;
            Ok(::std::sync::Arc::new(rebuild(&self, inputs)?))
        }

        $crate::operator_without_expressions!();
    };
    () => {
        fn apply_expressions(
            &self,
            _: &mut dyn FnMut(
                &::std::sync::Arc<dyn ::datafusion::physical_expr::PhysicalExpr>,
            ) -> ::datafusion::common::Result<
                ::datafusion::common::tree_node::TreeNodeRecursion,
            >,
        ) -> ::datafusion::common::Result<::datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(::datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }

        fn with_new_children(
            self: ::std::sync::Arc<Self>,
            children: ::std::vec::Vec<::std::sync::Arc<dyn ::datafusion::physical_plan::ExecutionPlan>>,
        ) -> ::datafusion::common::Result<::std::sync::Arc<dyn ::datafusion::physical_plan::ExecutionPlan>> {
            use ::datafusion::physical_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
            self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
        }
    };
}

/// The inputs that an operator called `name` is given, which must be `N`.
///
/// # Errors
/// Another number of inputs.
pub fn operator_inputs<const N: usize>(
    name: &str,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<[Arc<dyn ExecutionPlan>; N]> {
    let given = inputs.len();
    inputs
        .try_into()
        .map_err(|_| DataFusionError::Internal(format!("{name} has {N} inputs, {given} were given")))
}
