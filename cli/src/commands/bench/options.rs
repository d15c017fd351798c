//! Options that change a workload, the same for named ones and those of a file.

use std::path::Path;

use backsight_proto::ErrorCode;
use backsight_registry::nearest::{did_you_mean, quoted_list};
use clap::Args;

use super::spec::{FeatureType, Layout, PRESETS, Skew, Spec, preset, read};
use crate::errors::Failure;

/// Options that say what the rows are; those of views count for all views.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The workload")]
pub(crate) struct WorkloadArgs {
    /// Named workload: tiny, train, tinyspine, bigspine, manyviews, uniform, hotkey, skew, perkey1000, wide500
    #[arg(value_name = "WORKLOAD", required_unless_present = "spec", conflicts_with = "spec")]
    pub(crate) workload: Option<String>,
    /// Read a workload of your own from this YAML or JSON file; `--print-spec` shows all keys
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<std::path::PathBuf>,
    /// All rows follow from it [default: the workload's]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Times so many rows and keys, as 0.01 for a try
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    pub(crate) scale: Option<f64>,
    /// Rows of the spine
    #[arg(long, value_name = "N")]
    pub(crate) spine_rows: Option<u64>,
    /// Rows of each view
    #[arg(long, value_name = "N")]
    pub(crate) rows: Option<u64>,
    /// Distinct keys of spine and views
    #[arg(long, value_name = "N")]
    pub(crate) keys: Option<u64>,
    /// Days that the rows stretch over
    #[arg(long, value_name = "N")]
    pub(crate) days: Option<u64>,
    /// Views: so many of the first one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) views: Option<u64>,
    /// Features of each view
    #[arg(long, value_name = "N")]
    pub(crate) features: Option<u64>,
    /// Types of features, in turn: float32, float64, int32, int64, bool, string
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = feature_type)]
    pub(crate) types: Vec<FeatureType>,
    /// Time to live of each view in hours; 0 is none
    #[arg(long, value_name = "HOURS")]
    pub(crate) ttl_hours: Option<u64>,
    /// Spread rows over keys with a heavy head of this exponent
    #[arg(long, value_name = "EXPONENT", conflicts_with = "hot_key")]
    pub(crate) zipf: Option<f64>,
    /// Give one key this share of all rows
    #[arg(long, value_name = "SHARE")]
    pub(crate) hot_key: Option<f64>,
    /// Share of feature rows that were created late
    #[arg(long, value_name = "SHARE")]
    pub(crate) late: Option<f64>,
    /// Share of rows outside the order of time in a file: 0 is sorted, 1 is none
    #[arg(long, value_name = "SHARE")]
    pub(crate) disorder: Option<f64>,
    /// Share of feature rows with key, event and created time of another
    #[arg(long, value_name = "SHARE")]
    pub(crate) ties: Option<f64>,
    /// Share of rows without a key, in spine and views
    #[arg(long, value_name = "SHARE")]
    pub(crate) null_keys: Option<f64>,
    /// Share of nulls among feature values
    #[arg(long, value_name = "SHARE")]
    pub(crate) null_values: Option<f64>,
    /// Files of each view; of each day with `--layout hive`
    #[arg(long, value_name = "N")]
    pub(crate) files: Option<u64>,
    /// Files by slices of time, or in folders of days: slices, hive
    #[arg(long, value_name = "LAYOUT", value_parser = layout)]
    pub(crate) layout: Option<Layout>,
    /// Rows of a row group
    #[arg(long, value_name = "N")]
    pub(crate) row_group_rows: Option<u64>,
    /// Rows of a data page
    #[arg(long, value_name = "N")]
    pub(crate) page_rows: Option<u64>,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("it must be greater than 0".to_owned()) }
}

fn feature_type(text: &str) -> Result<FeatureType, String> {
    let names = FeatureType::ALL.map(FeatureType::name);
    FeatureType::of(text).ok_or_else(|| format!("allowed: {}", quoted_list(names)))
}

fn layout(text: &str) -> Result<Layout, String> {
    Layout::of(text).ok_or_else(|| "allowed: `slices`, `hive`".to_owned())
}

