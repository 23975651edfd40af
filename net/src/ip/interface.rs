//! Our station, our IPv4 address and network, if we have one, and our IPv6 addresses and networks.
//!
//! The address can change while the server runs: it may be given later than the card, be replaced by
//! another one, or be taken away ([`crate::Server::set_network`]).

use crate::config::{Config, Network};
use crate::link::ethernet::Station;
use abi::socket::Ip;
use core::net::{Ipv4Addr, Ipv6Addr};

/// One of our addresses, by its place in the list of them. Connections name theirs so, since that is
/// shorter than the address; when an address goes, its connections are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Local(pub u8);

impl Local {
    /// The place of our IPv4 address.
    pub const IPV4: Local = Local(0);
    /// The place of our link-local IPv6 address; the others follow.
    pub const LINK: Local = Local(1);
}

/// The most IPv6 addresses. smoltcp's interface has room for them and the IPv4 address.
pub(crate) const ADDRESSES: usize = 7;
/// The most IPv6 networks that are known to be on our link.
pub(crate) const NETWORKS: usize = 8;

/// An IPv6 network: its prefix, of which the first `len` bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub ip: Ip,
    /// 0 to 128.
    pub len: u8,
}

impl Prefix {
    /// Whether the address is in the network.
    pub fn holds(&self, address: Ip) -> bool {
        common_bits(self.ip, address) >= self.len.into()
    }
}

/// How many bits of two addresses are the same, from the first on.
fn common_bits(one: Ip, other: Ip) -> u32 {
    (u128::from_be_bytes(one.0) ^ u128::from_be_bytes(other.0)).leading_zeros()
}

/// Whether the address is one of a link alone (RFC 4291 §2.5.6).
pub(crate) fn is_link_local(address: Ip) -> bool {
    address.0[0] == 0xfe && address.0[1] & 0xc0 == 0x80
}

/// The group that a neighbour with this address is asked in (RFC 4291 §2.7.1).
pub(crate) fn solicited_node(address: Ip) -> Ip {
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&address.0[13..]);
    Ip(group)
}

