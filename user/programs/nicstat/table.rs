//! A report for people, at most 80 columns wide.
//!
//! Counters are in groups. Those that are zero are left out unless all are wanted, but for
//! the main ones. With an earlier report, what changed since stands beside each total, and
//! nothing where nothing did.

use super::report::Report;
use super::words::{self, Direction, Group, MAIN};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Columns of a line.
pub const WIDTH: usize = 80;

/// Lays a report out, as lines. With `before`, an earlier report, what has changed since is shown, too; with
/// `all`, also counters that are zero.
pub fn table(report: &Report, before: Option<&Report>, all: bool) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = head(&mut text, report);
    for group in Group::ALL {
        let _ = match group {
            Group::Queues => queues(&mut text, report, before, all),
            _ => counters(&mut text, group, report, before, all),
        };
    }
    text
}

/// The card, its link, MAC address and rings.
fn head(text: &mut String, report: &Report) -> fmt::Result {
    let field = |name| report.field(name).unwrap_or("?");
    let (chip, driver) = (field("chip"), field("driver"));
    writeln!(text, "card      {chip} ({driver}) at {}", field("pci"))?;
    let mut link = field("link").split(' ');
    match (link.next(), link.next(), link.next()) {
        (Some("up"), Some("0"), Some(_)) => writeln!(text, "link      up")?,
        (Some("up"), Some(speed), Some(duplex)) => {
            writeln!(text, "link      up, {speed} Mb/s, {duplex} duplex")?;
        }
        _ => writeln!(text, "link      {}", field("link"))?,
    }
    writeln!(text, "MAC       {}", field("mac"))?;
    writeln!(text, "frames    up to {} bytes", field("frame_max"))?;
    writeln!(text, "offloads  {}", offloads(report))?;
    write!(text, "transmit  {}", Rings(report, "transmit"))?;
    if let (Some(given), Some(done)) = (report.counter("tx_frames"), report.counter("tx_completed"))
    {
        let pending = given.saturating_sub(done);
        write!(text, ", {pending} not done")?;
        // What a reset took from the ring is never done.
        if pending > 0 && report.counter("resets") > Some(0) {
            write!(text, " or lost in a reset")?;
        }
    }
    write!(text, "\nreceive   {}", Rings(report, "receive"))?;
    if let Some(waiting) = report.counter(words::WAITING) {
        write!(text, ", {waiting} waiting")?;
    }
    writeln!(text)
}

/// What the card does by itself.
fn offloads(report: &Report) -> String {
    let has = |name| report.field(name) == Some("yes");
    let mut words = Vec::new();
    if has("checksums") {
        words.push(String::from("checksums"));
    }
    if let Some(longest @ 1..) = report
        .field("segment_max")
        .and_then(|n| n.parse::<u32>().ok())
    {
        words.push(alloc::format!("TCP segmentation up to {longest} bytes"));
    }
    for (name, word) in [("vlan", "VLAN tags"), ("filters", "filters")] {
        if has(name) {
            words.push(word.into());
        }
    }
    if words.is_empty() {
        return "none".into();
    }
    words.join(", ")
}

/// The ring or rings of one direction.
struct Rings<'a>(&'a Report, &'static str);

impl fmt::Display for Rings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rings(report, direction) = *self;
        let [ring, queues] = match direction {
            "transmit" => ["transmit_ring", "transmit_queues"],
            _ => ["receive_ring", "receive_queues"],
        };
        let frames = report.field(ring).unwrap_or("?");
        match report.field(queues) {
            Some("0" | "1") | None => write!(f, "ring of {frames} frames"),
            Some(queues) => write!(f, "{queues} queues, {frames} frames"),
        }
    }
}

/// A number of the report and how it changed.
#[derive(Clone, Copy, Default)]
struct Count {
    total: u64,
    /// `None` without an earlier report or where that had no such counter.
    change: Option<i128>,
}

