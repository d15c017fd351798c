//! Plans a case as DataFusion would in earnest, runs it, and renders its rows for comparison.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::MemTable;
use datafusion::common::{Column, Result};
use datafusion::datasource::provider_as_source;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_plan::common::collect as collect_stream;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use proptest::prelude::*;

use super::cases::{Case, Cut, any_cuts};
use super::late::{MemoryColumns, late_spec, numbered, with_ordinals};
use crate::late::LateColumns;
use crate::spec::{AsofSpec, JoinForm, LookupSpec};
use crate::{
    AsofJoinExec, AsofJoinNode, AsofPlanner, CandidatesNode, CandidatesSpec, FoldAccount, KeyCuts, SpansNode,
    SpansSpec,
};

/// The name of the column of spans.
const SPAN: &str = "span";

/// How a case is laid out and planned; none of it may change an answer.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) target_partitions: usize,
    pub(super) batch_rows_max: usize,
    pub(super) input_partitions: usize,
    /// Lookup rows come this many times, in different batches.
    pub(super) repeats: usize,
    /// `None` keeps the rows' order.
    pub(super) shuffle: Option<u64>,
    /// Lookups that a first join answers; a second one answers the rest.
    pub(super) first_join: usize,
    pub(super) above: Above,
    /// Where keys are cut, as keys and seconds: forms that exchange rows are given these cuts.
    pub(super) cuts: Vec<Cut>,
    /// Whether the joins may put rows in another order.
    pub(super) clusters: bool,
}

/// What stands above the join, for the optimizer to push down or not.
#[derive(Debug, Clone, Copy)]
pub(super) enum Above {
    Nothing,
    Reversal,
    SpineFilter,
}

impl Layout {
    /// One partition, rows as they come.
    pub(super) fn plain() -> Self {
        Self {
            target_partitions: 1,
            batch_rows_max: 1024,
            input_partitions: 1,
            repeats: 1,
            shuffle: None,
            first_join: usize::MAX,
            above: Above::Nothing,
            cuts: Vec::new(),
            clusters: false,
        }
    }
}

/// Any layout.
pub(super) fn any_layout() -> impl Strategy<Value = Layout> {
    let above = prop::sample::select(vec![Above::Nothing, Above::Reversal, Above::SpineFilter]);
    let shuffle = prop::option::weighted(0.8, any::<u64>());
    let first_join = prop_oneof![2 => Just(usize::MAX), 1 => Just(1)];
    let joins = (first_join, above, any_cuts(), prop::bool::weighted(0.8));
    (1_usize..=5, 1_usize..=7, 1_usize..=3, 1_usize..=2, shuffle, joins).prop_map(
        |(
            target_partitions,
            batch_rows_max,
            input_partitions,
            repeats,
            shuffle,
            (first_join, above, cuts, clusters),
        )| {
            Layout {
                target_partitions,
                batch_rows_max,
                input_partitions,
                repeats,
                shuffle,
                first_join,
                above,
                cuts,
                clusters,
            }
        },
    )
}

/// A session as the engine sets one up, as far as the join depends on it.
pub(super) fn session(layout: &Layout, runtime: Arc<RuntimeEnv>) -> SessionState {
    let config = SessionConfig::new()
        .with_target_partitions(layout.target_partitions)
        .with_batch_size(layout.batch_rows_max)
        .with_round_robin_repartition(false)
        .with_prefer_existing_sort(false);
    SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).build()
}

pub(super) fn unlimited() -> Arc<RuntimeEnv> {
    Arc::new(RuntimeEnv::default())
}

pub(super) fn limited(pool: Arc<dyn MemoryPool>) -> Arc<RuntimeEnv> {
    RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap()
}

/// A table as a logical scan.
pub(super) fn scan(name: &str, schema: SchemaRef, partitions: Vec<Vec<RecordBatch>>) -> Result<LogicalPlan> {
    let table = MemTable::try_new(schema, partitions)?;
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()
}

/// The logical plan of a join.
pub(super) fn join(spec: AsofSpec, inputs: Vec<LogicalPlan>) -> Result<LogicalPlan> {
    Ok(AsofJoinNode::try_new(Arc::new(spec), inputs)?.into_plan())
}

/// Through all of DataFusion's optimizers.
pub(super) async fn plan(state: &SessionState, logical: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(AsofPlanner)]);
    planner.create_physical_plan(&state.optimize(logical)?, state).await
}

