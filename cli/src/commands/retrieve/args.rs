//! Arguments of `retrieve`, and the request they make.

use std::num::NonZeroUsize;

use backsight_registry::size::parse_size;
use backsight_retrieval::{FeatureSelection, RetrievalRequest, SpineRequest};
use clap::{ArgGroup, Args, ValueEnum};

use crate::errors::Failure;

/// Arguments of `retrieve`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["features", "feature_service"]))]
#[command(after_help = "\
Examples:
  backsight retrieve --feature-service model_v2 --spine data/spine.parquet --output out/train
  backsight retrieve --features driver_hourly_stats:conv_rate,driver_hourly_stats:acc_rate \\
      --spine s3://bucket/spine/ --output s3://bucket/train --overwrite
  backsight retrieve --feature-service model_v1 --spine data/spine.parquet --output -      a preview
  backsight retrieve --feature-service model_v1 --spine data/spine.parquet --output - --explain")]
pub(crate) struct RetrieveArgs {
    /// Features to fetch, as `view:feature`; separated by commas, or the option repeated
    #[arg(long, value_name = "VIEW:FEATURE", value_delimiter = ',', num_args = 1.., help_heading = "What to fetch")]
    features: Vec<String>,
    /// Fetch the features of this service
    #[arg(long, value_name = "NAME", help_heading = "What to fetch")]
    feature_service: Option<String>,
    /// Parquet file, folder or glob of the rows to fetch features for, local or on S3
    #[arg(long, value_name = "URI", help_heading = "What to fetch")]
    spine: String,
    /// Column of the spine with the instant of each row [default: `event_timestamp`, else its only timestamp column]
    #[arg(long, value_name = "COLUMN", help_heading = "What to fetch")]
    timestamp_column: Option<String>,
    /// Use only feature rows that had been created by the instant of the spine row
    #[arg(long, help_heading = "What to fetch")]
    filter_by_created_timestamp: bool,
    /// Folder of the new dataset, local or on S3; `-` shows the first 20 rows instead
    #[arg(long, value_name = "URI", help_heading = "Where to put it")]
    pub(crate) output: String,
    /// Name columns `<view>__<feature>`
    #[arg(long, help_heading = "Where to put it")]
    full_feature_names: bool,
    /// Replace the dataset that the output holds
    #[arg(long, help_heading = "Where to put it")]
    pub(crate) overwrite: bool,
    /// Identify this request: the same id again returns the dataset it made [default: a new one]
    #[arg(long, value_name = "ID", value_parser = parse_request_id, help_heading = "Where to put it")]
    pub(crate) request_id: Option<String>,
    /// Show how it would be done, and do nothing
    #[arg(long, help_heading = "How to do it")]
    pub(crate) explain: bool,
    /// Submit it to the scheduler and do not wait for its end
    #[arg(long, conflicts_with = "explain", help_heading = "How to do it")]
    pub(crate) detach: bool,
    /// Place in the scheduler's queue: higher goes first [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "How to do it")]
    pub(crate) priority: Option<i32>,
    /// Memory to keep within, as `8GiB` [default: 60 % of what is available]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "How to do it")]
    pub(crate) memory_limit: Option<u64>,
    /// Partitions to work on at the same time [default: one a core]
    #[arg(long, value_name = "N", help_heading = "How to do it")]
    pub(crate) partitions: Option<NonZeroUsize>,
    /// Engine to run on, for comparisons
    #[arg(long, value_name = "ENGINE", hide = true)]
    pub(crate) engine: Option<EngineName>,
}

/// The engines of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// `DataFusion` in this process.
    Embedded,
    /// A `Ballista` cluster in this process.
    Ballista,
    /// Every spine row against every feature row: the oracle, for small data.
    Naive,
}

impl RetrieveArgs {
    /// Whether rows are shown instead of written.
    pub(crate) fn is_preview(&self) -> bool {
        self.output == "-"
    }

    /// The spine, as it was written.
    pub(crate) fn spine(&self) -> &str {
        &self.spine
    }

