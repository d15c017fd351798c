//! Definitions take over a registry that others wrote: what YAML cannot say stays as it is, with all that it needs.

#![expect(clippy::unwrap_used, reason = "helpers of tests: what fails here fails the test")]

use backsight_registry::definitions::check_definitions;
use backsight_registry::diff::diff;
use backsight_registry::document::RegistryDocument;
use backsight_registry::export::export;
use backsight_registry::model::{Catalog, Definitions, Project};

use crate::apply::{projection, service, small};
use crate::support::{apply, empty, feast};

/// What an export of the project defines.
fn exported(catalog: &Catalog) -> (Definitions, Vec<String>) {
    let exported = export(catalog).unwrap();
    let left = exported.not_expressed.iter().map(|left| left.object.name.clone()).collect();
    let repo = check_definitions(&exported.files, Project::named(&catalog.project)).unwrap();
    assert!(!exported.plan.has_changes(), "{:#?}", exported.plan.changes);
    (repo.definitions, left)
}

fn names(catalog: &Catalog) -> Vec<String> {
    let entities = catalog.entities.iter().map(|it| format!("entity {}", it.name));
    let sources = catalog.data_sources.iter().map(|it| format!("source {}", it.name));
    let views = catalog.feature_views.iter().map(|it| format!("view {}", it.name));
    let services = catalog.feature_services.iter().map(|it| format!("service {}", it.name));
    entities.chain(sources).chain(views).chain(services).collect()
}

fn kept(document: &RegistryDocument, wanted: &Definitions) -> Vec<String> {
    let plan = diff(&document.catalog(&wanted.project.name).unwrap(), wanted);
    plan.not_managed.iter().map(|(kind, name)| format!("{kind} {name}")).collect()
}

#[test]
fn an_export_and_an_apply_of_what_feast_wrote_lose_nothing() {
    let before = feast();
    let catalog = before.catalog("first").unwrap();
    let (definitions, left) = exported(&catalog);
    assert_eq!(left, ["routes"], "it uses a view of a push source");
    let plan = diff(&catalog, &definitions);
    assert!(!plan.has_changes(), "{:#?}", plan.changes);
    assert!(kept(&before, &definitions).contains(&"FeatureService routes".to_owned()));
    let after = apply(&before, &definitions).unwrap();
    assert_eq!(after.to_bytes(), before.to_bytes(), "not a byte is another");
    let taken_down = before.teardown("first", &mut stamp(&mut || uuid::Uuid::from_u128(1))).unwrap();
    assert!(names(&taken_down.catalog("first").unwrap()).contains(&"service routes".to_owned()));
}

#[test]
fn a_change_that_breaks_what_is_kept_says_so() {
    let before = feast();
    let (mut definitions, _) = exported(&before.catalog("first").unwrap());
    let view = definitions.feature_views.iter_mut().find(|view| view.name == "driver_hourly_stats").unwrap();
    view.features.retain(|feature| feature.name != "acc_rate");
    definitions.feature_services.clear();
    definitions.on_demand_feature_views.clear();
    let plan = diff(&before.catalog("first").unwrap(), &definitions);
    let change = plan.changes.iter().find(|change| change.object.name == "driver_hourly_stats").unwrap();
    let reasons: Vec<String> =
        change.breaks.iter().map(|found| format!("{}: {}", found.user.name, found.reason)).collect();
    assert_eq!(
        reasons,
        ["routes: feature `dest:acc_rate` is gone", "routes: feature `origin:acc_rate` is gone"]
    );
    let deleted: Vec<&str> = plan
        .changes
        .iter()
        .filter(|change| change.action == backsight_registry::diff::Action::Delete)
        .map(|change| change.object.name.as_str())
        .collect();
    assert_eq!(
        deleted,
        ["transformed", "model_v1", "model_v2"],
        "what definitions can say is theirs to delete"
    );
}

#[test]
fn what_a_kept_object_needs_stays_until_definitions_name_it() {
    let before = feast();
    let nothing = empty("first");
    let after = apply(&before, &nothing).unwrap();
    let catalog = after.catalog("first").unwrap();
    let stays = names(&catalog);
    for name in [
        "entity driver",
        "source driver_stats_source",
        "view driver_hourly_stats",
        "view pushed",
        "service routes",
    ] {
        assert!(stays.contains(&name.to_owned()), "{name} is not in {stays:?}");
    }
    for name in ["view mapped_stats", "view global_stats", "service model_v1", "source s3_stats"] {
        assert!(!stays.contains(&name.to_owned()), "{name} is in {stays:?}");
    }
    assert!(!diff(&catalog, &nothing).has_changes(), "nothing is left to do");
    assert_eq!(apply(&after, &nothing).unwrap().to_bytes(), after.to_bytes());
    assert!(kept(&after, &nothing).contains(&"FeatureView driver_hourly_stats".to_owned()));

    // Named by definitions it is theirs, and goes when they drop it.
    let (mut wanted, _) = exported(&before.catalog("first").unwrap());
    let hourly = projection_of(&wanted, "driver_hourly_stats");
    wanted.feature_services = vec![service("routes", vec![hourly])];
    let taken_over = apply(&before, &wanted).unwrap();
    assert!(!kept(&taken_over, &wanted).contains(&"FeatureService routes".to_owned()));
    let dropped = apply(&taken_over, &empty("first")).unwrap();
    let left = names(&dropped.catalog("first").unwrap());
    assert!(
        !left.contains(&"service routes".to_owned())
            && !left.contains(&"view driver_hourly_stats".to_owned()),
        "{left:?}"
    );
}

#[test]
fn a_pinned_version_and_a_view_twice_are_kept_as_well() {
    let mut wanted = small();
    let first = apply(&feast(), &wanted).unwrap();
    wanted.feature_views[0].features.remove(1);
    wanted.feature_services = vec![
        service("pinned", vec![projection("clicks@v0", &["g"])]),
        service("twice", vec![projection("clicks", &["f"]), projection("clicks", &["f"])]),
        service("plain", vec![projection("clicks", &["f"])]),
    ];
    let second = apply(&first, &wanted).unwrap();
    let (exported, left) = exported(&second.catalog("third").unwrap());
    assert_eq!(left, ["pinned", "twice"]);
    let after = apply(&second, &exported).unwrap();
    assert_eq!(after.to_bytes(), second.to_bytes());

    wanted.feature_services.clear();
    let third = apply(&second, &wanted).unwrap();
    let left: Vec<String> =
        third.catalog("third").unwrap().feature_services.iter().map(|it| it.name.clone()).collect();
    assert_eq!(left, ["pinned", "twice"]);
    wanted.feature_views.clear();
    wanted.on_demand_feature_views.clear();
    let fourth = apply(&third, &wanted).unwrap().catalog("third").unwrap();
    assert_eq!(fourth.feature_services[0].projections[0].view, "clicks@v0", "its version is still there");
}

fn projection_of(definitions: &Definitions, view: &str) -> backsight_registry::model::Projection {
    let view = definitions.feature_views.iter().find(|it| it.name == view).unwrap();
    backsight_registry::model::Projection {
        view: view.name.clone(),
        alias: None,
        features: view.features.clone(),
        join_key_map: Default::default(),
    }
}

fn stamp(next_id: &mut (dyn FnMut() -> uuid::Uuid + Send)) -> backsight_registry::document::Stamp<'_> {
    backsight_registry::document::Stamp { now: crate::support::now(), next_id }
}
