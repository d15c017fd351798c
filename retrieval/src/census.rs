//! Why was nothing in reach? A census of keys tells apart: no such key, only later rows, all expired.
//!
//! A plan prunes rows that cannot matter, so the join cannot know what was there. The census reads keys and times of *all* rows
//! of a view, keeps the least event time of each key, and holds it against the spine. A spine row whose key is not there,
//! or whose key has only later rows, had nothing in reach for that reason; the others that had nothing in reach found only rows
//! beyond the ttl. So two counts over the whole spine are enough.

use std::ops::{Div, Rem, Sub};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use backsight_asof::{Outcome, nanos_per};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::{Column, JoinType};
use datafusion::functions_aggregate::expr_fn::{min, sum};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use futures::TryStreamExt;

use crate::engine::{RetrievalEngine, RunContext};
use crate::error::RetrievalError;
use crate::instant_column::{instant_expr, instant_type};
use crate::plan::{OWN_PREFIX, PlanInput, column, key_expr, source_column};
use crate::report::Tally;
use crate::scan::TableScan;
use crate::shards::ShardSpec;
use crate::spine_plan::{SpinePlan, key_sets, view_key};

/// Adds to the tally of a shard, for every view that has spine rows with nothing in reach, how many of them lack their key and
/// how many have only later rows.
pub(crate) async fn census(
    input: &PlanInput,
    shard: Option<&ShardSpec>,
    engine: &dyn RetrievalEngine,
    tally: &mut Tally,
) -> Result<(), RetrievalError> {
    for (number, tally) in tally.views.iter_mut().enumerate() {
        let none = tally.outcomes[usize::from(Outcome::NoneInReach.code())];
        if none == 0 {
            continue;
        }
        let plan = engine.plan(&plan(input, shard, number)?).await?;
        let rows = engine.execute(plan, &RunContext::default()).await?;
        let batches: Vec<_> = rows.try_collect().await.map_err(RetrievalError::from_engine)?;
        let count = |column: usize| -> u64 {
            let of_batch = batches.iter().flat_map(|batch| batch.column(column).as_primitive::<Int64Type>());
            of_batch.flatten().map(|count| u64::try_from(count).unwrap_or(0)).sum()
        };
        (tally.no_such_key, tally.only_later) = (count(0), count(1));
        if tally.no_such_key + tally.only_later > none {
            let (absent, later) = (tally.no_such_key, tally.only_later);
            let view = &input.views[number].resolved.label;
            let detail = format!(
                "view `{view}`: {none} rows had nothing in reach, {absent} lack their key and {later} have only later rows"
            );
            return Err(RetrievalError::Unbalanced { detail });
        }
    }
    Ok(())
}

/// One row: spine rows whose key the view lacks, and those whose key has only later rows.
fn plan(input: &PlanInput, shard: Option<&ShardSpec>, number: usize) -> Result<LogicalPlan, RetrievalError> {
    let sets = key_sets(input);
    let Some(set) = sets.iter().position(|set| set.views.contains(&number)) else {
        return Err(RetrievalError::Bug { message: "a view has no key set".to_owned() });
    };
    let spine = SpinePlan::new(input, &sets, shard)?;
    let narrow = spine.narrow(set)?;
    let keys = sets[set].columns.len();
    let own = |number: usize| -> Expr { bare(&format!("{OWN_PREFIX}n{number}")) };
    let asked = (0..=keys).map(|number| own(number).is_not_null()).reduce(Expr::and);
    let instant_unit = unit_of(narrow.schema().field(keys).data_type())?;
    let (least, time_unit) = least_times(input, number, &sets[set].columns, &spine.key_types[set])?;

    let on = (0..keys).map(|number| (name(&format!("{OWN_PREFIX}n{number}")), name(&key_name(number))));
    let (left, right): (Vec<Column>, Vec<Column>) = on.unzip();
    let later = is_later(bare(LEAST), time_unit, own(keys), instant_unit);
    let counted = |condition: Expr| -> Result<Expr, RetrievalError> {
        let one = when(condition, lit(1_i64)).otherwise(lit(0_i64)).map_err(RetrievalError::from_engine)?;
        Ok(sum(one))
    };
    let counts = [
        counted(bare(LEAST).is_null())?.alias("no_such_key"),
        counted(bare(LEAST).is_not_null().and(later))?.alias("only_later"),
    ];
    let spine_rows = LogicalPlanBuilder::from(narrow);
    let spine_rows = match asked {
        Some(asked) => spine_rows.filter(asked).map_err(RetrievalError::from_engine)?,
        None => spine_rows,
    };
    let joined = if keys == 0 {
        spine_rows.cross_join(least)
    } else {
        spine_rows.join(least, JoinType::Left, (left, right), None)
    };
    joined
        .and_then(|joined| joined.aggregate(Vec::<Expr>::new(), counts))
        .and_then(LogicalPlanBuilder::build)
        .map_err(RetrievalError::from_engine)
}

