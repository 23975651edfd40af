//! IPv4 over Ethernet: our address, the neighbours, datagrams in and out, and ICMP.
//!
//! What of it is about a received packet takes that parsed ([`crate::packet`]), and gives back what
//! TCP is to be told: nothing here knows of sockets.

pub(crate) mod arp;
pub(crate) mod fragments;
pub(crate) mod icmp;
pub(crate) mod identification;
pub(crate) mod interface;
pub(crate) mod neighbors;
pub(crate) mod outbound;
pub(crate) mod protocol;
