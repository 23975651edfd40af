//! SYN-RECEIVED without sockets.
//!
//! A SYN costs nothing that a flood of them could use up: it becomes an entry of a bounded table,
//! or, if that is full, is answered with a cookie and forgotten ([`crate::tcp::numbers`], RFC
//! 4987 §3.6). The segment that acknowledges our SYN makes the socket ([`crate::tcp::opening`]).
//! What other segments there may be is judged as ever ([`crate::tcp::arrives`]).
//!
//! An entry remembers all that the peer offered, and its SYN-ACK is repeated (RFC 6298 §5). One
//! that is answered by a cookie has no scaled window, and repeats its SYN itself.

use crate::deadlines::{Deadlines, nanoseconds};
use crate::ip::interface::Interface;
use crate::link::ethernet::Station;
use crate::memory::{Memory, RECEIVE_MAX};
use crate::names::ConnectionId;
use crate::packet::Segment;
use crate::tcp::arrives::{Arrival, arrives, is_expected};
use crate::tcp::handshake::{Handshake, Offer, SynAck};
use crate::tcp::numbers::{COOKIE_LIFE_NS, Told};
use crate::tcp::opening::receive_syn;
use crate::tcp::tcb::{Challenges, Tcb};
use crate::tcp::time_wait::LastWord;
use crate::tcp::{Course, Holder, Role, Tcp};
use crate::verdict::DropReason;
use slab::Slab;
use smoltcp::socket::tcp::State;
use smoltcp::wire::TcpSeqNumber;

/// RFC 6298 §2: until a round trip was measured; each repetition waits twice as long as the last.
const REPEAT_NS: u64 = 1_000_000_000;
/// SYN-ACKs in all: Linux's `tcp_synack_retries` is one less.
const SENT_MAX: u8 = 6;

/// A peer that has not acknowledged our SYN yet.
pub(super) struct HalfOpen {
    pub handshake: Handshake,
    pub station: Station,
    /// When its SYN came.
    pub since: u64,
    /// How often it was answered.
    pub sent: u8,
    /// Its listener is gone.
    pub is_refused: bool,
    pub challenges: Challenges,
}

/// All of them.
#[derive(Default)]
pub(super) struct HalfOpens {
    pub slots: Slab<HalfOpen>,
    /// When they are answered again, or forgotten.
    pub due: Deadlines,
    /// A cookie that was sent may come back until then.
    pub cookies_until: u64,
}

impl HalfOpens {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| at)
    }

    /// The ends of those that somebody listens for.
    #[cfg(test)]
    pub fn audit(&self) -> impl Iterator<Item = (usize, crate::names::Tuple, bool)> {
        assert_eq!(self.slots.len(), self.due.len());
        let entries = self.slots.iter();
        entries.map(|(slot, half)| (slot, half.handshake.tuple, !half.is_refused))
    }
}

impl Tcp {
    /// The window that all SYN-ACKs offer: as much as every socket has room for.
    fn window(&self) -> u16 {
        self.limits.tcp_receive.min(RECEIVE_MAX) as u16
    }

    /// What our SYN offers to a peer that offered this.
    fn offer(&self, peer: &Offer) -> Offer {
        Offer {
            window: self.window(),
            mss: Some(self.link_mss as u16),
            // Ours are not scaled, but the peer's may be then (RFC 7323 §2.2).
            shift: peer.shift.map(|_| 0),
            sack_permitted: peer.sack_permitted,
        }
    }

    /// Answers a SYN to a port that has a listener. `above`: the last number of the connection that
    /// these ends had, if it is in TIME-WAIT.
    pub(super) fn syn(
        &mut self,
        segment: &Segment,
        above: Option<TcpSeqNumber>,
        now: u64,
    ) -> Course {
        let tuple = segment.tuple;
        let Some(listener) = self.listeners.get(&tuple.port) else {
            return Course::Drop(DropReason::TcpNoConnection);
        };
        if listener.ready.len() >= listener.backlog {
            return self.no_room();
        }
        let mut offer = segment.offer();
        let is_kept =
            listener.half_open < listener.backlog && self.half_open.len() < self.limits.half_open;
        if !is_kept {
            // No cookie tells it.
            offer.shift = None;
        }
        let iss = match is_kept {
            true => self.numbers.initial(&tuple, now),
            false => self.numbers.cookie(&tuple, segment.seq, &offer, now),
        };
        // RFC 9293 §3.6.1 (1): a new connection begins behind the last one of its ends, which may
        // have gone faster than the clock. No cookie can be told to.
        let iss = match above {
            Some(last) if iss <= last && is_kept => last + 1,
            Some(last) if iss <= last => return self.no_room(),
            _ => iss,
        };
        let half = HalfOpen {
            handshake: Handshake {
                tuple,
                iss,
                irs: segment.seq,
                offer,
            },
            station: segment.station,
            since: now,
            sent: 1,
            is_refused: false,
            challenges: Challenges::default(),
        };
        let answer = self.syn_ack(&half);
        if above.is_some() {
            self.time_wait.forget(&tuple);
        }
        match is_kept {
            true => self.keep(half),
            false => {
                self.counters.cookies_sent += 1;
                self.half_open.cookies_until = now.saturating_add(COOKIE_LIFE_NS);
            }
        }
        Course::SynAck(answer)
    }

