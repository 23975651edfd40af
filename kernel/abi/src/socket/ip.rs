//! An IP address of either family.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first 96 bits of the IPv6 address that maps an IPv4 address (RFC 4291 §2.5.5.2).
const MAPPED: u128 = 0xffff;

/// An IP address of either family in one form: an IPv4 address is the IPv6 address that maps it.
///
/// Addresses are compared, hashed and summed up for each packet, and travel between programs and the
/// network server. In one form of 16 octets that needs no look at the family. The sum of a pseudo header
/// (RFC 8200 §8.1) stays right, too: 0xffff is another zero there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ip(
    /// The address in network byte order.
    pub [u8; 16],
);

impl Ip {
    /// 0.0.0.0: no address, or any of IPv4.
    pub const UNSPECIFIED_V4: Ip = Ip::v4(Ipv4Addr::UNSPECIFIED);
    /// `::`, which is no address, or any of either family.
    pub const UNSPECIFIED: Ip = Ip([0; 16]);

    /// An IPv4 address.
    #[inline]
    pub const fn v4(address: Ipv4Addr) -> Self {
        Ip(address.to_ipv6_mapped().octets())
    }

    /// An IPv6 address. One that maps an IPv4 address is that address.
    #[inline]
    pub const fn v6(address: Ipv6Addr) -> Self {
        Ip(address.octets())
    }

    /// An address in the form of the standard library.
    pub const fn new(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Ip::v4(address),
            IpAddr::V6(address) => Ip::v6(address),
        }
    }

    /// The address, if it is one of IPv4.
    #[inline]
    pub fn as_v4(&self) -> Option<Ipv4Addr> {
        let number = u128::from_be_bytes(self.0);
        (number >> 32 == MAPPED).then(|| Ipv4Addr::from(number as u32))
    }

    /// The address, if it is one of IPv6.
    #[inline]
    pub fn as_v6(&self) -> Option<Ipv6Addr> {
        (!self.is_v4()).then(|| Ipv6Addr::from(self.0))
    }

    /// Whether it is an IPv4 address.
    #[inline]
    pub fn is_v4(&self) -> bool {
        u128::from_be_bytes(self.0) >> 32 == MAPPED
    }

    /// The same in the form of the standard library.
    pub fn to_std(&self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// Whether it is 0.0.0.0 or `::`.
    pub fn is_unspecified(&self) -> bool {
        *self == Ip::UNSPECIFIED || *self == Ip::UNSPECIFIED_V4
    }

    /// Its two halves as numbers. The lower one of an IPv4 address is 0xffff and the address.
    #[inline]
    pub fn halves(&self) -> (u64, u64) {
        let number = u128::from_be_bytes(self.0);
        ((number >> 64) as u64, number as u64)
    }

    /// Whether it is the address of a group of hosts.
    pub fn is_multicast(&self) -> bool {
        self.to_std().is_multicast()
    }
}

impl Hash for Ip {
    /// One number for an IPv4 address, two for another one.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (high, low) = self.halves();
        if !self.is_v4() {
            state.write_u64(high);
        }
        state.write_u64(low);
    }
}

impl From<Ipv4Addr> for Ip {
    #[inline]
    fn from(address: Ipv4Addr) -> Self {
        Ip::v4(address)
    }
}

impl From<Ipv6Addr> for Ip {
    #[inline]
    fn from(address: Ipv6Addr) -> Self {
        Ip::v6(address)
    }
}

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        Ip::new(address)
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_std().fmt(f)
    }
}

impl fmt::Debug for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_std().fmt(f)
    }
}