    /// Options that do not go together with a scheduler, or with none.
    pub(crate) fn check(&self, has_scheduler: bool) -> Result<(), Failure> {
        if !has_scheduler {
            let given = [("--detach", self.detach), ("--priority", self.priority.is_some())];
            let Some((option, _)) = given.iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
            return Err(Failure::usage(format!("`{option}` needs a scheduler, and none is configured"))
                .with_hint("name one with `--scheduler http://host:50050`"));
        }
        let given = [
            ("--memory-limit", self.memory_limit.is_some()),
            ("--partitions", self.partitions.is_some()),
            ("--engine", self.engine.is_some()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, is_given)| *is_given) {
            let failure = Failure::usage(format!("`{option}` has no effect on a scheduler's executors"));
            return Err(failure.with_hint(
                "executors have options of their own; `--scheduler none` retrieves in this process",
            ));
        }
        if self.detach && self.is_preview() {
            return Err(Failure::usage("`--detach` needs an output to write to, `--output -` shows rows"));
        }
        Ok(())
    }

    /// The request, as it is recorded.
    pub(crate) fn request(&self, project: &str) -> RetrievalRequest {
        RetrievalRequest {
            project: project.to_owned(),
            features: match &self.feature_service {
                Some(service) => FeatureSelection::Service(service.clone()),
                None => FeatureSelection::References(self.features.clone()),
            },
            spine: SpineRequest { uri: self.spine.clone(), timestamp_column: self.timestamp_column.clone() },
            output: (!self.is_preview()).then(|| self.output.clone()),
            full_feature_names: self.full_feature_names,
            filter_by_created_timestamp: self.filter_by_created_timestamp,
        }
    }
}

fn parse_request_id(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_ascii_graphic();
    if text.is_empty() || text.len() > 200 || !text.chars().all(is_plain) {
        return Err("an id has 1 to 200 printable ASCII characters without blanks".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<RetrieveArgs, clap::Error> {
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Retrieve(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn references_come_with_commas_blanks_or_repeated() {
        for line in [
            "b retrieve --features v:a,v:b --spine s --output o",
            "b retrieve --features v:a v:b --spine s --output o",
            "b retrieve --features v:a --features v:b --spine s --output o",
        ] {
            let request = parse(line).unwrap().request("p");
            assert_eq!(
                request.features,
                FeatureSelection::References(vec!["v:a".into(), "v:b".into()]),
                "{line}"
            );
            assert_eq!(request.output.as_deref(), Some("o"));
        }
    }

    #[test]
    fn a_service_and_references_exclude_each_other_and_one_is_needed() {
        for line in [
            "b retrieve --spine s --output o",
            "b retrieve --features v:a --feature-service m --spine s --output o",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn options_go_with_a_scheduler_or_with_none() {
        let check = |options: &str, has_scheduler: bool| {
            let args = parse(&format!("b retrieve --feature-service m --spine s {options}")).unwrap();
            args.check(has_scheduler)
        };
        for options in ["--output o --detach", "--output o --priority -3"] {
            assert!(check(options, true).is_ok(), "{options}");
            assert_eq!(check(options, false).unwrap_err().status(), 2, "{options}");
        }
        for options in
            ["--output o --memory-limit 1GiB", "--output o --partitions 2", "--output o --engine naive"]
        {
            assert!(check(options, false).is_ok(), "{options}");
            assert_eq!(check(options, true).unwrap_err().status(), 2, "{options}");
        }
        assert_eq!(check("--output - --detach", true).unwrap_err().status(), 2);
        assert!(parse("b retrieve --feature-service m --spine s --output o --detach --explain").is_err());
    }

    #[test]
    fn a_preview_has_no_output() {
        let args = parse("b retrieve --feature-service m --spine s --output - --memory-limit 1GiB").unwrap();
        assert!(args.is_preview() && args.request("p").output.is_none());
        assert_eq!(args.memory_limit, Some(1 << 30));
    }
}
