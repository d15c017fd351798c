//! Who uses what changes, and what the change does to each of them: it breaks, it changes, or it feels nothing.

use super::{REPO, catalog, definitions, edited};
use crate::diff::{Plan, diff};
use crate::model::{Catalog, DatasetRecipe, Definitions, FeatureService};

fn dataset(name: &str, features: &[&str], feature_service: Option<&str>) -> DatasetRecipe {
    DatasetRecipe {
        name: name.to_owned(),
        features: features.iter().map(|reference| (*reference).to_owned()).collect(),
        feature_service: feature_service.map(str::to_owned),
    }
}

/// The repo as a registry, with services and datasets that use all of it.
fn current() -> Catalog {
    let text = format!(
        "{REPO}---\nkind: FeatureService\nname: derived_only\nfeatures: [derived]\n---\nkind: FeatureService\nname: \
         origin\nfeatures: [{{view: driver_stats, name: o, features: [acc_rate], join_key_map: {{driver_id: from_id}}}}]\n"
    );
    let mut current = catalog(&text);
    current.saved_datasets = vec![
        dataset("by_reference", &["driver_stats:conv_rate"], None),
        dataset("by_service", &["o:acc_rate"], Some("origin")),
        dataset("computed", &["derived:sum"], Some("derived_only")),
        dataset("of_nothing", &["long_gone:x", "no reference"], Some("gone_too")),
    ];
    current
}

/// The services that [`current`] has beyond the repo, as far as what they use is still there.
fn with_more_services(text: &str) -> Definitions {
    let mut wanted = definitions(text);
    let keeps = |service: &FeatureService| {
        service.projections.iter().all(|projection| {
            let has = |features: &[crate::model::Field]| {
                projection.features.iter().all(|it| features.iter().any(|field| field.name == it.name))
            };
            wanted.feature_views.iter().any(|view| view.name == projection.view && has(&view.features))
                || wanted
                    .on_demand_feature_views
                    .iter()
                    .any(|view| view.name == projection.view && has(&view.features))
        })
    };
    let more = current()
        .feature_services
        .into_iter()
        .filter(|service| ["derived_only", "origin"].contains(&service.name.as_str()) && keeps(service));
    let more: Vec<FeatureService> = more.collect();
    wanted.feature_services.extend(more);
    wanted
}

/// One line for each change that somebody feels or could feel, then one for each user, then the reasons.
fn outline(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for change in plan.changes.iter().filter(|change| !change.used_by.is_empty()) {
        lines.push(format!("{} {} {}", change.action.key(), change.object.kind, change.object.name));
        for usage in &change.used_by {
            lines.push(format!("  {} {}", usage.effect.key(), usage.object.name));
        }
        lines.extend(change.breaks.iter().map(|found| format!("  ! {}: {}", found.user.name, found.reason)));
    }
    lines
}

/// Who uses `driver_stats`, in the order in which a plan names them.
const USERS: [&str; 8] =
    ["derived", "derived_only", "model_v1", "model_v2", "origin", "by_reference", "by_service", "computed"];

/// The view's change, and what each user feels of it: for all of them one word, or one each.
fn view_changes(effects: &[&str]) -> Vec<String> {
    let effects = effects.iter().cycle().zip(USERS).map(|(effect, user)| format!("  {effect} {user}"));
    ["update feature view driver_stats".to_owned()].into_iter().chain(effects).collect()
}

/// Why each of these breaks; who has it through the on-demand view says so.
fn because(users: &[&str], reason: &str) -> Vec<String> {
    let through = "through on-demand feature view `derived`: ";
    let is_through = |user: &str| ["derived_only", "computed"].contains(&user);
    users
        .iter()
        .map(|user| format!("  ! {user}: {}{reason}", if is_through(user) { through } else { "" }))
        .collect()
}

/// (claim, edits of the repo, the outline without changes of services)
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<Vec<String>>);

