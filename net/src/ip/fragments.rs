//! Puts fragments of datagrams together (RFC 791 §3.2, RFC 1122 §3.3.2).
//!
//! Only the first fragment has the ports, and the checksum covers the whole datagram. So nobody can
//! tell before whom a datagram is for and whether it is intact. smoltcp cannot do this here: it would
//! put fragments together after the stack had to know their ports, and four datagrams that are never
//! completed would keep all others out for a minute. Here the oldest gives way. Fragments that overlap
//! in part come from no honest sender: the datagram is dropped, as RFC 5722 §4 wants for IPv6.

use crate::link::ethernet::{ETHERNET, IPV6_HEADER};
use crate::packet::{Fragment, IpPacket, Packet};
use crate::phy::Ipv4Packet;
use crate::verdict::DropReason;
use abi::socket::Ip;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// The most datagrams that are incomplete at the same time.
const DATAGRAMS_MAX: usize = 16;
/// The most octets of all their fragments, each with [`OVERHEAD`].
const OCTETS_MAX: usize = 192 << 10;
/// Octets that a fragment takes in addition to its data.
const OVERHEAD: usize = 64;
/// The time after the first fragment in which the others must arrive: RFC 1122 §3.3.2 wants 60 to
/// 120 s.
const LIFETIME_NS: u64 = 60_000_000_000;
/// The most datagrams that were not completed in time and whose senders are still to be told.
const EXPIRED_MAX: usize = DATAGRAMS_MAX;

/// What all fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    source: Ip,
    destination: Ip,
    protocol: u8,
    identification: u32,
}

/// A datagram of which some fragments have arrived.
struct Partial {
    identity: Identity,
    expires: u64,
    /// The Ethernet and IP headers of the first fragment, without an IPv6 fragment header.
    header: Vec<u8>,
    /// The data of each fragment, by its offset in the datagram.
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Octets of data that have arrived.
    received: usize,
    /// Octets of data in the whole datagram, which the last fragment tells.
    len: Option<usize>,
}

/// All incomplete datagrams.
#[derive(Default)]
pub(crate) struct Fragments {
    /// The oldest datagram first.
    partial: VecDeque<Partial>,
    /// How many datagrams were given up.
    pub failed: u64,
    /// How many of them were not completed in time.
    pub timeouts: u64,
    /// For datagrams that were not completed in time: the frame with the first fragment.
    expired: VecDeque<Vec<u8>>,
}

impl Fragments {
    /// Takes a fragment. Returns a frame with the whole datagram if no other fragment is missing.
    ///
    /// # Errors
    /// The reason why the fragment is dropped.
    #[cold]
    pub fn add(
        &mut self,
        packet: &Packet<'_>,
        ip: &IpPacket,
        fragment: &Fragment,
        now: u64,
    ) -> Result<Option<Vec<u8>>, DropReason> {
        self.expire(now);
        let identity = Identity {
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            identification: fragment.identification,
        };
        let known = self.partial.iter().position(|p| p.identity == identity);
        let mut partial = match known.and_then(|index| self.partial.remove(index)) {
            Some(partial) => partial,
            None => Partial {
                identity,
                expires: now.saturating_add(LIFETIME_NS),
                header: Vec::new(),
                pieces: BTreeMap::new(),
                received: 0,
                len: None,
            },
        };
        let header = packet.frame.get(..fragment.headers).unwrap_or_default();
        if !partial.takes(fragment, header, packet.payload(ip)) {
            self.failed += 1;
            return Err(DropReason::FragmentOverlap);
        }
        if partial.is_complete() {
            let whole = partial.whole().ok_or(DropReason::FragmentInvalid)?;
            return Ok(Some(whole));
        }
        let octets = |partials: &VecDeque<Partial>| partials.iter().map(Partial::octets).sum();
        let others: usize = octets(&self.partial);
        let mut all = others + partial.octets();
        while all > OCTETS_MAX || self.partial.len() >= DATAGRAMS_MAX {
            self.failed += 1;
            let oldest = self.partial.pop_front();
            all -= oldest.ok_or(DropReason::FragmentNoRoom)?.octets();
        }
        // The order is by age, since all live equally long.
        let index = self
            .partial
            .partition_point(|p| p.expires <= partial.expires);
        self.partial.insert(index, partial);
        Ok(None)
    }