/// The rows of a plan, each rendered whole, spine row number first; sorted.
pub(super) async fn rows(state: &SessionState, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<String>> {
    let schema = plan.schema();
    let batches = collect(plan, state.task_ctx()).await?;
    assert!(batches.iter().all(|batch| batch.schema() == schema), "a batch has another schema than its plan");
    Ok(render(&batches))
}

/// Runs a case by one form in one layout.
pub(super) async fn answers(case: &Case, form: JoinForm, layout: &Layout) -> Result<Vec<String>> {
    let state = session(layout, unlimited());
    rows(&state, plan(&state, &logical(case, form, layout)?).await?).await
}

/// A case as a logical plan.
pub(super) fn logical(case: &Case, form: JoinForm, layout: &Layout) -> Result<LogicalPlan> {
    let spine = deal(case.spine.len(), 1, layout);
    let mut joined = scan(
        "spine",
        case.spine_schema(),
        batches(&spine, layout, |rows, salt| case.spine_batch(rows, salt)),
    )?;
    let mut scans = Vec::new();
    for (number, lookup) in case.lookups.iter().enumerate() {
        let dealt = deal(lookup.rows.len(), layout.repeats, layout);
        let schema = lookup.schema(&case.key_types);
        let partitions = batches(&dealt, layout, |rows, salt| {
            let batch = lookup.batch(&case.key_types, rows, salt);
            if reads_late(form) { with_ordinals(&batch, rows) } else { batch }
        });
        let schema = if reads_late(form) { numbered(&schema) } else { schema };
        scans.push(scan(&format!("lookup_{number}"), schema, partitions)?);
    }
    let whole_spine = joined.clone();
    // The span stands behind all columns of the spine.
    let (span, at) = (case.spine_schema().fields().len(), case.key_types.len() + 1);
    let exchanges = matches!(form, JoinForm::SlotFold | JoinForm::CandidateFold | JoinForm::SpilledFold);
    let cuts = if exchanges { case.cuts(&layout.cuts) } else { None };
    if let Some(cuts) = &cuts {
        let columns: Vec<Expr> = joined.schema().columns().into_iter().map(Expr::Column).collect();
        let keys: Vec<Expr> =
            case.spec(form, 0, 0).spine_keys.iter().map(|&key| columns[key].clone()).collect();
        let number = cuts.span(&keys, &columns[at])?.alias(SPAN);
        joined = LogicalPlanBuilder::from(joined).project(columns.into_iter().chain([number]))?.build()?;
    }
    let join = |first: usize, end: usize, mut inputs: Vec<LogicalPlan>| -> Result<LogicalPlan> {
        let mut spec = AsofSpec { clusters: layout.clusters, ..case.spec(form, first, end) };
        let mut late: Vec<Arc<dyn LateColumns>> = Vec::new();
        if reads_late(form) {
            for (number, lookup) in (first..end).zip(&mut spec.lookups) {
                let columns = case.lookups[number].schema(&case.key_types).fields().len();
                *lookup = late_spec(lookup.clone(), columns);
                late.push(Arc::new(MemoryColumns::of(case, number)));
            }
        }
        if form == JoinForm::CandidateFold {
            for ((lookup, input), late) in spec.lookups.iter_mut().zip(&mut inputs[1..]).zip(late.drain(..)) {
                let (keys, cuts) = (&spec.spine_keys, cuts.clone());
                (*lookup, *input) = candidates(keys, lookup, input.clone(), &whole_spine, cuts, late)?;
            }
        } else if let Some(cuts) = &cuts {
            for (lookup, input) in spec.lookups.iter_mut().zip(&mut inputs[1..]) {
                let spans = SpansSpec { lookup: lookup.clone(), cuts: cuts.clone() };
                *lookup = spans.merged_lookup(input.schema().fields().len());
                *input = SpansNode::try_new(Arc::new(spans), input.clone())?.into_plan();
            }
        }
        spec.spine_keys.extend(cuts.is_some().then_some(span));
        Ok(AsofJoinNode::try_new_late(Arc::new(spec), inputs, late)?.into_plan())
    };
    let first = layout.first_join.min(scans.len());
    let rest = scans.split_off(first);
    joined = join(0, first, std::iter::once(joined).chain(scans).collect())?;
    if !rest.is_empty() {
        joined = join(first, case.lookups.len(), std::iter::once(joined).chain(rest).collect())?;
    }
    let mut builder = LogicalPlanBuilder::from(joined);
    if cuts.is_some() {
        let columns = builder.schema().columns().into_iter().filter(|column| column.name != SPAN);
        let columns: Vec<Expr> = columns.map(Expr::Column).collect();
        builder = builder.project(columns)?;
    }
    match layout.above {
        Above::Nothing => builder.build(),
        Above::Reversal => {
            let columns: Vec<Expr> = builder.schema().columns().into_iter().rev().map(Expr::Column).collect();
            builder.project(columns)?.build()
        }
        Above::SpineFilter => {
            builder.filter(Expr::Column(Column::from_name("row")).gt_eq(lit(0_i64)))?.build()
        }
    }
}

fn reads_late(form: JoinForm) -> bool {
    matches!(form, JoinForm::LateFold | JoinForm::CandidateFold)
}

/// A lookup as its candidates: instants stand after the row number and the keys in a case's spine.
fn candidates(
    spine_keys: &[usize],
    lookup: &LookupSpec,
    input: LogicalPlan,
    spine: &LogicalPlan,
    cuts: Option<KeyCuts>,
    late: Arc<dyn LateColumns>,
) -> Result<(LookupSpec, LogicalPlan)> {
    let columns: Vec<Expr> =
        spine.schema().columns().into_iter().skip(1).take(spine_keys.len() + 1).map(Expr::Column).collect();
    let narrow = LogicalPlanBuilder::from(spine.clone()).project(columns)?.build()?;
    let spec = CandidatesSpec {
        lookup: lookup.clone(),
        spine_keys: spine_keys.iter().map(|key| key - 1).collect(),
        spine_instant: spine_keys.len(),
        cuts,
    };
    let merged = spec.merged_lookup();
    Ok((merged, CandidatesNode::try_new(Arc::new(spec), input, narrow, late)?.into_plan()))
}

/// The accounts of the joins of a plan that has run, summed.
pub(super) fn accounts(plan: &Arc<dyn ExecutionPlan>) -> FoldAccount {
    let mut all = FoldAccount::default();
    if let Some(join) = plan.downcast_ref::<AsofJoinExec>() {
        let partitions = join.properties().output_partitioning().partition_count();
        for (_, account) in (0..partitions).flat_map(|partition| join.accounts(partition)) {
            all.folded += account.folded;
            all.sent += account.sent;
            all.received += account.received;
        }
    }
    for child in plan.children() {
        let below = accounts(child);
        all.folded += below.folded;
        all.sent += below.sent;
        all.received += below.received;
    }
    all
}

/// Of the topmost join of a plan: how many rows it puts out and says to be sorted.
pub(super) async fn sorted_rows(state: &SessionState, plan: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let Some(join) = plan.downcast_ref::<AsofJoinExec>() else {
        return match plan.children().as_slice() {
            [child] => Box::pin(sorted_rows(state, child)).await,
            _ => Ok(0),
        };
    };
    let mut sorted = 0;
    for partition in 0..join.properties().output_partitioning().partition_count() {
        let batches = collect_stream(join.execute(partition, state.task_ctx())?).await?;
        if join.is_sorted(partition) {
            let rows = concat_batches(&join.schema(), &batches)?;
            let columns: Vec<ArrayRef> = join
                .sort_columns()
                .iter()
                .map(|name| ArrayRef::clone(rows.column_by_name(name).unwrap()))
                .collect();
            assert!(columns.iter().all(|column| column.logical_null_count() == 0));
            let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
            let comparable = RowConverter::new(fields)?.convert_columns(&columns)?;
            assert!(comparable.iter().is_sorted(), "{rows:?}");
            sorted += rows.num_rows();
        }
    }
    Ok(sorted)
}

/// Numbers of the rows, each `repeats` times, in the layout's order.
fn deal(rows: usize, repeats: usize, layout: &Layout) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..repeats).flat_map(|_| 0..rows).collect();
    if let Some(seed) = layout.shuffle {
        let mut random = seed;
        for place in (1..numbers.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            numbers.swap(place, (random >> 33) as usize % (place + 1));
        }
    }
    numbers
}

/// Small batches dealt to the input partitions in turn, an empty batch first.
fn batches(
    rows: &[usize],
    layout: &Layout,
    make: impl Fn(&[usize], u64) -> RecordBatch,
) -> Vec<Vec<RecordBatch>> {
    let mut partitions = vec![vec![make(&[], 0)]; layout.input_partitions];
    for (number, rows) in rows.chunks(layout.batch_rows_max).enumerate() {
        partitions[number % layout.input_partitions].push(make(rows, number as u64));
    }
    partitions
}

/// Columns by name, so that their order does not matter, and rows sorted.
fn render(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("∅");
    let mut rows = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let mut columns: Vec<(&str, ArrayFormatter)> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                (field.name().as_str(), ArrayFormatter::try_new(column, &options).unwrap())
            })
            .collect();
        columns.sort_by_key(|(name, _)| (*name != "row", *name));
        for row in 0..batch.num_rows() {
            let cells: Vec<String> =
                columns.iter().map(|(name, column)| format!("{name}={}", column.value(row))).collect();
            rows.push(cells.join(" "));
        }
    }
    rows.sort_unstable();
    rows
}
