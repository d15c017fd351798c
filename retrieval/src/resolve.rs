//! Finds what a request names in a project's catalog. Pure; every failure says what is there instead.

use std::collections::{BTreeMap, BTreeSet};

use backsight_proto::ErrorCode;
use backsight_registry::model::{Catalog, FeatureView, SourceKind, ValueType};
use backsight_registry::nearest;

use crate::request::FeatureSelection;

/// Feast's state "unspecified": written by `apply`.
const STATE_UNSPECIFIED: i32 = 0;
/// Feast's state "available online".
const STATE_AVAILABLE: i32 = 4;

/// A view as one request uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedView {
    /// The view as the registry has it.
    pub view: FeatureView,
    /// Alias or name: the output prefix, and what messages call it.
    pub label: String,
    /// Join keys in the view's order.
    pub keys: Vec<ResolvedKey>,
    /// Requested features in order.
    pub features: Vec<ResolvedFeature>,
}

/// A join key and the spine column that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedKey {
    /// Column of the view, after field mapping.
    pub view_column: String,
    /// Column of the spine.
    pub spine_column: String,
    /// Declared type.
    pub value_type: ValueType,
}

/// A requested feature and its name in the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedFeature {
    /// Name in the view.
    pub feature: String,
    /// Name in the dataset.
    pub output: String,
}

/// Why a request cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Neither references nor a service with features.
    #[error("no features are asked for")]
    NothingRequested,
    /// A reference is not `view:feature`.
    #[error("`{reference}` is not a feature reference, expected `view:feature`")]
    MalformedReference {
        /// As given.
        reference: String,
    },
    /// A pinned version of a view.
    #[error("`{reference}` asks for a version of a feature view: versioned references are not there yet")]
    VersionedReference {
        /// As given.
        reference: String,
    },
    /// No such feature service.
    #[error("project `{project}` has no feature service `{service}`")]
    UnknownService {
        /// The project.
        project: String,
        /// As given.
        service: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No such feature view.
    #[error("project `{project}` has no feature view `{view}`{}", by_service(service))]
    UnknownView {
        /// The project.
        project: String,
        /// As given.
        view: String,
        /// The service that names it.
        service: Option<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// No such feature.
    #[error("feature view `{view}` has no feature `{feature}`{}", by_service(service))]
    UnknownFeature {
        /// The view.
        view: String,
        /// As given.
        feature: String,
        /// The service that names it.
        service: Option<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// An on-demand view is asked for.
    #[error("`{view}` is an on-demand feature view: their execution is not there yet")]
    OnDemand {
        /// The view.
        view: String,
    },
    /// The view is switched off.
    #[error("feature view `{view}` is disabled and cannot serve features")]
    Disabled {
        /// The view.
        view: String,
    },
    /// The view is in a state that does not serve.
    #[error(
        "feature view `{view}` is in state {state} and cannot serve features, only views that are available online can"
    )]
    NotAvailable {
        /// The view.
        view: String,
        /// Feast's name of the state.
        state: String,
    },
    /// The view has entities but the registry does not say which columns they are.
    #[error(
        "feature view `{view}` has entities but no join keys in the registry: it would match on time alone"
    )]
    NoJoinKeys {
        /// The view.
        view: String,
    },
    /// The view's rows are not in Parquet files.
    #[error(
        "feature view `{view}` reads from `{source_name}`, a {kind}: only files and Delta tables can be retrieved"
    )]
    UnsupportedSource {
        /// The view.
        view: String,
        /// Its source.
        source_name: String,
        /// The source's kind.
        kind: String,
    },
    /// Two outputs would have one name.
    #[error("two outputs would be called `{output}`: {first} and {second}")]
    EqualOutputNames {
        /// The name.
        output: String,
        /// Where it comes from first.
        first: String,
        /// Where it comes from again.
        second: String,
    },
}

fn by_service(service: &Option<String>) -> String {
    service.as_ref().map(|service| format!(" (named by feature service `{service}`)")).unwrap_or_default()
}

