//! The repo of a team: shared definitions, staging and production in one registry, a local project, CI on GitHub.

use backsight_storage::Location;

use super::repo::{NewFile, features, quoted, sample_data};
use crate::errors::Failure;

const ENVIRONMENT: &str = include_str!("../../../templates/team/environment.yaml");
const LOCAL: &str = include_str!("../../../templates/team/local.yaml");
const GITIGNORE: &str = include_str!("../../../templates/team/gitignore");
const README: &str = include_str!("../../../templates/team/README.md");
const PLAN: &str = include_str!("../../../templates/team/plan.yml");
const APPLY: &str = include_str!("../../../templates/team/apply.yml");
const APPLY_JOB: &str = include_str!("../../../templates/team/apply_job.yml");
const INSTALL: &str = include_str!("../../../templates/team/install.yml");

/// Its files, in the order in which they are listed. `registry` is the one that staging and production share.
pub(super) fn files(project: &str, registry: &str) -> Result<Vec<NewFile>, Failure> {
    check_registry(registry)?;
    let file = |path: &str, text: String| (path.to_owned(), text.into_bytes());
    let environment = |name: &str, title: &str, project: &str| {
        let text = ENVIRONMENT
            .replace("{title}", title)
            .replace("{name}", name)
            .replace("{project}", project)
            .replace("{registry}", &quoted(registry));
        file(&format!("{name}/feature_store.yaml"), text)
    };
    let staging = format!("{project}_staging");
    let registry_name = registry.rsplit('/').next().unwrap_or(registry);
    let readme = README.replace("{project}", project).replace("{registry_name}", registry_name);
    let note = "A relative path starts at this folder; what others read has a whole URI.";
    let mut files = vec![
        file("README.md", readme),
        ("features/features.yaml".to_owned(), features("data/driver_stats.parquet", note)),
    ];
    files.extend(sample_data("features/data")?);
    files.extend([
        environment("staging", "Where a merge goes first.", &staging),
        environment("production", "What models are trained on.", project),
        file("local/feature_store.yaml", LOCAL.replace("{project}", project)),
        file(".gitignore", GITIGNORE.to_owned()),
        file(".github/workflows/plan.yml", plan_workflow(registry)),
        file(".github/workflows/apply.yml", apply_workflow(registry)),
    ]);
    Ok(files)
}

/// Everybody's checkout must mean the same place.
fn check_registry(registry: &str) -> Result<(), Failure> {
    if !registry.contains("://") && !registry.starts_with('/') {
        let message = format!("`--registry {registry}` is relative: each clone would have another one");
        return Err(Failure::usage(message)
            .with_hint("write a whole URI or path, for example `s3://features/registry.pb`"));
    }
    Location::parse(registry, std::path::Path::new("/"), None)?;
    Ok(())
}

fn plan_workflow(registry: &str) -> String {
    let read =
        Credentials { registry, prefix: "READ", may: "may read the registry and the sources, nothing else" };
    PLAN.replace("{read_settings}\n", &read.settings())
        .replace("{read_credentials}\n", &read.environment())
        .replace("{install}\n", INSTALL)
}

fn apply_workflow(registry: &str) -> String {
    let write =
        Credentials { registry, prefix: "WRITE", may: "may read the sources, and write the registry" };
    let job = |environment: &str, needs: &str| {
        APPLY_JOB
            .replace("{environment}", environment)
            .replace("{needs}\n", needs)
            .replace("{write_credentials}\n", &write.environment())
            .replace("{install}\n", INSTALL)
    };
    let jobs = format!("{}\n{}", job("staging", ""), job("production", "    needs: staging\n"));
    APPLY.replace("{write_settings}\n", &write.settings()).replace("{jobs}\n", &jobs)
}

/// How a step of a workflow comes to what it may read and write.
struct Credentials<'a> {
    registry: &'a str,
    prefix: &'a str,
    may: &'a str,
}

impl Credentials<'_> {
    fn is_on_s3(&self) -> bool {
        self.registry.starts_with("s3://")
    }

    /// Lines of a workflow's head.
    fn settings(&self) -> String {
        let Self { prefix, may, .. } = self;
        if self.is_on_s3() {
            return format!(
                "#   variables  AWS_REGION, and AWS_ENDPOINT_URL where the store is not Amazon's\n\
                 #   secrets    {prefix}_ACCESS_KEY_ID, {prefix}_SECRET_ACCESS_KEY: {may}\n"
            );
        }
        format!("#   credentials that {may}: put them under `env` of the step below that needs them\n")
    }

    /// The `env` of a step.
    fn environment(&self) -> String {
        let prefix = self.prefix;
        let lines: &[String] = &[
            "AWS_REGION: ${{ vars.AWS_REGION }}".to_owned(),
            "AWS_ENDPOINT_URL: ${{ vars.AWS_ENDPOINT_URL }}".to_owned(),
            format!("AWS_ACCESS_KEY_ID: ${{{{ secrets.{prefix}_ACCESS_KEY_ID }}}}"),
            format!("AWS_SECRET_ACCESS_KEY: ${{{{ secrets.{prefix}_SECRET_ACCESS_KEY }}}}"),
        ];
        if !self.is_on_s3() {
            return String::new();
        }
        let lines: String = lines.iter().map(|line| format!("          {line}\n")).collect();
        format!("        env:\n{lines}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use backsight_registry::yaml::{Limits, parse};

    use super::*;

    fn written(registry: &str) -> BTreeMap<String, String> {
        let files = files("taxi", registry).unwrap().into_iter();
        files.filter_map(|(path, bytes)| Some((path, String::from_utf8(bytes).ok()?))).collect()
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_every_file_is_yaml() {
        for registry in ["s3://features/registry.pb", "/srv/features/registry.pb"] {
            let files = written(registry);
            assert_eq!(files.len(), 8, "all but the two Parquet files");
            for (path, text) in files {
                let rest = text.replace("${{", "").replace("{view:", "").replace("{name:", "");
                for word in [
                    "{project}",
                    "{registry",
                    "{title}",
                    "{name}",
                    "{install}",
                    "{jobs}",
                    "{needs}",
                    "_settings}",
                    "_credentials}",
                ] {
                    assert!(!rest.contains(word), "{path}: {word}");
                }
                if path.ends_with("yaml") || path.ends_with("yml") {
                    let parsed = parse(&Arc::from(path.as_str()), &text, &Limits::default());
                    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
                }
            }
        }
    }

    #[test]
    fn secrets_reach_the_steps_that_need_them_and_no_other() {
        let files = written("s3://features/registry.pb");
        let secrets = |workflow: &str, name: &str| {
            files[&format!(".github/workflows/{workflow}.yml")].matches(&format!("secrets.{name}")).count()
        };
        assert_eq!((secrets("plan", "READ_SECRET_ACCESS_KEY"), secrets("plan", "WRITE")), (1, 0));
        assert_eq!((secrets("apply", "WRITE_SECRET_ACCESS_KEY"), secrets("apply", "READ")), (2, 0));
        let elsewhere = written("/srv/features/registry.pb");
        assert!(elsewhere.values().all(|text| !text.contains("secrets.") && !text.contains("AWS_")));
    }

    #[test]
    fn a_registry_that_each_clone_would_have_another_one_of_is_refused() {
        for registry in ["registry.pb", "../registry.pb"] {
            let failure = files("taxi", registry).unwrap_err();
            assert!(failure.message().contains("is relative"), "{failure:?}");
        }
        assert!(files("taxi", "ftp://host/registry.pb").is_err());
    }
}
