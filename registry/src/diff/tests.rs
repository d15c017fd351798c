//! Plans as people and machines read them: two repos, or a registry and a repo, and what lies between.

use crate::definitions::{SourceFile, check_definitions};
use crate::diff::{Plan, diff};
use crate::document::{RegistryDocument, Stamp};
use crate::model::{Catalog, Definitions, Project, Tags};
use chrono::DateTime;
use uuid::Uuid;

mod agrees_with_apply;
mod impact;
mod markdown;
mod rendering;
mod usage;

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

#[test]
fn definitions_of_every_kind_survive_as_a_registry() {
    let all = "\
kind: Project
name: rides
description: d
tags: {team: ml}
owner: ml@example.com
---
kind: Entity
name: driver
value_type: STRING
description: who drives
tags: {production: \"True\"}
owner: ops
---
kind: FileSource
path: s3://bucket/stats/*.parquet
s3_endpoint_override: http://127.0.0.1:9000
timestamp_field: ts
created_timestamp_column: created
field_mapping: {raw: clean}
description: hourly
tags: {a: b}
owner: ops
---
kind: FeatureView
name: stats
entities: [driver]
ttl: 1.5s
schema:
  - {name: clean, dtype: Float64, description: d, tags: {a: b}}
  - {name: driver, dtype: String, description: key}
  - {name: list, dtype: Array(Int64)}
source: s3://bucket/stats/*.parquet
online: false
enabled: no
tags: {production: \"True\"}
owner: ops
---
kind: FeatureView
name: global
schema: [{name: g, dtype: Int64}]
source: s3://bucket/stats/*.parquet
---
kind: RequestSource
name: ask
schema: [{name: amount, dtype: Int64, description: how much}]
---
kind: OnDemandFeatureView
name: derived
sources: [{view: stats, name: s, features: [clean]}, ask]
schema: [{name: sum, dtype: Float64}]
mode: python
udf: |
  def add(inputs):
      return {'sum': inputs['clean']}
---
kind: FeatureService
name: model
features:
  - stats
  - {view: stats, name: origin, features: [list, clean], join_key_map: {driver: origin_id}}
  - derived:sum
description: all
tags: {a: b}
owner: ops
";
    for text in [all, REPO] {
        let wanted = definitions(text);
        let sent = applied(&nothing(), &wanted).to_bytes();
        let read = RegistryDocument::parse(&sent).unwrap().catalog("rides").unwrap().as_definitions();
        assert_eq!(read, wanted);
    }
}
