//! What single filters say: whether one makes sense, whether two overlap, and which frames meet one.

use crate::endpoint::headers::{ARP, Headers, IPV4, IPV6, Part, Resolution, TCP, UDP, is_group};
use abi::endpoint::Filter;
use abi::{Error, Result};
use core::net::IpAddr;

/// Whether some frame to a station can meet the filter.
///
/// # Errors
/// [`Error::InvalidArgument`]
pub fn check(filter: &Filter) -> Result<()> {
    let Filter {
        station,
        ethertype,
        address,
        protocol,
        port,
    } = *filter;
    let is_station = station.is_some_and(|station| !is_group(&station) && station != [0; 6]);
    let is_host = address.is_none_or(|address| {
        let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        !address.is_multicast() && !is_broadcast
    });
    let is_ip = matches!(ethertype, None | Some(IPV4 | IPV6));
    let fits = ethertype.is_none_or(|ethertype| {
        let of_address = address.map_or(ethertype, family);
        (ethertype == of_address || ethertype == ARP && of_address == IPV4) && ethertype >= 0x600
    });
    let has_port = matches!(protocol, None | Some(TCP | UDP));
    let right = is_station
        && is_host
        && fits
        && (is_ip || protocol.is_none() && port.is_none())
        && (has_port || port.is_none());
    right.then_some(()).ok_or(Error::InvalidArgument)
}

/// The EtherType of packets with an address like this.
pub fn family(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => IPV4,
        IpAddr::V6(_) => IPV6,
    }
}

/// Whether some frame to a station meets both filters, or two stations would answer for one address:
/// then either could take what is the other's. ARP packets may be for several.
pub fn overlap(one: &Filter, other: &Filter) -> bool {
    fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
        one.is_none() || other.is_none() || one == other
    }
    let ethertype = |filter: &Filter| match filter.ethertype {
        None => filter.address.map(family),
        given => given,
    };
    let is_ip = |filter: &Filter| filter.protocol.is_some() || filter.port.is_some();
    let is_other = |filter: &Filter| {
        ethertype(filter).is_some_and(|ethertype| ethertype != IPV4 && ethertype != IPV6)
    };
    let has_ports = |filter: &Filter| matches!(filter.protocol, None | Some(TCP | UDP));
    let is_arp = |filter: &Filter| filter.ethertype == Some(ARP);
    // No frame to a station has this address.
    let is_nowhere = |filter: &Filter| filter.address.is_some_and(|it| it.is_unspecified());
    if is_nowhere(one) || is_nowhere(other) {
        return false;
    }
    if one.address.is_some() && one.address == other.address && one.station != other.station {
        return true;
    }
    !is_arp(one)
        && !is_arp(other)
        && agree(one.station, other.station)
        && agree(ethertype(one), ethertype(other))
        && agree(one.address, other.address)
        && agree(one.protocol, other.protocol)
        && agree(one.port, other.port)
        && !(is_ip(one) && is_other(other) || is_ip(other) && is_other(one))
        && (one.port.is_none() || has_ports(other))
        && (other.port.is_none() || has_ports(one))
}

/// Whether the fields agree that are the same in both directions, and the port, as far as the frame
/// has one.
pub fn agrees(filter: &Filter, headers: &Headers, port: Option<u16>) -> bool {
    let has_ports = matches!(headers.protocol, Some(TCP | UDP));
    let is_hidden = has_ports && matches!(headers.part, Part::Later(_));
    filter
        .ethertype
        .is_none_or(|given| given == headers.ethertype)
        && filter
            .protocol
            .is_none_or(|given| headers.protocol == Some(given))
        && filter
            .port
            .is_none_or(|given| port == Some(given) || is_hidden)
}

/// Whether a packet of an endpoint with this filter may have this source.
pub fn may_come_from(filter: &Filter, source: Option<IpAddr>) -> bool {
    match (filter.address, source) {
        (None, _) => true,
        (Some(given), Some(source)) => source == given || source.is_unspecified(),
        (Some(_), None) => false,
    }
}

/// Whether a packet with which hosts find each other's stations concerns who has this filter.
pub fn resolution_concerns(filter: &Filter, headers: &Headers) -> bool {
    let is_for_station =
        headers.is_to_group() || filter.station == Some(headers.destination.station);
    let concerns = |resolution: Resolution| {
        let concerned = resolution.concerns;
        concerned.is_none() || concerned == filter.address
    };
    let is_for_address = filter.address.is_none() || headers.resolution.is_some_and(concerns);
    is_for_station && is_for_address && resolves(filter, headers)
}

/// Whether who has this filter finds stations by packets like this one, whatever its protocol and port.
pub fn resolves(filter: &Filter, headers: &Headers) -> bool {
    match headers.ethertype {
        ARP => {
            matches!(filter.address, None | Some(IpAddr::V4(_)))
                && matches!(filter.ethertype, None | Some(ARP | IPV4))
        }
        _ => {
            matches!(filter.address, None | Some(IpAddr::V6(_)))
                && matches!(filter.ethertype, None | Some(IPV6))
        }
    }
}

/// A frame to a group concerns all whose fields agree. Its address is a group's, too, if it is no
/// endpoint's.
pub fn concerns_group(filter: &Filter, headers: &Headers, is_owned: bool) -> bool {
    let target = headers.destination.address;
    let is_for_address = match (filter.address, target) {
        (Some(given), Some(target)) if is_owned => given == target,
        (Some(given), Some(target)) => family(given) == family(target),
        (Some(_), None) => false,
        (None, _) => true,
    };
    agrees(filter, headers, headers.destination.port) && is_for_address
}
