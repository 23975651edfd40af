//! What becomes of received frames.

use crate::ip::arp::Arp;
use crate::ip::fragments::Fragments;
use crate::ip::icmp::{Icmp, Report};
use crate::ip::interface::Interface;
use crate::ip::neighbors::Neighbors;
use crate::ip::protocol;
use crate::link::ethernet::Station;
use crate::link::joining::{FRAME_MAX, First, Run};
use crate::link::lookahead::LookAhead;
use crate::link::{Fill, Link};
use crate::memory::Memory;
use crate::names::{ConnectionId, Tuple};
use crate::packet;
use crate::packet::{Content, Fragment, Ipv4, Packet, Payload, Segment};
use crate::phy::{ChecksumCapabilities, RxToken, TxToken, instant};
use crate::stack::Stack;
use crate::tcp::arrives::Shape;
use crate::tcp::device::Arriving;
use crate::tcp::early::Early;
use crate::tcp::emit::{FROM_PEER, acknowledge, from_peer, reset, syn_ack};
use crate::tcp::engine::Engine;
use crate::tcp::time_wait::LastWord;
use crate::tcp::{Course, Tcp};
use crate::udp::Udp;
use crate::verdict::{DropReason, Verdict};
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// Octets of a frame that is as short as any (IEEE 802.3 §4A.4.2, without the FCS): an
/// acknowledgement, which is not joined with others.
const SHORT: usize = 60;

/// The parts of the stack that frames are for.
pub(crate) struct Receiver<'a> {
    own: &'a Interface,
    fragments: &'a mut Fragments,
    early: &'a mut Early,
    engine: &'a mut Engine,
    tcp: &'a mut Tcp,
    udp: &'a mut Udp,
    arp: &'a mut Arp,
    icmp: &'a mut Icmp,
    neighbors: &'a mut Neighbors,
    memory: &'a mut Memory,
    now: u64,
}

/// Segments that become one, which a connection expects.
struct Begun {
    run: Run,
    id: ConnectionId,
    /// The first of them.
    segment: Segment,
}

impl<D: LookAhead> Stack<D> {
    /// Receives a frame, or several as one, `most` at the most, if there is one and room
    /// for the reply. Returns how many.
    pub(crate) fn receive(&mut self, most: usize, now: u64) -> usize {
        // Each is parsed where it stays: to move what its headers say costs as much as to read it.
        let ahead;
        let mut known = None;
        if most > 1 && self.link.device.sees(2) && self.link.device.frame(0).len() > SHORT {
            let device = &self.link.device;
            let frame = device.frame(0);
            ahead = packet::parse(frame, &self.own, &self.link.software);
            if let Ok(headers) = &ahead
                && let packet = (Packet { frame, headers })
                && let Some(begun) =
                    Begun::new(&packet, device.frame(1), &mut self.tcp, &mut self.memory)
            {
                return self.receive_joined(begun, most, now);
            }
            known = Some(&ahead);
        }
        let (link, mut receiver) = self.parts(now);
        let Some((frame, reply)) = link.device.receive(instant(now)) else {
            return 0;
        };
        let reply = Fill::new(reply, &link.software);
        let verdict = frame.consume(|frame| {
            let parsed;
            let headers = match known {
                Some(headers) => headers,
                None => {
                    parsed = packet::parse(frame, receiver.own, &link.software);
                    &parsed
                }
            };
            match headers {
                Ok(headers) => receiver.process(&Packet { frame, headers }, reply),
                Err(reason) => Verdict::Dropped(*reason),
            }
        });
        self.frames_received += 1;
        self.verdicts.count(verdict);
        1
    }

    /// Tells the senders of datagrams that were not completed in time.
    #[cold]
    pub(crate) fn report_expired(&mut self, now: u64) {
        while let Some(frame) = self.fragments.next_expired() {
            let seen = packet::parse(&frame, &self.own, &ChecksumCapabilities::ignored());
            if let Ok(headers) = &seen
                && let Content::Ipv4(ip) = &headers.content
            {
                let frame = &frame;
                let packet = Packet { frame, headers };
                let none = None::<D::TxToken<'_>>;
                let timeout = Report::ReassemblyTimeout;
                let around = (&self.own, now);
                self.icmp.report(timeout, (&packet, ip), none, around);
            }
        }
    }

