//! What is kept of a run for good: a line for each figure that Wharf is compared with Linux
//! by. The lines of runs on several days are one table, `docs/bench-runs.tsv`, from which
//! [`ranges`](super::ranges) makes what can be told of them together.

use super::goals::is_told;
use super::metric::{Better, Guest};
use super::stats::four_digits;
use crate::nic::Nic;
use serde_json::Value;
use std::fmt::Write;

/// The first line of the table: the names of its columns, separated by tabs as all is.
const HEADER: &str =
    "run\twharf\tcard\twire\tmetric\tunit\tbetter\tapart\tinside\tlinux\ttuned\tbusy";

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Wharf with its services in processes of their own.
    Apart,
    /// Wharf with the service inside the network server.
    Inside,
    /// The better server on Linux as it comes.
    Plain,
    /// Linux tuned for latency.
    Tuned,
}

/// One metric on one wire of one card in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When, as ISO 8601: a day, or a day and a time in UTC.
    pub run: String,
    /// The commit of Wharf.
    pub wharf: String,
    /// The card's name.
    pub card: String,
    /// The wire's.
    pub wire: String,
    /// The metric's.
    pub metric: String,
    /// Of all figures.
    pub unit: String,
    /// Which way they are better.
    pub better: Better,
    /// By [`Side`]; `None` where it was not measured.
    pub figures: [Option<f64>; 4],
    /// Whether one of them is of rounds in which the machine was busy with something else,
    /// because there was no other. Of runs before 2026-11-30 nobody has kept it: then not.
    pub busy: bool,
}

impl Record {
    /// A figure.
    pub fn figure(&self, side: Side) -> Option<f64> {
        self.figures[side as usize]
    }

    /// The day.
    pub fn day(&self) -> &str {
        self.run.get(..10).unwrap_or(&self.run)
    }

    /// What it is about: card, wire and metric.
    pub fn key(&self) -> (&str, &str, &str) {
        (&self.card, &self.wire, &self.metric)
    }

    /// The better Linux of those that were measured; of two that are equal the plain one.
    pub fn better_linux(&self) -> Option<Side> {
        let tuned = self.figure(Side::Tuned);
        match (self.figure(Side::Plain), tuned) {
            (Some(plain), Some(tuned)) if self.is_better(tuned, plain) => Some(Side::Tuned),
            (Some(_), _) => Some(Side::Plain),
            (None, tuned) => tuned.map(|_| Side::Tuned),
        }
    }

    /// How many times better `own` is than `other`: below 1 it is worse. `None` if one of
    /// the two was not measured, or is 0.
    pub fn times_better(&self, own: Side, other: Side) -> Option<f64> {
        let (own, other) = (self.figure(own)?, self.figure(other)?);
        let times = match self.better {
            Better::Lower => other / own,
            Better::Higher => own / other,
        };
        (times.is_finite() && times > 0.0).then_some(times)
    }

    fn is_better(&self, a: f64, b: f64) -> bool {
        match self.better {
            Better::Lower => a < b,
            Better::Higher => a > b,
        }
    }
}

/// The records in a file: the table, or what a run has written as JSON.
///
/// # Errors
/// What is wrong with it, and in which line or member.
pub fn read(text: &str) -> Result<Vec<Record>, String> {
    if text.trim_start().starts_with('{') {
        let run = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return of_run(&run);
    }
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(HEADER) {
        return Err("neither a run's JSON, nor a table that begins with the columns' names".into());
    }
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| of_line(line).map_err(|why| format!("line {}: {why}", at + 1)))
        .collect()
}

/// The table of all records, to be read again.
pub fn write(records: &[Record]) -> String {
    let mut text = format!("{HEADER}\n");
    for record in records {
        let better = match record.better {
            Better::Lower => "lower",
            Better::Higher => "higher",
        };
        let words = [
            &record.run,
            &record.wharf,
            &record.card,
            &record.wire,
            &record.metric,
            &record.unit,
            better,
        ];
        // Writing to a string does not fail.
        let _ = write!(text, "{}", words.join("\t"));
        for figure in record.figures {
            let figure = figure.map_or(String::new(), |value| value.to_string());
            let _ = write!(text, "\t{figure}");
        }
        let _ = writeln!(text, "\t{}", if record.busy { "busy" } else { "" });
    }
    text
}

