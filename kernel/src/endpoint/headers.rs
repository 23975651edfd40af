//! What the headers of a frame say: from where to where it goes. Filters ask for nothing else.
//!
//! Sources: IEEE 802.3 (Ethernet), RFC 826 (ARP), RFC 791 §3.1 (IPv4), RFC 8200 §3, §4 (IPv6), RFC 4861 §4
//! (neighbour discovery), RFC 9293 §3.1 and RFC 768 (ports).

use super::memory::Shared;
use abi::nic::MacAddress;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// EtherTypes.
pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
/// Protocols above IP.
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
/// Messages of neighbour discovery (RFC 4861 §4), from the first to the last number.
pub const ROUTER_SOLICITATION: u8 = 133;
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
pub const REDIRECT: u8 = 137;
/// The options with which they name a station: the source's, the target's (RFC 4861 §4.6.1).
const LINK_LAYER_ADDRESS: [u8; 2] = [1, 2];

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of headers that are looked at, at the most: Ethernet, IPv4 and TCP with all options fit.
pub const HEADERS_MAX: usize = 144;
/// Extension headers of IPv6 that are gone through before the frame is taken for one of an unknown
/// protocol.
const EXTENSIONS_MAX: usize = 8;

/// One end of a frame's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The station.
    pub station: MacAddress,
    /// Of IPv4, IPv6 or, as the protocol address, ARP.
    pub address: Option<IpAddr>,
    /// Of TCP or UDP, if this is not a fragment behind the first.
    pub port: Option<u16>,
}

/// Which part of a packet the frame has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Its first fragment; the number that all its fragments have.
    First(u32),
    /// A fragment behind the first.
    Later(u32),
}

/// The headers of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Where it goes.
    pub destination: End,
    /// Where it comes from.
    pub source: End,
    /// The EtherType.
    pub ethertype: u16,
    /// The protocol above IP.
    pub protocol: Option<u8>,
    /// Which part of a packet it has.
    pub part: Part,
    /// It is for hosts to find each other's stations: ARP, or neighbour discovery.
    pub resolves: bool,
    /// What it says of that, if it can be read.
    pub resolution: Option<Resolution>,
}

/// What is said by a packet with which hosts find each other's stations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Which address its sender says is its own, or wants to be; none if the sender says that it is a
    /// router, or if not all of the packet can be read.
    pub claimed: Option<IpAddr>,
    /// The station that it says has this address, if it says one.
    pub station: Option<MacAddress>,
    /// Whoever has this address is concerned; everybody if there is none.
    pub concerns: Option<IpAddr>,
}

impl Headers {
    /// Reads the headers of a frame that has no VLAN tag (any more). What is cut off or makes no sense
    /// is not there; `None` if not even the Ethernet header is whole.
    pub fn read(frame: &[u8]) -> Option<Headers> {
        let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
        let mut headers = Headers {
            destination: End {
                station: array(ethernet, 0)?,
                ..End::default()
            },
            source: End {
                station: array(ethernet, 6)?,
                ..End::default()
            },
            ethertype: u16::from_be_bytes(array(ethernet, 12)?),
            ..Headers::default()
        };
        // Whatever ends early leaves what was read until then.
        let _ = match headers.ethertype {
            IPV4 => headers.read_ipv4(packet),
            IPV6 => headers.read_ipv6(packet),
            ARP => headers.read_arp(packet),
            _ => None,
        };
        Some(headers)
    }

    /// Reads the headers of a frame of `len` bytes that is in memory at `start`: a copy of them, which
    /// does not change any more.
    pub fn load(memory: &impl Shared, start: usize, len: usize) -> Option<Headers> {
        let mut bytes = [0; HEADERS_MAX];
        let bytes = &mut bytes[..len.min(HEADERS_MAX)];
        memory.get(start, bytes);
        Headers::read(bytes)
    }

    /// Whether it goes to a group of stations, or to all.
    pub fn is_to_group(&self) -> bool {
        is_group(&self.destination.station)
    }

