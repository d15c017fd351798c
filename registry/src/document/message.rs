//! Messages by name, for code that works on any of them: the JSON form, and keeping fields that we do not know.

use std::sync::LazyLock;

use backsight_proto::feast;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(feast::DESCRIPTORS).ok());

/// The message of this full name; `None` only for a name that is not in our `.proto` files.
pub(crate) fn descriptor(full_name: &str) -> Option<MessageDescriptor> {
    POOL.as_ref()?.get_message_by_name(full_name)
}

/// Decodes bytes that were decoded before as the typed message; `None` only for a name that is not in our files.
pub(crate) fn decode(full_name: &str, bytes: &[u8]) -> Option<DynamicMessage> {
    DynamicMessage::decode(descriptor(full_name)?, bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::descriptor;
    use crate::document::ObjectKind;

    #[test]
    fn every_kind_has_its_message() {
        for kind in ObjectKind::ALL {
            assert!(descriptor(kind.message_name()).is_some(), "{kind}");
        }
    }
}
