//! Whether source files are what definitions say of them: footers are read, no data.

mod decide;
mod finding;
mod look;
mod shape;

#[cfg(test)]
mod tests;

pub use decide::decide;
pub use finding::{FindingKind, Severity, SourceFinding, SourceReport};
pub use look::{SourceCheck, check_sources};
pub use shape::{ColumnShape, SeenType, SourceShape};
