//! Objects that do not fit each other: the exact text of every answer.

use super::assert_answers;

/// (claim, what is added to the sound base, the answer)
const CASES: &[(&str, &str, &str)] = &[
    (
        "two objects with one name",
        r#"--- a.yaml
kind: Entity
name: driver
value_type: INT64
---
kind: FileSource
name: Stats
path: x.parquet
timestamp_field: t
---
kind: OnDemandFeatureView
name: Driver_Stats
sources: [request]
schema: [{name: o, dtype: Int64}]
udf: |
  def f(x): return x
"#,
        r#"a.yaml:2:7: Entity `driver` is defined twice; it is already at base.yaml:2:7
a.yaml:6:7: FileSource `Stats` has the name of FileSource `stats`, which is defined at base.yaml:7:7
  hint: names of views and of sources are unique without regard to case
base.yaml:13:7: FeatureView `driver_stats` has the name of OnDemandFeatureView `Driver_Stats`, which is defined at a.yaml:11:7
  hint: names of views and of sources are unique without regard to case
"#,
    ),
    (
        "unknown references of a view",
        r#"--- a.yaml
kind: FeatureView
name: v
entities: [drivr]
schema: [{name: a, dtype: Int64}]
source: statz
"#,
        r#"a.yaml:3:12: FeatureView `v` refers to entity `drivr`, which is not defined
  hint: did you mean `driver`?
a.yaml:5:9: FeatureView `v` refers to data source `statz`, which is not defined
  hint: did you mean `stats`?
"#,
    ),
    (
        "a view on a request source",
        r#"--- a.yaml
kind: FeatureView
name: v
schema: [{name: a, dtype: Int64}]
source: request
"#,
        r#"a.yaml:4:9: FeatureView `v` reads `request`, a RequestSource; allowed: a FileSource
  hint: request sources are inputs of an OnDemandFeatureView
"#,
    ),
    (
        "features that cannot be",
        r#"--- a.yaml
kind: FileSource
name: mapped
path: x.parquet
timestamp_field: ts
field_mapping: {old: new, ts_raw: ts}
---
kind: FeatureView
name: v
entities: [driver]
schema:
  - {name: ts, dtype: UnixTimestamp}
  - {name: old, dtype: Int64}
  - {name: a, dtype: Int64}
  - {name: a, dtype: Int32}
source: mapped
---
kind: FeatureView
name: only_keys
entities: [driver]
schema: [{name: driver_id, dtype: Int64}]
source: stats
"#,
        r#"a.yaml:11:12: feature `ts` of FeatureView `v` is the `timestamp_field` of source `mapped`
  hint: the event timestamp decides which row wins; it is not a feature
a.yaml:12:12: field `old` of FeatureView `v` is a column that source `mapped` maps to `new`
  hint: use `new`, the name after `field_mapping`
a.yaml:14:12: field `a` of FeatureView `v` is declared twice; it is already at a.yaml:13:12
a.yaml:18:7: FeatureView `only_keys` declares no features, only join keys
"#,
    ),
    (
        "join key types",
        r#"--- a.yaml
kind: Entity
name: rider
---
kind: FeatureView
name: v
entities: [driver, rider]
schema: [{name: driver_id, dtype: String}, {name: a, dtype: Int64}]
source: stats
"#,
        r#"a.yaml:6:20: the type of join key `rider` of FeatureView `v` is not known
  hint: give entity `rider` a `value_type` (at a.yaml:2:7), or declare `rider` in the schema
a.yaml:7:17: join key `driver_id` of FeatureView `v` is declared String, but entity `driver` says Int64 at base.yaml:4:13
"#,
    ),
    (
        "two entities with one join key",
        r#"--- a.yaml
kind: Entity
name: chauffeur
join_keys: [driver_id]
value_type: INT64
---
kind: FeatureView
name: v
entities: [driver, chauffeur, driver]
schema: [{name: a, dtype: Int64}]
source: stats
"#,
        r#"a.yaml:8:20: entities `driver` and `chauffeur` of FeatureView `v` share the join key `driver_id`
a.yaml:8:31: entity `driver` is listed twice in FeatureView `v`
"#,
    ),
    (
        "a service with unknown parts",
        r#"--- a.yaml
kind: FeatureService
name: m
features:
  - driver_stat
  - {view: driver_stats, features: [conv_rat, driver_id]}
  - {view: driver_stats, name: origin, join_key_map: {driver: origin_id}}
  - {view: driver_stats, name: dest, join_key_map: {driver_id: ''}, with_name: x}
  - driver_stats@v2:conv_rate
  - ':x'
"#,
        r#"a.yaml:4:5: FeatureService `m` refers to view `driver_stat`, which is not defined
  hint: did you mean `driver_stats`?
a.yaml:5:37: FeatureService `m` selects `conv_rat`, but view `driver_stats` has no such feature
  hint: did you mean `conv_rate`?
a.yaml:5:47: FeatureService `m` selects `driver_id`, a join key of view `driver_stats`, as a feature
  hint: join keys are columns of the spine already
a.yaml:6:55: `join_key_map` of `driver_stats` in FeatureService `m` names `driver`; the join keys of the view are `driver_id`
a.yaml:7:64: `join_key_map` of `driver_stats` in FeatureService `m` maps `driver_id` to nothing
a.yaml:7:69: `with_name` of an item of `features` of FeatureService `m` is not supported: write `name`
a.yaml:8:5: FeatureService `m` pins version `v2` of view `driver_stats`, which is not supported
  hint: write `driver_stats` for the latest version
a.yaml:9:5: `:x` in FeatureService `m` is not a reference; allowed: `view`, `view:feature`
"#,
    ),
    (
        "a service with a name twice",
        r#"--- a.yaml
kind: FeatureService
name: m
features: ['driver_stats:conv_rate', 'driver_stats:acc_rate']
---
kind: FeatureService
name: n
features:
  - {view: driver_stats, name: a}
  - {view: driver_stats, name: a}
  - {view: driver_stats, features: [conv_rate, conv_rate]}
"#,
        r#"a.yaml:3:38: FeatureService `m` uses the name `driver_stats` twice, first at a.yaml:3:12
  hint: list the features in one item, `{view: driver_stats, features: [a, b]}`, or give one a `name` of its own
a.yaml:9:32: FeatureService `n` uses the name `a` twice, first at a.yaml:8:32
  hint: give one of them another `name`
a.yaml:10:48: feature `conv_rate` is listed twice in an item of `features` of FeatureService `n`
"#,
    ),
    (
        "a service that selects nothing",
        r#"--- a.yaml
kind: FeatureService
name: m
features: []
---
kind: FeatureService
name: n
features: [{view: driver_stats, features: []}]
"#,
        r#"a.yaml:3:11: `features` of FeatureService `m` must list at least one view
a.yaml:7:43: `features` of an item of `features` of FeatureService `n` selects nothing
  hint: leave it out to take the whole view
"#,
    ),
    (
        "an on-demand view with wrong parts",
        r#"--- a.yaml
kind: OnDemandFeatureView
name: o
sources: [stats, nothing, o, {view: driver_stats, features: [x]}, {source: reqest}]
schema: [{name: driver_id, dtype: Int64}]
mode: sql
udf: |
  return 1
---
kind: OnDemandFeatureView
name: p
sources: []
schema: []
udf_name: g
singleton: true
udf: |
  def f(x): return x
"#,
        r#"a.yaml:3:11: OnDemandFeatureView `o` takes `stats`, a FileSource; allowed: a feature view or a RequestSource
  hint: define a feature view on it and list that view
a.yaml:3:18: OnDemandFeatureView `o` refers to view or request source `nothing`, which is not defined
  hint: defined are `driver_stats`, `request`
a.yaml:3:27: OnDemandFeatureView `o` takes `o`, an on-demand view; allowed: a feature view or a request source
a.yaml:3:62: OnDemandFeatureView `o` selects `x`, but view `driver_stats` has no such feature
  hint: it has `conv_rate`, `acc_rate`
a.yaml:3:76: OnDemandFeatureView `o` refers to request source `reqest`, which is not defined
  hint: did you mean `request`?
a.yaml:4:17: feature `driver_id` of OnDemandFeatureView `o` is a join key of view `driver_stats`
a.yaml:5:7: `mode` of OnDemandFeatureView `o` is `sql`; allowed: `pandas`, `python`
  hint: Feast reads no other mode of an on-demand view from source text
a.yaml:7:3: the `udf` of OnDemandFeatureView `o` defines no function
  hint: write it as `def name(inputs): …`
a.yaml:10:7: OnDemandFeatureView `p` declares no features
a.yaml:11:10: `sources` of OnDemandFeatureView `p` must list at least one view or request source
a.yaml:13:11: the `udf` of OnDemandFeatureView `p` defines no function `g`
  hint: did you mean `f`?
a.yaml:14:1: `singleton` of OnDemandFeatureView `p` is not supported: it only concerns online serving
"#,
    ),
    (
        "projects",
        r#"--- a.yaml
kind: Project
name: other
---
kind: Project
name: rides
---
kind: Project
name: rides
"#,
        r#"a.yaml:2:7: Project `other` is not the project of `feature_store.yaml`, which is `rides`
  hint: a repo describes one project; leave the Project out or give it that name
a.yaml:8:7: Project `rides` is defined twice; it is already at a.yaml:5:7
"#,
    ),
    (
        "a file that is not YAML hides what it may define",
        r#"--- a.yaml
kind: FileSource
name: hidden
  path: x
--- b.yaml
kind: FeatureView
name: v
schema: [{name: a, dtype: Int64}]
source: hidden
---
kind: FeatureView
name: w
schema: [{name: a, dtype: Int64}]
source: elsewhere
"#,
        r#"a.yaml:3:7: not valid YAML: mapping values are not allowed in this context
b.yaml:9:9: FeatureView `w` refers to data source `elsewhere`, which is not defined
  hint: defined are `stats`
"#,
    ),
    (
        "an object that is broken can be referred to",
        r#"--- a.yaml
kind: FileSource
name: half
path: x
---
kind: FeatureView
name: v
schema: [{name: a, dtype: Wrong}]
source: half
---
kind: FeatureService
name: m
features: ['v:a', {view: v, name: w, features: [b]}]
"#,
        r#"a.yaml:1:1: FileSource `half` lacks the required key `timestamp_field`
a.yaml:7:27: field `a` of FeatureView `v`: unknown type `Wrong`; allowed: `Bytes`, `String`, `Int32`, `Int64`, `Float32`, `Float64`, `Bool`, `UnixTimestamp`, `Map`, `Json`, `Uuid`, `TimeUuid`, `Decimal`, `Array(…)`, `Set(…)`, `Struct({name: type})`, or a value type such as `INT64`
a.yaml:12:49: FeatureService `m` selects `b`, but view `v` has no such feature
  hint: did you mean `a`?
"#,
    ),
];

#[test]
fn wrong_references_are_answered() {
    assert_answers(CASES);
}
