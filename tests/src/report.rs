//! What the harness prints: one row per case, and the lab's sums.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

/// Points got and points there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points {
    /// Got.
    pub got: u32,
    /// There to get.
    pub of: u32,
}

/// How many cases went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
}

impl std::ops::AddAssign for Points {
    fn add_assign(&mut self, other: Points) {
        self.got += other.got;
        self.of += other.of;
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.got, self.of)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// What a row says about its case.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The case.
    pub name: &'a str,
    /// Whether it passed.
    pub passed: bool,
    /// Its points, where it has some.
    pub points: Option<Points>,
    /// How long it took.
    pub took: Duration,
    /// What it measured, or nothing.
    pub note: &'a str,
}

/// Writes rows to the terminal, in colour where there is one.
pub struct Report {
    coloured: bool,
}

/// Columns of the longest name of a case.
pub const NAME_WIDTH: usize = 48;

impl Report {
    /// A report on standard output.
    pub fn new() -> Report {
        Report {
            coloured: stdout().is_terminal(),
        }
    }

    /// A heading.
    pub fn heading(&self, words: &str) {
        println!("\n{}", self.paint("1", words));
    }

    /// Says on a terminal which case runs now; [`Report::row`] writes over it.
    pub fn running(&self, name: &str) {
        if self.coloured {
            print!("  {name:NAME_WIDTH$}  ...");
            // If the terminal is gone, so is the reader.
            let _ = stdout().flush();
        }
    }

    /// The row of a finished case.
    pub fn row(&self, row: &Row) {
        let line = self.row_text(row);
        println!("{}{line}", if self.coloured { "\r\x1b[K" } else { "" });
    }

    /// An indented line below a row.
    pub fn detail(&self, words: &str) {
        for line in words.lines() {
            println!("      {line}");
        }
    }

    fn row_text(&self, row: &Row) -> String {
        let verdict = match row.passed {
            true => self.paint("32", "ok  "),
            false => self.paint("31", "FAIL"),
        };
        let points = row.points.map_or(String::new(), |p| p.to_string());
        let line = format!(
            "  {:NAME_WIDTH$}  {verdict}  {points:>5}  {:5.1} s  {}",
            row.name,
            row.took.as_secs_f32(),
            row.note
        );
        line.trim_end().to_owned()
    }

    fn paint(&self, colour: &str, words: &str) -> String {
        match self.coloured {
            true => format!("\x1b[{colour}m{words}\x1b[0m"),
            false => words.to_owned(),
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Report::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row = Row {
        name: "testtime",
        passed: true,
        points: Some(Points { got: 5, of: 5 }),
        took: Duration::from_millis(8140),
        note: "",
    };

    #[test]
    fn rows_are_aligned_and_plain_where_there_is_no_terminal() {
        let report = Report { coloured: false };
        let line = report.row_text(&ROW);
        let mut expected = format!("  {:48}", "testtime");
        expected += "  ok      5/5    8.1 s";
        assert_eq!(line, expected);
        let failed = Row {
            passed: false,
            points: Some(Points { got: 0, of: 15 }),
            note: "why",
            ..ROW
        };
        let other = report.row_text(&failed);
        assert!(other.contains("FAIL   0/15"), "{other}");
        assert!(other.ends_with("8.1 s  why"), "{other}");
        assert_eq!(line.find("ok"), other.find("FAIL"));
    }

    #[test]
    fn a_terminal_gets_colours() {
        let line = Report { coloured: true }.row_text(&ROW);
        assert!(line.contains("\x1b[32mok  \x1b[0m"), "{line}");
    }

    #[test]
    fn sums_read_as_they_should() {
        let mut points = Points::default();
        points += Points { got: 5, of: 5 };
        points += Points { got: 0, of: 15 };
        assert_eq!(points.to_string(), "5/20");
        let mut tally = Tally::default();
        tally += Tally {
            passed: 2,
            failed: 1,
        };
        tally += Tally {
            passed: 1,
            failed: 0,
        };
        assert_eq!(tally.to_string(), "3 passed, 1 failed");
    }
}
