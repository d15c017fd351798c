//! Under a memory limit the join says so, and gives back what it took.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;

use super::columns::instants;
use super::forms_agree::runtime;
use super::running::{Layout, join, limited, plan, rows, scan, session, unlimited};
use crate::spec::{AsofSpec, JoinForm, LookupSpec, PayloadColumn};

const ROWS: i64 = 20_000;
const KEYS: i64 = 500;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("row", DataType::Int64, false),
        Field::new("key", DataType::Int64, true),
        Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("text", DataType::Utf8, true),
    ]))
}

fn table(text: &str) -> Vec<RecordBatch> {
    (0..ROWS / 1_000).map(|number| batch(number * 1_000, 1_000, text, KEYS)).collect()
}

/// Row `i` belongs to key `i % keys` at `i` milliseconds.
pub(super) fn batch(first: i64, rows: i64, text: &str, keys: i64) -> RecordBatch {
    let numbers: Vec<i64> = (first..first + rows).collect();
    let times: Vec<Option<i64>> = numbers.iter().copied().map(Some).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(numbers.clone())),
        Arc::new(numbers.iter().map(|i| Some(i % keys)).collect::<Int64Array>()),
        instants(TimeUnit::Millisecond, None, &times),
        Arc::new(numbers.iter().map(|i| Some(format!("{text} {i}"))).collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

async fn two_lookups(state: &SessionState) -> Arc<dyn ExecutionPlan> {
    joined(state, table("spine"), vec![table("first"), table("second")]).await
}

/// The spine with every lookup's text.
async fn joined(
    state: &SessionState,
    spine: Vec<RecordBatch>,
    lookups: Vec<Vec<RecordBatch>>,
) -> Arc<dyn ExecutionPlan> {
    joined_by(JoinForm::SlotFold, state, spine, lookups).await
}

/// The same in any form.
pub(super) async fn joined_by(
    form: JoinForm,
    state: &SessionState,
    spine: Vec<RecordBatch>,
    lookups: Vec<Vec<RecordBatch>>,
) -> Arc<dyn ExecutionPlan> {
    let lookup = |number: usize| LookupSpec {
        ordinal: None,
        late_created: None,
        account: None,
        name: format!("lookup {number}"),
        keys: vec![1],
        time: 2,
        created: None,
        ties: vec![3],
        payload: vec![PayloadColumn { column: 3, output: format!("text_{number}") }],
        ttl_nanos: None,
        created_cut: false,
    };
    let spec = AsofSpec {
        form,
        spine_keys: vec![1],
        spine_instant: 2,
        lookups: (0..lookups.len()).map(lookup).collect(),
        first_outcome: 0,
        clusters: true,
    };
    let tables = std::iter::once(spine).chain(lookups).enumerate();
    let inputs =
        tables.map(|(n, batches)| scan(&format!("t{n}"), schema(), vec![batches]).unwrap()).collect();
    plan(state, &join(spec, inputs).unwrap()).await.unwrap()
}

fn layout(target_partitions: usize) -> Layout {
    Layout { target_partitions, ..Layout::plain() }
}

#[test]
fn a_limit_is_an_error_that_leaves_nothing_reserved() {
    let runtime = runtime();
    for partitions in [1, 3] {
        let state = session(&layout(partitions), unlimited());
        let truth = runtime.block_on(async { rows(&state, two_lookups(&state).await).await }).unwrap();
        assert_eq!(truth.len(), ROWS as usize);

        let mut refused = 0;
        for kib in (4..16).map(|power| 1_usize << power) {
            let pool = Arc::new(GreedyMemoryPool::new(kib << 10));
            let state = session(&layout(partitions), limited(Arc::clone(&pool) as Arc<dyn MemoryPool>));
            // A runtime of its own: tasks that the error leaves behind end with it.
            let result = super::forms_agree::runtime()
                .block_on(async { rows(&state, two_lookups(&state).await).await });
            assert_eq!(pool.reserved(), 0, "{kib} KiB, {partitions} partitions");
            match result {
                Ok(found) => assert_eq!(found, truth, "{kib} KiB"),
                Err(error) => {
                    refused += 1;
                    assert!(
                        matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)),
                        "{kib} KiB: {error}"
                    );
                    if partitions == 1 {
                        assert!(error.to_string().contains("point-in-time join"), "{error}");
                    }
                }
            }
        }
        // Rows alone are over a megabyte, and everything fits in 32.
        assert!((6..12).contains(&refused), "{refused} limits were refused");
    }
}

