//! Arguments of `retrieve`, and the request they make.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use backsight_asof::JoinForm;
use backsight_registry::size::parse_size;
use backsight_retrieval::{FeatureSelection, RetrievalRequest, SpineFrom, SpineRequest};
use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, SubsecRound, Utc};
use clap::{ArgGroup, Args, ValueEnum};

use crate::errors::Failure;

/// Arguments of `retrieve`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["features", "feature_service"]))]
#[command(group = ArgGroup::new("rows").required(true).args(["spine", "spine_sql", "as_of"]))]
#[command(override_usage = "\
backsight retrieve (--features VIEW:FEATURE… | --feature-service NAME)
                          (--spine URI | --spine-sql SQL | --as-of INSTANT) --output URI [OPTIONS]")]
#[command(after_help = "\
Examples:
  backsight retrieve --feature-service model_v2 --spine data/spine.parquet --output out/train
  backsight retrieve --features driver_hourly_stats:conv_rate,driver_hourly_stats:acc_rate \\
      --spine s3://bucket/spine/ --output s3://bucket/train --overwrite
  backsight retrieve --feature-service model_v1 --spine data/spine.parquet --output -      a preview
  backsight retrieve --feature-service model_v1 --spine data/spine.parquet --output - --explain
  backsight retrieve --feature-service model_v2 --spine 'labels/*.csv' --output out/train --preserve-order
  backsight retrieve --feature-service model_v2 --as-of now --output s3://bucket/scoring/today
  backsight retrieve --feature-service model_v2 --spine spine.parquet --output out/again --source-version stats=41
  backsight retrieve --feature-service model_v2 --output out/train \\
      --spine-sql \"SELECT driver_id, event_timestamp, label FROM 'labels.csv' WHERE label IS NOT NULL\"")]
pub(crate) struct RetrieveArgs {
    /// Features to fetch, as `view:feature`; separated by commas, or the option repeated
    #[arg(long, value_name = "VIEW:FEATURE", value_delimiter = ',', num_args = 1.., help_heading = "What to fetch")]
    features: Vec<String>,
    /// Fetch the features of this service
    #[arg(long, value_name = "NAME", help_heading = "What to fetch")]
    feature_service: Option<String>,
    /// Rows to fetch features for: file, folder or glob, local or in an object store; Parquet, CSV, TSV, JSON lines or Arrow IPC
    #[arg(long, value_name = "URI", help_heading = "What to fetch")]
    spine: Option<String>,
    /// Rows to fetch features for: a SELECT over feature views, by name, and files, as 'path.parquet'
    #[arg(long, value_name = "SQL", help_heading = "What to fetch")]
    spine_sql: Option<String>,
    /// Fetch for every entity that has a row at this instant, as `2026-01-31`, `2026-01-31T12:00:00Z` or `now`
    #[arg(long, value_name = "INSTANT", value_parser = parse_as_of, help_heading = "What to fetch")]
    as_of: Option<AsOf>,
    /// Not there yet
    #[arg(long, value_name = "INSTANT", value_parser = refuse_range, hide = true)]
    start: Option<String>,
    /// Not there yet
    #[arg(long, value_name = "INSTANT", value_parser = refuse_range, hide = true)]
    end: Option<String>,
    /// Column of the spine with the instant of each row [default: `event_timestamp`, else its only timestamp column]
    #[arg(long, value_name = "COLUMN", help_heading = "What to fetch")]
    timestamp_column: Option<String>,
    /// Use only feature rows that had been created by the instant of the spine row
    #[arg(long, help_heading = "What to fetch")]
    filter_by_created_timestamp: bool,
    /// Tell apart why nothing was in reach: no such key, only later rows, expired; costs a pass over keys and times
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Reasons::Quick, hide_default_value = true, help_heading = "What to fetch")]
    reasons: Reasons,
    /// Read this version of a source that is a Delta table, by the source's name; may be repeated [default: the newest]
    #[arg(long, value_name = "SOURCE=VERSION", value_parser = parse_source_version, help_heading = "What to fetch")]
    source_version: Vec<(String, u64)>,
    /// Folder of the new dataset, local or in an object store; `-` shows the first 20 rows instead
    #[arg(long, value_name = "URI", help_heading = "Where to put it")]
    pub(crate) output: String,
    /// Name columns `<view>__<feature>`
    #[arg(long, help_heading = "Where to put it")]
    full_feature_names: bool,
    /// Keep the order of the spine, across and inside part files
    #[arg(long, help_heading = "Where to put it")]
    preserve_order: bool,
    /// Remember the dataset in the registry as this saved dataset
    #[arg(long, value_name = "NAME", help_heading = "Where to put it")]
    pub(crate) save_as: Option<String>,
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
    /// Put what memory does not hold into this folder [default: the system's temporary folder]
    #[arg(long, value_name = "DIR", help_heading = "How to do it")]
    pub(crate) spill_dir: Option<PathBuf>,
    /// Bytes to put there at most, as `500GiB` [default: 100 GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "How to do it")]
    pub(crate) spill_limit: Option<u64>,
    /// Partitions to work on at the same time [default: one a core]
    #[arg(long, value_name = "N", help_heading = "How to do it")]
    pub(crate) partitions: Option<NonZeroUsize>,
    /// Engine to run on, for comparisons
    #[arg(long, value_name = "ENGINE", hide = true)]
    pub(crate) engine: Option<EngineName>,
    /// Form of the join, for comparisons
    #[arg(long, value_name = "FORM", conflicts_with = "engine", hide = true)]
    pub(crate) form: Option<FormName>,
}

