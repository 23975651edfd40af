//! The messages of neighbour discovery (RFC 4861 §4): parsed with all checks that a host must make, and
//! built.

use crate::ip::icmp;
use crate::ip::interface::{Prefix, is_link_local, solicited_node};
use crate::ip::protocol;
use crate::link::ethernet::{self, ETHERNET, IPV6_HEADER, Station};
use crate::packet::IpPacket;
use crate::verdict::DropReason;
use abi::socket::Ip;
use alloc::vec::Vec;

/// ICMPv6's types (RFC 4861 §4, RFC 3810 §5).
pub(crate) const MLD_QUERY: u8 = 130;
pub(super) const MLD_REPORT: u8 = 143;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// The options (RFC 4861 §4.6).
const SOURCE_STATION: u8 = 1;
const TARGET_STATION: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
/// The most prefixes of an advertisement that are looked at.
const PREFIXES_MAX: usize = 16;
/// The hop limit of all these messages: no router passes it on (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;

/// Whether neighbour discovery or MLD takes messages of this type.
pub(crate) fn takes(kind: u8) -> bool {
    matches!(kind, MLD_QUERY | ROUTER_SOLICITATION..=REDIRECT)
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// A host asks for our station, or whether its address is free.
    Solicitation {
        target: Ip,
        /// The sender's station, if it tells it.
        station: Option<Station>,
    },
    /// A neighbour tells its station.
    Advertisement {
        target: Ip,
        station: Option<Station>,
        /// It answers a solicitation of ours.
        is_solicited: bool,
        /// It replaces what is known.
        overrides: bool,
    },
    Router(RouterAdvertisement),
    /// A message that a host ignores: a router solicitation, or a redirect. Who does not follow a redirect
    /// sends by way of the router, which passes packets on (RFC 4861 §8).
    Ignored,
}

/// What a router says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouterAdvertisement {
    /// How long it is a default router, in seconds; 0: it is none.
    pub lifetime_s: u16,
    pub station: Option<Station>,
    pub prefixes: Vec<PrefixInformation>,
}

/// A prefix information option (RFC 4861 §4.6.2). Times are in seconds; all ones is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PrefixInformation {
    pub prefix: Prefix,
    pub is_on_link: bool,
    pub is_autonomous: bool,
    pub valid_s: u32,
    pub preferred_s: u32,
}

/// The options of a message.
#[derive(Default)]
struct Options {
    source: Option<Station>,
    target: Option<Station>,
    prefixes: Vec<PrefixInformation>,
}

/// Parses a message whose checksum is right. `hop_limit`: that of its packet.
///
/// # Errors
/// [`DropReason::NdpInvalid`] if a check of RFC 4861 §6.1, §7.1 or §8.1 fails.
pub(super) fn parse(message: &[u8], ip: &IpPacket, hop_limit: u8) -> Result<Message, DropReason> {
    const INVALID: DropReason = DropReason::NdpInvalid;
    let (head, body) = message.split_first_chunk::<8>().ok_or(INVALID)?;
    if hop_limit != HOP_LIMIT || head[1] != 0 {
        return Err(INVALID);
    }
    let is_nobody = ip.source == Ip::UNSPECIFIED;
    let target = || {
        let (target, options) = body.split_first_chunk::<16>().ok_or(INVALID)?;
        let target = Ip(*target);
        if target.is_multicast() || target.is_v4() || target == Ip::UNSPECIFIED {
            return Err(INVALID);
        }
        Ok((target, parse_options(options)?))
    };
    match head[0] {
        NEIGHBOR_SOLICITATION => {
            let (target, options) = target()?;
            // A probe for duplicates goes to the group of its target, and tells no station (§7.1.1).
            let is_probe = ip.destination == solicited_node(target) && options.source.is_none();
            if is_nobody && !is_probe {
                return Err(INVALID);
            }
            let station = options.source;
            Ok(Message::Solicitation { target, station })
        }
        NEIGHBOR_ADVERTISEMENT => {
            let (target, options) = target()?;
            let is_solicited = head[4] & 0x40 != 0;
            if is_nobody || (is_solicited && ip.destination.is_multicast()) {
                return Err(INVALID);
            }
            Ok(Message::Advertisement {
                target,
                station: options.target,
                is_solicited,
                overrides: head[4] & 0x20 != 0,
            })
        }
        ROUTER_ADVERTISEMENT => {
            let (_, options) = body.split_first_chunk::<8>().ok_or(INVALID)?;
            let options = parse_options(options)?;
            if !is_link_local(ip.source) {
                return Err(INVALID);
            }
            Ok(Message::Router(RouterAdvertisement {
                lifetime_s: u16::from_be_bytes([head[6], head[7]]),
                station: options.source,
                prefixes: options.prefixes,
            }))
        }
        _ => Ok(Message::Ignored),
    }
}

