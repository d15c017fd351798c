//! Rows that a join puts out by key and instant: what a part may say of their order, and the check that it holds. Readers trust
//! the order that a file claims, so that a wrong one would give them wrong rows.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp::{eq, gt};
use arrow::compute::{and, concat};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use backsight_asof::AsofJoinExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use parquet::file::metadata::SortingColumn;

use crate::error::RetrievalError;

/// The columns of a dataset by which the rows of a part come, and the last row that came.
#[derive(Debug)]
pub(crate) struct SortedRows {
    columns: Vec<usize>,
    last: Option<Vec<ArrayRef>>,
}

impl SortedRows {
    /// What is known of the rows of a partition of `plan`, a dataset of `schema`; to be asked when the first of them has come.
    pub(crate) fn of(plan: &dyn ExecutionPlan, partition: usize, schema: &Schema) -> Self {
        let names = sorted_by(plan, partition);
        let column = |name: &String| {
            let (place, field) = schema.column_with_name(name)?;
            // A file counts the leaves of nested columns.
            let is_flat = schema.fields().iter().take(place).all(|field| !field.data_type().is_nested());
            (is_flat && orders_alike(field.data_type())).then_some(place)
        };
        let mut columns: Vec<usize> = Vec::new();
        for place in names.iter().map_while(column) {
            // One column may be two keys.
            if !columns.contains(&place) {
                columns.push(place);
            }
        }
        Self { columns, last: None }
    }

    /// What the file says.
    pub(crate) fn claim(&self) -> Option<Vec<SortingColumn>> {
        let column = |&place: &usize| SortingColumn {
            column_idx: i32::try_from(place).unwrap_or(i32::MAX),
            descending: false,
            nulls_first: false,
        };
        (!self.columns.is_empty()).then(|| self.columns.iter().map(column).collect())
    }

    /// Whether rows follow those before.
    ///
    /// # Errors
    /// Rows that do not.
    pub(crate) fn check(&mut self, rows: &RecordBatch) -> Result<(), RetrievalError> {
        if self.columns.is_empty() || rows.num_rows() == 0 {
            return Ok(());
        }
        let bug = |e: ArrowError| RetrievalError::Bug { message: format!("rows cannot be compared: {e}") };
        let mut columns: Vec<ArrayRef> =
            self.columns.iter().map(|&place| ArrayRef::clone(rows.column(place))).collect();
        if let Some(last) = &self.last {
            let joined = last.iter().zip(&columns).map(|(last, column)| concat(&[last, column]));
            columns = joined.collect::<Result<_, _>>().map_err(bug)?;
        }
        let has_nulls = columns.iter().any(|column| column.logical_null_count() > 0);
        if has_nulls || !is_ascending(&columns).map_err(bug)? {
            return Err(RetrievalError::Unbalanced {
                detail: "rows do not come by key and instant as the join says".to_owned(),
            });
        }
        // A slice would hold the batch.
        let last = columns.iter().map(|column| concat(&[&column.slice(column.len() - 1, 1)]));
        self.last = Some(last.collect::<Result<_, _>>().map_err(bug)?);
        Ok(())
    }
}

/// The columns by which the rows of a partition come, where a join makes them and nothing reorders them after it.
fn sorted_by(plan: &dyn ExecutionPlan, partition: usize) -> Vec<String> {
    if let Some(join) = plan.downcast_ref::<AsofJoinExec>() {
        return if join.is_sorted(partition) { join.sort_columns() } else { Vec::new() };
    }
    let partitions = |plan: &dyn ExecutionPlan| plan.output_partitioning().partition_count();
    match plan.children().as_slice() {
        [child]
            if plan.maintains_input_order() == [true] && partitions(plan) == partitions(child.as_ref()) =>
        {
            sorted_by(child.as_ref(), partition)
        }
        _ => Vec::new(),
    }
}

/// Whether a file orders values of a type as the join does.
fn orders_alike(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    (data_type.is_primitive() && !data_type.is_floating())
        || matches!(data_type, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView)
}

/// Whether no row is before the one that it follows; the columns have no nulls.
fn is_ascending(columns: &[ArrayRef]) -> Result<bool, ArrowError> {
    let Some(pairs) = columns.first().map(|column| column.len().saturating_sub(1)) else { return Ok(true) };
    let mut equal = BooleanArray::from(vec![true; pairs]);
    for column in columns {
        let (before, after) = (column.slice(0, pairs), column.slice(1.min(column.len()), pairs));
        if and(&equal, &gt(&before, &after)?)?.true_count() > 0 {
            return Ok(false);
        }
        equal = and(&equal, &eq(&before, &after)?)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, TimestampSecondArray};

    use super::*;

    fn rows(rows: &[(&str, i64)]) -> RecordBatch {
        let key: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>());
        let label: ArrayRef = Arc::new(Int64Array::from(vec![0; rows.len()]));
        let at: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<TimestampSecondArray>());
        RecordBatch::try_from_iter([("key", key), ("label", label), ("at", at)]).unwrap()
    }

    #[test]
    fn rows_out_of_order_are_found_within_and_between_batches() {
        type Batches<'a> = &'a [&'a [(&'a str, i64)]];
        let table: [(Batches<'_>, bool); 7] = [
            (&[&[("a", 1), ("a", 1), ("a", 2), ("b", 0)], &[], &[("b", 0), ("c", -5)]], true),
            (&[&[("a", 1), ("a", 0)]], false),
            (&[&[("b", 1), ("a", 1)]], false),
            (&[&[("a", 1)], &[("a", 0)]], false),
            (&[&[("b", 1)], &[("a", 2)]], false),
            (&[&[("b", 1)], &[("b", 1)], &[("b", 0)]], false),
            (&[], true),
        ];
        for (batches, expected) in table {
            let mut sorted = SortedRows { columns: vec![0, 2], last: None };
            let found = batches.iter().try_for_each(|batch| sorted.check(&rows(batch)));
            assert_eq!(found.is_ok(), expected, "{batches:?}");
        }
        let mut unsorted = SortedRows { columns: Vec::new(), last: None };
        unsorted.check(&rows(&[("b", 1), ("a", 1)])).unwrap();
        assert_eq!(unsorted.claim(), None);
        let claim = SortedRows { columns: vec![0, 2], last: None }.claim().unwrap();
        assert_eq!(claim.iter().map(|column| column.column_idx).collect::<Vec<_>>(), [0, 2]);
    }
}
