//! Our station, and our IPv4 address and network, if we have one.
//!
//! The address can change while the server runs: it may be given later than the card, be replaced by
//! another one, or be taken away ([`crate::Server::set_network`]).

use crate::config::{Config, Network};
use crate::link::ethernet::Station;
use core::net::Ipv4Addr;

/// A network interface. Without an address it receives only datagrams to 255.255.255.255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The station address of the card.
    pub station: Station,
    /// Others have it, too.
    shares_station: bool,
    network: Option<Network>,
    /// The network mask; all ones without a network.
    mask: u32,
}

impl Interface {
    pub fn new(config: &Config) -> Self {
        let mut interface = Interface {
            station: Station(config.mac),
            shares_station: config.shares_station,
            network: None,
            mask: u32::MAX,
        };
        interface.set_network(Some(config.network()));
        interface
    }

    /// Whether what is sent to this station would come back to us.
    pub fn is_ours_alone(&self, station: Station) -> bool {
        station == self.station && !self.shares_station
    }

    pub fn network(&self) -> Option<Network> {
        self.network
    }

    pub fn set_network(&mut self, network: Option<Network>) {
        self.network = network;
        self.mask = network.map_or(u32::MAX, |network| network.mask());
    }

    /// Our address; 0.0.0.0 if we have none.
    #[inline]
    pub fn address(&self) -> Ipv4Addr {
        self.network
            .map_or(Ipv4Addr::UNSPECIFIED, |network| network.address)
    }

    /// Whether the address is ours.
    #[inline]
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.network.is_some_and(|own| own.address == address)
    }

    /// Whether the address is a broadcast address: 255.255.255.255, or that of our network.
    pub fn is_everyone(&self, address: Ipv4Addr) -> bool {
        let network = Ipv4Addr::from_bits(self.address().to_bits() | !self.mask);
        address.is_broadcast() || (address == network && self.network.is_some())
    }

    /// Whether the address is in our network.
    #[inline]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.network
            .is_some_and(|own| (address.to_bits() ^ own.address.to_bits()) & self.mask == 0)
    }

    /// The router for other networks.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.network?.gateway
    }

    /// The next hop to a host: the host itself in our network, otherwise the router.
    pub fn next_hop(&self, to: Ipv4Addr) -> Option<Ipv4Addr> {
        match self.contains(to) {
            true => Some(to),
            false => self.gateway(),
        }
    }

    /// Whether another host of our network can have this address.
    pub fn can_be_neighbor(&self, address: Ipv4Addr) -> bool {
        let is_other = self.network.is_some_and(|own| own.is_other_host(address));
        is_other && !self.is_impossible_source(address)
    }

    /// Whether no other host can have this address (RFC 1122 §3.2.1.3).
    pub fn is_impossible_source(&self, address: Ipv4Addr) -> bool {
        let first = address.octets()[0];
        first == 0
            || first >= 224
            || address.is_loopback()
            || self.has(address)
            || self.is_everyone(address)
    }
}
