//! YAML with positions: text in, nodes that know where they stand out, and every finding on the way.

mod node;
mod parse;
mod reader;
mod scalar;

pub use node::{Key, Node, Pair, Value};
pub use parse::{Limits, Parsed, parse};
pub use reader::{Keys, Reader, Spanned, text_of};
pub use scalar::{Resolved, Scalar};
