//! TIME-WAIT without sockets (RFC 9293 §3.6.1, §3.10.7.4).
//!
//! The side that closes a connection first must remember its end for a while: if our last
//! acknowledgment was lost, the peer repeats its FIN, and old duplicates must not reach a new
//! connection between the same ports. smoltcp would keep the socket with its buffers for that. This
//! table keeps about 80 octets instead, and is asked before smoltcp sees a segment.

use crate::deadlines::{Deadlines, nanoseconds};
use crate::index::Index;
use crate::ip::interface::Local;
use crate::names::Tuple;
use crate::packet::Segment;
use crate::secret::Key;
use crate::tcp::handshake::Acknowledgment;
use crate::tcp::sequence::Challenges;
use alloc::vec::Vec;
use core::time::Duration;
use slab::Slab;
use smoltcp::wire::TcpSeqNumber;

/// What is to be done with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgment {
    /// It belongs to no connection in TIME-WAIT.
    Unknown,
    /// It is a SYN that may begin a new connection, whose initial sequence number must be greater
    /// than this one, the last of the old connection (RFC 9293 §3.6.1).
    Reopen(TcpSeqNumber),
    /// It is an old duplicate, to be dropped.
    Drop,
    /// The peer has not received our last acknowledgment, so it is sent again.
    Repeat(Acknowledgment),
}

struct Entry {
    tuple: Tuple,
    /// It acknowledges the peer's FIN; its sequence number is the one after our FIN.
    acknowledgment: Acknowledgment,
    /// Limits how often the acknowledgment answers segments without FIN.
    challenges: Challenges,
}

/// The connections in TIME-WAIT. If the table is full, the oldest makes room for the newest.
pub(crate) struct TimeWait {
    entries: Slab<Entry>,
    by_tuple: Index<Tuple, usize>,
    /// When entries expire.
    expiries: Deadlines,
    capacity: usize,
    duration_ns: u64,
}

impl TimeWait {
    pub fn new(capacity: usize, duration: Duration, key: Key) -> Self {
        TimeWait {
            entries: Slab::new(),
            by_tuple: Index::with_hasher(key),
            expiries: Deadlines::default(),
            capacity,
            duration_ns: nanoseconds(duration),
        }
    }

    /// How many connections are in TIME-WAIT.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether these ports must not be used for a new connection yet.
    pub fn holds(&self, tuple: &Tuple, now: u64) -> bool {
        let slot = self.by_tuple.get(tuple);
        slot.is_some_and(|&slot| self.expiries.get(slot) > Some(now))
    }

    /// Adds a connection. Entries whose time is over are removed.
    pub fn insert(&mut self, tuple: Tuple, acknowledgment: Acknowledgment, now: u64) {
        self.forget(&tuple);
        while let Some((expires, oldest)) = self.expiries.first()
            && (expires <= now || self.len() >= self.capacity)
        {
            self.remove(oldest);
        }
        if self.capacity == 0 {
            return;
        }
        let slot = self.entries.insert(Entry {
            tuple,
            acknowledgment,
            challenges: Challenges::default(),
        });
        self.by_tuple.insert(tuple, slot);
        self.begin_time(slot, now);
    }

    fn begin_time(&mut self, slot: usize, now: u64) {
        let expires = now.saturating_add(self.duration_ns);
        self.expiries.set(slot, expires);
    }

    fn remove(&mut self, slot: usize) {
        if let Some(entry) = self.entries.try_remove(slot) {
            self.by_tuple.remove(&entry.tuple);
            self.expiries.clear(slot);
        }
    }

    /// Removes an entry, since a new connection has begun.
    pub fn forget(&mut self, tuple: &Tuple) {
        if let Some(&slot) = self.by_tuple.get(tuple) {
            self.remove(slot);
        }
    }