/// An instant of `--as-of`, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AsOf {
    Now,
    At(DateTime<Utc>),
}

/// How much is said about why nothing was in reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reasons {
    /// That nothing was in reach
    Quick,
    /// Whether there is no such key, there are only later rows, or all have expired
    Exact,
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

/// The forms that can be asked for in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormName {
    /// Everything is exchanged and held.
    Slot,
    /// Nothing is exchanged, columns are read late.
    Late,
    /// Candidates are exchanged.
    Candidates,
    /// Views are held whole.
    Broadcast,
    /// Everything goes to disk.
    Spill,
}

impl FormName {
    /// The form.
    pub(crate) fn form(self) -> JoinForm {
        match self {
            Self::Slot => JoinForm::SlotFold,
            Self::Late => JoinForm::LateFold,
            Self::Candidates => JoinForm::CandidateFold,
            Self::Broadcast => JoinForm::Broadcast,
            Self::Spill => JoinForm::SpilledFold,
        }
    }
}

impl RetrieveArgs {
    /// Whether rows are shown instead of written.
    pub(crate) fn is_preview(&self) -> bool {
        self.output == "-"
    }

    /// Options that do not go together with a scheduler, or with none.
    pub(crate) fn check(&self, has_scheduler: bool) -> Result<(), Failure> {
        if self.save_as.is_some() && (self.is_preview() || self.explain) {
            return Err(Failure::usage("`--save-as` needs a dataset, and none is written here"));
        }
        if !has_scheduler {
            let given = [("--detach", self.detach), ("--priority", self.priority.is_some())];
            let Some((option, _)) = given.iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
            return Err(Failure::usage(format!("`{option}` needs a scheduler, and none is configured"))
                .with_hint("name one with `--scheduler http://host:50050`"));
        }
        let given = [
            ("--memory-limit", self.memory_limit.is_some()),
            ("--spill-dir", self.spill_dir.is_some()),
            ("--spill-limit", self.spill_limit.is_some()),
            ("--partitions", self.partitions.is_some()),
            ("--form", self.form.is_some()),
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

    /// The request, as it is recorded; `now` is what `--as-of now` means.
    pub(crate) fn request(&self, project: &str, now: DateTime<Utc>) -> RetrievalRequest {
        let features = match &self.feature_service {
            Some(service) => FeatureSelection::Service(service.clone()),
            None => FeatureSelection::References(self.features.clone()),
        };
        let spine = SpineRequest { from: self.spine(now), timestamp_column: self.timestamp_column.clone() };
        let output = (!self.is_preview()).then(|| self.output.clone());
        RetrievalRequest {
            full_feature_names: self.full_feature_names,
            filter_by_created_timestamp: self.filter_by_created_timestamp,
            preserve_order: self.preserve_order,
            exact_reasons: self.reasons == Reasons::Exact,
            source_versions: self.source_version.iter().cloned().collect(),
            save_as: self.save_as.clone(),
            ..RetrievalRequest::new(project, features, spine, output)
        }
    }

    fn spine(&self, now: DateTime<Utc>) -> SpineFrom {
        match (&self.spine_sql, self.as_of) {
            (Some(sql), _) => SpineFrom::Sql(sql.clone()),
            (None, Some(as_of)) => {
                let instant = match as_of {
                    AsOf::Now => now,
                    AsOf::At(instant) => instant,
                };
                SpineFrom::AsOf(instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            // One of them is required.
            (None, None) => SpineFrom::Files(self.spine.clone().unwrap_or_default()),
        }
    }
}

/// A range of instants instead of a spine is known by name, and refused.
fn refuse_range(_: &str) -> Result<String, String> {
    Err("ranges are not supported yet; `--as-of INSTANT` fetches for every entity at one instant, `--spine-sql` makes any other spine".to_owned())
}

/// A source's name and the version of its table; the name may hold a `=` itself.
fn parse_source_version(text: &str) -> Result<(String, u64), String> {
    let pair = text.rsplit_once('=').filter(|(name, _)| !name.is_empty());
    let (name, version) = pair.ok_or("write it as `SOURCE=VERSION`, for example `driver_stats=41`")?;
    let version = version.parse().map_err(|_| format!("`{version}` is no version: versions count from 0"))?;
    Ok((name.to_owned(), version))
}

/// An instant to the microsecond; without a zone it is in UTC, without a time it is midnight.
fn parse_as_of(text: &str) -> Result<AsOf, String> {
    if text.eq_ignore_ascii_case("now") {
        return Ok(AsOf::Now);
    }
    let parsed = DateTime::parse_from_rfc3339(text)
        .map(|instant| instant.with_timezone(&Utc))
        .or_else(|_| text.parse::<NaiveDateTime>().map(|naive| naive.and_utc()))
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|naive| naive.and_utc()))
        .or_else(|_| text.parse::<NaiveDate>().map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc()));
    let Ok(instant) = parsed else {
        return Err("an instant is `now`, or written as `2026-01-31`, `2026-01-31T12:00:00Z` or `2026-01-31T12:00:00+02:00`".to_owned());
    };
    if instant.trunc_subsecs(6) != instant {
        return Err(
            "an instant has at most six digits after the second: the spine's column has microseconds"
                .to_owned(),
        );
    }
    Ok(AsOf::At(instant))
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
            let request = parse(line).unwrap().request("p", DateTime::UNIX_EPOCH);
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
            ["--memory-limit 1GiB", "--partitions 2", "--engine naive", "--spill-dir s", "--spill-limit 1GiB"]
        {
            let options = &format!("--output o {options}");
            assert!(check(options, false).is_ok(), "{options}");
            assert_eq!(check(options, true).unwrap_err().status(), 2, "{options}");
        }
        assert_eq!(check("--output - --detach", true).unwrap_err().status(), 2);
        assert!(parse("b retrieve --feature-service m --spine s --output o --detach --explain").is_err());
    }

