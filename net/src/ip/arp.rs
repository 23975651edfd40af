//! ARP: what is learned from the packets that are received, what is answered, and what is asked.
//!
//! It is RFC 826's algorithm, and of RFC 5227 the part of a host that keeps its address
//! whatever happens (§2.4 (c)), since ours is configured: probes are answered, and a station
//! that claims our address is told otherwise, but not more often than every
//! [`DEFEND_INTERVAL_NS`].
//!
//! What is learned is put into the table of [`crate::ip::neighbors`]. Each neighbour's requests are
//! answered at a pace that no honest one exceeds (RFC 1122 §2.3.2.1), and those of all that have
//! not answered us yet at one together, so that a flood of requests is not one of replies.

use crate::ip::interface::Interface;
use crate::ip::neighbors::{Neighbors, Told};
use crate::link::ethernet::{self, ETHERNET, Station};
use crate::pace::Pace;
use crate::phy::TxToken;
use crate::verdict::{DropReason, Verdict};
use core::net::Ipv4Addr;

/// How long after a claim of our address others are not answered (RFC 5227 §1.1).
const DEFEND_INTERVAL_NS: u64 = 10_000_000_000;

/// How soon a neighbour is answered again, and how many of its requests at once.
const ANSWER_INTERVAL_NS: u64 = 125_000_000;
const ANSWERS_BURST: u64 = 64;
/// The same for all together that have not answered us yet: a network of a thousand stations may
/// be switched on at once.
const STRANGERS_INTERVAL_NS: u64 = 500_000;
const STRANGERS_BURST: u64 = 1024;

/// Octets of an ARP packet for IPv4 over Ethernet.
pub(crate) const LEN: usize = 28;
/// ARP's operations (RFC 826).
const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// Hardware type Ethernet, protocol IPv4, and the lengths of their addresses.
const FORMAT: [u8; 6] = [0, 1, 8, 0, 6, 4];

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

/// An ARP packet for IPv4 over Ethernet: a station and its address for each side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArpPacket {
    operation: u16,
    sender: (Station, Ipv4Addr),
    target: (Station, Ipv4Addr),
}

/// What is known of those who claim our address.
#[derive(Default)]
pub(crate) struct Arp {
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

    /// Processes a packet from this station: RFC 826, "Packet Reception". Returns also the
    /// neighbour of which it says where it is, for whom somebody may wait.
    #[cold]
    pub fn receive<T: TxToken>(
        &mut self,
        packet: &ArpPacket,
        from: Station,
        neighbors: &mut Neighbors,
        (own, now): (&Interface, u64),
        reply: T,
    ) -> (Verdict, Option<Ipv4Addr>) {
        let dropped = |reason| (Verdict::Dropped(reason), None);
        let (station, sender) = packet.sender;
        if !station.is_single() {
            return dropped(DropReason::ArpSender);
        }
        if own.has(sender) {
            return dropped(self.own_address(station, (own, now), reply));
        }
        if own.is_ours_alone(station) {
            // What is for that host would come back to us.
            return dropped(DropReason::ArpSender);
        }
        // Who looks for the owner of an address has none yet (RFC 5227 §2.1.1).
        let is_probe = sender.is_unspecified() && packet.operation == REQUEST;
        if !is_probe && !own.can_be_neighbor(sender) {
            return dropped(DropReason::ArpSender);
        }
        let is_for_us = own.has(packet.target.1);
        // "If the pair is already in my translation table, update the sender hardware address";
        // "Am I the target protocol address? If Merge_flag is false, add".
        let told = match is_probe {
            true => Told::Nothing,
            false => {
                let replies = is_for_us && packet.operation == REPLY;
                neighbors.told(sender, station, (is_for_us, replies), now)
            }
        };
        let heard = (told != Told::Nothing).then_some(sender);
        self.counters.moved += u64::from(told == Told::Moved);
        if heard.is_none() && !is_for_us {
            return dropped(DropReason::ArpOther);
        }
        self.counters.sender_differs += u64::from(from != station);
        // "Is the opcode REQUEST? (NOW look at the opcode!!)"
        if is_for_us && packet.operation == REQUEST {
            if !self.may_answer((!is_probe).then_some(sender), neighbors, now) {
                return (Verdict::Dropped(DropReason::ArpLimited), heard);
            }
            self.counters.answered += 1;
            let answer = ArpPacket {
                operation: REPLY,
                sender: (own.station, own.address()),
                target: packet.sender,
            };
            answer.send(reply, station);
        }
        (Verdict::Delivered, heard)
    }

    /// The sender of a packet has our address.
    fn own_address<T: TxToken>(
        &mut self,
        station: Station,
        (own, now): (&Interface, u64),
        reply: T,
    ) -> DropReason {
        if station == own.station {
            return DropReason::ArpOwn;
        }
        if self.claimed(station, now) {
            self.counters.defended += 1;
            // It tells everybody (RFC 5227 §2.3).
            ArpPacket::request(own, own.address()).send(reply, Station::BROADCAST);
        }
        DropReason::ArpConflict
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

    /// Whether a request may be answered now. Who looks for the owner of an address is nobody
    /// yet.
    fn may_answer(
        &mut self,
        sender: Option<Ipv4Addr>,
        neighbors: &mut Neighbors,
        now: u64,
    ) -> bool {
        let pace = |pace: &mut Pace| pace.allows(now, ANSWER_INTERVAL_NS, ANSWERS_BURST);
        if !sender.is_none_or(|sender| neighbors.may_be_answered(sender, pace)) {
            return false;
        }
        let is_stranger = !sender.is_some_and(|sender| neighbors.is_confirmed(sender));
        let strangers = &mut self.strangers;
        !is_stranger || strangers.allows(now, STRANGERS_INTERVAL_NS, STRANGERS_BURST)
    }
}

impl ArpPacket {
    /// Takes one apart. `None`: it is for another hardware or protocol.
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

    /// Our question where this address is.
    pub fn request(own: &Interface, address: Ipv4Addr) -> Self {
        ArpPacket {
            operation: REQUEST,
            sender: (own.station, own.address()),
            target: (Station([0; 6]), address),
        }
    }

    /// Sends it to a station, or to all.
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
