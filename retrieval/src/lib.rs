//! What to do: a request and a registry become a plan, its rows a committed dataset with a join report.

mod bloom;
mod bounds;
mod census;
mod choose;
mod codec;
mod commit;
mod days;
mod declared_types;
mod delta;
mod delta_log;
mod delta_table;
mod diagnose;
mod encoding;
mod engine;
mod error;
mod explain;
mod footer_cache;
mod footers;
mod heavy_keys;
mod hive;
mod instant_column;
mod key_range;
mod key_types;
mod late_columns;
mod manifest;
mod memory;
mod merge_schemas;
mod narrow;
mod object_reader;
mod output_state;
mod page_index;
mod paged_scan;
mod parquet_table;
mod part_file;
mod part_writer;
mod plan;
mod prepare;
mod preview;
mod profile;
mod progress;
mod reach;
mod report;
mod request;
mod resolve;
mod row_id;
mod run;
mod saved_dataset;
mod scan;
mod scanned_views;
mod shard_run;
mod shards;
mod sorted_rows;
mod source_check;
mod source_files;
mod spine;
mod spine_plan;
mod staging;
mod widen;
mod wire_failure;

pub use backsight_asof::JoinForm;
pub use choose::{ChosenForm, FormChoice};
pub use codec::RetrievalPhysicalCodec;
pub use commit::{Attempt, Fence, OpenRequest, Opened, Output};
pub use engine::{RetrievalEngine, RunContext};
pub use error::{FileContradiction, KeyMismatch, RetrievalError};
pub use explain::{ExplainedKey, ExplainedScan, ExplainedView, Explanation};
pub use late_columns::decode_late;
pub use manifest::{
    MANIFEST_FORMAT, Manifest, ManifestColumn, ManifestEngine, ManifestForm, ManifestPart, ManifestSource,
};
pub use output_state::Claimant;
pub use parquet_table::{ParquetFile, ParquetTable};
pub use part_writer::{
    PartRecord, PartSpec, PartWriteExec, PlannedViewSpec, WriteContext, mix, part_records,
};
pub use plan::{PlanInput, PlannedView, RetrievalPlan, ViewInput, plan};
pub use prepare::{Bases, Prepared, prepare};
pub use preview::{Preview, preview};
pub use profile::{SpineProfile, profile};
pub use progress::Progress;
pub use report::{
    AgeHistogram, AgeReport, FeatureReport, JoinReport, ReachReport, Tally, ViewReport, ViewTally,
};
pub use request::{FeatureSelection, RetrievalRequest, SpineFrom, SpineRequest};
pub use resolve::{ResolveError, ResolvedFeature, ResolvedKey, ResolvedView, check_output_names, resolve};
pub use run::{DatasetCommit, Finished, RunOptions, commit_dataset, keep_claim, run};
pub use saved_dataset::{ManifestSaved, check_name_free, saved_dataset};
pub use scan::{ScanStats, Skipped};
pub use scanned_views::Estimates;
pub use shard_run::{ShardParts, ShardRun, ShardWork, plan_shard, write_shard};
pub use shards::{Cutting, GroupRun, PlannedShard, ShardLimits, ShardSpec};
pub use source_check::{
    ColumnShape, FindingKind, SeenType, Severity, SourceCheck, SourceFinding, SourceReport, SourceShape,
    check_sources, decide,
};
pub use spine::{StageSite, stage_local_spine};
pub use staging::{Staged, StagingLog};
pub use wire_failure::{MarkedFault, WireFailure};
