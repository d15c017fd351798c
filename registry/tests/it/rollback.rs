//! What a rollback brings back, what it leaves, and what the difference of two versions says of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests: what fails here fails the test")]

use backsight_proto::feast::core::{self, MaterializationInterval, Registry};
use backsight_registry::diff::{Action, diff_versions, version_diff_text};
use backsight_registry::document::{RegistryDocument, Stamp};
use prost::Message;
use prost_types::Timestamp;

use crate::apply::small;
use crate::support::{apply, definitions_of, empty, feast, ids, now, registry};

fn rollback(current: &RegistryDocument, version: &RegistryDocument, project: &str) -> RegistryDocument {
    current.rollback(version, project, &mut Stamp { now: now(), next_id: &mut ids(700) }).unwrap()
}

/// Any change of the message, as another program makes it.
fn edited(document: &RegistryDocument, edit: impl FnOnce(&mut Registry)) -> RegistryDocument {
    let mut message = registry(document);
    edit(&mut message);
    RegistryDocument::parse(&message.encode_to_vec()).unwrap()
}

#[test]
fn a_project_comes_back_whole_and_others_stay() {
    let old = feast();
    let without = apply(&old, &empty("first")).unwrap();
    let with_third = apply(&without, &small()).unwrap();
    let now = edited(&with_third, |message| message.permissions.clear());
    let back = rollback(&now, &old, "first");
    assert_eq!(back.project_fingerprint("first"), old.project_fingerprint("first"), "to the last byte");
    for other in ["second", "third"] {
        assert_eq!(back.project_fingerprint(other), now.project_fingerprint(other), "{other}");
    }
    assert_ne!(back.version_id(), old.version_id());
    assert_eq!(back.version_id().as_deref(), Some("00000000-0000-0000-0000-0000000002bd"));
    assert!(!diff_versions(&old, &back, "first").has_changes());

    let forward = rollback(&back, &now, "first");
    assert_eq!(forward.project_fingerprint("first"), now.project_fingerprint("first"));
    assert_eq!(forward.projects(), ["first", "second", "third"]);
}

#[test]
fn a_project_that_is_so_already_keeps_every_byte() {
    let current = apply(&feast(), &small()).unwrap();
    assert!(rollback(&current, &feast(), "first") == current);
    // Feast takes objects out and puts them back at the end: order says nothing.
    let plain = edited(&feast(), |_| ());
    let reordered = edited(&feast(), |message| message.feature_views.reverse());
    assert!(rollback(&plain, &reordered, "first") == plain);
}

#[test]
fn what_nobody_knows_comes_back_with_its_object_and_stays_where_it_has_none() {
    // A field of a feature view that no message of ours has, and one of the registry itself.
    let unknown_field = [0x82, 0x7d, 3, 7, 8, 9];
    let message = registry(&feast());
    let mut view = message.feature_views[0].encode_to_vec();
    view.extend_from_slice(&unknown_field);
    let mut old = edited(&feast(), |message| drop(message.feature_views.remove(0))).to_bytes();
    old.extend_from_slice(&[0x32]);
    prost::encoding::encode_varint(view.len() as u64, &mut old);
    old.extend_from_slice(&view);
    let old = RegistryDocument::parse(&old).unwrap();
    let top_level = [&feast().to_bytes()[..], &[0xc2, 0x3e, 2, 5, 5]].concat();
    let current = apply(&RegistryDocument::parse(&top_level).unwrap(), &empty("first")).unwrap();
    let back = rollback(&current, &old, "first").to_bytes();
    let count = |needle: &[u8]| back.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!(count(&unknown_field), 1);
    assert_eq!(count(&[0xc2, 0x3e, 2, 5, 5]), 1);
}

fn interval(start: i64) -> MaterializationInterval {
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    MaterializationInterval { start_time: at(start), end_time: at(start + 60) }
}

fn meta<'a>(message: &'a mut Registry, view: &str) -> &'a mut core::FeatureViewMeta {
    let view = message.feature_views.iter_mut().find(|it| it.spec.as_ref().unwrap().name == view).unwrap();
    view.meta.as_mut().unwrap()
}

#[test]
fn materialization_intervals_tell_of_the_online_store_and_are_not_brought_back() {
    let old = edited(&feast(), |message| {
        for view in ["driver_hourly_stats", "mapped_stats"] {
            meta(message, view).materialization_intervals = vec![interval(100)];
        }
    });
    let mut definitions = definitions_of(old.catalog("first").unwrap());
    definitions.feature_views[0].description = "changed".to_owned();
    definitions.feature_views.retain(|view| view.name != "mapped_stats");
    let current = edited(&apply(&old, &definitions).unwrap(), |message| {
        meta(message, "driver_hourly_stats").materialization_intervals.push(interval(160));
    });
    let back = rollback(&current, &old, "first");
    let mut message = registry(&back);
    assert_eq!(
        meta(&mut message, "driver_hourly_stats").materialization_intervals,
        [interval(100), interval(160)]
    );
    assert_eq!(meta(&mut message, "mapped_stats").materialization_intervals, []);
    assert_eq!(
        meta(&mut message, "mapped_stats").created_timestamp,
        meta(&mut registry(&old), "mapped_stats").created_timestamp
    );
    assert_eq!(back.catalog("first").unwrap().feature_views[0].description, "Hourly features");
}

