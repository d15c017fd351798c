//! `bench floor`: what decoding and encoding alone cost, without joining: parquet-rs on all cores.
//!
//! Three steps, each a process of its own, so that the kernel counts each: *decode* reads every needed column of spine
//! and views once; *read* reads the finished dataset; *encode* reads it and encodes it again as it is encoded, to files.
//! The floor is decode + encode − read.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use backsight_proto::ErrorCode;
use backsight_storage::{Location, Stores};
use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Encoding;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::files::Generated;
use super::run::{Unit, Usage, measured, own_command, rounded, stores_of, units};
use crate::commands::retrieve::cores;
use crate::commands::{Done, Program};
use crate::errors::Failure;

/// Arguments of `bench floor`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Example:
  backsight bench run bench/train --keep-dataset && backsight bench floor bench/train --dataset bench/train/dataset")]
pub(crate) struct FloorArgs {
    /// Folder that `bench generate` wrote
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// A finished dataset of this workload, local or in an object store
    #[arg(long, value_name = "URI")]
    dataset: String,
    /// Do only this step, without counting
    #[arg(long, value_name = "STEP", hide = true)]
    step: Option<Step>,
}

/// A part of the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Decode the needed columns of spine and views.
    Decode,
    /// Decode the dataset.
    Read,
    /// Decode the dataset and encode it again.
    Encode,
}

impl Step {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Decode, "decode"), (Self::Read, "read"), (Self::Encode, "encode")];
}

/// The floor of a workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Floor {
    /// Decode, read, encode.
    steps: [Usage; 3],
}

impl Floor {
    /// Measures the three steps once.
    ///
    /// # Errors
    /// What a step reports.
    pub(crate) async fn measure(program: &Program, data: &str, dataset: &str) -> Result<Self, Failure> {
        let mut steps = [Usage::default(), Usage::default(), Usage::default()];
        for (usage, (_, name)) in steps.iter_mut().zip(Step::ALL) {
            let arguments = ["bench", "floor", data, "--dataset", dataset, "--step", name];
            *usage = measured(own_command(program, &arguments)?).await?.usage;
        }
        Ok(Self { steps })
    }

    /// Decoding and encoding together. Reading the dataset is a part of the step, but not of the floor.
    pub(crate) fn usage(&self) -> Usage {
        let [decode, read, encode] = &self.steps;
        let sum = |of: fn(&Usage) -> f64| of(decode) + (of(encode) - of(read)).max(0.0);
        Usage {
            wall_seconds: sum(|usage| usage.wall_seconds),
            user_seconds: sum(|usage| usage.user_seconds),
            system_seconds: sum(|usage| usage.system_seconds),
            memory_bytes_max: decode.memory_bytes_max.max(encode.memory_bytes_max),
            bytes_read: decode.bytes_read,
            bytes_written: encode.bytes_written,
        }
    }

    /// The floor and its steps.
    pub(crate) fn json(&self) -> Value {
        let steps = Step::ALL.iter().zip(&self.steps).map(|((_, name), usage)| {
            let mut value = usage.json();
            value["step"] = json!(name);
            value
        });
        let mut value = self.usage().json();
        value["steps"] = steps.collect();
        value
    }
}

impl Usage {
    /// As it is recorded.
    pub(crate) fn json(&self) -> Value {
        json!({
            "wall_seconds": rounded(self.wall_seconds),
            "user_seconds": rounded(self.user_seconds),
            "system_seconds": rounded(self.system_seconds),
            "cpu_seconds": rounded(self.cpu_seconds()),
            "memory_bytes_max": self.memory_bytes_max,
            "bytes_read": self.bytes_read,
            "bytes_written_all": self.bytes_written,
        })
    }
}

