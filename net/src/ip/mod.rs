//! IP over Ethernet: our addresses, the neighbours, fragments, datagrams that are sent, ARP and ICMP,
//! and what IPv6 has instead of ARP and settings.
//!
//! Received packets come here parsed ([`crate::packet`]). Nothing here knows of sockets: what TCP must
//! be told is returned.

pub(crate) mod arp;
pub(crate) mod fragments;
pub(crate) mod icmp;
pub(crate) mod identification;
pub(crate) mod interface;
pub(crate) mod neighbors;
pub(crate) mod outbound;
pub(crate) mod v6;

/// The protocols that datagrams carry, by IANA's numbers.
pub(crate) mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
    /// IPv6: nothing follows (RFC 8200 §4.7).
    pub const NONE: u8 = 59;
}
