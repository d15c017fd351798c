//! Ballista and DataFusion as we set them up: sessions, forced settings, codecs put together, memory.

mod classified_store;
mod codecs;
mod embedded;
mod local_cluster;
mod options;
mod session;

pub use codecs::physical_codec;
pub use embedded::EmbeddedEngine;
pub use local_cluster::LocalCluster;
pub use options::EngineOptions;
