//! The spine's side of a plan: which views are joined by which of its columns, in which types, and from what scan.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use backsight_asof::KeyCuts;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use crate::error::{KeyMismatch, RetrievalError};
use crate::heavy_keys::HeavyKeys;
use crate::instant_column::{find_spine_instant, instant_expr, instant_type};
use crate::key_types::{common_key_type, is_float};
use crate::parquet_table::ParquetTable;
use crate::plan::{OWN_PREFIX, PlanInput, ViewInput, absent_notes, column, key_expr, source_column};
use crate::row_id::ROW_ID;
use crate::scan::{ScanStats, TableScan};
use crate::shards::ShardSpec;

/// Views that are joined together: equal spine columns as keys.
pub(crate) struct KeySet {
    /// Spine columns, sorted.
    pub(crate) columns: Vec<String>,
    /// Views in output order.
    pub(crate) views: Vec<usize>,
}

/// Sets in order of first view; views that match on time alone come first, while the spine is narrow.
pub(crate) fn key_sets(input: &PlanInput) -> Vec<KeySet> {
    let mut sets: Vec<KeySet> = Vec::new();
    for (number, view) in input.views.iter().enumerate() {
        let mut columns: Vec<String> =
            view.resolved.keys.iter().map(|key| key.spine_column.clone()).collect();
        columns.sort();
        match sets.iter_mut().find(|set| set.columns == columns) {
            Some(set) => set.views.push(number),
            None => sets.push(KeySet { columns, views: vec![number] }),
        }
    }
    sets.sort_by_key(|set| !set.columns.is_empty());
    sets
}

/// The spine's side of the plan: its columns, its id, and what keys and instant need on top.
pub(crate) struct SpinePlan {
    pub(crate) logical: LogicalPlan,
    pub(crate) instant_column: String,
    pub(crate) instant: usize,
    /// For each key set the positions of its keys.
    pub(crate) key_columns: Vec<Vec<usize>>,
    /// For each key set the types in which keys are compared.
    pub(crate) key_types: Vec<Vec<DataType>>,
    /// For key sets whose heavy keys are cut, how.
    pub(crate) spans: BTreeMap<usize, SpineSpans>,
    pub(crate) stats: ScanStats,
    pub(crate) notes: Vec<String>,
}

/// The spans of a key set.
pub(crate) struct SpineSpans {
    /// Position of a row's span.
    pub(crate) column: usize,
    pub(crate) cuts: KeyCuts,
}

impl SpinePlan {
    pub(crate) fn new(
        input: &PlanInput,
        sets: &[KeySet],
        shard: Option<&ShardSpec>,
    ) -> Result<Self, RetrievalError> {
        let table = &input.spine;
        let scan = TableScan::spine(Arc::clone(table), shard);
        let stats = scan.stats;
        let builder = LogicalPlanBuilder::scan("spine", provider_as_source(Arc::new(scan)), None)
            .map_err(RetrievalError::from_engine)?;
        let mut columns: Vec<Expr> =
            table.schema.fields().iter().map(|f| column("spine", f.name()).alias(f.name())).collect();
        columns.push(column("spine", ROW_ID).alias(ROW_ID));

        let instant_column = find_spine_instant(table, input.timestamp_column.as_deref())?;
        let field = table.column(&instant_column, "the spine's instant")?;
        let wanted = instant_type(field, &format!("spine `{}`", table.shown), None)?;
        let instant = if *field.data_type() == wanted {
            position(table, &instant_column)?
        } else {
            let instant = instant_expr(column("spine", &instant_column), field.data_type(), &wanted);
            columns.push(instant.alias(format!("{OWN_PREFIX}instant")));
            columns.len() - 1
        };

        let mut extra: BTreeMap<(String, String), usize> = BTreeMap::new();
        let (mut key_columns, mut key_types) = (Vec::new(), Vec::new());
        for set in sets {
            let (mut positions, mut types) = (Vec::new(), Vec::new());
            for name in &set.columns {
                let common = key_type(input, set, name)?;
                let given = table.column(name, "a join key")?.data_type();
                positions.push(if *given == common {
                    position(table, name)?
                } else {
                    let number = extra.len();
                    *extra.entry((name.clone(), common.to_string())).or_insert_with(|| {
                        let key = key_expr(column("spine", name), given, &common);
                        columns.push(key.alias(format!("{OWN_PREFIX}key_{number}")));
                        columns.len() - 1
                    })
                });
                types.push(common);
            }
            key_columns.push(positions);
            key_types.push(types);
        }
        let logical = builder
            .project(columns)
            .and_then(LogicalPlanBuilder::build)
            .map_err(RetrievalError::from_engine)?;
        let notes = absent_notes(table);
        let spans = BTreeMap::new();
        Ok(Self { logical, instant_column, instant, key_columns, key_types, spans, stats, notes })
    }
}