    fn read_ipv4(&mut self, packet: &[u8]) -> Option<()> {
        let header: [u8; 20] = array(packet, 0)?;
        let len = usize::from(header[0] & 0xf) * 4;
        if header[0] >> 4 != 4 || len < header.len() {
            return None;
        }
        let address = |at| Some(IpAddr::V4(Ipv4Addr::from(array::<4>(&header, at)?)));
        self.source.address = address(12);
        self.destination.address = address(16);
        self.protocol = Some(header[9]);
        let number = u32::from(u16::from_be_bytes(array(&header, 4)?));
        let field = u16::from_be_bytes(array(&header, 6)?);
        let (offset, more) = (field & 0x1fff, field & 0x2000 != 0);
        self.part = part(offset, more, number);
        self.read_ports(packet.get(len..)?)
    }

    fn read_ipv6(&mut self, packet: &[u8]) -> Option<()> {
        let header: [u8; 40] = array(packet, 0)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let [source, destination] = [8, 24].map(|at| array::<16>(&header, at).map(Ipv6Addr::from));
        let ends = [source?, destination?];
        if ends
            .iter()
            .any(|address| address.to_ipv4_mapped().is_some())
        {
            // No packet has such an address, and a filter means IPv4 by it.
            return None;
        }
        let ends = ends.map(IpAddr::from);
        [self.source.address, self.destination.address] = ends.map(Some);
        let len = usize::from(u16::from_be_bytes(array(&header, 4)?));
        let mut next = header[6];
        let packet = &packet[header.len()..];
        let mut rest = packet;
        for _ in 0..EXTENSIONS_MAX {
            // RFC 8200 §4.1, RFC 4302 §2.
            let len = match next {
                0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
                51 => (usize::from(*rest.get(1)?) + 2) * 4,
                44 => {
                    let field = u16::from_be_bytes(array(rest, 2)?);
                    let number = u32::from_be_bytes(array(rest, 4)?);
                    self.part = part(field >> 3, field & 1 != 0, number);
                    8
                }
                protocol => {
                    self.protocol = Some(protocol);
                    let passed = packet.len() - rest.len();
                    return match protocol {
                        ICMPV6 => self.read_icmpv6(rest, len.saturating_sub(passed), ends),
                        _ => self.read_ports(rest),
                    };
                }
            };
            next = *rest.first()?;
            rest = rest.get(len..)?;
            if let Part::Later(_) = self.part {
                // What follows is no header.
                self.protocol = Some(next);
                return None;
            }
        }
        None
    }

    fn read_ports(&mut self, segment: &[u8]) -> Option<()> {
        let has_ports = matches!(self.protocol, Some(TCP | UDP));
        if has_ports && !matches!(self.part, Part::Later(_)) {
            self.source.port = Some(u16::from_be_bytes(array(segment, 0)?));
            self.destination.port = Some(u16::from_be_bytes(array(segment, 2)?));
        }
        Some(())
    }

    /// Neighbour discovery, in a message of `len` bytes. In fragments there is none (RFC 6980).
    fn read_icmpv6(
        &mut self,
        message: &[u8],
        len: usize,
        [source, destination]: [IpAddr; 2],
    ) -> Option<()> {
        let kind = message.first().copied();
        self.resolves = kind.is_none_or(|kind| (ROUTER_SOLICITATION..=REDIRECT).contains(&kind));
        let kind = kind.filter(|_| self.resolves && self.part == Part::Whole)?;
        let receiver = Some(destination).filter(|address| !address.is_multicast());
        let target = || Some(IpAddr::V6(Ipv6Addr::from(array::<16>(message, 8)?)));
        let (claimed, concerns, options) = match kind {
            ROUTER_SOLICITATION => (Some(source), receiver, 8),
            // Who asks without an address asks whether it may have this one (RFC 4862 §5.4).
            NEIGHBOUR_SOLICITATION if source.is_unspecified() => (target(), target(), 24),
            NEIGHBOUR_SOLICITATION => (Some(source), target(), 24),
            NEIGHBOUR_ADVERTISEMENT => (target(), receiver, 24),
            _ => (None, receiver, len),
        };
        let options = message.get(options..len).ok_or(Unreadable);
        let station = options.and_then(link_layer_address);
        self.resolution = Some(Resolution {
            claimed: claimed.filter(|_| station.is_ok()),
            station: station.unwrap_or_default(),
            concerns,
        });
        Some(())
    }

