//! What this host is on its network: a station, and an address, if it has one.
//!
//! It is a value that can change while the server runs: the address may come later than the card,
//! be another one, or go ([`crate::Server::set_network`]).

use crate::config::{Config, Network};
use crate::link::ethernet::Station;
use core::net::Ipv4Addr;

/// The card's place in its network. Without an address, a host hears and says nothing but what is
/// for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The card's station.
    pub station: Station,
    /// Others have it, too.
    shares_station: bool,
    network: Option<Network>,
    /// The network's bits of an address; all of them without one.
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

    /// Our address; that of no host if we have none, which is also what is said for it.
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

    /// Whether the address is that of all hosts: of all networks, or of ours.
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

    /// The neighbour that datagrams for a host go to.
    pub fn next_hop(&self, to: Ipv4Addr) -> Option<Ipv4Addr> {
        match self.contains(to) {
            true => Some(to),
            false => self.gateway(),
        }
    }

    /// Whether a host of our network can have this address.
    pub fn can_be_neighbor(&self, address: Ipv4Addr) -> bool {
        let is_other = self.network.is_some_and(|own| own.is_other_host(address));
        is_other && !self.is_impossible_source(address)
    }

    /// Whether no other host can have this address.
    pub fn is_impossible_source(&self, address: Ipv4Addr) -> bool {
        let first = address.octets()[0];
        first == 0
            || first >= 224
            || address.is_loopback()
            || self.has(address)
            || self.is_everyone(address)
    }
}
