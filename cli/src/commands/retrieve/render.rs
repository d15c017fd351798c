//! What `retrieve` shows: the committed dataset, a preview, or the plan.

use backsight_retrieval::{ExplainedKey, ExplainedView, Explanation, Manifest, Preview, Skipped};
use serde_json::{Value, json};

use crate::commands::Program;
use crate::errors::Failure;
use crate::render::join_report::join_report;
use crate::render::rows::{rows_json, rows_table};
use crate::render::table::{Align, Table};
use crate::render::units::{bytes, count, counted};

/// Shards that `--explain` lists one by one.
const SHARDS_SHOWN: usize = 20;

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
    let spilled = match manifest.work.bytes_spilled {
        0 => String::new(),
        spilled => format!("spilled  {}\n", bytes(spilled)),
    };
    terminal.print(&format!(
        "dataset  {location}\nrows     {}\nfiles    {files}, {}\ncolumns  {}\ntime     {} s\n{spilled}request  {}\n\n{}",
        count(manifest.rows),
        bytes(written),
        manifest.schema.len(),
        manifest.elapsed_seconds,
        manifest.request_id,
        join_report(&manifest.report, terminal.columns()),
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
    terminal.print(&format!("\n{}", join_report(&preview.report, terminal.columns())));
    Ok(())
}

/// How the retrieval would be done.
pub(crate) fn explanation(explained: &Explanation, program: &Program) {
    let terminal = &program.terminal;
    if terminal.is_json() {
        terminal.print_json(&serde_json::to_value(explained).unwrap_or(Value::Null));
        return;
    }
    let mut views = Table::of_text(&["VIEW", "KEYS", "TTL", "FORM", "SOURCE"]);
    for view in &explained.views {
        views.row([
            labelled(&view.label, &view.view),
            keys_text(view),
            view.ttl.clone().unwrap_or_else(|| "none".to_owned()),
            view.chosen.form.clone(),
            view.source.clone(),
        ]);
    }
    let reasons: String = explained
        .views
        .iter()
        .map(|view| format!("{}: {} because {}\n", view.label, view.chosen.form, view.chosen.reason))
        .collect();
    let notes: String = explained.notes.iter().map(|note| format!("note: {note}\n")).collect();
    let notes = if notes.is_empty() { notes } else { format!("{notes}\n") };
    let limit = explained
        .memory_limit_bytes
        .map_or_else(|| "each executor's".to_owned(), |limit| format!("limit {}", bytes(limit)));
    // What is spilled is not held.
    let spill = match explained.spill_estimate_bytes {
        0 => String::new(),
        spilled => format!("spill    about {} for each shard, before it is compressed\n", bytes(spilled)),
    };
    terminal.print(&format!(
        "spine    {} ({}), instant `{}`\nengine   {}, {}, {}\njoin     {}\nmemory   {limit}; the join of one shard \
         holds about {}\n{spill}shuffle  about {}\nshards   {}\n\n{}{reasons}\n{}\n{}{notes}{}",
        explained.request.spine.from.shown(),
        counted(explained.spine_rows, "row", "rows"),
        explained.instant_column,
        explained.engine,
        counted(explained.partitions as u64, "partition", "partitions"),
        counted(explained.key_sets, "key set", "key sets"),
        explained.form,
        bytes(explained.memory_estimate_bytes),
        bytes(explained.shuffle_estimate_bytes),
        explained.shards.reason,
        views.text(),
        scans(explained).text(),
        shards(explained),
        explained.physical_plan,
    ));
}

fn scans(explained: &Explanation) -> Table {
    let mut scans = Table::new(&[
        ("SCAN", Align::Left),
        ("FILES", Align::Right),
        ("ROW GROUPS", Align::Right),
        ("ROWS", Align::Right),
        ("BYTES", Align::Right),
        ("LEFT OUT", Align::Left),
    ]);
    let of = |part: usize, whole: usize| format!("{} of {}", count(part as u64), count(whole as u64));
    for scan in &explained.scans {
        let stats = &scan.stats;
        scans.row([
            scan.name.clone(),
            of(stats.files, stats.files_all),
            of(stats.row_groups, stats.row_groups_all),
            count(stats.rows),
            bytes(stats.bytes),
            left_out(&stats.skipped),
        ]);
    }
    scans
}

/// What a scan leaves out, and by what.
fn left_out(skipped: &Skipped) -> String {
    let groups = [
        (skipped.row_groups_by_time, "by time"),
        (skipped.row_groups_by_keys, "by keys"),
        (skipped.row_groups_by_bloom_filter, "by Bloom filter"),
    ];
    let mut texts: Vec<String> = groups
        .iter()
        .filter(|(groups, _)| *groups > 0)
        .map(|(groups, by)| format!("{} {by}", counted(*groups as u64, "row group", "row groups")))
        .collect();
    if skipped.rows_in_pages > 0 {
        texts.push(format!("pages of {}", counted(skipped.rows_in_pages, "row", "rows")));
    }
    texts.join(", ")
}

/// One line a shard, when there are several.
fn shards(explained: &Explanation) -> String {
    let shards = &explained.shards.shards;
    if shards.len() < 2 {
        return String::new();
    }
    let mut table = Table::new(&[("SHARD", Align::Left), ("ROWS", Align::Right), ("BYTES", Align::Right)]);
    for shard in shards.iter().take(SHARDS_SHOWN) {
        table.row([shard.label.clone(), count(shard.rows), bytes(shard.bytes_to_read)]);
    }
    let more = shards.len().saturating_sub(SHARDS_SHOWN);
    let more = if more == 0 { String::new() } else { format!("… and {more} more\n") };
    format!("{}{more}\n", table.text())
}

fn keys_text(view: &ExplainedView) -> String {
    let key = |key: &ExplainedKey| {
        if key.view == key.spine { key.view.clone() } else { format!("{} = spine's {}", key.view, key.spine) }
    };
    let keys: Vec<String> = view.keys.iter().map(key).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

fn labelled(label: &str, view: &str) -> String {
    if label == view { view.to_owned() } else { format!("{label} ({view})") }
}
