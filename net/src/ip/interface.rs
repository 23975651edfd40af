//! Our station, and our IPv4 address and network, if we have one.
//!
//! The address can change while the server runs: it may be given later than the card, be replaced by
//! another one, or be taken away ([`crate::Server::set_network`]).

use crate::config::{Config, Network};
use crate::link::ethernet::Station;
use abi::socket::Ip;
use core::net::Ipv4Addr;

/// One of our addresses, by its place in the list of them. Connections name theirs so, since that is
/// shorter than the address; when an address goes, its connections are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Local(pub u8);

impl Local {
    /// The place of our IPv4 address.
    pub const IPV4: Local = Local(0);
}

/// A network interface. Without an address it receives only datagrams to 255.255.255.255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The station address of the card.
    pub station: Station,
    /// Others have it, too.
    shares_station: bool,
    network: Option<Network>,
    /// Our IPv4 address; 0.0.0.0 without a network.
    address: Ip,
    /// The network mask; all ones without a network.
    mask: u32,
}

impl Interface {
    pub fn new(config: &Config) -> Self {
        let mut interface = Interface {
            station: Station(config.mac),
            shares_station: config.shares_station,
            network: None,
            address: Ip::UNSPECIFIED_V4,
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
        self.address = Ip::v4(self.ipv4());
        self.mask = network.map_or(u32::MAX, |network| network.mask());
    }

    /// Our IPv4 address; 0.0.0.0 if we have none.
    #[inline]
    pub fn ipv4(&self) -> Ipv4Addr {
        self.network
            .map_or(Ipv4Addr::UNSPECIFIED, |network| network.address)
    }

    /// Whether the IPv4 address is ours.
    #[inline]
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.network.is_some_and(|own| own.address == address)
    }

    /// The place of an address in the list of ours, if it is ours.
    #[inline]
    pub fn find(&self, address: Ip) -> Option<Local> {
        (address == self.address && self.network.is_some()).then_some(Local::IPV4)
    }

    /// One of our addresses.
    #[inline]
    pub fn address_of(&self, local: Local) -> Ip {
        debug_assert_eq!(local, Local::IPV4);
        self.address
    }

    /// Which of our addresses packets to this host come from; that of IPv4 may be 0.0.0.0.
    pub fn source_for(&self, to: Ip) -> Option<Local> {
        to.is_v4().then_some(Local::IPV4)
    }

    /// Whether the address is a broadcast address: 255.255.255.255, or that of our network.
    pub fn is_everyone(&self, address: Ipv4Addr) -> bool {
        let network = Ipv4Addr::from_bits(self.ipv4().to_bits() | !self.mask);
        address.is_broadcast() || (address == network && self.network.is_some())
    }

    /// Whether the address is in our network.
    #[inline]
    pub fn contains(&self, address: Ip) -> bool {
        let own = self.ipv4().to_bits();
        let is_near = |address: Ipv4Addr| (address.to_bits() ^ own) & self.mask == 0;
        self.network.is_some() && address.as_v4().is_some_and(is_near)
    }

    /// The router for other networks.
    pub fn gateway(&self) -> Option<Ip> {
        self.network?.gateway.map(Ip::v4)
    }

    /// The next hop to a host: the host itself in our network, otherwise the router.
    pub fn next_hop(&self, to: Ip) -> Option<Ip> {
        match self.contains(to) {
            true => Some(to),
            false => self.gateway(),
        }
    }

    /// Whether packets to this address go to several hosts.
    pub fn is_group(&self, to: Ip) -> bool {
        to.is_multicast() || to.as_v4().is_some_and(|to| self.is_everyone(to))
    }

    /// Whether no other host can have this address, of either family.
    pub fn is_impossible_peer(&self, address: Ip) -> bool {
        match address.as_v4() {
            Some(address) => self.is_impossible_source(address),
            None => true,
        }
    }

    /// Whether another host of our network can have this address.
    pub fn can_be_neighbor(&self, address: Ip) -> bool {
        let Some(v4) = address.as_v4() else {
            return false;
        };
        let is_other = self.network.is_some_and(|own| own.is_other_host(v4));
        is_other && !self.is_impossible_source(v4)
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
