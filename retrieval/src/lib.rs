//! What to do: a request and a registry become a plan, its rows a committed dataset with a join report.

mod bounds;
mod codec;
mod commit;
mod declared_types;
mod diagnose;
mod engine;
mod error;
mod instant_column;
mod key_types;
mod manifest;
mod object_reader;
mod output_state;
mod parquet_table;
mod part_writer;
mod plan;
mod prepare;
mod preview;
mod profile;
mod progress;
mod report;
mod request;
mod resolve;
mod row_id;
mod run;
mod scan;
mod staging;
mod widen;

pub use codec::RetrievalPhysicalCodec;
pub use commit::{Attempt, OpenRequest, Opened, Output};
pub use engine::{RetrievalEngine, RunContext};
pub use error::{FileContradiction, KeyMismatch, RetrievalError};
pub use manifest::{MANIFEST_FORMAT, Manifest, ManifestColumn, ManifestEngine, ManifestPart, ManifestSource};
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
pub use report::{AgeHistogram, AgeReport, FeatureReport, JoinReport, Tally, ViewReport, ViewTally};
pub use request::{FeatureSelection, RetrievalRequest, SpineRequest};
pub use resolve::{ResolveError, ResolvedFeature, ResolvedKey, ResolvedView, check_output_names, resolve};
pub use run::{Finished, RunOptions, run};
pub use scan::ScanStats;
pub use staging::{Staged, StagingLog};
