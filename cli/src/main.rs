//! The `backsight` command.

use std::process::ExitCode;

/// Decoding and encoding Parquet allocate a lot, from many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    backsight_cli::main()
}
