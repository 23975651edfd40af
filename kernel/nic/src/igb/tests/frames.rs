//! Frames to test with: each differs from all others, and says what it is.

use super::MAC;
use crate::model::Rng;
use std::vec;
use std::vec::Vec;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame of no known protocol, to this station, that differs from all others of its test in each
/// part.
pub fn frame(number: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(number);
    let mut frame: Vec<_> = (0..len).map(|_| rng.next() as u8).collect();
    let head: Vec<u8> = MAC.into_iter().chain([2; 6]).chain([0x88, 0xb5]).collect();
    let known = len.min(14);
    frame[..known].copy_from_slice(&head[..known]);
    frame
}

/// What flows between two ports.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub v6: bool,
    pub source: [u8; 4],
    pub target: [u8; 4],
    pub ports: [u16; 2],
}

impl Flow {
    pub fn number(number: u16) -> Self {
        Flow {
            v6: false,
            source: [10, 0, 2, 2],
            target: [10, 0, 2, 15],
            ports: [40_000 + number, 7],
        }
    }

    pub fn v6(self) -> Self {
        Flow { v6: true, ..self }
    }

    fn packet(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut frame: Vec<u8> = MAC.into_iter().chain([2; 6]).collect();
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((body.len() as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            for address in [self.source, self.target] {
                frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                frame.extend(address);
            }
        } else {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((body.len() as u16 + 20).to_be_bytes());
            frame.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend(self.source);
            frame.extend(self.target);
        }
        frame.extend(body);
        frame
    }

    /// A datagram without checksums.
    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let [from, to] = self.ports.map(u16::to_be_bytes);
        let mut body = [from, to].concat();
        body.extend((payload.len() as u16 + 8).to_be_bytes());
        body.extend([0, 0]);
        body.extend(payload);
        self.packet(UDP, &body)
    }

    /// A segment without checksums, with 12 bytes of options.
    pub fn tcp(&self, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [from, to] = self.ports.map(u16::to_be_bytes);
        let mut body = [from, to].concat();
        body.extend(sequence.to_be_bytes());
        body.extend([0, 0, 0, 9, 8 << 4, flags, 0x20, 0, 0, 0, 0, 0]);
        body.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        body.extend(payload);
        self.packet(TCP, &body)
    }

    fn body(&self) -> usize {
        if self.v6 { 54 } else { 34 }
    }

    /// A frame with all checksums right.
    pub fn finished(&self, mut frame: Vec<u8>) -> Vec<u8> {
        let body = self.body();
        if !self.v6 {
            frame[24..26].fill(0);
            let sum = !ones(&frame[14..34], 0);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let (protocol, addresses) = if self.v6 {
            (frame[20], 22..54)
        } else {
            (frame[23], 26..34)
        };
        let at = body + if protocol == TCP { 16 } else { 6 };
        frame[at..at + 2].fill(0);
        let pseudo = ones(
            &frame[addresses],
            u32::from(protocol) + (frame.len() - body) as u32,
        );
        let sum = !ones(&frame[body..], pseudo.into());
        let sum = if sum == 0 { 0xffff } else { sum };
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

/// Sum of words in ones' complement.
fn ones(bytes: &[u8], start: u32) -> u16 {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(2), 0);
    let words = padded
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&pair| u32::from(u16::from_be_bytes(pair)));
    let mut sum = words.sum::<u32>() + start;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Bytes that tell where they are.
pub fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// The same frame with a VLAN tag.
pub fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    let mut tagged = vec![0; 0];
    tagged.extend(&frame[..12]);
    tagged.extend([0x81, 0x00]);
    tagged.extend(tag.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}
