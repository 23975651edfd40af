//! What a person reads at the end.

use super::goals::{Goal, Judged, Limit, Verdict, goals, judge};
use super::metric::{Guest, WireKind};
use super::results::{Key, Results};
use super::session::show;
use std::fmt::Write;

/// Columns of the longest name of a metric.
const NAME: usize = 37;

/// The whole table.
pub fn table(results: &Results) -> String {
    let mut text = String::new();
    let mut heading = None;
    for key in results.keys() {
        if heading != Some((key.0, key.1)) {
            heading = Some((key.0, key.1));
            write_heading(&mut text, results, key);
        }
        write_rows(&mut text, results, key);
    }
    for failure in &results.failures {
        let _ = writeln!(text, "\nNOT MEASURED: {failure}");
    }
    text
}

/// Which guests have columns: those with any figure on this card and wire.
fn columns(results: &Results, card: &str, wire: WireKind) -> Vec<Guest> {
    let keys: Vec<Key> = results
        .keys()
        .filter(|key| key.0 == card && key.1 == wire)
        .collect();
    let has = |guest: &Guest| {
        keys.iter()
            .any(|key| !results.samples(*key, *guest).is_empty())
    };
    Guest::ALL.into_iter().filter(has).collect()
}

fn write_heading(text: &mut String, results: &Results, key: Key) {
    // Writing to a string does not fail.
    let _ = write!(text, "\n{:NAME$}", format!("{}, {}", key.0, key.1.name()));
    for guest in columns(results, key.0, key.1) {
        let _ = write!(text, " {:>14}", guest.name());
    }
    let _ = writeln!(text, "   to the better (its spread)   must   aim");
}

fn write_rows(text: &mut String, results: &Results, key: Key) {
    let _ = write!(text, "{:NAME$}", key.2.to_string());
    for guest in columns(results, key.0, key.1) {
        let cell = match results.figure(key, guest) {
            None => String::new(),
            Some(figure) => {
                let mark = if figure.noisy { "~" } else { "" };
                format!("{mark}{}", show(figure.value, key.2.unit()))
            }
        };
        let _ = write!(text, " {cell:>14}");
    }
    let goals = goals(key.0);
    let about: Vec<&Goal> = goals.iter().filter(|goal| goal.key == key).collect();
    match about.split_first() {
        None => {
            if let Some(ratio) = plain_ratio(results, key) {
                let _ = write!(text, "   {ratio}");
            }
        }
        Some((first, others)) => {
            write_verdict(text, results, first);
            let indent = NAME + 15 * columns(results, key.0, key.1).len();
            for goal in others {
                let _ = write!(text, "\n{:indent$}", "");
                write_verdict(text, results, goal);
            }
        }
    }
    let _ = writeln!(text);
}

/// The quotient to the better peer, where no goal asks for one.
fn plain_ratio(results: &Results, key: Key) -> Option<String> {
    let (best, _) = results.best_of(key, &Guest::PEERS)?;
    let (own, _) = results.best_of(key, &Guest::WHARF)?;
    let ratio = results.ratio((key, own), (key, best))?;
    let spread = format!("({:.2}..{:.2})", ratio.least, ratio.greatest);
    Some(format!("{:8.2} {spread:<18}", ratio.value))
}

fn write_verdict(text: &mut String, results: &Results, goal: &Goal) {
    let Some(judged) = judge(results, goal) else {
        return;
    };
    let Judged { ratio, verdict, .. } = judged;
    let spread = format!("({:.2}..{:.2})", ratio.least, ratio.greatest);
    let words = match verdict {
        Verdict::Aim => "reached",
        Verdict::Must => "must reached",
        Verdict::Missed => "MISSED",
    };
    let _ = write!(
        text,
        "   {:8.2} {spread:<18} {:>7} {:>7}  {words}",
        ratio.value,
        bound(goal.must),
        bound(goal.aim)
    );
    if judged.own == Guest::Inside {
        let _ = write!(text, " inside");
    }
    if let Some(words) = against(goal, judged) {
        let _ = write!(text, " ({words})");
    }
    if let Some(floor) = judged.floor {
        let of = match floor.metric == goal.key.2 {
            true => String::new(),
            false => format!(", {}:", floor.metric),
        };
        let value = show(floor.value, floor.metric.unit());
        let guest = floor.guest.name();
        let _ = write!(text, "; floor {:.2}: {guest}{of} {value}", floor.ratio);
    }
}

