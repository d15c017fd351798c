//! The spilling fold: the oracle's rows whatever the limit, really by way of the disk, and nothing is left there.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use proptest::prelude::*;

use super::cases::{Case, any_case};
use super::columns::instants;
use super::forms_agree::{ok, runner, runtime};
use super::memory::{batch, joined_by};
use super::running::{
    Layout, accounts, answers, any_layout, join, logical, plan, rows, scan, session, unlimited,
};
use crate::AsofJoinExec;
use crate::spec::{AsofSpec, JoinForm, LookupSpec, PayloadColumn};

/// What the joins of a plan have spilled, cut again and folded.
#[derive(Debug, Default, Clone, Copy)]
struct Spilled {
    bytes: usize,
    cuts: usize,
    pieces: usize,
}

fn spilled(plan: &Arc<dyn ExecutionPlan>) -> Spilled {
    let mut all = Spilled::default();
    if let Some(join) = plan.downcast_ref::<AsofJoinExec>() {
        let metrics = join.metrics().unwrap();
        let count = |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize());
        all.bytes += metrics.spilled_bytes().unwrap_or(0);
        all.cuts += count("cut_buckets");
        all.pieces += count("folded_pieces");
    }
    for child in plan.children() {
        let below = spilled(child);
        all.bytes += below.bytes;
        all.cuts += below.cuts;
        all.pieces += below.pieces;
    }
    all
}

fn bounded(memory_bytes: usize, disk_bytes: u64) -> Arc<RuntimeEnv> {
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_max_temp_directory_size(disk_bytes))
        .build_arc()
        .unwrap()
}

/// Nothing is reserved, no file is there.
fn assert_empty(runtime: &RuntimeEnv) {
    assert_eq!(runtime.memory_pool.reserved(), 0);
    let left = runtime.disk_manager.spilling_progress();
    assert_eq!((left.active_files_count, left.current_bytes), (0, 0));
    for folder in runtime.disk_manager.temp_dir_paths() {
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }
}

#[test]
fn the_oracles_rows_come_from_disk_in_any_layout() {
    let tokio = runtime();
    // Folding a single row with a few dictionaries takes up to 90 KiB: less than that is no limit to keep.
    let limit = prop::sample::select(vec![192 << 10, 512 << 10, usize::MAX >> 1]);
    let (mut cuts, mut pieces) = (0, 0);
    let counted = std::cell::RefCell::new((&mut cuts, &mut pieces));
    let agree = |case: &Case, layout: &Layout, limit: usize| -> Result<(), TestCaseError> {
        let truth = ok(tokio.block_on(answers(case, JoinForm::NaiveLoop, &Layout::plain())))?;
        let runtime = bounded(limit, u64::MAX);
        let state = session(layout, Arc::clone(&runtime));
        let logical = ok(logical(case, JoinForm::SpilledFold, layout))?;
        let join = ok(tokio.block_on(plan(&state, &logical)))?;
        let found = ok(tokio.block_on(rows(&state, Arc::clone(&join))))?;
        prop_assert_eq!(&found, &truth, "{:?} in {} bytes", layout, limit);
        let spilled = spilled(&join);
        prop_assert!(case.spine.is_empty() || spilled.bytes > 0, "nothing was spilled");
        let mut counted = counted.borrow_mut();
        *counted.0 += spilled.cuts;
        *counted.1 += spilled.pieces;
        drop(join);
        assert_empty(&runtime);
        Ok(())
    };
    runner(300)
        .run(&(any_case(), any_layout(), limit), |(case, layout, limit)| agree(&case, &layout, limit))
        .unwrap();
    // Also where fewer cases are asked for.
    assert!(cuts > 0 && pieces > cuts, "buckets are cut again now and then: {cuts}, {pieces}");
}

/// `rows` rows of `keys` keys in batches of a thousand.
fn table(rows: i64, keys: i64, text: &str) -> Vec<RecordBatch> {
    (0..rows / 1_000).map(|number| batch(number * 1_000, 1_000, text, keys)).collect()
}

fn layout(target_partitions: usize) -> Layout {
    Layout { target_partitions, ..Layout::plain() }
}

async fn two_lookups(form: JoinForm, state: &SessionState, rows: i64, keys: i64) -> Arc<dyn ExecutionPlan> {
    let lookups = vec![table(rows, keys, "first"), table(rows, keys, "second")];
    joined_by(form, state, table(rows, keys, "spine"), lookups).await
}

#[test]
fn any_limit_that_a_batch_fits_in_gives_all_rows() {
    const ROWS: i64 = 20_000;
    let tokio = runtime();
    for (keys, partitions) in [(500, 1), (500, 3), (1, 1), (2, 3)] {
        let state = session(&layout(partitions), unlimited());
        let truth = tokio.block_on(async {
            rows(&state, two_lookups(JoinForm::SlotFold, &state, ROWS, keys).await).await.unwrap()
        });
        for kib in [192, 1_024, 65_536] {
            let runtime = bounded(kib << 10, u64::MAX);
            let state = session(&layout(partitions), Arc::clone(&runtime));
            let (found, spilled) = super::forms_agree::runtime().block_on(async {
                let join = two_lookups(JoinForm::SpilledFold, &state, ROWS, keys).await;
                let found = rows(&state, Arc::clone(&join)).await;
                let account = accounts(&join);
                assert_eq!(account.folded, 2 * ROWS as u64, "each row is counted once");
                (found.unwrap_or_else(|error| panic!("{keys} keys, {kib} KiB: {error}")), spilled(&join))
            });
            assert_eq!(found, truth, "{keys} keys, {kib} KiB, {partitions} partitions");
            // All columns of all rows, compressed.
            assert!(spilled.bytes > 100_000, "{spilled:?}");
            if kib == 192 {
                assert!(spilled.cuts > 0, "{keys} keys, {partitions} partitions: {spilled:?}");
                // A hash does not cut one key: its rows are folded in slices.
                assert!(keys > 2 || spilled.pieces > 8, "{keys} keys, {partitions} partitions: {spilled:?}");
            }
            assert_empty(&runtime);
        }
    }
}

