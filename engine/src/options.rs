//! What an engine may use: memory, cores, a place to spill.

use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Share of a machine's memory that an engine takes unless told otherwise: the rest is for decoding and
/// encoding buffers, which no pool accounts, and for the machine.
const MEMORY_PERCENT: usize = 60;
/// Below this a retrieval of any size is not worth starting.
const MEMORY_BYTES_MIN: usize = 64 << 20;

/// What an engine may use.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bytes that operators may hold together; what does not fit fails with an error that names this limit.
    pub memory_limit_bytes: usize,
    /// Partitions of a plan: how many cores join and write at the same time.
    pub partitions: NonZeroUsize,
    /// Where operators that can spill do so; the system's temporary folder when absent.
    pub spill_dir: Option<PathBuf>,
    /// Bytes that they may have on disk together; what does not fit fails with an error that names this limit.
    pub spill_limit_bytes: u64,
}

/// What may be spilled unless told otherwise.
pub const SPILL_BYTES_MAX: u64 = 100 << 30;

impl EngineOptions {
    /// The defaults for a machine with so much memory and so many cores.
    pub fn for_machine(memory_bytes: usize, cores: NonZeroUsize) -> Self {
        Self {
            memory_limit_bytes: (memory_bytes / 100 * MEMORY_PERCENT).max(MEMORY_BYTES_MIN),
            partitions: cores,
            spill_dir: None,
            spill_limit_bytes: SPILL_BYTES_MAX,
        }
    }
}
