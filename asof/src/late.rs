//! Columns that are read late: not with the lookup's rows, but once it is known which rows are needed.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use futures::future::BoxFuture;

/// A column as it was read: in pieces, so that who wants it whole copies it once.
pub type ColumnPieces = Vec<ArrayRef>;

/// Reads columns of given rows of a lookup. A row is named by its *ordinal*, a number that the lookup's input carries
/// in a column of its own ([`crate::LookupSpec::ordinal`]).
pub trait LateColumns: fmt::Debug + Send + Sync {
    /// The columns that can be read.
    fn schema(&self) -> SchemaRef;

    /// Ranges of ordinals that are read one by one, ascending, disjoint; every row of the input is in one of them.
    fn units(&self) -> &[Range<u64>];

    /// How many units each thread should ask for at a time, at least one: several, where they are long on their way.
    fn units_at_once(&self) -> usize {
        1
    }

    /// `columns` of the rows of unit number `unit` that are in `runs`: ranges of ordinals, ascending, disjoint, inside
    /// the unit. The pieces of each column, one after the other, hold the rows in that order.
    ///
    /// # Errors
    /// When the rows cannot be read.
    fn fetch(
        &self,
        unit: usize,
        runs: Vec<Range<u64>>,
        columns: Vec<usize>,
        context: Arc<TaskContext>,
    ) -> BoxFuture<'static, Result<Vec<ColumnPieces>>>;

    /// The reader as it travels to executors, to be read there by a [`crate::LateDecoder`].
    ///
    /// # Errors
    /// Of a reader that works in this process only.
    fn encode(&self) -> Result<Vec<u8>> {
        Err(DataFusionError::Plan(format!("{self:?} are read in this process only")))
    }
}

/// A reader in a logical plan, where nodes are compared: two are equal when they are the same one.
#[derive(Debug, Clone)]
pub(crate) struct LateHandle(pub(crate) Arc<dyn LateColumns>);

impl LateHandle {
    fn address(&self) -> *const () {
        Arc::as_ptr(&self.0).cast()
    }
}

impl PartialEq for LateHandle {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for LateHandle {}

impl Hash for LateHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address().hash(state);
    }
}
