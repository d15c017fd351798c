//! Builds the logical plan of a retrieval: spine, one join for each set of keys, the contract's column order.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use backsight_asof::{
    AsofJoinNode, AsofSpec, CandidatesNode, CandidatesSpec, JoinForm, KeyCuts, LateColumns, LookupSpec,
    PayloadColumn, SpansNode, SpansSpec, age_column, outcome_column,
};
use backsight_registry::model::{FeatureView, Ttl};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, try_cast};

use crate::choose::{ChosenForm, FormChoice, Spilling, is_exchanged};
use crate::error::RetrievalError;
use crate::footers::Footers;
use crate::heavy_keys::SpineSample;
use crate::instant_column::{instant_expr, instant_type};
use crate::late_columns::ParquetColumns;
use crate::parquet_table::{ParquetTable, streams_at_once};
use crate::profile::SpineProfile;
use crate::resolve::{ResolvedView, check_output_names};
use crate::row_id::ROW_ID;
use crate::scan::ScanStats;
use crate::scanned_views::{Estimates, ScannedView, scan_views};
use crate::shards::ShardSpec;
use crate::spine_plan::{KeySet, SpinePlan, key_sets, view_key};

/// Prefix of columns that are ours: a spine that has such a column is refused.
pub(crate) const OWN_PREFIX: &str = "__backsight_";

/// A view of a request with its source files.
#[derive(Debug, Clone)]
pub struct ViewInput {
    /// What is asked of the view.
    pub resolved: ResolvedView,
    /// Its source.
    pub table: Arc<ParquetTable>,
}

/// Everything a plan is made from.
#[derive(Debug, Clone)]
pub struct PlanInput {
    /// The spine's files.
    pub spine: Arc<ParquetTable>,
    /// What is known of the spine.
    pub profile: SpineProfile,
    /// The instant's column, when the user names it.
    pub timestamp_column: Option<String>,
    /// Views in output order.
    pub views: Vec<ViewInput>,
    /// Use only rows created at or before the instant.
    pub created_cut: bool,
    /// Put rows out in the spine's order, in one partition.
    pub preserve_order: bool,
    /// How the algorithm that joins is found.
    pub form: FormChoice,
    /// Keys and instants of some rows of the spine, where heavy keys may have to be cut.
    pub(crate) sample: Option<SpineSample>,
    /// Whether another form has run out of memory.
    pub(crate) spilling: Spilling,
    /// What the footers say.
    pub(crate) footers: Arc<Footers>,
}

/// A planned retrieval: the plan's output is the dataset's columns followed by the bookkeeping columns.
#[derive(Debug, Clone)]
pub struct RetrievalPlan {
    /// The plan.
    pub logical: LogicalPlan,
    /// The spine's instant column.
    pub instant_column: String,
    /// Columns of the dataset: the first of the plan's output.
    pub dataset_columns: usize,
    /// For each view in output order, where its outcome stands.
    pub views: Vec<PlannedView>,
    /// What each scan reads: the spine, then the views.
    pub scans: Vec<(String, ScanStats)>,
    /// What a user should know: absent columns, drifted types.
    pub notes: Vec<String>,
    /// What it takes, estimated.
    pub estimates: Estimates,
}

/// A view in the plan's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlannedView {
    /// Alias or name.
    pub label: String,
    /// Name in the registry.
    pub view: String,
    /// Positions of its features in the dataset.
    pub features: Vec<usize>,
    /// Position of the outcome column; the age follows it.
    pub outcome: usize,
    /// Number of the lookup among all lookups of the plan.
    pub lookup: usize,
    /// Whether it is joined by keys; else every partition folds all of its rows.
    pub is_keyed: bool,
    /// Whether its join is in the tasks that write the parts: nothing is exchanged after it.
    pub is_last: bool,
    /// Rows that its scan produces.
    pub rows_scanned: u64,
    /// Whether both sides of its join are exchanged by key.
    pub is_exchanged: bool,
    /// How it is joined.
    pub chosen: ChosenForm,
}

impl RetrievalPlan {
    /// The names of the forms that join, each once, in order of the views.
    pub fn forms(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for view in &self.views {
            if !names.contains(&view.chosen.form.as_str()) {
                names.push(&view.chosen.form);
            }
        }
        names.join(", ")
    }
}

