//! What becomes of received frames.

use super::arp::Arp;
use super::card::Card;
use super::coalesce::{FRAME_MAX, First, Run};
use super::early::Early;
use super::emit::{FROM_PEER, acknowledge, from_peer, reset, syn_ack};
use super::engine::Engine;
use super::ethernet::Station;
use super::fragments::Fragments;
use super::icmp::{Icmp, Report};
use super::link::{Fill, OneFrame, Port};
use super::memory::Memory;
use super::neighbors::Neighbors;
use super::peek::{self, Frame, Segment, can_be_neighbor};
use super::tcp::arrives::Shape;
use super::tcp::{Course, Tcp};
use super::time_wait::LastWord;
use super::udp::Udp;
use super::verdict::{DropReason, Verdict};
use super::{ConnectionId, Stack, Tuple, instant};
use crate::config::Config;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use smoltcp::phy::{ChecksumCapabilities, RxToken, TxToken};

/// Octets of a frame that is as short as any (IEEE 802.3 §4A.4.2, without the FCS): an
/// acknowledgement, which is not joined with others.
const SHORT: usize = 60;

/// The parts of the stack that frames are for.
pub(super) struct Receiver<'a> {
    pub config: &'a Config,
    pub early: &'a mut Early,
    pub engine: &'a mut Engine,
    pub tcp: &'a mut Tcp,
    pub udp: &'a mut Udp,
    pub arp: &'a mut Arp,
    pub icmp: &'a mut Icmp,
    pub neighbors: &'a mut Neighbors,
    pub memory: &'a mut Memory,
    pub now: u64,
}

impl<D: Card> Stack<D> {
    /// Receives a frame, or several as one, `most` at the most, if there is one and room
    /// for the reply. Returns how many.
    pub(super) fn receive(&mut self, most: usize, now: u64) -> usize {
        if most > 1 && self.port.device.sees(2) && self.port.device.frame(0).len() > SHORT {
            let joined = self.receive_joined(most, now);
            if joined > 0 {
                return joined;
            }
        }
        let (port, fragments, mut receiver) = self.parts(now);
        let Some((frame, reply)) = port.device.receive(instant(now)) else {
            return 0;
        };
        let (own, software) = (receiver.config, &port.software);
        let reply = Fill::new(reply, software);
        let verdict = frame.consume(|frame| match peek::look(frame, own, software) {
            Frame::Fragment => receiver.fragment(fragments, frame, reply),
            seen => receiver.process(&seen, frame, reply),
        });
        self.frames_received += 1;
        self.verdicts.count(verdict);
        1
    }

    /// Tells the senders of datagrams that were not completed in time.
    #[cold]
    pub(super) fn report_expired(&mut self, now: u64) {
        while let Some(frame) = self.fragments.next_expired() {
            let around = (&self.config, now);
            let none = None::<D::TxToken<'_>>;
            let timeout = Report::ReassemblyTimeout;
            self.icmp.report(timeout, &frame, none, around);
        }
    }

    /// Processes the SYNs that came before a listener did, or too long before.
    #[inline]
    pub(super) fn receive_early(&mut self, now: u64) {
        for frame in self.early.take(now) {
            let (port, _, mut receiver) = self.parts(now);
            let seen = peek::look(&frame, receiver.config, &port.software);
            let Some(reply) = port.room(instant(now), None) else {
                // There was room for it before.
                self.early.keep(&frame);
                self.early.heard();
                continue;
            };
            // It has had its verdict.
            let _ = receiver.process(&seen, &frame, reply);
        }
    }

    /// The card, the fragments, and all else that frames are for.
    fn parts(&mut self, now: u64) -> (&mut Port<D>, &mut Fragments, Receiver<'_>) {
        let receiver = Receiver {
            config: &self.config,
            early: &mut self.early,
            engine: &mut self.engine,
            tcp: &mut self.tcp,
            udp: &mut self.udp,
            arp: &mut self.arp,
            icmp: &mut self.icmp,
            neighbors: &mut self.neighbors,
            memory: &mut self.memory,
            now,
        };
        (&mut self.port, &mut self.fragments, receiver)
    }

