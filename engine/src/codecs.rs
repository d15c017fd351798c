//! The codecs of all rooms put together; scheduler, executors and clients must agree on this order.

use std::sync::Arc;

use backsight_asof::AsofPhysicalCodec;
use backsight_retrieval::RetrievalPhysicalCodec;
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion_proto::physical_plan::{ComposedPhysicalExtensionCodec, PhysicalExtensionCodec};

/// Encodes every operator that a retrieval's plan can hold. New members go to the end: positions are the wire.
pub fn physical_codec() -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(ComposedPhysicalExtensionCodec::new(vec![
        Arc::new(BallistaPhysicalExtensionCodec::default()),
        Arc::new(AsofPhysicalCodec::new(backsight_retrieval::decode_late)),
        Arc::new(RetrievalPhysicalCodec),
    ]))
}