fn numbers(document: &RegistryDocument, view: &str) -> Vec<(i32, usize)> {
    let records = registry(document).feature_view_version_history.unwrap_or_default().records;
    let of_view =
        records.into_iter().filter(|record| record.feature_view_name == view && record.project_id == "third");
    let features = |bytes: &[u8]| core::FeatureView::decode(bytes).unwrap().spec.unwrap().features.len();
    of_view.map(|record| (record.version_number, features(&record.feature_view_proto))).collect()
}

#[test]
fn a_version_number_of_a_view_is_given_out_once() {
    let mut definitions = small();
    definitions.feature_services.clear();
    definitions.on_demand_feature_views.clear();
    let with_features = |count: usize| {
        let mut definitions = definitions.clone();
        let own = definitions.feature_views[0].features.clone();
        definitions.feature_views[0].features = (0..count)
            .map(|index| backsight_registry::model::Field { name: format!("f{index}"), ..own[0].clone() })
            .collect();
        definitions
    };
    let first = apply(&feast(), &with_features(1)).unwrap();
    let second = apply(&first, &with_features(2)).unwrap();
    assert_eq!(numbers(&second, "clicks"), [(0, 1), (1, 2)]);
    let back = rollback(&second, &first, "third");
    assert_eq!(numbers(&back, "clicks"), [(0, 1), (1, 2)], "`clicks@v1` still means what it meant");
    assert_eq!(back.catalog("third").unwrap().feature_views[0].features.len(), 1);
    let third = apply(&back, &with_features(3)).unwrap();
    assert_eq!(numbers(&third, "clicks"), [(0, 1), (1, 2), (2, 3)]);

    // Removed and made anew, the view counts from 0: its old numbers come back with it.
    let gone = apply(&second, &empty("third")).unwrap();
    let anew = apply(&gone, &with_features(5)).unwrap();
    assert_eq!(numbers(&anew, "clicks"), [(0, 5)]);
    assert_eq!(numbers(&rollback(&anew, &second, "third"), "clicks"), [(0, 1), (1, 2)]);
    assert_eq!(
        numbers(&rollback(&anew, &gone, "third"), "clicks"),
        [],
        "a view that goes takes its numbers along"
    );
}

#[test]
fn a_version_without_the_project_is_refused() {
    let current = apply(&feast(), &small()).unwrap();
    let mut stamp_ids = ids(0);
    let mut stamp = Stamp { now: now(), next_id: &mut stamp_ids };
    let error = current.rollback(&feast(), "third", &mut stamp).unwrap_err();
    assert_eq!(error.to_string(), "that version of the registry has no project `third`");
    assert_eq!(error.code().exit_status(), 4);
}

#[test]
fn the_difference_of_two_versions_names_every_kind_of_object() {
    let old = feast();
    let new = edited(&old, |message| {
        message.permissions.clear();
        message.stream_feature_views[0].spec.as_mut().unwrap().mode = "flink".to_owned();
        message.stream_feature_views[0].meta = None;
        message.feature_views[1].meta = None;
        let push = message.data_sources.iter_mut().find(|source| source.name == "driver_push").unwrap();
        push.owner = "somebody".to_owned();
        message.entities[0].spec.as_mut().unwrap().description = "changed".to_owned();
        message.saved_datasets.push(core::SavedDataset {
            spec: Some(core::SavedDatasetSpec {
                name: "june".to_owned(),
                project: "first".to_owned(),
                ..Default::default()
            }),
            meta: None,
        });
    });
    let diff = diff_versions(&old, &new, "first");
    let others: Vec<_> =
        diff.others.iter().map(|it| (it.action, it.kind.as_str(), it.name.as_str())).collect();
    assert_eq!(
        others,
        [
            (Action::Delete, "Permission", "reader"),
            (Action::Create, "SavedDataset", "june"),
            (Action::Update, "StreamFeatureView", "streamed"),
        ]
    );
    let changed: Vec<_> = diff.plan.changes.iter().map(|change| change.object.name.as_str()).collect();
    assert_eq!(changed, ["driver", "driver_push"]);
    let text = version_diff_text(&diff, false);
    for line in [
        "~ entity driver\n",
        "  + owner  somebody\n",
        "- Permission reader (not managed here)\n",
        "Project `first`: 0 created, 2 updated, 0 deleted, ",
        " 3 objects changed that are not managed here.\n",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    assert!(!diff_versions(&new, &new, "first").has_changes());
    assert_eq!(
        version_diff_text(&diff_versions(&new, &new, "first"), false),
        "No changes of project `first`.\n"
    );
}

#[test]
fn a_project_that_comes_or_goes_between_two_versions_is_created_or_deleted() {
    let (without, with) = (feast(), apply(&feast(), &small()).unwrap());
    for (before, after, action) in [(&without, &with, Action::Create), (&with, &without, Action::Delete)] {
        let diff = diff_versions(before, after, "third");
        assert!(diff.plan.changes.len() > 4);
        assert!(diff.plan.changes.iter().all(|change| change.action == action), "{:#?}", diff.plan.changes);
        assert!(diff.plan.unchanged.is_empty());
    }
}
