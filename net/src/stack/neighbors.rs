//! Which neighbours can be sent datagrams to at once, and asking for those that cannot.
//!
//! A datagram leaves only when its neighbour's station is known. Until then it waits, and
//! this module asks: [`TRIES`] times, once per second, each neighbour on its own. smoltcp
//! has a list of its own, for its segments; what it is told is told here, too
//! ([`super::arp`]), with a shorter life.

use alloc::vec::Vec;
use core::net::Ipv4Addr;
use smoltcp::wire::EthernetAddress;

/// More push out who was heard of the longest ago. smoltcp knows as many, so that it knows
/// nobody of whom [`Neighbors::knows`] says no.
const KNOWN_MAX: usize = 64;
/// smoltcp's entries live 60 s.
const LIFETIME_NS: u64 = 50_000_000_000;
/// The most neighbours asked for at the same time.
const ASKED_MAX: usize = 16;
/// How often a neighbour is asked for (RFC 1122 §2.3.2.1: at most once per second).
pub(super) const TRIES: u8 = 3;
const INTERVAL_NS: u64 = 1_000_000_000;

struct Known {
    address: Ipv4Addr,
    mac: EthernetAddress,
    expires: u64,
}

struct Asked {
    address: Ipv4Addr,
    tries: u8,
    next: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Neighbors {
    known: Vec<Known>,
    asked: Vec<Asked>,
}

impl Neighbors {
    /// The station of a neighbour, if it is known.
    pub fn station(&self, address: Ipv4Addr, now: u64) -> Option<EthernetAddress> {
        self.known
            .iter()
            .find(|known| known.address == address && known.expires > now)
            .map(|known| known.mac)
    }

    /// Whether a neighbour was heard of, however long ago: smoltcp may still send to it.
    pub fn knows(&self, address: Ipv4Addr) -> bool {
        self.known.iter().any(|known| known.address == address)
    }

    /// An ARP packet told where a neighbour is. Returns whether it was known elsewhere.
    #[cold]
    pub fn heard(&mut self, address: Ipv4Addr, mac: EthernetAddress, now: u64) -> bool {
        self.asked.retain(|asked| asked.address != address);
        let expires = now.saturating_add(LIFETIME_NS);
        let fresh = Known {
            address,
            mac,
            expires,
        };
        if let Some(known) = self.known.iter_mut().find(|k| k.address == address) {
            let before = core::mem::replace(known, fresh);
            return before.mac != mac;
        }
        if self.known.len() == KNOWN_MAX {
            let oldest = (0..KNOWN_MAX).min_by_key(|&index| self.known[index].expires);
            self.known.swap_remove(oldest.unwrap_or(0));
        }
        self.known.push(fresh);
        false
    }

    /// A datagram came from a neighbour.
    pub fn lives(&mut self, address: Ipv4Addr, mac: EthernetAddress, now: u64) {
        let same = |known: &&mut Known| known.address == address && known.mac == mac;
        if let Some(known) = self.known.iter_mut().find(same)
            && known.expires > now
        {
            known.expires = now.saturating_add(LIFETIME_NS);
        }
    }

    /// Starts to ask for a neighbour. `false` if too many others are being asked for.
    #[cold]
    pub fn ask(&mut self, address: Ipv4Addr, now: u64) -> bool {
        if self.asked.iter().any(|asked| asked.address == address) {
            return true;
        }
        let room = self.asked.len() < ASKED_MAX;
        if room {
            self.asked.push(Asked {
                address,
                tries: 0,
                next: now,
            });
        }
        room
    }

    /// The next neighbour to send a request for, if one is due.
    pub fn due(&self, now: u64) -> Option<Ipv4Addr> {
        self.asked
            .iter()
            .find(|asked| asked.next <= now && asked.tries < TRIES)
            .map(|asked| asked.address)
    }

    /// A request for this neighbour was sent.
    pub fn sent(&mut self, address: Ipv4Addr, now: u64) {
        if let Some(asked) = self.asked.iter_mut().find(|a| a.address == address) {
            asked.tries += 1;
            asked.next = now.saturating_add(INTERVAL_NS);
        }
    }

    /// Takes a neighbour that was asked for often enough in vain.
    pub fn given_up(&mut self, now: u64) -> Option<Ipv4Addr> {
        let index = self
            .asked
            .iter()
            .position(|asked| asked.next <= now && asked.tries >= TRIES)?;
        Some(self.asked.swap_remove(index).address)
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<u64> {
        self.asked.iter().map(|asked| asked.next).min()
    }
}