    #[test]
    fn rows_come_from_one_place() {
        let spine = |options: &str| {
            let line = format!("b retrieve --feature-service m --output o {options}");
            parse(&line).map(|args| args.request("p", DateTime::UNIX_EPOCH).spine.from)
        };
        assert_eq!(spine("--spine s.csv").unwrap(), SpineFrom::Files("s.csv".into()));
        assert_eq!(spine("--spine-sql SELECT").unwrap(), SpineFrom::Sql("SELECT".into()));
        let table = [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
            ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00.000001Z", "2026-01-31T12:00:00.000001Z"),
            ("now", "1970-01-01T00:00:00Z"),
        ];
        for (given, instant) in table {
            assert_eq!(
                spine(&format!("--as-of {given}")).unwrap(),
                SpineFrom::AsOf(instant.into()),
                "{given}"
            );
        }
        for wrong in ["", "--spine s --as-of now", "--as-of tomorrow", "--as-of 2026-01-31T12:00:00.0000001Z"]
        {
            assert_eq!(spine(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
        for range in ["--start 2026-01-01", "--start 2026-01-01 --end 2026-01-02"] {
            let refused = spine(range).unwrap_err();
            assert!(
                refused.exit_code() == 2 && refused.to_string().contains("not supported yet"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_preview_has_no_output() {
        let args = parse("b retrieve --feature-service m --spine s --output - --memory-limit 1GiB").unwrap();
        assert!(args.is_preview() && args.request("p", DateTime::UNIX_EPOCH).output.is_none());
        assert_eq!(args.memory_limit, Some(1 << 30));
    }
}