impl WorkloadArgs {
    /// The workload: the named one or the file's, with what the options change.
    ///
    /// # Errors
    /// All problems of the file, or all of what has become of it.
    pub(crate) fn workload(&self, working: &Path) -> Result<Spec, Failure> {
        let spec = match (&self.workload, &self.spec) {
            (_, Some(file)) => {
                let shown = file.display().to_string();
                let text = std::fs::read_to_string(working.join(file))
                    .map_err(|error| Failure::io(&format!("read `{shown}`"), &error))?;
                let found = read(&shown, &text);
                found.map_err(|problems| Failure::of_problems(&format!("`{shown}`"), problems))?
            }
            (Some(name), None) => preset(name).ok_or_else(|| {
                let message = format!("there is no workload `{name}`; there are: {}", quoted_list(PRESETS));
                let failure = Failure::usage(message);
                match did_you_mean(name, PRESETS) {
                    Some(hint) => failure.with_hint(hint),
                    None => failure.with_hint("`--spec` reads one of your own"),
                }
            })?,
            (None, None) => return Err(Failure::usage("name a workload, or a file with `--spec`")),
        };
        let spec = self.changed(spec);
        let problems = spec.problems();
        match problems.as_slice() {
            [] => Ok(spec),
            [only] => Err(Failure::new(ErrorCode::Usage, only.clone())),
            many => {
                let message = format!("{} problems in the workload\n{}", many.len(), many.join("\n"));
                Err(Failure::new(ErrorCode::Usage, message))
            }
        }
    }

    fn changed(&self, spec: Spec) -> Spec {
        let mut spec = spec;
        if let Some(scale) = self.scale {
            spec = spec.scaled(scale);
        }
        if let (Some(count), Some(first)) = (self.views, spec.views.first()) {
            let first = first.clone();
            let views = (0..count)
                .map(|number| super::spec::ViewSpec { name: format!("v{number}"), ..first.clone() });
            spec.views = views.collect();
        }
        let set = |value: &mut u64, given: Option<u64>| *value = given.unwrap_or(*value);
        let set_share = |value: &mut f64, given: Option<f64>| *value = given.unwrap_or(*value);
        set(&mut spec.seed, self.seed);
        set(&mut spec.spine.rows, self.spine_rows);
        set(&mut spec.spine.days, self.days);
        set(&mut spec.spine.row_group_rows, self.row_group_rows);
        set_share(&mut spec.spine.null_keys, self.null_keys);
        let skew = self.zipf.map(Skew::Zipf).or(self.hot_key.map(Skew::Hot));
        for entity in &mut spec.entities {
            set(&mut entity.keys, self.keys);
            entity.skew = skew.unwrap_or(entity.skew);
        }
        for view in &mut spec.views {
            set(&mut view.rows, self.rows);
            set(&mut view.keys, self.keys);
            set(&mut view.features, self.features);
            set(&mut view.ttl_hours, self.ttl_hours);
            set(&mut view.files, self.files);
            set(&mut view.row_group_rows, self.row_group_rows);
            set(&mut view.page_rows, self.page_rows);
            view.skew = skew.unwrap_or(view.skew);
            view.layout = self.layout.unwrap_or(view.layout);
            set_share(&mut view.late, self.late);
            set_share(&mut view.disorder, self.disorder);
            set_share(&mut view.ties, self.ties);
            set_share(&mut view.null_keys, self.null_keys);
            set_share(&mut view.null_values, self.null_values);
            if !self.types.is_empty() {
                view.types.clone_from(&self.types);
            }
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_change_all_views_and_the_scale_comes_first() {
        let args = WorkloadArgs {
            workload: Some("manyviews".to_owned()),
            scale: Some(0.001),
            features: Some(2),
            views: Some(3),
            hot_key: Some(0.5),
            seed: Some(9),
            ..WorkloadArgs::default()
        };
        let spec = args.workload(Path::new("/")).unwrap();
        assert_eq!((spec.seed, spec.spine.rows, spec.views.len()), (9, 1_000, 3));
        assert!(spec.views.iter().all(|view| view.features == 2 && view.rows == 3_000));
        assert!(spec.views.iter().all(|view| view.skew == Skew::Hot(0.5) && view.keys == 100));
    }

    #[test]
    fn what_cannot_be_is_refused_as_a_whole() {
        let named = |name: &str| WorkloadArgs { workload: Some(name.to_owned()), ..WorkloadArgs::default() };
        let failure = named("trian").workload(Path::new("/")).unwrap_err();
        assert!(failure.text(false).contains("did you mean `train`?"), "{}", failure.text(false));
        let both = WorkloadArgs { features: Some(0), ties: Some(0.9), ..named("tiny") };
        let failure = both.workload(Path::new("/")).unwrap_err();
        assert!(
            failure.text(false).starts_with("error: 2 problems in the workload\n"),
            "{}",
            failure.text(false)
        );
        assert_eq!(failure.status(), 2);
    }
}