/// Plans a retrieval, or one shard of it.
///
/// # Errors
/// Columns that are missing or of types that cannot take their role, equal output names.
pub fn plan(input: &PlanInput, shard: Option<&ShardSpec>) -> Result<RetrievalPlan, RetrievalError> {
    let spine_names: Vec<String> = input.spine.schema.fields().iter().map(|f| f.name().clone()).collect();
    check_output_names(&input.views.iter().map(|v| v.resolved.clone()).collect::<Vec<_>>(), &spine_names)?;
    if let Some(own) = spine_names.iter().find(|name| name.starts_with(OWN_PREFIX)) {
        return Err(RetrievalError::Usage {
            message: format!("spine column `{own}` starts with `{OWN_PREFIX}`, which is reserved"),
            hint: Some("rename the column".into()),
        });
    }
    let sets = key_sets(input);
    let mut spine = SpinePlan::new(input, &sets, shard)?;
    let mut reach = input.footers.reach(shard);
    // Where footers do not say, the profile has read the column.
    reach.time = reach.time.or(input.profile.bounds());
    let mut scans = vec![("spine".to_owned(), spine.stats)];
    let (mut scanned, estimates) = scan_views(input, &sets, spine.stats.rows, &reach);
    cut_heavy_keys(input, &sets, &mut spine, &mut scanned)?;
    let mut view_scans = BTreeMap::new();
    let mut plan = spine.logical.clone();
    let mut folded = Vec::new();
    let mut broadcast = Vec::new();
    for (number, set) in sets.iter().enumerate() {
        let (mut folds, mut broadcasts) = (SetJoin::new(number), SetJoin::new(number));
        for &view in &set.views {
            let Some(scanned) = scanned[view].take() else { continue };
            let lookup = lookup(input, view, set, &spine, number, scanned)?;
            view_scans.insert(view, (input.views[view].resolved.label.clone(), lookup.stats));
            let join = if lookup.form == JoinForm::Broadcast { &mut broadcasts } else { &mut folds };
            join.lookups.push((view, lookup));
        }
        folded.extend((!folds.lookups.is_empty()).then_some(folds));
        broadcast.extend((!broadcasts.lookups.is_empty()).then_some(broadcasts));
    }
    // Broadcasts come last: the spine streams past them, so they see it in the tasks that write.
    let exchanges = folded.len();
    let mut folds = BTreeMap::new();
    let joins = exchanges + broadcast.len();
    let mut first_outcome = 0;
    for (place, join) in folded.into_iter().chain(broadcast).enumerate() {
        let placed = Placed {
            first_outcome,
            is_keyed: !sets[join.set].columns.is_empty(),
            // A sort is an exchange, too: what the join has counted stays on its other side.
            is_last: place + 1 >= exchanges && !input.preserve_order,
            clusters: place + 1 == joins && !input.preserve_order,
        };
        first_outcome += join.add(&mut plan, &spine, placed, &mut folds)?;
    }
    scans.extend(view_scans.into_values());
    let mut notes = std::mem::take(&mut spine.notes);
    notes.extend(input.views.iter().flat_map(view_notes));
    if input.spilling.is_begun() {
        notes
            .push("memory did not suffice for another form: the join was done again, and spilled".to_owned());
    }
    arrange(input, plan, &spine, &folds, scans, notes).map(|plan| RetrievalPlan { estimates, ..plan })
}

/// Cuts the heavy keys of the sets whose rows are exchanged by key, and says so.
fn cut_heavy_keys(
    input: &PlanInput,
    sets: &[KeySet],
    spine: &mut SpinePlan,
    scanned: &mut [Option<ScannedView>],
) -> Result<(), RetrievalError> {
    for (number, set) in sets.iter().enumerate() {
        let exchanged = |view: &usize| scanned[*view].as_ref().is_some_and(|view| is_exchanged(view.form));
        let exchanged: Vec<usize> = set.views.iter().copied().filter(exchanged).collect();
        if exchanged.is_empty() {
            continue;
        }
        let Some(heavy) = spine.cut(input, set, number)? else { continue };
        for view in exchanged {
            if let Some(view) = &mut scanned[view] {
                let (keys, reason) = (heavy.keys, &view.chosen.reason);
                let keys =
                    if keys == 1 { "1 heavy key is".to_owned() } else { format!("{keys} heavy keys are") };
                view.chosen.reason = format!("{reason}; {keys} cut into {} spans of time", heavy.spans);
            }
        }
    }
    Ok(())
}

/// Views of one key set that are joined by one operator.
struct SetJoin {
    set: usize,
    /// With the numbers of the views.
    lookups: Vec<(usize, PlannedLookup)>,
}

impl SetJoin {
    fn new(set: usize) -> Self {
        Self { set, lookups: Vec::new() }
    }

