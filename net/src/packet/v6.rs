//! IPv6 (RFC 8200): its header, and the extension headers behind it.

use crate::ip::interface::{Interface, Local};
use crate::ip::protocol;
use crate::link::ethernet::{ETHERNET, IPV6_HEADER, Station};
use crate::packet::{Ends, Fragment, IpPacket, Payload, datagram_of, segment, word};
use crate::phy::{Checksum, ChecksumCapabilities};
use crate::verdict::DropReason;
use abi::socket::Ip;

/// The most extension headers of a packet. Honest ones have two or three (RFC 8504 §5.3 lets a host have
/// such a limit).
const EXTENSIONS_MAX: usize = 8;
/// The most options of a packet (RFC 8504 §5.3).
const OPTIONS_MAX: usize = 32;

/// The extension headers (IANA, "IPv6 Extension Header Types").
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// What follows the extension headers. Places are offsets in the frame.
struct Upper {
    protocol: u8,
    start: usize,
    /// The fragment header, if it is a fragment.
    fragment: Option<Fragment>,
}

/// Parses an IPv6 packet and verifies the checksums that are software's job.
#[inline(never)]
pub(super) fn parse(
    octets: &[u8],
    station: Station,
    to_me: bool,
    own: &Interface,
    software: &ChecksumCapabilities,
) -> Result<IpPacket, DropReason> {
    let (fixed, behind) = octets
        .split_first_chunk::<IPV6_HEADER>()
        .ok_or(DropReason::Truncated)?;
    if fixed[0] >> 4 != 6 {
        return Err(DropReason::IpHeader);
    }
    let len = usize::from(word(fixed, 4));
    let carried = behind.get(..len).ok_or(DropReason::Truncated)?;
    let address = |at: usize| Ip(core::array::from_fn(|index| fixed[at + index]));
    let (source, destination) = (address(8), address(24));
    // A host that looks for duplicates of its address has none yet (RFC 4862 §5.4.2).
    let is_nobody = source == Ip::UNSPECIFIED;
    if source.is_v4() || (own.is_impossible_peer(source) && !is_nobody) {
        return Err(DropReason::IpSource);
    }
    let local = own.find(destination);
    let is_unicast = to_me && local.is_some();
    if !is_unicast {
        match local {
            Some(_) => return Err(DropReason::LinkBroadcast),
            None if own.has_joined(destination) => {}
            None => return Err(DropReason::IpDestination),
        }
    }
    let upper = match fixed[6] {
        protocol @ (protocol::TCP | protocol::UDP | protocol::ICMPV6) => Upper {
            protocol,
            start: ETHERNET + IPV6_HEADER,
            fragment: None,
        },
        next => extensions(next, carried)?,
    };
    let ends = Ends {
        source,
        destination,
        local: local
            .or_else(|| own.source_for(source))
            .unwrap_or(Local::LINK),
    };
    let start = upper.start;
    let content = carried.get(start - ETHERNET - IPV6_HEADER..);
    let content = content.ok_or(DropReason::Truncated)?;
    if is_nobody && upper.protocol != protocol::ICMPV6 {
        return Err(DropReason::IpSource);
    }
    let payload = match upper.protocol {
        _ if let Some(fragment) = upper.fragment => {
            let blocks = fragment.is_last || content.len().is_multiple_of(8);
            let fits = fragment.offset + content.len() <= usize::from(u16::MAX);
            if !blocks || !fits || content.is_empty() {
                return Err(DropReason::FragmentInvalid);
            }
            Payload::Fragment(fragment)
        }
        protocol::TCP if is_unicast => {
            // No card looks behind extension headers.
            let mut software = software.clone();
            if start != ETHERNET + IPV6_HEADER {
                software.tcp = Checksum::Both;
            }
            Payload::Segment(segment(content, station, start, &ends, &software)?)
        }
        protocol::TCP => return Err(DropReason::TcpBroadcast),
        protocol::UDP => Payload::Datagram(datagram_of(content, start, &ends, software)?),
        _ => Payload::Other,
    };
    Ok(IpPacket {
        source,
        destination,
        local: ends.local,
        is_unicast,
        protocol: upper.protocol,
        start,
        end: ETHERNET + IPV6_HEADER + len,
        payload,
    })
}

/// Walks over the extension headers (RFC 8200 §4).
#[cold]
fn extensions(mut next: u8, carried: &[u8]) -> Result<Upper, DropReason> {
    let base = ETHERNET + IPV6_HEADER;
    // Where the field is that names the next header.
    let mut named_at = ETHERNET + 6;
    let (mut at, mut options) = (0, 0);
    for count in 0..=EXTENSIONS_MAX {
        match next {
            HOP_BY_HOP | DESTINATION | ROUTING | FRAGMENT => {}
            protocol => {
                return Ok(Upper {
                    protocol,
                    start: base + at,
                    fragment: None,
                });
            }
        }
        let header = carried.get(at..).unwrap_or_default();
        let first = header.first_chunk::<8>().ok_or(DropReason::Truncated)?;
        if next == FRAGMENT {
            let part = word(first, 2);
            let (offset, is_last) = (usize::from(part & !7), part & 1 == 0);
            (named_at, next, at) = match (offset, is_last) {
                // A whole datagram, which is not put together with others (RFC 6946 §4).
                (0, true) => (base + at, first[0], at + 8),
                _ => {
                    return Ok(Upper {
                        protocol: first[0],
                        start: base + at + 8,
                        fragment: Some(Fragment {
                            identification: u32::from(word(first, 4)) << 16
                                | u32::from(word(first, 6)),
                            offset,
                            is_last,
                            headers: base + at,
                            next_header: named_at,
                        }),
                    });
                }
            };
            continue;
        }
        let len = 8 + 8 * usize::from(first[1]);
        let header = header.get(..len).ok_or(DropReason::Truncated)?;
        match next {
            // It comes first or not at all (RFC 8200 §4.1).
            HOP_BY_HOP if count > 0 => return Err(DropReason::IpExtension),
            // We are no router, and source routes are no longer followed (RFC 5095 §3).
            ROUTING if first[3] != 0 => return Err(DropReason::IpExtension),
            ROUTING => {}
            _ => options += acceptable_options(&header[2..])?,
        }
        if options > OPTIONS_MAX {
            return Err(DropReason::IpExtension);
        }
        (named_at, next, at) = (base + at, first[0], at + len);
    }
    Err(DropReason::IpExtension)
}

/// How many options there are, if we may go on though we know none of them (RFC 8200 §4.2).
fn acceptable_options(mut octets: &[u8]) -> Result<usize, DropReason> {
    let mut count = 0;
    while let Some((&kind, behind)) = octets.split_first() {
        octets = behind;
        // Pad1 has no length.
        if kind == 0 {
            continue;
        }
        let (&len, behind) = octets.split_first().ok_or(DropReason::IpExtension)?;
        octets = behind.get(len.into()..).ok_or(DropReason::IpExtension)?;
        // The two highest bits tell whether who does not know the option skips it. Router alerts (RFC
        // 2711) and padding can be skipped.
        if kind >> 6 != 0 {
            return Err(DropReason::IpExtension);
        }
        count += usize::from(kind != 1);
    }
    Ok(count)
}
