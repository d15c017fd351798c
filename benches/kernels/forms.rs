//! What each form of the join costs without files: spine and lookup lie in memory, so that only indexing, folding and
//! gathering are timed.
//!
//! `cargo bench -p backsight-asof`; a part of the name as last argument chooses, as in `-- "late slot fold"`.

#![expect(clippy::unwrap_used, reason = "a bench that fails stops there and then")]

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use backsight_asof::{
    AsofJoinNode, AsofPlanner, AsofSpec, ColumnPieces, JoinForm, LateColumns, LookupSpec, PayloadColumn,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::catalog::MemTable;
use datafusion::common::Result;
use datafusion::datasource::provider_as_source;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, execute_stream_partitioned};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use tokio::runtime::Runtime;

const BATCH_ROWS: usize = 8192;
const PARTITIONS: usize = 2;
const MICROS_A_YEAR: u64 = 365 * 86_400 * 1_000_000;

/// How many rows, and of how many keys.
#[derive(Clone, Copy)]
struct Size {
    spine: usize,
    lookup: usize,
    keys: u64,
}

impl Size {
    fn name(self) -> String {
        format!("{}k spine, {}k rows, {}k keys", self.spine / 1000, self.lookup / 1000, self.keys / 1000)
    }
}

/// Numbers that look random, the same in every run (the finalizer of Steele, Lea and Flood's SplitMix, 2014).
fn random(seed: u64, row: usize) -> u64 {
    let mut value = (seed << 32).wrapping_add(row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Key, instant, value and ordinal of the rows of a table.
fn batch(seed: u64, rows: Range<usize>, keys: u64) -> RecordBatch {
    let key: Int64Array = rows.clone().map(|row| (random(seed, row) % keys).cast_signed()).collect();
    let time = rows.clone().map(|row| (random(seed + 1, row) % MICROS_A_YEAR).cast_signed());
    let time = TimestampMicrosecondArray::from_iter_values(time);
    #[expect(clippy::cast_precision_loss, reason = "any number will do")]
    let value: Float64Array = rows.clone().map(|row| random(seed + 2, row) as f64).collect();
    let ordinal: UInt64Array = rows.map(|row| row as u64).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(key)),
        ("time", Arc::new(time)),
        ("value", Arc::new(value)),
        ("ordinal", Arc::new(ordinal)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn scan(name: &str, seed: u64, rows: usize, keys: u64) -> LogicalPlan {
    let mut partitions = vec![Vec::new(); PARTITIONS];
    for (number, first) in (0..rows).step_by(BATCH_ROWS).enumerate() {
        partitions[number % PARTITIONS].push(batch(seed, first..rows.min(first + BATCH_ROWS), keys));
    }
    let table = MemTable::try_new(partitions[0][0].schema(), partitions).unwrap();
    let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None);
    scan.unwrap().build().unwrap()
}

/// The lookup's columns as if they were read late.
#[derive(Debug)]
struct Whole {
    rows: RecordBatch,
    units: Vec<Range<u64>>,
}

impl LateColumns for Whole {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn units(&self) -> &[Range<u64>] {
        &self.units
    }

    fn fetch(
        &self,
        _: usize,
        runs: Vec<Range<u64>>,
        columns: Vec<usize>,
        _: Arc<TaskContext>,
    ) -> BoxFuture<'static, Result<Vec<ColumnPieces>>> {
        let rows: UInt64Array = runs.into_iter().flatten().collect();
        let pieces =
            columns.iter().map(|&column| Ok(vec![take(self.rows.column(column), &rows, None)?])).collect();
        async move { pieces }.boxed()
    }
}

fn state() -> SessionState {
    let config = SessionConfig::new().with_target_partitions(PARTITIONS).with_batch_size(BATCH_ROWS);
    SessionStateBuilder::new().with_config(config).build()
}

async fn plan(
    form: JoinForm,
    spine: &LogicalPlan,
    lookup: &LogicalPlan,
    whole: &Arc<Whole>,
) -> Arc<dyn ExecutionPlan> {
    let is_late = form == JoinForm::LateFold;
    let spec = LookupSpec {
        name: "lookup".to_owned(),
        keys: vec![0],
        time: 1,
        created: None,
        ordinal: is_late.then_some(3),
        late_created: None,
        account: None,
        ties: vec![],
        payload: vec![PayloadColumn { column: 2, output: "answer".to_owned() }],
        ttl_nanos: Some(90 * 86_400 * 1_000_000_000),
        created_cut: false,
    };
    let spec = AsofSpec {
        form,
        spine_keys: vec![0],
        spine_instant: 1,
        lookups: vec![spec],
        first_outcome: 0,
        clusters: true,
    };
    let late: Vec<Arc<dyn LateColumns>> = if is_late { vec![Arc::clone(whole) as _] } else { vec![] };
    let inputs = vec![spine.clone(), lookup.clone()];
    let logical = AsofJoinNode::try_new_late(Arc::new(spec), inputs, late).unwrap().into_plan();
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(AsofPlanner)]);
    let state = state();
    planner.create_physical_plan(&state.optimize(&logical).unwrap(), &state).await.unwrap()
}

/// Runs every partition; returns how many rows came.
async fn run(plan: Arc<dyn ExecutionPlan>, partitions: usize) -> usize {
    let streams = execute_stream_partitioned(plan, state().task_ctx()).unwrap();
    assert_eq!(streams.len(), partitions);
    let count = |mut stream: datafusion::execution::SendableRecordBatchStream| async move {
        let mut rows = 0;
        while let Some(batch) = stream.next().await {
            rows += batch.unwrap().num_rows();
        }
        rows
    };
    futures::future::join_all(streams.into_iter().map(count)).await.into_iter().sum()
}

fn forms(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let sizes = [
        // All slots in a core's cache; far more than any cache; a small view below a large spine.
        Size { spine: 20_000, lookup: 1_000_000, keys: 1_000 },
        Size { spine: 2_000_000, lookup: 4_000_000, keys: 100_000 },
        Size { spine: 2_000_000, lookup: 50_000, keys: 10_000 },
    ];
    for size in sizes {
        let mut group = criterion.benchmark_group(size.name());
        group.sample_size(10).throughput(Throughput::Elements((size.spine + size.lookup) as u64));
        let spine = scan("spine", 1, size.spine, size.keys);
        let lookup = scan("lookup", 2, size.lookup, size.keys);
        let rows = batch(2, 0..size.lookup, size.keys);
        let units = (0..size.lookup as u64).step_by(1 << 20);
        let units = units.map(|start| start..(start + (1 << 20)).min(size.lookup as u64)).collect();
        let whole = Arc::new(Whole { rows, units });
        for form in [JoinForm::SlotFold, JoinForm::LateFold, JoinForm::Broadcast] {
            group.bench_function(BenchmarkId::from_parameter(form.name()), |bencher| {
                bencher.iter(|| {
                    // A plan keeps what it worked out, so each run has its own.
                    let plan = runtime.block_on(plan(form, &spine, &lookup, &whole));
                    let partitions = plan.output_partitioning().partition_count();
                    assert_eq!(runtime.block_on(run(plan, partitions)), size.spine);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, forms);
criterion_main!(benches);