    /// Puts the join on top of `plan`; returns the number of its lookups.
    fn add(
        self,
        plan: &mut LogicalPlan,
        spine: &SpinePlan,
        placed: Placed,
        folds: &mut BTreeMap<usize, Fold>,
    ) -> Result<usize, RetrievalError> {
        let Placed { first_outcome, is_keyed, is_last, clusters } = placed;
        let mut inputs = vec![plan.clone()];
        let (mut lookups, mut late) = (Vec::new(), Vec::new());
        let mut form = None;
        for (view, lookup) in self.lookups {
            // One view with candidates makes it a join of candidates; the others come as they are.
            if lookup.form == JoinForm::CandidateFold || form.is_none() {
                form = Some(lookup.form);
            }
            let fold = Fold {
                lookup: first_outcome + lookups.len(),
                is_keyed,
                is_last,
                rows_scanned: lookup.stats.rows,
                is_exchanged: is_exchanged(lookup.form),
                chosen: lookup.chosen,
            };
            folds.insert(view, fold);
            inputs.push(lookup.logical);
            lookups.push(lookup.spec);
            late.extend(lookup.late);
        }
        let count = lookups.len();
        let form = form.unwrap_or(JoinForm::SlotFold);
        let mut spine_keys = spine.key_columns[self.set].clone();
        if is_exchanged(form) {
            spine_keys.extend(spine.spans.get(&self.set).map(|spans| spans.column));
        }
        let spine_instant = spine.instant;
        let spec = AsofSpec { form, spine_keys, spine_instant, first_outcome, lookups, clusters };
        *plan = AsofJoinNode::try_new_late(Arc::new(spec), inputs, late)
            .map_err(RetrievalError::from_engine)?
            .into_plan();
        Ok(count)
    }
}

/// Where a join stands among those of a plan.
#[derive(Debug, Clone, Copy)]
struct Placed {
    first_outcome: usize,
    is_keyed: bool,
    /// See [`PlannedView::is_last`].
    is_last: bool,
    /// Whether the order of its rows is its own.
    clusters: bool,
}

/// Where and how a view's rows are folded.
#[derive(Debug, Clone, Default)]
struct Fold {
    lookup: usize,
    is_keyed: bool,
    is_last: bool,
    rows_scanned: u64,
    is_exchanged: bool,
    chosen: ChosenForm,
}

struct PlannedLookup {
    logical: LogicalPlan,
    spec: LookupSpec,
    /// What the join itself reads late.
    late: Option<Arc<dyn LateColumns>>,
    stats: ScanStats,
    form: JoinForm,
    chosen: ChosenForm,
}

