//! Received ARP packets: what is learned from them, and what is answered.
//!
//! It is RFC 826's algorithm, and of RFC 5227 the part of a host that keeps its address
//! whatever happens (§2.4 (c)), since ours is configured: probes are answered, and a station
//! that claims our address is told otherwise, but not more often than every
//! [`DEFEND_INTERVAL_NS`].
//!
//! smoltcp would learn only from what is for us, and would answer no probe. So it gets none
//! of the received packets; what is learned is put into its cache by [`Engine::learn`],
//! beside ours.
//!
//! [`Engine::learn`]: super::engine::Engine::learn

use super::ETHERNET;
use super::emit::{self, ARP, ArpPacket, REPLY, REQUEST};
use super::peek::impossible_source;
use super::receive::Receiver;
use super::verdict::{DropReason, Verdict};
use crate::config::Config;
use core::net::Ipv4Addr;
use smoltcp::phy::TxToken;
use smoltcp::wire::EthernetAddress;

/// How long after a claim of our address others are not answered (RFC 5227 §1.1).
const DEFEND_INTERVAL_NS: u64 = 10_000_000_000;

/// Events, counted since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct ArpCounters {
    /// Requests and probes for our address that were answered.
    pub answered: u64,
    /// Packets that claimed our address for another station.
    pub conflicts: u64,
    /// Announcements that answered those.
    pub defended: u64,
    /// Neighbours that were known, and have another station now.
    pub moved: u64,
    /// Packets that name another sender than their frame does.
    pub sender_differs: u64,
}

/// What is known of those who claim our address.
#[derive(Default)]
pub(super) struct Arp {
    /// When the last one did.
    claimed_at: Option<u64>,
    /// The station that did, until somebody asks.
    claimant: Option<EthernetAddress>,
    pub counters: ArpCounters,
}

impl Arp {
    /// Takes the station that claimed our address, if one did since the last look. There is
    /// none to be told of within [`DEFEND_INTERVAL_NS`] of the one before.
    #[inline]
    pub fn take_claimant(&mut self) -> Option<EthernetAddress> {
        self.claimant.take()
    }

    /// A station claimed our address. Returns whether the address is to be defended.
    fn claimed(&mut self, station: EthernetAddress, now: u64) -> bool {
        self.counters.conflicts += 1;
        let recently = |at: u64| now.saturating_sub(at) < DEFEND_INTERVAL_NS;
        let quiet = !self.claimed_at.is_some_and(recently);
        self.claimed_at = Some(now);
        if quiet {
            self.claimant = Some(station);
        }
        quiet
    }
}

impl Receiver<'_> {
    /// Processes a frame with an ARP packet: RFC 826, "Packet Reception".
    #[cold]
    pub(super) fn arp<T: TxToken>(&mut self, frame: &[u8], reply: T) -> Verdict {
        let own = self.config;
        // "Do I have the hardware type? Do I speak the protocol?", and the lengths.
        let payload = frame.get(ETHERNET..).and_then(|p| p.first_chunk::<ARP>());
        let Some(payload) = payload else {
            return Verdict::Dropped(DropReason::Truncated);
        };
        let Some(packet) = ArpPacket::parse(payload) else {
            return Verdict::Dropped(DropReason::ArpFormat);
        };
        let (station, sender) = packet.sender;
        if !is_station(station) {
            return Verdict::Dropped(DropReason::ArpSender);
        }
        if sender == own.address {
            return self.own_address(station, reply);
        }
        if station.0 == own.mac {
            // What is for that host would come back to us.
            return Verdict::Dropped(DropReason::ArpSender);
        }
        // Who looks for the owner of an address has none yet (RFC 5227 §2.1.1).
        let is_probe = sender.is_unspecified() && packet.operation == REQUEST;
        let can_be = own.contains(sender) && !impossible_source(sender, own);
        if !is_probe && !can_be {
            return Verdict::Dropped(DropReason::ArpSender);
        }
        // "If the pair is already in my translation table, update the sender hardware
        // address"; "Am I the target protocol address? If Merge_flag is false, add".
        let is_known = !is_probe && self.neighbors.knows(sender);
        let is_for_us = packet.target.1 == own.address;
        if !is_known && !is_for_us {
            return Verdict::Dropped(DropReason::ArpOther);
        }
        self.arp.counters.sender_differs += u64::from(frame.get(6..12) != Some(&station.0));
        if !is_probe {
            self.learn::<T>(sender, station);
        }
        // "Is the opcode REQUEST? (NOW look at the opcode!!)"
        if is_for_us && packet.operation == REQUEST {
            self.arp.counters.answered += 1;
            let answer = ArpPacket {
                operation: REPLY,
                sender: (EthernetAddress(own.mac), own.address),
                target: packet.sender,
            };
            emit::arp(reply, &answer, station);
        }
        Verdict::Delivered
    }

    /// An ARP packet whose sender has our address.
    fn own_address<T: TxToken>(&mut self, station: EthernetAddress, reply: T) -> Verdict {
        let own = self.config;
        if station.0 == own.mac {
            return Verdict::Dropped(DropReason::ArpOwn);
        }
        if self.arp.claimed(station, self.now) {
            self.arp.counters.defended += 1;
            emit::arp(reply, &announcement(own), EthernetAddress::BROADCAST);
        }
        Verdict::Dropped(DropReason::ArpConflict)
    }

    /// Remembers where a neighbour is; who waited for that has its turn.
    fn learn<T: TxToken>(&mut self, address: Ipv4Addr, station: EthernetAddress) {
        self.arp.counters.moved += u64::from(self.neighbors.heard(address, station, self.now));
        self.engine
            .learn::<T>(self.config, (station, address), self.now);
        self.tcp.heard(address);
    }
}

/// Whether one station can have this address.
fn is_station(address: EthernetAddress) -> bool {
    address.is_unicast() && address.0 != [0; 6]
}

/// A request for our own address from ourselves (RFC 5227 §2.3), which tells everybody.
fn announcement(own: &Config) -> ArpPacket {
    ArpPacket {
        operation: REQUEST,
        sender: (EthernetAddress(own.mac), own.address),
        target: (EthernetAddress([0; 6]), own.address),
    }
}
