//! The received datagrams of a port: a ring of octets, in which each datagram lies in one piece.

use abi::socket::Address;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A received datagram: its sender, and where its octets are in the ring.
struct Head {
    from: Address,
    start: usize,
    len: usize,
}

/// The datagrams that wait to be received by a program, the oldest first.
pub(super) struct Inbox {
    octets: Vec<u8>,
    heads: VecDeque<Head>,
    /// The most datagrams.
    max: usize,
}

impl Inbox {
    /// An empty inbox with this ring, for at most `max` datagrams.
    pub fn new(octets: Vec<u8>, max: usize) -> Self {
        Inbox {
            octets,
            heads: VecDeque::with_capacity(max),
            max,
        }
    }

    /// Appends a datagram. Returns `false` if there is no room: then the datagram is lost.
    pub fn push(&mut self, from: Address, octets: &[u8]) -> bool {
        let len = octets.len();
        let start = match self.place(len) {
            Some(start) if self.heads.len() < self.max => start,
            _ => return false,
        };
        let Some(place) = self.octets.get_mut(start..start + len) else {
            return false;
        };
        place.copy_from_slice(octets);
        self.heads.push_back(Head { from, start, len });
        true
    }

    /// Where a datagram of `len` octets has room.
    fn place(&self, len: usize) -> Option<usize> {
        let (Some(first), Some(last)) = (self.heads.front(), self.heads.back()) else {
            return Some(0);
        };
        let end = last.start + last.len;
        if last.start < first.start {
            // The free octets lie between the last datagram and the first. One of them always stays
            // free, since the last datagram must begin before the first.
            return (len < first.start - end).then_some(end);
        }
        if len <= self.octets.len() - end {
            return Some(end);
        }
        (len < first.start).then_some(0)
    }

    /// The oldest datagram: its sender and its octets.
    pub fn first(&self) -> Option<(Address, &[u8])> {
        let head = self.heads.front()?;
        let octets = self.octets.get(head.start..head.start + head.len)?;
        Some((head.from, octets))
    }

    /// How many datagrams there are.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Removes the oldest datagram.
    pub fn pop(&mut self) {
        self.heads.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::Chance;
    use core::net::{Ipv4Addr, SocketAddrV4};

    fn local(port: u16) -> Address {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into()
    }

    #[test]
    fn datagrams_leave_whole_and_in_order_whatever_their_lengths() {
        let mut chance = Chance(1);
        for max in [1, 3, 64] {
            let mut inbox = Inbox::new(alloc::vec![0; 1000], max);
            let mut all: VecDeque<(Address, Vec<u8>)> = VecDeque::new();
            let mut refused = 0;
            for _ in 0..20_000 {
                if chance.percent(55) {
                    let bound = 1 + chance.below(400);
                    let len = chance.below(bound) as usize;
                    let octets = chance.octets(len);
                    let from = local(chance.next() as u16);
                    match inbox.push(from, &octets) {
                        true => all.push_back((from, octets)),
                        // What does not fit the ring's end is put at its start.
                        false => {
                            refused += 1;
                            let held: usize = all.iter().map(|(_, octets)| octets.len()).sum();
                            assert!(all.len() == max || held + len + 400 >= 1000);
                        }
                    }
                } else {
                    inbox.pop();
                    all.pop_front();
                }
                let first = all.front().map(|(from, octets)| (*from, &octets[..]));
                assert!(inbox.first() == first && inbox.heads.len() == all.len());
            }
            assert!(refused > 100);
        }
    }

    #[test]
    fn one_that_is_longer_than_all_is_refused_and_one_as_long_is_taken() {
        let from = local(7);
        let mut inbox = Inbox::new(alloc::vec![0; 10], 2);
        assert!(!inbox.push(from, &[0; 11]) && inbox.first().is_none());
        assert!(inbox.push(from, &[1; 10]) && !inbox.push(from, &[2]));
        assert!(inbox.push(from, &[]) && !inbox.push(from, &[]));
        inbox.pop();
        assert_eq!(inbox.first(), Some((from, &[][..])));
        assert!(inbox.push(from, &[3; 9]));
    }

    #[test]
    fn the_octets_are_never_all_taken_behind_the_ring_s_end() {
        let from = local(7);
        let mut inbox = Inbox::new(alloc::vec![0; 10], 10);
        assert!(inbox.push(from, &[1; 4]) && inbox.push(from, &[2; 4]));
        inbox.pop();
        assert!(!inbox.push(from, &[3; 4]) && inbox.push(from, &[3; 3]));
        assert!(!inbox.push(from, &[4]) && inbox.push(from, &[]));
        for octets in [&[2; 4][..], &[3; 3], &[]] {
            assert_eq!(inbox.first(), Some((from, octets)));
            inbox.pop();
        }
    }
}
