//! The views of a plan: which of their row groups are scanned, and which form joins them.

use std::sync::Arc;

use backsight_asof::JoinForm;

use crate::choose::{ChosenForm, ViewSize, choose};
use crate::memory::{self, Side};
use crate::plan::{PlanInput, ViewInput, source_column};
use crate::reach::Reach;
use crate::scan::{ScanStats, TableScan};
use crate::spine_plan::KeySet;

/// Bytes of a row id.
const ROW_ID_BYTES: u64 = 8;

/// A view's scan, and the form that joins it.
pub(crate) struct ScannedView {
    pub(crate) scan: TableScan,
    pub(crate) form: JoinForm,
    pub(crate) chosen: ChosenForm,
}

/// What a plan takes, estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimates {
    /// Bytes that the join would hold in forms that hold all in memory.
    pub memory_bytes: u64,
    /// Bytes that the join puts on disk, before they are compressed.
    pub spill_bytes: u64,
}

/// The scans of all views, with the forms that are chosen for them together.
pub(crate) fn scan_views(
    input: &PlanInput,
    sets: &[KeySet],
    spine_rows: u64,
    reach: &Reach,
) -> (Vec<Option<ScannedView>>, Estimates) {
    let scans: Vec<TableScan> = (0..input.views.len()).map(|view| view_scan(input, view, reach)).collect();
    let sizes: Vec<ViewSize> =
        input.views.iter().zip(&scans).map(|(view, scan)| view_size(view, scan.stats, spine_rows)).collect();
    let row_bytes = memory::row_bytes(&input.spine.schema) + ROW_ID_BYTES;
    let spine = Side { rows: spine_rows, row_bytes };
    let (chosen, memory_bytes) = choose(input.form, spine, &sizes, &input.spilling);
    let views = chosen.iter().map(|(_, chosen)| chosen.spilled_bytes).sum::<u64>();
    // The spine goes to disk once for each set of keys.
    let spills = |set: &&KeySet| set.views.iter().any(|&view| chosen[view].0 == JoinForm::SpilledFold);
    let joins = sets.iter().filter(spills).count() as u64;
    let spill_bytes = views.saturating_add(spine.bytes().saturating_mul(joins));
    let scanned = chosen.into_iter().zip(scans);
    let scanned = scanned.map(|((form, chosen), scan)| Some(ScannedView { scan, form, chosen })).collect();
    (scanned, Estimates { memory_bytes, spill_bytes })
}

/// The row groups, and of these the pages, of a view that the spine may reach.
fn view_scan(input: &PlanInput, number: usize, reach: &Reach) -> TableScan {
    let groups = &input.footers.sources[number];
    let readings = groups.groups.iter().map(|group| reach.reading(groups, group));
    TableScan::part_of_source(Arc::clone(&input.views[number].table), readings)
}

/// What a view's form is chosen by.
fn view_size(view: &ViewInput, stats: ScanStats, spine_rows: u64) -> ViewSize {
    let definition = &view.resolved.view;
    let keys = definition.join_keys.iter().map(|key| key.name.as_str());
    let source = &definition.source;
    let times = [Some(source.timestamp_field.as_str()), source.created_timestamp_column.as_deref()];
    let features = definition.features.iter().map(|feature| feature.name.as_str());
    let row_bytes = keys
        .chain(times.into_iter().flatten())
        .chain(features)
        .filter_map(|name| view.table.schema.field_with_name(&source_column(definition, name)).ok())
        .map(|field| memory::width(field.data_type()))
        .sum();
    let columns = (view.resolved.keys.len() + definition.features.len() + 2) as u64;
    ViewSize { spine_rows, rows: stats.rows, bytes: stats.bytes, columns, row_bytes }
}
