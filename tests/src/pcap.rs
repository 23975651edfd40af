//! Reads a capture file as QEMU's `filter-dump` writes it: classic pcap 2.4
//! (draft-ietf-opsawg-pcap), of either byte order, Ethernet only.

use crate::{During, Failure, Outcome};
use std::path::Path;

const MAGIC: u32 = 0xa1b2_c3d4;
const HEADER: usize = 24;
const RECORD: usize = 16;
const ETHERNET: u32 = 1;

/// The frames of the capture file at `path`, in order, each with all its bytes.
///
/// # Errors
/// If the file cannot be read or is not a complete capture.
pub fn read(path: &Path) -> Outcome<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path).during(&format!("capture {}", path.display()))?;
    parse(&bytes)
}

/// The frames of a capture.
///
/// # Errors
/// If it is not one, ends within a record, or holds frames that were cut short.
pub fn parse(bytes: &[u8]) -> Outcome<Vec<Vec<u8>>> {
    let (header, mut rest) = bytes
        .split_at_checked(HEADER)
        .ok_or("capture: shorter than its header")?;
    let little = match u32_at(header, 0, true) {
        MAGIC => true,
        magic if magic == MAGIC.swap_bytes() => false,
        magic => return Err(Failure(format!("capture: magic is {magic:08x}"))),
    };
    let link = u32_at(header, 20, little);
    if link != ETHERNET {
        return Err(Failure(format!("capture: link type {link}, not Ethernet")));
    }
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (record, after) = rest
            .split_at_checked(RECORD)
            .ok_or_else(|| Failure(format!("capture: cut within record {}", frames.len())))?;
        let stored = u32_at(record, 8, little) as usize;
        let original = u32_at(record, 12, little) as usize;
        if stored != original {
            return Err(Failure(format!(
                "capture: frame {} has {stored} of its {original} bytes",
                frames.len()
            )));
        }
        let (frame, after) = after
            .split_at_checked(stored)
            .ok_or_else(|| Failure(format!("capture: cut within frame {}", frames.len())))?;
        frames.push(frame.to_vec());
        rest = after;
    }
    Ok(frames)
}

fn u32_at(bytes: &[u8], at: usize, little: bool) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    if little {
        u32::from_le_bytes(word)
    } else {
        u32::from_be_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(word: fn(u32) -> [u8; 4], frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(word(MAGIC));
        bytes.extend([0; 12]); // version, time zone, accuracy: not looked at
        bytes.extend(word(65536));
        bytes.extend(word(ETHERNET));
        for frame in frames {
            let len = frame.len() as u32;
            for field in [1, 2, len, len] {
                bytes.extend(word(field));
            }
            bytes.extend(*frame);
        }
        bytes
    }

    #[test]
    fn both_byte_orders_are_read() {
        for word in [u32::to_le_bytes, u32::to_be_bytes] {
            let frames = parse(&capture(word, &[b"Packet 00", b"", b"Packet 01"])).unwrap();
            assert_eq!(
                frames,
                [b"Packet 00".to_vec(), vec![], b"Packet 01".to_vec()]
            );
            assert_eq!(parse(&capture(word, &[])), Ok(vec![]));
        }
    }

    #[test]
    fn what_is_no_complete_capture_is_refused() {
        let good = capture(u32::to_le_bytes, &[b"Packet 00"]);
        for len in 0..good.len() {
            // Cut after the header is an empty capture; anywhere else is damage.
            assert_eq!(parse(&good[..len]).is_ok(), len == HEADER, "cut at {len}");
        }
        let mut wrong = good.clone();
        wrong[0] = 0;
        assert!(parse(&wrong).unwrap_err().0.contains("magic"));
        let mut wrong = good.clone();
        wrong[20] = 113;
        assert!(parse(&wrong).unwrap_err().0.contains("Ethernet"));
        let mut wrong = good;
        wrong[HEADER + 12] += 1;
        assert!(parse(&wrong).unwrap_err().0.contains("of its"));
    }
}
