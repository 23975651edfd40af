//! SYN-RECEIVED without sockets.
//!
//! A flood of SYNs must not use up memory. So a SYN makes no socket, but an entry in a bounded table;
//! or, if the table is full, it is answered with a SYN cookie and forgotten ([`crate::tcp::isn`], RFC
//! 4987 §3.6). The socket is made by the segment that acknowledges our SYN
//! ([`crate::tcp::opening`]). Other segments are decided on as in every other state
//! ([`crate::tcp::arrives`]).
//!
//! An entry holds all that the peer offered, and its SYN-ACK is repeated (RFC 6298 §5). After a cookie
//! the peer must repeat its SYN itself, and its windows cannot be scaled.

use crate::deadlines::{Deadlines, nanoseconds};
use crate::ip::interface::Local;
use crate::link::ethernet::Station;
use crate::memory::{Memory, RECEIVE_MAX};
use crate::names::{ConnectionId, Tuple};
use crate::packet::Segment;
use crate::tcp::arrives::{Arrival, arrives, is_expected};
use crate::tcp::handshake::{Acknowledgment, Handshake, Offer, SynAck};
use crate::tcp::isn::{COOKIE_LIFE_NS, CookieCheck};
use crate::tcp::opening::receive_syn;
use crate::tcp::sequence::{Challenges, SequenceVariables};
use crate::tcp::{Context, Course, Holder, Role, Tcp};
use crate::verdict::{DropReason, Verdict};
use alloc::vec::Vec;
use slab::Slab;
use smoltcp::socket::tcp::State;
use smoltcp::wire::TcpSeqNumber;

/// The time until a SYN-ACK is sent again (RFC 6298 §2, as long as no round trip was measured). Each
/// repetition waits twice as long as the one before.
const REPEAT_NS: u64 = 1_000_000_000;
/// How often a SYN-ACK is sent at most. Linux's default is the same (`tcp_synack_retries` 5).
const SENT_MAX: u8 = 6;

/// A connection in SYN-RECEIVED: the peer has not acknowledged our SYN yet.
pub(super) struct HalfOpen {
    pub handshake: Handshake,
    pub station: Station,
    /// When the peer's SYN came.
    pub since: u64,
    /// How often our SYN-ACK was sent.
    pub sent: u8,
    /// Whether the listener is gone, so that the peer gets a RST.
    pub is_refused: bool,
    pub challenges: Challenges,
}

/// The table of connections in SYN-RECEIVED.
#[derive(Default)]
pub(super) struct HalfOpens {
    pub slots: Slab<HalfOpen>,
    /// When each is answered again, or forgotten.
    pub due: Deadlines,
    /// Until this time, a segment may acknowledge a cookie that was sent.
    pub cookies_until: u64,
}

impl HalfOpens {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// When the next entry is due.
    pub fn deadline(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| at)
    }

    /// Each entry: its slot, its ends, and whether its listener is still there.
    #[cfg(test)]
    pub fn audit(&self) -> impl Iterator<Item = (usize, crate::names::Tuple, bool)> {
        assert_eq!(self.slots.len(), self.due.len());
        let entries = self.slots.iter();
        entries.map(|(slot, half)| (slot, half.handshake.tuple, !half.is_refused))
    }
}

impl Tcp {
    /// The window that all SYN-ACKs offer: the size of the smallest receive buffer.
    fn syn_window(&self) -> u16 {
        self.limits.tcp_receive.min(RECEIVE_MAX) as u16
    }

    /// The offer of our SYN to a peer that made this one.
    fn offer(&self, tuple: &Tuple, peer: &Offer) -> Offer {
        Offer {
            window: self.syn_window(),
            mss: Some(self.link_mss_to(&tuple.peer.ip) as u16),
            // Our windows are not scaled. But unless we send the option, too, the peer must not scale
            // its windows (RFC 7323 §2.2).
            shift: peer.shift.map(|_| 0),
            sack_permitted: peer.sack_permitted,
        }
    }