    /// Removes all entries of one of our addresses, since it has gone.
    pub fn clear(&mut self, local: Local) {
        let ours = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.tuple.local == local);
        let ours: Vec<usize> = ours.map(|(slot, _)| slot).collect();
        for slot in ours {
            self.remove(slot);
        }
    }

    /// Decides on a segment that belongs to no open connection.
    pub fn segment(&mut self, segment: &Segment, now: u64) -> Judgment {
        let Some(&slot) = self.by_tuple.get(&segment.tuple) else {
            return Judgment::Unknown;
        };
        let is_over = self.expiries.get(slot) <= Some(now);
        let Some(entry) = self.entries.get_mut(slot).filter(|_| !is_over) else {
            self.remove(slot);
            return Judgment::Unknown;
        };
        let acknowledgment = entry.acknowledgment;
        if segment.rst {
            // Only a RST with exactly the expected number ends TIME-WAIT (RFC 5961 §3.2). RFC 1337
            // describes what goes wrong otherwise.
            if segment.seq == acknowledgment.ack {
                self.remove(slot);
            }
            return Judgment::Drop;
        }
        if segment.opens() && segment.seq > acknowledgment.ack {
            return Judgment::Reopen(acknowledgment.seq);
        }
        if segment.fin {
            // RFC 9293 §3.10.7.4, eighth: the time begins again.
            self.begin_time(slot, now);
            return Judgment::Repeat(acknowledgment);
        }
        let nothing_new = segment.end() == segment.seq && segment.seq == acknowledgment.ack;
        // The rate is limited, so that two ends that disagree do not answer each other for ever
        // (RFC 5961 §7).
        match nothing_new || !entry.challenges.allow(now) {
            true => Judgment::Drop,
            false => Judgment::Repeat(acknowledgment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::ethernet::Station;
    use crate::packet::SynOptions;
    use crate::secret::{Purpose, Secret};
    use core::net::{Ipv4Addr, SocketAddrV4};

    const SECOND: u64 = 1_000_000_000;

    fn tuple(port: u16) -> Tuple {
        Tuple::v4(80, SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), port))
    }

    fn segment(port: u16, seq: i32) -> Segment {
        Segment {
            station: Station([2, 0, 0, 0, 0, 1]),
            tuple: tuple(port),
            seq: TcpSeqNumber(seq),
            ack: Some(TcpSeqNumber(500)),
            syn: false,
            fin: false,
            rst: false,
            is_plain: true,
            window: 0,
            data: 0,
            len: 0,
            options: SynOptions::default(),
        }
    }

    const LAST_ACK: Acknowledgment = Acknowledgment {
        seq: TcpSeqNumber(500),
        ack: TcpSeqNumber(1000),
        window: 0,
    };

    fn table() -> TimeWait {
        let mut table = TimeWait::new(
            3,
            Duration::from_secs(60),
            Secret::from(1).key(Purpose::Tables),
        );
        table.insert(tuple(1), LAST_ACK, 0);
        table
    }

    #[test]
    fn a_repeated_fin_is_acknowledged_again() {
        let mut table = table();
        let mut fin = segment(1, 999);
        fin.fin = true;
        assert_eq!(table.segment(&fin, SECOND), Judgment::Repeat(LAST_ACK));
        assert!(table.holds(&tuple(1), 60 * SECOND), "the time began again");
        assert_eq!(table.segment(&segment(1, 1000), SECOND), Judgment::Drop);
        assert_eq!(table.segment(&segment(2, 1000), SECOND), Judgment::Unknown);
    }

    #[test]
    fn a_later_syn_reuses_the_ports_and_an_old_one_does_not() {
        let mut table = table();
        let mut syn = segment(1, 1000);
        (syn.syn, syn.ack) = (true, None);
        assert_eq!(table.segment(&syn, SECOND), Judgment::Repeat(LAST_ACK));
        syn.seq = TcpSeqNumber(1001);
        let reopen = Judgment::Reopen(LAST_ACK.seq);
        assert_eq!(table.segment(&syn, SECOND), reopen);
        // It may find no room.
        assert_eq!(table.segment(&syn, SECOND), reopen);
        table.forget(&tuple(1));
        assert_eq!(table.segment(&syn, SECOND), Judgment::Unknown);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn only_an_exact_reset_ends_it() {
        let mut table = table();
        let mut reset = segment(1, 999);
        reset.rst = true;
        assert_eq!(table.segment(&reset, SECOND), Judgment::Drop);
        assert_eq!(table.len(), 1);
        for seq in [1001, 1000 + 65_535, i32::MIN, 500] {
            reset.seq = TcpSeqNumber(seq);
            assert_eq!(table.segment(&reset, SECOND), Judgment::Drop);
            assert_eq!(table.len(), 1, "{seq}");
        }
        // One that pretends to end or to begin something is a reset all the same.
        (reset.fin, reset.syn) = (true, true);
        assert_eq!(table.segment(&reset, SECOND), Judgment::Drop);
        assert!(table.holds(&tuple(1), 60 * SECOND - 1) && !table.holds(&tuple(1), 60 * SECOND));
        reset.seq = TcpSeqNumber(1000);
        assert_eq!(table.segment(&reset, SECOND), Judgment::Drop);
        assert_eq!(table.len(), 0);
        // It is nobody's then, as is one that comes when the time is over.
        assert_eq!(table.segment(&reset, SECOND), Judgment::Unknown);
        table.insert(tuple(1), LAST_ACK, 0);
        assert_eq!(table.segment(&reset, 60 * SECOND), Judgment::Unknown);
    }

    #[test]
    fn the_oldest_gives_way_and_not_one_that_began_again() {
        let mut table = table();
        table.insert(tuple(2), LAST_ACK, 1);
        let mut fin = segment(1, 999);
        fin.fin = true;
        assert_eq!(table.segment(&fin, 2), Judgment::Repeat(LAST_ACK));
        table.insert(tuple(3), LAST_ACK, 3);
        table.insert(tuple(4), LAST_ACK, 4);
        assert!(table.holds(&tuple(1), 4) && !table.holds(&tuple(2), 4));
        // Whose time is over now makes room now.
        table.insert(tuple(5), LAST_ACK, 60 * SECOND + 4);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn it_expires_and_it_is_bounded() {
        let mut table = table();
        assert_eq!(
            table.segment(&segment(1, 5), 60 * SECOND),
            Judgment::Unknown
        );
        for port in 1..100 {
            table.insert(tuple(port), LAST_ACK, u64::from(port));
            assert!(table.len() <= 3);
        }
        assert!(table.holds(&tuple(99), 100) && table.holds(&tuple(97), 100));
        assert!(!table.holds(&tuple(96), 100));
    }

    #[test]
    fn what_begins_again_stays() {
        let mut table = table();
        table.insert(tuple(2), LAST_ACK, 1);
        let mut fin = segment(1, 999);
        fin.fin = true;
        for now in 2..1000 {
            for _ in 0..3 {
                assert_eq!(table.segment(&fin, now), Judgment::Repeat(LAST_ACK));
            }
            assert_eq!(table.len(), 2);
        }
        table.insert(tuple(3), LAST_ACK, 1000);
        table.insert(tuple(4), LAST_ACK, 1001);
        // The second has been there longest without a word.
        assert!(table.holds(&tuple(1), 1001) && !table.holds(&tuple(2), 1001));
        table.insert(tuple(5), LAST_ACK, 200 * SECOND);
        assert_eq!(table.len(), 1);
    }
}
