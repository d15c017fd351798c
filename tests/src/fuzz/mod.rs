//! Damaged and hostile input for everything that reads bytes: no panic, no hang, no blow-up, nothing lost on a rewrite.
//!
//! Each target has a corpus of real files. A seeded mutator (`mutate.rs`) changes them, knowing protobuf and text; a runner
//! (`runner.rs`) watches the target. `cargo test` tries a fixed number of inputs under a fixed seed. A long run:
//!
//! ```text
//! BACKSIGHT_FUZZ_SECONDS=600 BACKSIGHT_FUZZ_SEED=7 cargo test -p backsight-tests fuzz::registry -- --nocapture
//! ```
//!
//! One target at a time, since a long run also bounds the memory of the process. Why not libFuzzer: ADR 0050.

mod mutate;
mod records;
mod registry;
mod runner;
mod spines;
mod sql;
mod texts;

pub(crate) use runner::memory_kib;
