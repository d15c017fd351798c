//! Plans as people and machines read them: two repos, or a registry and a repo, and what lies between.

use crate::definitions::{SourceFile, check_definitions};
use crate::diff::{Plan, diff};
use crate::document::{RegistryDocument, Stamp};
use crate::model::{Catalog, Definitions, Project, Tags};
use chrono::DateTime;
use uuid::Uuid;

mod agrees_with_apply;
mod impact;
mod rendering;

/// Definitions from the text of one file.
fn definitions(text: &str) -> Definitions {
    let project = Project {
        name: "rides".to_owned(),
        description: String::new(),
        tags: Tags::new(),
        owner: String::new(),
    };
    let file = SourceFile { path: "repo.yaml".to_owned(), text: text.to_owned() };
    match check_definitions(&[file], project) {
        Ok(repo) => repo.definitions,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The registry after an apply of these definitions.
fn applied(document: &RegistryDocument, definitions: &Definitions) -> RegistryDocument {
    let mut last = 0;
    let mut next_id = || {
        last += 1;
        Uuid::from_u128(last)
    };
    let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    document.apply(definitions, &mut Stamp { now, next_id: &mut next_id }).unwrap()
}

fn nothing() -> RegistryDocument {
    RegistryDocument::parse(&[]).unwrap()
}

/// What a registry holds after an apply of this text.
fn catalog(text: &str) -> Catalog {
    applied(&nothing(), &definitions(text)).catalog("rides").unwrap()
}

/// The plan from one text to another.
fn plan(before: &str, after: &str) -> Plan {
    diff(&catalog(before), &definitions(after))
}

/// A small repo with one object of each kind.
const REPO: &str = "\
kind: Entity
name: driver
join_keys: [driver_id]
value_type: INT64
description: driver id
---
kind: FileSource
name: stats
path: data/stats.parquet
timestamp_field: event_timestamp
created_timestamp_column: created
---
kind: RequestSource
name: ask
schema: [{name: amount, dtype: Float64}]
---
kind: FeatureView
name: driver_stats
entities: [driver]
ttl: 1d
schema:
  - {name: conv_rate, dtype: Float32}
  - {name: acc_rate, dtype: Float32, description: accepted}
source: stats
tags: {production: \"True\", team: a}
---
kind: OnDemandFeatureView
name: derived
sources: [driver_stats, ask]
schema: [{name: sum, dtype: Float64}]
udf: |
  def derived(inputs):
      out = inputs[[]]
      out['sum'] = inputs['conv_rate'] + inputs['amount']
      return out
---
kind: FeatureService
name: model_v1
features: ['driver_stats:conv_rate']
---
kind: FeatureService
name: model_v2
features: [driver_stats, derived]
";

/// The repo with some text replaced; every replacement must hit.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(REPO.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}
