//! ARP (RFC 826): learns the stations of neighbours from received packets, answers requests, and
//! defends our address.
//!
//! Of RFC 5227 it does the part of a host that keeps its address in every case (§2.4 (c)), since ours
//! is configured. Probes for it are answered. If another station claims it, an announcement is sent,
//! but not more often than once in [`DEFEND_INTERVAL_NS`].
//!
//! The stations go into the table of [`crate::ip::neighbors`]. The requests of each neighbour are
//! answered only up to a rate that no honest one exceeds (RFC 1122 §2.3.2.1). All neighbours that have
//! not answered us yet share another limit, so that a flood of requests causes no flood of replies.

use crate::counters::counters;
use crate::ip::interface::Interface;
use crate::ip::neighbors::{Learned, Neighbors};
use crate::link::ethernet::{self, ETHERNET, Station};
use crate::pace::Pace;
use crate::phy::TxToken;
use crate::verdict::{DropReason, Verdict};
use abi::socket::Ip;
use core::net::Ipv4Addr;

/// The time after a claim of our address in which further claims are not answered (RFC 5227 §1.1).
const DEFEND_INTERVAL_NS: u64 = 10_000_000_000;

/// The rate at which a neighbour is answered, and how many of its requests at once.
const ANSWER_INTERVAL_NS: u64 = 125_000_000;
const ANSWERS_BURST: u64 = 64;
/// The same for all neighbours together that have not answered us yet: a network of a thousand stations
/// may be switched on at once.
const STRANGERS_INTERVAL_NS: u64 = 500_000;
const STRANGERS_BURST: u64 = 1024;

/// Octets of an ARP packet for IPv4 over Ethernet.
pub(crate) const LEN: usize = 28;
/// ARP's operations (RFC 826).
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// Hardware type Ethernet, protocol IPv4, and the lengths of their addresses.
const FORMAT: [u8; 6] = [0, 1, 8, 0, 6, 4];

counters! {
    /// Events, counted since the start.
    ArpCounters {
        /// Requests and probes for our address that were answered.
        answered = "arp_answered",
        /// Packets that claimed our address for another station.
        conflicts = "arp_conflicts",
        /// Announcements that answered those.
        defended = "arp_defended",
        /// Neighbours that were known, and have another station now.
        moved = "arp_moved",
        /// Packets whose sender is another station than the source of their frame.
        sender_differs = "arp_sender_differs",
    }
}

/// An ARP packet for IPv4 over Ethernet: a station and its address for each side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArpPacket {
    operation: u16,
    sender: (Station, Ipv4Addr),
    target: (Station, Ipv4Addr),
}

/// What ARP remembers: claims of our address, and the limit for answers to unknown neighbours.
#[derive(Default)]
pub(crate) struct Arp {
    /// When our address was claimed last.
    claimed_at: Option<u64>,
    /// The station that claimed it, until the server takes it.
    claimant: Option<Station>,
    /// Limits the answers to neighbours that have not answered us.
    strangers: Pace,
    pub counters: ArpCounters,
}

impl Arp {
    /// Takes the station that claimed our address, if one did since the last call. A claim within
    /// [`DEFEND_INTERVAL_NS`] of the one before is not told.
    #[inline]
    pub fn take_claimant(&mut self) -> Option<Station> {
        self.claimant.take()
    }