/// Runs the command.
pub(crate) async fn run(args: &FloorArgs, program: &Program) -> Result<Done, Failure> {
    let data = args.data.display().to_string();
    let Some(step) = args.step else {
        let floor = Floor::measure(program, &data, &args.dataset).await?;
        if program.terminal.is_json() {
            program.terminal.print_json(&floor.json());
        } else {
            let usage = floor.usage();
            program.terminal.print(&format!(
                "floor of {data}: {:.2} s wall, {:.2} s user + system\n",
                usage.wall_seconds,
                usage.cpu_seconds()
            ));
        }
        return Ok(Done::Done);
    };
    let working = &program.environment.working;
    let repo = working.join(&args.data);
    let generated = Generated::require(&repo, &data)?;
    let stores = stores_of(&args.data, program)?;
    let dataset = Location::parse(&args.dataset, working, None)?;
    match step {
        Step::Decode => decode(&generated, &repo, working, &stores).await?,
        Step::Read => {
            let work = units(&stores, &dataset).await?;
            each(work, cores(), |unit| async move { drain(&unit, None).await }).await?;
        }
        Step::Encode => {
            let folder = tempfile::Builder::new().prefix("floor-").tempdir_in(&repo);
            let folder = folder.map_err(|error| Failure::io("make a folder to encode into", &error))?;
            let work = units(&stores, &dataset).await?.into_iter().enumerate();
            let work = work.map(|(number, unit)| (folder.path().join(format!("{number}.parquet")), unit));
            each(work.collect(), cores(), |(path, unit)| async move { encode(&unit, &path).await }).await?;
        }
    }
    if program.terminal.is_json() {
        program.terminal.print_json(&json!({}));
    }
    Ok(Done::Done)
}

async fn decode(generated: &Generated, repo: &Path, working: &Path, stores: &Stores) -> Result<(), Failure> {
    let spec = &generated.spec;
    let mut work: Vec<(Option<Vec<String>>, Unit)> = Vec::new();
    let spine = Location::parse(&generated.table(repo, "spine"), working, None)?;
    work.extend(units(stores, &spine).await?.into_iter().map(|unit| (None, unit)));
    for view in &spec.views {
        let entity = spec.entities.get(view.entity);
        let mut columns = entity.map(super::spec::EntitySpec::join_keys).unwrap_or_default();
        columns.push("event_timestamp".to_owned());
        columns.extend(view.feature_columns().map(|(name, _)| name));
        let folder = Location::parse(&generated.table(repo, &view.name), working, None)?;
        work.extend(units(stores, &folder).await?.into_iter().map(|unit| (Some(columns.clone()), unit)));
    }
    each(work, cores(), |(columns, unit)| async move { drain(&unit, columns.as_deref()).await }).await
}

/// Does all of the work, so many pieces at a time.
async fn each<T, F>(work: Vec<T>, at_once: NonZeroUsize, run: impl Fn(T) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut open = work.into_iter();
    let mut tasks = JoinSet::new();
    loop {
        while tasks.len() < at_once.get()
            && let Some(piece) = open.next()
        {
            tasks.spawn(run(piece));
        }
        let Some(done) = tasks.join_next().await else { return Ok(()) };
        done.map_err(|error| Failure::bug(format!("a step of the floor has ended: {error}")))??;
    }
}

async fn drain(unit: &Unit, columns: Option<&[String]>) -> Result<(), Failure> {
    let mut rows = unit.read(columns)?;
    while let Some(batch) = rows.try_next().await.map_err(|error| unit.failed(&error))? {
        std::hint::black_box(&batch);
    }
    Ok(())
}

async fn encode(unit: &Unit, path: &Path) -> Result<(), Failure> {
    let file = std::fs::File::create(path).map_err(|error| Failure::io("make a file", &error))?;
    let failed = |error: parquet::errors::ParquetError| {
        Failure::new(ErrorCode::Unreachable, "failed to encode the dataset again")
            .with_causes(vec![error.to_string()])
    };
    let mut rows = unit.read(None)?;
    let mut writer =
        ArrowWriter::try_new(file, rows.schema().clone(), Some(properties(unit))).map_err(failed)?;
    while let Some(batch) = rows.try_next().await.map_err(|error| unit.failed(&error))? {
        writer.write(&batch).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(())
}

/// What a file says of how it was encoded, so that the floor follows whatever the retrieval chose.
fn properties(unit: &Unit) -> WriterProperties {
    let (metadata, group) = unit.footer();
    let group = metadata.metadata().row_group(group);
    let rows = usize::try_from(group.num_rows()).unwrap_or(usize::MAX).max(1);
    let mut properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows));
    for column in group.columns() {
        let path = column.column_path().clone();
        properties = properties.set_column_compression(path.clone(), column.compression());
        let encodings: Vec<Encoding> = column.encodings().collect();
        let has_dictionary = encodings.contains(&Encoding::RLE_DICTIONARY);
        properties = properties.set_column_dictionary_enabled(path.clone(), has_dictionary);
        let special = [
            Encoding::BYTE_STREAM_SPLIT,
            Encoding::DELTA_BINARY_PACKED,
            Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Encoding::DELTA_BYTE_ARRAY,
        ];
        if let Some(special) = special.into_iter().find(|encoding| encodings.contains(encoding)) {
            properties = properties.set_column_encoding(path, special);
        }
    }
    properties.build()
}