impl SpinePlan {
    /// Cuts the heavy keys of a set, if there are any: the rows then have spans. Returns what was cut.
    pub(crate) fn cut(
        &mut self,
        input: &PlanInput,
        set: &KeySet,
        number: usize,
    ) -> Result<Option<HeavyKeys>, RetrievalError> {
        let (Some(sample), Some(key_rows)) = (&input.sample, input.form.key_rows()) else { return Ok(None) };
        if set.columns.is_empty() {
            return Ok(None);
        }
        let schema = Arc::clone(self.logical.schema());
        let keys: Vec<(&str, &DataType)> =
            set.columns.iter().map(String::as_str).zip(&self.key_types[number]).collect();
        let instant = (self.instant_column.as_str(), schema.field(self.instant).data_type());
        let Some(heavy) = sample.heavy_keys(&keys, instant, key_rows)? else { return Ok(None) };
        let column = |position: usize| Expr::Column(Column::from(schema.qualified_field(position)));
        let keys: Vec<Expr> = self.key_columns[number].iter().map(|&key| column(key)).collect();
        let span = heavy.cuts.span(&keys, &column(self.instant)).map_err(RetrievalError::from_engine)?;
        let own = schema.fields().len();
        let columns = (0..own).map(column).chain([span.alias(format!("{OWN_PREFIX}span_{number}"))]);
        self.logical = LogicalPlanBuilder::from(self.logical.clone())
            .project(columns.collect::<Vec<_>>())
            .and_then(LogicalPlanBuilder::build)
            .map_err(RetrievalError::from_engine)?;
        self.spans.insert(number, SpineSpans { column: own, cuts: heavy.cuts.clone() });
        Ok(Some(heavy))
    }

    /// The keys of a set and the instant, of all rows of the spine: what scan tasks fold against.
    pub(crate) fn narrow(&self, set: usize) -> Result<LogicalPlan, RetrievalError> {
        let schema = self.logical.schema();
        let columns = self.key_columns[set].iter().chain(std::iter::once(&self.instant)).enumerate();
        let columns = columns.map(|(number, &position)| {
            // A column may be the key of two entities.
            Expr::Column(Column::from(schema.qualified_field(position)))
                .alias(format!("{OWN_PREFIX}n{number}"))
        });
        LogicalPlanBuilder::from(self.logical.clone())
            .project(columns.collect::<Vec<_>>())
            .and_then(LogicalPlanBuilder::build)
            .map_err(RetrievalError::from_engine)
    }
}

/// The type in which a spine column is compared with the keys of every view of a set.
fn key_type(input: &PlanInput, set: &KeySet, spine_column: &str) -> Result<DataType, RetrievalError> {
    let sides: Vec<(&ViewInput, String)> = set
        .views
        .iter()
        .map(|&view| &input.views[view])
        .filter_map(|view| view_key(view, spine_column).map(|name| (view, name)))
        .collect();
    let first_view = sides.first().map_or("", |(view, _)| view.resolved.label.as_str());
    let spine_field =
        input.spine.column(spine_column, &format!("a join key of feature view `{first_view}`"))?;
    let spine_type = spine_field.data_type();
    let mut types = vec![spine_type];
    for (view, view_column) in &sides {
        let source_column = source_column(&view.resolved.view, view_column);
        let field = view.table.column(&source_column, "a join key")?;
        let float = is_float(spine_type) || is_float(field.data_type());
        if float || common_key_type([spine_type, field.data_type()]).is_none() {
            return Err(RetrievalError::KeyTypes(Box::new(KeyMismatch {
                spine_column: spine_column.to_owned(),
                spine_type: spine_type.to_string(),
                spine: input.spine.shown.clone(),
                view_column: source_column,
                view_type: field.data_type().to_string(),
                source_uri: view.table.shown.clone(),
                view: view.resolved.label.clone(),
                hint: if float {
                    "floating point keys do not compare exactly: write them as integers or strings".into()
                } else {
                    "write one of the columns with the other's type".into()
                },
            })));
        }
        types.push(field.data_type());
    }
    common_key_type(types).ok_or_else(|| RetrievalError::Usage {
        message: format!("the views that join on spine column `{spine_column}` have keys that cannot be compared with each other"),
        hint: Some("ask for them in separate retrievals".into()),
    })
}

/// The view's key column that a spine column stands for.
pub(crate) fn view_key(view: &ViewInput, spine_column: &str) -> Option<String> {
    view.resolved.keys.iter().find(|key| key.spine_column == spine_column).map(|key| key.view_column.clone())
}

fn position(table: &ParquetTable, name: &str) -> Result<usize, RetrievalError> {
    table.schema.index_of(name).map_err(|e| RetrievalError::Bug { message: e.to_string() })
}