fn parse_options(mut octets: &[u8]) -> Result<Options, DropReason> {
    let mut found = Options::default();
    while let Some((&[kind, units], _)) = octets.split_first_chunk::<2>() {
        // An option without length would never end (§4.6).
        let len = 8 * usize::from(units);
        let (option, behind) = octets.split_at_checked(len).ok_or(DropReason::NdpInvalid)?;
        let Some((_, value)) = option.split_first_chunk::<2>() else {
            return Err(DropReason::NdpInvalid);
        };
        octets = behind;
        let station = || {
            let station = value.first_chunk().map(|&octets| Station(octets));
            station.filter(|station| station.is_single())
        };
        match kind {
            SOURCE_STATION => found.source = station(),
            TARGET_STATION => found.target = station(),
            PREFIX_INFORMATION if found.prefixes.len() < PREFIXES_MAX => {
                found.prefixes.extend(prefix(value));
            }
            // "Options that are not recognized must be ignored."
            _ => {}
        }
    }
    match octets.is_empty() {
        true => Ok(found),
        false => Err(DropReason::NdpInvalid),
    }
}

/// A prefix information option, from behind its length.
fn prefix(value: &[u8]) -> Option<PrefixInformation> {
    let value = value.first_chunk::<30>()?;
    let long =
        |at: usize| u32::from_be_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]);
    let (len, flags) = (value[0], value[1]);
    let ip = Ip(*value.last_chunk()?);
    let is_useless = len > 128 || is_link_local(ip) || ip.is_multicast() || ip.is_v4();
    (!is_useless).then_some(PrefixInformation {
        prefix: Prefix { ip, len },
        is_on_link: flags & 0x80 != 0,
        is_autonomous: flags & 0x40 != 0,
        valid_s: long(2),
        preferred_s: long(6),
    })
}

/// Where a message of ours goes.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub station: (Station, Station),
    pub from: Ip,
    pub to: Ip,
}

/// A solicitation for this target (§4.3). With `::` for a source it probes for duplicates.
pub(super) fn solicitation(ends: &Ends, target: Ip) -> Vec<u8> {
    let own = match ends.from == Ip::UNSPECIFIED {
        true => Vec::new(),
        false => station_option(SOURCE_STATION, ends.station.0),
    };
    let head = [NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    frame(ends, &[&head, &target.0, &own])
}

/// An advertisement of one of our addresses (§4.4).
pub(super) fn advertisement(ends: &Ends, target: Ip, is_solicited: bool) -> Vec<u8> {
    let flags = 0x20 | if is_solicited { 0x40 } else { 0 };
    let head = [NEIGHBOR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    let own = station_option(TARGET_STATION, ends.station.0);
    frame(ends, &[&head, &target.0, &own])
}

/// A router solicitation (§4.1).
pub(super) fn router_solicitation(ends: &Ends) -> Vec<u8> {
    let own = station_option(SOURCE_STATION, ends.station.0);
    frame(ends, &[&[ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &own])
}

fn station_option(kind: u8, station: Station) -> Vec<u8> {
    [&[kind, 1][..], &station.0].concat()
}

/// A frame with an ICMPv6 message, whose checksum is filled in.
fn frame(ends: &Ends, pieces: &[&[u8]]) -> Vec<u8> {
    headed(ends, (protocol::ICMPV6, HOP_LIMIT), &[], pieces)
}

/// A frame with an ICMPv6 message behind these extension headers, the first of which is `next`.
pub(super) fn headed(
    ends: &Ends,
    (next, hop_limit): (u8, u8),
    extensions: &[u8],
    pieces: &[&[u8]],
) -> Vec<u8> {
    let mut message = pieces.concat();
    let sum = icmp::pseudo(ends.from, ends.to, message.len()).add(&message);
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&sum.checksum().to_be_bytes());
    }
    let len = (extensions.len() + message.len()) as u16;
    let mut ip = [0; IPV6_HEADER];
    ip[0] = 6 << 4;
    ip[4..6].copy_from_slice(&len.to_be_bytes());
    (ip[6], ip[7]) = (next, hop_limit);
    ip[8..24].copy_from_slice(&ends.from.0);
    ip[24..].copy_from_slice(&ends.to.0);
    let (own, to) = ends.station;
    let header: [u8; ETHERNET] = own.header(to, ethernet::IPV6);
    [&header[..], &ip, extensions, &message].concat()
}
