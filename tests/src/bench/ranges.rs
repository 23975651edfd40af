//! What runs of several days say together. Ratios drift from day to day and from machine to
//! machine, so that one run's ratio is no fact about Wharf; the range over several is nearer
//! to one. [`tables`] writes it for the README, [`super::chart`] draws it.

use super::record::{Record, Side};
use super::{chart, stats};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The least and the greatest of some ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// How many times better Wharf was where that was least; below 1 it was worse.
    pub least: f64,
    /// In the middle.
    pub median: f64,
    /// Where it was most.
    pub greatest: f64,
    /// On how many days that was measured.
    pub days: usize,
}

/// The records of one metric on one wire of one card, from the oldest to the newest: of each
/// day those that were taken while the machine was quiet, or all if none was.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a>(Vec<&'a Record>);

/// All that was recorded, once each: a record of the same metric in the same run as an earlier
/// one is left out.
pub fn merge(all: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for record in all {
        let is_there = |known: &Record| known.run == record.run && known.key() == record.key();
        if !records.iter().any(is_there) {
            records.push(record);
        }
    }
    // Stable: rows of a run stay in their order.
    records.sort_by(|a, b| a.run.cmp(&b.run));
    records
}

/// The rows of the card of this name, in the order of the run that has most of them.
pub fn rows<'a>(records: &'a [Record], card: &str) -> Vec<Row<'a>> {
    let of_card = || records.iter().filter(|record| record.card == card);
    let runs: BTreeSet<&str> = of_card().map(|record| record.run.as_str()).collect();
    let longest = runs
        .into_iter()
        .max_by_key(|run| of_card().filter(|record| record.run == *run).count());
    let first = of_card().filter(|record| Some(record.run.as_str()) == longest);
    let mut rows: Vec<Row> = Vec::new();
    for record in first.chain(of_card()) {
        if !rows.iter().any(|row| row.key() == record.key()) {
            let same: Vec<&Record> = of_card()
                .filter(|other| other.key() == record.key())
                .collect();
            let is_quiet = |day| same.iter().any(|other| other.day() == day && !other.busy);
            let counted = same
                .iter()
                .filter(|other| !other.busy || !is_quiet(other.day()));
            rows.push(Row(counted.copied().collect()));
        }
    }
    rows
}

/// The newest day of the records of these cards; `None` of none.
pub fn newest_day<'a>(records: &'a [Record], cards: &[&str]) -> Option<&'a str> {
    let of_cards = records.iter().filter(|r| cards.contains(&r.card.as_str()));
    of_cards.map(Record::day).max()
}

impl<'a> Row<'a> {
    /// Card, wire and metric.
    pub fn key(&self) -> (&'a str, &'a str, &'a str) {
        self.0.first().map_or(("", "", ""), |record| record.key())
    }

    /// The newest record of a day.
    fn last_of(&self, day: &str) -> Option<&'a Record> {
        self.0.iter().rev().find(|r| r.day() == day).copied()
    }

    /// How many times better than Linux as it comes, in all runs.
    pub fn to_plain(&self, own: Side) -> Option<Range> {
        range(self.0.iter().filter_map(|record| {
            let times = record.times_better(own, Side::Plain)?;
            Some((record.day(), times))
        }))
    }

    /// How many times better than the better Linux in the runs of one day; and which that
    /// was, if it was the same in all of them.
    pub fn to_better(&self, own: Side, day: &str) -> Option<(Range, Option<Side>)> {
        let about = || {
            self.0.iter().filter_map(|record| {
                let other = record.better_linux()?;
                let times = record.times_better(own, other)?;
                (record.day() == day).then_some((record.day(), times, other))
            })
        };
        let (_, _, first) = about().next()?;
        let same = about().all(|(_, _, other)| other == first);
        let range = range(about().map(|(day, times, _)| (day, times)))?;
        Some((range, same.then_some(first)))
    }
}

fn range<'a>(times: impl Iterator<Item = (&'a str, f64)>) -> Option<Range> {
    let (days, times): (BTreeSet<&str>, Vec<f64>) = times.unzip();
    let (least, greatest) = stats::range(&times)?;
    Some(Range {
        least,
        median: stats::median(&times)?,
        greatest,
        days: days.len(),
    })
}

