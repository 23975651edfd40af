//! A picture: how many times better than Linux, a bar for each card, on a logarithmic scale
//! that begins at Linux. [`svg`] draws one run, [`svg_of_ranges`] runs of several days: that
//! one is the README's.

use super::goals::{Against, Goal, Limit, goals, judge};
use super::metric::{Better, Metric, WireKind};
use super::ranges::{self, Range};
use super::record::{Record, Side};
use super::results::Results;
use std::fmt::Write;

/// Colours: of the first card, of the second, of text, of lines.
const CARDS: [&str; 2] = ["#1f77b4", "#e07b39"];
const TEXT: &str = "#1c2733";
const FAINT: &str = "#c9d1d9";

/// Places in pixels.
const WIDTH: f64 = 940.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = WIDTH - 70.0;
const TOP: f64 = 92.0;
const ROW: f64 = 38.0;
const BAR: f64 = 13.0;

/// One bar.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    /// The card's place in the list of cards.
    card: usize,
    /// How many times better than Linux.
    times: f64,
    /// How many times it must be, if a goal asks for that.
    must: Option<f64>,
    /// The least and the greatest over several days.
    span: Option<(f64, f64)>,
}

/// What is told of one metric.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    label: String,
    bars: Vec<Bar>,
}

/// The chart of one run, as an SVG file.
pub fn svg(results: &Results, cards: &[&'static str], title: &str) -> String {
    let note = "times better than the better Linux; | is what it must reach";
    draw(&rows(results, cards), cards, title, note)
}

/// The chart of several runs, as an SVG file: what was measured beside both Linuxes on the
/// newest day, by the better of Wharf's two ways.
pub fn svg_of_ranges(records: &[Record], cards: &[&'static str]) -> String {
    let newest = ranges::newest_day(records, cards).unwrap_or("no day");
    let title = format!("Wharf beside Linux on the same emulated cards, {newest}");
    let note = "bar: times better than the better Linux; line: than plain Linux, on all days";
    draw(&rows_of_ranges(records, cards), cards, &title, note)
}

fn draw(rows: &[Row], cards: &[&'static str], title: &str, note: &str) -> String {
    let all = rows.iter().flat_map(|row| &row.bars);
    let (mut low, mut high) = (0.5_f64, 4.0_f64);
    for bar in all {
        let (least, greatest) = bar.span.unwrap_or((bar.times, bar.times));
        low = low.min(bar.times).min(least);
        high = high.max(bar.times).max(greatest);
        high = high.max(bar.must.unwrap_or(high));
    }
    let scale = Scale {
        low: low.log2().floor(),
        high: high.log2().ceil(),
    };
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 34.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (24.0, 32.0), "start", "16", &escape(title));
    let legend = cards.iter().enumerate();
    for (at, card) in legend {
        let x = 24.0 + 130.0 * at as f64;
        rectangle(&mut svg, (x, 48.0, 12.0, 12.0), CARDS[at % 2]);
        text(&mut svg, (x + 18.0, 59.0), "start", "13", self::card(card));
    }
    text(&mut svg, (RIGHT, 59.0), "end", "12", note);
    let mut power = scale.low;
    while power <= scale.high {
        let x = scale.x(power.exp2());
        line(&mut svg, (x, TOP - 8.0, x, bottom), FAINT, 1.0);
        let label = match power {
            0.0 => "Linux".to_owned(),
            p if p < 0.0 => format!("1/{}", (-p).exp2()),
            p => format!("{}x", p.exp2()),
        };
        text(&mut svg, (x, bottom + 18.0), "middle", "12", &label);
        power += 1.0;
    }
    for (at, row) in rows.iter().enumerate() {
        draw_row(&mut svg, &scale, TOP + ROW * at as f64, row);
    }
    let x = scale.x(1.0);
    line(&mut svg, (x, TOP - 8.0, x, bottom), TEXT, 1.5);
    svg + "</svg>\n"
}

fn draw_row(svg: &mut String, scale: &Scale, top: f64, row: &Row) {
    let label = escape(&row.label);
    text(svg, (LEFT - 14.0, top + 18.0), "end", "13", &label);
    let one = scale.x(1.0);
    let height = BAR * row.bars.len() as f64;
    for (at, bar) in row.bars.iter().enumerate() {
        let y = top + 13.5 - height / 2.0 + BAR * at as f64;
        let x = scale.x(bar.times);
        let from = x.min(one);
        let width = (x - one).abs().max(1.0);
        rectangle(svg, (from, y, width, BAR - 1.5), CARDS[bar.card % 2]);
        // Behind the bar, or what comes there.
        let mut end = x.max(one);
        if let Some(must) = bar.must {
            let must = scale.x(must);
            line(svg, (must, y - 0.5, must, y + BAR - 1.0), TEXT, 2.0);
            if (end - 4.0..end + 34.0).contains(&must) {
                end = must;
            }
        }
        if let Some((least, greatest)) = bar.span {
            let (from, to) = (scale.x(least), scale.x(greatest));
            let middle = y + (BAR - 1.5) / 2.0;
            line(svg, (from, middle, to.max(from + 2.0), middle), TEXT, 1.5);
            end = end.max(to);
        }
        let place = (end + 5.0, y + BAR - 2.5);
        text(svg, place, "start", "11", &times(bar.times));
    }
}

/// What a card is called where people read it.
pub fn card(name: &str) -> &str {
    match name {
        "e100" => "E100 (82559ER)",
        "igb" => "igb (82576)",
        "igbvf" => "igbvf (82576 VF)",
        other => other,
    }
}

/// Where a factor is on the scale.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn x(&self, times: f64) -> f64 {
        let share = (times.log2() - self.low) / (self.high - self.low);
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

/// What is compared with Linux, in the order of the goals.
fn rows(results: &Results, cards: &[&'static str]) -> Vec<Row> {
    let mut rows: Vec<((WireKind, Metric, bool), Row)> = Vec::new();
    for (card, name) in cards.iter().enumerate() {
        for goal in goals(name) {
            let Some(bar) = bar(results, &goal, card) else {
                continue;
            };
            let (_, wire, metric) = goal.key;
            let packed = goal.against == Against::BzImage && metric == Metric::Boot;
            let key = (wire, metric, packed);
            match rows.iter_mut().find(|(there, _)| *there == key) {
                Some((_, row)) => row.bars.push(bar),
                None => {
                    let bars = vec![bar];
                    let label = label(key);
                    rows.push((key, Row { label, bars }));
                }
            }
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

/// What was measured on the newest day, in the order of the records.
fn rows_of_ranges(records: &[Record], cards: &[&'static str]) -> Vec<Row> {
    let newest = ranges::newest_day(records, cards).unwrap_or_default();
    let mut rows: Vec<Row> = Vec::new();
    for (card, name) in cards.iter().enumerate() {
        for row in ranges::rows(records, name) {
            let (_, wire, metric) = row.key();
            let own = [Side::Apart, Side::Inside].map(|side| {
                let (today, _) = row.to_better(side, newest)?;
                Some((side, today))
            });
            let better = own.into_iter().flatten().reduce(|a, b| {
                let is_better = |a: Range, b: Range| b.median > a.median;
                if is_better(a.1, b.1) { b } else { a }
            });
            let Some((side, today)) = better else {
                continue;
            };
            let bar = Bar {
                card,
                times: today.median,
                must: None,
                span: row
                    .to_plain(side)
                    .map(|range| (range.least, range.greatest)),
            };
            let label = format!("{metric} ({wire})");
            match rows.iter_mut().find(|row| row.label == label) {
                Some(row) => row.bars.push(bar),
                None => rows.push(Row {
                    label,
                    bars: vec![bar],
                }),
            }
        }
    }
    rows
}

fn label((wire, metric, packed): (WireKind, Metric, bool)) -> String {
    match metric {
        Metric::Boot if packed => "power-on to HTTP 200 (to bzImage)".to_owned(),
        Metric::Boot => "power-on to HTTP 200 (to PVH)".to_owned(),
        Metric::Memory | Metric::Image | Metric::Idle | Metric::CpuPerRequest => metric.to_string(),
        _ => format!("{metric} ({})", wire.name()),
    }
}

/// The bar of a goal that is about Linux and has been measured.
fn bar(results: &Results, goal: &Goal, card: usize) -> Option<Bar> {
    if !matches!(goal.against, Against::Peers | Against::BzImage) {
        return None;
    }
    let ratio = judge(results, goal)?.ratio.value;
    let (Limit::AtMost(must) | Limit::AtLeast(must)) = goal.must;
    let times = |ratio: f64| match goal.key.2.better() {
        Better::Higher => ratio,
        Better::Lower => 1.0 / ratio,
    };
    let bar = Bar {
        card,
        times: times(ratio),
        must: Some(times(must)),
        span: None,
    };
    (bar.times.is_finite() && bar.times > 0.0).then_some(bar)
}

fn times(times: f64) -> String {
    match times {
        t if t >= 10.0 => format!("{t:.0}x"),
        t if t >= 1.0 => format!("{t:.1}x"),
        t => format!("{t:.2}x"),
    }
}

// Writing to a string does not fail.

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, size: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{TEXT}\">{words}</text>"
    );
}

fn rectangle(svg: &mut String, (x, y, width, height): (f64, f64, f64, f64), fill: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
    );
}

fn line(svg: &mut String, (x1, y1, x2, y2): (f64, f64, f64, f64), colour: &str, width: f64) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
    );
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::metric::Guest;
    use super::super::record::tests::latency;
    use super::super::results::tests::sample;
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        for (card, wharf) in [("e100", 73.0), ("igb", 292.0)] {
            let bulk = (card, WireKind::Tap, Metric::Bulk);
            results.add(bulk, Guest::Wharf, sample(1, wharf, false));
            results.add(bulk, Guest::Epoll, sample(1, 146.0, false));
        }
        let boot = ("igb", WireKind::User, Metric::Boot);
        results.add(boot, Guest::Wharf, sample(1, 0.5, false));
        results.add(boot, Guest::EpollBzImage, sample(1, 5.0, false));
        results
    }

    #[test]
    fn bars_tell_how_many_times_better() {
        let rows = rows(&results(), &["e100", "igb"]);
        let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "TCP echo bulk, both ways (tap)",
                "power-on to HTTP 200 (to bzImage)"
            ]
        );
        let bars = |row: usize| -> Vec<(usize, f64)> {
            rows[row]
                .bars
                .iter()
                .map(|bar| (bar.card, bar.times))
                .collect()
        };
        assert_eq!(bars(0), [(0, 0.5), (1, 2.0)]);
        assert_eq!(bars(1), [(1, 10.0)]);
        assert!((rows[1].bars[0].must.unwrap() - 7.0).abs() < 1e-9);
    }

    #[test]
    fn the_picture_is_well_formed_and_holds_its_numbers() {
        let svg = svg(&results(), &["e100", "igb"], "a < b & c");
        assert!(svg.contains("a &lt; b &amp; c"));
        for number in ["0.50x", "2.0x", "10x"] {
            assert!(svg.contains(&format!(">{number}</text>")), "{number}");
        }
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn several_days_are_a_bar_and_a_line() {
        let records = [
            latency("2026-11-26", [100.0, 50.0, 200.0, 0.0]),
            latency("2026-11-30", [80.0, 50.0, 150.0, 100.0]),
        ];
        let rows = rows_of_ranges(&records, &["e100", "igb"]);
        let bar = Bar {
            card: 1,
            times: 2.0,
            must: None,
            span: Some((3.0, 4.0)),
        };
        assert_eq!((rows.len(), &rows[0].bars[..]), (1, &[bar][..]));
        assert_eq!(rows[0].label, "TCP echo 64 B, p50 (tap)");
        let svg = svg_of_ranges(&records, &["e100", "igb"]);
        assert!(svg.contains("2026-11-30") && svg.contains(">2.0x</text>"));
        // What was measured on an earlier day only has no bar.
        assert_eq!(rows_of_ranges(&records[..1], &["igb"]).len(), 1);
        let other = Record {
            wire: "user".to_owned(),
            ..records[0].clone()
        };
        let records = [other, records[1].clone()];
        assert_eq!(rows_of_ranges(&records, &["igb"]).len(), 1);
        assert!(svg_of_ranges(&[], &["igb"]).contains("no day"));
    }

    #[test]
    fn nothing_measured_is_an_empty_picture() {
        let svg = svg(&Results::default(), &["igb"], "nothing");
        assert!(svg.contains("Linux") && !svg.contains("NaN"));
    }
}