    /// Gives up the datagrams that were not completed in time. Returns whether senders are to be told.
    pub fn expire(&mut self, now: u64) -> bool {
        while let Some(oldest) = self.partial.pop_front_if(|oldest| oldest.expires <= now) {
            self.failed += 1;
            self.timeouts += 1;
            self.expired.extend(oldest.first());
            if self.expired.len() > EXPIRED_MAX {
                self.expired.pop_front();
            }
        }
        !self.expired.is_empty()
    }

    /// Takes the frame with the first fragment of a datagram that was not completed in time.
    pub fn next_expired(&mut self) -> Option<Vec<u8>> {
        self.expired.pop_front()
    }

    /// Gives up all datagrams. Their senders are not told.
    pub fn drop_all(&mut self) {
        self.failed += self.partial.len() as u64;
        self.partial.clear();
        self.expired.clear();
    }

    /// When the next datagram is given up.
    pub fn deadline(&self) -> Option<u64> {
        self.partial.front().map(|oldest| oldest.expires)
    }
}

impl Partial {
    /// Takes a fragment. Returns `false` if it contradicts the others.
    fn takes(&mut self, piece: &Fragment, header: &[u8], octets: &[u8]) -> bool {
        let (start, end) = (piece.offset, piece.offset + octets.len());
        if self.len.is_some_and(|len| end > len) {
            return false;
        }
        if let Some((&before, data)) = self.pieces.range(..=start).next_back() {
            if before == start && data.len() == octets.len() {
                return true;
            }
            if before + data.len() > start {
                return false;
            }
        }
        let behind = self.pieces.range(start..).next();
        if behind.is_some_and(|(&behind, _)| piece.is_last || behind < end) {
            return false;
        }
        if piece.is_last && self.len.replace(end).is_some() {
            return false;
        }
        if start == 0 {
            self.header = header.to_vec();
            // Behind the headers comes what was fragmented, without a fragment header (RFC 8200 §4.5).
            if let Some(next) = self.header.get_mut(piece.next_header)
                && !self.identity.source.is_v4()
            {
                *next = self.identity.protocol;
            }
        }
        self.received += octets.len();
        self.pieces.insert(start, octets.to_vec());
        true
    }

    /// Whether all data has arrived: no fragments overlap and none lies behind the end, so that it is
    /// enough to compare the numbers of octets.
    fn is_complete(&self) -> bool {
        self.len == Some(self.received)
    }

    /// Octets of memory that it takes.
    fn octets(&self) -> usize {
        self.received + self.pieces.len() * OVERHEAD
    }

    /// The frame with the first fragment, as it was received, if that has arrived.
    fn first(&self) -> Option<Vec<u8>> {
        let data = self.pieces.get(&0)?;
        Some([&self.header[..], data].concat())
    }

    /// A frame with the whole datagram. `None` if it is longer than an IPv4 datagram can be.
    fn whole(self) -> Option<Vec<u8>> {
        let is_v4 = self.identity.source.is_v4();
        // IPv6's length does not count its header.
        let fixed = if is_v4 {
            ETHERNET
        } else {
            ETHERNET + IPV6_HEADER
        };
        let total_len = u16::try_from(self.header.len() - fixed + self.received).ok()?;
        let mut frame = self.header;
        frame.reserve_exact(self.received);
        for data in self.pieces.values() {
            frame.extend_from_slice(data);
        }
        if !is_v4 {
            let place = frame.get_mut(ETHERNET + 4..ETHERNET + 6)?;
            place.copy_from_slice(&total_len.to_be_bytes());
            return Some(frame);
        }
        let mut packet = Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]);
        packet.set_total_len(total_len);
        packet.set_more_frags(false);
        packet.fill_checksum();
        Some(frame)
    }
}
