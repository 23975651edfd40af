//! Frames of a few stations, addresses and ports, made by the standards and with no code of what is
//! tested.

use crate::endpoint::headers::{
    ARP, ICMPV6, IPV4, IPV6, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, ROUTER_SOLICITATION,
    TCP, UDP,
};
use abi::nic::MacAddress;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use nic::model::Rng;

pub const ICMP: u8 = 1;
pub const OTHER: u16 = 0x88b5;
pub const STATIONS: [MacAddress; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]];
pub const EVERYBODY: MacAddress = [0xff; 6];
pub const GROUP: MacAddress = [1, 0, 0x5e, 0, 0, 0xfb];
pub const ADDRESSES: [IpAddr; 6] = [v4(1), v4(2), v4(3), v6(1), v6(2), v6(3)];
pub const PORTS: [u16; 3] = [53, 80, 0];

pub const fn v4(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 2, host))
}

pub const fn v6(host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host))
}

/// What a frame carries.
#[derive(Clone, Debug)]
pub struct Packet {
    pub stations: [MacAddress; 2],
    /// Its source and its destination.
    pub addresses: [IpAddr; 2],
    pub protocol: u8,
    pub ports: [u16; 2],
    /// Offset in units of 8 bytes, whether more follow, and the packet's number.
    pub fragment: (u16, bool, u32),
    /// Bytes between the header and what follows: of IPv4 options, of IPv6 in an extension header.
    pub extension: usize,
}

impl Packet {
    /// From the first station, address and port to the others.
    pub fn new(addresses: [IpAddr; 2], protocol: u8, ports: [u16; 2]) -> Self {
        Packet {
            stations: [STATIONS[0], STATIONS[1]],
            addresses,
            protocol,
            ports,
            fragment: (0, false, 0),
            extension: 0,
        }
    }

    pub fn with_fragment(mut self, offset: u16, more: bool, number: u32) -> Self {
        self.fragment = (offset, more, number);
        self
    }

    pub fn between(mut self, source: MacAddress, destination: MacAddress) -> Self {
        self.stations = [source, destination];
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let [source, destination] = self.stations;
        let (offset, more, number) = self.fragment;
        let [from, to] = self.ports.map(u16::to_be_bytes);
        let segment = [from, to, [0, 12], [0, 0], [1, 2], [3, 4]].concat();
        let mut bytes = [destination, source].concat();
        match self.addresses {
            [IpAddr::V4(source), IpAddr::V4(destination)] => {
                let field = offset | u16::from(more) << 13;
                let words = 5 + self.extension.div_ceil(4);
                let total = (4 * words + segment.len()) as u16;
                bytes.extend(IPV4.to_be_bytes());
                bytes.extend([0x40 | words as u8, 0]);
                bytes.extend(total.to_be_bytes());
                bytes.extend((number as u16).to_be_bytes());
                bytes.extend(field.to_be_bytes());
                bytes.extend([64, self.protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.resize(14 + 4 * words, 1);
            }
            [IpAddr::V6(source), IpAddr::V6(destination)] => {
                const OPTIONS: u8 = 60;
                const FRAGMENT: u8 = 44;
                let is_fragment = self.fragment != (0, false, 0);
                let mut next = self.protocol;
                let mut headers = Vec::new();
                if self.extension > 0 {
                    let units = self.extension.div_ceil(8);
                    let mut options = vec![next, (units - 1) as u8];
                    options.resize(8 * units, 0);
                    (next, headers) = (OPTIONS, options);
                }
                if is_fragment {
                    let mut fragment = vec![next, 0];
                    fragment.extend((offset << 3 | u16::from(more)).to_be_bytes());
                    fragment.extend(number.to_be_bytes());
                    fragment.extend(headers);
                    (next, headers) = (FRAGMENT, fragment);
                }
                bytes.extend(IPV6.to_be_bytes());
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(((headers.len() + segment.len()) as u16).to_be_bytes());
                bytes.extend([next, 64]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(headers);
            }
            _ => panic!("of one family"),
        }
        bytes.extend(segment);
        bytes
    }
}

/// An ARP packet by which `source` at the first station asks the second for `target`, or answers it.
pub fn arp(stations: [MacAddress; 2], source: IpAddr, target: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source, target) else {
        panic!("of IPv4");
    };
    let [source, destination] = stations;
    let mut bytes = [destination, source].concat();
    bytes.extend(ARP.to_be_bytes());
    bytes.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend(source);
    bytes.extend(from.octets());
    bytes.extend([0; 6]);
    bytes.extend(to.octets());
    bytes
}

/// A message of neighbour discovery (RFC 4861 §4) about `target`, if that kind has one, from one station
/// and address to others, with options of these kinds that name a station.
pub fn neighbour(
    kind: u8,
    stations: [MacAddress; 2],
    addresses: [IpAddr; 2],
    target: IpAddr,
    options: &[(u8, MacAddress)],
) -> Vec<u8> {
    let packet = Packet::new(addresses, ICMPV6, [0, 0]).between(stations[0], stations[1]);
    let mut bytes = packet.bytes();
    bytes.truncate(14 + 40);
    bytes.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
    if let (NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT, IpAddr::V6(target)) = (kind, target) {
        bytes.extend(target.octets());
    }
    for (kind, station) in options {
        bytes.extend([*kind, 1]);
        bytes.extend(station);
    }
    let len = (bytes.len() - 14 - 40) as u16;
    bytes[14 + 4..14 + 6].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// A frame of any kind.
pub fn any(rng: &mut Rng) -> Vec<u8> {
    let source = STATIONS[rng.below(3)];
    let destination = match rng.below(8) {
        0 => EVERYBODY,
        1 => GROUP,
        _ => STATIONS[rng.below(3)],
    };
    let stations = [source, destination];
    let family = 3 * rng.below(2);
    let mut addresses = [0; 2].map(|_| ADDRESSES[family + rng.below(3)]);
    if family == 0 && rng.one_in(12) {
        addresses[1] = IpAddr::V4(Ipv4Addr::BROADCAST);
    }
    if rng.one_in(12) {
        addresses[0] = match family {
            0 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
    }
    match rng.below(10) {
        0 => {
            let mut bytes = [destination, source].concat();
            bytes.extend(OTHER.to_be_bytes());
            bytes.extend([7; 50]);
            bytes
        }
        1 if family == 0 => arp(stations, addresses[0], addresses[1]),
        1 | 3 if family != 0 => {
            let kind = ROUTER_SOLICITATION + rng.below(5) as u8;
            let target = ADDRESSES[family + rng.below(3)];
            let option = [(1 + rng.below(2) as u8, STATIONS[rng.below(3)])];
            let options = &option[..rng.below(2)];
            neighbour(kind, stations, addresses, target, options)
        }
        2 => {
            // Nothing but what the EtherType says.
            let mut bytes = [destination, source].concat();
            bytes.extend([IPV4, IPV6, ARP][rng.below(3)].to_be_bytes());
            bytes.extend([0; 46]);
            bytes
        }
        _ => Packet {
            stations,
            addresses,
            protocol: [TCP, UDP, UDP, ICMP][rng.below(4)],
            ports: [0; 2].map(|_| PORTS[rng.below(3)]),
            fragment: match rng.below(4) {
                0 => (rng.below(2) as u16, rng.one_in(2), rng.below(3) as u32),
                _ => (0, false, 0),
            },
            extension: [0, 0, 8, 24][rng.below(4)],
        }
        .bytes(),
    }
}