#[test]
fn a_limit_of_the_disk_is_named_and_leaves_nothing() {
    let runtime = bounded(1 << 20, 200_000);
    let state = session(&layout(2), Arc::clone(&runtime));
    let error = super::forms_agree::runtime().block_on(async {
        let join = two_lookups(JoinForm::SpilledFold, &state, 20_000, 500).await;
        rows(&state, join).await.unwrap_err()
    });
    let DataFusionError::ArrowError(cause, _) = error.find_root() else { panic!("{error}") };
    let arrow::error::ArrowError::IoError(_, cause) = cause.as_ref() else { panic!("{error}") };
    assert_eq!(cause.kind(), std::io::ErrorKind::QuotaExceeded);
    assert!(cause.to_string().contains("more than the 200000 bytes that may be spilled"), "{cause}");
    assert_empty(&runtime);
}

#[test]
fn an_abandoned_join_leaves_nothing() {
    let runtime = bounded(2 << 20, u64::MAX);
    let state = session(&layout(2), Arc::clone(&runtime));
    super::forms_agree::runtime().block_on(async {
        let join = two_lookups(JoinForm::SpilledFold, &state, 20_000, 500).await;
        let mut stream = execute_stream(join, state.task_ctx()).unwrap();
        assert!(stream.next().await.unwrap().unwrap().num_rows() > 0);
        let held = runtime.disk_manager.spilling_progress();
        assert!(held.active_files_count >= 3 && held.current_bytes > 0, "{held:?}");
    });
    assert_empty(&runtime);
}

/// Three hundred columns: what was beaten must go by its bytes, long before it is many rows.
#[test]
fn wide_winners_keep_within_the_limit() {
    const COLUMNS: usize = 300;
    const ROWS: i64 = 6_000;
    let fields = (0..COLUMNS).map(|number| Field::new(format!("f{number}"), DataType::Float64, true));
    let time = Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true);
    let own = [Field::new("row", DataType::Int64, false), Field::new("key", DataType::Int64, true), time];
    let wide: SchemaRef = Arc::new(Schema::new(own.clone().into_iter().chain(fields).collect::<Vec<_>>()));
    let narrow: SchemaRef = Arc::new(Schema::new(own.to_vec()));
    let numbers = |from: i64| (from..from + 1_000).collect::<Vec<i64>>();
    let own = |from: i64| -> Vec<ArrayRef> {
        let times: Vec<Option<i64>> = numbers(from).into_iter().map(Some).collect();
        vec![
            Arc::new(Int64Array::from(numbers(from))),
            Arc::new(numbers(from).into_iter().map(|row| Some(row % 100)).collect::<Int64Array>()),
            instants(TimeUnit::Millisecond, None, &times),
        ]
    };
    let columns = |from: i64| {
        (0..COLUMNS).map(move |number| {
            let value = |row: i64| row as f64 + number as f64 / 1_000.0;
            Arc::new(numbers(from).into_iter().map(value).collect::<Float64Array>()) as ArrayRef
        })
    };
    let batches = |schema: &SchemaRef, is_wide: bool| -> Vec<RecordBatch> {
        let batch = |from: i64| {
            let columns = own(from).into_iter().chain(columns(from).filter(|_| is_wide)).collect();
            RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
        };
        (0..ROWS / 1_000).map(|number| batch(number * 1_000)).collect()
    };
    let payload =
        (0..COLUMNS).map(|number| PayloadColumn { column: 3 + number, output: format!("o{number}") });
    let spec = |form: JoinForm| AsofSpec {
        form,
        spine_keys: vec![1],
        spine_instant: 2,
        lookups: vec![LookupSpec {
            name: "wide".into(),
            keys: vec![1],
            time: 2,
            created: None,
            ordinal: None,
            late_created: None,
            account: None,
            ties: Vec::new(),
            payload: payload.clone().collect(),
            ttl_nanos: None,
            created_cut: false,
        }],
        first_outcome: 0,
        clusters: true,
    };
    let run = |form: JoinForm, runtime: Arc<RuntimeEnv>| {
        super::forms_agree::runtime().block_on(async {
            let state = session(&layout(2), runtime);
            let inputs = vec![
                scan("spine", Arc::clone(&narrow), vec![batches(&narrow, false)]).unwrap(),
                scan("wide", Arc::clone(&wide), vec![batches(&wide, true)]).unwrap(),
            ];
            let join = plan(&state, &join(spec(form), inputs).unwrap()).await.unwrap();
            let found = rows(&state, Arc::clone(&join)).await.unwrap();
            (found, spilled(&join))
        })
    };
    let (truth, _) = run(JoinForm::SlotFold, unlimited());
    // The winners alone are 14 MB.
    let runtime = bounded(8 << 20, u64::MAX);
    let (found, spilled) = run(JoinForm::SpilledFold, Arc::clone(&runtime));
    assert!(found == truth && spilled.bytes > 1 << 20, "{spilled:?}");
    assert_empty(&runtime);
}
