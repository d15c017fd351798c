//! What `retrieve` shows: the committed dataset, a preview, or the plan.

use std::collections::BTreeSet;

use backsight_engine::EngineOptions;
use backsight_registry::ttl::ttl_text;
use backsight_retrieval::{Manifest, Prepared, Preview, ResolvedKey, RetrievalEngine, ScanStats, ViewInput};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use serde_json::{Value, json};

use crate::commands::Program;
use crate::errors::Failure;
use crate::render::join_report::join_report;
use crate::render::rows::{rows_json, rows_table};
use crate::render::table::{Align, Table};
use crate::render::units::{bytes, count, counted};
use crate::render::yaml::yaml;

/// The dataset and its report.
pub(crate) fn dataset(manifest: &Manifest, is_repeated: bool, location: &str, program: &Program) {
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&json!({
            "output": location,
            "repeated": is_repeated,
            "manifest": serde_json::to_value(manifest).unwrap_or(Value::Null),
        }));
        return;
    }
    if is_repeated {
        terminal.note(&format!(
            "Request `{}` had been answered before; this is its dataset.",
            manifest.request_id
        ));
    }
    let written = manifest.parts.iter().map(|part| part.bytes).sum();
    let files = counted(manifest.parts.len() as u64, "file", "files");
    terminal.print(&format!(
        "dataset  {location}\nrows     {}\nfiles    {files}, {}\ncolumns  {}\ntime     {} s\nrequest  {}\n\n{}",
        count(manifest.rows),
        bytes(written),
        manifest.schema.len(),
        manifest.elapsed_seconds,
        manifest.request_id,
        join_report(&manifest.report),
    ));
}

/// The first rows and the report over all.
pub(crate) fn preview(preview: &Preview, spine_rows: u64, program: &Program) -> Result<(), Failure> {
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&json!({
            "rows": rows_json(&preview.rows)?,
            "report": serde_json::to_value(&preview.report).unwrap_or(Value::Null),
        }));
        return Ok(());
    }
    let shown = preview.rows.num_rows() as u64;
    terminal.print(&rows_table(&preview.rows)?.text());
    if shown < spine_rows {
        terminal.print(&format!("… and {}\n", counted(spine_rows - shown, "more row", "more rows")));
    }
    terminal.print(&format!("\n{}", join_report(&preview.report)));
    Ok(())
}

/// How a scheduler would do a retrieval, from its own description.
pub(crate) fn explanation(json: &str, program: &Program) -> Result<(), Failure> {
    let value: Value = serde_json::from_str(json)
        .map_err(|error| Failure::bug(format!("the scheduler's explanation cannot be read: {error}")))?;
    if program.terminal.is_json() {
        program.terminal.print_json(&value);
    } else {
        program.terminal.print(&yaml(&value));
    }
    Ok(())
}

/// How the retrieval would be done.
pub(crate) fn explain(
    prepared: &Prepared,
    engine: &dyn RetrievalEngine,
    physical: &dyn ExecutionPlan,
    options: &EngineOptions,
    program: &Program,
) {
    let terminal = &program.terminal;
    let physical = displayable(physical).indent(false).to_string();
    if terminal.is_json() {
        terminal.print_json(&explained(prepared, engine, &physical, options));
        return;
    }
    let plan = &prepared.plan;
    let mut views = Table::of_text(&["VIEW", "KEYS", "TTL", "SOURCE"]);
    for view in &prepared.views {
        views.row([
            labelled(&view.resolved.label, &view.resolved.view.name),
            keys_text(view),
            view.resolved.view.ttl.map_or_else(|| "none".to_owned(), |ttl| ttl_text(Some(ttl))),
            view.table.location.to_string(),
        ]);
    }
    let mut scans = Table::new(&[
        ("SCAN", Align::Left),
        ("FILES", Align::Right),
        ("ROW GROUPS", Align::Right),
        ("ROWS", Align::Right),
        ("BYTES", Align::Right),
    ]);
    let of = |part: usize, whole: usize| format!("{} of {}", count(part as u64), count(whole as u64));
    for (name, stats) in &plan.scans {
        scans.row([
            name.clone(),
            of(stats.files, stats.files_all),
            of(stats.row_groups, stats.row_groups_all),
            count(stats.rows),
            bytes(stats.bytes),
        ]);
    }
    let notes: String = plan.notes.iter().map(|note| format!("note: {note}\n")).collect();
    let notes = if notes.is_empty() { notes } else { format!("{notes}\n") };
    terminal.print(&format!(
        "spine    {} ({}), instant `{}`\nengine   {}, {}, {}\njoin     {}\nmemory   {}\n\n{}\n{}\n{notes}{physical}",
        prepared.request.spine.uri,
        counted(prepared.spine.rows(), "row", "rows"),
        plan.instant_column,
        engine.name(),
        counted(options.partitions.get() as u64, "partition", "partitions"),
        counted(key_sets(prepared), "key set", "key sets"),
        engine.form().name(),
        bytes(options.memory_limit_bytes as u64),
        views.text(),
        scans.text(),
    ));
}

fn explained(
    prepared: &Prepared,
    engine: &dyn RetrievalEngine,
    physical: &str,
    options: &EngineOptions,
) -> Value {
    let view = |view: &ViewInput| {
        let resolved = &view.resolved;
        json!({
            "view": resolved.view.name,
            "label": resolved.label,
            "keys": resolved
                .keys
                .iter()
                .map(|key| json!({"view": key.view_column, "spine": key.spine_column}))
                .collect::<Vec<_>>(),
            "features": resolved.features.iter().map(|feature| feature.output.clone()).collect::<Vec<_>>(),
            "ttl": resolved.view.ttl.map(|ttl| ttl_text(Some(ttl))),
            "source": view.table.location.to_string(),
        })
    };
    let scan = |(name, stats): &(String, ScanStats)| {
        json!({
            "name": name,
            "files": stats.files,
            "files_all": stats.files_all,
            "row_groups": stats.row_groups,
            "row_groups_all": stats.row_groups_all,
            "rows": stats.rows,
            "bytes": stats.bytes,
        })
    };
    json!({
        "request": serde_json::to_value(&prepared.request).unwrap_or(Value::Null),
        "spine_rows": prepared.spine.rows(),
        "instant_column": prepared.plan.instant_column,
        "engine": engine.name(),
        "form": engine.form().name(),
        "partitions": options.partitions.get(),
        "memory_limit_bytes": options.memory_limit_bytes,
        "key_sets": key_sets(prepared),
        "views": prepared.views.iter().map(view).collect::<Vec<_>>(),
        "scans": prepared.plan.scans.iter().map(scan).collect::<Vec<_>>(),
        "notes": prepared.plan.notes,
        "physical_plan": physical,
    })
}

/// Views that share spine columns share an index and a pass.
fn key_sets(prepared: &Prepared) -> u64 {
    let sets: BTreeSet<Vec<&str>> = prepared
        .views
        .iter()
        .map(|view| {
            let mut columns: Vec<&str> =
                view.resolved.keys.iter().map(|key| key.spine_column.as_str()).collect();
            columns.sort_unstable();
            columns
        })
        .collect();
    sets.len() as u64
}

fn keys_text(view: &ViewInput) -> String {
    let key = |key: &ResolvedKey| {
        if key.view_column == key.spine_column {
            key.view_column.clone()
        } else {
            format!("{} = spine's {}", key.view_column, key.spine_column)
        }
    };
    let keys: Vec<String> = view.resolved.keys.iter().map(key).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

fn labelled(label: &str, view: &str) -> String {
    if label == view { view.to_owned() } else { format!("{label} ({view})") }
}