    /// Answers a SYN to a port that has a listener. `above`: the last sequence number of an old
    /// connection between the same ends that is in TIME-WAIT.
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
            // A cookie cannot hold it.
            offer.shift = None;
        }
        let iss = match is_kept {
            true => self.isn.initial(&tuple, now),
            false => self.isn.cookie(&tuple, segment.seq, &offer, now),
        };
        // RFC 9293 §3.6.1 (1): a new connection must begin with a higher number than the old one had,
        // which may have counted faster than the clock. The number of a cookie cannot be raised.
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
            // A RST has the sequence number after our SYN.
            seq: handshake.iss + usize::from(half.is_refused),
            ack: handshake.irs + 1,
            is_reset: half.is_refused,
            offer: self.offer(&handshake.tuple, &handshake.offer),
        }
    }

    /// When an entry is due next: its SYN-ACK is sent again then, or its time is over.
    fn next_look(&self, half: &HalfOpen) -> u64 {
        let end = nanoseconds(self.timers.half_open);
        let next = match half.sent {
            SENT_MAX.. => end,
            sent => end.min(REPEAT_NS * ((1 << sent) - 1)),
        };
        half.since.saturating_add(next)
    }

    /// The next SYN-ACK that is to be sent again, or RST that is to be sent, with the slot of its
    /// entry. [`Tcp::answer_sent`] must follow when it was sent.
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

    /// Notes that the answer of [`Tcp::due_answer`] was sent.
    pub fn answer_sent(&mut self, slot: usize) {
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

    /// Removes an entry.
    pub(super) fn forget_half_open(&mut self, slot: usize) {
        if let Some(half) = self.take_half_open(slot) {
            self.forget_tuple(half.handshake.tuple);
        }
    }

    /// Removes all entries of one of our addresses.
    #[cold]
    pub(super) fn forget_all_half_open(&mut self, local: Local) {
        let slots = self.half_open.slots.iter();
        let ours = slots.filter(|(_, half)| half.handshake.tuple.local == local);
        let ours: Vec<usize> = ours.map(|(slot, _)| slot).collect();
        for slot in ours {
            self.forget_half_open(slot);
        }
    }

    /// Takes an entry out, but leaves its ends in the index: a connection takes its place.
    fn take_half_open(&mut self, slot: usize) -> Option<HalfOpen> {
        let half = self.half_open.slots.try_remove(slot)?;
        self.half_open.due.clear(slot);
        let listener = self.listeners.get_mut(&half.handshake.tuple.port);
        if let Some(listener) = listener.filter(|_| !half.is_refused) {
            listener.half_open -= 1;
        }
        Some(half)
    }

    /// Has a RST sent for all entries of this port, whose listener is gone.
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
        cx: &mut Context<'_>,
    ) -> Course {
        let (window, now) = (self.syn_window(), cx.now);
        let half = self.half_open.slots.get_mut(slot);
        let Some(half) = half.filter(|half| !half.is_refused) else {
            return Course::Drop(DropReason::TcpAborted);
        };
        let (handshake, since) = (half.handshake, half.since);
        match arrival(&handshake, window, segment) {
            Arrival::Substitute(substitute) if substitute.rst => {
                self.forget_half_open(slot);
                Course::Done
            }
            arrival @ (Arrival::Process | Arrival::Substitute(_) | Arrival::WindowProbe(_)) => {
                match self.open(&handshake, since, Some(slot), cx) {
                    Some(id) => completed(id, arrival),
                    None => self.no_room(),
                }
            }
            Arrival::Challenge(why) if !self.counters.challenge(&mut half.challenges, now) => {
                Course::Drop(why)
            }
            Arrival::Acknowledge(why) | Arrival::Challenge(why) => {
                let acknowledgment = Acknowledgment {
                    seq: handshake.iss + 1,
                    ack: handshake.irs + 1,
                    window,
                };
                Course::Acknowledge(acknowledgment, Verdict::Dropped(why))
            }
            Arrival::Reset(why) => self.reset(why, now),
            Arrival::Forget => {
                self.forget_half_open(slot);
                Course::Drop(DropReason::TcpSyn)
            }
            Arrival::Drop(why) => Course::Drop(why),
        }
    }

    /// Decides on an acknowledgment that is for no connection, but for a port with a listener (RFC
    /// 9293 §3.10.7.2, second): it may acknowledge a cookie.
    #[cold]
    pub(super) fn acknowledgment(
        &mut self,
        segment: &Segment,
        ack: TcpSeqNumber,
        cx: &mut Context<'_>,
    ) -> Course {
        let now = cx.now;
        if now >= self.half_open.cookies_until {
            return self.reset(DropReason::TcpNoConnection, now);
        }
        let (tuple, irs, iss) = (segment.tuple, segment.seq - 1, ack - 1);
        let check = self.isn.check_cookie(&tuple, irs, iss, segment.window, now);
        let offer = match check {
            CookieCheck::Valid(offer) => offer,
            _ => {
                self.counters.cookies_refused += 1;
                return match check {
                    // The segments before it were lost. When the peer repeats them, they complete the
                    // connection, which a RST would end.
                    CookieCheck::NotFirst => Course::Drop(DropReason::TcpNoConnection),
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
        match arrival(&handshake, self.syn_window(), segment) {
            arrival @ (Arrival::Process | Arrival::Substitute(_)) => {
                match self.open(&handshake, now, None, cx) {
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

    /// Makes the connection of a handshake, which the segment at hand completes. `since`: when our SYN
    /// was sent. `slot`: the entry of the handshake, which is removed; a cookie has none. Returns
    /// `None` if there is no room for the connection: then nothing has changed.
    fn open(
        &mut self,
        handshake: &Handshake,
        since: u64,
        slot: Option<usize>,
        cx: &mut Context<'_>,
    ) -> Option<ConnectionId> {
        let tuple = handshake.tuple;
        let listener = self.listeners.get(&tuple.port)?;
        if listener.ready.len() >= listener.backlog {
            return None;
        }
        let (window, group) = (self.syn_window(), tuple.port);
        let mut socket = self.new_socket(group, window.into(), cx.now, cx.memory)?;
        if !receive_syn(&mut socket, cx.own, handshake, since) {
            self.give_back(group, Some(socket), cx.memory);
            return None;
        }
        if let Some(slot) = slot {
            self.take_half_open(slot);
        }
        let id = self.insert(tuple, group, socket, Role::Opening, cx.now);
        if let Some(connection) = self.get_mut(id) {
            connection.sequence = connection.sequence.after_handshake(handshake, window);
            connection.unread = Some(handshake.irs + 1);
        }
        Some(id)
    }

    /// Removes a connection if smoltcp did not get the segment that was to complete it.
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

/// Decides on a segment for a connection in SYN-RECEIVED. `window`: the window that our SYN offered.
fn arrival(handshake: &Handshake, window: u16, segment: &Segment) -> Arrival {
    let sequence = SequenceVariables::default().after_handshake(handshake, window);
    match segment.ack == Some(sequence.snd_max) && is_expected(&sequence, false, segment) {
        true => Arrival::Process,
        false => arrives((State::SynReceived, true), &sequence, segment),
    }
}

/// Has smoltcp process the segment that completes a connection, or the acceptable part of it.
fn completed(id: ConnectionId, arrival: Arrival) -> Course {
    match arrival {
        Arrival::Substitute(substitute) | Arrival::WindowProbe(substitute) => Course::Substitute {
            id,
            substitute,
            acknowledge: None,
        },
        _ => Course::Process(id),
    }
}
