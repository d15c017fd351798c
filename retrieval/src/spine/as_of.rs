//! No spine but an instant: every entity that has an eligible row then.

use arrow::datatypes::{DataType, Field, TimeUnit};
use backsight_asof::nanos_per;
use backsight_registry::model::Ttl;
use chrono::{DateTime, Utc};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bounds::row_group_bounds;
use crate::error::RetrievalError;
use crate::instant_column::{instant_expr, instant_type};
use crate::key_types::common_key_type;
use crate::plan::{ViewInput, column, key_expr, source_column};
use crate::scan::TableScan;
use crate::spine_plan::view_key;

/// The instant's column in the spine.
const INSTANT: &str = "event_timestamp";

/// Reads an instant of a request.
pub(crate) fn parse(text: &str) -> Result<DateTime<Utc>, RetrievalError> {
    let parsed = DateTime::parse_from_rfc3339(text).map(|instant| instant.with_timezone(&Utc));
    parsed.map_err(|error| RetrievalError::Usage {
        message: format!("`{text}` is no instant: {error}"),
        hint: Some("write it as `2026-01-31T12:00:00Z`".to_owned()),
    })
}

/// An instant in nanoseconds.
pub(crate) fn nanos(instant: DateTime<Utc>) -> i128 {
    i128::from(instant.timestamp()) * 1_000_000_000 + i128::from(instant.timestamp_subsec_nanos())
}

/// The distinct key tuples of all views that have an eligible row at `instant`, each with the instant.
///
/// # Errors
/// Views that have not all the same keys, or none; columns that cannot take their role.
pub(crate) fn plan(
    views: &[ViewInput],
    instant: DateTime<Utc>,
    created_cut: bool,
) -> Result<LogicalPlan, RetrievalError> {
    let keys = common_keys(views)?;
    let types = keys.iter().map(|key| key_type(views, key)).collect::<Result<Vec<_>, _>>()?;
    let mut entities: Option<LogicalPlanBuilder> = None;
    for view in views {
        let of_view = eligible(view, &keys, &types, instant, created_cut)?;
        entities = Some(match entities {
            None => LogicalPlanBuilder::from(of_view),
            Some(entities) => entities.union(of_view).map_err(RetrievalError::from_engine)?,
        });
    }
    let Some(entities) = entities else {
        return Err(RetrievalError::Bug { message: "a retrieval without views".to_owned() });
    };
    let mut columns: Vec<Expr> = keys.iter().map(|key| Expr::Column(key.as_str().into())).collect();
    let literal = ScalarValue::TimestampMicrosecond(Some(instant.timestamp_micros()), Some("UTC".into()));
    columns.push(lit(literal).alias(INSTANT));
    entities
        .distinct()
        .and_then(|entities| entities.project(columns))
        .and_then(LogicalPlanBuilder::build)
        .map_err(RetrievalError::from_engine)
}

/// The spine columns that are the keys of every view, sorted.
fn common_keys(views: &[ViewInput]) -> Result<Vec<String>, RetrievalError> {
    let of_view = |view: &ViewInput| -> BTreeSet<String> {
        view.resolved.keys.iter().map(|key| key.spine_column.clone()).collect()
    };
    let shown = |keys: &BTreeSet<String>| keys.iter().cloned().collect::<Vec<_>>().join("`, `");
    let Some((first, others)) = views.split_first() else { return Ok(Vec::new()) };
    let keys = of_view(first);
    for other in others {
        let others = of_view(other);
        if others != keys {
            return Err(RetrievalError::Usage {
                message: format!(
                    "`--as-of` needs views of the same keys: `{}` has `{}`, `{}` has `{}`",
                    first.resolved.label,
                    shown(&keys),
                    other.resolved.label,
                    shown(&others)
                ),
                hint: Some(
                    "ask for them in separate retrievals, or make the rows with `--spine-sql`".to_owned(),
                ),
            });
        }
    }
    if keys.is_empty() {
        return Err(RetrievalError::Usage {
            message: format!(
                "`--as-of` needs entities, and feature view `{}` has none",
                first.resolved.label
            ),
            hint: Some("make the rows with `--spine-sql`".to_owned()),
        });
    }
    if keys.contains(INSTANT) {
        return Err(RetrievalError::Usage {
            message: format!("`--as-of` makes a column `{INSTANT}`, and a join key has that name"),
            hint: Some("make the rows with `--spine-sql`".to_owned()),
        });
    }
    Ok(keys.into_iter().collect())
}

/// The source's field of a key.
fn key_field<'a>(view: &'a ViewInput, key: &str) -> Result<(String, &'a Field), RetrievalError> {
    let name = view_key(view, key).unwrap_or_else(|| key.to_owned());
    let source = source_column(&view.resolved.view, &name);
    let field = view.table.column(&source, "a join key")?;
    Ok((source, field))
}

/// The type of a key: the sources' where they agree, else one that holds the values of all.
fn key_type(views: &[ViewInput], key: &str) -> Result<DataType, RetrievalError> {
    let mut types = Vec::with_capacity(views.len());
    for view in views {
        types.push(key_field(view, key)?.1.data_type());
    }
    match types.split_first() {
        Some((first, others)) if others.iter().all(|other| other == first) => Ok((*first).clone()),
        _ => common_key_type(types).ok_or_else(|| RetrievalError::Usage {
            message: format!("the views have keys `{key}` of types that cannot be compared with each other"),
            hint: Some("ask for them in separate retrievals".to_owned()),
        }),
    }
}

