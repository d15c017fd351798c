//! What plan says and what apply does are one thing: nothing is left to do after an apply, and a plan without changes
//! means that apply writes nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests: what fails here fails the test")]

use backsight_registry::diff::diff;
use backsight_registry::document::RegistryDocument;
use backsight_registry::model::{Definitions, Ttl, ValueType};
use proptest::prelude::*;

use crate::apply::small;
use crate::support::{apply, definitions_of, empty, feast};

/// Edits as people make them, each of one thing.
const EDITS: usize = 16;

fn edit(definitions: &mut Definitions, number: usize) {
    let text = "changed".to_owned();
    match number {
        0 => definitions.project.description = text,
        1 => definitions.entities[0].description = text,
        2 => definitions.entities[0].value_type = ValueType(2),
        3 => definitions.data_sources[0].owner = text,
        4 => definitions.feature_views[0].source.owner = text,
        5 => definitions.feature_views[0].ttl = None,
        6 => definitions.feature_views[0].ttl = Ttl::from_nanos(90_000_000_001),
        7 => definitions.feature_views[0].features[1].description = text,
        8 => definitions.feature_views[0].features[1].value_type = ValueType(4),
        9 => {
            definitions.feature_views[0].features[1].tags.insert(text, "x".to_owned());
        }
        10 => definitions.feature_views[0].online ^= true,
        11 => definitions.feature_views[0].disabled ^= true,
        12 => {
            definitions.on_demand_feature_views[0].transformation =
                Some((text, "def changed(): pass".to_owned()))
        }
        13 => definitions.on_demand_feature_views.clear(),
        14 => definitions.feature_services.truncate(1),
        _ => {
            definitions.feature_services.last_mut().unwrap().tags.insert(text, "x".to_owned());
        }
    }
    // A service takes the view's own fields, as definitions do.
    let view = definitions.feature_views[0].clone();
    for projection in definitions.feature_services.iter_mut().flat_map(|service| &mut service.projections) {
        for field in projection.features.iter_mut().filter(|_| projection.view == view.name) {
            *field = view.features.iter().find(|own| own.name == field.name).unwrap().clone();
        }
    }
}

/// Both projects that an edit starts from: one of ours, one of Feast's.
fn start(is_feast: bool) -> (RegistryDocument, Definitions) {
    if is_feast {
        let mut definitions = definitions_of(feast().catalog("first").unwrap());
        definitions.on_demand_feature_views.clear();
        for service in &mut definitions.feature_services {
            service.projections.retain(|projection| projection.view == "driver_hourly_stats");
        }
        return (feast(), definitions);
    }
    let document = apply(&feast(), &small()).unwrap();
    let definitions = definitions_of(document.catalog("third").unwrap());
    (document, definitions)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn after_an_apply_nothing_is_left_to_do(
        is_feast in any::<bool>(),
        edits in proptest::collection::vec(0..EDITS, 0..4),
    ) {
        let (before, mut definitions) = start(is_feast);
        let project = definitions.project.name.clone();
        for number in edits {
            if number != 12 || !definitions.on_demand_feature_views.is_empty() {
                edit(&mut definitions, number);
            }
        }
        let plan = diff(&before.catalog(&project).unwrap(), &definitions);
        let after = apply(&before, &definitions).unwrap();
        let left = diff(&after.catalog(&project).unwrap(), &definitions);
        prop_assert!(!left.has_changes(), "{left:#?}");
        prop_assert_eq!(apply(&after, &definitions).unwrap().to_bytes(), after.to_bytes());
        prop_assert_eq!(plan.has_changes(), after.to_bytes() != before.to_bytes(), "{:#?}", plan.changes);
        prop_assert_eq!(after.project_fingerprint("second"), before.project_fingerprint("second"));
    }
}

#[test]
fn a_first_apply_and_an_empty_repo_do_what_their_plans_say() {
    let mut whole = small();
    // Definitions name every feature of a whole view.
    whole.feature_services[0].projections[0].features = whole.feature_views[0].features.clone();
    for definitions in [whole, empty("first")] {
        let project = definitions.project.name.clone();
        let before = feast();
        assert!(diff(&before.catalog_or_empty(&project), &definitions).has_changes());
        let after = apply(&before, &definitions).unwrap();
        let left = diff(&after.catalog(&project).unwrap(), &definitions);
        assert!(!left.has_changes(), "{:#?}", left.changes);
    }
}
