//! Received ARP packets: what is learned from them, and what is answered.
//!
//! It is RFC 826's algorithm, and of RFC 5227 the part of a host that keeps its address
//! whatever happens (§2.4 (c)), since ours is configured: probes are answered, and a station
//! that claims our address is told otherwise, but not more often than every
//! [`DEFEND_INTERVAL_NS`].
//!
//! What is learned is put into the table of [`super::neighbors`]. Each neighbour's requests are
//! answered at a pace that no honest one exceeds (RFC 1122 §2.3.2.1), and those of all that have
//! not answered us yet at one together, so that a flood of requests is not one of replies.

use super::ETHERNET;
use super::emit::{self, ARP, ArpPacket, REPLY, REQUEST};
use super::ethernet::Station;
use super::neighbors::Told;
use super::pace::Pace;
use super::peek::can_be_neighbor;
use super::receive::Receiver;
use super::verdict::{DropReason, Verdict};
use crate::config::Config;
use core::net::Ipv4Addr;
use smoltcp::phy::TxToken;

/// How long after a claim of our address others are not answered (RFC 5227 §1.1).
const DEFEND_INTERVAL_NS: u64 = 10_000_000_000;

/// How soon a neighbour is answered again, and how many of its requests at once.
const ANSWER_INTERVAL_NS: u64 = 125_000_000;
const ANSWERS_BURST: u64 = 64;
/// The same for all together that have not answered us yet: a network of a thousand stations may
/// be switched on at once.
const STRANGERS_INTERVAL_NS: u64 = 500_000;
const STRANGERS_BURST: u64 = 1024;

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
    claimant: Option<Station>,
    /// The answers to those who have not answered us.
    strangers: Pace,
    pub counters: ArpCounters,
}

impl Arp {
    /// Takes the station that claimed our address, if one did since the last look. There is
    /// none to be told of within [`DEFEND_INTERVAL_NS`] of the one before.
    #[inline]
    pub fn take_claimant(&mut self) -> Option<Station> {
        self.claimant.take()
    }

    /// A station claimed our address. Returns whether the address is to be defended.
    fn claimed(&mut self, station: Station, now: u64) -> bool {
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
        if !station.is_single() {
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
        if !is_probe && !can_be_neighbor(sender, own) {
            return Verdict::Dropped(DropReason::ArpSender);
        }
        let is_for_us = packet.target.1 == own.address;
        let told = match is_probe {
            true => Told::Nothing,
            false => self.learn(&packet, is_for_us),
        };
        if told == Told::Nothing && !is_for_us {
            return Verdict::Dropped(DropReason::ArpOther);
        }
        self.arp.counters.sender_differs += u64::from(frame.get(6..12) != Some(&station.0));
        // "Is the opcode REQUEST? (NOW look at the opcode!!)"
        if is_for_us && packet.operation == REQUEST {
            if !self.may_answer((!is_probe).then_some(sender)) {
                return Verdict::Dropped(DropReason::ArpLimited);
            }
            self.arp.counters.answered += 1;
            let answer = ArpPacket {
                operation: REPLY,
                sender: (Station(own.mac), own.address),
                target: packet.sender,
            };
            emit::arp(reply, &answer, station);
        }
        Verdict::Delivered
    }

    /// An ARP packet whose sender has our address.
    fn own_address<T: TxToken>(&mut self, station: Station, reply: T) -> Verdict {
        let own = self.config;
        if station.0 == own.mac {
            return Verdict::Dropped(DropReason::ArpOwn);
        }
        if self.arp.claimed(station, self.now) {
            self.arp.counters.defended += 1;
            emit::arp(reply, &announcement(own), Station::BROADCAST);
        }
        Verdict::Dropped(DropReason::ArpConflict)
    }

    /// "If the pair is already in my translation table, update the sender hardware address";
    /// "Am I the target protocol address? If Merge_flag is false, add". Who waited for it has its
    /// turn.
    fn learn(&mut self, packet: &ArpPacket, is_for_us: bool) -> Told {
        let (station, address) = packet.sender;
        let replies = is_for_us && packet.operation == REPLY;
        let how = (is_for_us, replies);
        let told = self.neighbors.told(address, station, how, self.now);
        self.arp.counters.moved += u64::from(told == Told::Moved);
        if told != Told::Nothing {
            self.tcp.heard(address);
        }
        told
    }

    /// Whether a request may be answered now. Who looks for the owner of an address is nobody
    /// yet.
    fn may_answer(&mut self, sender: Option<Ipv4Addr>) -> bool {
        let now = self.now;
        let pace = |pace: &mut Pace| pace.allows(now, ANSWER_INTERVAL_NS, ANSWERS_BURST);
        let is_paced = |sender| self.neighbors.may_be_answered(sender, pace);
        if !sender.is_none_or(is_paced) {
            return false;
        }
        let is_stranger = !sender.is_some_and(|sender| self.neighbors.is_confirmed(sender));
        let strangers = &mut self.arp.strangers;
        !is_stranger || strangers.allows(now, STRANGERS_INTERVAL_NS, STRANGERS_BURST)
    }
}

/// A request for our own address from ourselves (RFC 5227 §2.3), which tells everybody.
fn announcement(own: &Config) -> ArpPacket {
    ArpPacket {
        operation: REQUEST,
        sender: (Station(own.mac), own.address),
        target: (Station([0; 6]), own.address),
    }
}