/// A table in Markdown for each card, and which runs they are of. Its columns: what was measured;
/// on the card's newest day Wharf with services apart; inside; Linux plain; tuned. Then how many times better
/// Wharf is than plain Linux in all runs, apart; inside, in brackets on how many days; and how
/// many times better than the better Linux on the newest day.
pub fn tables(records: &[Record], cards: &[&str]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for card in cards {
        let rows = rows(records, card);
        let Some(newest) = newest_day(records, &[card]) else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {} | Wharf | Linux | times plain Linux | times the better Linux |\n\
             | --- | --- | --- | --- | --- |",
            chart::card(card)
        );
        let has_ratio = |row: &&Row| {
            let own = [Side::Apart, Side::Inside];
            own.into_iter().any(|own| row.to_plain(own).is_some())
        };
        for row in rows.iter().filter(has_ratio) {
            write_row(&mut text, row, newest);
        }
        text.push('\n');
    }
    let runs: BTreeSet<(&str, &str)> = records
        .iter()
        .map(|record| (record.run.as_str(), record.wharf.as_str()))
        .collect();
    for (run, wharf) in runs {
        let _ = writeln!(text, "run of {run}, Wharf at {wharf}");
    }
    text
}

fn write_row(text: &mut String, row: &Row, newest: &str) {
    let (_, wire, metric) = row.key();
    let last = row.last_of(newest);
    let values = |sides: [Side; 2]| {
        let shown = sides.map(|side| {
            let record = last?;
            Some(value(record.figure(side)?))
        });
        let words = joined(shown);
        match last {
            Some(record) if !words.is_empty() => {
                let busy = if record.busy { "~" } else { "" };
                format!("{busy}{words} {}", record.unit.replace("us", "µs"))
            }
            _ => words,
        }
    };
    let own = [Side::Apart, Side::Inside];
    let plain = own.map(|side| Some(span(row.to_plain(side)?, true)));
    let better = own.map(|side| {
        let (range, other) = row.to_better(side, newest)?;
        let other = match other {
            Some(Side::Tuned) => " of tuned",
            Some(_) => " of plain",
            None => "",
        };
        Some(format!("{}{other}", span(range, false)))
    });
    let _ = writeln!(
        text,
        "| {metric} ({wire}) | {} | {} | {} | {} |",
        values(own),
        values([Side::Plain, Side::Tuned]),
        joined(plain),
        joined(better)
    );
}

/// Two cells in one; `-` for the one that is missing, nothing if both are.
fn joined(cells: [Option<String>; 2]) -> String {
    match cells {
        [None, None] => String::new(),
        [Some(first), None] => first,
        [None, Some(second)] => format!("-; {second}"),
        [Some(first), Some(second)] => format!("{first}; {second}"),
    }
}

/// `1.3 to 3.5`, or one number if both ends are equal; and of how many days, if asked for.
fn span(range: Range, with_days: bool) -> String {
    let (least, greatest) = (times(range.least), times(range.greatest));
    let span = match least == greatest {
        true => least,
        false => format!("{least} to {greatest}"),
    };
    match (with_days, range.days) {
        (false, _) => span,
        (true, days) => format!("{span} ({days})"),
    }
}

/// A ratio with as many digits as it is worth.
pub fn times(times: f64) -> String {
    match times {
        t if t >= 9.95 => format!("{t:.0}"),
        t if t >= 0.995 => format!("{t:.1}"),
        t => format!("{t:.2}"),
    }
}