/// The least event time of a key.
const LEAST: &str = "__backsight_least";

fn key_name(number: usize) -> String {
    format!("{OWN_PREFIX}k{number}")
}

fn name(name: &str) -> Column {
    Column::new_unqualified(name)
}

fn bare(text: &str) -> Expr {
    Expr::Column(name(text))
}

fn unit_of(data_type: &DataType) -> Result<TimeUnit, RetrievalError> {
    match data_type {
        DataType::Timestamp(unit, _) => Ok(*unit),
        other => Err(RetrievalError::Bug { message: format!("an instant is {other}") }),
    }
}

/// For each key of a view its least event time, over all row groups.
fn least_times(
    input: &PlanInput,
    number: usize,
    columns: &[String],
    types: &[DataType],
) -> Result<(LogicalPlan, TimeUnit), RetrievalError> {
    let view = &input.views[number];
    let definition = &view.resolved.view;
    let role = format!("{} `{}`", view.table.role, view.table.shown);
    let time_column = source_column(definition, &definition.source.timestamp_field);
    let field = view.table.column(&time_column, "the event time")?;
    let time_type = instant_type(field, &role, Some(&definition.source.tags))?;
    let time = instant_expr(column("view", &time_column), field.data_type(), &time_type);
    let mut projected = vec![time.clone().alias(LEAST)];
    let mut known = time.is_not_null();
    let mut keys = Vec::with_capacity(columns.len());
    for (number, (spine_column, wanted)) in columns.iter().zip(types).enumerate() {
        let Some(name) = view_key(view, spine_column) else { continue };
        let source = source_column(definition, &name);
        let given = view.table.column(&source, "a join key")?.data_type();
        let key = key_expr(column("view", &source), given, wanted);
        known = known.and(key.clone().is_not_null());
        projected.push(key.alias(key_name(number)));
        keys.push(bare(&key_name(number)));
    }
    let scan = TableScan::source(Arc::clone(&view.table), &[]);
    let least = LogicalPlanBuilder::scan("view", provider_as_source(Arc::new(scan)), None)
        .and_then(|builder| builder.filter(known))
        .and_then(|builder| builder.project(projected))
        .and_then(|builder| builder.aggregate(keys, [min(bare(LEAST)).alias(LEAST)]))
        .and_then(LogicalPlanBuilder::build)
        .map_err(RetrievalError::from_engine)?;
    Ok((least, unit_of(&time_type)?))
}

/// Whether a time is after an instant, exact and without overflow: the finer one is rounded to the other's unit.
fn is_later(time: Expr, time_unit: TimeUnit, instant: Expr, instant_unit: TimeUnit) -> Expr {
    let (time, instant) = (cast(time, DataType::Int64), cast(instant, DataType::Int64));
    let (of_time, of_instant) = (nanos_per(time_unit), nanos_per(instant_unit));
    if of_time >= of_instant {
        return time.gt(floor_div(instant, of_time / of_instant));
    }
    // time > instant * factor, where the product may not fit.
    floor_div(time.sub(lit(1_i64)), of_instant / of_time).gt_eq(instant)
}

/// Division that rounds down, by a positive number.
fn floor_div(dividend: Expr, divisor: i64) -> Expr {
    if divisor == 1 {
        return dividend;
    }
    // The engine's division rounds towards zero.
    let rest = dividend.clone().rem(lit(divisor));
    let rounded = dividend.div(lit(divisor));
    let borrow = cast(rest.lt(lit(0_i64)), DataType::Int64);
    rounded.sub(borrow)
}
