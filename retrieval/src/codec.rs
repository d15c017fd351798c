//! Carries this room's operators to executors.

use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use crate::part_writer::{PartSpec, PartWriteExec};
use crate::row_id::RowIdExec;

const ROW_ID_MAGIC: &[u8] = b"backsight.row_id.1\0";
const PART_MAGIC: &[u8] = b"backsight.part.1\0";

/// Encodes and decodes the row id and part writing operators; refuses every other node.
#[derive(Debug, Default)]
pub struct RetrievalPhysicalCodec;

impl PhysicalExtensionCodec for RetrievalPhysicalCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = inputs else {
            return Err(DataFusionError::Plan("not a node of a retrieval".into()));
        };
        if buf.starts_with(ROW_ID_MAGIC) {
            return Ok(Arc::new(RowIdExec::try_new(Arc::clone(input))?));
        }
        let Some(json) = buf.strip_prefix(PART_MAGIC) else {
            return Err(DataFusionError::Plan("not a node of a retrieval".into()));
        };
        let spec: PartSpec = serde_json::from_slice(json)
            .map_err(|e| DataFusionError::Plan(format!("a part writer cannot be decoded: {e}")))?;
        Ok(Arc::new(PartWriteExec::new(Arc::clone(input), Arc::new(spec))))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if node.downcast_ref::<RowIdExec>().is_some() {
            buf.extend_from_slice(ROW_ID_MAGIC);
            return Ok(());
        }
        let Some(write) = node.downcast_ref::<PartWriteExec>() else {
            return Err(DataFusionError::Plan(format!("{} is not a node of a retrieval", node.name())));
        };
        let json = serde_json::to_vec(write.spec())
            .map_err(|e| DataFusionError::Plan(format!("a part writer cannot be encoded: {e}")))?;
        buf.extend_from_slice(PART_MAGIC);
        buf.extend(json);
        Ok(())
    }
}