impl ResolveError {
    /// The class of this failure.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NothingRequested | Self::MalformedReference { .. } | Self::EqualOutputNames { .. } => {
                ErrorCode::Usage
            }
            Self::UnknownService { .. } | Self::UnknownView { .. } | Self::UnknownFeature { .. } => {
                ErrorCode::NotFound
            }
            Self::NoJoinKeys { .. } => ErrorCode::Invalid,
            Self::VersionedReference { .. }
            | Self::OnDemand { .. }
            | Self::Disabled { .. }
            | Self::NotAvailable { .. }
            | Self::UnsupportedSource { .. } => ErrorCode::Usage,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NothingRequested => Some(
                "name features with `--features view:feature,…` or a service with `--feature-service`".into(),
            ),
            Self::MalformedReference { .. } => Some("for example `driver_hourly_stats:conv_rate`".into()),
            Self::UnknownService { service, known, .. } => {
                Some(did_you_mean(service, known, "feature services"))
            }
            Self::UnknownView { view, known, .. } => Some(did_you_mean(view, known, "feature views")),
            Self::UnknownFeature { feature, known, .. } => Some(did_you_mean(feature, known, "features")),
            Self::EqualOutputNames { .. } => Some(
                "ask for `--full-feature-names`, or rename: a service can give a view another name".into(),
            ),
            Self::VersionedReference { .. } => Some("leave out `@…` to read the current definition".into()),
            Self::Disabled { .. } => Some("enable it with `feast feature-views enable`".into()),
            Self::NoJoinKeys { .. } => Some("apply the view again, with its entities".into()),
            Self::OnDemand { .. } => Some("ask for its input features instead".into()),
            Self::NotAvailable { .. } | Self::UnsupportedSource { .. } => None,
        }
    }
}

/// "did you mean `x`?", or the list of what there is.
pub(crate) fn did_you_mean(given: &str, known: &[String], what: &str) -> String {
    let names = || known.iter().map(String::as_str);
    match nearest::did_you_mean(given, names()) {
        Some(hint) => hint,
        None if known.is_empty() => format!("there are no {what}"),
        None => format!("{what}: {}", nearest::quoted_list(names())),
    }
}

/// One asked-for feature before it is looked up.
struct Wanted {
    view: String,
    alias: Option<String>,
    feature: String,
    join_key_map: BTreeMap<String, String>,
}

/// Looks up what is asked for.
///
/// Views come in order of first reference, features inside a view in reference order.
///
/// # Errors
/// The first thing that the project does not have, or that cannot be retrieved.
pub fn resolve(
    catalog: &Catalog,
    selection: &FeatureSelection,
    full_feature_names: bool,
) -> Result<Vec<ResolvedView>, ResolveError> {
    let (wanted, service) = match selection {
        FeatureSelection::References(references) => {
            (references.iter().map(|r| parse_reference(r)).collect::<Result<Vec<_>, _>>()?, None)
        }
        FeatureSelection::Service(name) => (service_features(catalog, name)?, Some(name.clone())),
    };
    if wanted.is_empty() {
        return Err(ResolveError::NothingRequested);
    }
    let mut views: Vec<ResolvedView> = Vec::new();
    for want in wanted {
        let label = want.alias.clone().unwrap_or_else(|| want.view.clone());
        let position = match views.iter().position(|v| v.view.name == want.view && v.label == label) {
            Some(position) => position,
            None => {
                let view = find_view(catalog, &want.view, &service)?;
                check_servable(view)?;
                let keys = view
                    .join_keys
                    .iter()
                    .map(|key| ResolvedKey {
                        view_column: key.name.clone(),
                        spine_column: want.join_key_map.get(&key.name).unwrap_or(&key.name).clone(),
                        value_type: key.value_type,
                    })
                    .collect();
                views.push(ResolvedView { view: view.clone(), label: label.clone(), keys, features: vec![] });
                views.len() - 1
            }
        };
        let resolved = &mut views[position];
        if !resolved.view.features.iter().any(|field| field.name == want.feature) {
            return Err(ResolveError::UnknownFeature {
                view: resolved.view.name.clone(),
                feature: want.feature,
                service,
                known: resolved.view.features.iter().map(|field| field.name.clone()).collect(),
            });
        }
        let output =
            if full_feature_names { format!("{label}__{}", want.feature) } else { want.feature.clone() };
        resolved.features.push(ResolvedFeature { feature: want.feature, output });
    }
    check_output_names(&views, &[])?;
    Ok(views)
}

