//! Views and files that do and do not go together, as tables; and real files, looked at.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use backsight_proto::ErrorCode;
use backsight_registry::definitions::{SourceFile, check_definitions};
use backsight_registry::model::{FeatureView, Project};
use backsight_storage::{StorageOptions, Stores};
use parquet::arrow::ArrowWriter;

use super::{Severity, SourceCheck, SourceFinding, SourceReport, SourceShape, check_sources, decide};

const REPO: &str = "\
kind: Entity
name: driver
join_keys: [driver_id]
value_type: INT64
---
kind: FileSource
name: stats
path: data/stats
timestamp_field: event_timestamp
created_timestamp_column: created
field_mapping: {raw: clean}
---
kind: FeatureView
name: view
entities: [driver]
schema: [{name: clean, dtype: Float32}, {name: words, dtype: Array(String)}]
source: stats
";

/// The views of a repo with some text replaced; every replacement must hit.
fn views(edits: &[(&str, &str)]) -> Vec<FeatureView> {
    let text = edits.iter().fold(REPO.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let file = SourceFile { path: "repo.yaml".to_owned(), text };
    match check_definitions(&[file], Project::named("p")) {
        Ok(repo) => repo.definitions.feature_views,
        Err(problems) => panic!("{problems:?}"),
    }
}

type Columns = Vec<(&'static str, DataType)>;

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The columns of a file that is as the view says.
fn good() -> Columns {
    vec![
        ("event_timestamp", micros()),
        ("created", micros()),
        ("driver_id", DataType::Int64),
        ("raw", DataType::Float32),
        ("words", DataType::new_list(DataType::Utf8, true)),
    ]
}

/// [`good`] with some columns as another type, or not there.
fn with(changes: &[(&'static str, Option<DataType>)]) -> Columns {
    let mut columns = good();
    for (name, change) in changes {
        let at = columns.iter().position(|(known, _)| known == name).unwrap();
        match change {
            Some(data_type) => columns[at].1 = data_type.clone(),
            None => drop(columns.remove(at)),
        }
    }
    columns
}

fn schema(columns: &Columns) -> Schema {
    Schema::new(columns.iter().map(|(name, it)| Field::new(*name, it.clone(), true)).collect::<Vec<_>>())
}

fn shape(files: &[Columns]) -> SourceShape {
    let mut shape = SourceShape::new("data/stats".to_owned(), files.len());
    for (number, columns) in files.iter().enumerate() {
        shape.add(&format!("{number}.parquet"), &schema(columns));
    }
    shape
}

fn line(finding: &SourceFinding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let kind = serde_json::to_value(finding.kind).unwrap();
    format!("{severity} {}: {}", kind.as_str().unwrap(), finding.message)
}

#[test]
fn what_does_not_go_together_is_found() {
    let text = DataType::Utf8;
    type Case =
        (&'static str, &'static [(&'static str, &'static str)], Vec<Columns>, &'static [&'static str]);
    let table: Vec<Case> = vec![
        ("all as declared", &[], vec![good(), good()], &[]),
        (
            "nothing is there",
            &[],
            vec![vec![("other", DataType::Int64)]],
            &[
                "error missing_column: `data/stats` has no column `event_timestamp`, which is the timestamp field",
                "error missing_column: `data/stats` has no column `created`, which is the created timestamp column",
                "error missing_column: `data/stats` has no column `driver_id`, which is a join key",
                "error missing_column: `data/stats` has no column `raw`, which is a feature",
                "error missing_column: `data/stats` has no column `words`, which is a feature",
            ],
        ),
        (
            "the mapped name in the file is not the column",
            &[("field_mapping: {raw: clean}", "field_mapping: {rav: clean}")],
            vec![good()],
            &["error missing_column: `data/stats` has no column `rav`, which is a feature"],
        ),
        (
            "another family, inside of lists too",
            &[],
            vec![with(&[
                ("raw", Some(DataType::Int64)),
                ("words", Some(DataType::new_list(micros(), true))),
            ])],
            &[
                "error type_family: column `raw` is Int64 in `0.parquet`, but feature `clean` is declared Float32",
                "error type_family: column `words` is List(Timestamp(µs, \"UTC\")) in `0.parquet`, but feature `words` is \
                 declared Array(String)",
            ],
        ),
        (
            "one file of another family is named; a width is a note",
            &[],
            vec![good(), with(&[("raw", Some(DataType::Float64))]), with(&[("raw", Some(DataType::Int16))])],
            &[
                "error type_family: column `raw` is Int16 in `2.parquet`, but feature `clean` is declared Float32",
            ],
        ),
        (
            "another width",
            &[],
            vec![with(&[("raw", Some(DataType::Float64)), ("driver_id", Some(DataType::Int32))])],
            &[
                "note type_width: column `driver_id` is Int32 and join key `driver_id` is declared Int64: a retrieval \
                 returns what the files have",
                "note type_width: column `raw` is Float64 and feature `clean` is declared Float32: a retrieval returns \
                 what the files have",
            ],
        ),
        (
            "keys that are no keys",
            &[],
            vec![with(&[("driver_id", Some(DataType::Float64))])],
            &["error key_type: join key `driver_id` is Float64 in `0.parquet`, which no key can be"],
        ),
        (
            "keys that are lists",
            &[],
            vec![with(&[("driver_id", Some(DataType::new_list(DataType::Int64, true)))])],
            &["error key_type: join key `driver_id` is List(Int64) in `0.parquet`, which no key can be"],
        ),
        (
            "keys of another family",
            &[],
            vec![with(&[("driver_id", Some(text.clone()))])],
            &[
                "error type_family: column `driver_id` is Utf8 in `0.parquet`, but join key `driver_id` is declared \
                 Int64",
            ],
        ),
        (
            "integers are instants with a unit only",
            &[],
            vec![with(&[("event_timestamp", Some(DataType::Int64)), ("created", Some(DataType::Float64))])],
            &[
                "error no_instant: column `event_timestamp`, the timestamp field, is Int64 in `0.parquet`, expected a \
                 timestamp, a date, ISO 8601 text, or an integer with a declared unit",
                "error no_instant: column `created`, the created timestamp column, is Float64 in `0.parquet`, expected \
                 a timestamp, a date or ISO 8601 text",
            ],
        ),
        (
            "a unit makes instants of integers",
            &[("field_mapping", "tags: {backsight.timestamp_unit: ms}\nfield_mapping")],
            vec![with(&[("event_timestamp", Some(DataType::Int64)), ("created", Some(DataType::Date32))])],
            &[],
        ),
        (
            "a unit that is none",
            &[("field_mapping", "tags: {backsight.timestamp_unit: h}\nfield_mapping")],
            vec![with(&[("event_timestamp", Some(DataType::Int64))])],
            &[
                "error no_instant: column `event_timestamp`, the timestamp field, is Int64 in `0.parquet`, expected an \
                 integer with the unit s, ms, us or ns, not `h`",
            ],
        ),
        (
            "text and dates are instants",
            &[],
            vec![with(&[("event_timestamp", Some(text.clone())), ("created", Some(DataType::Date64))])],
            &[],
        ),
        (
            "a column that some files lack",
            &[],
            vec![good(), with(&[("raw", None)]), with(&[("raw", None)])],
            &["note absent_in_files: 2 of 3 files have no column `raw`, it is null there"],
        ),
        (
            "files that disagree",
            &[],
            vec![good(), with(&[("words", Some(DataType::Boolean))])],
            &[
                "error files_disagree: column `words` is List(Utf8) in `0.parquet` but Boolean in `1.parquet`",
                "error type_family: column `words` is Boolean in `1.parquet`, but feature `words` is declared \
                 Array(String)",
            ],
        ),
    ];
    for (claim, edits, files, expected) in table {
        let shape = shape(&files);
        let views = views(edits);
        let found: Vec<String> = decide(&views[0], &shape, false).iter().map(line).collect();
        assert_eq!(found, expected, "{claim}");
    }
}

#[test]
fn a_drift_that_is_let_pass_is_a_warning_and_a_key_that_is_none_is_not_let_pass() {
    let shape = shape(&[with(&[("raw", Some(DataType::Utf8)), ("driver_id", Some(DataType::Float32))])]);
    let found: Vec<String> = decide(&views(&[])[0], &shape, true).iter().map(line).collect();
    assert_eq!(
        found,
        [
            "error key_type: join key `driver_id` is Float32 in `0.parquet`, which no key can be",
            "warning type_family: column `raw` is Utf8 in `0.parquet`, but feature `clean` is declared Float32",
        ]
    );
}

fn write(path: &Path, columns: &Columns) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema = Arc::new(schema(columns));
    let arrays: Vec<ArrayRef> =
        schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

async fn look(folder: &Path, views: &[FeatureView]) -> SourceReport {
    let stores = Stores::new(StorageOptions::default());
    check_sources(&stores, views, SourceCheck { repo: folder, allow_type_drift: false }).await
}

/// Two more views: one on the same source, one on a source of its own.
const MORE: &str = "\
source: stats
---
kind: FeatureView
name: another
entities: [driver]
schema: [{name: clean, dtype: Float32}]
source: stats
---
kind: FileSource
name: elsewhere
path: data/elsewhere/*.parquet
timestamp_field: event_timestamp
---
kind: FeatureView
name: far
schema: [{name: raw, dtype: Float32}]
source: elsewhere
";

#[tokio::test]
async fn files_are_looked_at_once_and_all_problems_are_in_one_report() {
    let folder = tempfile::tempdir().unwrap();
    let views = views(&[("source: stats\n", MORE)]);
    write(&folder.path().join("data/stats/a.parquet"), &good());
    write(&folder.path().join("data/stats/b.parquet"), &good());
    write(&folder.path().join("data/elsewhere/c.parquet"), &good());
    let report = look(folder.path(), &views).await;
    let expected = SourceReport { views: 3, sources: 2, files: 3, findings: Vec::new() };
    assert_eq!((&report, report.error_code()), (&expected, None));

    write(
        &folder.path().join("data/stats/b.parquet"),
        &with(&[("raw", None), ("driver_id", Some(DataType::Float64))]),
    );
    std::fs::write(folder.path().join("data/elsewhere/c.parquet"), "PAR1 and no more").unwrap();
    let report = look(folder.path(), &views).await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let found: Vec<String> = report.findings.iter().map(|it| it.to_string().replace(&file(""), "")).collect();
    assert_eq!(
        found,
        [
            "feature views `another`, `view`: join key `driver_id` is Float64 in `data/stats/b.parquet`, which no key \
             can be",
            "feature views `another`, `view`: column `driver_id` is Int64 in `data/stats/a.parquet` but Float64 in \
             `data/stats/b.parquet`",
            "feature view `far`: file `data/elsewhere/c.parquet` cannot be read as Parquet: Parquet error: Invalid \
             Parquet file. Corrupt footer",
            "feature views `another`, `view`: 1 of 2 files have no column `raw`, it is null there",
        ]
    );
    assert_eq!(report.error_code(), Some(ErrorCode::Invalid), "no later try mends it");
    assert_eq!(report.findings[0].file, Some(file("data/stats/b.parquet")));
    assert_eq!(report.findings[0].column.as_deref(), Some("driver_id"));

    std::fs::remove_dir_all(folder.path().join("data/stats")).unwrap();
    std::fs::remove_dir_all(folder.path().join("data/elsewhere")).unwrap();
    let report = look(folder.path(), &views).await;
    assert_eq!((report.findings.len(), report.files), (2, 0));
    assert_eq!(report.error_code(), Some(ErrorCode::NotFound));
    assert_eq!(report.findings[0].views, ["another", "view"]);
}

#[tokio::test]
async fn folders_that_are_columns_are_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let views = views(&[]);
    let path = |value: &str| folder.path().join(format!("data/stats/driver_id={value}/a.parquet"));
    write(&path("7"), &with(&[("driver_id", None)]));
    assert_eq!(look(folder.path(), &views).await.findings, []);
    write(&path("ada"), &with(&[("driver_id", None)]));
    let found = look(folder.path(), &views).await.findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].message.contains("its folder says `driver_id=ada`, which is no Int64"),
        "{}",
        found[0].message
    );
}

#[tokio::test]
async fn a_report_travels_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let report = look(folder.path(), &views(&[])).await;
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<SourceReport>(&text).unwrap(), report);
    assert_eq!(report.findings[0].code, "not_found");
}