/// All nodes of the link, and all routers (RFC 4291 §2.7.1).
pub(crate) const ALL_NODES: Ip = Ip([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
pub(crate) const ALL_ROUTERS: Ip = Ip([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

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
    /// Our IPv6 addresses, by their places from [`Local::LINK`] on.
    v6: [Option<Ip>; ADDRESSES],
    /// Those of them that new connections do not begin from (RFC 4862 §5.5.4).
    is_deprecated: [bool; ADDRESSES],
    /// The IPv6 networks on our link, beside that of link-local addresses.
    networks: [Option<Prefix>; NETWORKS],
    /// The IPv6 router for other networks.
    router: Option<Ip>,
}

impl Interface {
    pub fn new(config: &Config) -> Self {
        let mut interface = Interface {
            station: Station(config.mac),
            shares_station: config.shares_station,
            network: None,
            address: Ip::UNSPECIFIED_V4,
            mask: u32::MAX,
            v6: [None; ADDRESSES],
            is_deprecated: [false; ADDRESSES],
            networks: [None; NETWORKS],
            router: None,
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
        match address == self.address {
            true => self.network.map(|_| Local::IPV4),
            false => self.find_v6(address),
        }
    }

    #[inline(never)]
    fn find_v6(&self, address: Ip) -> Option<Local> {
        let place = self.v6.iter().position(|own| *own == Some(address))?;
        Some(Local(Local::LINK.0 + place as u8))
    }

    /// Our IPv6 addresses with their places.
    pub fn v6(&self) -> impl Iterator<Item = (Local, Ip)> + '_ {
        let places = (Local::LINK.0..).map(Local).zip(self.v6);
        places.filter_map(|(local, address)| Some((local, address?)))
    }

    /// Has an IPv6 address at this place, or none.
    pub fn set_v6(&mut self, local: Local, address: Option<Ip>, is_deprecated: bool) {
        let place = usize::from(local.0.wrapping_sub(Local::LINK.0));
        if let Some(own) = self.v6.get_mut(place) {
            *own = address;
            self.is_deprecated[place] = is_deprecated;
        }
    }

    /// Has these IPv6 networks on the link, and this router for others.
    pub fn set_routes(&mut self, networks: [Option<Prefix>; NETWORKS], router: Option<Ip>) {
        (self.networks, self.router) = (networks, router);
    }

    /// Whether we listen to this group of IPv6.
    pub fn has_joined(&self, group: Ip) -> bool {
        let mut own = self.v6();
        own.any(|(_, own)| group == ALL_NODES || solicited_node(own) == group)
    }

    /// One of our addresses.
    #[inline]
    pub fn address_of(&self, local: Local) -> Ip {
        match local {
            Local::IPV4 => self.address,
            Local(place) => {
                let own = self.v6.get(usize::from(place - Local::LINK.0));
                own.copied().flatten().unwrap_or(Ip::UNSPECIFIED)
            }
        }
    }

    /// Which of our addresses packets to this host come from; that of IPv4 may be 0.0.0.0.
    ///
    /// Of the IPv6 addresses it is one of the destination's scope (RFC 6724 §5, rule 2; nothing is sent
    /// from a link-local one to another link), rather one that is not deprecated (rule 3), and the one
    /// that has most bits in common with the destination (rule 8).
    #[inline]
    pub fn source_for(&self, to: Ip) -> Option<Local> {
        match to.is_v4() {
            true => Some(Local::IPV4),
            false => self.source_for_v6(to),
        }
    }

    #[inline(never)]
    fn source_for_v6(&self, to: Ip) -> Option<Local> {
        // A group of the interface's or the link's scope (RFC 4291 §2.7).
        let is_group_of_link = to.is_multicast() && to.0[1] & 0xf <= 2;
        let is_link = is_link_local(to) || is_group_of_link;
        let fitting = self.v6().filter(|&(_, own)| is_link_local(own) == is_link);
        let (local, _) = fitting.max_by_key(|&(local, own)| {
            let is_deprecated = self.is_deprecated[usize::from(local.0 - Local::LINK.0)];
            (!is_deprecated, common_bits(own, to))
        })?;
        Some(local)
    }

    /// Whether the address is a broadcast address: 255.255.255.255, or that of our network.
    pub fn is_everyone(&self, address: Ipv4Addr) -> bool {
        let network = Ipv4Addr::from_bits(self.ipv4().to_bits() | !self.mask);
        address.is_broadcast() || (address == network && self.network.is_some())
    }

    /// Whether the address is in our network.
    #[inline]
    pub fn contains(&self, address: Ip) -> bool {
        match address.as_v4() {
            Some(address) => {
                let own = self.ipv4().to_bits();
                self.network.is_some() && (address.to_bits() ^ own) & self.mask == 0
            }
            None => self.contains_v6(address),
        }
    }

    #[inline(never)]
    fn contains_v6(&self, address: Ip) -> bool {
        let mut networks = self.networks.iter().flatten();
        is_link_local(address) || networks.any(|network| network.holds(address))
    }

    /// The router for other networks.
    pub fn gateway(&self) -> Option<Ip> {
        self.network?.gateway.map(Ip::v4)
    }

    /// The next hop to a host: the host itself in our network, otherwise the router.
    pub fn next_hop(&self, to: Ip) -> Option<Ip> {
        match self.contains(to) {
            true => Some(to),
            false => self.router_for(to),
        }
    }

    /// The router to a host of another network.
    pub fn router_for(&self, host: Ip) -> Option<Ip> {
        match host.is_v4() {
            true => self.gateway(),
            false => self.router,
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
            None => {
                let address = Ipv6Addr::from(address.0);
                address.is_unspecified()
                    || address.is_multicast()
                    || address.is_loopback()
                    || self.find_v6(address.into()).is_some()
            }
        }
    }

    /// Whether another host of our network can have this address.
    pub fn can_be_neighbor(&self, address: Ip) -> bool {
        let Some(v4) = address.as_v4() else {
            return self.contains_v6(address) && !self.is_impossible_peer(address);
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
