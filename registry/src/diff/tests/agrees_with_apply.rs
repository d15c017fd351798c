//! A plan and an apply are two answers to one question.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::{applied, definitions, nothing};
use crate::diff::diff;
use crate::document::RegistryDocument;

/// A small random repo in a small space of names, so that two of them share much.
#[derive(Debug, Clone)]
struct Repo {
    key_types: [bool; 2],
    sources: Vec<(u8, bool)>,
    views: Vec<View>,
    services: Vec<Vec<(usize, bool, u8)>>,
    on_demand: Option<(usize, u8)>,
}

#[derive(Debug, Clone)]
struct View {
    entities: u8,
    features: u8,
    types: u8,
    ttl: u8,
    source: usize,
    words: u8,
}

const TYPES: [&str; 4] = ["Int64", "Float32", "Array(String)", "Struct({a: Int64})"];

fn view() -> impl Strategy<Value = View> {
    (0..4_u8, 1..16_u8, 0..8_u8, 0..3_u8, 0..2_usize, 0..8_u8).prop_map(
        |(entities, features, types, ttl, source, words)| View {
            entities,
            features,
            types,
            ttl,
            source,
            words,
        },
    )
}

fn repo() -> impl Strategy<Value = Repo> {
    (
        any::<[bool; 2]>(),
        prop::collection::vec((0..3_u8, any::<bool>()), 2),
        prop::collection::vec(view(), 0..4),
        prop::collection::vec(prop::collection::vec((0..4_usize, any::<bool>(), 0..16_u8), 1..3), 0..3),
        prop::option::of((0..4_usize, 0..4_u8)),
    )
        .prop_map(|(key_types, sources, views, services, on_demand)| Repo {
            key_types,
            sources,
            views,
            services,
            on_demand,
        })
}

fn feature_names(bits: u8) -> Vec<String> {
    (0..4).filter(|bit| bits >> bit & 1 == 1).map(|bit| format!("f{bit}")).collect()
}

impl Repo {
    fn text(&self) -> String {
        let mut text = String::new();
        for (number, is_text) in self.key_types.iter().enumerate() {
            let value_type = if *is_text { "STRING" } else { "INT64" };
            write!(text, "kind: Entity\nname: e{number}\nvalue_type: {value_type}\n---\n").unwrap();
        }
        for (number, (path, mapped)) in self.sources.iter().enumerate() {
            let mapping = if *mapped { "{raw: clean}" } else { "{}" };
            write!(
                text,
                "kind: FileSource\nname: s{number}\npath: data/{path}\ntimestamp_field: t\nfield_mapping: {mapping}\n---\n"
            )
            .unwrap();
        }
        write!(text, "kind: RequestSource\nname: ask\nschema: [{{name: x, dtype: Int64}}]\n---\n").unwrap();
        for (number, view) in self.views.iter().enumerate() {
            let entities: Vec<String> =
                (0..2).filter(|bit| view.entities >> bit & 1 == 1).map(|bit| format!("e{bit}")).collect();
            let features: Vec<String> = feature_names(view.features)
                .iter()
                .enumerate()
                .map(|(place, name)| {
                    let dtype = TYPES[(usize::from(view.types) + place) % TYPES.len()];
                    let words = view.words;
                    format!("{{name: {name}, dtype: \"{dtype}\", description: \"{words}\", tags: {{w: \"{words}\"}}}}")
                })
                .collect();
            write!(
                text,
                "kind: FeatureView\nname: v{number}\nentities: [{}]\nttl: {}h\nschema: [{}]\nsource: s{}\nonline: {}\n\
                 description: \"{}\"\n---\n",
                entities.join(", "),
                view.ttl,
                features.join(", "),
                view.source,
                view.words > 3,
                view.words % 2,
            )
            .unwrap();
        }
        if let Some((view, mode)) = self.on_demand.filter(|(view, _)| *view < self.views.len()) {
            write!(
                text,
                "kind: OnDemandFeatureView\nname: od\nsources: [v{view}, ask]\nschema: [{{name: o, dtype: Int64}}]\nudf: \
                 |\n  def f(x):\n      return {mode}\n---\n"
            )
            .unwrap();
        }
        for (number, items) in self.services.iter().enumerate() {
            let items: Vec<String> = items
                .iter()
                .enumerate()
                .filter_map(|(place, (view, aliased, bits))| {
                    let declared = feature_names(self.views.get(*view)?.features);
                    let wanted = feature_names(*bits);
                    let selected: Vec<String> =
                        declared.into_iter().filter(|name| wanted.contains(name)).collect();
                    let alias = if *aliased {
                        format!(", name: a{place}")
                    } else {
                        format!(", name: v{view}_{place}")
                    };
                    let features = if selected.is_empty() {
                        String::new()
                    } else {
                        format!(", features: [{}]", selected.join(", "))
                    };
                    Some(format!("{{view: v{view}{alias}{features}}}"))
                })
                .collect();
            if !items.is_empty() {
                write!(
                    text,
                    "kind: FeatureService\nname: m{number}\nfeatures: [{}]\n---\n",
                    items.join(", ")
                )
                .unwrap();
            }
        }
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// What was applied differs in nothing; a plan is empty exactly when an apply leaves every byte as it is.
    #[test]
    fn a_plan_is_empty_when_apply_changes_nothing(before in repo(), after in repo()) {
        let (before, after) = (definitions(&before.text()), definitions(&after.text()));
        let first = applied(&nothing(), &before);
        prop_assert!(!diff(&first.catalog("rides").unwrap(), &before).has_changes());

        let plan = diff(&first.catalog("rides").unwrap(), &after);
        let second = applied(&first, &after);
        prop_assert_eq!(plan.has_changes(), first.to_bytes() != second.to_bytes());
        let settled = diff(&second.catalog("rides").unwrap(), &after);
        prop_assert!(!settled.has_changes(), "{:?}", settled.changes);
    }

    /// Definitions travel as a registry of their own: whoever reads them back applies the same.
    #[test]
    fn definitions_survive_as_a_registry(before in repo(), after in repo()) {
        let (before, after) = (definitions(&before.text()), definitions(&after.text()));
        let sent = applied(&nothing(), &after).to_bytes();
        let read = RegistryDocument::parse(&sent).unwrap();
        prop_assert_eq!(read.projects(), vec!["rides".to_owned()]);
        let read = read.catalog("rides").unwrap().as_definitions();
        prop_assert_eq!(&read, &after);

        let registry = applied(&nothing(), &before);
        prop_assert_eq!(applied(&registry, &read).to_bytes(), applied(&registry, &after).to_bytes());
    }
}
