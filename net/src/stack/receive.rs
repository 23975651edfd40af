//! Passes received frames to the protocols that they are for.

use crate::ip::arp::Arp;
use crate::ip::fragments::Fragments;
use crate::ip::icmp::{self, Icmp, Report};
use crate::ip::interface::Interface;
use crate::ip::neighbors::Neighbors;
use crate::ip::protocol;
use crate::ip::v6::{V6, ndp};
use crate::link::ethernet::{self, ETHERNET, IPV6_HEADER, Station};
use crate::link::joining::{self, FRAME_MAX, Run};
use crate::link::{Link, LinkToken};
use crate::memory::Memory;
use crate::names::ConnectionId;
use crate::packet::{self, Content, Fragment, IpPacket, Packet, Payload, Segment};
use crate::phy::{ChecksumCapabilities, LookAhead, RxToken, TxToken, instant};
use crate::stack::Stack;
use crate::tcp::arrives::Substitute;
use crate::tcp::device::Arriving;
use crate::tcp::early_syns::EarlySyns;
use crate::tcp::emit::{self, FROM_PEER};
use crate::tcp::engine::Engines;
use crate::tcp::{Context, Course, Tcp};
use crate::udp::Udp;
use crate::verdict::{DropReason, Verdict};
use abi::socket::Ip;
use alloc::vec::Vec;

/// Octets of the shortest frame (IEEE 802.3 §4A.4.2, without the FCS). Such a frame holds an
/// acknowledgment at most, which is not joined with others.
const SHORT: usize = 60;

/// The parts of the stack that take part in receiving, apart from the card.
pub(crate) struct Receiver<'a> {
    own: &'a Interface,
    fragments: &'a mut Fragments,
    early_syns: &'a mut EarlySyns,
    engines: &'a mut Engines,
    tcp: &'a mut Tcp,
    udp: &'a mut Udp,
    arp: &'a mut Arp,
    icmp: &'a mut Icmp,
    v6: &'a mut Option<V6>,
    neighbors: &'a mut Neighbors,
    memory: &'a mut Memory,
    now: u64,
}

/// A run of segments that are being joined, and the connection that expects them.
struct Joining {
    run: Run,
    id: ConnectionId,
    /// The first segment.
    segment: Segment,
}

