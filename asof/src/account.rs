//! What a part of a partial fold says of itself, as rows among its candidates: how many rows it folded, how many it sent.
//!
//! The column of accounts is null in a candidate. An account row is null everywhere else, its keys and its event time
//! included, so it never matches and each one reaches exactly one partition of a hash exchange.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array, new_null_array};
use arrow::datatypes::{DataType, SchemaRef, UInt64Type};
use datafusion::common::{DataFusionError, Result};

/// The type of a column of accounts.
pub(crate) const ACCOUNT_TYPE: DataType = DataType::UInt64;
/// Set in the account of candidates sent; the other one counts rows folded.
const SENT: u64 = 1 << 63;

/// Counts of one part, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PartAccount {
    /// Rows that were folded.
    pub(crate) folded: u64,
    /// Candidates that came of them.
    pub(crate) sent: u64,
}

impl PartAccount {
    /// The rows that say it.
    pub(crate) fn rows(self) -> UInt64Array {
        UInt64Array::from(vec![self.folded, SENT | self.sent])
    }

    /// The same as a batch of `schema`, whose last column is the accounts'; every other one is null.
    pub(crate) fn batch(self, schema: &SchemaRef) -> Result<RecordBatch> {
        let accounts: ArrayRef = Arc::new(self.rows());
        let fields = schema.fields().iter().take(schema.fields().len().saturating_sub(1));
        let nulls = fields.map(|field| new_null_array(field.data_type(), accounts.len()));
        Ok(RecordBatch::try_new(Arc::clone(schema), nulls.chain([Arc::clone(&accounts)]).collect())?)
    }

    /// Adds the accounts of a batch; returns how many of its rows are candidates.
    pub(crate) fn take(&mut self, column: &ArrayRef) -> Result<u64> {
        let Some(accounts) = column.as_primitive_opt::<UInt64Type>() else {
            return Err(DataFusionError::Internal(format!("a column of accounts is {}", column.data_type())));
        };
        for account in accounts.iter().flatten() {
            if account & SENT == 0 {
                self.folded += account;
            } else {
                self.sent += account & !SENT;
            }
        }
        Ok(accounts.null_count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat;

    use super::*;

    #[test]
    fn accounts_add_up_and_candidates_are_counted() {
        let candidates = UInt64Array::new_null(3);
        let parts = [PartAccount { folded: 100, sent: 2 }, PartAccount { folded: 7, sent: 1 }];
        let rows: Vec<UInt64Array> = parts.iter().map(|part| part.rows()).collect();
        let column: ArrayRef = Arc::new(concat(&[&candidates, &rows[0], &rows[1]]).unwrap());
        let mut all = PartAccount::default();
        assert_eq!(all.take(&column).unwrap(), 3);
        assert_eq!(all, PartAccount { folded: 107, sent: 3 });
    }
}