/// Four keys, so that the spine is clustered; long texts, so that some limits end a run early.
#[test]
fn a_spine_that_streams_past_is_put_out_whole_however_short_its_runs_are() {
    let spine = || -> Vec<RecordBatch> {
        let text = "a long text ".repeat(20);
        (0..300).map(|number| batch(number * 7, 7, &text, 4)).collect()
    };
    let features = || vec![batch(0, 40, "features", 4)];
    let run = |state: &SessionState| {
        // A runtime of its own: tasks that an error leaves behind end with it.
        runtime().block_on(async {
            rows(state, joined_by(JoinForm::Broadcast, state, spine(), vec![features()]).await).await
        })
    };
    let truth = run(&session(&layout(1), unlimited())).unwrap();
    assert_eq!(truth.len(), 2100);
    let mut answered = 0;
    for power in 8..22 {
        let pool = Arc::new(GreedyMemoryPool::new(1 << power));
        let result = run(&session(&layout(1), limited(Arc::clone(&pool) as Arc<dyn MemoryPool>)));
        assert_eq!(pool.reserved(), 0, "2^{power} bytes");
        match result {
            Ok(found) => {
                answered += 1;
                assert!(found == truth, "2^{power} bytes");
            }
            Err(error) => {
                assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
            }
        }
    }
    assert!((4..12).contains(&answered), "{answered} limits sufficed");
}

#[test]
fn an_abandoned_join_leaves_nothing_reserved() {
    let pool = Arc::new(GreedyMemoryPool::new(64 << 20));
    let state = session(&layout(1), limited(Arc::clone(&pool) as Arc<dyn MemoryPool>));
    runtime().block_on(async {
        let join = two_lookups(&state).await;
        let mut stream = execute_stream(join, state.task_ctx()).unwrap();
        assert!(stream.next().await.unwrap().unwrap().num_rows() > 0);
        // The spine, two lookups' candidates and the index are held while rows are written.
        assert!(pool.reserved() > 2 << 20, "{} bytes reserved", pool.reserved());
    });
    assert_eq!(pool.reserved(), 0);
}

/// Every batch beats the candidates of the one before. What was beaten must go: by number of rows in the first
/// lookup, by number of chunks in the second, whose rows also tie across chunks.
#[test]
fn beaten_candidates_are_dropped_while_rows_stream() {
    let long = "x".repeat(400);
    let many_rows = (0..300).map(|number| batch(number * KEYS, KEYS, &long, KEYS)).collect();
    let many_chunks = (0..3_000)
        .map(|number| batch(number / 2, 1, if number % 2 == 0 { "a" } else { "b" }, KEYS))
        .collect();
    let spine = vec![batch(1_000_000, KEYS, "spine", KEYS)];

    // All 150,000 candidates of the first lookup would take 60 MB.
    let pool = Arc::new(GreedyMemoryPool::new(48 << 20));
    let state = session(&layout(1), limited(Arc::clone(&pool) as Arc<dyn MemoryPool>));
    let found = runtime().block_on(async {
        let join = joined(&state, spine, vec![many_rows, many_chunks]).await;
        rows(&state, join).await.unwrap()
    });
    assert_eq!(found.len(), KEYS as usize);
    for row in found {
        let number = |name: &str| -> i64 {
            let cell = row.split(&format!(" {name}=")).nth(1).unwrap();
            cell.trim_start_matches(['x', 'a', 'b', ' ']).split(' ').next().unwrap().parse().unwrap()
        };
        let key = number("key");
        assert_eq!(number("text_0"), 299 * KEYS + key, "{row}");
        assert_eq!(number("text_1"), 2 * KEYS + key, "{row}");
        assert!(row.contains(" text_1=b ") && row.contains(" __outcome_1=1"), "{row}");
    }
}
