//! Filters, and the fields of frames, as numbers that are compared quickly.

use abi::endpoint::Filter;
use core::cmp::Ordering;
use core::net::{IpAddr, Ipv6Addr};

/// A filter, or what a frame has of the fields of one, as numbers that are compared quickly: which
/// fields are given, one bit each, then the protocol and the station; the address; EtherType and port.
pub type Key = [u64; 4];

/// A filter as a key.
pub fn key(filter: &Filter) -> Key {
    let Filter {
        station,
        ethertype,
        address,
        protocol,
        port,
    } = *filter;
    let given = u64::from(station.is_some())
        | u64::from(ethertype.is_some()) << 1
        | u64::from(address.is_some()) << 2
        | u64::from(protocol.is_some()) << 3
        | u64::from(port.is_some()) << 4;
    let address = address.map_or(0, |address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    });
    let [a, b, c, d, e, f] = station.unwrap_or_default();
    let station = u64::from_be_bytes([0, protocol.unwrap_or_default(), a, b, c, d, e, f]);
    let numbers =
        u64::from(ethertype.unwrap_or_default()) << 16 | u64::from(port.unwrap_or_default());
    [
        given << 56 | station,
        (address >> 64) as u64,
        address as u64,
        numbers,
    ]
}

/// The bits of a key that are the fields a filter gives.
pub fn mask(filter: &Filter) -> Key {
    const ALL: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
    key(&Filter {
        station: filter.station.map(|_| [u8::MAX; 6]),
        ethertype: filter.ethertype.map(|_| u16::MAX),
        address: filter.address.map(|_| ALL),
        protocol: filter.protocol.map(|_| u8::MAX),
        port: filter.port.map(|_| u16::MAX),
    })
}

/// Which fields a key gives, a bit each.
pub fn given(key: &Key) -> u64 {
    key[0] >> 56
}

/// The order of keys.
#[inline]
pub fn compare(one: &Key, other: &Key) -> Ordering {
    #[cfg(test)]
    super::tests::compared();
    one.cmp(other)
}
