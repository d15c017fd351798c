//! `--spine-sql`: whatever is written there, no panic, and what would be run only reads.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, TimestampSecondArray};
use async_trait::async_trait;
use backsight_asof::JoinForm;
use backsight_retrieval::{
    Bases, FormChoice, RetrievalEngine, RetrievalError, RunContext, SpineFrom, SpineRequest, StageSite,
    prepare,
};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;

use super::mutate::Shape;
use super::runner::{Target, answer, fuzz};
use crate::world::{ViewSpec, World};

/// An engine that runs nothing and remembers what it was asked to do.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

#[async_trait]
impl RetrievalEngine for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn form(&self) -> FormChoice {
        JoinForm::LateFold.into()
    }

    async fn plan(&self, logical: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, RetrievalError> {
        let mut found = self.0.lock().unwrap();
        let seen = logical.apply_with_subqueries(|node| {
            if matches!(
                node,
                LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_)
            ) {
                found.push(node.display().to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        seen.unwrap();
        Err(RetrievalError::Cancelled)
    }

    async fn execute(
        &self,
        _: Arc<dyn ExecutionPlan>,
        _: &RunContext,
    ) -> Result<SendableRecordBatchStream, RetrievalError> {
        Err(RetrievalError::Cancelled)
    }
}

const SELECTS: [&str; 8] = [
    "SELECT id, t AS event_timestamp FROM view WHERE id IN (SELECT id FROM 'labels.csv') ORDER BY 1 LIMIT 3",
    "WITH late AS (SELECT v.id, max(v.t) AS t FROM VIEW v JOIN 'labels.csv' l ON v.id = l.id GROUP BY v.id) SELECT * FROM late",
    "SELECT id, event_timestamp INTO other FROM (VALUES (1, TIMESTAMP '2026-01-01')) AS v(id, event_timestamp)",
    "SELECT *, row_number() OVER (PARTITION BY id ORDER BY t) AS n FROM view UNION ALL SELECT 1, now(), 2, 3",
    "SELECT value AS id, arrow_cast(value, 'Timestamp(Second, None)') AS event_timestamp FROM generate_series(1, 10)",
    "SELECT CASE WHEN id > 1 THEN 'a' ELSE CAST(id AS TEXT) END AS id, t FROM \"view\" WHERE t BETWEEN '1970-01-01' AND now()",
    "COPY (SELECT 1) TO 'x.csv'",
    "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x.csv'",
];

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "INTO t",
    "INSERT INTO view",
    "UPDATE view SET id = 1",
    "DELETE FROM view",
    "DROP TABLE view",
    ";",
    "(",
    ")",
    "'",
    "\"",
    "--",
    "/*",
    "*/",
    "EXPLAIN",
    "ANALYZE",
    "PREPARE p AS",
    "EXECUTE p",
    "DECLARE",
    "MERGE",
    "WITH RECURSIVE",
    "LATERAL",
    "UNNEST([1])",
    "$1",
    "?",
    "'../secret.csv'",
    "'/etc/passwd'",
    "information_schema.tables",
    "GROUPING SETS",
    "INTERVAL '1 day'",
    "EXCEPT",
    "FILTER",
    "QUALIFY",
    "PIVOT",
    "TABLESAMPLE",
    "::",
    "NULL",
    "LIMIT -1",
    "RETURNING *",
];

#[test]
fn no_text_runs_anything_but_a_select() {
    let mut world = World::new();
    let ints = |values: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![10, 20]));
    world.write("view.parquet", vec![("id", ints(&[1, 2])), ("t", seconds), ("x", ints(&[7, 8]))]);
    world.add_view(&ViewSpec::default());
    std::fs::write(world.path("labels.csv"), "id,label\n1,good\n").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = Recorder::default();
    fuzz(Target {
        name: "spine-sql",
        corpus: SELECTS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        words: WORDS,
        shape: Shape::Text,
        inputs: 400,
        check: Box::new(move |bytes| {
            let mut request = world.request(&["view:x"], "out");
            let sql = String::from_utf8_lossy(bytes).into_owned();
            request.spine = SpineRequest { from: SpineFrom::Sql(sql), timestamp_column: None };
            let folder = world.folder.path();
            let place = world.location("stage");
            let stage = Some(StageSite { folder: &place, tag: "x", engine: &engine, bytes_max: None });
            let bases = Bases { stage, ..Bases::new(folder, folder) };
            let planned = prepare(&world.stores, &world.catalog, &request, bases, engine.form());
            if let Err(error) = runtime.block_on(planned) {
                answer(error.code(), error.hint(), &error);
                if error.code().exit_status() == 1 {
                    return Err(format!("answered as a bug: {error}"));
                }
            }
            match engine.0.lock().unwrap().pop() {
                Some(found) => Err(format!("would run: {found}")),
                None => Ok(()),
            }
        }),
    });
}