fn of_line(line: &str) -> Result<Record, String> {
    let words: Vec<&str> = line.split('\t').collect();
    let [
        run,
        wharf,
        card,
        wire,
        metric,
        unit,
        better,
        apart,
        inside,
        linux,
        tuned,
        busy,
    ] = words[..]
    else {
        return Err(format!("{} columns instead of 12", words.len()));
    };
    let better = of_better(better)?;
    let mut figures = [None; 4];
    for (place, word) in figures.iter_mut().zip([apart, inside, linux, tuned]) {
        *place = match word {
            "" => None,
            word => Some(of_number(word)?),
        };
    }
    let busy = match busy {
        "" => false,
        "busy" => true,
        word => return Err(format!("busy or nothing, not {word}")),
    };
    let owned = str::to_owned;
    Ok(Record {
        run: owned(run),
        wharf: owned(wharf),
        card: owned(card),
        wire: owned(wire),
        metric: owned(metric),
        unit: owned(unit),
        better,
        figures,
        busy,
    })
}

fn of_better(word: &str) -> Result<Better, String> {
    match word {
        "lower" => Ok(Better::Lower),
        "higher" => Ok(Better::Higher),
        word => Err(format!("lower or higher, not {word}")),
    }
}

fn of_number(word: &str) -> Result<f64, String> {
    let value = word.parse().ok();
    value
        .filter(|value: &f64| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| format!("no number: {word}"))
}