fn bound(limit: Limit) -> String {
    let (sign, value) = match limit {
        Limit::AtMost(value) => ("<=", value),
        Limit::AtLeast(value) => (">=", value),
    };
    let text = format!("{value:.2}");
    format!("{sign}{}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn against(goal: &Goal, judged: Judged) -> Option<String> {
    use super::goals::Against;
    match (goal.against, judged.other) {
        (Against::Itself, _) => None,
        (Against::Own(metric), _) => Some(format!("of its own {metric}")),
        (Against::Card(card), _) => Some(format!("of {card}")),
        (Against::Bare(Some(rate)), Some(guest)) => {
            Some(format!("of {}; or {rate} /s", guest.name()))
        }
        (_, guest) => guest.map(|guest| format!("of {}", guest.name())),
    }
}

/// How many goals were reached, of those that were measured.
pub fn tally(results: &Results, cards: &[&'static str]) -> (usize, usize) {
    let goals = cards.iter().flat_map(|card| goals(card));
    let verdicts: Vec<Verdict> = goals
        .filter_map(|goal| Some(judge(results, &goal)?.verdict))
        .collect();
    let reached = verdicts.iter().filter(|v| **v != Verdict::Missed).count();
    (reached, verdicts.len())
}

#[cfg(test)]
mod tests {
    use super::super::metric::Metric;
    use super::super::results::tests::sample;
    use super::*;

    #[test]
    fn a_row_has_all_guests_the_ratio_and_the_verdict() {
        let mut results = Results::default();
        let key = ("e100", WireKind::Tap, Metric::Bulk);
        for round in 1..=3 {
            results.add(key, Guest::Wharf, sample(round, 80.0, false));
            results.add(key, Guest::Epoll, sample(round, 40.0, true));
        }
        results.failures.push("round 1: udp: no answer".to_owned());
        let text = table(&results);
        let row = text.lines().find(|line| line.contains("bulk")).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            words[5..],
            [
                "80.0",
                "MB/s",
                "~40.0",
                "MB/s",
                "2.00",
                "(2.00..2.00)",
                ">=1.5",
                ">=3",
                "must",
                "reached",
                "(of",
                "epoll)"
            ]
        );
        assert!(text.contains("NOT MEASURED: round 1: udp"), "{text}");
        assert_eq!(tally(&results, &["e100"]), (1, 1));
    }

    #[test]
    fn a_floor_in_the_way_is_told() {
        let mut results = Results::default();
        let key = ("e100", WireKind::Tap, Metric::EchoP50);
        results.add(key, Guest::Wharf, sample(1, 129.0, false));
        results.add(key, Guest::Epoll, sample(1, 100.0, false));
        assert!(table(&results).contains("MISSED (of epoll)\n"));
        let datagram = (key.0, key.1, Metric::DatagramP50);
        results.add(datagram, Guest::Bare, sample(1, 71.0, false));
        let text = table(&results);
        let words = "MISSED (of epoll); floor 0.71: bare, UDP echo 64 B by socket, p50: 71.0 us";
        assert!(text.contains(words), "{text}");
        results.add(key, Guest::Client, sample(1, 80.0, false));
        let text = table(&results);
        assert!(text.contains("floor 0.80: client alone 80.0 us"), "{text}");
    }

    #[test]
    fn what_has_no_goal_still_has_its_ratio() {
        let mut results = Results::default();
        let key = ("igb", WireKind::User, Metric::Bulk);
        results.add(key, Guest::Wharf, sample(1, 50.0, false));
        results.add(key, Guest::Epoll, sample(1, 40.0, false));
        let text = table(&results);
        assert!(text.contains("1.25 (1.25..1.25)"), "{text}");
        assert_eq!(tally(&results, &["igb"]), (0, 0));
    }

    #[test]
    fn bounds_are_short() {
        assert_eq!(bound(Limit::AtLeast(4.0)), ">=4");
        assert_eq!(bound(Limit::AtMost(0.35)), "<=0.35");
        assert_eq!(bound(Limit::AtMost(0.0)), "<=0");
        assert_eq!(bound(Limit::AtMost(1.0 / 6.0)), "<=0.17");
    }
}