/// Keys of the rows of a view that may be used at the instant.
fn eligible(
    view: &ViewInput,
    keys: &[String],
    types: &[DataType],
    instant: DateTime<Utc>,
    created_cut: bool,
) -> Result<LogicalPlan, RetrievalError> {
    let definition = &view.resolved.view;
    let role = format!("{} `{}`", view.table.role, view.table.shown);
    let tags = Some(&definition.source.tags);
    let at = nanos(instant);
    let least = definition.ttl.map(Ttl::nanos).map(|ttl| at.saturating_sub(ttl));

    let time_column = source_column(definition, &definition.source.timestamp_field);
    let time_field = view.table.column(&time_column, "the event time")?;
    let time_type = instant_type(time_field, &role, tags)?;
    let time = instant_expr(column("view", &time_column), time_field.data_type(), &time_type);
    let mut conditions = vec![time.clone().is_not_null()];
    conditions.extend(bound(at, &time_type, Side::Greatest).map(|bound| time.clone().lt_eq(bound)));
    conditions
        .extend(least.and_then(|least| bound(least, &time_type, Side::Least)).map(|bound| time.gt_eq(bound)));
    let created = definition.source.created_timestamp_column.as_deref().filter(|name| !name.is_empty());
    if let Some(name) = created.filter(|_| created_cut) {
        let source = source_column(definition, name);
        let field = view.table.column(&source, "the created time")?;
        let created_type = instant_type(field, &role, tags)?;
        let created = instant_expr(column("view", &source), field.data_type(), &created_type);
        conditions.push(created.clone().is_not_null());
        conditions.extend(bound(at, &created_type, Side::Greatest).map(|bound| created.lt_eq(bound)));
    }

    let mut columns = Vec::with_capacity(keys.len());
    for (key, wanted) in keys.iter().zip(types) {
        let (source, field) = key_field(view, key)?;
        let value = key_expr(column("view", &source), field.data_type(), wanted);
        conditions.push(value.clone().is_not_null());
        columns.push(value.alias(key));
    }
    let keep = reachable(view, &time_column, least, at);
    let scan = TableScan::source(Arc::clone(&view.table), &keep);
    let mut builder = LogicalPlanBuilder::scan("view", provider_as_source(Arc::new(scan)), None);
    for condition in conditions {
        builder = builder.and_then(|builder| builder.filter(condition));
    }
    builder
        .and_then(|builder| builder.project(columns))
        .and_then(LogicalPlanBuilder::distinct)
        .and_then(LogicalPlanBuilder::build)
        .map_err(RetrievalError::from_engine)
}

/// For each row group in order whether it can hold an eligible row.
fn reachable(view: &ViewInput, time: &str, least: Option<i128>, greatest: i128) -> Vec<bool> {
    let groups = view.table.files.iter().flat_map(|file| row_group_bounds(file, time));
    groups
        .map(|bounds| {
            bounds.is_none_or(|bounds| {
                bounds.least <= greatest && least.is_none_or(|least| bounds.greatest >= least)
            })
        })
        .collect()
}

/// Which end of a range a bound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Least,
    Greatest,
}

/// An instant as a literal of a timestamp type, rounded to the inside where the unit is coarser; `None` where every value of
/// the type is on the right side of it, or an impossible bound where none is.
fn bound(nanos: i128, data_type: &DataType, side: Side) -> Option<Expr> {
    let DataType::Timestamp(unit, zone) = data_type else { return None };
    let factor = i128::from(nanos_per(*unit));
    let floor = nanos.div_euclid(factor);
    let value = match side {
        Side::Greatest => floor,
        Side::Least => floor + i128::from(nanos.rem_euclid(factor) != 0),
    };
    let value = match i64::try_from(value) {
        Ok(value) => value,
        Err(_) if (value > 0) == (side == Side::Greatest) => return None,
        // The bound lies beyond what the type can hold: only its last value is next to it.
        Err(_) if value > 0 => i64::MAX,
        Err(_) => i64::MIN,
    };
    let zone = zone.clone();
    Some(lit(match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(Some(value), zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(value), zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(value), zone),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(value), zone),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_rounded_to_the_inside() {
        let shown = |nanos: i128, unit, side| {
            bound(nanos, &DataType::Timestamp(unit, None), side).map(|bound| bound.to_string())
        };
        let table = [
            (1_500_000_000, TimeUnit::Second, Side::Greatest, Some("TimestampSecond(1, None)")),
            (1_500_000_000, TimeUnit::Second, Side::Least, Some("TimestampSecond(2, None)")),
            (-1_500_000_000, TimeUnit::Second, Side::Greatest, Some("TimestampSecond(-2, None)")),
            (-1_500_000_000, TimeUnit::Second, Side::Least, Some("TimestampSecond(-1, None)")),
            (2_000_000_000, TimeUnit::Second, Side::Least, Some("TimestampSecond(2, None)")),
            (7, TimeUnit::Nanosecond, Side::Greatest, Some("TimestampNanosecond(7, None)")),
            (i128::MAX, TimeUnit::Nanosecond, Side::Greatest, None),
            (i128::MIN, TimeUnit::Nanosecond, Side::Least, None),
        ];
        for (nanos, unit, side, expected) in table {
            assert_eq!(shown(nanos, unit, side).as_deref(), expected, "{nanos} {unit:?} {side:?}");
        }
    }
}
