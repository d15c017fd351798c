//! A retrieval without an output: all rows are joined and counted, the first by spine order are kept to be shown.

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::UInt64Type;
use futures::TryStreamExt;
use futures::future::BoxFuture;

use crate::census::census;
use crate::engine::{RetrievalEngine, RunContext};
use crate::error::RetrievalError;
use crate::part_writer::dataset_schema;
use crate::plan::RetrievalPlan;
use crate::prepare::Prepared;
use crate::report::{JoinReport, Tally};

/// What a preview shows.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The first rows of the spine with their features, in spine order.
    pub rows: RecordBatch,
    /// The report over all rows.
    pub report: JoinReport,
}

/// Joins everything and keeps the first `limit` spine rows.
///
/// # Errors
/// Whatever happens while running.
pub fn preview<'a>(
    prepared: &'a Prepared,
    engine: &'a dyn RetrievalEngine,
    context: &'a RunContext,
    limit: u64,
) -> BoxFuture<'a, Result<Preview, RetrievalError>> {
    Box::pin(try_preview(prepared, engine, context, limit))
}

async fn try_preview(
    prepared: &Prepared,
    engine: &dyn RetrievalEngine,
    context: &RunContext,
    limit: u64,
) -> Result<Preview, RetrievalError> {
    let did_spill = prepared.is_spilling();
    match Box::pin(attempt_preview(prepared, &prepared.as_run()?, engine, context, limit)).await {
        Err(error) if !did_spill && prepared.spills_after(&error, engine) => {}
        ended => return ended,
    }
    Box::pin(attempt_preview(prepared, &prepared.as_run()?, engine, context, limit)).await
}

async fn attempt_preview(
    prepared: &Prepared,
    planned: &RetrievalPlan,
    engine: &dyn RetrievalEngine,
    context: &RunContext,
    limit: u64,
) -> Result<Preview, RetrievalError> {
    let columns = planned.dataset_columns;
    let plan = engine.plan(&planned.logical).await?;
    let schema = plan.schema();
    let mut stream = engine.execute(plan, context).await?;
    let mut tally = Tally::new(&planned.views);
    let mut kept = Vec::new();
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await.map_err(RetrievalError::from_engine)? {
        rows += batch.num_rows() as u64;
        tally.add(&planned.views, &batch);
        let ids = batch.column(columns).as_primitive::<UInt64Type>();
        let first: UInt64Array = ids
            .values()
            .iter()
            .enumerate()
            .filter(|(_, id)| **id < limit)
            .map(|(row, _)| row as u64)
            .collect();
        if !first.is_empty() {
            kept.push(take_record_batch(&batch, &first).map_err(arrow_bug)?);
        }
    }
    if rows != prepared.spine.rows() {
        let detail = format!("the spine has {} rows, the result has {rows}", prepared.spine.rows());
        return Err(RetrievalError::Unbalanced { detail });
    }
    let kept = concat_batches(&schema, &kept).map_err(arrow_bug)?;
    let order = sort_to_indices(kept.column(columns), None, None).map_err(arrow_bug)?;
    let sorted = take_record_batch(&kept, &order).map_err(arrow_bug)?;
    let dataset = dataset_schema(schema.as_ref(), columns);
    let shown = RecordBatch::try_new(dataset, sorted.columns()[..columns].to_vec()).map_err(arrow_bug)?;
    let names: Vec<String> = shown.schema().fields().iter().map(|field| field.name().clone()).collect();
    let exact = prepared.request.exact_reasons;
    if exact {
        census(&prepared.input, None, engine, &mut tally).await?;
    }
    let notes = planned.notes.clone();
    let report = JoinReport::new(rows, &tally, exact, &planned.views, &names, notes);
    Ok(Preview { rows: shown, report })
}

fn arrow_bug(error: arrow::error::ArrowError) -> RetrievalError {
    RetrievalError::Bug { message: format!("a preview cannot be put together: {error}") }
}