    /// Processes a packet in a frame from the station `from` (RFC 826, "Packet Reception"). Returns also
    /// the neighbour whose station is known now, since connections may wait for it.
    #[cold]
    pub fn receive<T: TxToken>(
        &mut self,
        packet: &ArpPacket,
        from: Station,
        neighbors: &mut Neighbors,
        own: &Interface,
        now: u64,
        reply: T,
    ) -> (Verdict, Option<Ipv4Addr>) {
        let dropped = |reason| (Verdict::Dropped(reason), None);
        let (station, sender) = packet.sender;
        if !station.is_single() {
            return dropped(DropReason::ArpSender);
        }
        if own.has(sender) {
            return dropped(self.claim(station, own, now, reply));
        }
        if own.is_ours_alone(station) {
            // Datagrams for that host would come back to us.
            return dropped(DropReason::ArpSender);
        }
        // A host that probes an address has none yet (RFC 5227 §2.1.1).
        let is_probe = sender.is_unspecified() && packet.operation == REQUEST;
        if !is_probe && !own.can_be_neighbor(Ip::v4(sender)) {
            return dropped(DropReason::ArpSender);
        }
        let is_for_us = own.has(packet.target.1);
        // "If the pair is already in my translation table, update the sender hardware address";
        // "Am I the target protocol address? If Merge_flag is false, add".
        let learned = match is_probe {
            true => Learned::Nothing,
            false => {
                let is_reply = is_for_us && packet.operation == REPLY;
                neighbors.learn(Ip::v4(sender), station, is_for_us, is_reply, now)
            }
        };
        let resolved = (learned != Learned::Nothing).then_some(sender);
        self.counters.moved += u64::from(learned == Learned::Moved);
        if resolved.is_none() && !is_for_us {
            return dropped(DropReason::ArpOther);
        }
        self.counters.sender_differs += u64::from(from != station);
        // "Is the opcode REQUEST? (NOW look at the opcode!!)"
        if is_for_us && packet.operation == REQUEST {
            if !self.may_answer((!is_probe).then_some(sender), neighbors, now) {
                return (Verdict::Dropped(DropReason::ArpLimited), resolved);
            }
            self.counters.answered += 1;
            let answer = ArpPacket {
                operation: REPLY,
                sender: (own.station, own.ipv4()),
                target: packet.sender,
            };
            answer.send(reply, station);
        }
        (Verdict::Delivered, resolved)
    }

    /// Processes a packet whose sender has our address: defends the address, unless it was claimed
    /// lately.
    fn claim<T: TxToken>(
        &mut self,
        station: Station,
        own: &Interface,
        now: u64,
        reply: T,
    ) -> DropReason {
        if station == own.station {
            return DropReason::ArpOwn;
        }
        self.counters.conflicts += 1;
        let recently = |at: u64| now.saturating_sub(at) < DEFEND_INTERVAL_NS;
        if !self.claimed_at.replace(now).is_some_and(recently) {
            self.claimant = Some(station);
            self.counters.defended += 1;
            // An announcement, to everybody (RFC 5227 §2.3).
            ArpPacket::request(own, own.ipv4()).send(reply, Station::BROADCAST);
        }
        DropReason::ArpConflict
    }

    /// Whether a request may be answered now. A probe has no sender.
    fn may_answer(
        &mut self,
        sender: Option<Ipv4Addr>,
        neighbors: &mut Neighbors,
        now: u64,
    ) -> bool {
        let pace = |pace: &mut Pace| pace.allows(now, ANSWER_INTERVAL_NS, ANSWERS_BURST);
        if !sender.is_none_or(|sender| neighbors.may_be_answered(Ip::v4(sender), pace)) {
            return false;
        }
        let is_stranger = !sender.is_some_and(|sender| neighbors.is_confirmed(Ip::v4(sender)));
        let strangers = &mut self.strangers;
        !is_stranger || strangers.allows(now, STRANGERS_INTERVAL_NS, STRANGERS_BURST)
    }
}

impl ArpPacket {
    /// Parses a packet. `None` if it is for another hardware or protocol.
    pub fn parse(octets: &[u8; LEN]) -> Option<Self> {
        let (format, octets) = octets.split_first_chunk()?;
        let (&operation, octets) = octets.split_first_chunk()?;
        let side = |octets: &[u8]| {
            let (&station, octets) = octets.split_first_chunk()?;
            let &address = octets.first_chunk::<4>()?;
            Some((Station(station), Ipv4Addr::from(address)))
        };
        (*format == FORMAT).then_some(ArpPacket {
            operation: u16::from_be_bytes(operation),
            sender: side(octets)?,
            target: side(octets.get(10..)?)?,
        })
    }

    /// A request for the station of an address.
    pub fn request(own: &Interface, address: Ipv4Addr) -> Self {
        ArpPacket {
            operation: REQUEST,
            sender: (own.station, own.ipv4()),
            target: (Station([0; 6]), address),
        }
    }

    /// Sends the packet to a station, or to all.
    pub fn send(&self, token: impl TxToken, to: Station) {
        let mut frame = [0; ETHERNET + LEN];
        let mut place = &mut frame[..];
        for piece in [
            &self.sender.0.header(to, ethernet::ARP)[..],
            &FORMAT,
            &self.operation.to_be_bytes(),
            &self.sender.0.0,
            &self.sender.1.octets(),
            &self.target.0.0,
            &self.target.1.octets(),
        ] {
            let (here, behind) = place.split_at_mut(piece.len());
            here.copy_from_slice(piece);
            place = behind;
        }
        token.consume(frame.len(), |buffer| buffer.copy_from_slice(&frame));
    }
}