/// Refuses outputs that share a name with each other or with a spine column.
///
/// # Errors
/// [`ResolveError::EqualOutputNames`] with both origins.
pub fn check_output_names(views: &[ResolvedView], spine_columns: &[String]) -> Result<(), ResolveError> {
    let mut taken: Vec<(&str, String)> =
        spine_columns.iter().map(|name| (name.as_str(), format!("spine column `{name}`"))).collect();
    for view in views {
        for feature in &view.features {
            let origin = format!("`{}:{}`", view.label, feature.feature);
            if let Some((_, first)) = taken.iter().find(|(name, _)| *name == feature.output) {
                return Err(ResolveError::EqualOutputNames {
                    output: feature.output.clone(),
                    first: first.clone(),
                    second: origin,
                });
            }
            taken.push((&feature.output, origin));
        }
    }
    Ok(())
}

fn parse_reference(reference: &str) -> Result<Wanted, ResolveError> {
    let malformed = || ResolveError::MalformedReference { reference: reference.to_owned() };
    let (view, feature) = reference.trim().split_once(':').ok_or_else(malformed)?;
    if view.is_empty() || feature.is_empty() || feature.contains(':') {
        return Err(malformed());
    }
    let view = current_version(view, reference)?;
    Ok(Wanted {
        view: view.to_owned(),
        alias: None,
        feature: feature.to_owned(),
        join_key_map: BTreeMap::new(),
    })
}

/// The view's name without its version, which must be the current one.
fn current_version<'a>(view: &'a str, reference: &str) -> Result<&'a str, ResolveError> {
    match view.rsplit_once('@') {
        Some((name, "latest")) => Ok(name),
        Some((_, version)) if is_version(version) => {
            Err(ResolveError::VersionedReference { reference: reference.to_owned() })
        }
        _ => Ok(view),
    }
}

/// `v3`: what Feast takes for a version; anything else behind `@` belongs to the name.
fn is_version(text: &str) -> bool {
    text.strip_prefix(['v', 'V']).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn service_features(catalog: &Catalog, name: &str) -> Result<Vec<Wanted>, ResolveError> {
    let service = catalog.feature_services.iter().find(|service| service.name == name).ok_or_else(|| {
        ResolveError::UnknownService {
            project: catalog.project.clone(),
            service: name.to_owned(),
            known: catalog.feature_services.iter().map(|service| service.name.clone()).collect(),
        }
    })?;
    let mut wanted = Vec::new();
    for projection in &service.projections {
        let view = current_version(&projection.view, &projection.view)?;
        wanted.extend(projection.features.iter().map(|field| Wanted {
            view: view.to_owned(),
            alias: projection.alias.clone(),
            feature: field.name.clone(),
            join_key_map: projection.join_key_map.clone(),
        }));
    }
    Ok(wanted)
}

fn find_view<'a>(
    catalog: &'a Catalog,
    name: &str,
    service: &Option<String>,
) -> Result<&'a FeatureView, ResolveError> {
    if catalog.on_demand_feature_views.iter().any(|view| view.name == name) {
        return Err(ResolveError::OnDemand { view: name.to_owned() });
    }
    catalog.feature_views.iter().find(|view| view.name == name).ok_or_else(|| {
        let known: BTreeSet<String> = catalog.feature_views.iter().map(|view| view.name.clone()).collect();
        ResolveError::UnknownView {
            project: catalog.project.clone(),
            view: name.to_owned(),
            service: service.clone(),
            known: known.into_iter().collect(),
        }
    })
}

fn check_servable(view: &FeatureView) -> Result<(), ResolveError> {
    if view.disabled {
        return Err(ResolveError::Disabled { view: view.name.clone() });
    }
    if view.state != STATE_UNSPECIFIED && view.state != STATE_AVAILABLE {
        let state = match view.state {
            1 => "CREATED".to_owned(),
            2 => "GENERATED".to_owned(),
            3 => "MATERIALIZING".to_owned(),
            other => format!("number {other}"),
        };
        return Err(ResolveError::NotAvailable { view: view.name.clone(), state });
    }
    if view.join_keys.is_empty() && !view.entities.is_empty() {
        return Err(ResolveError::NoJoinKeys { view: view.name.clone() });
    }
    let kind = match &view.source.kind {
        SourceKind::File { .. } => return Ok(()),
        SourceKind::Request { .. } => "RequestSource".to_owned(),
        SourceKind::Other { kind } => kind.clone(),
    };
    Err(ResolveError::UnsupportedSource {
        view: view.name.clone(),
        source_name: view.source.name.clone(),
        kind,
    })
}