    /// Receives the frames that go on with each other as one segment. Returns how many; 0
    /// if not even the second of those that wait goes on with the first, or there is no
    /// room for the reply.
    fn receive_joined(&mut self, most: usize, now: u64) -> usize {
        let Some((mut run, id, mut segment)) = self.begin_run() else {
            return 0;
        };
        let (port, _, mut receiver) = self.parts(now);
        let mut count = 0;
        if port.device.transmit(instant(now)).is_some() {
            port.device.skip();
            count = 1;
            while count < most
                && port.device.sees(1)
                && run.takes(port.device.frame(0), &port.software)
            {
                port.device.skip();
                count += 1;
            }
            segment.len = run.octets();
            let hurry = run.is_owed_an_answer(port.mss);
            // The same room as before: nothing was sent.
            let reply = port.room(instant(now), None);
            receiver.process_joined(id, &segment, run.frame(), hurry, reply);
        }
        self.memory.give_back_frame(run.into_buffer());
        self.frames_received += count as u64;
        self.frames_joined += count as u64;
        self.verdicts.delivered += count as u64;
        count
    }

    /// Begins a run with the first frame that waits, if the second goes on with it, and if a
    /// connection expects it.
    fn begin_run(&mut self) -> Option<(Run, ConnectionId, Segment)> {
        let device = &self.port.device;
        let frame = device.frame(0);
        let first = First::parse(frame)?;
        if !first.is_followed_by(device.frame(1)) {
            return None;
        }
        let (id, room) = self.tcp.expects(&first.tuple(), &first.said())?;
        let Frame::Segment(segment) = peek::look(frame, &self.config, &self.port.software) else {
            return None;
        };
        if segment.len >= room {
            return None;
        }
        let buffer = self.memory.take_frame(FRAME_MAX)?;
        Some((Run::new(buffer, &first, room), id, segment))
    }
}