#[test]
fn each_user_is_told_what_the_change_does_to_it() {
    let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
    let derived = [
        "update on-demand feature view derived",
        "  changes derived_only",
        "  changes model_v2",
        "  changes computed",
    ];
    let table: [Case<'_>; 7] = [
        (
            "a ttl changes everybody, through others too, and breaks nobody",
            &[("ttl: 1d", "ttl: 2d")],
            vec![view_changes(&["changes"])],
        ),
        (
            "so does a source that lies elsewhere",
            &[("path: data/stats.parquet", "path: elsewhere")],
            vec![
                lines(&["update data source stats", "  changes driver_stats"]),
                view_changes(&["changes"]).split_off(1),
            ],
        ),
        (
            "words change nobody",
            &[("description: accepted", "description: taken"), ("team: a", "team: b")],
            vec![view_changes(&["nothing"])],
        ),
        (
            "a feature that goes breaks those who have it; an on-demand view hands it on to who uses that alone",
            &[
                ("  - {name: conv_rate, dtype: Float32}\n", ""),
                ("driver_stats:conv_rate", "driver_stats:acc_rate"),
            ],
            vec![
                view_changes(&[
                    "breaks", "breaks", "breaks", "breaks", "nothing", "breaks", "nothing", "breaks",
                ]),
                because(
                    &["derived", "derived_only", "model_v1", "model_v2", "by_reference", "computed"],
                    "feature `driver_stats:conv_rate` is gone",
                ),
                lines(&derived),
            ],
        ),
        (
            "the type of an alias's feature",
            &[(
                "{name: acc_rate, dtype: Float32, description: accepted}",
                "{name: acc_rate, dtype: Int64, description: accepted}",
            )],
            vec![
                view_changes(&[
                    "breaks", "breaks", "nothing", "breaks", "breaks", "nothing", "breaks", "breaks",
                ]),
                because(
                    &["derived", "derived_only", "model_v2"],
                    "feature `driver_stats:acc_rate` becomes Int64, it was Float32",
                ),
                because(&["origin", "by_service"], "feature `o:acc_rate` becomes Int64, it was Float32"),
                because(&["computed"], "feature `driver_stats:acc_rate` becomes Int64, it was Float32"),
            ],
        ),
        (
            "a view that serves no more",
            &[("ttl: 1d\n", "ttl: 1d\nenabled: false\n")],
            vec![view_changes(&["breaks"]), because(&USERS, "feature view `driver_stats` is disabled")],
        ),
        (
            "code of an on-demand view",
            &[("inputs['conv_rate'] +", "inputs['conv_rate'] -")],
            vec![lines(&derived)],
        ),
    ];
    for (claim, edits, expected) in table {
        let plan = diff(&current(), &with_more_services(&edited(edits)));
        let lines: Vec<String> =
            outline(&plan).into_iter().filter(|line| !line.starts_with("update feature service")).collect();
        assert_eq!(lines, expected.concat(), "{claim}");
    }
}

#[test]
fn an_entity_that_changes_or_goes_is_named_as_the_cause() {
    let renamed = diff(&current(), &with_more_services(&edited(&[("[driver_id]", "[id]")])));
    let broken = |plan: &Plan, name: &str| {
        let change = plan.changes.iter().find(|change| change.object.name == name).unwrap();
        change.breaks.iter().map(|found| format!("{}: {}", found.user.name, found.reason)).collect::<Vec<_>>()
    };
    assert_eq!(
        broken(&renamed, "driver"),
        [
            "derived: `driver_stats` needs the spine column `id`",
            "derived_only: through on-demand feature view `derived`: `driver_stats` needs the spine column `id`",
            "model_v1: `driver_stats` needs the spine column `id`",
            "model_v2: `driver_stats` needs the spine column `id`",
            "origin: `o` needs the spine column `id`",
            "by_reference: `driver_stats` needs the spine column `id`",
            "by_service: `o` needs the spine column `id`",
            "computed: through on-demand feature view `derived`: `driver_stats` needs the spine column `id`",
        ]
    );
    assert_eq!(broken(&renamed, "driver_stats"), [""; 0], "the entity did it");
    assert_eq!((renamed.counts().breaking, renamed.counts().broken), (1, 8));

    let entity = "kind: Entity\nname: driver\njoin_keys: [driver_id]\nvalue_type: INT64\ndescription: driver id\n---\n";
    let without = edited(&[(entity, ""), ("entities: [driver]\n", "")]);
    let gone = diff(&current(), &with_more_services(&without));
    assert_eq!(
        broken(&gone, "driver")[2..5],
        [
            "model_v1: `driver_stats` is no longer joined on `driver_id`",
            "model_v2: `driver_stats` is no longer joined on `driver_id`",
            "origin: `o` is no longer joined on `from_id`",
        ]
    );
    let kept = diff(&current(), &with_more_services(&edited(&[("entities: [driver]\n", "")])));
    assert_eq!(broken(&kept, "driver_stats").len(), 8, "the view did it");
}

#[test]
fn a_service_that_goes_takes_the_recipe_of_its_datasets() {
    let plan = diff(&current(), &definitions(REPO));
    let reasons: Vec<String> = plan
        .changes
        .iter()
        .flat_map(|change| change.breaks.iter().map(|it| format!("{}: {}", it.user.name, it.reason)))
        .collect();
    assert_eq!(
        reasons,
        ["computed: feature service `derived_only` is gone", "by_service: feature service `origin` is gone",]
    );
}
