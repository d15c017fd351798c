//! The messages of a Feast registry, wire-compatible with Feast 0.67, generated from `protos/feast`.

/// A serialized `FileDescriptorSet` of everything in [`core`] and [`types`], for code that works on any message.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/feast_descriptors.bin"));

/// Package `feast.core`: the registry and its objects.
#[expect(
    missing_docs,
    clippy::use_self,
    clippy::large_enum_variant,
    reason = "generated from the `.proto` files, which carry the words"
)]
pub mod core {
    include!(concat!(env!("OUT_DIR"), "/feast.core.rs"));
}

/// Package `feast.types`: value types by number.
#[expect(missing_docs, reason = "generated from the `.proto` files, which carry the words")]
pub mod types {
    include!(concat!(env!("OUT_DIR"), "/feast.types.rs"));
}
