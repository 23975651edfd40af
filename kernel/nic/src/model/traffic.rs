//! Frames of every kind that a wire can carry, right and wrong, from a seed: what each card must make
//! of them, and whether a host answers.
//!
//! They are made by the standards and with no code of drivers or stack, so that neither can agree with
//! them in error.

mod packets;
mod v6;

use self::packets::{finish_header, put, sum, word};
use super::Rng;
use crate::MacAddress;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

/// The longest frame without a tag, and the shortest (IEEE 802.3 §3.2.7), without their checksums.
const LONGEST: usize = 1514;
const SHORTEST: usize = 60;
const ETHERNET: usize = 14;
/// A station and a group that are not ours.
const STRANGER: MacAddress = [0x52, 0x54, 0, 0x77, 0x77, 0x77];
const GROUP: MacAddress = [0x01, 0, 0x5e, 0, 0, 0xfb];
const EVERYBODY: MacAddress = [0xff; 6];
/// What frames are filled up with.
const FILLS: [u8; 2] = [0, 0xee];
/// EtherTypes.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const IPV6: u16 = 0x86dd;
const SERVICE_VLAN: u16 = 0x88a8;
const EXPERIMENT: u16 = 0x88b5;
/// Protocols of IPv4.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UNASSIGNED: u8 = 200;
/// Where things are in an IPv4 header.
const TOTAL_LENGTH: usize = ETHERNET + 2;
const IP_CHECKSUM: usize = ETHERNET + 10;
/// The port of the echo service, and one where nobody listens.
const ECHO: u16 = 7;
const CLOSED: u16 = 4444;

/// The sender's port, but for the number of the sample.
const PORTS: u16 = 20_000;

/// The addresses of the host that gets the frames, and of the one that sends them.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The host's station address.
    pub mac: MacAddress,
    /// The host's IPv4 address.
    pub ip: [u8; 4],
    /// The sender's station address.
    pub peer_mac: MacAddress,
    /// The sender's IPv4 address, in the same network.
    pub peer_ip: [u8; 4],
}

/// Whether a host that echoes UDP at port 7 answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It must.
    Yes,
    /// It must not.
    No,
    /// The standards leave it to the host: all cards' must do the same.
    Either,
}

/// What a program reads of a frame, without its tag, and the tag (TCI).
pub type Seen = (Vec<u8>, Option<u16>);

/// A frame, or the fragments of one datagram.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it is, in words.
    pub what: String,
    /// What is on the wire, without checksums.
    pub frames: Vec<Vec<u8>>,
    /// Whether it is answered.
    pub answer: Answer,
}

/// What a card delivers of a frame to a station that joined no group, if it lets it through; whether it
/// fills up what is too short, as QEMU's do, or discards that, as silicon does.
pub fn seen(frame: &[u8], station: MacAddress, fills_up: bool) -> Option<Seen> {
    let mut bytes = frame.to_vec();
    if bytes.len() < SHORTEST {
        if !fills_up {
            return None;
        }
        bytes.resize(SHORTEST, 0);
    }
    if bytes[..6] != station && bytes[..6] != EVERYBODY {
        return None;
    }
    let mut vlan = None;
    if word(&bytes, 12) == VLAN {
        vlan = Some(word(&bytes, 14));
        bytes.drain(12..16);
    }
    (bytes.len() <= LONGEST).then_some((bytes, vlan))
}

/// An answer without what may differ between cards and boots: zeros at its end, and the identification
/// of an IPv4 datagram (RFC 791 §3.1) with its header's checksum.
pub fn comparable(mut answer: Vec<u8>) -> Vec<u8> {
    answer.resize(answer.len().max(SHORTEST), 0);
    if word(&answer, 12) == IPV4 {
        answer[ETHERNET + 4..ETHERNET + 6].fill(0);
        answer[ETHERNET + 10..ETHERNET + 12].fill(0);
    }
    answer
}

