//! The committed counts that new ones are held against: lines of name and number, sorted,
//! so that a change of one is a change of one line.

use crate::{Failure, Outcome};
use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline(pub BTreeMap<String, u64>);

impl Baseline {
    /// Reads the text of a file: lines of a name and a number, and of comments after `#`.
    ///
    /// # Errors
    /// The first line that is neither, or tells of a name again.
    pub fn parse(text: &str) -> Outcome<Baseline> {
        let mut counts = BTreeMap::new();
        for line in text.lines() {
            let words = line.split('#').next().unwrap_or("");
            let words: Vec<&str> = words.split_whitespace().collect();
            let good = match words[..] {
                [] => true,
                [name, number] => match number.parse() {
                    Ok(number) => counts.insert(name.to_owned(), number).is_none(),
                    Err(_) => false,
                },
                _ => false,
            };
            if !good {
                return Err(Failure(format!("the baseline has the line {line:?}")));
            }
        }
        Ok(Baseline(counts))
    }

    /// The text of a file, after `comment`.
    pub fn text(&self, comment: &str) -> String {
        let comment: String = comment.lines().map(|line| format!("# {line}\n")).collect();
        let width = self.0.keys().map(String::len).max().unwrap_or(0);
        let lines = self.0.iter();
        let lines = lines.map(|(name, count)| format!("{name:width$} {count:>10}\n"));
        comment + &lines.collect::<String>()
    }
}

/// `now` over `then`, as a change: 0.05 is 5 % more.
pub fn change(then: u64, now: u64) -> f64 {
    now as f64 / then as f64 - 1.0
}

/// Counts of the same thing, taken together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Middle {
    /// The one in the middle.
    pub count: u64,
    /// How far all are apart, as a part of it.
    pub spread: f64,
    /// The same, but for the least and the greatest.
    pub core_spread: f64,
}

/// The middle of some counts, if there are any.
pub fn middle(counts: &[u64]) -> Option<Middle> {
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let count = *sorted.get(sorted.len() / 2)?;
    let spread = |counts: &[u64]| match counts {
        [first, .., last] => (last - first) as f64 / count as f64,
        _ => 0.0,
    };
    let core = sorted.get(1..sorted.len() - 1).unwrap_or_default();
    Some(Middle {
        count,
        spread: spread(&sorted),
        core_spread: spread(core),
    })
}

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_sorted() {
        let counts = [("igb/udp", 1_234_567), ("e100/tcp-echo", 7)];
        let baseline = Baseline(counts.map(|(n, c)| (n.to_owned(), c)).into());
        let text = baseline.text("What it is,\nand how.");
        assert_eq!(Baseline::parse(&text), Ok(baseline));
        let expected =
            "# What it is,\n# and how.\ne100/tcp-echo          7\nigb/udp          1234567\n";
        assert_eq!(text, expected);
        assert_eq!(Baseline::parse(""), Ok(Baseline::default()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a", "a b", "a 1 2", "a -1", "a 1\na 2"] {
            assert!(Baseline::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn changes_and_spreads_are_parts_of_one() {
        assert!((change(200, 210) - 0.05).abs() < 1e-9);
        assert!((change(200, 190) + 0.05).abs() < 1e-9);
        assert_eq!(middle(&[]), None);
        let five = middle(&[103, 100, 101, 99, 102]).unwrap();
        assert_eq!(five.count, 101);
        assert!((five.spread - 4.0 / 101.0).abs() < 1e-9);
        assert!((five.core_spread - 2.0 / 101.0).abs() < 1e-9);
        let one = middle(&[7]).unwrap();
        assert_eq!((one.count, one.spread, one.core_spread), (7, 0.0, 0.0));
    }

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