/// A value with three digits, and a comma at the thousands.
fn value(value: f64) -> String {
    if value < 1000.0 {
        return super::session::show(value, "");
    }
    let scale = 10_f64.powf(value.log10().floor() - 2.0);
    let digits = format!("{:.0}", (value / scale).round() * scale);
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::latency;
    use super::*;
    use crate::nic::{ALL, FUNCTIONS, Nic};

    fn three_days() -> Vec<Record> {
        vec![
            latency("2026-11-30T10:00:00Z", [80.0, 50.0, 180.0, 100.0]),
            latency("2026-11-25", [76.0, 0.0, 190.0, 0.0]),
            latency("2026-11-26", [100.0, 60.0, 240.0, 0.0]),
            latency("2026-11-30T12:00:00Z", [80.0, 40.0, 160.0, 90.0]),
        ]
    }

    #[test]
    fn ranges_are_over_all_runs_of_all_days() {
        let records = merge(three_days());
        assert_eq!(records[0].run, "2026-11-25");
        assert_eq!(newest_day(&records, &["e100", "igb"]), Some("2026-11-30"));
        assert_eq!(newest_day(&records, &["e100"]), None);
        let rows = rows(&records, "igb");
        assert_eq!(rows.len(), 1);
        let apart = rows[0].to_plain(Side::Apart).unwrap();
        assert_eq!((apart.least, apart.greatest, apart.days), (2.0, 2.5, 3));
        let inside = rows[0].to_plain(Side::Inside).unwrap();
        assert_eq!((inside.least, inside.greatest, inside.days), (3.6, 4.0, 2));
    }

    #[test]
    fn the_better_linux_is_that_of_each_run_of_the_newest_day() {
        let mut records = merge(three_days());
        let better = |records: &[Record]| {
            let rows = rows(records, "igb");
            rows[0].to_better(Side::Inside, "2026-11-30")
        };
        let (range, other) = better(&records).unwrap();
        assert_eq!(
            (range.least, range.median, range.greatest),
            (2.0, 2.125, 2.25)
        );
        assert_eq!((range.days, other), (1, Some(Side::Tuned)));
        // Which one is better may change from run to run.
        records.push(latency("2026-11-30T14:00:00Z", [0.0, 50.0, 90.0, 95.0]));
        let (range, other) = better(&records).unwrap();
        assert_eq!((range.least, range.greatest, other), (1.8, 2.25, None));
        let rows = rows(&records, "igb");
        assert_eq!(rows[0].to_better(Side::Inside, "2026-11-25"), None);
    }

    #[test]
    fn a_busy_run_counts_only_on_a_day_without_a_quiet_one() {
        let mut records = merge(three_days());
        records[0].busy = true; // the only one of its day
        records[2].busy = true;
        let rows = rows(&records, "igb");
        let plain = rows[0].to_plain(Side::Inside).unwrap();
        assert_eq!((plain.least, plain.greatest, plain.days), (4.0, 4.0, 2));
        let apart = rows[0].to_plain(Side::Apart).unwrap();
        assert_eq!((apart.greatest, apart.days), (2.5, 3));
        let (better, _) = rows[0].to_better(Side::Inside, "2026-11-30").unwrap();
        assert_eq!((better.least, better.greatest), (2.25, 2.25));
    }

    #[test]
    fn what_is_given_twice_counts_once() {
        let records = merge(three_days().into_iter().chain(three_days()));
        assert_eq!(records.len(), 4);
        assert_eq!(merge([]), []);
        assert_eq!(newest_day(&[], &["igb"]), None);
        assert_eq!(tables(&[], &["igb"]), "");
        assert_eq!(rows(&records, "e100"), []);
    }

    #[test]
    fn the_tables_tell_values_ranges_and_runs() {
        let mut records = merge(three_days());
        // Each card has a newest day of its own.
        let mut boot = latency("2026-11-26", [0.19, 0.0, 2.5, 0.0]);
        boot.metric = "power-on".to_owned();
        records.push(boot.clone());
        boot.card = "e100".to_owned();
        records.push(boot);
        let text = tables(&records, &["e100", "igb"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2],
            "| power-on (tap) | 0.190 µs | 2.50 µs | 13 (1) | 13 of plain |"
        );
        assert_eq!(
            lines[6],
            "| TCP echo 64 B, p50 (tap) | 80.0; 40.0 µs | 160; 90.0 µs | \
             2.0 to 2.5 (3); 3.6 to 4.0 (2) | 1.1 to 1.2 of tuned; 2.0 to 2.2 of tuned |"
        );
        // What was not measured on the newest day has its range only.
        assert_eq!(lines[7], "| power-on (tap) |  |  | 13 (1) |  |");
        assert_eq!(lines[9], "run of 2026-11-25, Wharf at abc");
        assert_eq!(lines.len(), 13);
    }

    #[test]
    fn the_readme_tells_what_was_recorded() {
        let file = |name: &str| {
            let path = crate::suite::repository().join(name);
            std::fs::read_to_string(path).unwrap()
        };
        let records = super::super::record::read(&file("docs/bench-runs.tsv")).unwrap();
        assert_eq!(
            merge(records.clone()),
            records,
            "each once, the oldest first"
        );
        let days: BTreeSet<&str> = records.iter().map(Record::day).collect();
        assert!(days.len() >= 3, "{days:?}");
        let names = |nics: &'static [Nic]| nics.iter().map(|nic| nic.name);
        let cards: Vec<&'static str> = names(&ALL).collect();
        let all: Vec<&'static str> = names(&ALL).chain(names(&FUNCTIONS)).collect();
        let readme = file("README.md");
        for row in tables(&records, &all).lines() {
            assert!(!row.starts_with('|') || readme.contains(row), "{row}");
        }
        for day in days {
            assert!(readme.contains(day), "{day}");
        }
        assert_eq!(
            chart::svg_of_ranges(&records, &cards),
            file("docs/bench.svg")
        );
    }

    #[test]
    fn numbers_have_the_digits_they_are_worth() {
        for (number, text) in [(13.4, "13"), (9.96, "10"), (1.04, "1.0"), (0.994, "0.99")] {
            assert_eq!(times(number), text);
        }
        for (number, text) in [
            (41_567.0, "41,600"),
            (1_234_567.0, "1,230,000"),
            (53.0, "53.0"),
        ] {
            assert_eq!(value(number), text);
        }
    }
}
