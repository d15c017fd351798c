//! One retrieval as a process, in it or through a scheduler, and what is known of it afterwards.

use backsight_storage::{Location, Stores};
use serde_json::{Value, json};
use uuid::Uuid;

use super::measure::{Usage, measured, own_command};
use super::oracle::Check;
use super::record::rounded;
use crate::commands::Program;
use crate::errors::Failure;
use crate::render::units::bytes;

/// Where retrievals run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the process that is started.
    Process,
    /// On the executors of the scheduler at this URL.
    Cluster(String),
}

/// How the features of a workload are fetched.
#[derive(Clone)]
pub(super) struct Retrieval<'a> {
    pub(super) program: &'a Program,
    /// Folder of the feature repo.
    pub(super) repo: String,
    pub(super) spine: String,
    pub(super) place: Place,
    /// Further options of `retrieve`.
    pub(super) options: Vec<String>,
}

/// One retrieval.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) usage: Usage,
    /// What the dataset says of itself.
    pub(super) manifest: Value,
    /// What the scheduler says of the job.
    pub(super) job: Option<Value>,
}

impl Retrieval<'_> {
    fn scheduler(&self) -> &str {
        match &self.place {
            Place::Process => "none",
            Place::Cluster(url) => url,
        }
    }

    /// Writes the workload's definitions into the registry that will be read.
    ///
    /// # Errors
    /// What `apply` reports.
    pub(super) async fn apply(&self) -> Result<(), Failure> {
        let arguments = ["-c", &self.repo, "--scheduler", self.scheduler(), "apply", "--yes"];
        measured(own_command(self.program, &arguments)?).await?;
        Ok(())
    }

    /// The same rows found in another way, always in this machine's process.
    pub(super) fn other_way(&self, check: Check, cores: usize) -> Self {
        let is_own = |option: &String| {
            let set =
                ["--partitions", "--engine", "--memory-limit", "--form", "--spill-dir", "--spill-limit"];
            set.iter().any(|name| option.starts_with(name))
        };
        let mut options: Vec<String> =
            self.options.iter().filter(|option| !is_own(option)).cloned().collect();
        match check {
            Check::Naive => options.push("--engine=naive".to_owned()),
            _ => {
                let given = self.options.iter().find_map(|option| option.strip_prefix("--partitions="));
                let used = given.and_then(|count| count.parse().ok()).unwrap_or(cores);
                options.push(format!("--partitions={}", used + 1));
            }
        }
        Self { options, place: Place::Process, ..self.clone() }
    }

    /// Fetches the features into `dataset`.
    ///
    /// # Errors
    /// What `retrieve` reports.
    pub(super) async fn run(&self, dataset: &str) -> Result<Run, Failure> {
        let id = Uuid::new_v4().to_string();
        let arguments = [
            "-c",
            &self.repo,
            "--scheduler",
            self.scheduler(),
            "retrieve",
            "--feature-service",
            "bench",
            "--spine",
            &self.spine,
            "--output",
            dataset,
            "--request-id",
            &id,
        ];
        let mut command = own_command(self.program, &arguments)?;
        command.args(&self.options);
        let ended = measured(command).await?;
        let mut found = ended.json()?;
        let job = match &self.place {
            Place::Process => None,
            Place::Cluster(url) => {
                let arguments = ["-c", &self.repo, "--scheduler", url, "jobs", "show", &id];
                Some(measured(own_command(self.program, &arguments)?).await?.json()?)
            }
        };
        Ok(Run { usage: ended.usage, manifest: found["manifest"].take(), job })
    }
}

impl Run {
    /// The form of the join.
    pub(super) fn form(&self) -> String {
        self.manifest["engine"]["form"].as_str().unwrap_or("unknown").to_owned()
    }

    /// A line for whoever waits.
    pub(super) fn text(&self) -> String {
        let usage = &self.usage;
        let memory = bytes(usage.memory_bytes_max);
        match self.job {
            Some(_) => format!("{:.2} s", usage.wall_seconds),
            None => format!("{:.2} s wall, {:.2} s CPU, {memory}", usage.wall_seconds, usage.cpu_seconds()),
        }
    }

    /// As it is recorded. What a client of a cluster takes says nothing of the work.
    pub(super) fn json(&self) -> Value {
        let usage = &self.usage;
        let numbers = |key: &str| {
            let items = self.manifest[key].as_array().into_iter().flatten();
            items.filter_map(|item| item["bytes"].as_u64()).sum::<u64>()
        };
        let mut value = usage.json();
        value["form"] = json!(self.form());
        value["rows"] = self.manifest["rows"].clone();
        value["retrieval_seconds"] = json!(
            self.manifest["elapsed_seconds"].as_str().and_then(|text| text.parse::<f64>().ok()).map(rounded)
        );
        value["bytes_of_sources"] = json!(numbers("sources"));
        value["bytes_written"] = json!(numbers("parts"));
        value["bytes_shuffled"] = self.manifest["work"]["bytes_shuffled"].clone();
        value["bytes_spilled"] = self.manifest["work"]["bytes_spilled"].clone();
        let Some(job) = &self.job else { return value };
        for key in ["user_seconds", "system_seconds", "cpu_seconds", "memory_bytes_max", "bytes_written_all"]
        {
            value[key] = Value::Null;
        }
        value["bytes_read"] = job["progress"]["bytes_read"].clone();
        value["shards"] = json!(job["shards"].as_array().map_or(0, Vec::len));
        value
    }
}

/// Removes everything below the folder of a benchmark's dataset, finished or not.
///
/// # Errors
/// A fault of the storage; a folder that holds anything but a dataset.
pub(super) async fn clear(stores: &Stores, dataset: &Location) -> Result<(), Failure> {
    let files = stores.list(dataset).await?;
    let is_own = |location: &Location| {
        let path = location.path();
        let name = location.file_name().unwrap_or_default();
        let is_part = name.starts_with("part-") && name.ends_with(".parquet");
        is_part || name == "_SUCCESS" || path.parts().any(|part| part.as_ref() == "_backsight")
    };
    if let Some(other) = files.iter().find(|file| !is_own(&file.location)) {
        let message = format!("`{dataset}` is no dataset of a benchmark: it holds `{}`", other.location);
        return Err(Failure::new(backsight_proto::ErrorCode::Conflict, message)
            .with_hint("name a new folder with `--dataset`"));
    }
    for file in files {
        stores.delete(&file.location).await?;
    }
    if let Some(folder) = dataset.local_path() {
        // Empty folders; what else is there is not ours.
        for inner in ["_backsight/staging", "_backsight", ""] {
            let _ = std::fs::remove_dir(folder.join(inner));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_dataset_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::new(backsight_storage::StorageOptions::default());
        let location = Location::local(folder.path()).unwrap();
        for file in ["part-00000-x.parquet", "_SUCCESS", "_backsight/manifest.json", "notes.txt"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let failure = clear(&stores, &location).await.unwrap_err();
        assert_eq!(failure.status(), 9);
        std::fs::remove_file(folder.path().join("notes.txt")).unwrap();
        clear(&stores, &location).await.unwrap();
        assert!(!folder.path().exists());
        clear(&stores, &location).await.unwrap();
    }
}
