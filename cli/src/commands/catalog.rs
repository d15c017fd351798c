//! `list` and `describe` of every kind of object.

use backsight_proto::ErrorCode;
use backsight_registry::document::{ObjectKind, RegistryDocument};
use clap::Subcommand;
use serde_json::{Map, Value};

use crate::commands::list::{Listing, listing, projects};
use crate::commands::{Done, Program};
use crate::config::Workspace;
use crate::errors::Failure;
use crate::render::yaml::yaml;

/// What can be done with a kind of object.
#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// List all, or those with certain tags
    #[command(
        after_help = "Examples:\n  backsight feature-views list\n  backsight feature-views list --tags production:True --tags team:pricing"
    )]
    List {
        /// Only objects with this tag; several must all be there
        #[arg(long = "tags", value_name = "KEY:VALUE", value_parser = parse_tag)]
        tags: Vec<(String, String)>,
    },
    /// Show one in full, as YAML
    #[command(
        after_help = "Examples:\n  backsight feature-views describe driver_hourly_stats\n  backsight entities describe driver --output-format json"
    )]
    Describe {
        /// Its name
        name: String,
    },
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once(':').filter(|(key, _)| !key.is_empty());
    let (key, value) = parts.ok_or_else(|| "write `key:value`".to_owned())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The kinds that have these commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// Entities.
    Entities,
    /// Data sources.
    DataSources,
    /// Feature, stream and label views.
    FeatureViews,
    /// On-demand views.
    OnDemandFeatureViews,
    /// Feature services.
    FeatureServices,
    /// Projects of the whole registry.
    Projects,
    /// Saved datasets.
    SavedDatasets,
}

impl Listed {
    /// The lists of the registry that hold them.
    fn kinds(self) -> &'static [ObjectKind] {
        match self {
            Self::Entities => &[ObjectKind::Entity],
            Self::DataSources => &[ObjectKind::DataSource],
            Self::FeatureViews => {
                &[ObjectKind::FeatureView, ObjectKind::StreamFeatureView, ObjectKind::LabelView]
            }
            Self::OnDemandFeatureViews => &[ObjectKind::OnDemandFeatureView],
            Self::FeatureServices => &[ObjectKind::FeatureService],
            Self::Projects => &[ObjectKind::Project],
            Self::SavedDatasets => &[ObjectKind::SavedDataset],
        }
    }

    /// One of them, in a sentence.
    fn label(self) -> &'static str {
        match self {
            Self::Entities => "entity",
            Self::DataSources => "data source",
            Self::FeatureViews => "feature view",
            Self::OnDemandFeatureViews => "on-demand feature view",
            Self::FeatureServices => "feature service",
            Self::Projects => "project",
            Self::SavedDatasets => "saved dataset",
        }
    }

    /// The key of their list in JSON.
    fn key(self) -> &'static str {
        match self {
            Self::Entities => "entities",
            Self::DataSources => "data_sources",
            Self::FeatureViews => "feature_views",
            Self::OnDemandFeatureViews => "on_demand_feature_views",
            Self::FeatureServices => "feature_services",
            Self::Projects => "projects",
            Self::SavedDatasets => "saved_datasets",
        }
    }
}

/// Lists or describes.
pub(crate) async fn run(listed: Listed, command: CatalogCommand, program: &Program) -> Result<Done, Failure> {
    let workspace = Workspace::open(program)?;
    let document = workspace.registry.read().await?.document;
    match command {
        CatalogCommand::List { tags } => {
            let all = all(listed, &document, workspace.project())?;
            list(listed, all.with_tags(&tags), !tags.is_empty(), &workspace, program);
        }
        CatalogCommand::Describe { name } => {
            let value = describe(listed, &document, workspace.project(), &name)?;
            if program.terminal.is_json() {
                program.terminal.print_json(&value);
            } else {
                program.terminal.print(&yaml(&value));
            }
        }
    }
    Ok(Done::Done)
}

fn all(listed: Listed, document: &RegistryDocument, project: &str) -> Result<Listing, Failure> {
    if listed == Listed::Projects {
        return Ok(projects(document, project));
    }
    let catalog = document.catalog(project)?;
    let saved_tags = |name: &str| -> Result<_, Failure> {
        let value = document.describe(ObjectKind::SavedDataset, project, name)?;
        let tags = value.as_ref().and_then(|value| value.pointer("/spec/tags")).and_then(Value::as_object);
        let pairs = tags.into_iter().flatten();
        Ok(pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect())
    };
    listing(listed, &catalog, saved_tags)
}

fn list(listed: Listed, listing: Listing, is_filtered: bool, workspace: &Workspace, program: &Program) {
    let terminal = &program.terminal;
    if terminal.is_json() {
        let mut value = Map::new();
        if listed != Listed::Projects {
            value.insert("project".to_owned(), workspace.project().into());
        }
        value.insert(listed.key().to_owned(), Value::Array(listing.json()));
        terminal.print_json(&Value::Object(value));
        return;
    }
    let table = listing.table();
    terminal.print_table(&table);
    if table.is_empty() {
        let tags = if is_filtered { " with these tags" } else { "" };
        terminal.note(&format!("project `{}` has no {}{tags}", workspace.project(), listed.label()));
    }
}

fn describe(
    listed: Listed,
    document: &RegistryDocument,
    project: &str,
    name: &str,
) -> Result<Value, Failure> {
    let of_project = if listed == Listed::Projects { name } else { project };
    if listed != Listed::Projects {
        // A project that is not there is the better message.
        document.catalog(project)?;
    }
    for kind in listed.kinds() {
        if let Some(value) = document.describe(*kind, of_project, name)? {
            return Ok(value);
        }
    }
    let names = all(listed, document, project)?.names();
    let of =
        if listed == Listed::Projects { "the registry".to_owned() } else { format!("project `{project}`") };
    let failure = Failure::new(ErrorCode::NotFound, format!("{of} has no {} `{name}`", listed.label()));
    Err(match nearest(name, &names) {
        Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => failure,
        None => {
            let quoted: Vec<String> = names.iter().take(10).map(|name| format!("`{name}`")).collect();
            let more =
                if names.len() > 10 { format!(" and {} more", names.len() - 10) } else { String::new() };
            failure.with_hint(format!("it has {}{more}", quoted.join(", ")))
        }
    })
}

/// The name that was probably meant.
fn nearest<'a>(given: &str, names: &'a [String]) -> Option<&'a String> {
    let distance = |name: &String| strsim::damerau_levenshtein(&given.to_lowercase(), &name.to_lowercase());
    let near = names.iter().min_by_key(|name| distance(name))?;
    (distance(near) <= given.chars().count().div_ceil(3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_key_and_a_value_that_may_hold_colons() {
        assert_eq!(parse_tag("a:b:c"), Ok(("a".to_owned(), "b:c".to_owned())));
        assert_eq!(parse_tag("a:"), Ok(("a".to_owned(), String::new())));
        assert!(parse_tag("a").is_err() && parse_tag(":b").is_err());
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let names = ["driver".to_owned(), "customer".to_owned()];
        assert_eq!(nearest("drivr", &names), Some(&names[0]));
        assert_eq!(nearest("zone", &names), None);
    }
}