impl Count {
    fn new(name: &str, total: u64, before: Option<&Report>) -> Self {
        let before = before.and_then(|report| report.counter(name));
        Count {
            total,
            change: before.map(|before| i128::from(total) - i128::from(before)),
        }
    }

    fn is_quiet(&self) -> bool {
        self.total == 0 && self.change.unwrap_or(0) == 0
    }

    fn change_text(&self) -> String {
        match self.change {
            None | Some(0) => String::new(),
            Some(change) => alloc::format!("{change:+}"),
        }
    }
}

/// Widths of the two columns of numbers, over some counts.
#[derive(Clone, Copy)]
struct Columns {
    total: usize,
    change: usize,
}

impl Columns {
    /// `watching` keeps a column for changes though there are none, so that the lines of
    /// reports one after the other stand below each other.
    fn of<'a>(counts: impl Iterator<Item = &'a Count>, watching: bool) -> Self {
        let mut columns = Columns {
            total: 10,
            change: if watching { 7 } else { 0 },
        };
        for count in counts {
            columns.total = columns.total.max(decimal_digits(count.total));
            columns.change = columns.change.max(count.change_text().len());
        }
        columns
    }

    fn write(self, line: &mut String, count: &Count) -> fmt::Result {
        write!(line, " {:>1$}", count.total, self.total)?;
        if self.change > 0 {
            write!(line, " {:>1$}", count.change_text(), self.change)?;
        }
        Ok(())
    }
}

fn decimal_digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// A group of counters: name, total, change, meaning.
fn counters(
    text: &mut String,
    group: Group,
    report: &Report,
    before: Option<&Report>,
    all: bool,
) -> fmt::Result {
    let of_group = report
        .counters()
        .map(|(name, total)| (name, Count::new(name, total, before)))
        .filter(|(name, count)| {
            let in_head = *name == words::WAITING;
            words::of(name).0 == group
                && !in_head
                && (all || MAIN.contains(name) || !count.is_quiet())
        });
    let rows: Vec<(&str, Count)> = of_group.collect();
    if rows.is_empty() {
        // That nothing was lost is worth a line.
        return match group {
            Group::Losses => writeln!(text, "\n{}\n  none", group.name()),
            _ => Ok(()),
        };
    }
    writeln!(text, "\n{}", group.name())?;
    let columns = Columns::of(rows.iter().map(|(_, count)| count), before.is_some());
    for (name, count) in &rows {
        let mut line = alloc::format!("  {name:<23}");
        columns.write(&mut line, count)?;
        let (_, meaning) = words::of(name);
        if line.len() + 2 + meaning.len() <= WIDTH {
            line.push_str("  ");
            line.push_str(meaning);
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The frames of each queue, both directions in a line.
fn queues(text: &mut String, report: &Report, before: Option<&Report>, all: bool) -> fmt::Result {
    let mut rows: Vec<(u16, [Count; 2])> = Vec::new();
    for (name, total) in report.counters() {
        let Some((direction, number)) = words::queue(name) else {
            continue;
        };
        let at = match rows.iter().position(|(row, _)| *row == number) {
            Some(at) => at,
            None => {
                rows.push((number, Default::default()));
                rows.len() - 1
            }
        };
        let column = match direction {
            Direction::Receive => 0,
            Direction::Transmit => 1,
        };
        rows[at].1[column] = Count::new(name, total, before);
    }
    rows.retain(|(_, counts)| all || counts.iter().any(|count| !count.is_quiet()));
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by_key(|(number, _)| *number);
    let columns = Columns::of(rows.iter().flat_map(|(_, counts)| counts), before.is_some());
    let title = Group::Queues.name();
    let width = columns.total;
    let gap = match columns.change {
        0 => 0,
        change => change + 1,
    };
    let heading = alloc::format!(
        "\n{title:<8} {:>width$}{:gap$} {:>width$}",
        "received",
        "",
        "sent"
    );
    writeln!(text, "{heading}")?;
    for (number, counts) in &rows {
        let mut line = alloc::format!("  {number:<6}");
        for count in counts {
            columns.write(&mut line, count)?;
        }
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}