/// The records of a run, from its JSON ([`super::json`]).
fn of_run(run: &Value) -> Result<Vec<Record>, String> {
    let text = |value: &Value, name: &str| {
        let text = value[name].as_str();
        text.map(str::to_owned)
            .ok_or_else(|| format!("no text `{name}`"))
    };
    let (date, wharf) = (text(run, "date")?, text(run, "wharf")?);
    let figures = run["figures"].as_array().ok_or("no list `figures`")?;
    let mut records = Vec::new();
    for (at, figure) in figures.iter().enumerate() {
        let text = |name| text(figure, name).map_err(|why| format!("figure {at}: {why}"));
        let (card, wire, metric) = (text("card")?, text("wire")?, text("metric")?);
        let Some([nic]) = Nic::named(&card) else {
            return Err(format!("figure {at}: unknown card {card}"));
        };
        if !is_told(nic.name, &wire, &metric) {
            continue;
        }
        let better = of_better(&text("better")?)?;
        let measured = |guests: &[Guest]| {
            let values = guests.iter().filter_map(|guest| {
                let guest = &figure["guests"][guest.name()];
                let busy = guest["noisy"].as_bool().unwrap_or(false);
                Some((four_digits(guest["value"].as_f64()?), busy))
            });
            values.reduce(|a, b| match better {
                Better::Lower if b.0 < a.0 => b,
                Better::Higher if b.0 > a.0 => b,
                _ => a,
            })
        };
        let sides = [
            measured(&[Guest::Wharf]),
            measured(&[Guest::Inside]),
            measured(&Guest::PLAIN).or_else(|| measured(&Guest::PACKED)),
            measured(&[Guest::Tuned]),
        ];
        records.push(Record {
            run: date.clone(),
            wharf: wharf.clone(),
            unit: text("unit")?,
            card,
            wire,
            metric,
            better,
            figures: sides.map(|side| side.map(|(value, _)| value)),
            busy: sides.iter().flatten().any(|(_, busy)| *busy),
        });
    }
    Ok(records)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::metric::{Metric, WireKind};
    use super::super::results::Results;
    use super::super::results::tests::sample;
    use super::*;
    use serde_json::json;

    /// A latency on the 82576 by that day's run; 0 for what was not measured.
    pub fn latency(run: &str, figures: [f64; 4]) -> Record {
        Record {
            run: run.to_owned(),
            wharf: "abc".to_owned(),
            card: "igb".to_owned(),
            wire: "tap".to_owned(),
            metric: Metric::EchoP50.to_string(),
            unit: "us".to_owned(),
            better: Better::Lower,
            figures: figures.map(|value| (value > 0.0).then_some(value)),
            busy: false,
        }
    }

    #[test]
    fn the_better_linux_is_chosen_by_row_and_needs_only_one() {
        let mut record = latency("2026-11-30", [80.0, 50.0, 180.0, 100.0]);
        assert_eq!(record.better_linux(), Some(Side::Tuned));
        assert_eq!(record.times_better(Side::Inside, Side::Tuned), Some(2.0));
        assert_eq!(record.times_better(Side::Inside, Side::Plain), Some(3.6));
        record.better = Better::Higher;
        assert_eq!(record.better_linux(), Some(Side::Plain));
        assert_eq!(record.times_better(Side::Inside, Side::Tuned), Some(0.5));
        for (linux, better) in [
            ((100.0, 100.0), Some(Side::Plain)),
            ((100.0, 0.0), Some(Side::Plain)),
            ((0.0, 100.0), Some(Side::Tuned)),
            ((0.0, 0.0), None),
        ] {
            let record = latency("2026-11-30", [80.0, 0.0, linux.0, linux.1]);
            assert_eq!(record.better_linux(), better, "{linux:?}");
            assert_eq!(record.times_better(Side::Inside, Side::Plain), None);
        }
    }

    #[test]
    fn a_figure_of_zero_is_no_ratio() {
        let mut record = latency("2026-11-30", [80.0, 0.0, 100.0, 0.0]);
        record.figures[Side::Apart as usize] = Some(0.0);
        assert_eq!(record.times_better(Side::Apart, Side::Plain), None);
        assert_eq!(record.times_better(Side::Plain, Side::Apart), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut busy = latency("2026-11-30T10:12:05Z", [80.5, 50.0, 180.0, 100.25]);
        busy.busy = true;
        let mut rate = latency("2026-11-26", [80_500.0, 0.0, 0.125, 0.0]);
        rate.better = Better::Higher;
        assert_eq!((rate.day(), busy.day()), ("2026-11-26", "2026-11-30"));
        let records = vec![rate, busy];
        assert_eq!(read(&write(&records)), Ok(records));
        assert_eq!(read(&write(&[])), Ok(Vec::new()));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let good = write(&[latency("2026-11-30", [80.0, 50.0, 180.0, 100.0])]);
        for (from, to, words) in [
            ("run\t", "", "neither"),
            ("\t50\t", "\t", "line 2: 11 columns"),
            ("\t50\t", "\tfifty\t", "line 2: no number: fifty"),
            ("\t50\t", "\tNaN\t", "line 2: no number: NaN"),
            ("\t50\t", "\t-50\t", "line 2: no number: -50"),
            ("\tlower\t", "\tfaster\t", "line 2: lower or higher"),
            ("100\t\n", "100\tperhaps\n", "line 2: busy or nothing"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = read(&good.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        for (text, words) in [
            ("", "neither"),
            ("{", "EOF"),
            ("{}", "`date`"),
            (r#"{"date": "2026-11-30", "wharf": "a"}"#, "`figures`"),
            (
                r#"{"date": "2026-11-30", "wharf": "a", "figures": [{}]}"#,
                "figure 0: no text `card`",
            ),
            (
                r#"{"date": "2026-11-30", "wharf": "a",
                    "figures": [{"card": "ne2000", "wire": "tap", "metric": "x"}]}"#,
                "figure 0: unknown card ne2000",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn of_a_run_the_rows_beside_linux_are_kept() {
        let mut results = Results::default();
        let echo = ("igb", WireKind::Tap, Metric::EchoP50);
        for (guest, value, noisy) in [
            (Guest::Wharf, 83.123_456, false),
            (Guest::Inside, 51.0, false),
            (Guest::Nginx, 190.0, false),
            (Guest::Epoll, 181.0, false),
            (Guest::Tuned, 108.0, true),
        ] {
            results.add(echo, guest, sample(1, value, noisy));
        }
        // Nobody has a goal for that.
        let worst = ("igb", WireKind::Tap, Metric::EchoWorst);
        results.add(worst, Guest::Wharf, sample(1, 5.0, false));
        // Only the packed kernel is compared.
        let image = ("igb", WireKind::User, Metric::Image);
        results.add(image, Guest::Wharf, sample(1, 1.7, false));
        results.add(image, Guest::EpollBzImage, sample(1, 9.1, false));
        let about = vec![
            ("date", json!("2026-11-30T10:12:05Z")),
            ("wharf", json!("abc")),
        ];
        let text = super::super::json::json(&results, about).to_string();
        let records = read(&text).unwrap();
        let told: Vec<&str> = records.iter().map(|r| r.metric.as_str()).collect();
        assert_eq!(told, ["kernel and module", "TCP echo 64 B, p50"]);
        let mut expected = latency("2026-11-30T10:12:05Z", [83.12, 51.0, 181.0, 108.0]);
        expected.busy = true;
        assert_eq!(records[1], expected);
        assert_eq!(records[0].figures, [Some(1.7), None, Some(9.1), None]);
    }
}
