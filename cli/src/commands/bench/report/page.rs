//! Figures as one HTML page that needs nothing else: plots, and the same numbers as tables.

use super::figures::{Figures, Kind, Row, Workload};
use super::markdown::{COLUMNS, against_peers, cells, sizes};
use super::plot::{Bar, bars, escaped, lines};
use super::scaling::{Growth, series};
use super::style::STYLE;
use crate::render::units::bytes;

/// The bound that our wall time is to keep against the floor.
const FLOOR_GOAL: f64 = 1.25;

/// The whole page.
pub(crate) fn page(figures: &Figures) -> String {
    let dates: Vec<&str> = figures.rows.iter().map(|row| row.date.as_str()).collect();
    let newest = dates.iter().max().copied().unwrap_or_default();
    let machines: Vec<String> =
        figures.machines.iter().map(|text| format!("<p class=\"soft\">{}.</p>", escaped(text))).collect();
    let several = if figures.machines.len() > 1 {
        "<p>These runs are of several machines or versions: compare what stands in one of them.</p>"
    } else {
        ""
    };
    let mut body = format!(
        "<h1>Point-in-time retrieval, {}</h1>\n{}{several}\n<p>Medians; lines at the ends of bars are least and \
         greatest. Less is better everywhere.</p>\n",
        escaped(newest),
        machines.join("\n")
    );
    for (number, workload) in figures.workloads().into_iter().enumerate() {
        body += &section(figures, workload, number);
    }
    body += &floors(figures);
    body += &growth(figures);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Backsight benchmarks, {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(newest)
    )
}

fn section(figures: &Figures, workload: &Workload, number: usize) -> String {
    let rows: Vec<&Row> = figures.of(workload).collect();
    let title = figures.title(workload);
    let name = escaped(&title);
    let mut text = format!("<section>\n<h2>{name}</h2>\n<p>{}.</p>\n", escaped(&sizes(workload)));
    for row in rows.iter().filter(|row| row.kind == Kind::Own) {
        if let Some(beside) = against_peers(figures, row) {
            text = format!("{text}<p>{}</p>\n", escaped(&beside));
        }
    }
    let wall = rows
        .iter()
        .map(|row| bar(row, row.wall_seconds, format!("{:.2} s", row.wall_seconds), row.wall_range));
    text += &plot(
        &format!("w{number}"),
        "Wall time",
        &format!("Wall time on {title}"),
        &wall.collect::<Vec<_>>(),
        None,
    );
    let cpu = rows.iter().filter_map(|row| {
        let seconds = row.cpu_seconds?;
        Some(bar(row, seconds, format!("{seconds:.2} s"), None))
    });
    text += &plot(
        &format!("c{number}"),
        "CPU time",
        &format!("CPU time on {title}"),
        &cpu.collect::<Vec<_>>(),
        None,
    );
    let memory = rows.iter().filter_map(|row| {
        let held = row.memory_bytes?;
        #[expect(clippy::cast_precision_loss, reason = "the length of a bar")]
        let length = held as f64;
        Some(bar(row, length, bytes(held), None))
    });
    text += &plot(
        &format!("m{number}"),
        "Peak memory",
        &format!("Peak memory on {title}"),
        &memory.collect::<Vec<_>>(),
        None,
    );
    text + &table(figures, &rows, &title) + "</section>\n"
}

fn bar(row: &Row, value: f64, text: String, range: Option<(f64, f64)>) -> Bar {
    let class = match row.kind {
        Kind::Own => "own",
        Kind::Peer => "peer",
        Kind::Floor => "floor",
    };
    Bar { name: row.engine.clone(), value, range, text, class }
}

fn plot(id: &str, heading: &str, title: &str, list: &[Bar], guide: Option<(f64, &str)>) -> String {
    if list.is_empty() {
        return String::new();
    }
    format!("<h3>{}</h3>\n<figure>\n{}</figure>\n", escaped(heading), bars(id, title, list, guide))
}

fn table(figures: &Figures, rows: &[&Row], name: &str) -> String {
    let class = |is_number: bool| if is_number { " class=\"number\"" } else { "" };
    let titles: Vec<String> = COLUMNS
        .iter()
        .map(|(title, is_number)| format!("<th scope=\"col\"{}>{}</th>", class(*is_number), escaped(title)))
        .collect();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = cells(figures, row);
            let cells = cells.iter().zip(COLUMNS).enumerate().map(|(number, (cell, (_, is_number)))| {
                let cell = escaped(cell);
                if number == 0 {
                    format!("<th scope=\"row\">{cell}</th>")
                } else {
                    format!("<td{}>{cell}</td>", class(is_number))
                }
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        })
        .collect();
    format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Figures of {0}\">\n<table>\n\
         <caption>All figures of {0}</caption>\n<thead><tr>{1}</tr></thead>\n<tbody>\n{2}</tbody>\n</table>\n</div>\n",
        escaped(name),
        titles.concat(),
        lines.concat()
    )
}

/// Our wall time as a multiple of the floor, for all workloads together.
fn floors(figures: &Figures) -> String {
    let own = figures.rows.iter().filter(|row| row.kind == Kind::Own);
    let list: Vec<Bar> = own
        .filter_map(|row| {
            let ratio = row.wall_seconds / figures.floor_of(row)?.wall_seconds.max(0.001);
            let name = format!("{}, {}", figures.title(&row.workload), row.engine);
            Some(Bar { name, ..bar(row, ratio, format!("{ratio:.2}"), None) })
        })
        .collect();
    if list.is_empty() {
        return String::new();
    }
    let guide = Some((FLOOR_GOAL, "goal 1.25"));
    format!(
        "<section>\n<h2>Against the floor</h2>\n<p>Wall time as a multiple of decoding every needed column once and \
         encoding the dataset once, without joining.</p>\n{}</section>\n",
        plot("f", "Wall time / floor", "Wall time as a multiple of the floor", &list, guide)
    )
}

fn growth(figures: &Figures) -> String {
    let mut text = String::new();
    for (number, growth) in Growth::ALL.into_iter().enumerate() {
        let found = series(figures, growth);
        if found.is_empty() {
            continue;
        }
        let title = format!("Wall time by {}", growth.title());
        text = format!(
            "{text}<h3>{}</h3>\n<figure>\n{}</figure>\n",
            escaped(&title),
            lines(&format!("g{number}"), &title, growth.title(), &found)
        );
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "<section>\n<h2>Scaling</h2>\n<p>Both axes are logarithmic. Of equal runs the fastest is shown.</p>\n{text}</section>\n"
    )
}
