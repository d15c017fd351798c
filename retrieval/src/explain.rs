//! How a retrieval would be done, as plain values: what `retrieve --explain` shows, here or by a scheduler.

use std::collections::BTreeSet;

use backsight_asof::JoinForm;
use backsight_registry::ttl::ttl_text;
use serde::{Deserialize, Serialize};

use crate::choose::ChosenForm;
use crate::plan::{PlannedView, RetrievalPlan, ViewInput};
use crate::prepare::Prepared;
use crate::request::RetrievalRequest;
use crate::scan::ScanStats;
use crate::shards::Cutting;

/// How a retrieval would be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked.
    pub request: RetrievalRequest,
    /// Rows of the spine.
    pub spine_rows: u64,
    /// Its instant's column.
    pub instant_column: String,
    /// Engine.
    pub engine: String,
    /// Form of the join.
    pub form: String,
    /// Partitions of a plan.
    pub partitions: usize,
    /// Memory that the engine may use; on a cluster that is each executor's own.
    pub memory_limit_bytes: Option<u64>,
    /// Sets of join keys: each is one pass over the spine.
    pub key_sets: u64,
    /// The views.
    pub views: Vec<ExplainedView>,
    /// What is read, all shards together read as one.
    pub scans: Vec<ExplainedScan>,
    /// How it is cut into shards.
    pub shards: Cutting,
    /// What the join of the largest shard would hold if nothing were spilled, estimated: spine rows, their slots, the winners.
    pub memory_estimate_bytes: u64,
    /// What the join of the largest shard puts on disk, before it is compressed, estimated.
    #[serde(default)]
    pub spill_estimate_bytes: u64,
    /// What crosses the exchanges, estimated, in bytes as they are in the files.
    pub shuffle_estimate_bytes: u64,
    /// What a user should know.
    pub notes: Vec<String>,
    /// The physical plan of one shard as text.
    pub physical_plan: String,
}

/// A view of a retrieval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedView {
    /// Name in the registry.
    pub view: String,
    /// Alias or name.
    pub label: String,
    /// Its keys beside the spine's columns.
    pub keys: Vec<ExplainedKey>,
    /// Output columns.
    pub features: Vec<String>,
    /// Time to live.
    pub ttl: Option<String>,
    /// Where it is.
    pub source: String,
    /// How it is joined, and why.
    #[serde(default)]
    pub chosen: ChosenForm,
}

/// A join key on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedKey {
    /// The view's column.
    pub view: String,
    /// The spine's column.
    pub spine: String,
}

/// What a scan reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedScan {
    /// `spine`, or the view.
    pub name: String,
    /// The counts.
    #[serde(flatten)]
    pub stats: ScanStats,
}

impl Explanation {
    /// Explains a prepared retrieval on an engine.
    pub fn new(
        prepared: &Prepared,
        shards: Cutting,
        engine: &str,
        partitions: usize,
        memory_limit_bytes: Option<u64>,
        physical_plan: String,
    ) -> Self {
        let plan = &prepared.plan;
        let scans = scans_of(plan);
        let rows = prepared.spine.rows().max(1);
        let largest = shards.shards.iter().map(|shard| shard.rows).max().unwrap_or(0);
        let of_largest = |bytes: u64| {
            let bytes = u128::from(bytes) * u128::from(largest) / u128::from(rows);
            u64::try_from(bytes).unwrap_or(u64::MAX)
        };
        Self {
            request: prepared.request.clone(),
            spine_rows: prepared.spine.rows(),
            instant_column: plan.instant_column.clone(),
            engine: engine.to_owned(),
            form: plan.forms(),
            partitions,
            memory_limit_bytes,
            key_sets: key_sets(&prepared.views),
            views: prepared
                .views
                .iter()
                .zip(&plan.views)
                .map(|(view, planned)| explained(view, planned))
                .collect(),
            shuffle_estimate_bytes: exchanged_bytes(plan),
            memory_estimate_bytes: of_largest(plan.estimates.memory_bytes),
            spill_estimate_bytes: of_largest(plan.estimates.spill_bytes),
            scans,
            shards,
            notes: plan.notes.clone(),
            physical_plan,
        }
    }
}

/// What a plan reads: the spine, then the views.
pub(crate) fn scans_of(plan: &RetrievalPlan) -> Vec<ExplainedScan> {
    let scan = |(name, stats): &(String, ScanStats)| ExplainedScan { name: name.clone(), stats: *stats };
    plan.scans.iter().map(scan).collect()
}

/// Bytes of the spine and of the views' rows that are exchanged, as they are in the files.
fn exchanged_bytes(plan: &RetrievalPlan) -> u64 {
    let Some(((_, spine), views)) = plan.scans.split_first() else { return 0 };
    let all: u64 = views
        .iter()
        .zip(&plan.views)
        .map(|((_, scan), view)| scan.bytes / scan.rows.max(1) * view.chosen.exchanged_rows)
        .sum();
    // The late form exchanges neither.
    if plan.views.iter().all(|view| view.chosen.form == JoinForm::LateFold.name()) {
        all
    } else {
        all + spine.bytes
    }
}

fn explained(view: &ViewInput, planned: &PlannedView) -> ExplainedView {
    let resolved = &view.resolved;
    ExplainedView {
        view: resolved.view.name.clone(),
        label: resolved.label.clone(),
        keys: resolved
            .keys
            .iter()
            .map(|key| ExplainedKey { view: key.view_column.clone(), spine: key.spine_column.clone() })
            .collect(),
        features: resolved.features.iter().map(|feature| feature.output.clone()).collect(),
        ttl: resolved.view.ttl.map(|ttl| ttl_text(Some(ttl))),
        source: view.table.shown.clone(),
        chosen: planned.chosen.clone(),
    }
}

/// Views that share spine columns share an index and a pass.
fn key_sets(views: &[ViewInput]) -> u64 {
    let sets: BTreeSet<Vec<&str>> = views
        .iter()
        .map(|view| {
            let mut columns: Vec<&str> =
                view.resolved.keys.iter().map(|key| key.spine_column.as_str()).collect();
            columns.sort_unstable();
            columns
        })
        .collect();
    sets.len() as u64
}
