//! What `rawsend` sends and `rawcount` counts: raw frames, to measure a card and its driver
//! without a network stack.

use abi::nic::MacAddress;
use alloc::vec::Vec;
use core::ops::Range;

/// Ethernet, IPv4 and UDP.
pub const HEADERS: usize = 14 + 20 + 8;

/// The station that the frames are sent to. There is none with this address, so every receiver drops them.
const NOBODY: MacAddress = [2, 0, 0, 0, 0, 1];

/// A frame of `size` bytes, but at least its headers and at most 1514: a UDP datagram
/// (RFC 768, without checksum) for the discard port, as packet generators send them.
pub fn datagram(size: usize, mac: MacAddress) -> Vec<u8> {
    let size = size.clamp(HEADERS, 1514);
    let ip_len = (size - 14) as u16;
    let mut frame = Vec::with_capacity(size);
    frame.extend_from_slice(&NOBODY);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&[0x08, 0x00, 0x45, 0]); // IPv4 without options
    frame.extend_from_slice(&ip_len.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]); // don't fragment, 64 hops, UDP
    frame.extend_from_slice(&[10, 0, 2, 15, 10, 0, 2, 2]);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(&[0, 9, 0, 9]); // ports
    frame.extend_from_slice(&(ip_len - 20).to_be_bytes());
    frame.resize(size, 0);
    frame
}

/// The Internet checksum (RFC 1071) of a header, whose length is even.
fn checksum(header: &[u8]) -> u16 {
    let words = header.as_chunks::<2>().0.iter();
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A file's bytes in pieces of one length, again and again; what is left at its end is not
/// used.
#[derive(Debug)]
pub struct Pieces {
    file: Range<u32>,
    len: u32,
    next: u32,
}

impl Pieces {
    /// The pieces of the file that is at `file` in the ramdisk; `None` if it has none of `len`
    /// bytes, or that is none.
    pub fn new(file: Range<u32>, len: usize) -> Option<Self> {
        let len = u32::try_from(len).ok().filter(|&len| len > 0)?;
        let next = file.start;
        (file.end.checked_sub(file.start)? >= len).then_some(Pieces { file, len, next })
    }

    /// Where the next piece is in the ramdisk.
    #[expect(
        clippy::should_implement_trait,
        reason = "an endless source, not an iterator"
    )]
    pub fn next(&mut self) -> Range<u32> {
        if self.file.end - self.next < self.len {
            self.next = self.file.start;
        }
        let start = self.next;
        self.next += self.len;
        start..self.next
    }
}

/// Which buffers hold what was put into them once. They come back as they were: a card only reads
/// them, and nobody else writes.
#[derive(Debug, Default)]
pub struct Filled(Vec<bool>);

impl Filled {
    /// Whether this buffer has yet to be filled; it counts as filled from now on.
    pub fn is_new(&mut self, number: u16) -> bool {
        let number = usize::from(number);
        if number >= self.0.len() {
            self.0.resize(number + 1, false);
        }
        !core::mem::replace(&mut self.0[number], true)
    }
}

/// Whether a card's counter tells of received frames that were lost.
pub fn is_loss(counter: &str) -> bool {
    let words = ["dropped", "errors", "missed", "no_buffer"];
    counter.starts_with("rx_") && words.iter().any(|word| counter.contains(word))
}

/// Events per second, of so many in so many nanoseconds.
pub fn per_second(count: u64, nanoseconds: u64) -> u64 {
    let per_second = u128::from(count) * 1_000_000_000 / u128::from(nanoseconds.max(1));
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_in_whole_pieces_for_ever() {
        let mut pieces = Pieces::new(100..350, 100).unwrap();
        let starts: Vec<u32> = (0..5).map(|_| pieces.next().start).collect();
        assert_eq!(starts, [100, 200, 100, 200, 100]);
        assert_eq!(Pieces::new(100..350, 250).unwrap().next(), 100..350);
        assert!(Pieces::new(100..350, 251).is_none() && Pieces::new(0..9, 0).is_none());
    }

    #[test]
    fn each_buffer_is_filled_once() {
        let mut filled = Filled::default();
        let new: Vec<bool> = [3, 0, 3, 1, 0, 400, 400]
            .map(|number| filled.is_new(number))
            .into();
        assert_eq!(new, [true, true, false, true, false, true, false]);
    }

    const MAC: MacAddress = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    #[test]
    fn frames_have_the_length_asked_for_and_sound_headers() {
        for (asked, size) in [(0, 42), (42, 42), (60, 60), (1514, 1514), (9000, 1514)] {
            let frame = datagram(asked, MAC);
            assert_eq!(frame.len(), size);
            assert_eq!(checksum(&frame[14..34]), 0);
            assert_eq!(
                usize::from(u16::from_be_bytes([frame[16], frame[17]])),
                size - 14
            );
            assert_eq!(
                usize::from(u16::from_be_bytes([frame[38], frame[39]])),
                size - 34
            );
            assert_eq!(frame[6..12], MAC);
        }
    }

    #[test]
    fn losses_are_told_from_what_went_well() {
        for name in [
            "rx_resource_errors",
            "rx_dropped_long",
            "rx_missed",
            "rx_no_buffer",
        ] {
            assert!(is_loss(name), "{name}");
        }
        for name in ["rx_good_frames", "tx_dropped", "rx_octets"] {
            assert!(!is_loss(name), "{name}");
        }
    }

    #[test]
    fn rates_do_not_overflow_or_divide_by_nothing() {
        assert_eq!(per_second(500, 500_000_000), 1000);
        assert_eq!(per_second(1, 0), 1_000_000_000);
        assert_eq!(per_second(u64::MAX, 1), u64::MAX);
    }
}