/// The number of the sample that this is an answer to, if it tells: by the port that it goes to, or
/// that the datagram in an ICMP error came from, or by the number of an echo.
pub fn answered(answer: &[u8]) -> Option<u16> {
    if answer.len() < SHORTEST || word(answer, 12) != IPV4 {
        return None;
    }
    let port = |at| word(answer, at).checked_sub(PORTS);
    match (answer[ETHERNET + 9], answer[34]) {
        (TCP | UDP, _) => port(36),
        (ICMP, 0) => Some(word(answer, 40)),
        (ICMP, 3) if matches!(answer[42 + 9], TCP | UDP) => port(62),
        _ => None,
    }
}

/// So many samples for these ends. No two are alike: ports, identifiers and data have their numbers.
pub fn samples(seed: u64, ends: &Ends, count: u16) -> Vec<Sample> {
    (0..count)
        .map(|number| {
            let rng = Rng::new(seed << 16 | u64::from(number));
            Maker {
                rng,
                ends,
                number,
                what: String::new(),
                answer: Answer::Yes,
            }
            .make()
        })
        .collect()
}

struct Maker<'a> {
    rng: Rng,
    ends: &'a Ends,
    number: u16,
    what: String,
    answer: Answer,
}

/// How many kinds [`Maker::payload`] knows.
const KINDS: u16 = 16;

