//! IPv4 over Ethernet: our address, the neighbours, fragments, datagrams that are sent, ARP and ICMP.
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

/// The protocols that datagrams carry, by IANA's numbers.
pub(crate) mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
}