    /// Processes the SYNs that came before a listener did, or too long before.
    #[inline]
    pub(crate) fn receive_early(&mut self, now: u64) {
        for frame in self.early.take(now) {
            let (link, mut receiver) = self.parts(now);
            let seen = packet::parse(&frame, receiver.own, &link.software);
            let Some(reply) = link.room(instant(now), None) else {
                // There was room for it before.
                self.early.keep(&frame);
                self.early.heard();
                continue;
            };
            // It has had its verdict.
            if let Ok(headers) = &seen {
                let frame = &frame;
                receiver.process(&Packet { frame, headers }, reply);
            }
        }
    }

    /// The card, and all else that frames are for.
    fn parts(&mut self, now: u64) -> (&mut Link<D>, Receiver<'_>) {
        let receiver = Receiver {
            own: &self.own,
            fragments: &mut self.fragments,
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
        (&mut self.link, receiver)
    }

    /// Receives the frames that go on with each other as one segment. Returns how many; 0 if
    /// there is no room for the reply.
    fn receive_joined(&mut self, begun: Begun, most: usize, now: u64) -> usize {
        let Begun {
            mut run,
            id,
            mut segment,
        } = begun;
        let (link, mut receiver) = self.parts(now);
        let mut count = 0;
        if link.device.transmit(instant(now)).is_some() {
            link.device.skip();
            count = 1;
            while count < most
                && link.device.sees(1)
                && run.takes(link.device.frame(0), &link.software)
            {
                link.device.skip();
                count += 1;
            }
            segment.len = run.octets();
            let hurry = run.is_owed_an_answer(link.mss);
            // The same room as before: nothing was sent.
            let reply = link.room(instant(now), None);
            receiver.process_joined(id, &segment, run.datagram(), hurry, reply);
        }
        self.memory.give_back_frame(run.into_buffer());
        self.frames_received += count as u64;
        self.frames_joined += count as u64;
        self.verdicts.delivered += count as u64;
        count
    }
}

impl Begun {
    /// Begins with the first frame that waits, if the next one goes on with it, and if a
    /// connection expects it and has room for more.
    fn new(packet: &Packet<'_>, next: &[u8], tcp: &mut Tcp, memory: &mut Memory) -> Option<Self> {
        let (first, segment) = First::of(packet)?;
        if !first.is_followed_by(next) {
            return None;
        }
        let (id, room) = tcp.expects(&segment.tuple, &segment.said())?;
        if segment.len >= room {
            return None;
        }
        let run = Run::new(memory.take_frame(FRAME_MAX)?, &first, room);
        Some(Begun { run, id, segment })
    }
}

impl Receiver<'_> {
    /// Processes a packet; there is room for the reply.
    fn process<T: TxToken>(&mut self, packet: &Packet<'_>, reply: T) -> Verdict {
        match &packet.headers.content {
            Content::Ipv4(ip) => self.ipv4(packet, ip, reply),
            Content::Arp(arp) => {
                let around = (self.own, self.now);
                let (from, neighbors) = (packet.headers.station, &mut *self.neighbors);
                let (verdict, heard) = self.arp.receive(arp, from, neighbors, around, reply);
                if let Some(neighbor) = heard {
                    self.tcp.heard(neighbor);
                }
                verdict
            }
        }
    }

    fn ipv4<T: TxToken>(&mut self, packet: &Packet<'_>, ip: &Ipv4, reply: T) -> Verdict {
        match &ip.payload {
            Payload::Segment(segment) => {
                let datagram = packet.datagram(ip);
                let reply = (self.own, Some(reply));
                let mut one = Arriving::new(datagram, packet.headers.station, reply);
                let (verdict, last_word) = self.segment(segment, packet.frame, &mut one);
                if verdict == Verdict::Delivered {
                    self.spoke((ip.source, packet.headers.station), segment.ack.is_some());
                }
                if let (Some(last_word), Some(reply)) = (last_word, one.reply) {
                    acknowledge(reply, self.own, segment, (last_word, 0));
                }
                return verdict;
            }
            Payload::Fragment(fragment) => {
                return self.fragment(packet, (ip, fragment), reply);
            }
            _ if ip.is_unicast => self.spoke((ip.source, packet.headers.station), false),
            _ => {}
        }
        if let Payload::Datagram(datagram) = &ip.payload {
            let verdict = self.udp.deliver(datagram, packet.frame);
            if verdict == Verdict::Dropped(DropReason::UdpNoPort) && !self.early.is_early(self.now)
            {
                self.report(Report::PortUnreachable, (packet, ip), reply);
            }
            return verdict;
        }
        self.other((packet, ip), reply)
    }

