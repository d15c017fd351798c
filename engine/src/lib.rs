//! Ballista and DataFusion as we set them up: sessions, forced settings, codecs put together, memory.

mod classified_store;
mod codecs;
mod embedded;
mod gate;
mod guard;
mod local_cluster;
mod options;
mod session;
mod stage_engine;
mod task_executor;

pub use codecs::physical_codec;
pub use embedded::EmbeddedEngine;
pub use gate::{Closed, Gate, RunningJobs, Work};
pub use local_cluster::LocalCluster;
pub use options::{EngineOptions, SPILL_BYTES_MAX};
pub use session::{
    MESSAGE_BYTES_MAX, ballista_config, cluster_runtime, force_ballista, session_state, write_context,
};
pub use stage_engine::StageEngine;
pub use task_executor::{TaskExecutor, shuffle_files};