impl<D: LookAhead> Stack<D> {
    /// Receives a frame, or up to `most` frames that are joined, if there is room for the reply.
    /// Returns how many frames were received.
    pub(crate) fn receive(&mut self, most: usize, now: u64) -> usize {
        // The parsed headers stay where they are: to move them costs as much as to parse them.
        let ahead;
        let mut known = None;
        if most > 1 && self.link.device.sees(2) && self.link.device.frame(0).len() > SHORT {
            let device = &self.link.device;
            let frame = device.frame(0);
            ahead = packet::parse(frame, &self.own, &self.link.software);
            if let Ok(headers) = &ahead
                && let packet = (Packet { frame, headers })
                && let Some(joining) =
                    Joining::new(&packet, device.frame(1), &mut self.tcp, &mut self.memory)
            {
                return self.receive_joined(joining, most, now);
            }
            known = Some(&ahead);
        }
        let (link, mut receiver) = self.parts(now);
        let Some((frame, reply)) = link.device.receive(instant(now)) else {
            return 0;
        };
        let reply = LinkToken::new(reply, &link.software);
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

    /// Sends ICMP errors for datagrams whose fragments did not all arrive in time.
    #[cold]
    pub(crate) fn report_expired(&mut self, now: u64) {
        while let Some(frame) = self.fragments.next_expired() {
            let seen = packet::parse(&frame, &self.own, &ChecksumCapabilities::ignored());
            if let Ok(headers) = &seen
                && let Content::Ip(ip) = &headers.content
            {
                let frame = &frame;
                let packet = Packet { frame, headers };
                let none = None::<D::TxToken<'_>>;
                let timeout = Report::ReassemblyTimeout;
                self.icmp.report(timeout, &packet, ip, none, &self.own, now);
            }
        }
    }

    /// Processes early SYNs, if a listener was added or their time is over.
    #[inline]
    pub(crate) fn receive_early(&mut self, now: u64) {
        for frame in self.early_syns.take(now) {
            let (link, mut receiver) = self.parts(now);
            let seen = packet::parse(&frame, receiver.own, &link.software);
            let Some(reply) = link.transmit(instant(now), None) else {
                // The table has room for it, since it was there before.
                self.early_syns.keep(&frame);
                self.early_syns.listener_added();
                continue;
            };
            // Its verdict was counted when it was kept.
            if let Ok(headers) = &seen {
                let frame = &frame;
                receiver.process(&Packet { frame, headers }, reply);
            }
        }
    }

    /// The card, and the other parts that take part in receiving.
    fn parts(&mut self, now: u64) -> (&mut Link<D>, Receiver<'_>) {
        let receiver = Receiver {
            own: &self.own,
            fragments: &mut self.fragments,
            early_syns: &mut self.early_syns,
            engines: &mut self.engines,
            tcp: &mut self.tcp,
            udp: &mut self.udp,
            arp: &mut self.arp,
            icmp: &mut self.icmp,
            v6: &mut self.v6,
            neighbors: &mut self.neighbors,
            memory: &mut self.memory,
            now,
        };
        (&mut self.link, receiver)
    }

    /// Receives frames whose segments follow each other as one segment, `most` at most. Returns how
    /// many; 0 if there is no room for the reply.
    fn receive_joined(&mut self, joining: Joining, most: usize, now: u64) -> usize {
        let Joining {
            mut run,
            id,
            mut segment,
        } = joining;
        let (link, mut receiver) = self.parts(now);
        let mut count = 0;
        if link.device.transmit(instant(now)).is_some() {
            link.device.skip();
            count = 1;
            while count < most
                && link.device.sees(1)
                && run.join(link.device.frame(0), &link.software)
            {
                link.device.skip();
                count += 1;
            }
            segment.len = run.octets();
            let at_once = run.must_be_acknowledged(link.mss);
            // The room that was found above is still there, since nothing was sent.
            let reply = link.transmit(instant(now), None);
            receiver.joined(id, &segment, run.datagram(), at_once, reply);
        }
        self.memory.give_back_frame(run.into_buffer());
        self.frames_received += count as u64;
        self.frames_joined += count as u64;
        self.verdicts.delivered += count as u64;
        count
    }
}

impl Joining {
    /// Begins a run with the first frame that waits, if the next frame can be joined to it, and if a
    /// connection expects the segment and has room for more than it.
    fn new(packet: &Packet<'_>, next: &[u8], tcp: &mut Tcp, memory: &mut Memory) -> Option<Self> {
        let segment = joining::joinable(packet)?;
        if !joining::is_followed_by(packet.frame, &segment, next) {
            return None;
        }
        let (id, room) = tcp.expects(&segment)?;
        if segment.len >= room {
            return None;
        }
        let buffer = memory.take_frame(FRAME_MAX)?;
        let run = Run::new(buffer, packet.frame, &segment, room);
        Some(Joining { run, id, segment })
    }
}

impl Receiver<'_> {
    /// Processes a packet. `reply`: the token for a reply.
    fn process<T: TxToken>(&mut self, packet: &Packet<'_>, reply: T) -> Verdict {
        match &packet.headers.content {
            Content::Ip(ip) => self.ip(packet, ip, reply),
            Content::Arp(arp) => {
                let (own, now) = (self.own, self.now);
                let (from, neighbors) = (packet.headers.station, &mut *self.neighbors);
                let (verdict, resolved) = self.arp.receive(arp, from, neighbors, own, now, reply);
                if let Some(neighbor) = resolved {
                    self.tcp.neighbor_resolved(Ip::v4(neighbor));
                }
                verdict
            }
        }
    }

    fn ip<T: TxToken>(&mut self, packet: &Packet<'_>, ip: &IpPacket, reply: T) -> Verdict {
        let station = packet.headers.station;
        match &ip.payload {
            Payload::Segment(segment) => {
                let (datagram, bare);
                datagram = match ip.start == ETHERNET + IPV6_HEADER || ip.source.is_v4() {
                    true => packet.datagram(ip),
                    false => {
                        bare = without_extensions(packet, ip);
                        &bare
                    }
                };
                let verdict = self.segment(segment, datagram, packet.frame, reply);
                if verdict == Verdict::Delivered {
                    self.heard_from(ip.source, station, segment.ack.is_some());
                }
                return verdict;
            }
            Payload::Fragment(fragment) => return self.fragment(packet, ip, fragment, reply),
            _ if ip.is_unicast => self.heard_from(ip.source, station, false),
            _ => {}
        }
        if let Payload::Datagram(datagram) = &ip.payload {
            let verdict = self.udp.deliver(datagram, packet.frame);
            let is_refused = verdict == Verdict::Dropped(DropReason::UdpNoPort);
            // Soon after the start, a program may be about to open the port.
            if is_refused && !self.early_syns.is_early(self.now) {
                self.report(Report::PortUnreachable, packet, ip, reply);
            }
            return verdict;
        }
        self.neither_tcp_nor_udp(packet, ip, reply)
    }