    /// Processes a datagram that is neither TCP nor UDP.
    #[cold]
    fn other<T: TxToken>(&mut self, (packet, ip): (&Packet<'_>, &Ipv4), reply: T) -> Verdict {
        if ip.protocol != protocol::ICMP {
            self.report(Report::ProtocolUnreachable, (packet, ip), reply);
            return Verdict::Dropped(DropReason::IpProtocol);
        }
        match self.icmp.receive((packet, ip), reply, self.own) {
            Ok(Some(told)) if !self.tcp.too_big(&told, self.now) => {
                Verdict::Dropped(DropReason::IcmpError)
            }
            Ok(_) => Verdict::Delivered,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// Tells the sender of a datagram what has become of it, if it may be told.
    fn report<T: TxToken>(&mut self, report: Report, what: (&Packet<'_>, &Ipv4), reply: T) {
        let around = (self.own, self.now);
        self.icmp.report(report, what, Some(reply), around);
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
        let (own, now) = (self.own, self.now);
        if !own.contains(host) {
            if let Some(router) = own.gateway()
                && !self.neighbors.is_no_news(router, station, answers, now)
            {
                self.neighbors.passed_on(router, station, answers, now);
            }
        } else if station.is_single()
            && !own.is_ours_alone(station)
            && own.can_be_neighbor(host)
            && self.neighbors.spoke(host, station, answers, now)
        {
            self.tcp.heard(host);
        }
    }

    /// Keeps a fragment, or processes the datagram that it completes.
    #[cold]
    fn fragment<T: TxToken>(
        &mut self,
        packet: &Packet<'_>,
        part: (&Ipv4, &Fragment),
        reply: T,
    ) -> Verdict {
        let whole = match self.fragments.add(packet, part, self.now) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Verdict::Kept,
            Err(reason) => return Verdict::Dropped(reason),
        };
        // No card has verified it.
        match packet::parse(&whole, self.own, &ChecksumCapabilities::default()) {
            Ok(headers) => {
                let (frame, headers) = (&whole[..], &headers);
                self.process(&Packet { frame, headers }, reply)
            }
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// Processes segments that were joined, which the connection expected.
    fn process_joined<T: TxToken>(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        datagram: &[u8],
        hurry: bool,
        reply: Option<T>,
    ) {
        let mut one = Arriving::new(datagram, segment.station, (self.own, reply));
        let now = self.now;
        self.spoke((*segment.tuple.peer.ip(), segment.station), true);
        if hurry {
            self.tcp.hurry(id, true);
        }
        self.engine.ingress(&mut one, self.tcp.parts(id), now);
        if hurry {
            self.tcp.hurry(id, false);
        }
        let last_word = self.tcp.after(id, segment, now, self.memory);
        if let (Some(last_word), Some(reply)) = (last_word, one.reply) {
            acknowledge(reply, self.own, segment, (last_word, 0));
        }
    }

    /// Processes a segment. Returns what became of it, and the acknowledgement to answer
    /// with if there is no socket to do it.
    fn segment<T: TxToken>(
        &mut self,
        segment: &Segment,
        frame: &[u8],
        one: &mut Arriving<'_, T>,
    ) -> (Verdict, Option<LastWord>) {
        let now = self.now;
        if self.early.is_early(now) && self.tcp.lacks_listener(segment) && self.early.keep(frame) {
            return (Verdict::Kept, None);
        }
        match self.tcp.before(segment, self.own, (now, self.memory)) {
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
                let from = (segment.tuple, segment.station);
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
                let from = (segment.tuple, segment.station);
                self.present(id, from, (&old, &[0]), &mut one.reply);
                (Verdict::Dropped(reason), None)
            }
            Course::Challenge(last_word, window, reason) => {
                if let Some(reply) = one.reply.take() {
                    acknowledge(reply, self.own, segment, (last_word, window));
                }
                (Verdict::Dropped(reason), None)
            }
            Course::SynAck(answer) => {
                if let Some(reply) = one.reply.take() {
                    syn_ack(reply, self.own, &answer);
                }
                (Verdict::Delivered, None)
            }
            Course::Done => (Verdict::Delivered, None),
            Course::Reset(reason) => {
                if let Some(reply) = one.reply.take() {
                    reset(reply, self.own, segment);
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
        let (own, (tuple, station)) = (self.own, from);
        let datagram = from_peer(place, own, tuple, shape, data);
        let mut one = Arriving::new(datagram, station, (own, reply.take()));
        self.engine.ingress(&mut one, self.tcp.parts(id), self.now);
        *reply = one.reply;
        if !long.is_empty() {
            self.memory.give_back_frame(long);
        }
        true
    }
}