    fn keep(&mut self, half: HalfOpen) {
        let (tuple, until) = (half.handshake.tuple, self.next_look(&half));
        if let Some(listener) = self.listeners.get_mut(&tuple.port) {
            listener.half_open += 1;
        }
        let slot = self.half_open.slots.insert(half);
        self.half_open.due.set(slot, until);
        self.hold(tuple, Holder::HalfOpen(slot));
    }

    #[cold]
    fn no_room(&mut self) -> Course {
        self.counters.syns_dropped += 1;
        Course::Drop(DropReason::TcpNoRoom)
    }

    fn syn_ack(&self, half: &HalfOpen) -> SynAck {
        let handshake = &half.handshake;
        SynAck {
            tuple: handshake.tuple,
            station: half.station,
            // A RST has the number behind our SYN.
            seq: handshake.iss + usize::from(half.is_refused),
            ack: handshake.irs + 1,
            refuses: half.is_refused,
            offer: self.offer(&handshake.offer),
        }
    }

    /// When an entry is looked at next: it is answered again, or its time is over.
    fn next_look(&self, half: &HalfOpen) -> u64 {
        let end = nanoseconds(self.timers.half_open);
        let next = match half.sent {
            SENT_MAX.. => end,
            sent => end.min(REPEAT_NS * ((1 << sent) - 1)),
        };
        half.since.saturating_add(next)
    }

    /// The next SYN-ACK that is to be sent again, or RST that is to be sent, and the name under
    /// which [`Tcp::answered`] is told that it was.
    pub fn due_answer(&mut self, now: u64) -> Option<(usize, SynAck)> {
        loop {
            let slot = self.half_open.due.due(now)?;
            let half = self.half_open.slots.get(slot)?;
            let end = half
                .since
                .saturating_add(nanoseconds(self.timers.half_open));
            if half.is_refused || now < end {
                return Some((slot, self.syn_ack(half)));
            }
            self.counters.half_open_expired += 1;
            self.forget_half_open(slot);
        }
    }

    /// That was sent.
    pub fn answered(&mut self, slot: usize) {
        let Some(half) = self.half_open.slots.get_mut(slot) else {
            return;
        };
        if half.is_refused {
            self.counters.resets_sent += 1;
            return self.forget_half_open(slot);
        }
        half.sent += 1;
        self.counters.syn_acks_repeated += 1;
        let half = &self.half_open.slots[slot];
        self.half_open.due.set(slot, self.next_look(half));
    }

    /// Forgets an entry.
    pub(super) fn forget_half_open(&mut self, slot: usize) {
        if let Some(half) = self.take_half_open(slot) {
            self.forget_tuple(half.handshake.tuple);
        }
    }

    /// Forgets all entries.
    #[cold]
    pub(super) fn forget_all_half_open(&mut self) {
        while let Some((_, slot)) = self.half_open.due.first() {
            self.forget_half_open(slot);
        }
    }

    /// Takes an entry out, but leaves its ends in the tables.
    fn take_half_open(&mut self, slot: usize) -> Option<HalfOpen> {
        let half = self.half_open.slots.try_remove(slot)?;
        self.half_open.due.clear(slot);
        let listener = self.listeners.get_mut(&half.handshake.tuple.port);
        if let Some(listener) = listener.filter(|_| !half.is_refused) {
            listener.half_open -= 1;
        }
        Some(half)
    }

    /// Sends a RST to all that wait for this port, whose listener is gone.
    #[cold]
    pub(super) fn refuse_half_open(&mut self, port: u16, now: u64) {
        for (slot, half) in &mut self.half_open.slots {
            if half.handshake.tuple.port == port && !half.is_refused {
                half.is_refused = true;
                self.half_open.due.set(slot, now);
            }
        }
    }

