//! A card as text between the network server and `nicstat`: lines of `name value`. First
//! what the card is, then its counters, in the driver's order.
//!
//! ```text
//! driver igb
//! chip Intel 82576
//! pci 00:03.0
//! mac 52:54:00:12:34:56
//! link up 1000 full
//! frame_max 1514
//! transmit_ring 256
//! receive_ring 256
//! transmit_queues 16
//! receive_queues 16
//! checksums yes
//! segment_max 65549
//! segment_min 64
//! vlan yes
//! filters yes
//! rx_frames 12
//! ...
//! ```
//!
//! Without link, its line is `link down`.

use abi::nic::{Counter, Link, NicInfo};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

/// The names that are no counters.
const FIELDS: [&str; 15] = [
    "driver",
    "chip",
    "pci",
    "mac",
    "link",
    "frame_max",
    "transmit_ring",
    "receive_ring",
    "transmit_queues",
    "receive_queues",
    "checksums",
    "segment_max",
    "segment_min",
    "vlan",
    "filters",
];

/// Writes the text.
pub fn describe(info: &NicInfo, counters: &[Counter]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_info(&mut text, info);
    for counter in counters {
        let _ = writeln!(text, "{} {}", counter.name, counter.value);
    }
    text
}

fn write_info(text: &mut String, info: &NicInfo) -> fmt::Result {
    let [a, b, c, d, e, f] = info.mac;
    let pci = info.pci_address;
    let (bus, device, function) = (pci >> 8, pci >> 3 & 31, pci & 7);
    writeln!(text, "driver {}", info.driver)?;
    writeln!(text, "chip {}", info.chip)?;
    writeln!(text, "pci {bus:02x}:{device:02x}.{function}")?;
    writeln!(text, "mac {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")?;
    writeln!(text, "link {}", LinkWords(info.link))?;
    writeln!(text, "frame_max {}", info.frame_max)?;
    writeln!(text, "transmit_ring {}", info.transmit_ring)?;
    writeln!(text, "receive_ring {}", info.receive_ring)?;
    let features = &info.features;
    writeln!(text, "transmit_queues {}", features.transmit_queues)?;
    writeln!(text, "receive_queues {}", features.receive_queues)?;
    let yes = |has| if has { "yes" } else { "no" };
    writeln!(text, "checksums {}", yes(features.checksums))?;
    let segmentation = &features.segmentation;
    writeln!(text, "segment_max {}", segmentation.frame_max)?;
    writeln!(text, "segment_min {}", segmentation.payload_min)?;
    writeln!(text, "vlan {}", yes(features.vlan))?;
    writeln!(text, "filters {}", yes(features.filters))
}

struct LinkWords(Link);

impl Display for LinkWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Link {
            up,
            speed_mbps,
            full_duplex,
        } = self.0;
        let duplex = if full_duplex { "full" } else { "half" };
        match up {
            true => write!(f, "up {speed_mbps} {duplex}"),
            false => f.write_str("down"),
        }
    }
}

/// The whole lines of `text` that fit into `room` bytes.
pub fn whole_lines(text: &str, room: usize) -> &str {
    match text.as_bytes().get(..room) {
        None => text,
        Some(head) => {
            let end = head.iter().rposition(|&byte| byte == b'\n');
            &text[..end.map_or(0, |at| at + 1)]
        }
    }
}

/// The text, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    fields: Vec<(String, String)>,
    counters: Vec<(String, u64)>,
}

/// A line, counted from 1, that is no `name value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine(pub usize);

impl Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {} of the server's text is no counter: use the same image for both",
            self.0
        )
    }
}

impl Report {
    /// Reads the text of [`describe`].
    ///
    /// # Errors
    /// [`BadLine`] for the first line that is neither a known field nor a name of a counter
    /// and its number.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut report = Report::default();
        for (index, line) in text.lines().enumerate() {
            let bad = BadLine(index + 1);
            let (name, value) = line.split_once(' ').ok_or(bad)?;
            if name.is_empty() {
                return Err(bad);
            }
            if FIELDS.contains(&name) {
                report.fields.push((name.into(), value.into()));
            } else {
                let value = value.parse().map_err(|_| bad)?;
                report.counters.push((name.into(), value));
            }
        }
        Ok(report)
    }

    /// What the card is: the value of a line that is no counter.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(field, _)| field == name)?;
        Some(value)
    }

    /// The counters, in the driver's order.
    pub fn counters(&self) -> impl Iterator<Item = (&str, u64)> {
        let counters = self.counters.iter();
        counters.map(|(name, value)| (name.as_str(), *value))
    }

    /// One counter.
    pub fn counter(&self, name: &str) -> Option<u64> {
        let mut counters = self.counters();
        counters
            .find(|(counter, _)| *counter == name)
            .map(|(_, value)| value)
    }
}
