//! Documents that are wrong in themselves: the exact text of every answer.

use super::assert_answers;

/// (claim, what is added to the sound base, the answer)
const CASES: &[(&str, &str, &str)] = &[
    (
        "unknown key",
        r#"--- a.yaml
kind: Entity
name: rider
jion_keys: [rider_id]
value_type: INT64
"#,
        r#"a.yaml:3:1: unknown key `jion_keys` in Entity `rider`; allowed: `kind`, `name`, `join_keys`, `value_type`, `description`, `tags`, `owner`
  hint: did you mean `join_keys`?
"#,
    ),
    (
        "unknown key far from all",
        r#"--- a.yaml
kind: Project
name: rides
colour: red
"#,
        r#"a.yaml:3:1: unknown key `colour` in Project `rides`; allowed: `kind`, `name`, `description`, `tags`, `owner`
"#,
    ),
    (
        "unknown kind",
        r#"--- a.yaml
kind: FeatureVeiw
name: x
"#,
        r#"a.yaml:1:7: unknown kind `FeatureVeiw`; allowed: `Entity`, `FileSource`, `RequestSource`, `FeatureView`, `OnDemandFeatureView`, `FeatureService`, `Project`
  hint: did you mean `FeatureView`?
"#,
    ),
    (
        "kind of another tool",
        r#"--- a.yaml
kind: Deployment
name: x
"#,
        r#"a.yaml:1:7: unknown kind `Deployment`; allowed: `Entity`, `FileSource`, `RequestSource`, `FeatureView`, `OnDemandFeatureView`, `FeatureService`, `Project`
  hint: a YAML file that holds no definitions can be listed in `.feastignore`
"#,
    ),
    (
        "kind that is not managed",
        r#"--- a.yaml
kind: PushSource
name: x
"#,
        r#"a.yaml:1:7: kind `PushSource` is not managed by definitions
  hint: objects of this kind that the registry holds stay as they are
"#,
    ),
    (
        "kind of later",
        r#"--- a.yaml
kind: Schedule
name: x
"#,
        r#"a.yaml:1:7: kind `Schedule` is not supported yet
"#,
    ),
    (
        "no kind",
        r#"--- a.yaml
name: x
"#,
        r#"a.yaml:1:1: the definition has no `kind`; allowed: `Entity`, `FileSource`, `RequestSource`, `FeatureView`, `OnDemandFeatureView`, `FeatureService`, `Project`
  hint: a YAML file that holds no definitions can be listed in `.feastignore`
"#,
    ),
    (
        "misspelt kind key",
        r#"--- a.yaml
Kind: Entity
name: x
"#,
        r#"a.yaml:1:1: the definition has no `kind`; allowed: `Entity`, `FileSource`, `RequestSource`, `FeatureView`, `OnDemandFeatureView`, `FeatureService`, `Project`
  hint: did you mean `kind` instead of `Kind`?
"#,
    ),
    (
        "not a mapping",
        r#"--- a.yaml
- a
- b
"#,
        r#"a.yaml:1:1: a definition must be a mapping that starts with `kind`, got a list
"#,
    ),
    (
        "missing keys",
        r#"--- a.yaml
kind: FileSource
name: s
---
kind: FeatureView
name: v
---
kind: FeatureService
"#,
        r#"a.yaml:1:1: FileSource `s` lacks the required key `path`
a.yaml:1:1: FileSource `s` lacks the required key `timestamp_field`
a.yaml:4:1: FeatureView `v` lacks the required key `schema`
a.yaml:4:1: FeatureView `v` lacks the required key `source`
a.yaml:7:1: this FeatureService lacks the required key `features`
a.yaml:7:1: this FeatureService lacks the required key `name`
"#,
    ),
    (
        "empty required value",
        r#"--- a.yaml
kind: FileSource
name: s
path:
timestamp_field: ''
"#,
        r#"a.yaml:3:1: `path` of FileSource `s` is required, got nothing
a.yaml:4:18: `timestamp_field` of FileSource `s` must not be empty
"#,
    ),
    (
        "wrong YAML types",
        r#"--- a.yaml
kind: FeatureView
name: 12
entities: driver
schema: {conv_rate: Float32}
source: [stats]
online: maybe
tags: [a]
"#,
        r#"a.yaml:2:7: `name` of FeatureView `12` must be a text, got the integer `12`
  hint: put it in quotes: `"12"`
a.yaml:3:11: `entities` of FeatureView `12` must be a list, got the text `driver`
a.yaml:4:9: `schema` of FeatureView `12` must be a list, got a mapping
a.yaml:5:9: `source` of FeatureView `12` must be a text, got a list
a.yaml:6:9: `online` of FeatureView `12` must be `true` or `false`, got the text `maybe`
a.yaml:7:7: `tags` of FeatureView `12` must be a mapping of keys, got a list
"#,
    ),
    (
        "tags that are not texts",
        r#"--- a.yaml
kind: Entity
name: rider
value_type: INT64
tags: {prod: True, level: 3, none: }
"#,
        r#"a.yaml:4:14: `prod` in `tags` of Entity `rider` must be a text, got the boolean `True`
  hint: put it in quotes: `"True"`
a.yaml:4:27: `level` in `tags` of Entity `rider` must be a text, got the integer `3`
  hint: put it in quotes: `"3"`
a.yaml:4:34: `none` in `tags` of Entity `rider` must be a text, got nothing
"#,
    ),
    (
        "unknown dtype",
        r#"--- a.yaml
kind: FeatureView
name: v
entities: [driver]
schema: [{name: a, dtype: Flaot32}, {name: b, dtype: float}]
source: stats
"#,
        r#"a.yaml:4:27: field `a` of FeatureView `v`: unknown type `Flaot32`; allowed: `Bytes`, `String`, `Int32`, `Int64`, `Float32`, `Float64`, `Bool`, `UnixTimestamp`, `Map`, `Json`, `Uuid`, `TimeUuid`, `Decimal`, `Array(…)`, `Set(…)`, `Struct({name: type})`, or a value type such as `INT64`
  hint: did you mean `Float32`?
a.yaml:4:54: field `b` of FeatureView `v`: unknown type `float`; allowed: `Bytes`, `String`, `Int32`, `Int64`, `Float32`, `Float64`, `Bool`, `UnixTimestamp`, `Map`, `Json`, `Uuid`, `TimeUuid`, `Decimal`, `Array(…)`, `Set(…)`, `Struct({name: type})`, or a value type such as `INT64`
  hint: did you mean `Float32` or `Float64`?
"#,
    ),
    (
        "unknown value type",
        r#"--- a.yaml
kind: Entity
name: rider
value_type: INT46
"#,
        r#"a.yaml:3:13: `value_type` of Entity `rider`: unknown type `INT46`; allowed: `Bytes`, `String`, `Int32`, `Int64`, `Float32`, `Float64`, `Bool`, `UnixTimestamp`, `Map`, `Json`, `Uuid`, `TimeUuid`, `Decimal`, `Array(…)`, `Set(…)`, `Struct({name: type})`, or a value type such as `INT64`
  hint: did you mean `Int64`?
"#,
    ),
    (
        "negative and unreadable ttl",
        r#"--- a.yaml
kind: FeatureView
name: v
ttl: -1h
schema: [{name: a, dtype: Int64}]
source: stats
---
kind: FeatureView
name: w
ttl: 3 months
schema: [{name: a, dtype: Int64}]
source: stats
---
kind: FeatureView
name: u
ttl: [1d]
schema: [{name: a, dtype: Int64}]
source: stats
"#,
        r#"a.yaml:3:6: FeatureView `v`: ttl `-1h` is negative
  hint: a ttl says how old a feature row may be; 0 or no ttl means unlimited
a.yaml:9:6: FeatureView `w`: ttl `3 months` is not a duration; allowed: `90m`, `6h`, `100d`, `1d12h`, an ISO 8601 duration such as `PT90M`, or seconds
  hint: months and years have no fixed length; write days
a.yaml:15:6: `ttl` of FeatureView `u` must be a duration such as `90m`, got a list
"#,
    ),
    (
        "view names",
        r#"--- a.yaml
kind: FeatureView
name: v@1
schema: [{name: a, dtype: Int64}]
source: stats
---
kind: FeatureView
name: v:1
schema: [{name: a, dtype: Int64}]
source: stats
"#,
        r#"a.yaml:2:7: the name of a view must not contain `@`, got `v@1`
  hint: references are written `view:feature` and `view@version:feature`
a.yaml:7:7: the name of a view must not contain `:`, got `v:1`
  hint: references are written `view:feature` and `view@version:feature`
"#,
    ),
    (
        "several join keys",
        r#"--- a.yaml
kind: Entity
name: rider
join_keys: [a, b]
value_type: INT64
"#,
        r#"a.yaml:3:16: Entity `rider` has 2 join keys; an entity has one
  hint: define one entity for each column and list them all under `entities` of the feature view
"#,
    ),
    (
        "source columns",
        r#"--- a.yaml
kind: FileSource
name: s
path: x.parquet
timestamp_field: raw
created_timestamp_column: raw
field_mapping: {raw: ts, a: b, c: b}
"#,
        r#"a.yaml:4:18: `timestamp_field` of FileSource `s` is `raw`, which `field_mapping` renames to `ts`
  hint: write `timestamp_field: ts`: names are those after the mapping
a.yaml:5:27: `created_timestamp_column` of FileSource `s` is `raw`, which `field_mapping` renames to `ts`
  hint: write `created_timestamp_column: ts`: names are those after the mapping
a.yaml:5:27: `created_timestamp_column` of FileSource `s` is its `timestamp_field` `raw`
  hint: leave it out when the source has no created time
a.yaml:6:32: `field_mapping` of FileSource `s` maps both `a` and `c` to `b`
"#,
    ),
    (
        "secrets and schemes in a source",
        r#"--- a.yaml
kind: FileSource
name: s
path: s3://key:secret@bucket/x
timestamp_field: t
s3_endpoint_override: minio:9000
---
kind: FileSource
name: r
path: http://host/x.parquet
timestamp_field: t
file_format: delta
s3_endpoint_override: http://key:secret@host
"#,
        r#"a.yaml:3:7: a URL in a definition must not hold a user or a password
  hint: credentials come from the environment
a.yaml:5:23: `s3_endpoint_override` of FileSource `s` must start with `http://` or `https://`, got `minio:9000`
  hint: for example `http://127.0.0.1:9000`
a.yaml:9:7: path scheme `http://` is not supported; allowed: `s3://`, `gs://`, `az://`, `abfss://`, `file://`, a path
a.yaml:11:14: `file_format` of FileSource `r` is `delta`; allowed: `parquet`
a.yaml:12:23: a URL in a definition must not hold a user or a password
  hint: credentials come from the environment
"#,
    ),
    (
        "keys that Feast has and we refuse",
        r#"--- a.yaml
kind: FeatureView
name: v
mode: pandas
version: v3
schema: [{name: a, dtype: Int64, vector_index: true}]
source: stats
"#,
        r#"a.yaml:3:1: `mode` of FeatureView `v` is not supported: batch transformations are not managed by definitions
a.yaml:4:10: `version: v3` of FeatureView `v` is not supported: definitions describe the latest version
a.yaml:5:34: `vector_index` of a field of FeatureView `v` is not supported: vector search belongs to the online store
"#,
    ),
    (
        "a key twice",
        r#"--- a.yaml
kind: Entity
name: rider
value_type: INT64
name: ryder
"#,
        r#"a.yaml:4:1: key `name` is given twice; it is already at a.yaml:2:1
"#,
    ),
    (
        "reserved names",
        r#"--- a.yaml
kind: Entity
name: __dummy
value_type: STRING
---
kind: Entity
name: x
join_keys: [__dummy_id]
value_type: STRING
"#,
        r#"a.yaml:2:7: `__dummy` is the name of Feast's internal entity
a.yaml:7:13: `__dummy_id` is the join key of Feast's internal entity
"#,
    ),
];

#[test]
fn wrong_documents_are_answered() {
    assert_answers(CASES);
}