/// One view's side of a join: keys, event time, created time, then all declared features in name order. Where the form
/// reads late, features are left to a reader, and so is the created time unless a cut or its type needs it sooner.
fn lookup(
    input: &PlanInput,
    number: usize,
    set: &KeySet,
    spine: &SpinePlan,
    set_number: usize,
    scanned: ScannedView,
) -> Result<PlannedLookup, RetrievalError> {
    let view = &input.views[number];
    let definition = &view.resolved.view;
    let role = format!("{} `{}`", view.table.role, view.table.shown);
    let ScannedView { scan, form, chosen } = scanned;
    let stats = scan.stats;
    let is_late = matches!(form, JoinForm::LateFold | JoinForm::CandidateFold);
    let mut late_columns: Vec<String> = Vec::new();
    let mut late_created = None;
    let tags = Some(&definition.source.tags);
    let mut columns: Vec<Expr> = Vec::new();
    let mut add = |expr: Expr| {
        let name = format!("{OWN_PREFIX}c{}", columns.len());
        columns.push(expr.alias(name));
        columns.len() - 1
    };

    let mut keys = Vec::new();
    for (spine_column, wanted) in set.columns.iter().zip(&spine.key_types[set_number]) {
        let Some(name) = view_key(view, spine_column) else { continue };
        let source = source_column(definition, &name);
        let given = view.table.column(&source, "a join key")?.data_type();
        keys.push(add(key_expr(column("view", &source), given, wanted)));
    }
    let time_column = source_column(definition, &definition.source.timestamp_field);
    let time_field = view.table.column(&time_column, "the event time")?;
    let time_type = instant_type(time_field, &role, tags)?;
    let time = add(instant_expr(column("view", &time_column), time_field.data_type(), &time_type));
    let created = match definition.source.created_timestamp_column.as_deref().filter(|name| !name.is_empty())
    {
        None => None,
        Some(name) => {
            let source = source_column(definition, name);
            let field = view.table.column(&source, "the created time")?;
            let wanted = instant_type(field, &role, tags)?;
            if is_late && !input.created_cut && *field.data_type() == wanted {
                late_created = Some(late_columns.len());
                late_columns.push(source);
                None
            } else {
                Some(add(instant_expr(column("view", &source), field.data_type(), &wanted)))
            }
        }
    };
    let ordinal = is_late.then(|| add(column("view", ROW_ID)));
    let mut declared: Vec<&str> = definition.features.iter().map(|field| field.name.as_str()).collect();
    declared.sort_unstable();
    declared.dedup();
    let mut ties = Vec::new();
    let mut places = BTreeMap::new();
    for name in declared {
        let source = source_column(definition, name);
        let requested = view.resolved.features.iter().any(|feature| feature.feature == name);
        if requested {
            view.table.column(&source, &format!("feature `{name}` of view `{}`", definition.name))?;
        } else if view.table.schema.field_with_name(&source).is_err() {
            // Declared, not in the files, not asked for: it cannot decide between rows.
            continue;
        }
        let place = if is_late {
            late_columns.push(source);
            late_columns.len() - 1
        } else {
            add(column("view", &source))
        };
        ties.push(place);
        places.insert(name, place);
    }
    let payload = view
        .resolved
        .features
        .iter()
        .filter_map(|feature| {
            let column = *places.get(feature.feature.as_str())?;
            Some(PayloadColumn { column, output: feature.output.clone() })
        })
        .collect();

    let late: Option<Arc<dyn LateColumns>> = if is_late {
        Some(Arc::new(ParquetColumns::try_new(&view.table, scan.row_groups(), late_columns)?))
    } else {
        None
    };
    let scan = if is_late { scan.numbered() } else { scan };
    let scan = if form == JoinForm::LateFold {
        scan.in_streams(streams_at_once(&view.table.location))
    } else {
        scan
    };
    let logical = LogicalPlanBuilder::scan("view", provider_as_source(Arc::new(scan)), None)
        .and_then(|builder| builder.project(columns))
        .and_then(LogicalPlanBuilder::build)
        .map_err(RetrievalError::from_engine)?;
    let spec = LookupSpec {
        name: view.resolved.label.clone(),
        keys,
        time,
        created,
        ordinal,
        late_created,
        account: None,
        ties,
        payload,
        ttl_nanos: definition.ttl.map(Ttl::nanos),
        created_cut: input.created_cut,
    };
    let planned = PlannedLookup { logical, spec, late, stats, form, chosen };
    let cuts = spine.spans.get(&set_number).map(|spans| &spans.cuts);
    match (form, cuts) {
        (JoinForm::CandidateFold, _) => folded_where_scanned(planned, spine, set_number),
        (_, Some(cuts)) if is_exchanged(form) => with_spans(planned, cuts.clone()),
        _ => Ok(planned),
    }
}

/// The lookup's rows with the spans of heavy keys.
fn with_spans(lookup: PlannedLookup, cuts: KeyCuts) -> Result<PlannedLookup, RetrievalError> {
    let spec = SpansSpec { lookup: lookup.spec, cuts };
    let merged = spec.merged_lookup(lookup.logical.schema().fields().len());
    let node = SpansNode::try_new(Arc::new(spec), lookup.logical).map_err(RetrievalError::from_engine)?;
    Ok(PlannedLookup { logical: node.into_plan(), spec: merged, ..lookup })
}

/// The lookup's candidates in place of its rows.
fn folded_where_scanned(
    lookup: PlannedLookup,
    spine: &SpinePlan,
    set: usize,
) -> Result<PlannedLookup, RetrievalError> {
    let PlannedLookup { logical, spec, late: Some(late), stats, form, chosen } = lookup else {
        return Ok(lookup);
    };
    let narrow = spine.narrow(set)?;
    let keys = spine.key_columns[set].len();
    let cuts = spine.spans.get(&set).map(|spans| spans.cuts.clone());
    let spec = CandidatesSpec { lookup: spec, spine_keys: (0..keys).collect(), spine_instant: keys, cuts };
    let merged = spec.merged_lookup();
    let node = CandidatesNode::try_new(Arc::new(spec), logical, narrow, late);
    let logical = node.map_err(RetrievalError::from_engine)?.into_plan();
    Ok(PlannedLookup { logical, spec: merged, late: None, stats, form, chosen })
}

