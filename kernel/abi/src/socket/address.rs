//! The address of a socket.

use crate::socket::Ip;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// An IP address of either family, and a port.
///
/// The address of a datagram passes from the network server to a program and back. Neither has to take it apart
/// for that, so it has one form, and no conversion on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The IP address.
    pub ip: Ip,
    /// The port.
    pub port: u16,
}

impl Address {
    /// A port of an IP address.
    pub const fn new(ip: IpAddr, port: u16) -> Self {
        Address {
            ip: Ip::new(ip),
            port,
        }
    }

    /// A port on every address of the stack, of IPv4 and of IPv6.
    pub const fn any(port: u16) -> Self {
        Address::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
    }

    /// The address, if it is one of IPv4.
    #[inline]
    pub fn as_v4(&self) -> Option<SocketAddrV4> {
        Some(SocketAddrV4::new(self.ip.as_v4()?, self.port))
    }

    /// The same in the form of the standard library.
    pub fn to_socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip.to_std(), self.port)
    }
}

impl From<SocketAddrV4> for Address {
    #[inline]
    fn from(address: SocketAddrV4) -> Self {
        Address::new(IpAddr::V4(*address.ip()), address.port())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::new(address.ip(), address.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_socket_addr().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn an_ipv4_address_is_the_ipv6_address_that_maps_it() {
        for (written, octets, shown) in [
            ("10.0.2.15", "::ffff:10.0.2.15", "10.0.2.15:80"),
            ("0.0.0.0", "::ffff:0.0.0.0", "0.0.0.0:80"),
            ("::ffff:10.0.2.15", "::ffff:10.0.2.15", "10.0.2.15:80"),
            ("::", "::", "[::]:80"),
            ("fe80::1:2", "fe80::1:2", "[fe80::1:2]:80"),
            ("::10.0.2.15", "::10.0.2.15", "[::a00:20f]:80"),
            (
                "1::ffff:10.0.2.15",
                "1::ffff:10.0.2.15",
                "[1::ffff:a00:20f]:80",
            ),
        ] {
            let address = Address::from(SocketAddr::new(written.parse().unwrap(), 80));
            let octets: Ipv6Addr = octets.parse().unwrap();
            assert_eq!(address.ip.0, octets.octets(), "{written}");
            assert_eq!(address.to_string(), shown);
            let v4 = match address.to_socket_addr() {
                SocketAddr::V4(v4) => Some(v4),
                SocketAddr::V6(_) => None,
            };
            assert_eq!(address.as_v4(), v4, "{written}");
            assert!(v4.is_none_or(|v4| Address::from(v4) == address));
        }
        assert_eq!(Address::any(7).to_string(), "[::]:7");
    }
}
