//! Compiles the `.proto` files to Rust and to one descriptor set, without an installed `protoc`.

use std::io::Result;
use std::path::PathBuf;

use prost::Message as _;

/// Where the `.proto` files live, relative to the crate.
const INCLUDE: &str = "protos";
/// The root of Feast's messages.
const FEAST: &str = "feast/core/registry.proto";
/// The control plane.
const CONTROL: &str = "backsight/control/v1/control.proto";

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed={INCLUDE}");
    let descriptors = protox::compile([FEAST], [INCLUDE]).map_err(std::io::Error::other)?;
    let out_dir = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    std::fs::write(out_dir.join("feast_descriptors.bin"), descriptors.encode_to_vec())?;
    // Ordered maps: the same message always becomes the same bytes.
    prost_build::Config::new().btree_map(["."]).compile_fds(descriptors)?;
    let control = protox::compile([CONTROL], [INCLUDE]).map_err(std::io::Error::other)?;
    tonic_prost_build::configure().compile_fds(control)
}
