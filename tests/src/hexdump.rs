//! Reads frames back from the hexdump that `testinput` prints, one line per 16 bytes:
//! `input: 0010   0800 0604 0002 5255  0a00 0202 0a00 0202`.

use crate::{Failure, Outcome};

const PREFIX: &str = "input: ";

/// The frames in all `input: ` lines among `lines`; other lines are passed over.
///
/// # Errors
/// If such a line is not as `testinput` prints it, or offsets leave a gap.
pub fn frames<'a>(lines: impl IntoIterator<Item = &'a str>) -> Outcome<Vec<Vec<u8>>> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        let Some(dump) = line.strip_prefix(PREFIX) else {
            continue;
        };
        let bad = |why: &str| Failure(format!("hexdump line {line:?}: {why}"));
        let (offset, hex) = dump.split_once("   ").ok_or_else(|| bad("no offset"))?;
        let offset = usize::from_str_radix(offset, 16).map_err(|_| bad("offset is not hex"))?;
        let bytes = bytes(hex).ok_or_else(|| bad("not hex"))?;
        if bytes.is_empty() || bytes.len() > 16 {
            return Err(bad("not 1 to 16 bytes"));
        }
        if offset == 0 {
            frames.push(Vec::new());
        }
        let frame = frames
            .last_mut()
            .ok_or_else(|| bad("does not start at 0"))?;
        if frame.len() != offset {
            return Err(bad(&format!("comes after {} bytes", frame.len())));
        }
        frame.extend(bytes);
    }
    Ok(frames)
}

/// How the line begins that ends the dump of a short frame.
pub const FOURTH_LINE: &str = "input: 0030";

/// How the line begins that ends the dump of the UDP datagram `Packet NNN`: its payload
/// starts at byte 42 of the frame, so its number is in the line of byte 48.
pub fn last_line_of_packet(number: usize) -> String {
    let digits = format!("{number:03}");
    let [a, b, c] = [0, 1, 2].map(|place| digits.as_bytes()[place]);
    format!("{PREFIX}0030   20{a:02x} {b:02x}{c:02x}")
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let (pairs, odd) = digits.as_chunks::<2>();
    odd.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARP_REPLY: [&str; 5] = [
        "input: 0000   5254 0012 3456 5255  0a00 0202 0806 0001",
        "input: 0010   0800 0604 0002 5255  0a00 0202 0a00 0202",
        "input: 0020   5254 0012 3456 0a00  020f 0000 0000 0000",
        "input: 0030   0000 0000",
        "",
    ];

    #[test]
    fn frames_come_back_whole() {
        let mut lines = vec!["Waiting for packets...", ""];
        lines.extend(ARP_REPLY);
        lines.push("some other line");
        lines.extend(ARP_REPLY);
        let frames = frames(lines).unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0], frames[1]);
        assert_eq!(frames[0].len(), 52);
        assert_eq!(frames[0][..6], [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(frames[0][48..], [0; 4]);
    }

    #[test]
    fn damaged_lines_are_refused() {
        for line in [
            "input: 0010   0800",
            "input: 0000 0800",
            "input: 0000   08000",
            "input: 0000   08zz",
            "input: 0000   ",
            "input: zz   00",
            "input: 0000   0000 0000 0000 0000  0000 0000 0000 0000 00",
        ] {
            assert!(frames([line]).is_err(), "{line}");
        }
        let gap = [ARP_REPLY[0], ARP_REPLY[2]];
        assert!(frames(gap).unwrap_err().0.contains("comes after 16 bytes"));
    }

    #[test]
    fn the_last_line_is_the_graders() {
        assert_eq!(last_line_of_packet(4), "input: 0030   2030 3034");
        assert_eq!(last_line_of_packet(99), "input: 0030   2030 3939");
    }
}
