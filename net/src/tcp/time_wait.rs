//! TIME-WAIT without sockets (RFC 9293 §3.6.1, §3.10.7.4).
//!
//! The side that closes first must remember the connection's end: a peer whose last
//! acknowledgement was lost repeats its FIN, and old duplicates must not reach a new
//! connection of the same ports. smoltcp keeps the socket with its buffers for that.
//! This table keeps 40 octets instead, and is consulted before smoltcp sees a segment.

use crate::deadlines::nanoseconds;
use crate::index::Index;
use crate::names::Tuple;
use crate::packet::Segment;
use crate::secret::Key;
use crate::tcp::tcb::Challenges;
use alloc::collections::VecDeque;
use core::time::Duration;
use smoltcp::wire::TcpSeqNumber;

/// The acknowledgement a connection in TIME-WAIT answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastWord {
    /// SND.NXT: after our FIN.
    pub seq: TcpSeqNumber,
    /// RCV.NXT: after the peer's FIN.
    pub ack: TcpSeqNumber,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No such connection ended lately.
    Pass,
    /// A new connection may begin above this number of ours, the last one's last (RFC 9293
    /// §3.6.1).
    Reopen(TcpSeqNumber),
    /// An old duplicate.
    Drop,
    /// The peer has not heard the last word.
    Repeat(LastWord),
}

struct Entry {
    last_word: LastWord,
    expires: u64,
    /// How often it was repeated to segments that are no FIN.
    challenges: Challenges,
}

/// The connections that ended lately. The oldest makes room for the newest.
pub(crate) struct TimeWait {
    entries: Index<Tuple, Entry>,
    /// In the order in which they expire, which is that in which they came: all are
    /// remembered equally long. What is not an entry's time is left over from one that
    /// was removed or began again.
    order: VecDeque<(u64, Tuple)>,
    capacity: usize,
    duration_ns: u64,
}

