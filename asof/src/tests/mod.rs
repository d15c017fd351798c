//! Tests of the join through DataFusion's planner: hand-calculated answers, random data, the codec, memory.

mod cases;
mod codec;
mod columns;
mod forms_agree;
mod late;
mod memory;
mod running;
mod semantics;
mod spilling;