    fn read_arp(&mut self, packet: &[u8]) -> Option<()> {
        self.resolves = true;
        // Of Ethernet and IPv4, with addresses of 6 and 4 bytes.
        if array(packet, 0)? != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let address = |at| Some(IpAddr::V4(Ipv4Addr::from(array::<4>(packet, at)?)));
        self.source.address = address(14);
        self.destination.address = address(24);
        let (source, target) = (self.source.address?, self.destination.address?);
        self.resolution = Some(Resolution {
            claimed: Some(source),
            station: array(packet, 8),
            // Who asks for its own announces it, to all.
            concerns: Some(target).filter(|target| *target != source),
        });
        Some(())
    }
}

/// Whether a station address is a group's.
pub fn is_group(station: &MacAddress) -> bool {
    station[0] & 1 == 1
}

/// What is alike in all whole IPv4 packets without options of a flow, of stations, addresses and ports: all
/// that [`Headers`] says of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flow([u32; 9]);

impl Flow {
    /// Of the frame of `len` bytes that is in memory at `start`; `None` if it has no such packet.
    #[inline]
    pub fn load(memory: &impl Shared, start: usize, len: usize) -> Option<Flow> {
        // Up to the ports; rounded up.
        const WORDS: usize = 10;
        if len < WORDS * size_of::<u32>() || !start.is_multiple_of(size_of::<u32>()) {
            return None;
        }
        let words: [u32; WORDS] = memory.load_words(start);
        let bytes = |word: u32, mask: [u8; 4]| word & u32::from_le_bytes(mask);
        // Without the type of service, and the time to live.
        let kind = bytes(words[3], [0xff, 0xff, 0xff, 0]);
        let protocol = bytes(words[5], [0xff, 0xff, 0, 0xff]);
        let is_plain = kind == u32::from_le_bytes([8, 0, 0x45, 0]);
        let is_whole = bytes(protocol, [0x3f, 0xff, 0, 0]) == 0;
        (is_plain && is_whole).then_some(Flow([
            words[0],
            words[1],
            words[2],
            kind,
            protocol,
            // Without the checksum.
            bytes(words[6], [0, 0, 0xff, 0xff]),
            words[7],
            words[8],
            bytes(words[9], [0xff, 0xff, 0, 0]),
        ]))
    }
}

/// The same of all IPv6 packets without extension headers that have TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FlowV6([u32; 13]);

impl FlowV6 {
    /// As [`Flow::load`].
    #[inline]
    pub fn load(memory: &impl Shared, start: usize, len: usize) -> Option<FlowV6> {
        // Up to the ports; rounded up.
        const WORDS: usize = 15;
        if len < WORDS * size_of::<u32>() || !start.is_multiple_of(size_of::<u32>()) {
            return None;
        }
        let words: [u32; WORDS] = memory.load_words(start);
        let bytes = |word: u32, mask: [u8; 4]| word & u32::from_le_bytes(mask);
        let kind = bytes(words[3], [0xff, 0xff, 0xf0, 0]);
        let [protocol, ..] = words[5].to_le_bytes();
        let is_plain = kind == u32::from_le_bytes([0x86, 0xdd, 0x60, 0]);
        // Without traffic class, flow label, length and hop limit.
        let mut flow = [0; 13];
        flow[..3].copy_from_slice(&words[..3]);
        flow[3] = bytes(words[5], [0xff, 0, 0xff, 0xff]);
        flow[4..12].copy_from_slice(&words[6..14]);
        flow[12] = bytes(words[14], [0xff, 0xff, 0, 0]);
        (is_plain && matches!(protocol, TCP | UDP)).then_some(FlowV6(flow))
    }
}

/// Options that end early, contradict each other, or are of no Ethernet.
struct Unreadable;

/// The station that these options of neighbour discovery name, if they name one.
fn link_layer_address(mut options: &[u8]) -> Result<Option<MacAddress>, Unreadable> {
    let mut found = None;
    while let &[kind, units, ..] = options {
        let len = usize::from(units) * 8;
        let (option, rest) = options.split_at_checked(len).ok_or(Unreadable)?;
        if LINK_LAYER_ADDRESS.contains(&kind) {
            let station = array(option, 2).filter(|_| units == 1).ok_or(Unreadable)?;
            if found.replace(station).is_some_and(|other| other != station) {
                return Err(Unreadable);
            }
        } else if units == 0 {
            return Err(Unreadable);
        }
        options = rest;
    }
    match options {
        [] => Ok(found),
        _ => Err(Unreadable),
    }
}

fn part(offset: u16, more: bool, number: u32) -> Part {
    match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First(number),
        _ => Part::Later(number),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