    #[cold]
    fn neither_tcp_nor_udp<T: TxToken>(
        &mut self,
        packet: &Packet<'_>,
        ip: &IpPacket,
        reply: T,
    ) -> Verdict {
        let icmp = match ip.source.is_v4() {
            true => protocol::ICMP,
            false => protocol::ICMPV6,
        };
        if ip.protocol == protocol::NONE && !ip.source.is_v4() {
            return Verdict::Delivered;
        }
        if ip.protocol != icmp {
            self.report(Report::ProtocolUnreachable, packet, ip, reply);
            return Verdict::Dropped(DropReason::IpProtocol);
        }
        let message = packet.payload(ip);
        if !ip.source.is_v4() && message.first().is_some_and(|&kind| ndp::takes(kind)) {
            return self.control_v6(packet, ip);
        }
        match self.icmp.receive(packet, ip, reply, self.own) {
            Ok(Some(too_big)) if !self.tcp.too_big(&too_big, self.now) => {
                Verdict::Dropped(DropReason::IcmpError)
            }
            Ok(_) => Verdict::Delivered,
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// Processes a message of neighbour discovery or MLD.
    fn control_v6(&mut self, packet: &Packet<'_>, ip: &IpPacket) -> Verdict {
        let message = packet.payload(ip);
        let sum = icmp::pseudo(ip.source, ip.destination, message.len());
        if !sum.add(message).is_right() {
            return Verdict::Dropped(DropReason::IcmpChecksum);
        }
        let Some(v6) = self.v6 else {
            return Verdict::Dropped(DropReason::IcmpType);
        };
        match v6.receive(packet, ip, (self.own, self.neighbors), self.now) {
            Ok(resolved) => {
                if let Some(neighbor) = resolved {
                    self.tcp.neighbor_resolved(neighbor);
                }
                Verdict::Delivered
            }
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// Sends an ICMP error to the sender of a datagram, if the RFCs allow it.
    fn report<T: TxToken>(&mut self, report: Report, packet: &Packet<'_>, ip: &IpPacket, reply: T) {
        let (own, now) = (self.own, self.now);
        self.icmp.report(report, packet, ip, Some(reply), own, now);
    }

    /// Notes that a packet for us has come from a host by way of a station. `confirms`: the packet
    /// shows that the host receives what we send.
    #[inline]
    fn heard_from(&mut self, host: Ip, station: Station, confirms: bool) {
        if !self.neighbors.is_no_news(host, station, confirms, self.now) {
            self.note_neighbor(host, station, confirms);
        }
    }

    #[inline(never)]
    fn note_neighbor(&mut self, host: Ip, station: Station, confirms: bool) {
        let (own, now) = (self.own, self.now);
        if !own.contains(host) {
            if let Some(router) = own.router_for(host)
                && !self.neighbors.is_no_news(router, station, confirms, now)
            {
                self.neighbors.forwarded(router, station, confirms, now);
            }
        } else if station.is_single()
            && !own.is_ours_alone(station)
            && own.can_be_neighbor(host)
            && self.neighbors.heard_from(host, station, confirms, now)
        {
            self.tcp.neighbor_resolved(host);
        }
    }

    /// Keeps a fragment, or processes the datagram that it completes.
    #[cold]
    fn fragment<T: TxToken>(
        &mut self,
        packet: &Packet<'_>,
        ip: &IpPacket,
        fragment: &Fragment,
        reply: T,
    ) -> Verdict {
        let whole = match self.fragments.add(packet, ip, fragment, self.now) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Verdict::Kept,
            Err(reason) => return Verdict::Dropped(reason),
        };
        // No card verifies checksums over several fragments, so all of them are verified here.
        match packet::parse(&whole, self.own, &ChecksumCapabilities::default()) {
            Ok(headers) => {
                let (frame, headers) = (&whole[..], &headers);
                self.process(&Packet { frame, headers }, reply)
            }
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    /// Processes the long segment of a run, which the connection expected.
    fn joined<T: TxToken>(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        datagram: &[u8],
        at_once: bool,
        mut reply: Option<T>,
    ) {
        self.heard_from(segment.tuple.peer.ip, segment.station, true);
        if at_once {
            self.tcp.acknowledge_at_once(id, true);
        }
        self.ingress(id, segment, datagram, &mut reply);
        if at_once {
            self.tcp.acknowledge_at_once(id, false);
        }
        self.after(id, segment, &mut reply);
    }

    /// Processes a segment, which lies in this datagram and frame.
    fn segment<T: TxToken>(
        &mut self,
        segment: &Segment,
        datagram: &[u8],
        frame: &[u8],
        reply: T,
    ) -> Verdict {
        let now = self.now;
        if self.early_syns.is_early(now)
            && self.tcp.lacks_listener(segment)
            && self.early_syns.keep(frame)
        {
            return Verdict::Kept;
        }
        let (own, memory) = (self.own, &mut *self.memory);
        let mut reply = Some(reply);
        match self.tcp.before(segment, &mut Context { own, memory, now }) {
            Course::Process(id) => {
                self.ingress(id, segment, datagram, &mut reply);
                self.after(id, segment, &mut reply);
            }
            Course::Substitute {
                id,
                substitute,
                acknowledge,
            } => {
                let data = frame.get(segment.data..).unwrap_or_default();
                let data = data.get(..substitute.len).unwrap_or_default();
                if !self.ingress_substitute(id, segment, &substitute, data, &mut reply) {
                    self.tcp.not_completed(id, self.memory);
                    return Verdict::Dropped(DropReason::NoMemory);
                }
                let acknowledgment =
                    self.tcp
                        .after(id, &substitute.apply(segment), now, self.memory);
                if let Some(old) = acknowledge {
                    self.ingress_substitute(id, segment, &old, &[0], &mut reply);
                }
                if let (Some(acknowledgment), Some(reply)) = (acknowledgment, reply) {
                    emit::acknowledge(reply, own, segment, &acknowledgment);
                }
            }
            Course::DropAndAcknowledge(id, old, reason) => {
                self.ingress_substitute(id, segment, &old, &[0], &mut reply);
                return Verdict::Dropped(reason);
            }
            Course::Acknowledge(acknowledgment, verdict) => {
                if let Some(reply) = reply {
                    emit::acknowledge(reply, own, segment, &acknowledgment);
                }
                return verdict;
            }
            Course::SynAck(answer) => {
                if let Some(reply) = reply {
                    emit::syn_ack(reply, own, &answer);
                }
            }
            Course::Reset(reason) => {
                if let Some(reply) = reply {
                    emit::reset(reply, own, segment);
                }
                return Verdict::Dropped(reason);
            }
            Course::Drop(reason) => return Verdict::Dropped(reason),
            Course::Done => {}
        }
        Verdict::Delivered
    }

    /// Has smoltcp process a datagram for a connection, with this segment or a substitute for it.
    fn ingress<T: TxToken>(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        datagram: &[u8],
        reply: &mut Option<T>,
    ) {
        let arriving = Arriving {
            datagram,
            reply_header: self
                .own
                .station
                .header(segment.station, ethernet::ethertype(&segment.tuple.peer.ip)),
            reply,
        };
        let engine = self.engines.of(&segment.tuple.peer.ip);
        engine.ingress(arriving, self.tcp.parts(id), self.now);
    }

    /// Notes what has become of a connection, and sends the acknowledgment that it has no socket for.
    fn after<T: TxToken>(&mut self, id: ConnectionId, segment: &Segment, reply: &mut Option<T>) {
        let acknowledgment = self.tcp.after(id, segment, self.now, self.memory);
        if let Some(acknowledgment) = acknowledgment
            && let Some(reply) = reply.take()
        {
            emit::acknowledge(reply, self.own, segment, &acknowledgment);
        }
    }

    /// Has smoltcp process a substitute for a segment. Returns `false` if there is no memory for its
    /// data.
    #[cold]
    fn ingress_substitute<T: TxToken>(
        &mut self,
        id: ConnectionId,
        segment: &Segment,
        substitute: &Substitute,
        data: &[u8],
        reply: &mut Option<T>,
    ) -> bool {
        // One octet of data fits the short buffer.
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
        let datagram = emit::from_peer(place, self.own, segment.tuple, substitute, data);
        self.ingress(id, segment, datagram, reply);
        if !long.is_empty() {
            self.memory.give_back_frame(long);
        }
        true
    }
}

/// An IPv6 packet without its extension headers: smoltcp knows only some of them.
#[cold]
fn without_extensions(packet: &Packet<'_>, ip: &IpPacket) -> Vec<u8> {
    let carried = packet.payload(ip);
    let header = packet.frame.get(ETHERNET..ETHERNET + IPV6_HEADER);
    let mut datagram = [header.unwrap_or_default(), carried].concat();
    if let Some(fixed) = datagram.first_chunk_mut::<IPV6_HEADER>() {
        fixed[4..6].copy_from_slice(&(carried.len() as u16).to_be_bytes());
        fixed[6] = ip.protocol;
    }
    datagram
}