impl Maker<'_> {
    fn make(mut self) -> Sample {
        // Frames of an EtherType, without tag, as yet to this station and not filled up.
        let mut frames = self.payload();
        if word(&frames[0], 12) == IPV4 && self.rng.one_in(3) {
            self.spoil(&mut frames);
        }
        self.lengthen(&mut frames);
        self.address(&mut frames);
        self.tag(&mut frames);
        Sample {
            what: self.what,
            frames,
            answer: self.answer,
        }
    }

    fn says(&mut self, words: core::fmt::Arguments<'_>) {
        if !self.what.is_empty() {
            self.what.push_str(", ");
        }
        // Writing to a string does not fail.
        let _ = self.what.write_fmt(words);
    }

    /// It is not answered any more, or only if one likes.
    fn only(&mut self, answer: Answer) {
        if self.answer != Answer::No {
            self.answer = answer;
        }
    }

    fn data(&mut self, most: usize) -> Vec<u8> {
        let len = [0, 1, 17, 18, 100, 999, most][self.rng.below(7)].min(most);
        (0..len).map(|_| self.rng.next() as u8).collect()
    }

    fn payload(&mut self) -> Vec<Vec<u8>> {
        let port = PORTS + self.number;
        let kind = self.number % KINDS;
        let packet = match kind {
            0 | 1 => {
                let target = match kind {
                    0 => self.ends.ip,
                    _ => [self.ends.ip[0], self.ends.ip[1], self.ends.ip[2], 200],
                };
                self.says(format_args!("ARP request for {target:?}"));
                if kind == 1 {
                    self.only(Answer::No);
                }
                return vec![self.arp(target)];
            }
            2 => self.echo_request(1472),
            3 => self.datagram((port, ECHO), true),
            4 => self.datagram((port, ECHO), false),
            5 => {
                self.only(Answer::Either);
                self.datagram((port, CLOSED), true)
            }
            6 => self.segment((port, CLOSED), 0x02, 0),
            7 => self.segment((port, CLOSED), 0x10, 1460),
            8 => {
                self.only(Answer::Either);
                self.says(format_args!("IPv4 of an unassigned protocol"));
                let data = self.data(1480);
                self.ipv4(UNASSIGNED, &data)
            }
            9 => return self.ipv6(),
            10 => {
                self.only(Answer::No);
                let data = self.data(1500);
                // IEEE 802.3 §3.2.6: below 1536 it is no type, up to 1500 the length of the data.
                let length = [0, 3, 46, 1500, 1501, 1535][self.rng.below(6)];
                self.says(format_args!("IEEE 802.3 length {length}"));
                return vec![self.ethernet(length, &data)];
            }
            11 => {
                self.only(Answer::No);
                self.says(format_args!("unknown EtherType"));
                let data = self.data(1500);
                return vec![self.ethernet(EXPERIMENT, &data)];
            }
            12 => self.datagram((port, ECHO), true),
            13 => self.segment((port, CLOSED), 0x10, 1400),
            14 => self.echo_request(1400),
            _ => {
                // RFC 768 lets a datagram end before its packet does.
                self.only(Answer::Either);
                self.says(format_args!("with octets behind it"));
                let mut packet = self.datagram((port, ECHO), true);
                packet.extend([0xee; 6]);
                let total = word(&packet, 2) + 6;
                put(&mut packet, 2, total);
                put(&mut packet, 10, 0);
                let sum = !sum(&packet[..20], 0);
                put(&mut packet, 10, sum);
                packet.truncate(1500);
                packet
            }
        };
        match kind {
            12..=14 if packet.len() >= 36 => self.fragments(&packet),
            _ => vec![self.ethernet(IPV4, &packet)],
        }
    }

    /// The packet in two to four fragments, in any order.
    fn fragments(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let body = &packet[20..];
        let most = body.len().div_ceil(2 + self.rng.below(3));
        let size = (most.next_multiple_of(8)).max(8);
        let mut frames = Vec::new();
        for (number, piece) in body.chunks(size).enumerate() {
            let mut fragment = packet[..20].to_vec();
            fragment.extend(piece);
            put(&mut fragment, 2, 20 + piece.len() as u16);
            let more = if (number + 1) * size < body.len() {
                1 << 13
            } else {
                0
            };
            put(&mut fragment, 6, more | (number * size / 8) as u16);
            put(&mut fragment, 10, 0);
            let sum = !sum(&fragment[..20], 0);
            put(&mut fragment, 10, sum);
            frames.push(self.ethernet(IPV4, &fragment));
        }
        if self.rng.one_in(3) {
            frames.reverse();
        }
        let count = frames.len();
        self.says(format_args!("in {count} fragments"));
        frames
    }

    /// Makes one of them wrong, or odd.
    fn spoil(&mut self, frames: &mut [Vec<u8>]) {
        let which = self.rng.below(frames.len());
        let is_whole = frames.len() == 1;
        let frame = &mut frames[which];
        let no_checksum = is_whole && frame[23] == UDP && word(frame, 40) == 0;
        let packet_len = frame.len() - ETHERNET;
        match self.rng.below(9) {
            0 => {
                frame[IP_CHECKSUM] ^= 0x40;
                self.only(Answer::No);
                self.says(format_args!("wrong IPv4 checksum"));
            }
            1 if packet_len > 28 && frame[23] != UNASSIGNED => {
                *frame.last_mut().expect("it has bytes") ^= 0x10;
                if !no_checksum {
                    // What is behind a datagram is not summed up.
                    let behind = self.answer == Answer::Either;
                    self.only(if behind { Answer::Either } else { Answer::No });
                    self.says(format_args!("wrong transport checksum"));
                }
            }
            2 if packet_len > 30 => {
                let cut = 1 + self.rng.below(packet_len - 29);
                // Whatever the frame is filled up with is not what was here.
                let first = frame.len() - cut;
                if FILLS.contains(&frame[first]) {
                    return;
                }
                frame.truncate(first);
                // What fills it up may be taken for what is missing, if nobody sums it up.
                let is_summed = !no_checksum && self.answer == Answer::Yes;
                self.only(if is_summed {
                    Answer::No
                } else {
                    Answer::Either
                });
                self.says(format_args!("cut by {cut} octets"));
            }
            3 => {
                let total = [0, 19, 21][self.rng.below(3)];
                // One octet is enough of a protocol that nobody knows.
                let may_be = frame[23] == UNASSIGNED && total == 21;
                put(frame, TOTAL_LENGTH, total);
                finish_header(frame);
                self.only(if may_be { Answer::Either } else { Answer::No });
                self.says(format_args!("IPv4 total length {total}"));
            }
            4 => {
                let first = [0x44, 0x40, 0x55, 0x65, 0x4f][self.rng.below(5)];
                let is_unknown = frame[23] == UNASSIGNED;
                frame[ETHERNET] = first;
                // The data of a protocol that nobody knows may as well be options.
                let may_be = is_unknown && first == 0x4f;
                self.only(if may_be { Answer::Either } else { Answer::No });
                self.says(format_args!("IPv4 begins with {first:#x}"));
                if usize::from(first & 15) * 4 <= packet_len && first & 15 >= 5 {
                    finish_header(frame);
                }
            }
            5 | 6 if is_whole && packet_len <= 1460 => {
                // No operation (RFC 791 §3.1), up to all room that there is.
                let words = 1 + self.rng.below(10);
                frame.splice(34..34, vec![1; 4 * words]);
                frame[ETHERNET] += words as u8;
                let total = word(frame, TOTAL_LENGTH) + 4 * words as u16;
                put(frame, TOTAL_LENGTH, total);
                finish_header(frame);
                self.says(format_args!("{words} words of IPv4 options"));
            }
            7 => {
                let own = self.ends.ip;
                let source =
                    [[127, 0, 0, 1], [255; 4], [0; 4], [224, 0, 0, 1], own][self.rng.below(5)];
                frame[26..30].copy_from_slice(&source);
                finish_header(frame);
                self.only(Answer::No);
                self.says(format_args!("from {source:?}"));
            }
            8 if is_whole => {
                put(frame, ETHERNET + 6, 1 << 13);
                finish_header(frame);
                self.only(Answer::No);
                self.says(format_args!("a first fragment alone"));
            }
            _ => {}
        }
    }

    /// Fills them up to one of the lengths that matter.
    fn lengthen(&mut self, frames: &mut [Vec<u8>]) {
        let len = match self.rng.below(28) {
            0 => 64,
            1 => LONGEST,
            2 => LONGEST + 1,
            3 => LONGEST + 4,
            4 => LONGEST + 8,
            5 => [1600, 2047, 2048, 2049, 4000][self.rng.below(5)],
            6 => return,
            _ => SHORTEST,
        };
        let fill = FILLS[self.rng.below(2)];
        for frame in &mut *frames {
            if frame.len() < len {
                frame.resize(len, fill);
            }
        }
        if len > SHORTEST {
            self.says(format_args!("{len} bytes"));
        }
        if len > LONGEST {
            self.only(Answer::No);
        }
    }

    fn address(&mut self, frames: &mut [Vec<u8>]) {
        let to = match self.rng.below(16) {
            0 => GROUP,
            1 => STRANGER,
            2 | 3 => EVERYBODY,
            _ => return,
        };
        for frame in &mut *frames {
            frame[..6].copy_from_slice(&to);
        }
        self.says(format_args!("to {to:02x?}"));
        if to != EVERYBODY {
            self.only(Answer::No);
        } else if word(&frames[0], 12) != ARP && self.answer == Answer::Yes {
            self.answer = Answer::Either;
        }
    }

    /// Puts tags before the EtherType. Priority and number 0 mean no VLAN (IEEE 802.1Q §9.6).
    fn tag(&mut self, frames: &mut [Vec<u8>]) {
        let priority = (self.rng.below(8) as u16) << 13;
        let number = [1, 7, 2048, 4094][self.rng.below(4)];
        let tags: &[(u16, u16)] = match self.rng.below(20) {
            0 | 1 => &[(VLAN, priority)],
            2 => &[(VLAN, number)],
            3 => &[(VLAN, priority | number)],
            4 => &[(VLAN, priority), (VLAN, number)],
            5 => &[(VLAN, number), (VLAN, 0)],
            6 => &[(SERVICE_VLAN, priority | number)],
            7 => &[(SERVICE_VLAN, number), (VLAN, 7)],
            _ => return,
        };
        let bytes: Vec<u8> = tags
            .iter()
            .flat_map(|&(kind, tag)| [kind.to_be_bytes(), tag.to_be_bytes()].concat())
            .collect();
        for frame in frames {
            frame.splice(12..12, bytes.iter().copied());
        }
        self.says(format_args!("tags {tags:04x?}"));
        if tags != [(VLAN, priority)] {
            self.only(Answer::No);
        }
    }
}
