//! Plots as SVG text: bars and lines that can be read without colours, each with a title and a description.

use super::scaling::Series;

const WIDTH: f64 = 760.0;
/// Room for the names of bars, by the letters of the longest.
const NAMES: (f64, f64) = (120.0, 430.0);
const LETTER: f64 = 6.6;
/// Room for the values behind bars.
const VALUES: f64 = 90.0;
const BAR: f64 = 16.0;
const ROW: f64 = 26.0;

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    /// Least and greatest of the runs.
    pub(super) range: Option<(f64, f64)>,
    /// What stands behind it.
    pub(super) text: String,
    /// The class of its colour: `own`, `peer`, `floor`.
    pub(super) class: &'static str,
}

/// Text that is safe in HTML and SVG.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Horizontal bars from nothing; `guide` is a line that they are to stay within.
pub(super) fn bars(id: &str, title: &str, bars: &[Bar], guide: Option<(f64, &str)>) -> String {
    let reach = bars.iter().map(|bar| bar.range.map_or(bar.value, |(_, most)| most.max(bar.value)));
    let reach = reach.chain(guide.map(|(value, _)| value)).fold(f64::MIN_POSITIVE, f64::max);
    let letters = bars.iter().map(|bar| bar.name.chars().count()).max().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a number of letters")]
    let names = (letters as f64 * LETTER + 10.0).clamp(NAMES.0, NAMES.1);
    let place = |value: f64| names + value / reach * (WIDTH - names - VALUES);
    let top = if guide.is_some() { 20.0 } else { 4.0 };
    #[expect(clippy::cast_precision_loss, reason = "a number of bars")]
    let y = |number: usize| top + number as f64 * ROW;
    let height = y(bars.len()) + 4.0;
    let described: Vec<String> = bars.iter().map(|bar| format!("{}: {}", bar.name, bar.text)).collect();
    let mut svg = open(id, title, &described.join("; "), height);
    for (number, bar) in bars.iter().enumerate() {
        let (y, end) = (y(number), place(bar.value));
        let middle = y + BAR / 2.0;
        let name = fitting(&bar.name, 63);
        svg = format!(
            "{svg}<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect class=\"{}\" x=\"{names:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR:.1}\" rx=\"2\"/>",
            names - 8.0,
            middle + 4.5,
            escaped(&name),
            bar.class,
            (end - names).max(1.0),
        );
        let mut behind = end;
        if let Some((least, most)) = bar.range.filter(|(least, most)| most > least) {
            let (left, right) = (place(least), place(most));
            behind = behind.max(right);
            svg = format!(
                "{svg}<path class=\"range\" d=\"M{left:.1} {middle:.1}H{right:.1}M{left:.1} {:.1}v8M{right:.1} {:.1}v8\"/>",
                middle - 4.0,
                middle - 4.0,
            );
        }
        svg = format!(
            "{svg}<text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            behind + 6.0,
            middle + 4.5,
            escaped(&bar.text)
        );
    }
    if let Some((value, text)) = guide {
        let x = place(value);
        svg = format!(
            "{svg}<path class=\"guide\" d=\"M{x:.1} {:.1}V{height:.1}\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"11\">{}</text>\n",
            14.0,
            x - 2.0,
            escaped(text)
        );
    }
    svg + "</svg>\n"
}

/// A name that fits into the room that it has.
fn fitting(name: &str, letters: usize) -> String {
    if name.chars().count() <= letters {
        return name.to_owned();
    }
    name.chars().take(letters - 1).chain(['…']).collect()
}

const PLOT_HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 250.0;
const RIGHT: f64 = WIDTH - 10.0;
/// Marks that tell lines apart without colours.
const DASHES: [&str; 4] = ["", "6 4", "2 3", "10 3 2 3"];

/// Lines of seconds over what grows, both axes logarithmic: a straight line of slope one is linear growth.
pub(super) fn lines(id: &str, title: &str, axis: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let reach = |of: fn(&(f64, f64)) -> f64| {
        let least = points().map(of).fold(f64::MAX, f64::min).max(1e-3);
        let most = points().map(of).fold(least, f64::max);
        // An axis without length has no places.
        (least.ln(), if most > least { most.ln() } else { least.ln() + 1.0 })
    };
    let (xs, ys) = (reach(|point| point.0), reach(|point| point.1));
    let share = |value: f64, (least, most): (f64, f64)| (value.max(1e-3).ln() - least) / (most - least);
    let x = |value: f64| LEFT + 10.0 + share(value, xs) * (RIGHT - LEFT - 20.0);
    let y = |value: f64| BOTTOM - 10.0 - share(value, ys) * (BOTTOM - 40.0);
    let told = |(value, seconds): &(f64, f64)| format!("{} at {}", seconds_text(*seconds), short(*value));
    let described: Vec<String> = series
        .iter()
        .map(|series| {
            format!("{}: {}", series.name, series.points.iter().map(told).collect::<Vec<_>>().join(", "))
        })
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a number of lines")]
    let height = PLOT_HEIGHT + series.len() as f64 * 20.0;
    let mut svg = open(id, title, &described.join("; "), height);
    svg = format!("{svg}<path class=\"axis\" d=\"M{LEFT} 20V{BOTTOM}H{RIGHT}\"/>\n");
    for value in ticks(points().map(|point| point.0)) {
        svg = format!(
            "{svg}<text class=\"small middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x(value),
            BOTTOM + 16.0,
            short(value)
        );
    }
    for value in ticks(points().map(|point| point.1)) {
        svg = format!(
            "{svg}<text class=\"small name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            y(value) + 4.0,
            seconds_text(value)
        );
    }
    svg = format!(
        "{svg}<text class=\"small middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 36.0,
        escaped(axis)
    );
    for (number, series) in series.iter().enumerate() {
        let (colour, dash) = (number % 6, DASHES[number % DASHES.len()]);
        let path: Vec<String> =
            series.points.iter().map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1))).collect();
        svg = format!(
            "{svg}<path class=\"line c{colour}\" stroke-dasharray=\"{dash}\" d=\"M{}\"/>",
            path.join("L")
        );
        for point in &series.points {
            svg = format!(
                "{svg}<circle class=\"c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
                x(point.0),
                y(point.1)
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of lines")]
        let at = PLOT_HEIGHT + 4.0 + number as f64 * 20.0;
        svg = format!(
            "{svg}<path class=\"line c{colour}\" stroke-dasharray=\"{dash}\" d=\"M{:.1} {at:.1}h24\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            LEFT,
            LEFT + 32.0,
            at + 4.0,
            escaped(&fitting(&series.name, 100))
        );
    }
    svg + "</svg>\n"
}

fn open(id: &str, title: &str, description: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\n",
        escaped(title),
        escaped(description)
    )
}

/// Least and greatest, and what lies between them with some distance to both and to each other.
fn ticks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let mut kept: Vec<f64> = Vec::new();
    for value in sorted {
        // On a logarithmic axis a fifth is a label's height.
        if kept.last().is_none_or(|last| value > last * 1.2) {
            kept.push(value);
        }
    }
    kept
}

/// `1500000` as `1.5M`.
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.1}");
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

fn seconds_text(seconds: f64) -> String {
    format!("{seconds:.2} s")
}
