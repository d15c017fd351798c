//! A plan that was encoded and decoded runs as the original does.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::physical_plan::ComposedPhysicalExtensionCodec;
use proptest::prelude::*;

use super::cases::any_case;
use super::forms_agree::{ok, runner, runtime};
use super::late::MemoryColumns;
use super::running::{any_layout, logical, plan, rows, session, unlimited};
use crate::AsofPhysicalCodec;
use crate::spec::JoinForm;

#[test]
fn a_plan_survives_the_wire() {
    let runtime = runtime();
    let codec =
        ComposedPhysicalExtensionCodec::new(vec![Arc::new(AsofPhysicalCodec::new(MemoryColumns::decode))]);
    let form = prop::sample::select(vec![
        JoinForm::SlotFold,
        JoinForm::NaiveLoop,
        JoinForm::CandidateFold,
        JoinForm::Broadcast,
        JoinForm::SpilledFold,
    ]);
    runner(40)
        .run(&(any_case(), any_layout(), form), |(case, layout, form)| {
            let state = session(&layout, unlimited());
            let original =
                ok(runtime.block_on(async { plan(&state, &logical(&case, form, &layout)?).await }))?;
            let decoded = ok(carry(&original, &codec, &state.task_ctx()))?;
            prop_assert_eq!(shape(&decoded), shape(&original));
            let expected = ok(runtime.block_on(rows(&state, original)))?;
            let found = ok(runtime.block_on(rows(&state, decoded)))?;
            prop_assert_eq!(found, expected);
            Ok(())
        })
        .unwrap();
}

fn carry(
    plan: &Arc<dyn ExecutionPlan>,
    codec: &ComposedPhysicalExtensionCodec,
    context: &datafusion::execution::TaskContext,
) -> Result<Arc<dyn ExecutionPlan>> {
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(plan), codec)?;
    physical_plan_from_bytes_with_extension_codec(&bytes, context, codec)
}

fn shape(plan: &Arc<dyn ExecutionPlan>) -> String {
    datafusion::physical_plan::displayable(plan.as_ref()).indent(true).to_string()
}