/// The dataset's columns in the contract's order, then the row id and each view's outcome and age.
fn arrange(
    input: &PlanInput,
    joined: LogicalPlan,
    spine: &SpinePlan,
    folds: &BTreeMap<usize, Fold>,
    scans: Vec<(String, ScanStats)>,
    notes: Vec<String>,
) -> Result<RetrievalPlan, RetrievalError> {
    let mut columns: Vec<Expr> =
        input.spine.schema.fields().iter().map(|f| Expr::Column(Column::new_unqualified(f.name()))).collect();
    let mut feature_positions = Vec::new();
    for view in &input.views {
        let mut positions = Vec::new();
        for feature in &view.resolved.features {
            positions.push(columns.len());
            columns.push(Expr::Column(Column::new_unqualified(&feature.output)));
        }
        feature_positions.push(positions);
    }
    let dataset_columns = columns.len();
    columns.push(Expr::Column(Column::new_unqualified(ROW_ID)));
    let mut views = Vec::new();
    for (number, (view, features)) in input.views.iter().zip(feature_positions).enumerate() {
        let fold = folds.get(&number).cloned().unwrap_or_default();
        views.push(PlannedView {
            label: view.resolved.label.clone(),
            view: view.resolved.view.name.clone(),
            features,
            outcome: columns.len(),
            lookup: fold.lookup,
            is_keyed: fold.is_keyed,
            is_last: fold.is_last,
            rows_scanned: fold.rows_scanned,
            is_exchanged: fold.is_exchanged,
            chosen: fold.chosen.clone(),
        });
        columns.push(Expr::Column(Column::new_unqualified(outcome_column(fold.lookup))));
        columns.push(Expr::Column(Column::new_unqualified(age_column(fold.lookup))));
    }
    let mut logical = LogicalPlanBuilder::from(joined).project(columns);
    if input.preserve_order {
        let by_row = Expr::Column(Column::new_unqualified(ROW_ID)).sort(true, false);
        logical = logical.and_then(|builder| builder.sort([by_row]));
    }
    let logical = logical.and_then(LogicalPlanBuilder::build).map_err(RetrievalError::from_engine)?;
    Ok(RetrievalPlan {
        logical,
        instant_column: spine.instant_column.clone(),
        dataset_columns,
        views,
        scans,
        notes,
        estimates: Estimates::default(),
    })
}

/// The source's column behind a name of a view: field mapping goes from source column to name.
pub(crate) fn source_column(view: &FeatureView, name: &str) -> String {
    view.source
        .field_mapping
        .iter()
        .find(|(_, mapped)| *mapped == name)
        .map_or_else(|| name.to_owned(), |(source, _)| source.clone())
}

pub(crate) fn key_expr(key: Expr, given: &DataType, wanted: &DataType) -> Expr {
    match wanted {
        _ if given == wanted => key,
        // A value beyond the common precision equals nothing on the other side.
        DataType::Decimal128(_, _) => try_cast(key, wanted.clone()),
        _ => cast(key, wanted.clone()),
    }
}

pub(crate) fn column(table: &str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(table), name))
}

pub(crate) fn absent_notes(table: &ParquetTable) -> Vec<String> {
    table
        .absent
        .iter()
        .map(|(column, files)| {
            format!(
                "{}: {files} of {} files have no column `{column}`, it is null there",
                table.role,
                table.files.len()
            )
        })
        .collect()
}

/// What a user should know of a view's files: columns that some lack and matter, types that drifted.
fn view_notes(view: &ViewInput) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(skipped) = &view.table.skipped {
        notes.push(format!(
            "feature view `{}`: {skipped} are out of the spine's reach and were not opened",
            view.resolved.label
        ));
    }
    for feature in &view.resolved.features {
        let source = source_column(&view.resolved.view, &feature.feature);
        if let Some(files) = view.table.absent.get(&source) {
            notes.push(format!(
                "feature view `{}`: {files} of {} source files have no column `{source}`, it is null there",
                view.resolved.label,
                view.table.files.len()
            ));
        }
        let declared = view.resolved.view.features.iter().find(|field| field.name == feature.feature);
        let stored = view.table.schema.field_with_name(&source);
        if let (Some(declared), Ok(stored)) = (declared, stored)
            && !crate::declared_types::is_same_family(declared.value_type, stored.data_type())
        {
            notes.push(format!(
                "feature `{}:{}` is declared {} but is {} in the source: the source's type is returned",
                view.resolved.label,
                feature.feature,
                crate::declared_types::name(declared.value_type),
                stored.data_type()
            ));
        }
    }
    notes
}