impl TimeWait {
    pub fn new(capacity: usize, duration: Duration, key: Key) -> Self {
        TimeWait {
            entries: Index::with_hasher(key),
            order: VecDeque::new(),
            capacity,
            duration_ns: nanoseconds(duration),
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a new connection must not use these ports yet.
    pub fn holds(&self, tuple: &Tuple, now: u64) -> bool {
        self.entries
            .get(tuple)
            .is_some_and(|entry| entry.expires > now)
    }

    /// Remembers a connection's end.
    pub fn insert(&mut self, tuple: Tuple, last_word: LastWord, now: u64) {
        let until = now.saturating_add(self.duration_ns);
        let mut challenges = Challenges::default();
        if let Some(entry) = self.entries.get_mut(&tuple) {
            if entry.expires == until {
                // Once in the order is enough.
                entry.last_word = last_word;
                return;
            }
            challenges = entry.challenges;
            self.entries.remove(&tuple);
        }
        while let Some(&(expires, oldest)) = self.order.front() {
            if expires > now && self.entries.len() < self.capacity {
                break;
            }
            if self.is_current(expires, &oldest) {
                self.entries.remove(&oldest);
            }
            self.order.pop_front();
        }
        if self.capacity == 0 {
            return;
        }
        if self.order.len() >= 2 * self.capacity {
            // At least every other is left over.
            let entries = &self.entries;
            let current = |(expires, tuple): &(u64, Tuple)| {
                entries.get(tuple).is_some_and(|e| e.expires == *expires)
            };
            self.order.retain(current);
        }
        let entry = Entry {
            last_word,
            expires: until,
            challenges,
        };
        self.entries.insert(tuple, entry);
        self.order.push_back((until, tuple));
    }

    fn is_current(&self, expires: u64, tuple: &Tuple) -> bool {
        self.entries
            .get(tuple)
            .is_some_and(|entry| entry.expires == expires)
    }

    /// A new connection has begun.
    pub fn forget(&mut self, tuple: &Tuple) {
        self.entries.remove(tuple);
    }

    /// Forgets all: they were another address's.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    /// Judges a segment that belongs to no open connection.
    pub fn segment(&mut self, segment: &Segment, now: u64) -> Verdict {
        let tuple = &segment.tuple;
        let Some(entry) = self.entries.get_mut(tuple) else {
            return Verdict::Pass;
        };
        let last_word = entry.last_word;
        if entry.expires <= now {
            self.entries.remove(tuple);
            return Verdict::Pass;
        }
        if segment.rst {
            // Only the exact number ends it: RFC 5961 §3.2, and what RFC 1337 warns of.
            if segment.seq == last_word.ack {
                self.entries.remove(tuple);
            }
            return Verdict::Drop;
        }
        if segment.opens() && segment.seq > last_word.ack {
            return Verdict::Reopen(last_word.seq);
        }
        if segment.fin {
            // The peer is still there: the time begins again.
            self.insert(*tuple, last_word, now);
            return Verdict::Repeat(last_word);
        }
        let nothing_new = segment.end() == segment.seq && segment.seq == last_word.ack;
        // Two ends that disagree must not answer each other for ever (RFC 5961 §7).
        match nothing_new || !entry.challenges.allow(now) {
            true => Verdict::Drop,
            false => Verdict::Repeat(last_word),
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
        Tuple {
            port: 80,
            peer: SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 2), port),
        }
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

    const LAST_WORD: LastWord = LastWord {
        seq: TcpSeqNumber(500),
        ack: TcpSeqNumber(1000),
    };

    fn table() -> TimeWait {
        let mut table = TimeWait::new(
            3,
            Duration::from_secs(60),
            Secret::from(1).key(Purpose::Tables),
        );
        table.insert(tuple(1), LAST_WORD, 0);
        table
    }

    #[test]
    fn a_repeated_fin_hears_the_last_word_again() {
        let mut table = table();
        let mut fin = segment(1, 999);
        fin.fin = true;
        assert_eq!(table.segment(&fin, SECOND), Verdict::Repeat(LAST_WORD));
        assert!(table.holds(&tuple(1), 60 * SECOND), "the time began again");
        assert_eq!(table.segment(&segment(1, 1000), SECOND), Verdict::Drop);
        assert_eq!(table.segment(&segment(2, 1000), SECOND), Verdict::Pass);
    }

    #[test]
    fn a_later_syn_reuses_the_ports_and_an_old_one_does_not() {
        let mut table = table();
        let mut syn = segment(1, 1000);
        (syn.syn, syn.ack) = (true, None);
        assert_eq!(table.segment(&syn, SECOND), Verdict::Repeat(LAST_WORD));
        syn.seq = TcpSeqNumber(1001);
        let reopen = Verdict::Reopen(LAST_WORD.seq);
        assert_eq!(table.segment(&syn, SECOND), reopen);
        // It may find no room.
        assert_eq!(table.segment(&syn, SECOND), reopen);
        table.forget(&tuple(1));
        assert_eq!(table.segment(&syn, SECOND), Verdict::Pass);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn only_an_exact_reset_ends_it() {
        let mut table = table();
        let mut reset = segment(1, 999);
        reset.rst = true;
        assert_eq!(table.segment(&reset, SECOND), Verdict::Drop);
        assert_eq!(table.len(), 1);
        for seq in [1001, 1000 + 65_535, i32::MIN, 500] {
            reset.seq = TcpSeqNumber(seq);
            assert_eq!(table.segment(&reset, SECOND), Verdict::Drop);
            assert_eq!(table.len(), 1, "{seq}");
        }
        // One that pretends to end or to begin something is a reset all the same.
        (reset.fin, reset.syn) = (true, true);
        assert_eq!(table.segment(&reset, SECOND), Verdict::Drop);
        assert!(table.holds(&tuple(1), 60 * SECOND - 1) && !table.holds(&tuple(1), 60 * SECOND));
        reset.seq = TcpSeqNumber(1000);
        assert_eq!(table.segment(&reset, SECOND), Verdict::Drop);
        assert_eq!(table.len(), 0);
        // It is nobody's then, as is one that comes when the time is over.
        assert_eq!(table.segment(&reset, SECOND), Verdict::Pass);
        table.insert(tuple(1), LAST_WORD, 0);
        assert_eq!(table.segment(&reset, 60 * SECOND), Verdict::Pass);
    }

    #[test]
    fn the_oldest_gives_way_and_not_one_that_began_again() {
        let mut table = table();
        table.insert(tuple(2), LAST_WORD, 1);
        let mut fin = segment(1, 999);
        fin.fin = true;
        assert_eq!(table.segment(&fin, 2), Verdict::Repeat(LAST_WORD));
        table.insert(tuple(3), LAST_WORD, 3);
        table.insert(tuple(4), LAST_WORD, 4);
        assert!(table.holds(&tuple(1), 4) && !table.holds(&tuple(2), 4));
        // Whose time is over now makes room now.
        table.insert(tuple(5), LAST_WORD, 60 * SECOND + 4);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn it_expires_and_it_is_bounded() {
        let mut table = table();
        assert_eq!(table.segment(&segment(1, 5), 60 * SECOND), Verdict::Pass);
        for port in 1..100 {
            table.insert(tuple(port), LAST_WORD, u64::from(port));
            assert!(table.len() <= 3);
            assert!(table.order.len() <= 6);
        }
        assert!(table.holds(&tuple(99), 100) && table.holds(&tuple(97), 100));
        assert!(!table.holds(&tuple(96), 100));
    }

    #[test]
    fn what_begins_again_stays_and_leaves_nothing_behind() {
        let mut table = table();
        table.insert(tuple(2), LAST_WORD, 1);
        let mut fin = segment(1, 999);
        fin.fin = true;
        for now in 2..1000 {
            for _ in 0..3 {
                assert_eq!(table.segment(&fin, now), Verdict::Repeat(LAST_WORD));
            }
            assert!(table.order.len() <= 6 && table.len() == 2);
        }
        table.insert(tuple(3), LAST_WORD, 1000);
        table.insert(tuple(4), LAST_WORD, 1001);
        // The second has been there longest without a word.
        assert!(table.holds(&tuple(1), 1001) && !table.holds(&tuple(2), 1001));
        table.insert(tuple(5), LAST_WORD, 200 * SECOND);
        assert_eq!((table.len(), table.order.len()), (1, 1));
    }
}