impl Receiver<'_> {
    /// Processes a frame, which was looked at; there is room for the reply.
    pub fn process<T: TxToken>(&mut self, seen: &Frame, frame: &[u8], reply: T) -> Verdict {
        match seen {
            Frame::Segment(segment) => {
                let mut one = OneFrame::new(frame, Some(reply));
                let (verdict, last_word) = self.segment(segment, frame, &mut one);
                if verdict == Verdict::Delivered {
                    let from = (*segment.tuple.peer.ip(), segment.mac);
                    self.spoke(from, segment.ack.is_some());
                }
                if let (Some(last_word), Some(reply)) = (last_word, one.reply) {
                    acknowledge(reply, self.config, segment, (last_word, 0));
                }
                verdict
            }
            Frame::Ip(ip) => {
                if let Some(from) = ip.from {
                    self.spoke(from, false);
                }
                let Some(datagram) = &ip.datagram else {
                    return self.other(ip, frame, reply);
                };
                let verdict = self.udp.deliver(datagram, frame);
                if verdict == Verdict::Dropped(DropReason::UdpNoPort)
                    && !self.early.is_early(self.now)
                {
                    self.report(Report::PortUnreachable, frame, reply);
                }
                verdict
            }
            Frame::Arp => self.arp(frame, reply),
            Frame::Dropped(reason) => Verdict::Dropped(*reason),
            // A whole datagram is no fragment of another.
            Frame::Fragment => Verdict::Dropped(DropReason::FragmentInvalid),
        }
    }

    /// A packet for us has come from a host by this station. `answers`: it shows that the host
    /// gets what we send.
    #[inline]
    fn spoke(&mut self, (host, station): (Ipv4Addr, Station), answers: bool) {
        if !self.neighbors.is_no_news(host, station, answers, self.now) {
            self.hear((host, station), answers);
        }
    }

    #[inline(never)]
    fn hear(&mut self, (host, station): (Ipv4Addr, Station), answers: bool) {
        let (own, now) = (self.config, self.now);
        if !own.contains(host) {
            if let Some(router) = own.gateway
                && !self.neighbors.is_no_news(router, station, answers, now)
            {
                self.neighbors.passed_on(router, station, answers, now);
            }
        } else if station.is_single()
            && station.0 != own.mac
            && can_be_neighbor(host, own)
            && self.neighbors.spoke(host, station, answers, now)
        {
            self.tcp.heard(host);
        }
    }

    /// Keeps a fragment, or processes the datagram that it completes.
    #[cold]
    fn fragment<T: TxToken>(
        &mut self,
        fragments: &mut Fragments,
        frame: &[u8],
        reply: T,
    ) -> Verdict {
        match fragments.add(frame, self.now) {
            Ok(Some(whole)) => {
                // No card has verified it.
                let all = ChecksumCapabilities::default();
                let seen = peek::look(&whole, self.config, &all);
                self.process(&seen, &whole, reply)
            }
            Ok(None) => Verdict::Kept,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// Processes segments that were joined, which the connection expected.
    fn process_joined<T: TxToken>(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        frame: &[u8],
        hurry: bool,
        reply: Option<T>,
    ) {
        let mut one = OneFrame::new(frame, reply);
        let now = self.now;
        self.spoke((*segment.tuple.peer.ip(), segment.mac), true);
        if hurry {
            self.tcp.hurry(id, true);
        }
        self.engine.ingress(&mut one, self.tcp.parts(id), now);
        if hurry {
            self.tcp.hurry(id, false);
        }
        let last_word = self.tcp.after(id, segment, now, self.memory);
        if let (Some(last_word), Some(reply)) = (last_word, one.reply) {
            acknowledge(reply, self.config, segment, (last_word, 0));
        }
    }

    /// Processes a segment. Returns what became of it, and the acknowledgement to answer
    /// with if there is no socket to do it.
    fn segment<T: TxToken>(
        &mut self,
        segment: &Segment,
        frame: &[u8],
        one: &mut OneFrame<'_, T>,
    ) -> (Verdict, Option<LastWord>) {
        let now = self.now;
        if self.early.is_early(now) && self.tcp.lacks_listener(segment) && self.early.keep(frame) {
            return (Verdict::Kept, None);
        }
        match self.tcp.before(segment, self.config, (now, self.memory)) {
            Course::Drop(reason) => (Verdict::Dropped(reason), None),
            Course::Repeat(last_word) => (Verdict::Delivered, Some(last_word)),
            Course::Connection(id) => {
                self.engine.ingress(one, self.tcp.parts(id), now);
                let last_word = self.tcp.after(id, segment, now, self.memory);
                (Verdict::Delivered, last_word)
            }
            Course::Instead(id, shape, old) => {
                let data = frame.get(segment.data..).unwrap_or_default();
                let data = data.get(..shape.len).unwrap_or_default();
                let from = (segment.tuple, segment.mac);
                if !self.present(id, from, (&shape, data), &mut one.reply) {
                    self.tcp.not_completed(id, self.memory);
                    return (Verdict::Dropped(DropReason::NoMemory), None);
                }
                let last_word = self.tcp.after(id, &shape.of(segment), now, self.memory);
                if let Some(old) = old {
                    self.present(id, from, (&old, &[0]), &mut one.reply);
                }
                (Verdict::Delivered, last_word)
            }
            Course::Acknowledge(id, old, reason) => {
                let from = (segment.tuple, segment.mac);
                self.present(id, from, (&old, &[0]), &mut one.reply);
                (Verdict::Dropped(reason), None)
            }
            Course::Challenge(last_word, window, reason) => {
                if let Some(reply) = one.reply.take() {
                    acknowledge(reply, self.config, segment, (last_word, window));
                }
                (Verdict::Dropped(reason), None)
            }
            Course::SynAck(answer) => {
                if let Some(reply) = one.reply.take() {
                    syn_ack(reply, self.config, &answer);
                }
                (Verdict::Delivered, None)
            }
            Course::Done => (Verdict::Delivered, None),
            Course::Reset(reason) => {
                if let Some(reply) = one.reply.take() {
                    reset(reply, self.config, segment);
                }
                (Verdict::Dropped(reason), None)
            }
        }
    }

    /// Gives smoltcp a segment that is made here. `false` if there is no memory for its data.
    #[cold]
    fn present<T: TxToken>(
        &mut self,
        id: ConnectionId,
        from: (Tuple, Station),
        (shape, data): (&Shape, &[u8]),
        reply: &mut Option<T>,
    ) -> bool {
        // With the octet of a probe.
        let mut short = [0; FROM_PEER + 1];
        let mut long = Vec::new();
        if data.len() > 1 {
            let Some(buffer) = self.memory.take_frame(FRAME_MAX) else {
                return false;
            };
            long = buffer;
        }
        let place = match long.is_empty() {
            true => &mut short[..],
            false => &mut long[..],
        };
        let frame = from_peer(place, self.config, from, shape, data);
        let mut one = OneFrame::new(frame, reply.take());
        self.engine.ingress(&mut one, self.tcp.parts(id), self.now);
        *reply = one.reply;
        if !long.is_empty() {
            self.memory.give_back_frame(long);
        }
        true
    }
}