    /// Decides on a segment for an entry (RFC 9293 §3.10.7.4, SYN-RECEIVED).
    pub(super) fn half_open_arrives(
        &mut self,
        slot: usize,
        segment: &Segment,
        own: &Interface,
        (now, memory): (u64, &mut Memory),
    ) -> Course {
        let window = self.window();
        let half = self.half_open.slots.get_mut(slot);
        let Some(half) = half.filter(|half| !half.is_refused) else {
            return Course::Drop(DropReason::TcpAborted);
        };
        let (handshake, since) = (half.handshake, half.since);
        match arrival(&handshake, window, segment) {
            Arrival::Instead(shape) if shape.rst => {
                self.forget_half_open(slot);
                Course::Done
            }
            arrival @ (Arrival::Process | Arrival::Instead(_) | Arrival::Probe(_)) => {
                let from = Some(slot);
                match self.open((&handshake, from), own, (since, now), memory) {
                    Some(id) => completed(id, arrival),
                    None => self.no_room(),
                }
            }
            Arrival::Acknowledge(why, pace) => {
                let last_word = LastWord {
                    seq: handshake.iss + 1,
                    ack: handshake.irs + 1,
                };
                match self.counters.allow(&mut half.challenges, pace, now) {
                    true => Course::Challenge(last_word, window, why),
                    false => Course::Drop(why),
                }
            }
            Arrival::Reset(why) => self.reset(why, now),
            Arrival::Forget => {
                self.forget_half_open(slot);
                Course::Drop(DropReason::TcpSyn)
            }
            Arrival::Drop(why) => Course::Drop(why),
        }
    }

    /// Decides on an acknowledgement that comes to a port with a listener, and for no connection
    /// (RFC 9293 §3.10.7.2, second): whether it brings a cookie back.
    #[cold]
    pub(super) fn acknowledgment(
        &mut self,
        segment: &Segment,
        ack: TcpSeqNumber,
        own: &Interface,
        (now, memory): (u64, &mut Memory),
    ) -> Course {
        if now >= self.half_open.cookies_until {
            return self.reset(DropReason::TcpNoConnection, now);
        }
        let (tuple, irs, iss) = (segment.tuple, segment.seq - 1, ack - 1);
        let offer = match self.numbers.read(&tuple, (irs, iss), segment.window, now) {
            Told::Offer(offer) => offer,
            told => {
                self.counters.cookies_refused += 1;
                return match told {
                    // A RST would end what the peer's next repetition completes.
                    Told::Later => Course::Drop(DropReason::TcpNoConnection),
                    _ => self.reset(DropReason::TcpNoConnection, now),
                };
            }
        };
        let handshake = Handshake {
            tuple,
            iss,
            irs,
            offer,
        };
        match arrival(&handshake, self.window(), segment) {
            arrival @ (Arrival::Process | Arrival::Instead(_)) => {
                match self.open((&handshake, None), own, (now, now), memory) {
                    Some(id) => {
                        self.counters.cookies_accepted += 1;
                        completed(id, arrival)
                    }
                    None => self.no_room(),
                }
            }
            _ => Course::Drop(DropReason::TcpNoConnection),
        }
    }

    /// Makes the connection that a handshake is about, which the segment at hand completes; of an
    /// entry, which is gone then, or of a cookie. `since`: when our SYN left. `None`: there is no
    /// room for it, and nothing has changed.
    fn open(
        &mut self,
        (handshake, half): (&Handshake, Option<usize>),
        own: &Interface,
        (since, now): (u64, u64),
        memory: &mut Memory,
    ) -> Option<ConnectionId> {
        let tuple = handshake.tuple;
        let listener = self.listeners.get(&tuple.port)?;
        if listener.ready.len() >= listener.backlog {
            return None;
        }
        let (window, group) = (self.window(), tuple.port);
        let mut solo = self.new_socket(group, window.into(), now, memory)?;
        if !receive_syn(&mut solo, own, handshake, since) {
            self.give_back(group, Some(solo), memory);
            return None;
        }
        if let Some(slot) = half {
            self.take_half_open(slot);
        }
        let id = self.insert(tuple, group, solo, Role::Opening, now);
        if let Some(connection) = self.get_mut(id) {
            connection.tcb = connection.tcb.opened(handshake, window);
            connection.unread = Some(handshake.irs + 1);
        }
        Some(id)
    }

    /// smoltcp did not get the segment that was to complete a connection.
    #[cold]
    pub fn not_completed(&mut self, id: ConnectionId, memory: &mut Memory) {
        if self
            .get(id)
            .is_some_and(|connection| connection.role == Role::Opening)
        {
            self.remove(id, memory);
        }
    }
}

/// What becomes of a segment in SYN-RECEIVED, where our SYN offered this window.
fn arrival(handshake: &Handshake, window: u16, segment: &Segment) -> Arrival {
    let tcb = Tcb::default().opened(handshake, window);
    match segment.ack == Some(tcb.max) && is_expected(&tcb, false, segment) {
        true => Arrival::Process,
        false => arrives((State::SynReceived, true), &tcb, segment),
    }
}

/// What smoltcp gets of a segment that completed a connection.
fn completed(id: ConnectionId, arrival: Arrival) -> Course {
    match arrival {
        Arrival::Instead(shape) | Arrival::Probe(shape) => Course::Instead(id, shape, None),
        _ => Course::Connection(id),
    }
}
